"""Architectures as arrays: what the graph auto-encoder reads and writes.

A cell is a graph whose vertices do something and read others. A `Layout` says once for a space which edges and which
operations are open; the others are the same in all its architectures. `Graphs` holds only what is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import ConfigError
from nas_agent.records import Architecture
from nas_agent.spaces import CategoricalSpace, load_space
from nas_agent.spaces.darts import CELLS, HALF
from nas_agent.spaces.darts_cells import NODES
from nas_agent.spaces.nasbench101 import EDGES as EDGES_101
from nas_agent.spaces.nasbench101 import INNER, VERTICES
from nas_agent.spaces.nasbench201 import EDGES as EDGES_201

SPACES = ("nb201", "nb101", "darts")
UNREADABLE = 255  # more than any decision's options
REMEMBERED = 100_000  # decoded architectures that a codec keeps at hand


@dataclass(frozen=True, slots=True)
class Layout:
    """The vertices of a space's cells, and what about them is open."""

    vertices: int
    open_edges: tuple[tuple[int, int], ...]  # (start, end)
    fixed_edges: tuple[tuple[int, int], ...]
    operated: tuple[int, ...]  # the vertices whose operation is open
    operations: int  # how many each of them may have
    # Runs of open edges, as (first, after the last): of each run, exactly one edge is there. Empty: edges are free.
    choices: tuple[tuple[int, int], ...] = ()

    @property
    def coded(self) -> tuple[int, ...]:
        """The vertices about which anything is open: each is described by codes."""
        return tuple(sorted({end for _, end in self.open_edges} | set(self.operated)))


@dataclass(frozen=True, slots=True, eq=False)
class Graphs:
    """A batch of n graphs of one layout."""

    edges: NDArray[np.bool_]  # (n, open edges)
    operations: NDArray[np.int64]  # (n, operated vertices)

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.operations):
            raise ValueError(f"expected as many rows of edges as of operations, got {len(self.edges)} rows of edges")

    def __len__(self) -> int:
        return len(self.operations)

    def same(self, other: Graphs) -> NDArray[np.bool_]:
        """Tell for each graph whether the other batch has the same one in its place."""
        found: NDArray[np.bool_] = (self.edges == other.edges).all(axis=1)
        found &= (self.operations == other.operations).all(axis=1)
        return found


class Codec:
    """Architectures of one space to graphs and back."""

    def __init__(self, space: CategoricalSpace, layout: Layout) -> None:
        self.space = space
        self.layout = layout
        self._places = [{option: place for place, option in enumerate(d.options)} for d in space.decisions]
        is_operation = [decision.role == "operation" for decision in space.decisions]
        self._operation_columns = np.flatnonzero(is_operation)
        self._edge_columns = np.flatnonzero(np.logical_not(is_operation))
        self._known: dict[bytes, Architecture | None] = {}

    def encode(self, architectures: Sequence[Architecture]) -> Graphs:
        """Return the canonical graphs."""
        space = self.space
        rows = [space.choices(space.canonical(architecture)).values() for architecture in architectures]
        places = np.array(
            [[place[option] for place, option in zip(self._places, row, strict=True)] for row in rows], dtype=np.int64
        ).reshape(len(rows), len(self._places))
        chosen = places[:, self._edge_columns]
        if self.layout.choices:
            edges = np.zeros((len(rows), len(self.layout.open_edges)), dtype=bool)
            firsts = np.array([first for first, _ in self.layout.choices])
            np.put_along_axis(edges, firsts + chosen, True, axis=1)
        else:
            edges = chosen.astype(bool)
        return Graphs(edges, places[:, self._operation_columns])

    def decode(self, graphs: Graphs) -> list[Architecture | None]:
        """Return canonical architectures; None where a graph is none of the space."""
        places = self.places(graphs)
        valid = (places != UNREADABLE).all(axis=1)
        return [self._architecture(row) if whole else None for row, whole in zip(places, valid.tolist(), strict=True)]

    def places(self, graphs: Graphs) -> NDArray[np.uint8]:
        """Return the place of each decision's option (n, decisions); UNREADABLE where a graph says none."""
        places = np.empty((len(graphs), len(self._places)), dtype=np.uint8)
        places[:, self._operation_columns] = graphs.operations
        if self.layout.choices:
            for column, (first, end) in zip(self._edge_columns, self.layout.choices, strict=True):
                run = graphs.edges[:, first:end]
                places[:, column] = np.where(run.sum(axis=1) == 1, run.argmax(axis=1), UNREADABLE)
        else:
            places[:, self._edge_columns] = graphs.edges
        return places

    @cached_property
    def vertices(self) -> list[int]:
        """The vertex that each decision is about: whose operation it chooses, or what it reads."""
        layout, found = self.layout, [0] * len(self._places)
        edges = [first for first, _ in layout.choices] or range(len(layout.open_edges))
        for column, vertex in zip(self._operation_columns.tolist(), layout.operated, strict=True):
            found[column] = vertex
        for column, edge in zip(self._edge_columns.tolist(), edges, strict=True):
            found[column] = layout.open_edges[edge][1]
        return found

    def _architecture(self, places: NDArray[np.uint8]) -> Architecture | None:
        key = places.tobytes()
        if key in self._known:
            return self._known[key]
        options = tuple([d.options[place] for d, place in zip(self.space.decisions, key, strict=True)])
        made = self.space.made(options)
        found = None if made is None else self.space.canonical(made)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = found
        return found


