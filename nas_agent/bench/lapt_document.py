"""The numbers of `bench lapt`: one document for each transfer, each arm against the reference, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from nas_agent.bench.compare import Comparison
from nas_agent.bench.lapt import REFERENCE, Pair
from nas_agent.bench.methods import Trace
from nas_agent.bench.statistics import (
    Difference,
    best_so_far,
    estimate,
    evaluations_to,
    mean_of,
    median_of,
    paired,
    reached,
)
from nas_agent.records import Json, Measured, Task
from nas_agent.spaces import Floats
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.table import TableEvaluator

POINTS = (20, 50)  # evaluations at which values and ranks are stated
# What else is compared: principles alone, their controls, and what a source without sense costs.
CONTRASTS = (
    ("principles only", "agent"),
    ("counting agent", "agent"),
    ("shuffled principles", "agent"),
    ("shuffled source", "agent"),
    ("agent", "agent, no principles"),
)
TOP = 0.001  # share of the cells that counts as the top
BEST = 0.01


def pair_document(pair: Pair, comparison: Comparison, rows: int, llm: str = "none") -> Json:
    """Compute every figure of one pair."""
    evaluation = comparison.evaluation
    task, values = evaluation.task, _values(evaluation)
    goals, cells, budget = _goals(evaluation, values), _cells(evaluation), comparison.budget
    reference = REFERENCE if REFERENCE in comparison.traces else next(iter(comparison.traces))
    points = [point for point in POINTS if point <= comparison.budget]
    return {
        "pair": pair.name,
        "rows": rows,
        "llm": llm,
        "of": len(values),
        "budget": comparison.budget,
        "seeds": len(comparison.seeds),
        "goals": goals,
        "points": points,
        "note": evaluation.note,
        "provenance": evaluation.evaluator.provenance,
        "reference": reference,
        "arms": {
            name: {
                "goals": {
                    goal: reached(task, runs, value, comparison.budget).to_dict() for goal, value in goals.items()
                },
                "value": {str(p): _spread(_best_at(task, runs, p)) for p in points},
                "rank": {str(p): _spread(_ranks(task, cells, _best_at(task, runs, p))) for p in points},
                "model": _asked(runs),
            }
            for name, runs in comparison.traces.items()
        },
        "differences": {
            name: {
                quantity: difference.to_dict() | {"decided": difference.decided}
                for quantity, difference in _differences(
                    task, cells, goals, points, comparison.traces[reference], runs, comparison.budget
                ).items()
            }
            for name, runs in comparison.traces.items()
            if name != reference
        },
        "contrasts": {
            f"{first} - {second}": {
                goal: difference.to_dict() | {"decided": difference.decided}
                for goal, value in goals.items()
                if (difference := _sooner(task, value, comparison.traces[first], comparison.traces[second], budget))
            }
            for first, second in CONTRASTS
            if first in comparison.traces and second in comparison.traces
        },
        "seconds": comparison.seconds,
    }


def _asked(runs: Sequence[Trace]) -> Json:
    """Return what a language model was asked in all runs of an arm, and what that cost."""
    costs = [trace.cost_usd for trace in runs]
    known = [cost for cost in costs if cost is not None]
    return {
        "calls": sum(trace.model_calls for trace in runs),
        "failures": sum(trace.model_failures for trace in runs),
        "tokens": sum(trace.tokens for trace in runs),
        "cost_usd": sum(known) if len(known) == len(costs) else None,
    }


def _cells(evaluation: Evaluation) -> Floats:
    """Return the validation value of every cell, isomorphic ones counted where the table has them."""
    if isinstance(evaluation.evaluator, TableEvaluator):
        return np.array(evaluation.evaluator.cell_values())
    return _values(evaluation)


def _values(evaluation: Evaluation) -> Floats:
    """Return the validation value of every candidate."""
    pool = evaluation.evaluator.pool() or ()
    outcomes = (evaluation.evaluator.evaluate(architecture, seed=0) for architecture in pool)
    return np.array([outcome.value for outcome in outcomes if isinstance(outcome, Measured)])


def _goals(evaluation: Evaluation, values: Floats) -> dict[str, float]:
    """Return the values to be reached: a cell of the top 0.1 % (isomorphic ones counted), the best 1 %, the optimum."""
    task = evaluation.task
    ranked = np.sort([task.score(value) for value in _cells(evaluation)])[::-1]
    classes = np.sort([task.score(value) for value in values])[::-1]
    goals = {}
    if len(ranked) * TOP >= 2:
        goals["top 0.1 %"] = task.score(float(ranked[int(TOP * len(ranked)) - 1]))
    goals["best 1 %"] = task.score(float(classes[max(int(BEST * len(classes)), 1) - 1]))
    goals["optimum"] = task.score(float(classes[0]))
    return goals


def _best_at(task: Task, runs: Sequence[Trace], point: int) -> list[float]:
    return [float(best_so_far(task, run, point)[-1]) for run in runs]


def _ranks(task: Task, values: Floats, found: Sequence[float]) -> list[float]:
    """Return the rank of each value among all measured cells; 1 is the best."""
    ascending = np.sort([task.score(value) for value in values])
    return [
        float(1 + len(ascending) - np.searchsorted(ascending, task.score(value), side="right"))
        if math.isfinite(value)
        else float(len(ascending))
        for value in found
    ]


def _spread(values: Sequence[float]) -> Json:
    known = [value for value in values if math.isfinite(value)]
    return estimate(known, mean_of).to_dict() | {"median": estimate(known, median_of).value} if known else {}


def _differences(
    task: Task,
    values: Floats,
    goals: Mapping[str, float],
    points: Sequence[int],
    first: Sequence[Trace],
    second: Sequence[Trace],
    budget: int,
) -> dict[str, Difference]:
    """Reference minus another arm, paired by seed."""
    found: dict[str, Difference | None] = {}
    for goal, value in goals.items():
        found[f"evaluations to {goal}"] = _sooner(task, value, first, second, budget)
    for point in points:
        best = [_best_at(task, runs, point) for runs in (first, second)]
        found[f"value at {point}"] = paired(f"value at {point}", *best, maximise=task.maximise)
        ranks = [_ranks(task, values, column) for column in best]
        found[f"rank at {point}"] = paired(f"rank at {point}", *ranks, maximise=False)
    return {name: difference for name, difference in found.items() if difference is not None}


def _sooner(
    task: Task, value: float, first: Sequence[Trace], second: Sequence[Trace], budget: int
) -> Difference | None:
    """Return the first arm's evaluations to a value minus the second's; never reached counts as budget + 1."""
    columns = [[min(evaluations_to(task, run, value), budget + 1.0) for run in runs] for runs in (first, second)]
    return paired("evaluations", *columns, maximise=False)
