"""NAS-Bench-101: cells of up to seven vertices and nine edges, three operations (Ying et al., ICML 2019).

The cell `conv3x3-bn-relu(0)|maxpool3x3(0+1)|none()|none()|none()|output(1+2)` reads: vertex 1 is a convolution of
the input, vertex 2 pools the sum of the input and vertex 1, vertices 3 to 5 are left out, the output concatenates
vertices 1 and 2. An edge from the input is projected to the channels of its end by a 1x1 convolution; one to the
output is added to what the others bring.
"""

from __future__ import annotations

import re
from functools import cached_property, reduce
from operator import or_
from random import Random
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Decision
from nas_agent.spaces.categorical import CategoricalSpace
from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.spaces.class_text import ClassText
from nas_agent.spaces.features import Floats
from nas_agent.spaces.nasbench101_graph import Cell, colours, digest, prune, relabelled
from nas_agent.spaces.nasbench101_source import RECIPE, SKELETON, cell_source, class_text, module_source

if TYPE_CHECKING:
    from torch import Tensor, nn

VERTICES, MOST_EDGES = 7, 9
CONV3, CONV1, POOL = "conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3"
OPERATIONS = (
    Operation("none", "zero"),
    Operation(CONV3, "conv", kernel=3, cost=9.0),
    Operation(CONV1, "conv", kernel=1, cost=1.0),
    Operation(POOL, "pool", kernel=3),
)
LABELS = (CONV3, CONV1, POOL)  # the benchmark's own order
WIRE = Operation("wire", "identity", kernel=1)  # an edge of the cell, in the graph of vertices split in two
# The benchmark's own order: the rows of the upper triangle.
EDGES = tuple((start, end) for start in range(VERTICES) for end in range(start + 1, VERTICES))
INNER = range(1, VERTICES - 1)
CLASSES = (1, 6, 84, 2441, 62010, 359082)  # how many of the 423,624 cells have 2, 3, .. 7 vertices
STACKS, CELLS_PER_STACK = 3, 3
ABSENT, PRESENT = "absent", "present"
_LABEL = {"none": None, **{name: index for index, name in enumerate(LABELS)}}
_VERTEX = re.compile(r"([^()|]+)\(([0-9](?:\+[0-9])*)?\)")
_SHAPE = "op(0)|op(0+1)|op(..)|op(..)|op(..)|output(..), each with the vertices it reads and op one of " + ", ".join(
    operation.name for operation in OPERATIONS
)


