"""Every outcome of a run, in the order in which it came."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from enum import Enum

from nas_agent.records import Architecture, Measured, Outcome, Task


class Added(Enum):
    """What `Archive.add` did."""

    NEW = "new"
    BEST = "best"  # new, and better than everything before it
    KNOWN = "known"  # an outcome of this architecture stands already; nothing was written


class Archive:
    """Outcomes by canonical id. A failed architecture is kept too, so that it is not proposed again."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._outcomes: dict[str, Outcome] = {}
        self._measured: list[Measured] = []
        self._scores: list[float] = []
        self._curve: list[float | None] = []
        self.best: Measured | None = None

    def __len__(self) -> int:
        return len(self._outcomes)

    def __contains__(self, architecture_id: object) -> bool:
        return architecture_id in self._outcomes

    @property
    def ids(self) -> KeysView[str]:
        """Canonical ids with an outcome; asked thousands of times a round, so it is the dictionary's own view."""
        return self._outcomes.keys()

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._outcomes.values())

    def get(self, architecture_id: str) -> Outcome | None:
        """Return the outcome of this architecture, if it has one."""
        return self._outcomes.get(architecture_id)

    def add(self, outcome: Outcome) -> Added:
        """Keep an outcome; the first one of an architecture stands."""
        key = outcome.architecture.id
        if key in self._outcomes:
            return Added.KNOWN
        self._outcomes[key] = outcome
        better = False
        if isinstance(outcome, Measured):
            score = self.task.score(outcome.value)
            better = self.best is None or score > self.task.score(self.best.value)
            self._measured.append(outcome)
            self._scores.append(score)
            if better:
                self.best = outcome
        self._curve.append(None if self.best is None else self.best.value)
        return Added.BEST if better else Added.NEW

    @property
    def measured(self) -> list[Measured]:
        """Outcomes with a value, oldest first."""
        return self._measured

    @property
    def scores(self) -> list[float]:
        """Their scores (more is better), in the same order."""
        return self._scores

    @property
    def curve(self) -> list[float | None]:
        """Best value so far after each evaluation; None before the first one that did not fail."""
        return self._curve

    def ranked(self) -> list[tuple[Architecture, float]]:
        """Measured architectures with their scores, best first; the earlier one first among equals."""
        order = sorted(range(len(self._scores)), key=lambda index: (-self._scores[index], index))
        return [(self._measured[index].architecture, self._scores[index]) for index in order]
