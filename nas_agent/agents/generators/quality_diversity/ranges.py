"""What an archive of networks bins by: width-to-depth ratio and FLOPs, in ranges that are fixed before a search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from nas_agent.agents.generators.quality_diversity.niches import Axis
from nas_agent.records import Architecture
from nas_agent.spaces.code import Varies


@runtime_checkable
class Programs(Varies, Protocol):
    """A space that varies its programs, knows how far its descriptors reach on its task, and where to start."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The lowest and highest `width_to_depth` and `flops`."""
        ...

    def start(self) -> Architecture:
        """Return the network that everything is varied from."""
        ...


def axes_of(space: Programs) -> tuple[Axis, Axis]:
    """Return the axes of the networks' archive; both logarithmic, for networks differ by factors."""
    width, flops = space.ranges["width_to_depth"], space.ranges["flops"]
    return Axis("width to depth", *width, log=True), Axis("FLOPs", *flops, log=True)


def measures(space: Varies, architecture: Architecture) -> tuple[float, float]:
    """Return where a network stands on these axes."""
    found = space.descriptors(architecture)
    return found.width_to_depth, found.flops
