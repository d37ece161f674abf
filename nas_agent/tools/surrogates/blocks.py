"""Named blocks of features: of single architectures stacked, made comparable, and thinned; targets by rank (ours)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nas_agent.spaces.base import Floats
from nas_agent.tools.surrogates.kernel import Singles

Places = NDArray[np.intp]
Blocks = Mapping[str, Floats]  # name -> (architectures, features)


def rank_gauss(values: Floats) -> Floats:
    """Normal quantiles of the ranks; ties share their mean rank."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return np.asarray(ndtri((rankdata(values) - 0.5) / len(values)), dtype=np.float64)


def thin(values: Floats, cap: int) -> Places:
    """Choose at most `cap` places: half of them the best, half spread evenly over the ranks of the rest."""
    if len(values) <= cap:
        return np.arange(len(values))
    order = np.argsort(-values, kind="stable")
    top, rest = order[: cap // 2], order[cap // 2 :]
    spread = rest[np.linspace(0, len(rest) - 1, cap - cap // 2).astype(np.intp)]
    return np.sort(np.concatenate([top, spread]))


class Scaler:
    """Makes blocks comparable: features by their range, each block to a mean distance of one in a reference."""

    def __init__(self, reference: Blocks, sample: int = 300) -> None:
        self._scales: dict[str, tuple[Places, Floats]] = {}
        for name, block in reference.items():
            spread = np.ptp(block, axis=0)
            keep = np.flatnonzero(spread > 1e-12)
            if not len(keep):
                continue
            places = np.unique(np.linspace(0, len(block) - 1, min(sample, len(block))).astype(np.intp))
            rows = block[places][:, keep] / spread[keep]
            distances = np.abs(rows[:, None] - rows[None]).sum(axis=2)
            mean = float(distances.sum()) / max(len(rows) * (len(rows) - 1), 1)
            self._scales[name] = keep, 1.0 / (spread[keep] * max(mean, 1e-12))
        size = reference.get("size")
        self._size = None if size is None else (float(size[:, 0].mean()), max(float(size[:, 0].std()), 1e-12))

    def __len__(self) -> int:
        return len(self._scales)

    def scale(self, blocks: Blocks) -> list[Singles]:
        """Return one matrix a block, in a fixed order."""
        return [(blocks[name][:, keep] * scale).astype(np.float32) for name, (keep, scale) in self._scales.items()]

    def trend(self, blocks: Blocks) -> Floats:
        """Return the standardised log size of each architecture; zeros where the space knows no sizes."""
        if self._size is None:
            return np.zeros(len(next(iter(blocks.values()))))
        mean, deviation = self._size
        return np.asarray((blocks["size"][:, 0] - mean) / deviation)


def stack(rows: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    """Turn the blocks of single architectures into matrices, a row each."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
