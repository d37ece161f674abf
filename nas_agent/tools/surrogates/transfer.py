"""What other tasks found, as observations of a related function (ours).

A Gaussian process over pairs of task and architecture: scores of source s correlate with those of the task at
hand by `agreement[s]`, and scores of two sources by the product of theirs (one common factor; the intrinsic
coregionalisation model of Bonilla, Chai and Williams, NIPS 2007, of rank one). Each task has a level of its own.
An agreement is the posterior mean over a grid, so the outcomes of this task decide how much a source counts; one
that agrees no more than chance would is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from nas_agent.records import Architecture
from nas_agent.spaces.base import Floats

# Agreements that are thought possible, and how probable each is before anything was measured.
GRID = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 0.95])
PRIOR = np.log([0.1, 0.1, 0.15, 0.2, 0.25, 0.2])
UNASKED = 0.8  # the most probable one; used until the task has outcomes to compare
DROPPED = 0.1  # a source that agrees less is left out for good
ALIKE_SETS = 200  # random sets that the best of a source are compared with
CHANCE = 0.01  # share of random sets that may be as alike

Tasks = NDArray[np.intp]  # 0 is the task at hand, s + 1 is source s


@dataclass(frozen=True, slots=True)
class Source:
    """The best of one other task, or what one run measured there."""

    name: str
    architectures: tuple[Architecture, ...]
    targets: tuple[float, ...]  # normal scores of their ranks there: more is better


class Relations:
    """How observations of several tasks covary, given how they would if all were of one task."""

    def __init__(self, sources: int, constant: float) -> None:
        self.agreement: Floats = np.full(sources, UNASKED)
        self._constant = constant

    def to_task(self, tasks: Tasks) -> tuple[Floats, Floats]:
        """Return for observations of these tasks the factor and the term of covariances with the task at hand."""
        return self._loading()[tasks], np.where(tasks == 0, self._constant, 0.0)

    def among(self, signal: Floats, tasks: Tasks) -> Floats:
        """Turn covariances (n, n) as of one task without its level into those of observations of these tasks."""
        loading, same = self._loading()[tasks], tasks[:, None] == tasks[None]
        return np.where(same, signal + self._constant, signal * np.outer(loading, loading))

    def learn(self, signal: Floats, noise: float, tasks: Tasks, residuals: Floats) -> None:
        """Move each agreement to its posterior mean, given the noise variance.

        Each source is compared with the task at hand alone: given the others, one that contradicts it could cost a
        source that agrees its place, and which of the two goes would depend on their order.
        """
        for source in range(len(self.agreement)):
            both = np.flatnonzero((tasks == 0) | (tasks == source + 1))
            between, of, eye = signal[np.ix_(both, both)], tasks[both], noise * np.eye(len(both))
            logs = PRIOR.copy()
            for place, value in enumerate(GRID):
                self.agreement[source] = value
                lower = np.linalg.cholesky(self.among(between, of) + eye)
                half = np.linalg.solve(lower, residuals[both])
                logs[place] -= 0.5 * float(half @ half) + float(np.log(np.diag(lower)).sum())
            weights = np.exp(logs - logs.max())
            self.agreement[source] = float(weights @ GRID / weights.sum())

    def without(self, source: int) -> Relations:
        """Return the relations of the other sources."""
        rest = Relations(0, self._constant)
        rest.agreement = np.delete(self.agreement, source)
        return rest

    def _loading(self) -> Floats:
        return np.concatenate([[1.0], self.agreement])


def alike(rows: Floats, reference: Floats) -> bool:
    """Tell whether architectures (n, features) resemble each other more than random ones (m, features) do.

    The best of a task have something in common, or nothing can be learned from them: then their labels are
    noise, and every evaluation spent on them is lost. Compared are mean distances within sets of equal size.
    """
    size = min(len(rows), len(reference) // 2)
    if size < 5 or not rows.shape[1]:
        return True  # nothing to tell by
    rng = Random("alike")
    distances = _distances(reference)
    sets = (rng.sample(range(len(reference)), size) for _ in range(ALIKE_SETS))
    random = sorted(float(distances[np.ix_(chosen, chosen)].mean()) for chosen in sets)
    return float(_distances(rows[:size]).mean()) < random[int(CHANCE * ALIKE_SETS)]


def normal_scores(ranks: Sequence[int], of: int) -> tuple[float, ...]:
    """Return what `of` normal variables score at these ranks; 1 is the best."""
    from scipy.special import ndtri

    return tuple(float(score) for score in -ndtri((np.asarray(ranks) - 0.5) / max(of, *ranks)))


def _distances(rows: Floats) -> Floats:
    return np.asarray([np.abs(rows - row).sum(axis=1) for row in rows], dtype=np.float64)


def stacked(blocks: Sequence[NDArray[np.float32]]) -> Floats:
    """Put scaled blocks side by side: their distances add up."""
    rows = [block.astype(np.float64) for block in blocks]
    return np.concatenate(rows, axis=1) if rows else np.zeros((0, 0))
