"""What an architecture looks like to a predictor of BANANAS: named blocks of numbers.

Whatever has to be fitted (which paths there are, how columns are scaled) is fitted on the measured
architectures only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nas_agent.errors import ConfigError
from nas_agent.records import Architecture
from nas_agent.spaces import Floats, Space
from nas_agent.tools.surrogates.blocks import stack

if TYPE_CHECKING:
    from nas_agent.tools.embeddings import Embedder

Tokens = tuple[str, ...]
Blocks = Mapping[str, Floats]  # name -> (architectures, numbers)
ENCODINGS = ("path", "cole", "structure", "joint")
CODE = "code"  # the block of an embedding


class Encoding(Protocol):
    """Describes architectures of one space."""

    def __call__(self, known: Sequence[Architecture], queries: Sequence[Architecture]) -> tuple[Blocks, Blocks]:
        """Return the blocks of the measured ones and of those in question."""
        ...


def make_encoding(name: str, space: Space) -> Encoding:
    """Return one of ENCODINGS.

    `path`: 0/1 for each live path (BANANAS). `cole`: the embedding of the canonical code (COLE). `structure`:
    the space's own features. `joint`: both of these.
    """
    if name not in ENCODINGS:
        raise ConfigError(f"--encoding: expected some of {', '.join(ENCODINGS)}, got '{name}'")
    if name == "path":
        return PathEncoding(space)
    return Described(space, features=name != "cole", embedder=None if name == "structure" else _code_embedder())


class PathEncoding:
    """0/1 for each live path that some measured architecture has."""

    def __init__(self, space: Space) -> None:
        self._tokens = token_reader(space)

    def __call__(self, known: Sequence[Architecture], queries: Sequence[Architecture]) -> tuple[Blocks, Blocks]:
        """Return one block, `path`."""
        sides = path_encoding([self._tokens(one) for one in known], [self._tokens(one) for one in queries])
        return {"path": sides[0]}, {"path": sides[1]}


class Described:
    """The space's features, the embedding of the code, or both, on a common scale."""

    def __init__(self, space: Space, *, features: bool, embedder: Embedder | None) -> None:
        self._space, self._features, self._embedder = space, features, embedder
        self._known: dict[str, dict[str, Floats]] = {}

    def __call__(self, known: Sequence[Architecture], queries: Sequence[Architecture]) -> tuple[Blocks, Blocks]:
        """Return the blocks, each number centred on the measured ones and divided by its deviation there.

        Principal components of an embedding are divided by one number, the largest deviation: what varies
        little shall count little.
        """
        self._describe([one for one in (*known, *queries) if one.id not in self._known])
        sides = [stack([self._known[one.id] for one in side]) for side in (known, queries)]
        found: tuple[dict[str, Floats], dict[str, Floats]] = ({}, {})
        for name, block in sides[0].items():
            deviation = block.std(axis=0)
            if name == CODE:
                deviation = np.full_like(deviation, deviation.max())
            keep = deviation > 1e-12  # what never varied says nothing
            for side, blocks in zip(found, sides, strict=True):
                side[name] = (blocks[name][:, keep] - block.mean(axis=0)[keep]) / deviation[keep]
        return found

    def _describe(self, fresh: Sequence[Architecture]) -> None:
        for one in fresh:
            self._known[one.id] = dict(self._space.features(one)) if self._features else {}
        if self._embedder is not None and fresh:
            vectors = self._embedder.embed([self._space.source(one) for one in fresh])
            for one, vector in zip(fresh, vectors, strict=True):
                self._known[one.id][CODE] = vector.astype(np.float64)


@lru_cache(maxsize=1)
def _code_embedder() -> Embedder:
    """The embedder of `--surrogate joint`, once in each worker."""
    from nas_agent.tools.embeddings import MiniLM, PackagedCode

    return PackagedCode(MiniLM())


def token_reader(space: Space) -> Callable[[Architecture], Tokens]:
    """Return what an encoding is made of: the live paths of a cell, or the choices where there is no graph."""
    known: dict[str, Tokens] = {}

    def tokens(architecture: Architecture) -> Tokens:
        found = known.get(architecture.id)
        if found is None:
            graph = space.graph(architecture)
            if graph is not None:
                paths = (">".join(graph.edges[edge].operation for edge in path) for path in graph.paths())
                found = tuple(dict.fromkeys(paths))
            else:
                found = tuple(f"{decision}={option}" for decision, option in space.choices(architecture).items())
            known[architecture.id] = found
        return found

    return tokens


def path_encoding(known: Sequence[Tokens], queries: Sequence[Tokens]) -> tuple[Floats, Floats]:
    """Turn token lists into 0/1 rows over the tokens of `known`; one that was never trained on says nothing."""
    places = {token: place for place, token in enumerate(dict.fromkeys(t for tokens in known for t in tokens))}

    def rows(lists: Sequence[Tokens]) -> Floats:
        matrix = np.zeros((len(lists), max(1, len(places))))
        for row, tokens in zip(matrix, lists, strict=True):
            row[[places[token] for token in tokens if token in places]] = 1.0
        return matrix

    return rows(known), rows(queries)
