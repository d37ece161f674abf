"""Every outcome of a run, in the order in which it came.

A search in several fidelities measures an architecture more than once, each time at a higher rung. What a run has
found is what it found at the full fidelity: best, curve and scores know nothing else. Without rungs every outcome is
of the full one.
"""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from dataclasses import dataclass, field
from enum import Enum

from nas_agent.records import Architecture, Failed, Fidelity, Json, Measured, Outcome, Task
from nas_agent.tools.fidelities import Rungs


class Added(Enum):
    """What `Archive.add` did."""

    NEW = "new"
    BEST = "best"  # new, and better than everything before it
    KNOWN = "known"  # an outcome of this architecture at this fidelity stands already; nothing was written


@dataclass(slots=True)
class Level:
    """The outcomes of one rung."""

    evaluations: int = 0
    measured: list[Measured] = field(default_factory=list)  # oldest first
    scores: list[float] = field(default_factory=list)  # theirs; more is better

    def best_first(self) -> list[int]:
        """Return the places of the measured ones, best first; the earlier one first among equals."""
        return sorted(range(len(self.scores)), key=lambda place: (-self.scores[place], place))


class Archive:
    """Outcomes by canonical id. A failed architecture is kept too, so that it is not proposed again."""

    def __init__(self, task: Task, rungs: Rungs | None = None) -> None:
        self.task = task
        self._begin(rungs)

    def _begin(self, rungs: Rungs | None) -> None:
        self._rungs = rungs
        self._all: list[Outcome] = []
        self._highest: dict[str, tuple[int, int]] = {}  # canonical id -> level of its latest outcome, and its place
        self.levels = [Level() for _ in range(1 if rungs is None else len(rungs))]
        self._curve: list[float | None] = []
        self.best: Measured | None = None
        self.stopped: list[Measured] = []  # by their learning curves, oldest first; no rung has them

    @property
    def rungs(self) -> Rungs | None:
        """The fidelities of the search; None where there is one."""
        return self._rungs

    @rungs.setter
    def rungs(self, rungs: Rungs) -> None:
        assert not self._all
        self._begin(rungs)

    def __len__(self) -> int:
        """Count the evaluations."""
        return len(self._all)

    def __contains__(self, architecture_id: object) -> bool:
        return architecture_id in self._highest

    @property
    def ids(self) -> KeysView[str]:
        """Canonical ids with an outcome; asked thousands of times a round, so it is the dictionary's own view."""
        return self._highest.keys()

    def __iter__(self) -> Iterator[Outcome]:
        """All evaluations, oldest first."""
        return iter(self._all)

    def get(self, architecture_id: str) -> Outcome | None:
        """Return the outcome of this architecture, if it has one; of several, that of the highest rung."""
        found = self._highest.get(architecture_id)
        return None if found is None else self._all[found[1]]

    def place(self, architecture_id: str) -> int:
        """Return the evaluation, counted from 1, that this outcome came from."""
        return self._highest[architecture_id][1] + 1

    def holds(self, architecture_id: str, at: Fidelity | None = None) -> bool:
        """Tell whether this architecture was measured at this fidelity or a higher one."""
        found = self._highest.get(architecture_id)
        return found is not None and (at is None or found[0] >= self.level_of(at))

    def level_of(self, at: Fidelity | None) -> int:
        """Return the rung of a fidelity, 0 for the cheapest."""
        return 0 if self._rungs is None else self._rungs.level(at)

    def is_full(self, outcome: Outcome) -> bool:
        """Tell whether an outcome is of the full fidelity; a training that was stopped is not."""
        if isinstance(outcome, Measured) and outcome.stopped:
            return False
        return self.level_of(outcome.at) == len(self.levels) - 1

    def is_first(self, outcome: Outcome) -> bool:
        """Tell whether an outcome is of the cheapest rung, at which every new architecture is measured."""
        return self.level_of(outcome.at) == 0

    def add(self, outcome: Outcome) -> Added:
        """Keep an outcome; the first one of an architecture at a fidelity stands."""
        key, level = outcome.architecture.id, self.level_of(outcome.at)
        known = self._highest.get(key)
        if known is not None and known[0] >= level:
            return Added.KNOWN
        self._highest[key] = level, len(self._all)
        self._all.append(outcome)
        self.levels[level].evaluations += 1
        better = False
        if isinstance(outcome, Measured) and outcome.stopped:
            self.stopped.append(outcome)
        elif isinstance(outcome, Measured):
            score = self.task.score(outcome.value)
            self.levels[level].measured.append(outcome)
            self.levels[level].scores.append(score)
            full = level == len(self.levels) - 1
            better = full and (self.best is None or score > self.task.score(self.best.value))
            if better:
                self.best = outcome
        self._curve.append(None if self.best is None else self.best.value)
        return Added.BEST if better else Added.NEW

    @property
    def spent(self) -> float:
        """What was spent, in full trainings: without rungs the number of evaluations."""
        if self._rungs is None:
            return float(len(self._all))
        return sum(level.evaluations * cost for level, cost in zip(self.levels, self._rungs.costs, strict=True))

    @property
    def measured(self) -> list[Measured]:
        """Outcomes with a value at the full fidelity, oldest first."""
        return self.levels[-1].measured

    @property
    def scores(self) -> list[float]:
        """Their scores (more is better), in the same order."""
        return self.levels[-1].scores

    @property
    def curve(self) -> list[float | None]:
        """Best value so far at the full fidelity after each evaluation; None before the first one."""
        return self._curve

    def ranked(self) -> list[tuple[Architecture, float]]:
        """Measured architectures with their scores, best first; the earlier one first among equals.

        With rungs, those that got farther come first: scores of different rungs are not compared.
        """
        order: list[tuple[Architecture, float]] = []
        for number in reversed(range(len(self.levels))):
            level = self.levels[number]
            pairs = ((level.measured[place].architecture, level.scores[place]) for place in level.best_first())
            order += [pair for pair in pairs if self._highest[pair[0].id][0] == number]
        return order

    def waiting(self, number: int, share: float | None = None) -> list[Architecture]:
        """Return the architectures of a rung that were measured no higher, best first; `share`: among its best."""
        level = self.levels[number]
        best = level.best_first()
        best = best if share is None else best[: int(level.evaluations * share + 1e-9)]
        found = (level.measured[place].architecture for place in best)
        return [architecture for architecture in found if self._highest[architecture.id][0] == number]

    def lasting(self) -> list[Outcome]:
        """Return what means something beyond this search: failures, and values of the full fidelity from scratch."""
        return [one for one in self._all if isinstance(one, Failed) or (self.is_full(one) and one.stands_alone)]

    def told(self) -> list[Json]:
        """Sum up each rung as plain JSON types; empty without rungs."""
        if self._rungs is None:
            return []
        return [
            {
                "at": at.to_dict(),
                "told": str(at),
                "cost": cost,
                "evaluations": level.evaluations,
                "failed": level.evaluations - len(level.measured),
                "best": None if not level.scores else level.measured[level.best_first()[0]].value,
            }
            for at, cost, level in zip(self._rungs.levels, self._rungs.costs, self.levels, strict=True)
        ]
