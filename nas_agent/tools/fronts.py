"""The front of a search with two objectives: which measured architectures no other one beats in both, and its area."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_agent.objectives import Quantity, Reference, front, hypervolume, second_objective
from nas_agent.records import Architecture, Json, Measured, Task
from nas_agent.tools.journal import Journal

Costs = Mapping[str, Mapping[str, float | None]]  # canonical id -> cost by name


@dataclass(frozen=True, slots=True)
class Front:
    """What no other measured architecture beats, cheapest first, and the area between it and a reference."""

    task: Task
    quantity: Quantity
    members: tuple[tuple[Measured, float], ...]  # with the cost
    reference: Reference
    area: float

    def to_dict(self, places: Mapping[str, int], tests: Mapping[str, float | None] | None = None) -> Json:
        """As plain JSON types; `places` are the evaluations by id."""
        found = []
        for outcome, cost in self.members:
            key = outcome.architecture.id
            told: Json = {"id": key, "arch": outcome.architecture.text, "val": outcome.value, self.quantity.name: cost}
            told["evaluation"] = places[key]
            found.append(told if tests is None else {**told, "test": tests.get(key)})
        return {
            "objectives": [self.task.metric, self.quantity.name],
            "reference": {"value": self.task.score(self.reference.score), self.quantity.name: self.reference.cost},
            "hypervolume": self.area,
            "front": found,
        }


def front_of(
    task: Task,
    measured: Iterable[Measured],
    costs: Costs,
    quantity: Quantity,
    *,
    given: Mapping[str, float] | None = None,
    most: float | None = None,
) -> Front:
    """Return the front of what was measured and whose cost is known.

    The reference is as `given`; else the largest cost (`most`, or of what was measured), and 0 where the metric is a
    percentage of which more is better, or the worst value that was measured.
    """
    points = [
        (task.score(outcome.value), cost, outcome)
        for outcome in measured
        if (cost := costs.get(outcome.architecture.id, {}).get(quantity.name)) is not None
    ]
    if given is not None:
        worst = Reference(task.score(given["value"]), given["cost"])
    else:
        floor = 0.0 if task.unit == "%" and task.maximise else min((score for score, _, _ in points), default=0.0)
        worst = Reference(floor, most if most is not None else max((cost for _, cost, _ in points), default=0.0))
    members = tuple((outcome, cost) for _, cost, outcome in front(points))
    return Front(task, quantity, members, worst, hypervolume([(s, c) for s, c, _ in points], worst))


def front_in(started: Mapping[str, Any], task: Task, measured: Iterable[Measured], costs: Costs) -> Front | None:
    """Return the front of a run by its `started` event; None where the metric is its only objective."""
    quantity = second_objective(started.get("objectives", ()), task.metric)
    if quantity is None:
        return None
    return front_of(task, measured, costs, quantity, given=started.get("reference"), most=started.get("most"))


def by_fronts(
    ranked: Sequence[tuple[Architecture, float]], costs: Costs, name: str
) -> list[tuple[Architecture, float]]:
    """Order architectures by the front that they are on once better ones are taken away, then by score.

    Non-dominated sorting (Deb et al., NSGA-II, 2002). What has no known cost comes last.
    """
    left = [
        (score, cost, (architecture, score))
        for architecture, score in ranked
        if (cost := costs.get(architecture.id, {}).get(name)) is not None
    ]
    ordered: list[tuple[Architecture, float]] = []
    while left:
        best = front(left)
        ordered += [item for _, _, item in sorted(best, key=lambda point: -point[0])]
        taken = {item[0].id for _, _, item in best}
        left = [point for point in left if point[2][0].id not in taken]
    known = {architecture.id for architecture, _ in ordered}
    return ordered + [item for item in ranked if item[0].id not in known]


def told_front(journal: Journal) -> Json | None:
    """Return the front of a search as its result has it, with test values once these are open."""
    events = journal.log.events
    found = front_in(events[0] if events else {}, journal.task, journal.archive.measured, journal.costs)
    if found is None:
        return None
    places = {key: journal.archive.place(key) for key in journal.archive.ids}
    return found.to_dict(places, (journal.result or {}).get("front_tests"))


def told_limits(journal: Journal) -> Json | None:
    """Return what a search was limited to, as its result has it."""
    started = journal.log.events[0] if journal.log.events else {}
    if not started.get("limits"):
        return None
    return {"limits": started["limits"], "refused": len(journal.refused), **started.get("within_limits", {})}
