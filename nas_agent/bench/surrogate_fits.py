"""Fit heads on every training sample and measure them on the fold held out, in worker processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nas_agent.bench.surrogate_blocks import Block, Told, gathered, mapped
from nas_agent.bench.surrogate_plan import Configuration
from nas_agent.bench.surrogate_splits import split_rng, training_order
from nas_agent.bench.surrogate_statistics import LEVEL, coverage_and_width, rank_correlations, top_recall
from nas_agent.bench.workers import run_all
from nas_agent.spaces import Floats


class FittedHead(Protocol):
    """What is needed of a fitted head here."""

    def predict(self, blocks: Mapping[str, Floats]) -> Any:
        """Return an object whose `mean` is (n,), more is better."""
        ...

    def interval(self, blocks: Mapping[str, Floats], level: float = 0.9) -> tuple[Floats, Floats]:
        """Return both ends, (n,) each, in the unit of the values."""
        ...


class Head(Protocol):
    """What is needed of a head here."""

    def fit(self, blocks: Mapping[str, Floats], values: Floats, *, counts: bool = False, seed: int = 0) -> FittedHead:
        """Fit on a training sample."""
        ...


@dataclass(frozen=True, slots=True)
class Fit:
    """One configuration on one split: fits on all sample sizes."""

    problem: int
    configuration: Configuration
    blocks: tuple[Block, ...]
    scores: Path
    folds: Path
    repeat: int
    fold: int
    sizes: tuple[int, ...]
    counts: bool
    target: str
    components: int
    seed: int
    head: Callable[..., Head]

    def __str__(self) -> str:
        return f"'{self.configuration.name}', repeat {self.repeat}, fold {self.fold}"


def _fit(job: Fit) -> Floats:
    """Return the measures, (MEASURES, sizes)."""
    folds, scores = mapped(job.folds)[job.repeat], np.asarray(mapped(job.scores))
    order = training_order(folds, job.fold, split_rng(job.seed, job.repeat, job.fold))
    held_out = np.flatnonzero(folds == job.fold)
    queries, values = gathered(job.blocks, held_out), scores[held_out]
    seed = int(split_rng(job.seed, job.repeat, job.fold).integers(2**31))
    columns = []
    for size in job.sizes:
        sample = order[:size]
        known = gathered(job.blocks, sample)
        begun = time.perf_counter()
        head = job.head(job.configuration.head, target=job.target, components=job.components)
        fitted = head.fit(known, scores[sample], counts=job.counts, seed=seed)
        predicted = np.asarray(fitted.predict(queries).mean)
        seconds = time.perf_counter() - begun
        low, high = fitted.interval(queries, LEVEL)
        columns.append((
            *rank_correlations(predicted, values), top_recall(predicted, values),
            *coverage_and_width(low, high, values), seconds,
        ))  # fmt: skip
    return np.array(columns).T


def fit_all(work: Sequence[Fit], jobs: int, done: Callable[[Fit, Floats], None], told: Told | None) -> None:
    """Do all fits, and hand over what each measured, (MEASURES, sizes), in whatever order they end."""
    count = 0

    def tell(job: Fit, measured: Floats) -> None:
        nonlocal count
        count += 1
        done(job, measured)
        if told is not None:
            told(count, len(work), f"fits of {job.configuration.name}")

    run_all(work, _fit, min(jobs, len(work)), named=str, done=tell)
