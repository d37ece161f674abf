"""Structure of a cell as numbers, computed from its graph by the same code for every cell space (ours)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas_agent.spaces.cell_graph import CellGraph

Floats = NDArray[np.float64]

# What is known of the paths from the input to a node; one number each, in this order, in block `depth`.
DEPTH = (
    "most weighted operations on a path",
    "fewest",
    "mean",
    "log2 of the number of paths",
    "longest path in edges",
    "some path is the identity",
    "largest receptive field less one",
    "mean",
    "fewest poolings on a path",
)


def structure_features(graph: CellGraph, sizes: Sequence[float] = ()) -> dict[str, Floats]:
    """Describe a cell by the blocks `edge`, `count`, `depth` and, where sizes are given, `size`.

    `edge`: one-hot of each edge's operation, all zero where the edge is dead. `count`: live edges by operation.
    `depth`: statistics along all live paths (see DEPTH). `size`: logarithms of the sizes, e.g. parameters and
    FLOPs of the whole network, which are known without training.

    The name `size` has a meaning to the surrogate: before it has seen any score, it expects scores to rise with
    the first size, as accuracies do. Give no sizes where that is not likely, as for a latency.
    """
    names = [operation.name for operation in graph.operations if operation.kind != "zero"]
    edge_block = np.zeros((len(graph.edges), len(names)))
    for index, (edge, alive) in enumerate(zip(graph.edges, graph.live(), strict=True)):
        if alive:
            edge_block[index, names.index(edge.operation)] = 1.0
    blocks = {"edge": edge_block.ravel(), "count": edge_block.sum(axis=0), "depth": _depth(graph)}
    return {**blocks, **size_block(sizes)}


def size_block(sizes: Sequence[float]) -> dict[str, Floats]:
    """Return the block `size` of a space that knows sizes, the logarithms of them; nothing without any."""
    return {"size": np.log(np.maximum(np.asarray(sizes, dtype=np.float64), 1e-9))} if sizes else {}


def _depth(graph: CellGraph) -> Floats:
    """Statistics over all live paths by dynamic programming; the paths are never listed."""
    # A node's state: paths, sum, most and fewest weighted operations, longest, identity?, largest and sum of
    # receptive fields, fewest poolings. Edges in order of their ends see their starts complete.
    state: dict[int, tuple[float, ...]] = {0: (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)}
    live = [edge for edge, alive in zip(graph.edges, graph.live(), strict=True) if alive]
    for edge in sorted(live, key=lambda edge: (edge.end, edge.start)):
        operation = graph.operation(edge.operation)
        weighted, pools = float(operation.kind == "conv"), float(operation.kind == "pool")
        reach, same = max(operation.kernel - 1.0, 0.0), float(operation.kind == "identity")
        paths, total, most, fewest, longest, identity, field, fields, pooled = state[edge.start]
        arriving = (
            paths,
            total + paths * weighted,
            most + weighted,
            fewest + weighted,
            longest + 1.0,
            identity * same,
            field + reach,
            fields + paths * reach,
            pooled + pools,
        )
        known = state.get(edge.end)
        if known is not None:
            arriving = (
                known[0] + arriving[0],
                known[1] + arriving[1],
                max(known[2], arriving[2]),
                min(known[3], arriving[3]),
                max(known[4], arriving[4]),
                max(known[5], arriving[5]),
                max(known[6], arriving[6]),
                known[7] + arriving[7],
                min(known[8], arriving[8]),
            )
        state[edge.end] = arriving
    end = state.get(graph.nodes - 1)
    if end is None:
        return np.zeros(len(DEPTH))
    paths, total, most, fewest, longest, identity, field, fields, pooled = end
    return np.array([most, fewest, total / paths, math.log2(paths), longest, identity, field, fields / paths, pooled])