def codec_of(space: str) -> Codec:
    """Return the codec of a space by its name."""
    layouts = {"nb201": _nasbench201, "nb101": _nasbench101, "darts": _darts}
    if space not in layouts:
        raise ConfigError(f"index sequences are there for {', '.join(SPACES)}, not for space '{space}'")
    found = load_space(space)
    assert isinstance(found, CategoricalSpace)  # all three are
    return Codec(found, layouts[space]())


def _nasbench201() -> Layout:
    """Return the line graph: 0 is the input, 1 to 6 are the six edges of the cell, 7 is the output."""
    ends = [0, 1, 2, 3]
    into = [[place for place, (_, end) in enumerate(EDGES_201, 1) if end == node] for node in ends]
    fixed = [(0, place) for place, (start, _) in enumerate(EDGES_201, 1) if start == 0]
    fixed += [(before, place) for place, (start, _) in enumerate(EDGES_201, 1) for before in into[start]]
    fixed += [(before, len(EDGES_201) + 1) for before in into[3]]
    inner = tuple(range(1, len(EDGES_201) + 1))
    return Layout(len(EDGES_201) + 2, (), tuple(fixed), inner, operations=5)


def _nasbench101() -> Layout:
    """Return the cell's own vertices."""
    return Layout(VERTICES, EDGES_101, (), tuple(INNER), operations=4)


def _darts() -> Layout:
    """Return two cells: of each, two inputs and four sums (0 to 5), then two pairs for each sum.

    A pair reads one input or sum, and its own sum reads it.
    """
    size = NODES[0] + len(NODES) + 2 * len(NODES)
    opened: list[tuple[int, int]] = []
    fixed: list[tuple[int, int]] = []
    choices: list[tuple[int, int]] = []
    pairs: list[int] = []
    for cell in range(len(CELLS)):
        for node in NODES:
            for place in range(2):
                pair = cell * size + NODES[-1] + 1 + 2 * (node - NODES[0]) + place
                choices.append((len(opened), len(opened) + node))
                opened += [(cell * size + start, pair) for start in range(node)]
                fixed.append((pair, cell * size + node))
                pairs.append(pair)
    assert len(pairs) == HALF
    return Layout(len(CELLS) * size, tuple(opened), tuple(fixed), tuple(pairs), operations=8, choices=tuple(choices))
