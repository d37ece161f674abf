"""A cell as a labelled directed acyclic graph: what every cell space can be turned into.

Features, live edges and drawings are computed from it, so that they are the same code for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["zero", "identity", "pool", "conv", "other"]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a label on an edge does to a feature map."""

    name: str
    kind: Kind
    kernel: int = 0  # receptive field of one application, in pixels; 0 for zero, 1 for identity and 1x1
    cost: float = 0.0  # weights per (input channel x output channel), e.g. 9 for a 3x3 convolution


@dataclass(frozen=True, slots=True)
class Edge:
    """An operation from one node to a later one."""

    start: int
    end: int
    operation: str


@dataclass(frozen=True, slots=True)
class CellGraph:
    """Nodes 0 .. nodes-1 in topological order; node 0 is the input, the last node the output."""

    nodes: int
    edges: tuple[Edge, ...]
    operations: tuple[Operation, ...]  # the vocabulary, in the space's order

    def operation(self, name: str) -> Operation:
        """Look an operation up by its name."""
        return next(operation for operation in self.operations if operation.name == name)

    def live(self) -> tuple[bool, ...]:
        """Tell for each edge whether it lies on a path from the input to the output that zero never cuts."""
        zero = {operation.name for operation in self.operations if operation.kind == "zero"}
        reached = {0}
        for edge in sorted(self.edges, key=lambda edge: edge.end):
            if edge.operation not in zero and edge.start in reached:
                reached.add(edge.end)
        useful = {self.nodes - 1}
        for edge in sorted(self.edges, key=lambda edge: -edge.start):
            if edge.operation not in zero and edge.end in useful:
                useful.add(edge.start)
        return tuple(edge.operation not in zero and edge.start in reached and edge.end in useful for edge in self.edges)

    def paths(self) -> list[tuple[int, ...]]:
        """List the live paths from input to output, each as the indices of its edges, in a fixed order."""
        live = self.live()
        leaving: dict[int, list[int]] = {}
        for index, edge in enumerate(self.edges):
            if live[index]:
                leaving.setdefault(edge.start, []).append(index)
        found: list[tuple[int, ...]] = []

        def walk(node: int, path: tuple[int, ...]) -> None:
            if node == self.nodes - 1:
                found.append(path)
                return
            for index in leaving.get(node, []):
                walk(self.edges[index].end, (*path, index))

        walk(0, ())
        return found
