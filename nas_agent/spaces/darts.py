"""DARTS: a normal and a reduction cell of four nodes with two inputs each (Liu, Simonyan and Yang, ICLR 2019).

    normal=[sep_conv_3x3(0)+skip_connect(1), …] reduce=[max_pool_3x3(0)+max_pool_3x3(1), …]

Four sums in each cell, one for each of its nodes 2 to 5; in brackets what is read: 0 is the output of the cell before
last, 1 that of the last cell, 2 and up are earlier nodes of the cell. DARTS' own `Genotype(…)` is read as well.

The space is a little larger than what DARTS derives: an edge may be `none`, and both pairs of a node may read the same
input, as in cells that were trained for real. Everything builds; `sample` draws as DARTS does, without either.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, ClassVar

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Decision
from nas_agent.spaces.categorical import CategoricalSpace
from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.spaces.class_text import ClassText
from nas_agent.spaces.darts_cells import (
    NAMES,
    NODES,
    NONE,
    OPERATIONS,
    PUBLISHED_CELLS,
    PUBLISHED_WIDTH,
    Cell,
    canonical_cell,
    network_size,
    to_cell,
    to_options,
)
from nas_agent.spaces.darts_features import CONCAT, darts_features
from nas_agent.spaces.darts_source import RECIPE, SKELETON, cells_source, class_text, module_source
from nas_agent.spaces.features import Floats

if TYPE_CHECKING:
    from torch import Tensor, nn

CELLS = ("normal", "reduce")
HALF = 16  # decisions of one cell: two pairs in each of four nodes, an input and an operation in each pair
_WORDS = {"normal": "normal cell", "reduce": "reduction cell"}
_PLACES = {"a": "first", "b": "second"}
_PAIR = re.compile(r"\b(\w+)\((\d)\)")
_TUPLE = re.compile(r"\('(\w+)',(\d)\)")
_SHAPE = "normal=[op(0)+op(1), op(i)+op(j), op(i)+op(j), op(i)+op(j)] reduce=[…], or DARTS' Genotype(…)"


def _decisions() -> Iterator[Decision]:
    for cell in CELLS:
        for node in NODES:
            inputs = tuple(str(start) for start in range(node))
            for pair, place in _PLACES.items():
                where = f"node {node} of the {_WORDS[cell]}"
                reads = "0 the output of the cell before last, 1 that of the last cell"
                reads += ", 2 and up an earlier node" if node > NODES[0] else ""
                yield Decision(f"{cell}_{node}_{pair}_input", inputs, f"the {place} input of {where}: {reads}", "input")
                yield Decision(
                    f"{cell}_{node}_{pair}_op", NAMES, f"the operation on the {place} input of {where}", "operation"
                )


class Darts(CategoricalSpace):
    """Pairs of a normal and a reduction cell; spellings of one pair of networks share one id."""

    name: ClassVar[str] = "darts"
    decisions: ClassVar[tuple[Decision, ...]] = tuple(_decisions())
    operations: ClassVar[tuple[Operation, ...]] = OPERATIONS
    skeleton: ClassVar[str] = SKELETON
    recipe: ClassVar[str] = RECIPE

    def write(self, options: tuple[str, ...]) -> str:
        """Write a sum for each node."""
        normal, reduction = _halves(options)
        return f"normal=[{_sums(normal)}] reduce=[{_sums(reduction)}]"

    def genotype(self, architecture: Architecture) -> str:
        """Write the architecture as DARTS' code prints it."""
        return _genotype(self._options(architecture))

    def read(self, text: str) -> tuple[str, ...]:
        """Read sums, or DARTS' Genotype."""
        cleaned = re.sub(r"\s", "", text).replace('"', "'").replace("[2,3,4,5]", "range(2,6)")
        found = _PAIR.findall(cleaned) or _TUPLE.findall(cleaned)
        options = tuple(option for operation, start in found for option in (start, operation))
        if len(options) != 2 * HALF or cleaned not in (_tight(self.write(options)), _tight(_genotype(options))):
            raise InvalidArchitecture(f"expected two cells written as {_SHAPE}, got {text[:200]!r}")
        return options

    def canonical_options(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """Order pairs and nodes in the one way that stands for all; what is zero is written as none(0)."""
        normal, reduction = _halves(options)
        return _canonical(normal) + _canonical(reduction)

    def sample(self, rng: Random) -> Architecture:
        """Draw as DARTS derives cells: two different inputs for each node, no edge without an operation."""
        cells = (
            tuple(
                tuple((start, rng.choice(_ACTING)) for start in rng.sample(range(node), 2))  # both inputs at node 2
                for node in NODES
            )
            for _ in CELLS
        )
        options = tuple(
            text for cell in cells for node in cell for start, operation in node for text in (str(start), operation)
        )
        return self.canonical(self._make(options))

    def cells(self, architecture: Architecture) -> tuple[Cell, Cell]:
        """Return the canonical normal and reduction cell."""
        normal, reduction = (to_cell(_canonical(half)) for half in _halves(self._options(architecture)))
        return normal, reduction

    def graph(self, architecture: Architecture) -> CellGraph:
        """Return a normal cell followed by a reduction cell as one graph of twelve nodes.

        0 and 1 are what the normal cell reads, 2 to 5 its nodes, 6 its output; the reduction cell reads 1 and 6,
        has the nodes 7 to 10, and its output is node 11. Edges that are no choice are labelled `cell` (from the
        cell before last to the last) and `concat` (from a node to the output of its cell).
        """
        edges = [Edge(0, 1, _CELL.name)]
        for half, inputs, first in zip(_halves(self._options(architecture)), ((0, 1), (1, 6)), (2, 7), strict=True):
            for node, pairs in zip(NODES, to_cell(half), strict=True):
                for start, operation in pairs:
                    origin = inputs[start] if start < NODES[0] else first + start - NODES[0]
                    edges.append(Edge(origin, first + node - NODES[0], operation))
            edges += [Edge(first + k, first + len(NODES), CONCAT.name) for k in range(len(NODES))]
        return CellGraph(nodes=12, edges=tuple(edges), operations=(*OPERATIONS, _CELL, CONCAT))

    def describe(self, architecture: Architecture) -> dict[str, Floats]:
        """Blocks of numbers for each of the two cells, and the size of the network."""
        cells = dict(zip(CELLS, self.cells(architecture), strict=True))
        return darts_features(cells, self.sizes(architecture))

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        """Parameters and FLOPs of the published network: 20 cells, 36 channels, CIFAR-10, no auxiliary head."""
        normal, reduction = self.cells(architecture)
        return network_size(normal, reduction, cells=PUBLISHED_CELLS, width=PUBLISHED_WIDTH)

    def source(self, architecture: Architecture) -> str:
        """Write both canonical cells as PyTorch classes: `none` is left out, skips are plain variables."""
        return cells_source(self.cells(architecture))

    def class_text(self, architecture: Architecture, *, inline: bool = False) -> ClassText:
        """Write the cells as they are."""
        normal, reduction = map(to_cell, _halves(self._options(architecture)))
        return class_text((normal, reduction), inline=inline)

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write the published network around the canonical cells; its size is that of `sizes`."""
        canonical = self.canonical(architecture)
        return module_source(canonical.text, self.cells(canonical), classes)

    def network(
        self, architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = PUBLISHED_WIDTH
    ) -> nn.Module:
        """Build a small network for training: five cells, the second and the fourth of them reduction cells."""
        from nas_agent.spaces.darts_network import Network

        return Network(self.cells(architecture), classes=classes, in_channels=in_channels, width=width)

    def cell_modules(
        self, architecture: Architecture, *, width: int
    ) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Build a normal and a reduction cell between others; canonical, as in the network."""
        import torch

        from nas_agent.spaces.darts_network import DartsCell

        inputs = (torch.zeros(1, 4 * width, 8, 8),) * 2
        channels = (4 * width, 4 * width)
        return {
            name: (DartsCell(cell, channels, width, reduces=reduces, reduced=False), inputs)
            for name, cell, reduces in zip(
                ("NormalCell", "ReductionCell"), self.cells(architecture), (False, True), strict=True
            )
        }


_ACTING = tuple(name for name in NAMES if name != NONE)
_CELL = Operation("cell", "other")


def _halves(options: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return options[:HALF], options[HALF:]


# The two halves are remembered apart: what a search proposes shares one of its cells with many others.
@lru_cache(maxsize=20_000)
def _canonical(half: tuple[str, ...]) -> tuple[str, ...]:
    return to_options(canonical_cell(to_cell(half)))


@lru_cache(maxsize=20_000)
def _sums(half: tuple[str, ...]) -> str:
    return ", ".join("+".join(f"{operation}({start})" for start, operation in node) for node in to_cell(half))


def _genotype(options: tuple[str, ...]) -> str:
    cells = (
        ", ".join(f"('{operation}', {start})" for node in to_cell(half) for start, operation in node)
        for half in _halves(options)
    )
    fields = (f"{name}=[{pairs}], {name}_concat=range(2, 6)" for name, pairs in zip(CELLS, cells, strict=True))
    return f"Genotype({', '.join(fields)})"


def _tight(text: str) -> str:
    return re.sub(r"\s", "", text)
