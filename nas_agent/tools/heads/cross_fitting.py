"""Members that each leave out a part of the sample: their mean predicts, what they left out calibrates (CV+)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from nas_agent.spaces.base import Floats
from nas_agent.tools.heads.base import Blocks, Fitted, FittedHead, Prediction, Predictor
from nas_agent.tools.heads.reduction import Table
from nas_agent.tools.heads.targets import Target

FOLDS = 5
REFITTED = 100  # points up to which residuals in closed form are not used
LEAST = 0.1  # correlation with the left-out targets that is assumed at least
Members = Callable[[Floats], Floats]  # rows (n, columns) -> predictions (members, n)
Refit = Callable[[Blocks, Floats], tuple[Predictor, Target]]


def folds(size: int, seed: int) -> NDArray[np.intp]:
    """Return for each point which member leaves it out."""
    return np.asarray(np.random.default_rng(seed).permutation(size) % min(FOLDS, size), dtype=np.intp)


def left_out_residuals(
    refit: Refit, blocks: Blocks, values: Floats, closed: Floats, seed: int
) -> Floats | Callable[[], Floats]:
    """Return residuals for `Fitted`: in closed form where points are many, else from fits without the point's fold.

    Closed form keeps what all points chose: parameters, the target's power, principal components. Where points are
    few, intervals from it are too narrow (docs/log.md, "Intervals of few points").
    """
    if len(values) > REFITTED:
        return closed

    @cache
    def refitted() -> Floats:
        fold = folds(len(values), seed)
        residuals = np.empty(len(values))
        for number in range(fold.max() + 1):
            out = fold == number
            predictor, target = refit({name: block[~out] for name, block in blocks.items()}, values[~out])
            prediction = predictor({name: block[out] for name, block in blocks.items()})
            residuals[out] = np.abs(target.scaled(values[out]) - prediction.mean) / prediction.deviation
        return residuals

    return refitted


def cross_fitted(blocks: Blocks, table: Table, target: Target, fold: NDArray[np.intp], members: Members) -> FittedHead:
    """Make a fitted head of members, each fitted on what is not in its fold.

    A line through the left-out predictions carries their scale to that of the target: what is learned from pairs has
    no scale of its own. The line always rises: few left-out points must not turn round what the members learned.
    """
    predicted = members(table(blocks))
    unseen = predicted[fold, np.arange(len(fold))]
    centre, spread = float(unseen.mean()), float(unseen.std())
    level = float(target.sample.mean())
    slope = 0.0
    if spread > 1e-9:
        together = float(((unseen - centre) * (target.sample - level)).mean())
        slope = max(together / spread**2, LEAST * float(target.sample.std()) / spread)
    residuals = target.sample - level - slope * (unseen - centre)
    mean = Mean(table, members, slope, level - slope * centre, max(float((residuals**2).mean()), 1e-12))
    deviation = mean.carry(predicted).deviation
    widths = {name: block.shape[1] for name, block in blocks.items()}
    return Fitted(mean, widths, target, np.abs(residuals) / deviation)


@dataclass(frozen=True, slots=True)
class Mean:
    """The members' mean; its deviation is made of their disagreement and of the noise."""

    table: Table
    members: Members
    slope: float
    offset: float
    noise: float

    def __call__(self, blocks: Blocks) -> Prediction:
        """Predict new measurements."""
        return self.carry(self.members(self.table(blocks)))

    def carry(self, predicted: Floats) -> Prediction:
        """Turn the members' predictions (members, n) into one, on the target's scale."""
        spread = self.slope * predicted.std(axis=0)
        return Prediction(self.offset + self.slope * predicted.mean(axis=0), np.sqrt(self.noise + spread**2))
