"""Where the mean curve of a method crosses a threshold, and how many evaluations fewer than another's that is.

The search sees validation only. Here, after all runs, the test split is opened for every cell that was ever a
run's best by validation, and for all cells of the table, to know the best test value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_agent.bench.methods import SAME, Trace
from nas_agent.bench.statistics import LEVEL, RESAMPLES, Estimate
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces import Floats
from nas_agent.tools.evaluators.base import Evaluation


@dataclass(frozen=True, slots=True)
class TestCurves:
    """Test values of the best by validation so far, (runs, budget) for each method, and the best there is."""

    curves: Mapping[str, Floats]
    best: float


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where the mean curve crosses; infinity where it does not."""

    evaluations: Estimate
    fewer: Estimate | None  # percent, against the reference; None for the reference itself

    def to_dict(self, budget: int) -> Json:
        """As plain JSON types; None where the curve needs more than the budget."""
        count = self.evaluations
        ends = {"value": count.value, "low": count.low, "high": count.high}
        evaluations = {name: int(value) if value <= budget else None for name, value in ends.items()}
        return {"evaluations": evaluations, "fewer": None if self.fewer is None else self.fewer.to_dict()}


def check_test_values(evaluation: Evaluation) -> None:
    """Raise ConfigError where no table with test values is there: now, not after an hour of runs."""
    split, pool = evaluation.test_split, evaluation.evaluator.pool() or ()
    if evaluation.optimum is None or all(split.open(one, seed=0).value is None for one in pool):
        raise ConfigError("--test-curves needs a complete table with test values; leave the flag out")


def open_curves(evaluation: Evaluation, traces: Mapping[str, Sequence[Trace]], budget: int) -> TestCurves:
    """Open the test split, after `check_test_values` and after all runs."""
    opened: dict[tuple[str, int], float | None] = {}

    def value(architecture: Architecture, seed: int) -> float | None:
        key = architecture.id, seed
        if key not in opened:
            opened[key] = evaluation.test_split.open(architecture, seed=seed).value
        return opened[key]

    known = [found for one in evaluation.evaluator.pool() or () if (found := value(one, 0)) is not None]

    def curve(trace: Trace) -> list[float]:
        best, shown, line = -math.inf, math.nan, []
        for architecture, measured in zip(trace.architectures[:budget], trace.values[:budget], strict=True):
            if measured is not None and evaluation.task.score(measured) > best:
                best, found = evaluation.task.score(measured), value(architecture, trace.seed)
                shown = math.nan if found is None else found
            line.append(shown)
        return line + [shown] * (budget - len(line))

    curves = {name: np.array([curve(trace) for trace in runs]) for name, runs in traces.items()}
    return TestCurves(curves, max(known) if evaluation.task.maximise else min(known))


def crossings(
    task: Task, curves: Mapping[str, Floats], threshold: float, base: str, seed: int = 0
) -> dict[str, Crossing]:
    """Return where the mean of each (runs, budget) crosses, with percentile intervals over resampled seeds.

    All methods are resampled alike, so that what is said of two of them is paired by seed.
    """
    runs = len(curves[base])
    drawn = np.random.default_rng(seed).integers(0, runs, size=(RESAMPLES, runs))
    weights = np.stack([np.bincount(row, minlength=runs) for row in np.vstack([np.arange(runs), drawn])]) / runs
    counts = {name: _crossed(task, weights, lines, threshold) for name, lines in curves.items()}
    return {
        name: Crossing(
            _estimate(found, runs),
            None if name == base else _estimate(100.0 * (1.0 - found / counts[base]), runs),
        )
        for name, found in counts.items()
    }


def _crossed(task: Task, weights: Floats, lines: Floats, threshold: float) -> Floats:
    """Return the first evaluation at which each weighted mean is there; one more than the budget where none is."""
    worst = -1e300  # of a run that has no value yet: no mean with it in crosses anything
    scores = np.where(np.isnan(lines), worst, lines if task.maximise else -lines)
    there: NDArray[np.bool_] = weights @ scores >= task.score(threshold) - SAME * abs(threshold)
    return np.asarray(np.where(there.any(axis=1), there.argmax(axis=1) + 1.0, lines.shape[1] + 1.0))


def _estimate(values: Floats, runs: int) -> Estimate:
    """The first value is that of the runs themselves, the others are of resampled ones."""
    ordered = np.sort(values[1:])
    low, high = ordered[int(RESAMPLES * (1 - LEVEL) / 2)], ordered[int(RESAMPLES * (1 + LEVEL) / 2) - 1]
    return Estimate(float(values[0]), float(low), float(high), runs)
