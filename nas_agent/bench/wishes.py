"""Comparisons under limits, and of searches with two objectives: the same runs, scored by the area of their fronts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nas_agent.bench.compare import Comparison
from nas_agent.bench.document import document as plain_document
from nas_agent.bench.methods import Trace
from nas_agent.config import Config
from nas_agent.errors import ConfigError
from nas_agent.objectives import Quantity, Reference, front, hypervolume, limits, reference, second_objective
from nas_agent.records import Architecture, Json, Measured, Outcome, Provenance, Task
from nas_agent.spaces import Space
from nas_agent.tools.costs import Bounds, Costs
from nas_agent.tools.evaluators.base import Evaluation, Evaluator
from nas_agent.tools.evaluators.table import TableEvaluator

TARGETS = {"97 %": 0.03, "99 %": 0.01}  # of the true front's area


@dataclass(frozen=True)
class Within:
    """An evaluator that answers for what keeps the limits alone."""

    inner: Evaluator
    members: tuple[Architecture, ...]

    @property
    def name(self) -> str:
        """Of the real evaluator."""
        return self.inner.name

    @property
    def provenance(self) -> Provenance:
        """Of the real evaluator."""
        return self.inner.provenance

    @property
    def fidelity(self) -> str:
        """Of the real evaluator."""
        return self.inner.fidelity

    def pool(self) -> Sequence[Architecture]:
        """Return the candidates within the limits."""
        return self.members

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Ask the real evaluator."""
        return self.inner.evaluate(architecture, seed=seed)


def within(space: Space, evaluation: Evaluation, texts: Sequence[str]) -> Evaluation:
    """Leave out what breaks a limit, for all methods alike; the optimum is the best of what is left."""
    wanted, costs = limits(texts), Costs(space, evaluation)
    evaluation = replace(evaluation, costs=costs)
    if not wanted:
        return evaluation
    pool = evaluation.evaluator.pool()
    pool = space.enumerate() if pool is None else pool
    if pool is None:
        raise ConfigError(
            f"bench --limit: expected candidates that can be listed, space '{space.name}' has too many; use run --limit"
        )
    bounds = Bounds(wanted, costs)
    if bounds.asks:
        raise ConfigError(
            f"bench --limit: {bounds.asks[0].quantity.name} takes a network that is built for each candidate; use "
            "run --limit, or a task whose table or space knows it"
        )
    members = tuple(bounds.within(pool))
    evaluator = Within(evaluation.evaluator, members)
    optimum = None
    if evaluation.optimum is not None:
        score = evaluation.task.score
        optimum = score(max(score(value) for value in values_of(evaluator, members)))
    kept = f"limits {', '.join(map(str, wanted))} leave {len(members):,} of {len(pool):,} candidates"
    return replace(evaluation, evaluator=evaluator, optimum=optimum, note=f"{evaluation.note}; {kept}")


def values_of(evaluator: Evaluator, members: Sequence[Architecture]) -> list[float]:
    """Look all members up."""
    outcomes = (evaluator.evaluate(member, seed=0) for member in members)
    return [outcome.value for outcome in outcomes if isinstance(outcome, Measured)]


@dataclass(frozen=True, slots=True)
class Plane:
    """The two objectives of a comparison, the reference, and the areas that can be had."""

    task: Task
    quantity: Quantity
    costs: Costs
    worst: Reference
    area: float  # of the true front of the candidates
    true_front: tuple[Architecture, ...]
    all_rows: float | None  # of the front of all rows of the table, other spellings of a candidate among them

    def points(self, architectures: Sequence[Architecture], values: Sequence[float | None]) -> list[Point]:
        """Return what has a value and a cost, as (score, cost, architecture)."""
        cost = self.costs.of(self.quantity)
        return [
            (self.task.score(value), needed, architecture)
            for architecture, value in zip(architectures, values, strict=True)
            if value is not None and (needed := cost(architecture)) is not None
        ]


Point = tuple[float, float, Architecture]


def plane_of(evaluation: Evaluation, quantity: Quantity, given: str | None) -> Plane:
    """Find the true front; without a reference, take the medians of the table, all its rows counted."""
    evaluator, task, costs = evaluation.evaluator, evaluation.task, evaluation.costs
    pool = evaluator.pool()
    if evaluation.optimum is None or pool is None or costs is None:
        raise ConfigError("bench --objectives: expected a table, whose true front is known; choose another task")
    cost = costs.of(quantity)
    if cost.effort == "timed":
        raise ConfigError("bench --objectives: latency needs a device of the table, got none; write latency@DEVICE")
    looked = [evaluator.evaluate(member, seed=0) for member in pool]
    points = [
        (task.score(o.value), c, o.architecture)
        for o in looked
        if isinstance(o, Measured) and (c := cost(o.architecture)) is not None
    ]
    pairs = [point[:2] for point in points]
    rows = _rows(evaluator, quantity, task) or pairs
    if given is None:
        worst = Reference(*(float(np.median(column)) for column in zip(*rows, strict=True)))
    else:
        asked = reference(given, quantity, task.metric)
        worst = Reference(task.score(asked["value"]), asked["cost"])
    area = hypervolume(pairs, worst)
    if area <= 0.0:
        raise ConfigError(f"--reference: no candidate is better than {worst.to_dict()} in both; choose a worse point")
    true_front = tuple(architecture for _, _, architecture in front(points))
    all_rows = hypervolume(rows, worst) if rows is not pairs else None
    return Plane(task, quantity, costs, worst, area, true_front, all_rows)


