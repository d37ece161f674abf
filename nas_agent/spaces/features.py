"""Structure of a cell as numbers, computed from its graph by the same code for every cell space."""

from __future__ import annotations

import numpy as np

from nas_agent.spaces.base import Floats
from nas_agent.spaces.cell_graph import CellGraph


def structure_features(graph: CellGraph) -> dict[str, Floats]:
    """Blocks `live` (one-hot of live edges; a dead one is all zero), `paths` and `counts`."""
    live = graph.live()
    names = [operation.name for operation in graph.operations]
    hot = np.zeros((len(graph.edges), len(names)))
    for index, edge in enumerate(graph.edges):
        if live[index]:
            hot[index, names.index(edge.operation)] = 1.0
    return {"live": hot.ravel(), "counts": hot.sum(axis=0)}
