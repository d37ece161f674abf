"""What a search wants besides the task's metric: limits on costs, a second objective, and fronts of the two.

A cost is what an architecture needs whatever its training gives: parameters, FLOPs, the size of its weights, a
latency. Less of it is better, and it is known before anything is trained.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from nas_agent.errors import ConfigError

PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
# Name -> units and what each is worth in the unit of `Quantity.unit`.
UNITS = {
    "params": PREFIXES,
    "flops": PREFIXES,
    "size": {"B": 1e-6, "kB": 1e-3, "KB": 1e-3, "MB": 1.0, "GB": 1e3},
    "latency": {"us": 1e-3, "ms": 1.0, "s": 1e3},
}
BASE = {"params": "", "flops": "", "size": "MB", "latency": "ms"}
FORMS = "params, flops, size, latency or latency@DEVICE"
METRIC = "accuracy"  # on the command line, the task's metric, whatever it is called


@dataclass(frozen=True, slots=True)
class Quantity:
    """A cost: a number of weights or multiplications, megabytes of 32-bit weights, or milliseconds."""

    kind: str  # a key of UNITS
    device: str | None = None  # of a latency; None: this machine

    @property
    def name(self) -> str:
        """As the user writes it, e.g. `latency@raspi4`."""
        return self.kind if self.device is None else f"{self.kind}@{self.device}"

    @property
    def unit(self) -> str:
        """The unit of its values; empty for counts."""
        return BASE[self.kind]

    def show(self, value: float) -> str:
        """Write a value for people: four digits and a unit."""
        if self.unit:
            return f"{value:.4g} {self.unit}"
        prefix = next((name for name in ("G", "M", "k") if abs(value) >= PREFIXES[name]), "")
        return f"{value / PREFIXES[prefix]:.4g}{prefix and ' '}{prefix}"


def quantity(text: str, flag: str) -> Quantity:
    """Read `params` or `latency@raspi4`; ConfigError names the flag."""
    kind, at, device = text.strip().partition("@")
    if kind not in UNITS:
        raise ConfigError(f"{flag}: unknown quantity '{kind}'; expected {FORMS}")
    if at and kind != "latency":
        raise ConfigError(f"{flag}: {kind} is the same on every device, got '{text.strip()}'; write {kind} alone")
    if at and not device:
        raise ConfigError(f"{flag}: expected a device after 'latency@', got none; write latency@DEVICE, or latency")
    return Quantity(kind, device or None)


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that an architecture may need of something."""

    quantity: Quantity
    most: float  # in the quantity's unit

    def __str__(self) -> str:
        return f"{self.quantity.name}<={self.quantity.show(self.most).replace(' ', '')}"

    def keeps(self, value: float | None) -> bool:
        """Tell whether a value is within; what is not known is not."""
        return value is not None and value <= self.most * (1.0 + 1e-12)


_LIMIT = re.compile(r"\s*([A-Za-z_]\w*(?:@[^\s<=]*)?)\s*<=\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z]*)\s*")


def limit(text: str) -> Limit:
    """Read `params<=0.8M`; ConfigError says what was expected."""
    flag = f"--limit '{text}'"
    found = _LIMIT.fullmatch(text)
    if found is None:
        raise ConfigError(f"{flag}: expected QUANTITY<=NUMBER with a unit, e.g. params<=0.8M or latency@raspi4<=20ms")
    of = quantity(found[1], flag)
    return Limit(of, _amount(of, found[2], found[3], flag))


def _amount(of: Quantity, number: str, unit: str, flag: str) -> float:
    units = UNITS[of.kind]
    if unit not in units:
        known = ", ".join(name or "none" for name in units)
        raise ConfigError(f"{flag}: expected a unit of {known} for {of.kind}, got {unit or 'none'}")
    try:
        value = float(number) * units[unit]
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0.0):
        raise ConfigError(f"{flag}: expected a number above zero, got {number}")
    return value


def limits(texts: Sequence[str]) -> tuple[Limit, ...]:
    """Read all limits; ConfigError where one quantity is limited twice."""
    found = tuple(map(limit, texts))
    names = [one.quantity.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--limit: {name} is limited {names.count(name)} times; keep the tightest")
    return found


def second_objective(texts: Sequence[str], metric: str = METRIC) -> Quantity | None:
    """Return the cost that a search has as an objective beside the metric; None without objectives.

    ConfigError unless there are two, of which one is the metric.
    """
    if not texts:
        return None
    flag = f"--objectives {','.join(texts)}"
    names = [text.strip() for text in texts]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{flag}: '{name}' is there {names.count(name)} times; name each objective once")
    costs = [quantity(name, flag) for name in names if name not in {METRIC, metric}]
    if len(costs) != 1 or len(names) != 2:
        raise ConfigError(f"{flag}: expected {METRIC} and one cost, e.g. {METRIC},params; costs are {FORMS}")
    return costs[0]


@dataclass(frozen=True, slots=True)
class Reference:
    """The point that a hypervolume is measured from: what scores worse or costs more does not count."""

    score: float  # of the task, where more is better
    cost: float

    def to_dict(self) -> dict[str, float]:
        """As plain JSON types."""
        return {"score": self.score, "cost": self.cost}


def reference(text: str, of: Quantity, metric: str = METRIC) -> dict[str, float]:
    """Read `accuracy=65,params=0.34M` as the metric's value and the cost."""
    flag, found = f"--reference '{text}'", dict[str, float]()
    for part in text.split(","):
        name, equals, amount = (piece.strip() for piece in part.partition("="))
        number = re.fullmatch(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*([A-Za-z%]*)", amount)
        if not equals or number is None:
            raise ConfigError(f"{flag}: expected e.g. {METRIC}=65,{of.name}={'20ms' if of.unit else '0.5M'}")
        if name in {METRIC, metric}:
            found["value"] = _plain(number[1], flag)
        elif quantity(name, flag) == of:
            found["cost"] = _amount(of, number[1], number[2], flag)
    if len(found) != 2:
        raise ConfigError(f"{flag}: expected one value of {METRIC} and one of {of.name}, got {text!r}")
    return found


def _plain(number: str, flag: str) -> float:
    try:
        return float(number)
    except ValueError:
        raise ConfigError(f"{flag}: expected a number, got {number}") from None


Item = TypeVar("Item")


def front(points: Sequence[tuple[float, float, Item]]) -> list[tuple[float, float, Item]]:
    """Return the points (score, cost, anything) that no other beats in both, cheapest first.

    Of equal points the first one is kept.
    """
    kept: list[tuple[float, float, Item]] = []
    for point in sorted(points, key=lambda point: (point[1], -point[0])):
        if not kept or point[0] > kept[-1][0]:
            kept.append(point)
    return kept


def hypervolume(points: Sequence[tuple[float, float]], worst: Reference) -> float:
    """Return the area between a reference and the front of points (score, cost): exact, in score times cost."""
    inside = [(score, cost, None) for score, cost in points if score > worst.score and cost < worst.cost]
    area, edge = 0.0, worst.cost
    for score, cost, _ in reversed(front(inside)):
        area += (edge - cost) * (score - worst.score)
        edge = cost
    return area
