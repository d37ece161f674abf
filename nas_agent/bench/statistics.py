"""Statistics of repeated runs: evaluations to a threshold, bootstrap intervals, paired differences.

A run that never reached a threshold is censored: it needed more evaluations than it had. It is written as
infinity, so that a median over runs is infinite (shown as ">budget") exactly where half of them fell short,
and never enters a mean as if it were a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nas_agent.bench.methods import SAME, Trace
from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces import Floats

RESAMPLES = 2000
LEVEL = 0.95
Statistic = Callable[[Floats], Floats]  # (resamples, runs) -> (resamples,)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic of several runs with its bootstrap interval; infinity means "more than the budget"."""

    value: float
    low: float
    high: float
    runs: int  # how many runs it is of

    def to_dict(self) -> Json:
        """As plain JSON types; infinity becomes None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {**{k: v if math.isfinite(v) else None for k, v in numbers.items()}, "runs": self.runs}


@dataclass(frozen=True, slots=True)
class Reached:
    """How many evaluations the runs needed to reach a threshold."""

    threshold: float  # in the metric's unit
    evaluations: tuple[float, ...]  # of each run; infinity where it never got there
    median: Estimate
    mean: Estimate  # censored runs counted as the whole budget: a lower bound wherever `found` is not all
    mean_curve: float  # where the mean best-so-far curve crosses the threshold; infinity where it does not
    budget: int

    @property
    def found(self) -> int:
        """How many runs got there."""
        return sum(math.isfinite(count) for count in self.evaluations)

    def to_dict(self) -> Json:
        """As plain JSON types; None where more evaluations than the budget were needed."""
        return {
            "threshold": self.threshold,
            "found": self.found,
            "runs": len(self.evaluations),
            "median": self.median.to_dict(),
            "mean": self.mean.to_dict(),
            "mean_is_lower_bound": self.found < len(self.evaluations),
            "mean_curve": int(self.mean_curve) if math.isfinite(self.mean_curve) else None,
            "evaluations": [int(count) if math.isfinite(count) else None for count in self.evaluations],
        }


def threshold_of(task: Task, optimum: float, tolerance: float) -> float:
    """Return the value that misses the optimum by this part of its size, e.g. 0.01 for 99 % of an accuracy."""
    return task.score(task.score(optimum) - tolerance * abs(optimum))


def best_so_far(task: Task, trace: Trace, length: int) -> Floats:
    """Return the best value after 1, 2, ... `length` evaluations; NaN while all have failed.

    A run that ended early (everything measured, or stopped at the optimum) keeps its last value: it cannot
    get better.
    """
    scores = np.array([math.nan if value is None else task.score(value) for value in trace.values[:length]])
    if not len(scores):
        return np.full(length, math.nan)
    best = np.fmax.accumulate(scores)
    padded = np.concatenate([best, np.full(length - len(best), best[-1])])
    return padded if task.maximise else -padded


def evaluations_to(task: Task, trace: Trace, threshold: float) -> float:
    """Return how many evaluations the run needed to get there, infinity where it never did."""
    wanted = task.score(threshold) - SAME * abs(threshold)
    for count, value in enumerate(trace.values, start=1):
        if value is not None and task.score(value) >= wanted:
            return float(count)
    return math.inf


def chosen_by_validation(task: Task, trace: Trace, evaluations: int) -> Architecture | None:
    """Return the best of the first evaluations, the earliest among equals; None where all failed."""
    best: tuple[float, Architecture] | None = None
    for architecture, value in zip(trace.architectures[:evaluations], trace.values[:evaluations], strict=True):
        if value is not None and (best is None or task.score(value) > best[0]):
            best = (task.score(value), architecture)
    return None if best is None else best[1]


def reached(task: Task, traces: Sequence[Trace], threshold: float, budget: int, seed: int = 0) -> Reached:
    """Summarise how soon the runs reached a threshold."""
    needed = [evaluations_to(task, trace, threshold) for trace in traces]
    curve = np.mean([best_so_far(task, trace, budget) for trace in traces], axis=0)
    scores = curve if task.maximise else -curve
    crossed = np.flatnonzero(scores >= task.score(threshold) - SAME * abs(threshold))
    return Reached(
        threshold=threshold,
        evaluations=tuple(needed),
        median=estimate(needed, median_of, seed),
        mean=estimate([min(count, float(budget)) for count in needed], mean_of, seed),
        mean_curve=float(crossed[0] + 1) if len(crossed) else math.inf,
        budget=budget,
    )


def mean_of(samples: Floats) -> Floats:
    """(resamples, runs) -> (resamples,)."""
    return np.asarray(samples.mean(axis=1), dtype=np.float64)


def median_of(samples: Floats) -> Floats:
    """(resamples, runs) -> (resamples,); infinite where either of two middle runs is."""
    ordered = np.sort(samples, axis=1)
    runs = ordered.shape[1]
    return np.asarray((ordered[:, (runs - 1) // 2] + ordered[:, runs // 2]) / 2.0, dtype=np.float64)


def estimate(values: Sequence[float], statistic: Statistic, seed: int = 0) -> Estimate:
    """Return the statistic with its 95 % percentile bootstrap interval (Efron, 1979) over runs."""
    if not values:
        raise ValueError("an estimate needs at least one run")
    sample = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    drawn = np.sort(statistic(sample[rng.integers(0, len(sample), size=(RESAMPLES, len(sample)))]))
    # Order statistics rather than interpolated quantiles: between a number and infinity lies nothing.
    low, high = drawn[int(RESAMPLES * (1 - LEVEL) / 2)], drawn[int(RESAMPLES * (1 + LEVEL) / 2) - 1]
    return Estimate(float(statistic(sample[None, :])[0]), float(low), float(high), len(sample))


@dataclass(frozen=True, slots=True)
class Difference:
    """The effect of being `first` rather than `second`, paired over the seeds that both have."""

    quantity: str
    mean: Estimate  # of first minus second
    better: int  # seeds on which the first one is better
    worse: int

    @property
    def decided(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.mean.low > 0.0 or self.mean.high < 0.0

    def to_dict(self) -> Json:
        """As plain JSON types."""
        numbers = self.mean.to_dict()
        return {"quantity": self.quantity, **numbers, "better": self.better, "worse": self.worse}


def paired(
    quantity: str, first: Sequence[float | None], second: Sequence[float | None], *, maximise: bool, seed: int = 0
) -> Difference | None:
    """Compare two methods seed by seed; pairs with a missing value are left out, None where none is left."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        return None
    differences = [a - b for a, b in pairs]
    sign = 1.0 if maximise else -1.0
    return Difference(
        quantity=quantity,
        mean=estimate(differences, mean_of, seed),
        better=sum(sign * difference > 0 for difference in differences),
        worse=sum(sign * difference < 0 for difference in differences),
    )
