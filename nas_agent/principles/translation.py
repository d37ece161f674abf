"""Principles of one space in the words of another, where their decisions share a meaning (ours).

Operations correspond by what they do: the same kind and, among those, the nearest kernel. A number of operations is
taken as a share of the decisions on operations. A decision of its own corresponds to the decision of the same name
and role, as the edges of two cell spaces with equal nodes do. Whatever has no counterpart is not translated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.principle import Draft
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.principles.statistics import sentence
from nas_agent.spaces.base import Decision, Space
from nas_agent.spaces.cell_graph import Operation


def translate(draft: Draft, source: Space, target: Space) -> Draft | None:
    """Return the principle in the target's decisions, marked as translated; None where it has no counterpart."""
    constraint = _Dictionary(source, target).constraint(draft.constraint)
    if constraint is None:
        return None
    decisions = target.decisions
    if not satisfiable(decisions, [constraint]) or not forbids(constraint, decisions):
        return None
    return Draft(sentence(constraint, decisions), constraint, f"{draft.author}, translated from {source.name}")


class _Dictionary:
    """Which options and decisions of two spaces mean the same."""

    def __init__(self, source: Space, target: Space) -> None:
        self._source, self._target = source, target
        offered = {option for decision in target.decisions for option in decision.options}
        here = [operation for operation in target.operations if operation.name in offered]
        self._same = {operation.name: _nearest(operation, here) for operation in source.operations}
        self._judged = {name for names in self._same.values() for name in names}

    def constraint(self, constraint: Constraint) -> Constraint | None:
        match constraint:
            case Allowed():
                return self._allowed(constraint)
            case Count():
                return self._count(constraint)
            case When():
                condition, then = self._decision(constraint.decision), self._allowed(constraint.then)
                options = self._options(constraint.options)
                if condition is None or then is None or not options:
                    return None
                return When(condition.name, tuple(options), then)

    def _allowed(self, constraint: Allowed) -> Allowed | None:
        decision = self._decision(constraint.decision)
        if decision is None:
            return None
        options = self._options(constraint.options)
        if not options:
            return None
        # What the source's space does not know was not judged there, so it stays allowed.
        return Allowed(decision.name, tuple(o for o in decision.options if o in options or o not in self._judged))

    def _count(self, constraint: Count) -> Count | None:
        options = self._options(constraint.options)
        there, here = _places(self._source), _places(self._target)
        if not options or not there or not here:
            return None
        least = math.floor(constraint.at_least * here / there)
        most = None if constraint.at_most is None else math.ceil(constraint.at_most * here / there)
        return Count(tuple(options), at_least=least, at_most=most)

    def _decision(self, name: str) -> Decision | None:
        role = next(decision.role for decision in self._source.decisions if decision.name == name)
        if role != "operation":
            return None
        return next((d for d in self._target.decisions if d.name == name and d.role == role), None)

    def _options(self, options: Iterable[str]) -> set[str]:
        return {name for option in options for name in self._same.get(option, ())}


def _nearest(operation: Operation, among: Iterable[Operation]) -> tuple[str, ...]:
    """Return the operations of the same kind whose kernels are nearest."""
    same = [other for other in among if other.kind == operation.kind]
    gap = min((abs(other.kernel - operation.kernel) for other in same), default=0)
    return tuple(other.name for other in same if abs(other.kernel - operation.kernel) == gap)


def _places(space: Space) -> int:
    return sum(decision.role == "operation" for decision in space.decisions)
