"""A Gaussian process that joins structure and embedding and learns how much each counts (ours).

The kernel is that of the search's surrogate (tools/surrogates/kernel.py), exp(- sum over blocks of d_b / l_b) plus a
constant. d_b is the sum of absolute differences in a block of structure, and the Euclidean distance between principal
components of the embedding, divided by the square root of their deviations; each is one on average in the training
sample. All training points take part; a part of them chooses the parameters. The prior mean rises with the log size.
Wider priors and more blocks than in a search: what was tried stands in docs/log.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from nas_agent.spaces.base import Floats
from nas_agent.tools.heads.base import CODE, Blocks, Fitted, FittedHead, Prediction, Predictor, check_sample
from nas_agent.tools.heads.cross_fitting import left_out_residuals
from nas_agent.tools.heads.reduction import NOTHING, Reduction
from nas_agent.tools.heads.targets import Target, TargetName, make_target
from nas_agent.tools.linear_algebra import one_thread
from nas_agent.tools.surrogates.blocks import Scaler
from nas_agent.tools.surrogates.kernel import Kernel, Settings, Singles

SETTINGS = Settings(noise=0.1, length=2.0, log_deviation=1.0)
FIT_LEAST, FIT_SHARE = 100, 8  # points that choose the parameters: this many, or this part of them if that is more
REFERENCE = 100  # points that set the scale of a block
ONE_THREAD = 1000  # points up to which linear algebra runs on one thread
CHUNK = 128  # rows of distances computed at once: they stay in the processor's cache
# The edges of one member of a class say nothing that its paths do not say of all of them, and cost two thousandths of
# tau. In a space without paths they stay.
REPLACED = {"path": "edge"}

Distances = Callable[[Blocks], Singles]


class GaussianProcess:
    """The head `gp`."""

    name = "gp"

    def __init__(self, target: TargetName, components: int, settings: Settings = SETTINGS) -> None:
        self._target, self._components, self._settings = target, components, settings

    def fit(self, blocks: Blocks, values: Floats, *, counts: bool = False, seed: int = 0) -> FittedHead:
        """Choose parameters and condition on all points."""
        check_sample(blocks, values)
        with _threads(len(values)):
            posterior, target = self._posterior(blocks, values, counts, seed)
        widths = {name: block.shape[1] for name, block in blocks.items()}

        def again(some: Blocks, their: Floats) -> tuple[Predictor, Target]:
            return self._posterior(some, their, counts, seed)

        return Fitted(posterior, widths, target, left_out_residuals(again, blocks, values, posterior.left_out, seed))

    def _posterior(self, blocks: Blocks, values: Floats, counts: bool, seed: int) -> tuple[Posterior, Target]:
        target = make_target(self._target, values)
        metric = Metric(blocks, self._components, counts=counts)
        kernel = Kernel(len(metric), self._settings)
        some = np.random.default_rng(seed).permutation(len(values))[: max(FIT_LEAST, len(values) // FIT_SHARE)]
        residual = target.sample - self._settings.slope * metric.trend(blocks)
        part = metric.within(some)
        if float(np.ptp(residual)) > NOTHING:
            kernel.fit(part, residual[some])
        return Posterior(metric, kernel, residual), target


class Metric:
    """Distances between training points, and from others to them, one for each block."""

    def __init__(self, blocks: Blocks, components: int, *, counts: bool) -> None:
        dropped = {old for new, old in REPLACED.items() if new in blocks}
        structure = {name: block for name, block in blocks.items() if name != CODE and name not in dropped}
        self._scaler = Scaler(structure, REFERENCE)
        self._structure = self._scaler.scale(structure)
        self._names = tuple(structure)
        self._sized = "size" in structure and float(np.ptp(structure["size"][:, 0])) > NOTHING
        self._reduction: Reduction | None = None
        if CODE in blocks:
            reduction = Reduction(blocks[CODE], components, counts=counts)
            if len(reduction.deviations):
                self._reduction = reduction
                self._code_scale = 1.0 / np.sqrt(reduction.deviations)
                self._code = self._scaled_code(blocks[CODE])
                self._code_scale = self._code_scale / _mean_distance(self._code)
                self._code = self._scaled_code(blocks[CODE])
        self._size = len(next(iter(blocks.values())))

    def __len__(self) -> int:
        return len(self._structure) + (self._reduction is not None)

    def trend(self, blocks: Blocks) -> Floats:
        """Return the standardised log sizes; zeros where there are none or all are equal."""
        if not self._sized:
            return np.zeros(len(next(iter(blocks.values()))))
        return self._scaler.trend(blocks)

    def within(self, places: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Singles:
        """Return distances (blocks, n, n) among these training points."""
        parts = [absolute_distances(block[places], block[places]) for block in self._structure]
        if self._reduction is not None:
            parts.append(euclidean_distances(self._code[places], self._code[places]))
        return np.stack(parts) if parts else np.zeros((0, len(places), len(places)), np.float32)

    def weighted(self, blocks: Blocks | None, weights: Floats) -> Singles:
        """Return the weighted sum of distances (n, training points); None: of the training points themselves."""
        structure, code = self._structure, self._code if self._reduction is not None else None
        rows = self._size
        if blocks is not None:
            rows = len(next(iter(blocks.values())))
            structure = self._scaler.scale({name: blocks[name] for name in self._names}) if self._names else []
            code = None if self._reduction is None else self._scaled_code(blocks[CODE])
        total = np.zeros((rows, self._size), np.float32)
        if structure:
            # One pass over all columns: a weight times a sum of differences is a sum of weighted differences.
            here = [block * np.float32(weight) for block, weight in zip(structure, weights, strict=False)]
            known = [block * np.float32(weight) for block, weight in zip(self._structure, weights, strict=False)]
            absolute_distances(np.concatenate(here, axis=1), np.concatenate(known, axis=1), into=total)
        if code is not None:
            total += np.float32(weights[-1]) * euclidean_distances(code, self._code)
        return total

    def _scaled_code(self, code: Floats) -> Singles:
        assert self._reduction is not None
        return np.asarray(self._reduction(code) * self._code_scale, dtype=np.float32)


class Posterior:
    """The process given the training sample; predicts by its kernel."""

    def __init__(self, metric: Metric, kernel: Kernel, residual: Floats) -> None:
        from scipy.linalg import lapack

        self._metric, self._kernel = metric, kernel
        covariance = kernel.of_sum(metric.weighted(None, kernel.weights)).astype(np.float64)
        covariance[np.diag_indices_from(covariance)] += kernel.noise
        lower = np.linalg.cholesky(covariance)
        inverse, _ = lapack.dpotri(lower, lower=1)  # its lower triangle only
        diagonal = np.diag(inverse).copy()
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        self._alpha = inverse @ residual
        self._lower = lower.astype(np.float32)
        # Leaving one point out in closed form (Rasmussen and Williams 2006, eq. 5.12): residual over deviation.
        self.left_out = np.abs(self._alpha) / np.sqrt(diagonal)

    def __call__(self, blocks: Blocks) -> Prediction:
        """Predict new measurements."""
        with _threads(len(self._lower)):
            return self._predict(blocks)

    def _predict(self, blocks: Blocks) -> Prediction:
        from scipy.linalg import solve_triangular

        kernel = self._kernel
        covariance = kernel.of_sum(self._metric.weighted(blocks, kernel.weights))
        mean = kernel.settings.slope * self._metric.trend(blocks) + covariance @ self._alpha.astype(np.float32)
        half = solve_triangular(self._lower, covariance.T, lower=True, check_finite=False)
        left = kernel.variance - np.einsum("ij,ij->j", half, half, dtype=np.float32)
        return Prediction(mean.astype(np.float64), np.sqrt(np.maximum(left, 0.0) + kernel.noise).astype(np.float64))


def _threads(points: int) -> AbstractContextManager[object]:
    """Only large matrices gain by a second thread: `benchmarks/threads.py`: 1,000 points lose, 3,516 gain a third."""
    return one_thread() if points <= ONE_THREAD else nullcontext()


def absolute_distances(rows: Singles, others: Singles, into: Singles | None = None) -> Singles:
    """Sum the absolute differences of columns (n, m); a quarter of the time that scipy takes."""
    total = np.zeros((len(rows), len(others)), np.float32) if into is None else into
    columns = np.ascontiguousarray(others.T)
    difference = np.empty((CHUNK, len(others)), np.float32)
    for start, stop in _chunks(len(rows)):
        part, space = total[start:stop], difference[: stop - start]
        for column, values in zip(rows[start:stop].T.copy(), columns, strict=True):
            np.subtract(column[:, None], values, out=space)
            np.abs(space, out=space)
            part += space
    return total


def euclidean_distances(rows: Singles, others: Singles) -> Singles:
    """Return Euclidean distances (n, m), by one product of matrices."""
    squares = rows @ (np.float32(-2.0) * others.T)
    squares += (rows * rows).sum(axis=1)[:, None]
    squares += (others * others).sum(axis=1)
    np.maximum(squares, np.float32(0.0), out=squares)
    return np.asarray(np.sqrt(squares, out=squares))


def _mean_distance(code: Singles) -> float:
    some = code[:REFERENCE]
    return max(float(euclidean_distances(some, some).sum()) / max(len(some) * (len(some) - 1), 1), 1e-12)


def _chunks(rows: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK))
