"""Linear regression with a penalty that leaving one out chooses (Allen 1974), in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas_agent.spaces.base import Floats
from nas_agent.tools.heads.base import Blocks, Fitted, FittedHead, Prediction, check_sample
from nas_agent.tools.heads.cross_fitting import left_out_residuals
from nas_agent.tools.heads.reduction import Table
from nas_agent.tools.heads.targets import Target, TargetName, make_target

PENALTIES = np.logspace(-2, 5, 29)


class Ridge:
    """The head `ridge`."""

    name = "ridge"

    def __init__(self, target: TargetName, components: int) -> None:
        self._target, self._components = target, components

    def fit(self, blocks: Blocks, values: Floats, *, counts: bool = False, seed: int = 0) -> FittedHead:
        """Choose the penalty and the weights."""
        check_sample(blocks, values)
        line, target, residuals = self._line(blocks, values, counts)

        def again(some: Blocks, their: Floats) -> tuple[Line, Target]:
            return self._line(some, their, counts)[:2]

        widths = {name: block.shape[1] for name, block in blocks.items()}
        return Fitted(line, widths, target, left_out_residuals(again, blocks, values, residuals, seed))

    def _line(self, blocks: Blocks, values: Floats, counts: bool) -> tuple[Line, Target, Floats]:
        target = make_target(self._target, values)
        table = Table(blocks, self._components, counts=counts)
        left, singular, right = np.linalg.svd(table(blocks), full_matrices=False)
        level = float(target.sample.mean())
        centred = target.sample - level
        projected = left.T @ centred

        penalty = float(min(PENALTIES, key=lambda some: float((left_out(left, singular, centred, some)[0] ** 2).sum())))
        residuals, pull = left_out(left, singular, centred, penalty)
        noise = max(float((residuals**2).mean()), 1e-12)
        weights = right.T @ (singular / (singular**2 + penalty) * projected)
        # The inverse of (features' features + penalty), which is 1 / penalty where the sample has no row at all:
        gain = 1.0 / penalty - 1.0 / (singular**2 + penalty)
        factor = right.T * np.sqrt(gain)
        predictor = Line(table, level, weights, factor, penalty, noise, 1.0 / len(centred))
        # A point that is left out is as far from the rest as pull / (1 - pull) says (Sherman and Morrison 1950).
        spread = np.sqrt(noise / (1.0 - pull))
        return predictor, target, np.abs(residuals) / spread


def left_out(left: Floats, singular: Floats, centred: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Return the residuals of points left out, and how much each point draws its own prediction.

    From the singular vectors and values of the centred features; the level is left out with the point.
    """
    shrunk = singular**2 / (singular**2 + penalty)
    # With more columns than points both terms of the quotient are tiny; a floor under one of them would be read as
    # perfect prediction.
    pull = (left**2) @ shrunk + 1.0 / len(centred)
    return (centred - left @ (shrunk * (left.T @ centred))) / (1.0 - pull), pull


@dataclass(frozen=True, slots=True)
class Line:
    """A line, and the deviation that the penalty as a prior leaves."""

    table: Table
    level: float
    weights: Floats
    factor: Floats  # (columns, rank): its product with a row, squared and summed, is what the sample explains of it
    penalty: float
    noise: float
    share: float  # one over the number of points: the uncertainty of the level

    def __call__(self, blocks: Blocks) -> Prediction:
        """Predict new measurements."""
        rows = self.table(blocks)
        explained = ((rows @ self.factor) ** 2).sum(axis=1)
        far = np.maximum((rows**2).sum(axis=1) / self.penalty - explained, 0.0) + self.share
        return Prediction(self.level + rows @ self.weights, np.sqrt(self.noise * (1.0 + far)))
