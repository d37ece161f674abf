"""A comparison as one JSON document: every figure that is printed, plotted or stored comes from it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nas_agent.bench.compare import Comparison
from nas_agent.bench.crossing import crossings
from nas_agent.bench.methods import Trace
from nas_agent.bench.statistics import (
    Difference,
    Reached,
    best_so_far,
    estimate,
    mean_of,
    paired,
    reached,
    threshold_of,
)
from nas_agent.errors import ConfigError
from nas_agent.records import Json, Task
from nas_agent.spaces import Floats

TARGETS = {"99 %": 0.01, "optimum": 0.0}  # name -> part of the optimum by which it may be missed
RULES = {
    "selection": "cells are chosen by validation only; the test split is opened after all runs, for the chosen cells",
    "duplicates": "by canonical id; a known proposal returns its known outcome, costs no evaluation, counts as repeat",
    "failures": "a failed evaluation is spent and has no value",
    "censoring": "a run that never reached a target is above the budget in medians; in means it counts as the whole "
    "budget, which makes them lower bounds (written >=)",
    "intervals": "95 % percentile bootstrap over runs, 2,000 resamples; ± is half of the interval's width",
    "differences": "paired by seed; * where the interval leaves zero out; a:b is better on a seeds, worse on b; "
    "a run that never reached a target counts as budget + 1",
    "crossing": "where the mean over runs of the best so far, chosen by validation, first reaches 99 % of the best "
    "value of the table, by validation or by test; fewer: 100 x (1 - own / reference), bootstrap over seeds, the same "
    "for both; for the best value by test the whole table is read, after all runs; a curve that never crosses counts "
    "as budget + 1",
    "early end": "a run that measured everything, or was asked to stop at the optimum, keeps its last value in curves",
}


def document(comparison: Comparison, *, command: str, reference: str | None = None) -> Json:
    """Compute every figure; `reference` is what others are taken from (None: `agent`, else the first)."""
    evaluation, task = comparison.evaluation, comparison.evaluation.task
    base = _reference(comparison, reference)
    hits = {name: _targets(comparison, runs) for name, runs in comparison.traces.items()}
    return {
        "command": command,
        "task": task.to_dict(),
        "space": comparison.space,
        "evaluator": evaluation.evaluator.name,
        "provenance": evaluation.evaluator.provenance,
        "fidelity": evaluation.evaluator.fidelity,
        "note": evaluation.note,
        "optimum": evaluation.optimum,
        "budget": comparison.budget,
        "seeds": list(comparison.seeds),
        "checkpoints": list(comparison.checkpoints),
        "stop_at_optimum": comparison.stop_at_optimum,
        "rules": RULES
        if comparison.test_curves
        else {name: rule for name, rule in RULES.items() if name != "crossing"},
        "methods": {
            name: {
                "targets": {target: hit.to_dict() for target, hit in hits[name].items()},
                "checkpoints": _checkpoints(comparison, name),
                "curve": _curve(task, runs, comparison.budget),
                **_costs(runs),
            }
            for name, runs in comparison.traces.items()
        },
        "reference": base,
        "crossings": _crossings(comparison, base),
        "differences": {
            name: [difference.to_dict() | {"decided": difference.decided} for difference in found]
            for name in comparison.traces
            if name != base and (found := _differences(comparison, hits, base, name))
        },
        "jobs": comparison.jobs,
        "seconds": comparison.seconds,
    }


def _reference(comparison: Comparison, asked: str | None) -> str:
    if asked is None:
        return "agent" if "agent" in comparison.traces else next(iter(comparison.traces))
    if asked not in comparison.traces:
        raise ConfigError(f"reference: expected one of {', '.join(comparison.traces)}, got '{asked}'")
    return asked


def _targets(comparison: Comparison, runs: Sequence[Trace]) -> dict[str, Reached]:
    optimum, task = comparison.evaluation.optimum, comparison.evaluation.task
    if optimum is None:
        return {}  # without a complete table nobody knows what 99 % would be
    return {
        name: reached(task, runs, threshold_of(task, optimum, tolerance), comparison.budget)
        for name, tolerance in (comparison.targets or TARGETS).items()
    }


def _crossings(comparison: Comparison, base: str) -> list[Json]:
    """Where mean curves cross 99 % of the best; only where test curves were asked for."""
    task, tests, optimum = comparison.evaluation.task, comparison.test_curves, comparison.evaluation.optimum
    if tests is None or optimum is None:
        return []
    by_validation = {name: curves(task, runs, comparison.budget) for name, runs in comparison.traces.items()}
    found = []
    for split, lines, best in (("validation", by_validation, optimum), ("test", tests.curves, tests.best)):
        threshold = threshold_of(task, best, TARGETS["99 %"])
        crossed = crossings(task, lines, threshold, base)
        methods = {name: crossing.to_dict(comparison.budget) for name, crossing in crossed.items()}
        found.append({"split": split, "threshold": threshold, "methods": methods})
    return found


def _checkpoints(comparison: Comparison, name: str) -> dict[str, Json]:
    task, runs = comparison.evaluation.task, comparison.traces[name]
    found: dict[str, Json] = {}
    for point in comparison.checkpoints:
        values = {"validation": _values_at(task, runs, point), "test": comparison.tests[name][point]}
        found[str(point)] = {
            split: estimate(known, mean_of).to_dict() if (known := [v for v in column if v is not None]) else None
            for split, column in values.items()
        }
    return found


def _values_at(task: Task, runs: Sequence[Trace], point: int) -> list[float | None]:
    best = [float(best_so_far(task, trace, point)[-1]) for trace in runs]
    return [None if math.isnan(value) else value for value in best]


def curves(task: Task, runs: Sequence[Trace], budget: int) -> Floats:
    """Best-so-far curves, (runs, budget); NaN while a run has no value yet."""
    return np.array([best_so_far(task, trace, budget) for trace in runs])


def _curve(task: Task, runs: Sequence[Trace], budget: int) -> Json:
    """Mean, median and quartiles after each evaluation; None while some run has no value yet."""
    values = curves(task, runs, budget)
    lines = {"mean": values.mean(axis=0), "median": np.median(values, axis=0)}
    lines["lower_quartile"], lines["upper_quartile"] = np.quantile(values, [0.25, 0.75], axis=0)
    return {name: [None if math.isnan(v) else v for v in map(float, line)] for name, line in lines.items()}


def _costs(runs: Sequence[Trace]) -> Json:
    spent = max(1, sum(len(trace.values) for trace in runs))
    return {
        "evaluations": sum(len(trace.values) for trace in runs),
        "failed": sum(value is None for trace in runs for value in trace.values),
        "repeats": sum(trace.repeats for trace in runs),
        "stopped": {end: sum(t.stopped == end for t in runs) for end in ("budget", "exhausted", "optimum")},
        "own_wall_ms": 1000.0 * sum(trace.wall_seconds for trace in runs) / spent,
        "own_cpu_ms": 1000.0 * sum(trace.cpu_seconds for trace in runs) / spent,
        "evaluation_seconds": sum(trace.evaluation_seconds for trace in runs) / spent,
        "model_calls": sum(trace.model_calls for trace in runs),
        "tokens": sum(trace.tokens for trace in runs),
    }


def _differences(comparison: Comparison, hits: dict[str, dict[str, Reached]], base: str, name: str) -> list[Difference]:
    """Reference minus the other one: in evaluations (censored at the budget) and in the metric."""
    task, found = comparison.evaluation.task, []
    for target, hit in hits[base].items():
        columns = [
            [min(count, comparison.budget + 1.0) for count in reach.evaluations] for reach in (hit, hits[name][target])
        ]
        found.append(paired(f"evaluations to {target}", *columns, maximise=False))
    for point in comparison.checkpoints:
        values = [_values_at(task, comparison.traces[method], point) for method in (base, name)]
        found.append(paired(f"validation at {point}", *values, maximise=task.maximise))
    for point in comparison.checkpoints:
        tests = [comparison.tests[method][point] for method in (base, name)]
        found.append(paired(f"test at {point}", *tests, maximise=task.maximise))
    return [difference for difference in found if difference is not None]
