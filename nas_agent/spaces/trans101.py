"""TransNAS-Bench-101: a cell space and a macro space, each trained on seven tasks (Duan et al., CVPR 2021).

A network is a stem that quarters the resolution, a row of modules of two blocks each, and a classifier. The code of
a module says what its first block changes: 1 nothing, 2 doubles the channels, 3 halves the resolution, 4 both.
`trans101-micro` fixes the modules to 41414 and leaves the cell open that stands for each block, written
`64-41414-3_33_333`; `trans101-macro` fixes the block, a residual one of two 3x3 convolutions, and leaves the modules
open, written `64-1234-basic`. The reference is the benchmark's own code (github.com/yawen-d/TransNASBench).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Decision
from nas_agent.spaces.categorical import CategoricalSpace
from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.spaces.class_text import ClassText
from nas_agent.spaces.trans101_source import (
    MICRO_SKELETON,
    RECIPE,
    cell_source,
    micro_text,
    module_source,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

BASE = 64  # channels behind the stem
SIDE = 64  # pixels behind the stem, for the benchmark's images of 256 x 256
BLOCKS = 2  # in each module


def stages(codes: str) -> Iterator[tuple[int, int, int]]:
    """Yield for each module its channels before and after, as multiples of the first, and its stride."""
    before = 1
    for code in codes:
        after = before * (2 if code in "24" else 1)
        yield before, after, 2 if code in "34" else 1
        before = after


OPERATIONS = (
    Operation("none", "zero"),
    Operation("skip", "identity", kernel=1),
    Operation("conv1x1", "conv", kernel=1, cost=1.0),
    Operation("conv3x3", "conv", kernel=3, cost=9.0),
)
# By end node, then by start node: the order of the benchmark's string.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
MICRO_MODULES = "41414"
MICRO_STAGES = tuple(stages(MICRO_MODULES))
_NAMES = tuple(operation.name for operation in OPERATIONS)
_COST = {operation.name: operation.cost for operation in OPERATIONS}
_CELL = re.compile(rf"{BASE}-{MICRO_MODULES}-([0-3])_([0-3])([0-3])_([0-3])([0-3])([0-3])")


class Trans101Micro(CategoricalSpace):
    """Cells of four nodes and six edges with four operations: 4,096 of them, 1,229 different ones.

    The first block of each 4 changes channels and resolution, so there a skip from the input is no identity but a 1x1
    convolution of its own. Two cells are the same network only if they are the same one in those blocks too, which
    is stricter than the rule of NAS-Bench-201.
    """

    name: ClassVar[str] = "trans101-micro"
    decisions: ClassVar[tuple[Decision, ...]] = tuple(
        Decision(f"edge_{start}_{end}", _NAMES, f"the operation from node {start} to node {end}", "operation")
        for start, end in EDGES
    )
    operations: ClassVar[tuple[Operation, ...]] = OPERATIONS
    skeleton: ClassVar[str] = MICRO_SKELETON
    recipe: ClassVar[str] = RECIPE

    def write(self, options: tuple[str, ...]) -> str:
        """Write the benchmark's string."""
        a, b, c, d, e, f = (_NAMES.index(option) for option in options)
        return f"{BASE}-{MICRO_MODULES}-{a}_{b}{c}_{d}{e}{f}"

    def read(self, text: str) -> tuple[str, ...]:
        """Read the benchmark's string."""
        found = _CELL.fullmatch(text.strip())
        if found is None:
            raise InvalidArchitecture(
                f"expected a cell written as {self._example}, each of the last six digits 0-3 "
                f"({', '.join(f'{code} {name}' for code, name in enumerate(_NAMES))}), got {text[:200]!r}"
            )
        return tuple(_NAMES[int(code)] for code in found.groups())

    def canonical_key(self, options: tuple[str, ...]) -> str:
        """Expand the output node into sums of what was done to the input; zeros add nothing, skips copy sums.

        A skip from the input is spelled out (see the class). What a convolution makes of zero is one number a
        channel, taken for zero too.
        """
        node: list[tuple[str, ...]] = [("x",)]
        for end in (1, 2, 3):
            terms: list[str] = []
            for (start, to), operation in zip(EDGES, options, strict=True):
                if to != end or operation == "none" or not node[start]:
                    continue
                if operation == "skip" and start > 0:
                    terms += node[start]
                else:
                    terms.append(f"({'+'.join(node[start])})@{operation}")
            node.append(tuple(sorted(terms)))
        return "+".join(node[3])

    def cost(self, options: tuple[str, ...]) -> float:
        """Weights of the network: the smallest cell of a class stands for it."""
        return float(self._weights(options))

    def graph(self, architecture: Architecture) -> CellGraph:
        """Return the cell as a labelled graph."""
        options = self._options(architecture)
        edges = tuple(Edge(s, e, o) for (s, e), o in zip(EDGES, options, strict=True))
        return CellGraph(nodes=4, edges=edges, operations=OPERATIONS)

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        """Parameters and FLOPs of the network."""
        return self.parameters(architecture), self.flops(architecture)

    def parameters(self, architecture: Architecture) -> int:
        """Count the weights behind the stem and before the head, which differs from task to task."""
        return self._weights(self._options(architecture))

    def _weights(self, options: tuple[str, ...]) -> int:
        return sum(int(w) for w, _ in _edge_sizes(options))

    def flops(self, architecture: Architecture) -> int:
        """Count the multiplications of the same layers for one image of the benchmark."""
        return sum(int(w * s) for w, s in _edge_sizes(self._options(architecture)))

    def source(self, architecture: Architecture) -> str:
        """Write the canonical cell as a PyTorch class: dead edges dropped, skips inside as variable reuse."""
        return cell_source(self.graph(self.canonical(architecture)))

    def class_text(self, architecture: Architecture, *, inline: bool = False) -> ClassText:
        """Write the cell as it is, dead edges too."""
        return micro_text(self.graph(architecture), MICRO_STAGES, inline=inline, live=False)

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write the benchmark's network around the canonical cell."""
        canonical = self.canonical(architecture)
        found = micro_text(self.graph(canonical), MICRO_STAGES, inline=False, live=True, classes=classes)
        return module_source(canonical.text, found)

    def network(
        self, architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = BASE
    ) -> nn.Module:
        """Build the benchmark's network around the cell."""
        from nas_agent.spaces.trans101_network import micro_network

        return micro_network(self.graph(architecture), MICRO_STAGES, classes, in_channels, width)

    def cell_modules(
        self, architecture: Architecture, *, width: int
    ) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Build a cell that doubles the channels and halves the resolution."""
        import torch

        from nas_agent.spaces.trans101_network import micro_cell

        return {"Cell": (micro_cell(self.graph(architecture), width, 2 * width, 2), (torch.zeros(1, width, 8, 8),))}


def _edge_sizes(options: tuple[str, ...]) -> Iterator[tuple[float, int]]:
    """Yield for every layer of every block its weights, and the pixels that it is applied to."""
    side = SIDE
    for before, after, stride in MICRO_STAGES:
        side //= stride
        for block in range(BLOCKS):
            inputs = before if block == 0 else after
            for (start, _), operation in zip(EDGES, options, strict=True):
                from_input = start == 0 and block == 0 and (stride > 1 or before != after)
                cost = 1.0 if operation == "skip" and from_input else _COST[operation]
                channels = (inputs if start == 0 else after) * BASE
                if cost:
                    yield cost * channels * after * BASE + 2 * after * BASE, side * side
