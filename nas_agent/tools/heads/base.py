"""The protocol of heads, and what all of them do alike: checking their input and calibrating their intervals.

Intervals are conformal: half-widths are a quantile of the residuals of points that were left out, in units of the
predicted deviation (jackknife+ and CV+, Barber et al. 2021, in the simple form around the full prediction). They
hold on the transformed scale and are carried to the scale of the values. That loses no coverage: an interval that
lies beyond all that the transform can reach is extended to the nearest value of the sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nas_agent.errors import DataError
from nas_agent.spaces.base import Floats
from nas_agent.tools.heads.targets import Target

Blocks = Mapping[str, Floats]  # name -> (architectures, features); the embedding is called CODE
CODE = "code"
FEWEST = 3  # points below which nothing is fitted


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a head expects of new measurements, on the scale of the transformed target: more is better."""

    mean: Floats  # (n,)
    deviation: Floats  # (n,), of a new measurement: its noise included


class FittedHead(Protocol):
    """A head that has seen its training sample."""

    def predict(self, blocks: Blocks) -> Prediction:
        """Predict architectures that are described by the blocks of the fit."""
        ...

    def interval(self, blocks: Blocks, level: float = 0.9) -> tuple[Floats, Floats]:
        """Return lower and upper ends, in the unit of the values, that hold a new value with this probability.

        Infinite where the sample is too small for the level: 90 % needs nine points.
        """
        ...


class Head(Protocol):
    """A way to predict scores. Everything that is fitted is fitted on the training sample."""

    @property
    def name(self) -> str:
        """What `make_head` calls it."""
        ...

    def fit(self, blocks: Blocks, values: Floats, *, counts: bool = False, seed: int = 0) -> FittedHead:
        """Learn values (n,), more is better; `counts`: the embedding holds term counts, to be weighed by rarity.

        Raises DataError for fewer than three points and for numbers that are not finite, ValueError for shapes
        that do not fit together.
        """
        ...


class Predictor(Protocol):
    """What is left of a head once the transform of the target and the calibration are taken off."""

    def __call__(self, blocks: Blocks) -> Prediction:
        """Predict on the transformed scale."""
        ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """A predictor, the widths of its features, its target's scale, and the residuals of points left out.

    Residuals are (n,), absolute, in predicted deviations, each from a prediction that did not see the point; a head
    that needs time for them gives a function, called by `interval` alone.
    """

    predictor: Predictor
    widths: Mapping[str, int]
    target: Target
    residuals: Floats | Callable[[], Floats]

    def predict(self, blocks: Blocks) -> Prediction:
        """Predict architectures that are described by the blocks of the fit."""
        check_like(blocks, self.widths)
        return self.predictor(blocks)

    def interval(self, blocks: Blocks, level: float = 0.9) -> tuple[Floats, Floats]:
        """Return the calibrated ends, in the unit of the values."""
        prediction = self.predict(blocks)
        residuals = self.residuals() if callable(self.residuals) else self.residuals
        reach = conformal_quantile(residuals, level) * prediction.deviation
        low, high = self.target.values(prediction.mean - reach), self.target.values(prediction.mean + reach)
        least, most = self.target.values(np.array([self.target.sample.min(), self.target.sample.max()]))
        return np.where(np.isposinf(low), most, low), np.where(np.isneginf(high), least, high)


def conformal_quantile(residuals: Floats, level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest residual; infinity where there are too few (Vovk et al. 2005)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"expected a level between 0 and 1, e.g. 0.9, got {level}")
    place = math.ceil((len(residuals) + 1) * level - 1e-9)
    return math.inf if place > len(residuals) else float(np.sort(residuals)[place - 1])


def check_sample(blocks: Blocks, values: Floats) -> None:
    """Raise for a training sample that nothing can be learned from."""
    if values.ndim != 1:
        raise ValueError(f"expected one value an architecture, got an array of shape {values.shape}")
    if len(values) < FEWEST:
        raise DataError(f"expected at least {FEWEST} measured architectures to fit a head, got {len(values)}")
    if not np.isfinite(values).all():
        wrong = int((~np.isfinite(values)).sum())
        raise DataError(f"{wrong} of {len(values)} values are not finite numbers; leave failed architectures out")
    if not blocks:
        raise ValueError("expected at least one block of features or the embedding, got none")
    check_like(blocks, {name: block.shape[-1] for name, block in blocks.items()})
    lengths = {name: len(block) for name, block in blocks.items()}
    if set(lengths.values()) != {len(values)}:
        raise ValueError(f"expected {len(values)} rows in each block, as many as values, got {lengths}")


def check_like(blocks: Blocks, widths: Mapping[str, int]) -> None:
    """Raise unless the blocks are matrices of these widths that hold finite numbers."""
    if missing := sorted(set(widths) - set(blocks)):
        raise ValueError(f"expected the blocks {', '.join(widths)}, as in the fit; {', '.join(missing)} missing")
    for name, width in widths.items():
        block = blocks[name]
        if block.ndim != 2 or block.shape[1] != width:
            raise ValueError(f"block '{name}': expected (architectures, {width}), got {block.shape}")
        if not np.isfinite(block).all():
            wrong = int((~np.isfinite(block).all(axis=1)).sum())
            what = "the embedder returned" if name == CODE else "the space's features hold"
            raise DataError(
                f"block '{name}': {what} numbers that are not finite for {wrong} of {len(block)} architectures; "
                "leave these out or choose another one"
            )
