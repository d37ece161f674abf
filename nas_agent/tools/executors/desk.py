"""The desk between a search and its workers: what waits, what is under way, and what has arrived but was not taken."""

from __future__ import annotations

import threading
from collections import deque

from nas_agent.errors import NasAgentError
from nas_agent.records import Outcome
from nas_agent.tools.executors.base import Arrived, Work

LOOK = 0.5  # seconds between two looks of a waiting thread: where a signal does not wake it, Ctrl-C is heard then


class Desk:
    """Used by the search's thread (`submit`, `take`, `close`) and by workers' threads (`next`, `arrive`, `break_down`).

    What goes wrong with the machine is raised by `take` for the work it happened to; what makes all further work
    pointless, by every `take`.
    """

    def __init__(self) -> None:
        self.closed = False
        self._changed = threading.Condition()  # reentrant: a Condition's lock is an RLock
        self._waiting: deque[Work] = deque()
        self._known: set[Work] = set()  # waiting, under way, or arrived
        self._results: dict[Work, Outcome | BaseException] = {}
        self._broken: BaseException | None = None  # why nothing will arrive any more
        self._untold: NasAgentError | None = None  # why what arrives cannot be told on
        self._arrived: Arrived = lambda work, outcome, worker: None

    def begin(self, arrived: Arrived) -> None:
        """Name who hears of outcomes as they arrive."""
        self._arrived = arrived

    def expect(self, work: Work) -> bool:
        """Take note of work that is done elsewhere; return whether it is new."""
        with self._changed:
            new = work not in self._known
            self._known.add(work)
            return new

    def submit(self, work: Work) -> bool:
        """Add work that waits for `next`; return whether it is new."""
        with self._changed:
            new = self.expect(work)
            if new:
                self._waiting.append(work)
                self._changed.notify_all()
            return new

    def next(self) -> Work | None:
        """Wait for work, oldest first; None once the desk is closed."""
        with self._changed:
            while not self._waiting and not self.closed:
                self._changed.wait()
            return None if self.closed else self._waiting.popleft()

    def arrive(self, work: Work, result: Outcome | BaseException, worker: str) -> None:
        """Hand in an outcome, or what kept a worker from having one; it is told on before it can be taken."""
        untold: NasAgentError | None = None
        if not isinstance(result, BaseException):
            try:
                self._arrived(work, result, worker)
            except NasAgentError as error:  # a full disk: told to the search, whose thread this is not
                untold = error
        with self._changed:
            self._results[work] = result
            self._untold = self._untold or untold
            self._changed.notify_all()

    def break_down(self, error: BaseException) -> None:
        """Say that nothing will arrive any more; what has arrived can still be taken."""
        with self._changed:
            self._broken = self._broken or error
            self._changed.notify_all()

    def take(self, work: Work) -> Outcome:
        """Wait for the outcome of submitted work and hand it over."""
        with self._changed:
            if work not in self._known:
                raise KeyError(f"{work.architecture.text} was not submitted")
            while work not in self._results and self._untold is None:
                if self._broken is not None:
                    raise self._broken
                self._changed.wait(LOOK)
            if self._untold is not None:
                raise self._untold
            self._known.discard(work)
            result = self._results.pop(work)
        if isinstance(result, BaseException):
            raise result
        return result

    def close(self) -> None:
        """Send the workers home."""
        with self._changed:
            self.closed = True
            self._waiting.clear()
            self._changed.notify_all()
