"""Richer structure of a cell, for heads that are fitted once: what lies along its paths and how signal flows (ours).

The surrogate of a search does not use these: its constants were chosen without them.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np

from nas_agent.records import Architecture
from nas_agent.spaces.base import Space
from nas_agent.spaces.cell_graph import CellGraph
from nas_agent.spaces.features import Floats

LONGEST = 3  # operations of a path that are told apart: of a longer one, the last ones
POOLED = 0.5  # share of a signal's variance that a pooling leaves; a weighted operation is normalised to one
# What block `signal` holds, in this order; shares are of the variance that arrives at the output.
SIGNAL = (
    "log of the variance at the output",
    "weighted operations of kernel 1 that the signal has passed, mean",
    "weighted operations of a larger kernel, mean",
    "poolings, mean",
    "entropy of the shares",
    "share that has passed no weighted operation",
    "one",
    "two",
    "three or more",
)

Passed = tuple[int, int, int]  # weighted operations of kernel 1, those of a larger kernel, poolings


def extended_features(space: Space, architecture: Architecture) -> dict[str, Floats]:
    """Return the space's own blocks and, where its architectures are cells, `path`, `pairs` and `signal`."""
    graph = space.graph(space.canonical(architecture))
    own = space.features(architecture)
    return own if graph is None else {**own, **path_features(graph)}


def path_features(graph: CellGraph) -> dict[str, Floats]:
    """Describe a cell by its live paths; identities vanish, so that isomorphic cells are described alike.

    `path`: how many live paths have this sequence of operations. `pairs`: how often one operation follows another on
    them, input and output included. `signal`: see SIGNAL.
    """
    labels = {o.name: place for place, o in enumerate(o for o in graph.operations if _counts(o.kind))}
    ends = len(labels)
    sequences = [s for length in range(LONGEST + 1) for s in itertools.product(range(ends), repeat=length)]
    place = {sequence: index for index, sequence in enumerate(sequences)}
    path, pairs = np.zeros(len(sequences)), np.zeros((ends + 1, ends + 1))
    for edges in graph.paths():
        names = (graph.edges[edge].operation for edge in edges)
        sequence = tuple(labels[name] for name in names if name in labels)
        path[place[sequence[-LONGEST:]]] += 1.0
        for before, after in itertools.pairwise((ends, *sequence, ends)):
            pairs[before, after] += 1.0
    return {"path": path, "pairs": pairs.ravel(), "signal": _signal(graph)}


def _counts(kind: str) -> bool:
    return kind not in ("zero", "identity")


def _signal(graph: CellGraph) -> Floats:
    """Follow the variance of a unit signal through the cell, as if all that arrives at a node were uncorrelated."""
    at: dict[int, dict[Passed, float]] = {0: {(0, 0, 0): 1.0}}
    live = [edge for edge, alive in zip(graph.edges, graph.live(), strict=True) if alive]
    for edge in sorted(live, key=lambda edge: (edge.end, edge.start)):
        operation = graph.operation(edge.operation)
        arriving = at.setdefault(edge.end, defaultdict(float))
        total = sum(at[edge.start].values())
        for (points, fields, pools), variance in at[edge.start].items():
            if operation.kind == "conv":
                wide = operation.kernel > 1
                arriving[points + (not wide), fields + wide, pools] += variance / total
            elif operation.kind == "pool":
                arriving[points, fields, pools + 1] += variance * POOLED
            else:
                arriving[points, fields, pools] += variance
    end = at.get(graph.nodes - 1)
    if not end:
        return np.array([-3.0, *[0.0] * (len(SIGNAL) - 1)])  # less than any cell with a path has
    total = sum(end.values())
    passed = np.array(list(end), dtype=np.float64)
    shares = np.array(list(end.values())) / total
    weighted = np.minimum(passed[:, 0] + passed[:, 1], 3.0)
    entropy = -float(shares @ np.log(shares))
    return np.array(
        [math.log(total), *(shares @ passed), entropy, *(float(shares[weighted == n].sum()) for n in range(4))]
    )
