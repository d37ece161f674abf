"""NAS-Bench-201: cells of four nodes and six edges, five operations (Dong and Yang, ICLR 2020).

The cell `|a~0|+|b~0|c~1|+|d~0|e~1|f~2|` reads: node 1 is a(node 0); node 2 is b(node 0) + c(node 1); ...
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, ClassVar

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Decision
from nas_agent.spaces.categorical import CategoricalSpace
from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.spaces.class_text import ClassText
from nas_agent.spaces.code import Descriptors
from nas_agent.spaces.nasbench201_source import RECIPE, SKELETON, cell_source, class_text, module_source
from nas_agent.spaces.nasbench201_variation import RANGES, descriptors, varied

if TYPE_CHECKING:
    from torch import Tensor, nn

OPERATIONS = (
    Operation("none", "zero"),
    Operation("skip_connect", "identity", kernel=1),
    Operation("nor_conv_1x1", "conv", kernel=1, cost=1.0),
    Operation("nor_conv_3x3", "conv", kernel=3, cost=9.0),
    Operation("avg_pool_3x3", "pool", kernel=3),
)
# The benchmark's own order: by end node, then by start node.
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELLS_PER_STAGE = 5
_NAMES = tuple(operation.name for operation in OPERATIONS)
_COST = {operation.name: operation.cost for operation in OPERATIONS}
_NODE = re.compile(r"\|([^|~]+)~(\d+)")
_SHAPE = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


class NasBench201(CategoricalSpace):
    """The topology search space of NAS-Bench-201: 15,625 cells in 6,466 isomorphism classes."""

    name: ClassVar[str] = "nb201"
    decisions: ClassVar[tuple[Decision, ...]] = tuple(
        Decision(f"edge_{start}_{end}", _NAMES, f"the operation from node {start} to node {end}", "operation")
        for start, end in EDGES
    )
    operations: ClassVar[tuple[Operation, ...]] = OPERATIONS
    skeleton: ClassVar[str] = SKELETON
    recipe: ClassVar[str] = RECIPE

    def write(self, options: tuple[str, ...]) -> str:
        """Write the benchmark's string."""
        a, b, c, d, e, f = options
        return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"

    def read(self, text: str) -> tuple[str, ...]:
        """Read the benchmark's string."""
        cleaned = re.sub(r"\s", "", text)
        found = _NODE.findall(cleaned)
        options = tuple(operation for operation, _ in found)
        starts = tuple(int(start) for _, start in found)
        if starts != tuple(start for start, _ in EDGES) or self.write(options) != cleaned:
            raise InvalidArchitecture(f"expected a cell written as {_SHAPE}, got {text[:200]!r}")
        return options

    def canonical_key(self, options: tuple[str, ...]) -> str:
        """Expand the output node into its expression over the input (the benchmark's unique string).

        Skips vanish into their input, sums are sorted, what follows a zeroed first node is zero too:
        the rule by which the benchmark counts 6,466 unique topologies.
        """
        node = ["x"]
        for end in (1, 2, 3):
            terms = []
            for (start, to), operation in zip(EDGES, options, strict=True):
                if to != end:
                    continue
                if operation == "none" or node[start] == "#":
                    terms.append("#")
                elif operation == "skip_connect":
                    terms.append(node[start])
                else:
                    terms.append(f"({node[start]})@{operation}")
            node.append("+".join(sorted(terms)))
        return node[3]

    def cost(self, options: tuple[str, ...]) -> float:
        """Weights of the cell per squared channel count."""
        return sum(_COST[operation] for operation in options)

    def graph(self, architecture: Architecture) -> CellGraph:
        """Return the cell as a labelled graph."""
        options = self._options(architecture)
        edges = tuple(Edge(s, e, o) for (s, e), o in zip(EDGES, options, strict=True))
        return CellGraph(nodes=4, edges=edges, operations=OPERATIONS)

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        """Parameters and FLOPs of the network."""
        return self.parameters(architecture), self.flops(architecture)

    def parameters(self, architecture: Architecture, *, classes: int = 10, width: int = 16, channels: int = 3) -> int:
        """Count the weights of the network, batch normalisation included; equal to the benchmark's for CIFAR-10."""
        options = self._options(architecture)
        total = 9 * channels * width + 2 * width + 8 * width + 4 * width * classes + classes  # stem and head
        for wide in (width, 2 * width):  # residual blocks: two convolutions and a 1x1 shortcut
            total += (9 * wide + 9 * 2 * wide + wide) * 2 * wide + 8 * wide
        for wide in (width, 2 * width, 4 * width):
            weights = [_COST[o] * wide**2 + 2 * wide for o in options if _COST[o]]
            total += CELLS_PER_STAGE * int(sum(weights))
        return total

    def flops(
        self, architecture: Architecture, *, classes: int = 10, width: int = 16, channels: int = 3, side: int = 32
    ) -> int:
        """Count multiplications of convolutions and classifier for one image, as the benchmark does."""
        stage = (width * side) ** 2  # halving the side while doubling the channels keeps this product
        cost = sum(_COST[o] for o in self._options(architecture))
        cells = int(3 * CELLS_PER_STAGE * cost * stage)
        blocks = 2 * (9 * 2 + 9 * 4 + 2) * stage // 4
        return 9 * channels * width * side**2 + cells + blocks + 4 * width * classes

    # -- quality diversity: see nasbench201_variation.py -----------------------------------------------------

    ranges: ClassVar[dict[str, tuple[float, float]]] = RANGES  # of its descriptors

    def start(self) -> Architecture:
        """Return what quality diversity begins with: the input through one 1x1 convolution."""
        return self.canonical(self.build({d.name: "none" for d in self.decisions} | {"edge_0_3": "nor_conv_1x1"}))

    def vary(self, intent: str, parents: Sequence[Architecture], rng: Random) -> Architecture:
        """Carry an intent out by editing edges; InvalidArchitecture where the cell leaves no room for it."""
        return self.canonical(self._make(varied(intent, [self._options(parent) for parent in parents], rng)))

    def descriptors(self, architecture: Architecture) -> Descriptors:
        """Describe the canonical cell's network."""
        canonical = self.canonical(architecture)
        return descriptors(self.graph(canonical), self.flops(canonical), self.parameters(canonical))

    def source(self, architecture: Architecture) -> str:
        """Write the canonical cell as a PyTorch class: dead edges dropped, skips as variable reuse."""
        return cell_source(self.graph(self.canonical(architecture)))

    def class_text(self, architecture: Architecture, *, inline: bool = False) -> ClassText:
        """Write the cell as it is, dead edges too, as the benchmark trains it."""
        return class_text(self.graph(architecture), inline=inline)

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write the benchmark's network around the canonical cell."""
        canonical = self.canonical(architecture)
        return module_source(canonical.text, self.source(canonical), classes)

    def network(self, architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = 16) -> nn.Module:
        """Build the benchmark's network: a stem, three stages of five cells, and a classifier."""
        from nas_agent.spaces.nasbench201_network import Network

        return Network(self.graph(architecture), classes=classes, in_channels=in_channels, width=width)

    def cell_modules(
        self, architecture: Architecture, *, width: int
    ) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Build one cell."""
        import torch

        from nas_agent.spaces.nasbench201_network import cell

        return {"Cell": (cell(self.graph(architecture), width), (torch.zeros(1, width, 8, 8),))}
