"""How architectures become sequences of codes, and the plain way to do so: their own decisions, without a codebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
