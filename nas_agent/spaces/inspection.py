"""What running a network's text tells about it, and who is asked: a space never runs a text itself.

An inspector is handed to the space (`nas_agent.tools.inspection` has one that works in the sandbox). Everything that it
says is what the text's own process claimed: enough to search by, never a score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from nas_agent.records import Json
from nas_agent.spaces.base import Space

Sizes = tuple[int, ...]  # of a tensor without its first axis, the images of the batch
Span = tuple[int, int, int, int]  # of a call in the text: first line, column, last line, column; lines from 1


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What a network is written for, and the most that it may need."""

    classes: int = 10
    channels: int = 3
    side: int = 32  # pixels
    parameters: float = 20e6
    flops: float = 5e9  # multiply-adds of one image

    @classmethod
    def of(cls, classes: int, channels: int, side: int) -> NetworkShape:
        """Choose limits that suit images: those of LLMatic (5 G) from 32 pixels on, less for small ones (ours)."""
        if side >= 32:
            return cls(classes, channels, side)
        return cls(classes, channels, side, parameters=2e6, flops=1e6 * side * side)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return how far archives reach: FLOPs are those of LLMatic from 32 pixels on, for small images ours.

        For small images they begin at the first network and end at a quarter of the limit, beyond which one training
        costs more than many others together; from as many layers as channels to fifty channels a layer.
        """
        if self.side >= 32:
            return {"width_to_depth": (1.0, 200.0), "flops": (2e8, 5e9)}
        return {"width_to_depth": (1.0, 50.0), "flops": (8.0 * self.side**2, self.flops / 4)}


@dataclass(frozen=True, slots=True)
class Layer:
    """One module of torch that was made by a call in the text, and what passed through it."""

    kind: str  # e.g. "Conv2d"
    span: Span  # the call that made it
    path: str  # where it sits in the network, e.g. "features.0"
    given: Mapping[str, int]  # its sizes by the names of the constructor's arguments
    calls: int  # how often it was used in one forward pass
    entering: Sizes | None  # shape of what it got; None where it was not called or took something else
    leaving: Sizes | None


@dataclass(frozen=True, slots=True)
class Wish:
    """A size with which the network would fit together."""

    span: Span  # of the call that makes the layer
    argument: str
    value: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """A text that makes a network which can be trained."""

    nodes: tuple[Json, ...]  # the traced operators, see `pytorch_graph`
    parameters: int
    flops: int
    layers: tuple[Layer, ...] = ()
    # Line of the text -> variables that hold tensors before it is run, with their shapes, the last assigned last.
    points: Mapping[int, Mapping[str, Sizes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A text that makes no such network."""

    step: str  # which of the steps it failed
    reason: str  # written so that a model can act on it
    wishes: tuple[Wish, ...] = ()  # sizes that would mend it


class Inspector(Protocol):
    """Runs a text that `pytorch_text.read` has let through, where it can do no harm."""

    def inspect(self, text: str, arguments: Mapping[str, int], shape: NetworkShape) -> Inspection | Refusal:
        """Build the class `Network` with these arguments, pass images through it, and tell what was seen."""
        ...


@runtime_checkable
class Inspected(Protocol):
    """A space whose texts are looked at before they are architectures."""

    shape: NetworkShape
    inspector: Inspector | None  # None: nothing is looked at yet
    proposals: int  # how many a generator may make in a round: each of them is looked at

    def equipped(self, shape: NetworkShape | None, inspector: Inspector) -> Space:
        """Return the space for images of this shape, None for its own, with somebody who looks."""
        ...
