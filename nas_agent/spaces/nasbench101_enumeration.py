"""All 423,624 cells of NAS-Bench-101, one of each isomorphism class, in a fixed order and within seconds.

Ours: matrices are told apart first, under the orders of their inner vertices; then the operations on each matrix
that is left, under the orders that change nothing about it. The count equals that by the benchmark's hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import permutations, product
from random import Random

import numpy as np
from numpy.typing import NDArray

from nas_agent.records import Architecture
from nas_agent.spaces.nasbench101 import ABSENT, EDGES, LABELS, MOST_EDGES, PRESENT, VERTICES, NasBench101

Codes = NDArray[np.int64]  # of matrices: bit k is the k-th pair of the upper triangle, by rows
Row = tuple[int, int, int]  # how many vertices, the code of the matrix, the code of the labels (in base 3)


@cache
def all_cells() -> NDArray[np.int64]:
    """Return one row of three numbers for each class, see `Row`; by vertices, then matrix, then labels."""
    return np.concatenate([_cells(vertices) for vertices in range(2, VERTICES + 1)])


def draw_cells(space: NasBench101, count: int, rng: Random) -> list[Architecture]:
    """Draw distinct classes uniformly; canonical."""
    cells = all_cells()
    rows = cells[rng.sample(range(len(cells)), count)].tolist()
    return [space.canonical(space.parse(space.write(_options(*row)))) for row in rows]


def _options(vertices: int, matrix: int, labels: int) -> tuple[str, ...]:
    """Return the options of the cell; those left out lie before the output."""
    edges = {
        (start, VERTICES - 1 if end == vertices - 1 else end)
        for place, (start, end) in enumerate(_pairs(vertices))
        if matrix >> place & 1
    }
    names = [LABELS[labels // len(LABELS) ** place % len(LABELS)] for place in range(vertices - 2)]
    return (*(PRESENT if edge in edges else ABSENT for edge in EDGES), *names, *["none"] * (VERTICES - vertices))


def _pairs(vertices: int) -> list[tuple[int, int]]:
    return [(start, end) for start in range(vertices) for end in range(start + 1, vertices)]


def _cells(vertices: int) -> NDArray[np.int64]:
    """Keep of each matrix and its labels the smallest code among those that its symmetries lead to."""
    matrices = _full(vertices)
    smallest = matrices.copy()
    for _, moved, whole in _orders(vertices, matrices):
        smallest = np.where(whole & (moved < smallest), moved, smallest)
    matrices = matrices[smallest == matrices]
    inner = vertices - 2
    labels = np.array(list(product(range(len(LABELS)), repeat=inner)), dtype=np.int64)
    weights = len(LABELS) ** np.arange(inner, dtype=np.int64)
    codes = labels @ weights
    kept = np.ones((len(matrices), len(codes)), dtype=bool)
    for order, moved, whole in _orders(vertices, matrices):
        # Vertex v becomes order[v]: its label goes along.
        relabelled = labels @ weights[[place - 1 for place in order[1:-1]]]
        kept[whole & (moved == matrices)] &= codes <= relabelled
    found, labelled = np.nonzero(kept)
    rows = np.stack([np.full(len(found), vertices), matrices[found], codes[labelled]], axis=1)
    return rows[np.lexsort((rows[:, 2], rows[:, 1]))]


def _full(vertices: int) -> Codes:
    """Return the matrices of at most nine edges whose every vertex lies on a path from the first to the last."""
    pairs = _pairs(vertices)
    codes: Codes = np.arange(1, 1 << len(pairs), dtype=np.int64)
    codes = codes[np.bitwise_count(codes) <= MOST_EDGES]
    for vertex in range(vertices):
        arriving = sum(1 << place for place, (_, end) in enumerate(pairs) if end == vertex)
        leaving = sum(1 << place for place, (start, _) in enumerate(pairs) if start == vertex)
        for mask in (arriving, leaving):
            codes = codes[(codes & mask) > 0] if mask else codes
    return codes


def _orders(vertices: int, matrices: Codes) -> Iterator[tuple[tuple[int, ...], Codes, NDArray[np.bool_]]]:
    """Yield each order of the inner vertices, the matrices in it, and which of them stay upper triangles."""
    pairs = _pairs(vertices)
    place_of = {pair: place for place, pair in enumerate(pairs)}
    bits = [matrices >> place & 1 for place in range(len(pairs))]
    for inner in permutations(range(1, vertices - 1)):
        order = (0, *inner, vertices - 1)
        moved, whole = np.zeros_like(matrices), np.ones(len(matrices), dtype=bool)
        for bit, (start, end) in zip(bits, pairs, strict=True):
            place = place_of.get((order[start], order[end]))
            if place is None:
                whole &= bit == 0
            else:
                moved |= bit << place
        yield order, moved, whole
