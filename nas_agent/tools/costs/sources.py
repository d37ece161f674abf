"""Where the costs of a task's architectures are known from: a table, the space's count, or a network that is built.

A task that trains networks asks the network that it trains. Elsewhere the table's columns come first, then what the
space counts of the published network, and at last a network is built and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from nas_agent.errors import ConfigError
from nas_agent.objectives import Quantity
from nas_agent.records import Architecture
from nas_agent.spaces.base import Space, is_untrusted
from nas_agent.spaces.code import Varies
from nas_agent.spaces.darts import Darts
from nas_agent.spaces.nasbench101 import NasBench101
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.benchmarks import nb201
from nas_agent.tools.costs.base import Cost, Effort, Listed, Scaled
from nas_agent.tools.costs.networks import Networks, Timed
from nas_agent.tools.evaluators.base import Evaluation, ImageShape
from nas_agent.tools.evaluators.table import TableEvaluator

MEGABYTES = 4e-6  # of one weight of 32 bits
PUBLISHED = "counted: the published network for CIFAR-10"


DESCRIBED = {"params": "parameters", "flops": "flops"}  # by their names in `Descriptors`


@runtime_checkable
class Trains(Protocol):
    """An evaluator that trains networks, and knows of what kind."""

    @property
    def shape(self) -> ImageShape:
        """What they are built for."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    """What a space counts of an architecture without building anything."""

    count: Callable[[Architecture], float]
    origin: str
    effort: Effort = "instant"

    def __call__(self, architecture: Architecture) -> float:
        """Count."""
        return float(self.count(architecture))


class Costs:
    """The costs of one task's architectures in one space, each found when it is first asked for."""

    def __init__(self, space: Space, evaluation: Evaluation) -> None:
        evaluator = evaluation.evaluator
        trains = evaluator.shape if isinstance(evaluator, Trains) else None
        self._table = evaluator.table if isinstance(evaluator, TableEvaluator) else None
        self._space, self._trained = space, trains is not None
        self._networks = Networks(space, trains or ImageShape())
        self._pool = evaluator.pool()
        self._found: dict[Quantity, Cost] = {}

    def of(self, quantity: Quantity) -> Cost:
        """Return a cost; ConfigError where nothing knows it."""
        if quantity not in self._found:
            self._found[quantity] = self._find(quantity)
        return self._found[quantity]

    def remember(self, quantity: Quantity, values: Mapping[str, float | None]) -> None:
        """Take over what an earlier process has timed: the clock is not asked again."""
        cost = self.of(quantity)
        if isinstance(cost, Timed):
            cost.known.update(values)

    def _find(self, quantity: Quantity) -> Cost:
        if quantity.kind == "size":
            params = self.of(Quantity("params"))
            return Scaled(params, MEGABYTES, f"4 bytes a weight; weights {params.origin}", params.effort)
        listed = self._listed(quantity)
        if listed is not None:
            return listed
        if quantity.device is not None:
            raise ConfigError(f"{quantity.name}: {self._devices(quantity.device)}")
        if quantity.kind == "latency":
            self._check(quantity)
            return Timed(self._networks)
        counted = self._counted(quantity.kind)
        if counted is not None:
            return counted
        self._check(quantity)
        count = self._networks.params if quantity.kind == "params" else self._networks.flops
        return Scaled(count, 1.0, f"counted in the network that is built ({self._networks.told})", "built")

    def _listed(self, quantity: Quantity) -> Listed | None:
        """Return the table's column; ConfigError where it has no number in it."""
        table = self._table
        if table is None:
            return None
        if quantity.device is not None and nb201.is_published(table):
            known = nb201.latencies(table)
            if quantity.device in known:
                return Listed(known[quantity.device], f"{nb201.LATENCIES}, {quantity.device}")
        values = table.column(quantity.name)
        if values is None:
            return None
        if not values:
            raise ConfigError(
                f"{quantity.name}: the column of {table.source.name} has no number in it; fill it in, or leave it out"
            )
        lacking = len(table.pool()) - len(values)
        lacks = f"; not known of {lacking:,} of {len(table.pool()):,} architectures" if lacking else ""
        return Listed(values, f"table {table.source.name}{lacks}")

    def _devices(self, device: str) -> str:
        known: list[str] = []
        if self._table is not None:
            known = [name.removeprefix("latency@") for name in self._table.columns if name.startswith("latency@")]
            if nb201.is_published(self._table):
                known += nb201.latencies(self._table)
        where = "no table here has latencies of devices" if not known else f"choose from {', '.join(known)}"
        return f"unknown device '{device}'; {where}, or write latency alone to measure on this machine"

    def _counted(self, kind: str) -> Counted | None:
        space, images = self._space, self._networks.images
        if is_untrusted(space) and isinstance(space, Varies):  # somebody's code is not built in this process
            return Counted(
                lambda architecture: getattr(space.descriptors(architecture), DESCRIBED[kind]),
                "counted in the sandbox, where the network is built",
            )
        if self._trained and isinstance(space, NasBench201) and images.width is not None:
            weights = partial(space.parameters, classes=images.classes, width=images.width, channels=images.channels)
            products = partial(
                space.flops, classes=images.classes, width=images.width, channels=images.channels, side=images.side
            )
            count: Callable[[Architecture], float] = weights if kind == "params" else products
            return Counted(count, f"counted: the network that is trained ({self._networks.told})")
        if self._trained:
            return None
        if isinstance(space, NasBench201):
            return Counted(space.parameters if kind == "params" else space.flops, PUBLISHED)
        if isinstance(space, NasBench101) and kind == "params":
            return Counted(space.parameters, PUBLISHED)
        if isinstance(space, Darts):
            place = 0 if kind == "params" else 1
            return Counted(lambda architecture: space.sizes(architecture)[place], PUBLISHED)
        return None

    def _check(self, quantity: Quantity) -> None:
        from random import Random

        example = self._pool[0] if self._pool else self._space.sample(Random(0))
        self._networks.check(example, quantity.name)
