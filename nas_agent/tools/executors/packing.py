"""How many trainings side by side are fastest here: tried with copies of one network, before a search begins.

On a GPU: one, two, four, ... copies share each device, until the throughput grows no more or the memory would not
suffice for larger networks. On a CPU: workers of one thread each on all cores, then half as many of two threads, and
so on. A network that takes the middle one of three times stands for all (ours).
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from random import Random

from nas_agent.config import Config
from nas_agent.records import Architecture, Failed, Fidelity, Outcome
from nas_agent.spaces.base import Space
from nas_agent.tools.evaluators.train import TrainEvaluator
from nas_agent.tools.executors.base import Work
from nas_agent.tools.executors.pool import PoolExecutor, cores, every_device, slots

GROWS = 1.10  # times the throughput that twice as many workers, or other threads, must bring
FILLED = 0.6  # of a GPU's memory at most, by copies of a middling network: larger ones will come
STEPS, STEPS_ON_GPU = 8, 300  # of training in a try
MOST = 16  # copies on one device
SAMPLED = 0.2  # seconds between two looks at a GPU's memory


@dataclass(frozen=True, slots=True)
class Tried:
    """Copies of a network, trained side by side."""

    workers: int
    threads: int
    hourly: float  # copies trained in an hour; 0 where one failed
    memory: float | None = None  # share of the fullest device's memory; None where it is not known

    def __str__(self) -> str:
        filled = "" if self.memory is None else f", memory {self.memory:.0%}"
        return f"{self.workers} of {self.threads}: {self.hourly:.0f}/h{filled}"


# Trains copies side by side: so many workers of so many threads.
Try = Callable[[int, int], Tried]


def on_cpu(attempt: Try, cores: int, threads: Sequence[int]) -> list[Tried]:
    """Try each number of threads on all cores; return all, the chosen one last."""
    tried = [attempt(max(1, cores // each), each) for each in threads]
    best = tried[0]
    for other in tried[1:]:
        best = other if other.hourly > GROWS * best.hourly else best
    return [*(each for each in tried if each is not best), best]


def on_gpu(attempt: Try, devices: int, threads: int, most: int) -> list[Tried]:
    """Double the copies on each device while that pays; return all, the chosen one last."""
    best = attempt(devices, threads)
    tried = [best]
    while best.hourly and 2 * best.workers <= min(most, MOST * devices):
        more = attempt(2 * best.workers, threads)
        fits = more.memory is None or more.memory <= FILLED
        if not fits or more.hourly <= GROWS * best.hourly:
            return [more, *tried]
        tried, best = [*tried, more], more
    return tried


class Probe:
    """Tries on the task's own images, at a fidelity of a few steps."""

    def __init__(self, evaluator: TrainEvaluator, space: Space, devices: Sequence[str | None]) -> None:
        self._evaluator, self._devices = evaluator, tuple(devices)
        training, images = evaluator.trainer.training, evaluator.trainer.images
        steps = STEPS_ON_GPU if training.device.startswith("cuda") else STEPS
        passes, share = divmod(steps * training.batch / len(images.train), 1.0)
        share = max(share, training.batch / len(images.train)) if passes < 1 else 1.0
        at = training.fidelity
        self._fidelity = Fidelity(max(1, round(passes)), at.width, share, at.resolution)
        self._draws = [space.sample(Random(f"packing/{number}")) for number in range(3)]
        self._typical: Architecture | None = None

    def __call__(self, workers: int, threads: int) -> Tried:
        """Train one copy in each worker; the start of the workers does not count."""
        devices = [self._devices[number % len(self._devices)] for number in range(workers)]
        first = self._evaluator.beside(devices[0], threads=threads)
        with closing(PoolExecutor(slots(first, devices))) as pool:
            warm = self._all(pool, self._draws if self._typical is None else [self._typical] * workers)
            if self._typical is None:
                done = sorted(warm, key=lambda outcome: outcome.seconds)
                self._typical = done[len(done) // 2].architecture
                warm = self._all(pool, [self._typical] * workers)
            start = time.perf_counter()
            with _memory() as filled:
                outcomes = self._all(pool, [self._typical] * workers)
            seconds = time.perf_counter() - start
        failed = any(isinstance(outcome, Failed) for outcome in (*warm, *outcomes))
        return Tried(workers, threads, 0.0 if failed else 3600 * workers / seconds, max(filled, default=None))

    def _all(self, pool: PoolExecutor, copies: Sequence[Architecture]) -> list[Outcome]:
        """Train copies side by side; their seeds tell them apart."""
        works = [Work(architecture, seed, self._fidelity) for seed, architecture in enumerate(copies)]
        for work in works:
            pool.submit(work)
        return [pool.take(work) for work in works]


@contextlib.contextmanager
def _memory() -> Iterator[list[float]]:
    """Give a list that the fullest device's share of memory goes into, now and then; empty without `nvidia-smi`."""
    seen: list[float] = []
    program, ended = shutil.which("nvidia-smi"), threading.Event()
    command = [str(program), "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]

    def look() -> None:
        while not ended.wait(SAMPLED):
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            with contextlib.suppress(ValueError):
                pairs = [line.split(",") for line in said.splitlines()]
                seen.extend([max(float(used) / float(whole) for used, whole in pairs)] if pairs else [])

    thread = threading.Thread(target=look, daemon=True)
    if program is not None:
        thread.start()
    try:
        yield seen
    finally:
        ended.set()
        if program is not None:
            thread.join(5.0)


def pack(config: Config, evaluator: TrainEvaluator, space: Space, *, settled: bool) -> list[Tried]:
    """Try what can be chosen between, the choice last; empty where there is nothing to choose.

    `settled`: the number of threads is a term already; else it is chosen too, unless the configuration names it.
    """
    most, device = max(config.most_under_way, config.batch), evaluator.trainer.training.device
    if device.startswith("cuda"):
        devices = every_device(device)
        return on_gpu(Probe(evaluator, space, devices), len(devices), config.train_threads, most)
    named = settled or "train_threads" in config.model_fields_set
    threads = [config.train_threads] if named else [n for n in (1, 2, 4, 8, 16) if n <= cores()]
    return [] if len(threads) == 1 or device != "cpu" else on_cpu(Probe(evaluator, space, [None]), cores(), threads)


def told(tried: Sequence[Tried]) -> str:
    """Say in one line what was tried and what is taken."""
    best = tried[-1]
    others = "; ".join(map(str, tried[:-1]))
    return f"{best.workers} side by side, {best.threads} CPU threads each ({best}{f'; {others}' if others else ''})"
