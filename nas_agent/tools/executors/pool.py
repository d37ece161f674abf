"""Evaluate on several workers of this machine: a thread for each, that waits for a process of its own.

Each slot has an evaluator of its own. That of a training has a worker process of its own (`evaluators/isolation.py`),
which is replaced when it dies and asked once more, and ends with the search. Several slots may share a GPU.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from nas_agent.config import Config
from nas_agent.records import Outcome
from nas_agent.tools.evaluators.base import Evaluator
from nas_agent.tools.executors.base import Arrived, Multiplies, Work, perform
from nas_agent.tools.executors.desk import Desk

JOINED = 10.0  # seconds that a slot has to end once its process was ended


class PoolExecutor:
    """One slot for each evaluator; whoever is free takes the oldest work."""

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        self._evaluators = tuple(evaluators)
        self._desk = Desk()
        self._threads: list[threading.Thread] = []

    @property
    def workers(self) -> int:
        """The number of slots."""
        return len(self._evaluators)

    def begin(self, arrived: Arrived) -> None:
        """Name who hears of outcomes as they arrive."""
        self._desk.begin(arrived)

    def submit(self, work: Work) -> None:
        """Have it done by the next free slot; slots start when there is work for them."""
        if self._desk.submit(work) and len(self._threads) < len(self._evaluators):
            number = len(self._threads)
            thread = threading.Thread(target=self._serve, args=(number,), name=f"slot {number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def take(self, work: Work) -> Outcome:
        """Wait for an outcome; raise what its slot raised."""
        return self._desk.take(work)

    def close(self) -> None:
        """End the slots with what they are doing."""
        self._desk.close()
        for evaluator in self._evaluators:
            if isinstance(evaluator, Multiplies):
                evaluator.stop()
        for thread in self._threads:
            thread.join(JOINED)
        self._threads.clear()

    def _serve(self, number: int) -> None:
        evaluator = self._evaluators[number]
        while (work := self._desk.next()) is not None:
            result: Outcome | BaseException
            try:
                result = perform(evaluator, work)
            except BaseException as error:  # whatever it is, the search's thread raises it
                result = error
            if not self._desk.closed:
                self._desk.arrive(work, result, f"slot {number}")


def places(config: Config) -> list[str | None]:
    """Return the device of each slot, None where an evaluator has its own; no more than can ever have work."""
    workers = config.workers if isinstance(config.workers, int) else max(1, cores() // config.train_threads)
    workers = min(workers, max(config.most_under_way, config.batch))
    devices = every_device(config.device)
    return [devices[number % len(devices)] for number in range(workers)]


def every_device(device: str) -> list[str | None]:
    """Return all GPUs where none is named, else what is named, as None."""
    if device != "cuda":
        return [None]
    import torch

    count = torch.cuda.device_count()
    return [None] if count < 2 else [f"cuda:{number}" for number in range(count)]


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(evaluator: Evaluator, devices: Sequence[str | None]) -> list[Evaluator]:
    """Return an evaluator for each device that is named, the first of them the one that is given."""
    if not isinstance(evaluator, Multiplies):
        return [evaluator] * len(devices)
    first = evaluator if devices[0] is None else evaluator.beside(devices[0])
    return [first, *(evaluator.beside(device) for device in devices[1:])]