def _rows(evaluator: Evaluator, quantity: Quantity, task: Task) -> list[tuple[float, float]]:
    """Return score and cost of every row of an unlimited table that has a column for the cost; else nothing."""
    if not isinstance(evaluator, TableEvaluator):
        return []
    pairs = evaluator.table.pairs(quantity.name)
    return [(task.score(value), cost) for value, cost in pairs]


def by_area(comparison: Comparison, plane: Plane) -> Comparison:
    """Score the same runs by their fronts: the percentage of the true front's area after each evaluation.

    On test: the area of the test values of what validation has put on the front, from the same reference, as a
    percentage of that of the true front's test values.
    """
    task = Task(
        comparison.evaluation.task.name, "area of the front", metric="hypervolume", unit="% of the true front's"
    )
    traces = {
        name: tuple(replace(trace, values=shares(trace, plane)) for trace in runs)
        for name, runs in comparison.traces.items()
    }
    other = "" if plane.all_rows is None else (
        f"; that of all rows, with every spelling of a cell, is {plane.all_rows / plane.area:.4f} times as large"
    )  # fmt: skip
    task_of, quantity = plane.task, plane.quantity
    at = f"{task_of.metric} {task_of.score(plane.worst.score):.6g}, {quantity.name} {quantity.show(plane.worst.cost)}"
    note = f"{comparison.evaluation.note}; hypervolume of {task_of.metric} and {quantity.name} from {at}{other}"
    evaluation = replace(comparison.evaluation, task=task, note=note, optimum=100.0)
    opened = _Tests(comparison.evaluation, plane)
    whole = opened.area(plane.true_front, comparison.seeds[0])
    tests = {
        name: {
            point: tuple(opened.share(trace, point, whole) for trace in comparison.traces[name])
            for point in comparison.checkpoints
        }
        for name in comparison.traces
    }
    return replace(comparison, evaluation=evaluation, traces=traces, tests=tests, targets=TARGETS)


class _Tests:
    """Opens the test split for what is on a front, after all runs, each architecture once."""

    def __init__(self, evaluation: Evaluation, plane: Plane) -> None:
        self._split, self._plane, self._opened = evaluation.test_split, plane, dict[tuple[str, int], float | None]()

    def value(self, architecture: Architecture, seed: int) -> float | None:
        """Return the test value."""
        key = architecture.id, seed
        if key not in self._opened:
            self._opened[key] = self._split.open(architecture, seed=seed).value
        return self._opened[key]

    def area(self, architectures: Sequence[Architecture], seed: int) -> float | None:
        """Return the area of test values; None where there are none."""
        values = [self.value(architecture, seed) for architecture in architectures]
        points = self._plane.points(architectures, values)
        return hypervolume([point[:2] for point in points], self._plane.worst) if points else None

    def share(self, trace: Trace, evaluations: int, whole: float | None) -> float | None:
        """Return the area of a run's front as a percentage of the true front's, both by test."""
        points = self._plane.points(trace.architectures[:evaluations], trace.values[:evaluations])
        area = self.area([architecture for _, _, architecture in front(points)], trace.seed)
        return 100.0 * area / whole if area is not None and whole else None


def shares(trace: Trace, plane: Plane) -> tuple[float, ...]:
    """Return the percentage of the true front's area after each evaluation."""
    found: list[float] = []
    kept: list[Point] = []
    for architecture, value in zip(trace.architectures, trace.values, strict=True):
        kept = front([*kept, *plane.points([architecture], [value])])
        found.append(100.0 * hypervolume([(score, cost) for score, cost, _ in kept], plane.worst) / plane.area)
    return tuple(found)


def final_fronts(comparison: Comparison, plane: Plane) -> dict[str, list[list[Json]]]:
    """Return each run's front at the end, with the test values of what is on it, opened after all runs."""
    opened = _Tests(comparison.evaluation, plane)

    def told(point: Point, seed: int) -> Json:
        score, cost, architecture = point
        value, test = plane.task.score(score), opened.value(architecture, seed)
        return {
            "arch": architecture.text,
            "val": value,
            plane.quantity.name: cost,
            "test": test,
        }

    return {
        name: [
            [told(point, trace.seed) for point in front(plane.points(trace.architectures, trace.values))]
            for trace in runs
        ]
        for name, runs in comparison.traces.items()
    }


def check(config: Config, *, test_curves: bool, stop_at_optimum: bool) -> Quantity | None:
    """Read what a comparison is asked for; return the cost beside the metric, None where the metric is all."""
    limits(config.limits)
    objective = second_objective(config.objectives)
    if objective is None:
        if config.reference is not None:
            raise ConfigError(f"--reference '{config.reference}': expected --objectives beside it; add them")
        return None
    for flag, given in (("--test-curves", test_curves), ("--stop-at-optimum", stop_at_optimum)):
        if given:
            raise ConfigError(f"{flag} is of one objective, got --objectives {','.join(config.objectives)}; leave one")
    return objective


def document(comparison: Comparison, objective: Quantity | None, given: str | None, command: str) -> Json:
    """Compute every figure; of two objectives, by areas, with the final fronts of all runs."""
    if objective is None:
        return plain_document(comparison, command=command)
    plane = plane_of(comparison.evaluation, objective, given)
    found = plain_document(by_area(comparison, plane), command=command)
    return {**found, "objectives": [plane.task.metric, objective.name], "fronts": final_fronts(comparison, plane)}
