"""Costs of a network that is built to be counted or timed.

Counting needs no memory and no arithmetic: torch's `meta` device has shapes alone. FLOPs are multiplications with
their additions counted once, as architecture benchmarks count; torch's own counter counts both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from inspect import Parameter, signature
from typing import TYPE_CHECKING

import numpy as np

from nas_agent.errors import ConfigError, InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Space, is_untrusted
from nas_agent.tools.costs.base import Effort
from nas_agent.tools.evaluators.base import ImageShape

if TYPE_CHECKING:
    from torch import nn

WARM_UPS, RUNS = 3, 15  # of one timing
# What building a network, or running it without data, raises.
UNBUILT = (InvalidArchitecture, RuntimeError, ValueError, TypeError, NotImplementedError)


@dataclass
class Networks:
    """Builds networks of one space and counts them; what is counted is remembered."""

    space: Space
    images: ImageShape
    _counted: dict[str, tuple[float, float] | None] = field(default_factory=dict)

    def params(self, architecture: Architecture) -> float | None:
        """Count the weights; None for an architecture whose network cannot be built."""
        found = self._count(architecture)
        return None if found is None else found[0]

    def flops(self, architecture: Architecture) -> float | None:
        """Count the multiplications for one image."""
        found = self._count(architecture)
        return None if found is None else found[1]

    @property
    def told(self) -> str:
        """What is built, in words."""
        width = "" if self.images.width is None else f", {self.images.width} channels at first"
        images = self.images
        return f"{images.classes} classes, images of {images.channels} x {images.side} x {images.side}{width}"

    def build(self, architecture: Architecture, device: str) -> nn.Module:
        """Build the network on a device; InvalidArchitecture where nobody vouches for its code."""
        import torch

        if is_untrusted(self.space):
            raise InvalidArchitecture("its code runs in the sandbox only")
        width = self.images.width
        if width is None:
            given = signature(self.space.network).parameters["width"].default
            width = 16 if given is Parameter.empty else given
        with torch.device(device):
            return self.space.network(
                architecture, classes=self.images.classes, in_channels=self.images.channels, width=width
            ).eval()

    def check(self, architecture: Architecture, what: str) -> None:
        """Refuse a space that has no networks at all; ConfigError."""
        try:
            self.build(architecture, "cpu")
        except UNBUILT as error:
            raise ConfigError(
                f"{what} is not known: no table says it, and a network of space '{self.space.name}' cannot be built "
                f"to count it ({' '.join(str(error).split())[:200]})"
            ) from error

    def _count(self, architecture: Architecture) -> tuple[float, float] | None:
        if architecture.id not in self._counted:
            try:
                found = self._count_on(architecture, "meta")
            except UNBUILT:  # what looks at numbers while it is built has none to look at there
                try:
                    found = self._count_on(architecture, "cpu")
                except UNBUILT:
                    found = None
            self._counted[architecture.id] = found
        return self._counted[architecture.id]

    def _count_on(self, architecture: Architecture, device: str) -> tuple[float, float]:
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        network, images = self.build(architecture, device), self.images
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            network(torch.zeros(1, images.channels, images.side, images.side, device=device))
        weights = sum(parameter.numel() for parameter in network.parameters())
        return float(weights), counter.get_total_flops() / 2.0


@dataclass
class Timed:
    """Latency of one image on this machine: the median of some runs, after a few that do not count."""

    networks: Networks
    effort: Effort = "timed"
    spreads: dict[str, tuple[float, float]] = field(default_factory=dict)  # quartiles of each architecture's runs
    known: dict[str, float | None] = field(default_factory=dict)  # of this process, and of earlier ones by the log

    @property
    def origin(self) -> str:
        """Say what was timed on what."""
        import torch

        on = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
        return (
            f"measured on this machine ({on}; one image at a time, median of {RUNS} runs; {self.networks.told}); "
            "other load on the machine shows in it"
        )

    def __call__(self, architecture: Architecture) -> float | None:
        """Time it once; None where its network cannot be built or run."""
        if architecture.id not in self.known:
            try:
                runs = self._runs(architecture)
            except UNBUILT:
                self.known[architecture.id] = None
            else:
                low, middle, high = np.quantile(runs, [0.25, 0.5, 0.75]).tolist()
                self.known[architecture.id], self.spreads[architecture.id] = middle, (low, high)
        return self.known[architecture.id]

    def _runs(self, architecture: Architecture) -> list[float]:
        import torch

        device, images = "cuda" if torch.cuda.is_available() else "cpu", self.networks.images
        network = self.networks.build(architecture, device)
        batch = torch.zeros(1, images.channels, images.side, images.side, device=device)
        taken = []
        with torch.inference_mode():
            for _ in range(WARM_UPS + RUNS):
                begun = time.perf_counter()
                network(batch)
                if device == "cuda":
                    torch.cuda.synchronize()
                taken.append(1000.0 * (time.perf_counter() - begun))
        return taken[WARM_UPS:]
