"""What is fitted to the features of a training sample: rarity of terms, principal components, scales."""

from __future__ import annotations

import numpy as np

from nas_agent.spaces.base import Floats
from nas_agent.tools.heads.base import CODE, Blocks
from nas_agent.tools.surrogates.kernel import Singles

NOTHING = 1e-9  # spread below which a column is constant


class Rarity:
    """Term counts times the log of the inverse share of texts with the term, each text to length 1 (TF-IDF)."""

    def __init__(self, counts: Floats) -> None:
        texts = len(counts)
        self._weights = np.log((1.0 + texts) / (1.0 + (counts > 0).sum(axis=0))) + 1.0

    def __call__(self, counts: Floats) -> Floats:
        """Weigh the counts."""
        weighed = counts * self._weights
        return np.asarray(weighed / np.maximum(np.linalg.norm(weighed, axis=1, keepdims=True), 1e-12))


class Reduction:
    """Principal components of the embedding of a training sample (COLE: at most 128)."""

    def __init__(self, code: Floats, components: int, *, counts: bool) -> None:
        self._rarity = Rarity(code) if counts else None
        vectors = np.asarray(code, dtype=np.float64) if self._rarity is None else self._rarity(code)
        centre = vectors.mean(axis=0)
        centred = vectors - centre
        # The eigenvectors of the smaller one of the two products give the same components as the decomposition
        # of the matrix, in a fraction of the time.
        if len(centred) <= centred.shape[1]:
            values, left = np.linalg.eigh(centred @ centred.T)
            order = _largest(values, components)
            axes = centred.T @ left[:, order] / np.sqrt(values[order])
        else:
            values, right = np.linalg.eigh(centred.T @ centred)
            order = _largest(values, components)
            axes = right[:, order]
        # Single precision from here on: it halves the cost of the candidates.
        self._axes = axes.astype(np.float32)  # (dimension, kept)
        self._origin = (centre @ axes).astype(np.float32)
        self.deviations = np.sqrt(values[order] / len(centred))  # (kept,), largest first

    def __call__(self, code: Floats) -> Singles:
        """Return (n, kept)."""
        vectors = code if self._rarity is None else self._rarity(code)
        return np.asarray(vectors.astype(np.float32) @ self._axes - self._origin)


def _largest(values: Floats, components: int) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """Choose the largest eigenvalues, of those that are more than rounding."""
    order = np.argsort(-values, kind="stable")[:components]
    return order[values[order] > 1e-10 * max(float(values.max(initial=0.0)), 1e-300)]


class Table:
    """All blocks as one matrix: structure standardised, components of the embedding with one scale for all of them."""

    def __init__(self, blocks: Blocks, components: int, *, counts: bool) -> None:
        self._names = [name for name in blocks if name != CODE]
        stacked = self._stack(blocks)
        self._mean, spread = stacked.mean(axis=0), stacked.std(axis=0)
        self._kept = np.flatnonzero(spread > NOTHING)
        self._spread = spread[self._kept]
        self._reduction = Reduction(blocks[CODE], components, counts=counts) if CODE in blocks else None

    def __call__(self, blocks: Blocks) -> Floats:
        """Return (n, columns); no columns where nothing varied in the training sample."""
        parts = [(self._stack(blocks) - self._mean)[:, self._kept] / self._spread]
        if self._reduction is not None and len(self._reduction.deviations):
            parts.append(self._reduction(blocks[CODE]) / self._reduction.deviations[0])
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def _stack(self, blocks: Blocks) -> Floats:
        rows = len(next(iter(blocks.values())))
        parts = [np.asarray(blocks[name], dtype=np.float64) for name in self._names]
        return np.concatenate(parts, axis=1) if parts else np.zeros((rows, 0))
