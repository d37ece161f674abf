"""Principles of one space in the words of another, where their decisions share a meaning (ours).

Operations correspond by what they do: the same kind and, among those, the nearest kernel in both directions; all
operations of a kind correspond to all of that kind. A number of operations is taken as a share of the decisions on
operations. A decision of its own corresponds to the decision of the same name and role, as the edges of two cell
spaces with equal nodes do. Whatever has no counterpart is not translated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.principle import Draft
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.principles.statistics import sentence
from nas_agent.principles.verdict import is_valid
from nas_agent.spaces.base import Decision, Space
from nas_agent.spaces.cell_graph import Operation


def translate(draft: Draft, source: Space, target: Space) -> Draft | None:
    """Return the principle in the target's decisions, marked as translated; None where it has no counterpart."""
    constraint = _Dictionary(source, target).constraint(draft.constraint)
    if constraint is None:
        return None
    decisions = target.decisions
    if not is_valid(constraint, decisions) or not satisfiable(decisions, [constraint]):
        return None
    if not forbids(constraint, decisions):
        return None
    return Draft(sentence(constraint, decisions), constraint, f"{draft.author}, translated from {source.name}")


class _Dictionary:
    """Which options and decisions of two spaces mean the same."""

    def __init__(self, source: Space, target: Space) -> None:
        self._source, self._target = source, target
        offered = {option for decision in target.decisions for option in decision.options}
        here = [operation for operation in target.operations if operation.name in offered]
        back = {operation.name: _nearest(operation, source.operations) for operation in here}
        # Nearest both ways: else "no 1x1 convolution" would forbid the 3x3 ones of a space that has only those.
        self._same = {
            operation.name: tuple(name for name in _nearest(operation, here) if operation.name in back[name])
            for operation in source.operations
        }
        self._here: dict[str, tuple[str, ...]] = {}
        for operation in here:
            self._here[operation.kind] = (*self._here.get(operation.kind, ()), operation.name)
        self._judged = {name for names in self._same.values() for name in names}

    def constraint(self, constraint: Constraint) -> Constraint | None:
        match constraint:
            case Allowed():
                return self._allowed(constraint)
            case Count():
                return self._count(constraint)
            case When():
                condition, then = self._decision(constraint.decision), self._allowed(constraint.then)
                if condition is None or then is None:
                    return None
                options = self._options(constraint.options) & set(condition.options)
                return When(condition.name, tuple(options), then) if options else None

    def _allowed(self, constraint: Allowed) -> Allowed | None:
        decision = self._decision(constraint.decision)
        if decision is None:
            return None
        options = self._options(constraint.options) & set(decision.options)
        if not options:
            return None
        # What the source's space does not know was not judged there, so it stays allowed.
        return Allowed(decision.name, tuple(o for o in decision.options if o in options or o not in self._judged))

    def _count(self, constraint: Count) -> Count | None:
        options = self._options(constraint.options)
        there, here = _places(self._source), _places(self._target)
        if not options or not there or not here:
            return None
        # At least so many of several, of which one is unknown here, says nothing about the others.
        all_known = all(
            self._options([option]) or self._of_whole_kind(constraint.options, option) for option in constraint.options
        )
        least = math.floor(constraint.at_least * here / there) if all_known else 0
        most = None if constraint.at_most is None else math.ceil(constraint.at_most * here / there)
        return Count(tuple(options), at_least=least, at_most=most)

    def _decision(self, name: str) -> Decision | None:
        role = next(decision.role for decision in self._source.decisions if decision.name == name)
        if role != "operation":
            return None
        return next((d for d in self._target.decisions if d.name == name and d.role == role), None)

    def _options(self, options: Sequence[str]) -> set[str]:
        whole = {name for option in options for name in self._of_whole_kind(options, option)}
        return whole | {name for option in options for name in self._same.get(option, ())}

    def _of_whole_kind(self, options: Sequence[str], option: str) -> tuple[str, ...]:
        """Return the target's operations of the option's kind, where all of the source's are among the options."""
        kind = next((o.kind for o in self._source.operations if o.name == option), None)
        whole = {o.name for o in self._source.operations if o.kind == kind}
        return self._here.get(kind, ()) if kind is not None and len(whole) > 1 and whole <= set(options) else ()


def _nearest(operation: Operation, among: Iterable[Operation]) -> tuple[str, ...]:
    """Return the operations of the same kind whose kernels are nearest."""
    same = [other for other in among if other.kind == operation.kind]
    gap = min((abs(other.kernel - operation.kernel) for other in same), default=0)
    return tuple(other.name for other in same if abs(other.kernel - operation.kernel) == gap)


def _places(space: Space) -> int:
    return sum(decision.role == "operation" for decision in space.decisions)
