"""Structure of DARTS cells as numbers of fixed length (ours); docs/log.md has what was tried.

For each of the two cells, `normal` and `reduce`, blocks of their own, since the two do not matter alike:
`count`: edges by operation. `from`: edges by operation and by what they read: the cell before last, the last cell, or
another node. `chain`: pairs of consecutive edges by their two operations. `depth`: statistics along the paths from the
cell's inputs to its output, those of every cell space. `size`: logarithms of parameters and FLOPs of the network.
None of them depends on how the nodes are numbered; edges that are `none` count for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.spaces.darts_cells import NAMES, NODES, NONE, OPERATIONS, Cell
from nas_agent.spaces.features import Floats, structure_features

CONCAT = Operation("concat", "identity", kernel=1)  # from a node to the output of its cell
_COLUMN = {name: column for column, name in enumerate(name for name in NAMES if name != NONE)}


def darts_features(cells: Mapping[str, Cell], sizes: Sequence[float]) -> dict[str, Floats]:
    """Describe canonical cells, by their names, in blocks such as `normal count`."""
    blocks = {f"{name} {block}": row for name, cell in cells.items() for block, row in describe_cell(cell).items()}
    return {**blocks, "size": np.log(np.asarray(sizes, dtype=np.float64))}


@lru_cache(maxsize=20_000)
def describe_cell(cell: Cell) -> dict[str, Floats]:
    """Return the blocks of one canonical cell but for its size; shared by all callers, who only read them."""
    operations = len(_COLUMN)
    read = np.zeros((3, operations))
    chain = np.zeros((operations, operations))
    arriving: dict[int, list[int]] = {0: [], 1: []}
    for node, pairs in zip(NODES, cell, strict=True):
        acting = [(start, _COLUMN[operation]) for start, operation in pairs if operation != NONE]
        arriving[node] = [column for _, column in acting]
        for start, column in acting:
            read[min(start, NODES[0]), column] += 1.0
            for before in arriving[start]:
                chain[before, column] += 1.0
    depth = structure_features(_joined_inputs(cell))["depth"]
    return {"count": read.sum(axis=0), "from": read.ravel(), "chain": chain.ravel(), "depth": depth}


def _joined_inputs(cell: Cell) -> CellGraph:
    """Return the cell as a graph in which both cell inputs are node 0, its nodes are 1 to 4, its output is 5."""
    edges = [
        Edge(max(start - 1, 0), node - 1, operation)
        for node, pairs in zip(NODES, cell, strict=True)
        for start, operation in pairs
    ]
    edges += [Edge(node - 1, len(NODES) + 1, CONCAT.name) for node in NODES]
    return CellGraph(nodes=len(NODES) + 2, edges=tuple(edges), operations=(*OPERATIONS, CONCAT))
