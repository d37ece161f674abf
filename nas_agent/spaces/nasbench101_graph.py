"""Graphs of NAS-Bench-101 cells: pruning, the benchmark's hash, one labelling for each class.

A cell is what each of its vertices 1 .. n-2 does, with the sources of each of its vertices 1 .. n-1. Vertex 0 is the
input, the last one the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import md5
from itertools import permutations

INPUT, OUTPUT = -1, -2  # the benchmark's labels of the two ends


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell whose every vertex lies on a path from input to output."""

    labels: tuple[int, ...]  # of the inner vertices, indices into the benchmark's operations
    sources: tuple[tuple[int, ...], ...]  # of vertex 1 .. n-1, ascending

    @property
    def vertices(self) -> int:
        """How many, input and output included."""
        return len(self.labels) + 2

    @property
    def edges(self) -> int:
        """How many."""
        return sum(map(len, self.sources))

    def shares(self) -> tuple[int, ...]:
        """Return for each inner vertex which share of the output's channels it has: the first ones may be larger.

        A vertex that the output concatenates has its own, the others the largest of those that read them
        (the benchmark's `compute_vertex_channels`).
        """
        last = self.vertices - 1
        final = [vertex for vertex in self.sources[-1] if vertex]
        share = {vertex: place for place, vertex in enumerate(final)}
        for vertex in range(last - 1, 0, -1):
            if vertex not in share:
                share[vertex] = min(share[end] for end in range(vertex + 1, last) if vertex in self.sources[end - 1])
        return tuple([share[vertex] for vertex in range(1, last)])

    def channels(self, arriving: int, leaving: int) -> list[int]:
        """Return the channels of each vertex, where so many arrive at the input and leave the output."""
        parts = sum(vertex > 0 for vertex in self.sources[-1])
        return [arriving, *(leaving // parts + (place < leaving % parts) for place in self.shares()), leaving]


def prune(labels: tuple[int | None, ...], sources: tuple[tuple[int, ...], ...]) -> Cell | None:
    """Drop the vertices without a label and those on no path from input to output; None where no path is left."""
    last = len(sources)
    reached = {0}
    for end, starts in enumerate(sources, 1):
        if (end == last or labels[end - 1] is not None) and not reached.isdisjoint(starts):
            reached.add(end)
    if last not in reached:
        return None
    useful = {last}
    for end in range(last, 0, -1):
        if end in useful and end in reached:
            useful.update(sources[end - 1])
    kept = sorted(reached & useful)
    place = {vertex: index for index, vertex in enumerate(kept)}
    return Cell(
        labels=tuple([label for label in (labels[vertex - 1] for vertex in kept[1:-1]) if label is not None]),
        sources=tuple([tuple([place[start] for start in sources[end - 1] if start in place]) for end in kept[1:]]),
    )


def colours(cell: Cell) -> list[str]:
    """Return one digest a vertex, by the benchmark's rounds of hashing what surrounds it."""
    count = cell.vertices
    targets: list[list[int]] = [[] for _ in range(count)]
    for end, sources in enumerate(cell.sources, 1):
        for start in sources:
            targets[start].append(end)
    labels = (INPUT, *cell.labels, OUTPUT)
    around = ((), *cell.sources)
    digests = [_first(len(targets[v]), len(around[v]), labels[v]) for v in range(count)]
    for _ in range(count):
        digests = [
            md5(
                f"{_joined(digests, arriving)}|{_joined(digests, leaving)}|{own}".encode(), usedforsecurity=False
            ).hexdigest()
            for arriving, leaving, own in zip(around, targets, digests, strict=True)
        ]
    return digests


def _joined(digests: list[str], vertices: Sequence[int]) -> str:
    if len(vertices) == 1:  # most often: worth the shortcut, since a table holds many cells
        return digests[vertices[0]]
    return "".join(sorted([digests[vertex] for vertex in vertices]))


@lru_cache(maxsize=1024)
def _first(leaving: int, arriving: int, label: int) -> str:
    return md5(str((leaving, arriving, label)).encode()).hexdigest()


def digest(colouring: list[str]) -> str:
    """Return the benchmark's hash of the graph with these colours (`graph_util.hash_module`)."""
    return md5(str(sorted(colouring)).encode()).hexdigest()


def relabelled(cell: Cell, colouring: list[str]) -> Cell:
    """Return the labelling that stands for all isomorphic ones.

    Vertices are numbered one after the other: of those whose sources all have a number, the one with the longest
    way behind it comes last, then operations in the benchmark's order, then colours. Among equal ones every choice
    is tried, and the smallest list of sources decides: equal colours are nearly always symmetric, so few are.
    """
    depth = [0] * cell.vertices
    for end, sources in enumerate(cell.sources, 1):
        depth[end] = 1 + max(depth[start] for start in sources)
    keys = [(depth[v], cell.labels[v - 1], colouring[v]) for v in range(1, cell.vertices - 1)]
    return min((_renumbered(cell, order) for order in _orders(keys)), key=lambda found: found.sources)


def _orders(keys: list[tuple[int, int, str]]) -> Iterator[list[int]]:
    """Yield the inner vertices in each order that the keys allow; keys begin with depth, so sources come first."""
    ranked = sorted(range(len(keys)), key=keys.__getitem__)
    groups: list[list[int]] = []
    for place in ranked:
        if groups and keys[groups[-1][0]] == keys[place]:
            groups[-1].append(place)
        else:
            groups.append([place])
    orders: list[list[int]] = [[]]
    for group in groups:
        orders = [[*order, *more] for order in orders for more in permutations(group)]
    for order in orders:
        yield [place + 1 for place in order]


def _renumbered(cell: Cell, order: list[int]) -> Cell:
    number = {0: 0, **{vertex: place for place, vertex in enumerate(order, 1)}}
    sources = [tuple(sorted([number[start] for start in cell.sources[vertex - 1]])) for vertex in order]
    final = tuple(sorted([number[start] for start in cell.sources[-1]]))
    return Cell(tuple([cell.labels[vertex - 1] for vertex in order]), (*sources, final))
