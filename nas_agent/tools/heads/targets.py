"""The scale on which heads learn: values by rank, or by a power that makes them look normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from nas_agent.spaces.base import Floats
from nas_agent.tools.surrogates.blocks import rank_gauss

TargetName = Literal["rank", "power"]
POWERS = (-4.0, 12.0)  # searched; beyond, a few values would carry all of the variance


class Target(Protocol):
    """A rising map between values and a scale on which the training sample is about standard normal."""

    @property
    def sample(self) -> Floats:
        """The training values on that scale."""
        ...

    def scaled(self, values: Floats) -> Floats:
        """Carry other values to that scale."""
        ...

    def values(self, scaled: Floats) -> Floats:
        """Carry numbers of that scale back to the unit of the values."""
        ...


def make_target(name: TargetName, values: Floats) -> Target:
    """Fit the transform to the training values."""
    return RankTarget(values) if name == "rank" else PowerTarget(values)


class RankTarget:
    """Normal quantiles of the ranks; between and beyond the sample's values the way back is linear."""

    def __init__(self, values: Floats) -> None:
        self.sample = rank_gauss(values)
        self._scaled, places = np.unique(self.sample, return_index=True)
        self._values = values[places]

    def scaled(self, values: Floats) -> Floats:
        """Invert `values`."""
        known, scaled = self._values, self._scaled
        if len(known) == 1:
            return np.full(len(values), scaled[0])
        low, high = self._outer_slopes()
        below, above = np.minimum(values - known[0], 0.0), np.maximum(values - known[-1], 0.0)
        return np.asarray(np.interp(values, known, scaled) + below / low + above / high)

    def values(self, scaled: Floats) -> Floats:
        """Interpolate; with the slope of the outer quarter beyond the ends."""
        known, values = self._scaled, self._values
        if len(known) == 1:
            return np.where(np.isinf(scaled), scaled, values[0])
        inside = np.interp(scaled, known, values)
        low, high = self._outer_slopes()
        below, above = np.minimum(scaled - known[0], 0.0), np.maximum(scaled - known[-1], 0.0)
        return np.asarray(inside + low * below + high * above)

    def _outer_slopes(self) -> tuple[float, float]:
        known, values = self._scaled, self._values
        step = max(len(known) // 4, 1)
        low = (values[step] - values[0]) / (known[step] - known[0])
        high = (values[-1] - values[-1 - step]) / (known[-1] - known[-1 - step])
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class _Moments:
    centre: float
    spread: float

    @classmethod
    def of(cls, values: Floats) -> _Moments:
        spread = float(values.std())
        # Rounding alone gives equal values a spread of their own last bits:
        return cls(float(values.mean()), spread if spread > 1e-12 * max(1.0, float(np.abs(values).max())) else 0.0)

    def scale(self, values: Floats) -> Floats:
        return (values - self.centre) / self.spread if self.spread else np.zeros_like(values)


class PowerTarget:
    """The power of Yeo and Johnson (2000) that makes the standardised values most nearly normal."""

    def __init__(self, values: Floats) -> None:
        self._outer = _Moments.of(values)
        standard = self._outer.scale(values)
        self._power = _likeliest_power(standard) if self._outer.spread else 1.0
        self._inner = _Moments.of(_raise(standard, self._power))
        self.sample = self.scaled(values)

    def scaled(self, values: Floats) -> Floats:
        """Raise to the power."""
        return self._inner.scale(_raise(self._outer.scale(values), self._power))

    def values(self, scaled: Floats) -> Floats:
        """Invert the power; what no value can reach is infinite."""
        raised = _lower(scaled * self._inner.spread + self._inner.centre, self._power)
        if not self._outer.spread:
            return np.where(np.isinf(scaled), scaled, self._outer.centre)
        return np.asarray(raised * self._outer.spread + self._outer.centre)


def _likeliest_power(standard: Floats) -> float:
    from scipy.optimize import minimize_scalar
    from scipy.stats import yeojohnson_llf

    found: Any = minimize_scalar(lambda power: -yeojohnson_llf(power, standard), bounds=POWERS, method="bounded")
    return float(found.x)


def _raise(x: Floats, power: float) -> Floats:
    """Yeo and Johnson's power, in logarithms' terms so that nothing is lost near the powers 0 and 2."""
    up, down = np.log1p(np.maximum(x, 0.0)), np.log1p(np.maximum(-x, 0.0))
    return np.asarray(_grow(up, power) - _grow(down, 2.0 - power))


def _lower(y: Floats, power: float) -> Floats:
    up, down = np.maximum(y, 0.0), np.maximum(-y, 0.0)
    return np.asarray(np.expm1(_shrink(up, power)) - np.expm1(_shrink(down, 2.0 - power)))


def _grow(logs: Floats, power: float) -> Floats:
    return np.asarray(np.expm1(power * logs) / power) if abs(power) > 1e-6 else logs


def _shrink(y: Floats, power: float) -> Floats:
    """Invert `_grow`; infinite above its supremum, which a negative power has."""
    if abs(power) <= 1e-6:
        return y
    inside = power * y
    reachable = inside > -1.0
    return np.where(reachable, np.log1p(np.where(reachable, inside, 0.0)) / power, np.inf)
