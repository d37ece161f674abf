"""The macro space of TransNAS-Bench-101: see `nas_agent.spaces.trans101`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Decision
from nas_agent.spaces.categorical import CategoricalSpace
from nas_agent.spaces.class_text import ClassText
from nas_agent.spaces.trans101 import BASE, BLOCKS, SIDE, stages
from nas_agent.spaces.trans101_source import MACRO_SKELETON, RECIPE, encoder_source, macro_text, module_source

if TYPE_CHECKING:
    from torch import nn

# What a module does, in the order of the benchmark's codes 1-4, and 0 for a module that is not there.
KINDS = ("absent", "plain", "widen", "shrink", "widen_shrink")
DEPTHS = ("4", "5", "6")
MOST_WIDENED, MOST_SHRUNK = 3, 4  # of the modules of a network; at least one is widened, and at least one shrunk
_WIDENED, _SHRUNK = ("widen", "widen_shrink"), ("shrink", "widen_shrink")
_MODULES = re.compile(rf"{BASE}-([1-4]{{4,6}})-basic")


def _kind(widened: bool, shrunk: bool) -> str:
    return KINDS[1 + widened + 2 * shrunk]


class Trans101Macro(CategoricalSpace):
    """Networks of four to six modules: which of them double the channels, which halve the resolution; 3,256.

    One to three modules double the channels and one to four halve the resolution. Any other combination of options
    is taken for the network next to it: surplus ones are dropped from the end, a missing one goes to the last module.
    """

    name: ClassVar[str] = "trans101-macro"
    decisions: ClassVar[tuple[Decision, ...]] = (
        Decision("depth", DEPTHS, "the number of modules, each of two residual blocks", "depth"),
        *(
            Decision(f"module_{place}", KINDS[1:] if place <= 4 else KINDS, f"what module {place} changes")
            for place in range(1, 7)
        ),
    )
    skeleton: ClassVar[str] = MACRO_SKELETON
    recipe: ClassVar[str] = RECIPE

    def write(self, options: tuple[str, ...]) -> str:
        """Write the benchmark's string."""
        return f"{BASE}-{_codes(options)}-basic"

    def read(self, text: str) -> tuple[str, ...]:
        """Read the benchmark's string."""
        found = _MODULES.fullmatch(text.strip())
        if found is None:
            raise InvalidArchitecture(
                f"expected {BASE}-CODES-basic with four to six codes of modules 1-4 "
                f"({', '.join(f'{code} {kind}' for code, kind in enumerate(KINDS) if code)}), "
                f"as in {BASE}-1234-basic, got {text[:200]!r}"
            )
        kinds = [KINDS[int(code)] for code in found[1]]
        options = (str(len(kinds)), *kinds, *["absent"] * (6 - len(kinds)))
        if self.canonical_options(options) != options:
            raise InvalidArchitecture(
                f"expected one to {MOST_WIDENED} modules of 2 or 4 (channels doubled) and one to {MOST_SHRUNK} "
                f"of 3 or 4 (resolution halved), got {text[:200]!r}"
            )
        return options

    def canonical_options(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """Return the options of the network that is meant (see the class)."""
        depth = int(options[0])
        kinds = options[1 : 1 + depth]
        widened = _within([kind in _WIDENED for kind in kinds], MOST_WIDENED)
        shrunk = _within([kind in _SHRUNK for kind in kinds], MOST_SHRUNK)
        settled = [_kind(*pair) for pair in zip(widened, shrunk, strict=True)]
        return (options[0], *settled, *["absent"] * (6 - depth))

    def _make(self, options: tuple[str, ...]) -> Architecture:
        """Settle the options before anything is made of them: the notation can write nothing else."""
        known = all(o in d.options for d, o in zip(self.decisions, options, strict=True))
        return super()._make(self.canonical_options(options) if known else options)

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        """FLOPs and parameters of the network: here it is FLOPs that scores rise with."""
        return self.flops(architecture), self.parameters(architecture)

    def parameters(self, architecture: Architecture) -> int:
        """Count the weights behind the stem and before the head, which differs from task to task."""
        return sum(weights for weights, _ in _block_sizes(self._codes(architecture)))

    def flops(self, architecture: Architecture) -> int:
        """Count the multiplications of the same layers for one image of the benchmark."""
        return sum(weights * pixels for weights, pixels in _block_sizes(self._codes(architecture)))

    def _codes(self, architecture: Architecture) -> str:
        return _codes(self._options(architecture))

    def _stages(self, architecture: Architecture) -> tuple[tuple[int, int, int], ...]:
        return tuple(stages(self._codes(architecture)))

    def source(self, architecture: Architecture) -> str:
        """Write the row of modules as a PyTorch class."""
        return encoder_source(self._stages(architecture), "BasicBlock")

    def class_text(self, architecture: Architecture, *, inline: bool = False) -> ClassText:
        """Write the row of modules; `inline` spells out residual blocks too."""
        return macro_text(self._stages(architecture), inline=inline)

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write the benchmark's network."""
        found = macro_text(self._stages(architecture), inline=False, classes=classes)
        return module_source(architecture.text, found)

    def network(
        self, architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = BASE
    ) -> nn.Module:
        """Build the benchmark's network."""
        from nas_agent.spaces.trans101_network import macro_network

        return macro_network(self._stages(architecture), classes, in_channels, width)


def _codes(options: tuple[str, ...]) -> str:
    return "".join(str(KINDS.index(kind)) for kind in options[1:] if kind != "absent")


def _within(flags: list[bool], most: int) -> list[bool]:
    """Keep the first `most` of those that are set; where none is, set the last."""
    kept = [flag and sum(flags[:place]) < most for place, flag in enumerate(flags)]
    return kept if any(kept) else [*kept[:-1], True]


def _block_sizes(codes: str) -> Iterator[tuple[int, int]]:
    """Yield for every layer of every block its weights, and the pixels that it is applied to."""
    side = SIDE
    for before, after, stride in stages(codes):
        side //= stride
        first, width = before * BASE, after * BASE
        pixels = side * side
        yield 9 * first * width + 2 * width, pixels
        if stride > 1 or first != width:
            yield first * width + 2 * width, pixels
        for _ in range(2 * BLOCKS - 1):
            yield 9 * width * width + 2 * width, pixels
