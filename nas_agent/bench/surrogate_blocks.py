"""What heads are fitted on, computed once for a whole table and read by all workers from the same memory.

Every matrix holds distinct rows only (texts or classes) and lies in a file that workers map; a list of places
says which of them each row of a table has. So nothing large is sent to a worker, and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_agent.bench.surrogate_splits import Places
from nas_agent.errors import DataError
from nas_agent.records import Architecture, Json
from nas_agent.spaces import Floats, Space
from nas_agent.spaces.path_features import extended_features
from nas_agent.tools.embeddings import Embedder

CHUNK = 256  # texts that are embedded between two signs of progress

Told = Callable[[int, int, str], None]  # done, of how many, what


@dataclass(frozen=True, slots=True)
class Block:
    """One block of one task: the file of its distinct rows, and that of the place of each row of the table."""

    name: str
    rows: Path
    places: Path

    def take(self, rows: Places) -> Floats:
        """Return the block of these rows of the table, (n, d)."""
        return np.asarray(mapped(self.rows)[mapped(self.places)[rows]], dtype=np.float64)


@lru_cache(maxsize=256)
def mapped(file: Path) -> Any:
    """Open an array without reading it; every process that does shares the memory."""
    return np.load(file, mmap_mode="r", allow_pickle=False)


class Store:
    """Writes arrays into a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    def put(self, array: NDArray[Any]) -> Path:
        """Write an array; return its file."""
        self._count += 1
        file = self._folder / f"{self._count:04}.npy"
        np.save(file, array, allow_pickle=False)
        return file


def structure_blocks(space: Space, tables: Sequence[Sequence[Architecture]], store: Store) -> list[tuple[Block, ...]]:
    """Describe the structure of every class once; return the blocks of each table."""
    first = {architecture.id: architecture for table in tables for architecture in table}
    place = {id_: number for number, id_ in enumerate(first)}
    described = [extended_features(space, architecture) for architecture in first.values()]
    if not described or not described[0]:
        raise DataError(f"space '{space.name}' describes no structure; leave structure and joint out of --blocks")
    files = {name: store.put(np.stack([row[name] for row in described])) for name in described[0]}
    places = [store.put(np.array([place[architecture.id] for architecture in table])) for table in tables]
    return [tuple(Block(name, file, where) for name, file in files.items()) for where in places]


def code_blocks(
    embedder: Embedder, tables: Sequence[Sequence[str]], store: Store, told: Callable[[int], None]
) -> tuple[list[tuple[Block, ...]], Json]:
    """Embed every distinct text of all tables once; return the block `code` of each, and what was embedded."""
    place = {text: number for number, text in enumerate(dict.fromkeys(text for table in tables for text in table))}
    distinct, parts = list(place), []
    for start in range(0, len(distinct), CHUNK):
        chunk = distinct[start : start + CHUNK]
        parts.append(embedder.embed(chunk))
        told(len(chunk))
    vectors = np.concatenate(parts)
    file = store.put(vectors)
    about: Json = {
        "embedder": embedder.name,
        "dimension": int(vectors.shape[1]),
        "texts": sum(map(len, tables)),
        "distinct": len(distinct),
        "truncated": len(place.keys() & set(embedder.truncated)),
    }
    blocks: list[tuple[Block, ...]] = [
        (Block("code", file, store.put(np.array([place[text] for text in table]))),) for table in tables
    ]
    return blocks, about


def gathered(blocks: Sequence[Block], rows: Places) -> Mapping[str, Floats]:
    """Return all blocks of these rows by name."""
    return {block.name: block.take(rows) for block in blocks}
