"""Choices as numbers: option indices in a matrix, and constraints as look-up tables over it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.spaces.base import Choices, Decision

Codes = NDArray[np.intp]  # (architectures, decisions): the index of the option chosen
Bools = NDArray[np.bool_]


class Coding:
    """The decisions of a space, numbered."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = tuple(decisions)
        self.column = {decision.name: index for index, decision in enumerate(self.decisions)}
        self._index = [{option: i for i, option in enumerate(decision.options)} for decision in self.decisions]
        self._members: dict[tuple[str, ...], list[Bools]] = {}

    def encode(self, choices: Iterable[Choices]) -> Codes:
        """Return one row per architecture; KeyError where one lacks a decision or has a foreign option."""
        names = list(self.column)
        rows = [[index[row[name]] for name, index in zip(names, self._index, strict=True)] for row in choices]
        return np.array(rows, dtype=np.intp).reshape(len(rows), len(names))

    def holds(self, constraint: Constraint, codes: Codes) -> Bools:
        """Tell for each row whether it obeys."""
        match constraint:
            case Allowed():
                column = self.column[constraint.decision]
                chosen: Bools = self._member(constraint.options)[column][codes[:, column]]
                return chosen
            case Count():
                number = self.count(constraint.options, codes)
                most = len(self.decisions) if constraint.at_most is None else constraint.at_most
                within: Bools = (number >= constraint.at_least) & (number <= most)
                return within
            case When():
                condition = self.holds(Allowed(constraint.decision, constraint.options), codes)
                return ~condition | self.holds(constraint.then, codes)

    def count(self, options: tuple[str, ...], codes: Codes) -> Codes:
        """Tell for each row how many decisions take one of these options."""
        number = np.zeros(len(codes), dtype=np.intp)
        for column, table in enumerate(self._member(options)):
            number += table[codes[:, column]]
        return number

    def _member(self, options: tuple[str, ...]) -> list[Bools]:
        """Return for each decision a table: option index -> is it one of these."""
        tables = self._members.get(options)
        if tables is None:
            tables = [np.array([option in options for option in decision.options]) for decision in self.decisions]
            self._members[options] = tables
        return tables
