"""How architectures become sequences of codes, and two plain ways to do so, without a learned codebook."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nas_agent.agents.generators.arch_llm.cells import Codec, Graphs, codec_of
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture
from nas_agent.spaces import Space, load_space, try_build

Indices = NDArray[np.int64]  # (sequences, codes of one)
Bools = NDArray[np.bool_]
Domains = Mapping[str, Sequence[str]]  # the options that each decision may take


class Sequencer(Protocol):
    """Writes architectures of one space as sequences of codes, all of one length."""

    @property
    def space(self) -> str:
        """The name of the space."""
        ...

    @property
    def codes(self) -> int:
        """How many codes there are: 0 .. codes - 1."""
        ...

    @property
    def length(self) -> int:
        """Codes of one architecture."""
        ...

    def encode(self, architectures: Sequence[Architecture]) -> Indices:
        """Return (n, length) codes."""
        ...

    def decode(self, indices: Indices) -> list[Architecture | None]:
        """Return canonical architectures, None where a sequence means none."""
        ...

    def admitted(self, domains: Domains) -> Bools:
        """Tell which code may stand where (length, codes): whose decisions, as it stands, are all within their domains.

        The codes of a canonical architecture within the domains are all among them, where the codec reconstructs it.
        """
        ...


class OwnTokens:
    """An architecture's choices, one code a decision: the number of the option. The control for a learned codebook."""

    def __init__(self, space: str) -> None:
        self.space = space
        self._made: Space = load_space(space)
        self._options = [decision.options for decision in self._made.decisions]
        self._names = [decision.name for decision in self._made.decisions]
        if not self._names:
            raise ConfigError(f"--space {space}: it has no decisions to write as tokens; choose nb201, nb101 or darts")
        self.length = len(self._names)
        self.codes = max(map(len, self._options))
        self._built = lru_cache(maxsize=100_000)(self._build)

    def encode(self, architectures: Sequence[Architecture]) -> Indices:
        """Return the numbers of the options of the canonical form."""
        numbers = [{option: number for number, option in enumerate(options)} for options in self._options]
        rows = [self._made.choices(self._made.canonical(architecture)) for architecture in architectures]
        written = [[known[row[name]] for known, name in zip(numbers, self._names, strict=True)] for row in rows]
        return np.array(written, dtype=np.int64).reshape(-1, self.length)

    def decode(self, indices: Indices) -> list[Architecture | None]:
        """Return canonical architectures; None where a decision has no such option, or the space no such choices."""
        return [self._built(tuple(row)) for row in indices.tolist()]

    def admitted(self, domains: Domains) -> Bools:
        """Tell which code may stand where."""
        found = np.zeros((self.length, self.codes), dtype=bool)
        for place, (name, options) in enumerate(zip(self._names, self._options, strict=True)):
            found[place, : len(options)] = [option in domains[name] for option in options]
        return found

    def _build(self, row: tuple[int, ...]) -> Architecture | None:
        if any(not 0 <= number < len(options) for number, options in zip(row, self._options, strict=True)):
            return None
        chosen = [options[number] for number, options in zip(row, self._options, strict=True)]
        return try_build(self._made, dict(zip(self._names, chosen, strict=True)))


class VertexTokens:
    """One code for each vertex that has anything open: its operation and what it reads, numbered by hand.

    As long as the sequences of the learned codebook, so that what learning it buys shows.
    """

    def __init__(self, space: str) -> None:
        self.space = space
        self._codec = codec_of(space)
        layout = self._codec.layout
        runs = layout.choices or tuple((place, place + 1) for place in range(len(layout.open_edges)))
        # Of each vertex, its runs of open edges and the column of its operation (-1: fixed); a code is a mixed number.
        self._edges = [[run for run in runs if layout.open_edges[run[0]][1] == vertex] for vertex in layout.coded]
        self._operation = [layout.operated.index(v) if v in layout.operated else -1 for v in layout.coded]
        self._exactly_one = bool(layout.choices)
        self._sizes = [
            math.prod(self._radix(run) for run in edges) * (layout.operations if column >= 0 else 1)
            for edges, column in zip(self._edges, self._operation, strict=True)
        ]
        self.length, self.codes = len(layout.coded), max(self._sizes)

    def encode(self, architectures: Sequence[Architecture]) -> Indices:
        """Return the numbers of the canonical form."""
        graphs = self._codec.encode(architectures)
        rows = np.zeros((len(graphs), self.length), dtype=np.int64)
        for place, (edges, column) in enumerate(zip(self._edges, self._operation, strict=True)):
            for first, end in edges:
                run = graphs.edges[:, first:end]
                digit = run.argmax(axis=1) if self._exactly_one else run[:, 0]
                rows[:, place] = rows[:, place] * self._radix((first, end)) + digit
            if column >= 0:
                rows[:, place] = rows[:, place] * self._codec.layout.operations + graphs.operations[:, column]
        return rows

    def decode(self, indices: Indices) -> list[Architecture | None]:
        """Return canonical architectures; None where a vertex has no such code, or the space no such graph."""
        known = np.all(indices < np.array(self._sizes), axis=1).tolist()
        found = self._codec.decode(self._graphs(indices))
        return [one if whole else None for one, whole in zip(found, known, strict=True)]

    def admitted(self, domains: Domains) -> Bools:
        """Tell which code may stand where."""
        every = np.arange(self.codes)[:, None]
        within = admitted_codes(self._codec, self._graphs(every.repeat(self.length, axis=1)), domains)
        return np.asarray(within & (every < np.array(self._sizes)).T)

    def _graphs(self, indices: Indices) -> Graphs:
        layout, rest = self._codec.layout, indices.copy()
        edges = np.zeros((len(indices), len(layout.open_edges)), dtype=bool)
        operations = np.zeros((len(indices), len(layout.operated)), dtype=np.int64)
        for place, (runs, column) in enumerate(zip(self._edges, self._operation, strict=True)):
            if column >= 0:
                rest[:, place], operations[:, column] = np.divmod(rest[:, place], layout.operations)
            for first, end in reversed(runs):
                rest[:, place], digit = np.divmod(rest[:, place], self._radix((first, end)))
                edges[:, first:end] = digit[:, None] == (np.arange(end - first) if self._exactly_one else 1)
        return Graphs(edges, operations)

    def _radix(self, run: tuple[int, int]) -> int:
        return run[1] - run[0] if self._exactly_one else 2


def admitted_codes(codec: Codec, each: Graphs, domains: Domains) -> Bools:
    """Tell which code may stand where; `each` are the graphs of sequences that repeat one code, one for each code."""
    places = codec.places(each)
    found = np.ones((len(codec.layout.coded), len(each)), dtype=bool)
    for column, (decision, vertex) in enumerate(zip(codec.space.decisions, codec.vertices, strict=True)):
        within = [place for place, option in enumerate(decision.options) if option in domains[decision.name]]
        found[codec.layout.coded.index(vertex)] &= np.isin(places[:, column], within)
    return found
