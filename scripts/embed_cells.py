"""Embed the canonical texts of all 6,466 nb201 cells: canonical ids and vectors in one file.

    python scripts/embed_cells.py OUT.npz [--embedder all-minilm] [--pooling auto] [--dtype auto] [--cache FOLDER]

About four minutes of CPU for all-minilm; with --cache an interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.embeddings import FORMS, EmbeddingOptions, make_embedder
from nas_agent.tools.embeddings.base import POOLINGS


def main() -> None:
    """Embed, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--embedder", default="all-minilm", help=FORMS)
    parser.add_argument("--pooling", default="auto", help=POOLINGS)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--seed", type=int, default=0, help="of random weights")
    parser.add_argument("--cache", type=Path, help="folder that keeps what is embedded")
    given = parser.parse_args()
    options = EmbeddingOptions(pooling=given.pooling, dtype=given.dtype, seed=given.seed)
    embedder = make_embedder(given.embedder, options, cache=given.cache)
    space, started = NasBench201(), time.perf_counter()
    cells = list(space.enumerate())
    vectors = embedder.embed([space.source(cell) for cell in cells])
    given.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez(given.out, ids=np.array([cell.id for cell in cells]), vectors=vectors, embedder=np.array(embedder.name))
    seconds = time.perf_counter() - started
    print(f"{given.out}: {vectors.shape} by {embedder.name}, {len(embedder.truncated)} texts cut, {seconds:.0f} s")


if __name__ == "__main__":
    main()