class NasBench101(CategoricalSpace):
    """The search space of NAS-Bench-101: 423,624 cells by the benchmark's hash."""

    name: ClassVar[str] = "nb101"
    decisions: ClassVar[tuple[Decision, ...]] = (
        *(
            Decision(f"edge_{s}_{e}", (ABSENT, PRESENT), f"whether vertex {e} reads vertex {s}", "input")
            for s, e in EDGES
        ),
        *(
            Decision(f"op_{v}", tuple(o.name for o in OPERATIONS), f"the operation of vertex {v}", "operation")
            for v in INNER
        ),
    )
    operations: ClassVar[tuple[Operation, ...]] = OPERATIONS
    skeleton: ClassVar[str] = SKELETON
    recipe: ClassVar[str] = RECIPE

    def write(self, options: tuple[str, ...]) -> str:
        """Write each vertex as its operation and the vertices it reads."""
        names = (*options[len(EDGES) :], "output")
        sources = (f"{name}({'+'.join(map(str, found))})" for name, found in zip(names, _sources(options), strict=True))
        return "|".join(sources)

    def read(self, text: str) -> tuple[str, ...]:
        """Read what `write` writes."""
        cleaned = re.sub(r"\s", "", text)
        parts = [_VERTEX.fullmatch(part) for part in cleaned.split("|")]
        found = [(part[1], [int(v) for v in (part[2] or "").split("+") if v]) for part in parts if part is not None]
        if len(found) != len(parts) or len(found) != VERTICES - 1 or found[-1][0] != "output":
            raise InvalidArchitecture(f"expected a cell written as {_SHAPE}, got {text[:200]!r}")
        for end, (_, starts) in enumerate(found, 1):
            if any(start >= end for start in starts) or len(set(starts)) != len(starts):
                raise InvalidArchitecture(
                    f"expected vertex {end} to read distinct vertices before it, got {text[:200]!r}"
                )
        edges = (PRESENT if start in found[end - 1][1] else ABSENT for start, end in EDGES)
        return (*edges, *(name for name, _ in found[:-1]))

    def check(self, options: tuple[str, ...]) -> None:
        """Refuse a cell without a path from input to output, and one with more than nine edges on such paths."""
        self._form(options)

    def canonical_options(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """Return the pruned cell in the labelling that stands for its class; vertices left out come last."""
        return self._form(options)[0]

    def canonical_key(self, options: tuple[str, ...]) -> str:
        """Return the benchmark's hash of the pruned cell."""
        return self._form(options)[1]

    def sample(self, rng: Random) -> Architecture:
        """Draw a number of vertices as the space has it, then a uniform matrix that uses them all; canonical.

        The benchmark's own sampler, uniform 7x7 matrices that are then pruned, leaves seven vertices in one draw of
        two hundred, and they are 85 % of the space.
        """
        vertices = rng.choices(range(2, VERTICES + 1), CLASSES)[0]
        everyone = (1 << (vertices - 1)) - 1
        while True:
            reads = [rng.randrange(1, 1 << end) for end in range(1, vertices)]  # as bits, at least one source each
            if sum(map(int.bit_count, reads)) <= MOST_EDGES and reduce(or_, reads) == everyone:
                break
        sources = tuple([tuple([v for v in range(end) if bits >> v & 1]) for end, bits in enumerate(reads, 1)])
        labels = tuple([rng.randrange(len(LABELS)) for _ in range(vertices - 2)])
        return self.canonical(self._make(_options_of(Cell(labels, sources))))

    def cell(self, architecture: Architecture) -> Cell:
        """Return the pruned cell in its own labelling."""
        return _pruned(self._options(architecture))

    def graph(self, architecture: Architecture) -> CellGraph:
        """Return the cell with operations on edges: inner vertex v becomes an edge from node 2v - 1 to node 2v."""
        options = self._options(architecture)
        joins = (
            Edge(2 * s, 2 * e - 1, WIRE.name if option == PRESENT else "none")
            for (s, e), option in zip(EDGES, options, strict=False)
        )
        acts = (Edge(2 * v - 1, 2 * v, option) for v, option in zip(INNER, options[len(EDGES) :], strict=True))
        return CellGraph(nodes=2 * VERTICES - 2, edges=(*joins, *acts), operations=(*OPERATIONS, WIRE))

    def describe(self, architecture: Architecture) -> dict[str, Floats]:
        """Add to the structure of the graph which operations follow each other, whatever the labelling.

        `pairs`: edges by the labels of their two ends; `triples`: walks of two edges by the labels of their three
        vertices. Labels are the benchmark's operations, then input and output.
        """
        cell, ends = self.cell(architecture), len(LABELS)
        labels = (ends, *cell.labels, ends + 1)
        pairs, triples = np.zeros((ends + 2,) * 2), np.zeros((ends + 2,) * 3)
        for end, sources in enumerate(cell.sources, 1):
            for middle in sources:
                pairs[labels[middle], labels[end]] += 1.0
                for start in cell.sources[middle - 1] if middle else ():
                    triples[labels[start], labels[middle], labels[end]] += 1.0
        return {**super().describe(architecture), "pairs": pairs.ravel(), "triples": triples.ravel()}

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        """Parameters of the network."""
        return (self.parameters(architecture),)

    def parameters(self, architecture: Architecture, *, classes: int = 10, width: int = 128) -> int:
        """Count the weights of the network, batch normalisation included; equal to the benchmark's.

        Where the channels of the output cannot be divided evenly, the count depends on the order of the vertices.
        """
        cell = self.cell(architecture)
        total = 27 * width + 2 * width
        arriving = width
        for stack in range(STACKS):
            channels = width * 2**stack
            total += _cell_parameters(cell, arriving, channels)
            total += (CELLS_PER_STACK - 1) * _cell_parameters(cell, channels, channels)
            arriving = channels
        return total + arriving * classes + classes

    def source(self, architecture: Architecture) -> str:
        """Write the canonical cell as a PyTorch class: only live vertices, numbered in the order they are computed."""
        return cell_source(self.cell(self.canonical(architecture)), LABELS)

    def class_text(self, architecture: Architecture, *, inline: bool = False) -> ClassText:
        """Write the cell in its own labelling; pruned, since what is not live has no number of channels."""
        return class_text(self.cell(architecture), LABELS, inline=inline)

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write the benchmark's network around the canonical cell."""
        canonical = self.canonical(architecture)
        return module_source(canonical.text, self.source(canonical), classes)

    def network(self, architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = 128) -> nn.Module:
        """Build the benchmark's network: a stem, three stacks of three cells, and a classifier."""
        from nas_agent.spaces.nasbench101_network import Network

        return Network(self.cell(architecture), classes=classes, in_channels=in_channels, width=width)

    def cell_modules(
        self, architecture: Architecture, *, width: int
    ) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Build one cell."""
        import torch

        from nas_agent.spaces.nasbench101_network import CellModule

        return {"Cell": (CellModule(self.cell(architecture), width, width), (torch.zeros(1, width, 8, 8),))}

    # -- behind the scenes ----------------------------------------------------------------------------

    @cached_property
    def _forms(self) -> dict[tuple[str, ...], tuple[tuple[str, ...], str]]:
        return {}

    def _form(self, options: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
        """Return the canonical options and the hash."""
        known = self._forms.get(options)
        if known is None:
            cell = _pruned(options)
            colouring = colours(cell)
            known = _options_of(relabelled(cell, colouring)), digest(colouring)
            self._remember(self._forms, options, known)
            self._remember(self._forms, known[0], known)
        return known


def _pruned(options: tuple[str, ...]) -> Cell:
    cell = prune(tuple([_LABEL[name] for name in options[len(EDGES) :]]), tuple(_sources(options)))
    if cell is None:
        raise InvalidArchitecture("expected a path from vertex 0 to the output; let the output read a live vertex")
    if cell.edges > MOST_EDGES:
        raise InvalidArchitecture(
            f"expected at most {MOST_EDGES} edges on paths from input to output, got {cell.edges}; leave some out"
        )
    return cell


def _sources(options: tuple[str, ...]) -> list[tuple[int, ...]]:
    """Return the vertices that vertex 1, 2, .. reads."""
    sources: list[list[int]] = [[] for _ in range(VERTICES - 1)]
    for (start, end), option in zip(EDGES, options, strict=False):
        if option == PRESENT:
            sources[end - 1].append(start)
    return [tuple(starts) for starts in sources]


def _options_of(cell: Cell) -> tuple[str, ...]:
    """Return the options of a pruned cell; the output is vertex 6, those that are not used lie before it."""
    last = cell.vertices - 1
    present = {
        (start, VERTICES - 1 if end == last else end)
        for end, sources in enumerate(cell.sources, 1)
        for start in sources
    }
    edges = (PRESENT if edge in present else ABSENT for edge in EDGES)
    unused = ["none"] * (VERTICES - cell.vertices)
    return (*edges, *(LABELS[label] for label in cell.labels), *unused)


def _cell_parameters(cell: Cell, arriving: int, leaving: int) -> int:
    channels = cell.channels(arriving, leaving)
    kernel = {LABELS.index(CONV3): 9, LABELS.index(CONV1): 1}
    total = 0
    for end, sources in enumerate(cell.sources, 1):
        if 0 in sources:  # the projection, batch normalisation included
            total += (arriving + 2) * channels[end]
        if end < cell.vertices - 1 and cell.labels[end - 1] in kernel:
            total += (kernel[cell.labels[end - 1]] * channels[end] + 2) * channels[end]
    return total
