"""What an archive of networks bins by: width-to-depth ratio and FLOPs, in ranges that are fixed before a search."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Protocol, runtime_checkable

from nas_agent.agents.generators.quality_diversity.niches import Axis
from nas_agent.records import Architecture
from nas_agent.spaces.base import Space
from nas_agent.spaces.code import Varies


@runtime_checkable
class Ranged(Protocol):
    """A space that knows how far its descriptors reach on its task, and the network to start from."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The lowest and highest `width_to_depth` and `flops`."""
        ...

    def start(self) -> Architecture:
        """Return the network that everything is varied from."""
        ...


def axes_of(space: Ranged) -> tuple[Axis, Axis]:
    """Return the axes of the networks' archive; both logarithmic, for networks differ by factors."""
    width, flops = space.ranges["width_to_depth"], space.ranges["flops"]
    return Axis("width to depth", *width, log=True), Axis("FLOPs", *flops, log=True)


def measures(space: Varies, architecture: Architecture) -> tuple[float, float]:
    """Return where a network stands on these axes."""
    found = space.descriptors(architecture)
    return found.width_to_depth, found.flops


def start_of(space: Space) -> Architecture:
    """Return the network to start from: the space's own, else a draw."""
    return space.start() if isinstance(space, Ranged) else space.sample(Random(0))
