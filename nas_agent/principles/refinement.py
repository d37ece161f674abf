"""The part of a space that the active principles leave, which is never empty.

Principles can contradict each other: one wants no pooling anywhere, another wants pooling on one edge. An
exact search for a satisfying assignment decides, and the least supported principles are set aside until
there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np

from nas_agent.principles.coding import Bools, Codes, Coding
from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.principle import Principle
from nas_agent.spaces.base import Choices, Decision

Holds = Callable[[Choices], bool]


@dataclass(frozen=True, slots=True)
class SetAside:
    """An active principle that does not constrain for now, and the sentence why."""

    principle: Principle
    why: str


class Refinement:
    """A space under its active principles. Immutable; make a new one when the principles change."""

    def __init__(self, decisions: Sequence[Decision], principles: Sequence[Principle]) -> None:
        self.decisions = tuple(decisions)
        self._coding = Coding(decisions)
        kept: list[Principle] = []
        aside: list[SetAside] = []
        for principle in sorted(principles, key=_support, reverse=True):
            constraints = [other.constraint for other in kept]
            if satisfiable(self.decisions, [*constraints, principle.constraint]):
                kept.append(principle)
            else:
                names = ", ".join(other.reference for other in kept) or "the space itself"
                aside.append(SetAside(principle, f"no architecture obeys it together with {names}"))
        order = {principle.reference: place for place, principle in enumerate(principles)}
        self.principles = tuple(sorted(kept, key=lambda principle: order[principle.reference]))
        self.set_aside = tuple(aside)
        self._compiled = [(principle.reference, _compile(principle.constraint)) for principle in self.principles]

    def allows(self, choices: Choices) -> bool:
        """Tell whether an architecture obeys every principle that constrains."""
        return all(holds(choices) for _, holds in self._compiled)

    def obeyed(self, choices: Choices) -> tuple[str, ...]:
        """Return the reference (`P3@2`) of each constraining principle that an architecture obeys."""
        return tuple([reference for reference, holds in self._compiled if holds(choices)])

    def allowed(self, decision: Decision | str) -> tuple[str, ...]:
        """Return the options that occur in at least one architecture that is left; there is always one."""
        return self._allowed[decision if isinstance(decision, str) else decision.name]

    def mask(self, codes: Codes) -> Bools:
        """Tell for each row of option indices (architectures, decisions) whether it is left."""
        left = np.ones(len(codes), dtype=bool)
        for principle in self.principles:
            left &= self._coding.holds(principle.constraint, codes)
        return left

    def encode(self, choices: Sequence[Choices]) -> Codes:
        """Return the rows that `mask` takes."""
        return self._coding.encode(choices)

    def sample(self, rng: Random) -> dict[str, str]:
        """Draw choices that obey: every one can come, not all equally often."""
        shuffled = [Decision(d.name, tuple(rng.sample(d.options, len(d.options)))) for d in self.decisions]
        rng.shuffle(shuffled)
        found = next(assignments(shuffled, [principle.constraint for principle in self.principles]))
        return {decision.name: found[decision.name] for decision in self.decisions}

    def size(self, limit: int = 1000) -> int:
        """Count the architectures that are left, but not beyond `limit`."""
        return room(self.decisions, [principle.constraint for principle in self.principles], limit)

    @cached_property
    def _allowed(self) -> dict[str, tuple[str, ...]]:
        constraints = [principle.constraint for principle in self.principles]
        return {
            decision.name: tuple(
                option
                for option in decision.options
                if satisfiable(self.decisions, [*constraints, Allowed(decision.name, (option,))])
            )
            for decision in self.decisions
        }


def satisfiable(decisions: Sequence[Decision], constraints: Sequence[Constraint]) -> bool:
    """Tell exactly whether some architecture obeys all constraints."""
    return next(assignments(decisions, constraints), None) is not None


def room(decisions: Sequence[Decision], constraints: Sequence[Constraint], limit: int) -> int:
    """Count the architectures that obey all constraints, but not beyond `limit`."""
    number = 0
    for _ in assignments(decisions, constraints):
        number += 1
        if number >= limit:
            break
    return number


def forbids(constraint: Constraint, decisions: Sequence[Decision], given: Sequence[Constraint] = ()) -> bool:
    """Tell whether some architecture that obeys the given constraints disobeys this one: else it says nothing new."""
    options = {decision.name: decision.options for decision in decisions}

    def other_than(allowed: Allowed) -> Allowed:
        return Allowed(allowed.decision, tuple(set(options[allowed.decision]) - set(allowed.options)))

    breaches: list[list[Constraint]] = []
    match constraint:
        case Allowed():
            breaches.append([other_than(constraint)])
        case Count():
            breaches.append([Count(constraint.options, at_most=constraint.at_least - 1)])
            if constraint.at_most is not None:
                breaches.append([Count(constraint.options, at_least=constraint.at_most + 1)])
        case When():
            breaches.append([Allowed(constraint.decision, constraint.options), other_than(constraint.then)])
    return any(satisfiable(decisions, [*given, *breach]) for breach in breaches)


def assignments(decisions: Sequence[Decision], constraints: Sequence[Constraint]) -> Iterator[dict[str, str]]:
    """Yield every obeying choice by backtracking, in the order of decisions and options."""
    search = _Backtracking(decisions, constraints)
    yield from search.extend(0, (0,) * len(search.counts))


class _Backtracking:
    """Exact search for choices that obey, with bounds on counts and a memory of dead ends."""

    def __init__(self, decisions: Sequence[Decision], constraints: Sequence[Constraint]) -> None:
        self.domains = {decision.name: decision.options for decision in decisions}
        for constraint in constraints:
            if isinstance(constraint, Allowed):
                kept = tuple(o for o in self.domains[constraint.decision] if o in constraint.options)
                self.domains[constraint.decision] = kept
        self.names = list(self.domains)
        self.counts = [constraint for constraint in constraints if isinstance(constraint, Count)]
        self.whens = [constraint for constraint in constraints if isinstance(constraint, When)]
        self.ends = {name for when in self.whens for name in (when.decision, when.then.decision)}
        # For each count: how many of the decisions from a place on can, and how many must, take one of its options.
        self.able = [self._ahead(count, any) for count in self.counts]
        self.forced = [self._ahead(count, all) for count in self.counts]
        self.chosen: dict[str, str] = {}
        self.dead: set[tuple[object, ...]] = set()

    def extend(self, place: int, taken: tuple[int, ...]) -> Iterator[dict[str, str]]:
        """Choose for the decisions from `place` on; `taken`: what each count has reached."""
        # What lies ahead depends on the place, the counts and the ends of conditions alone: dead ends are
        # remembered, without which two counts that exclude each other would cost exponential time.
        state = (place, taken, *(option for name, option in self.chosen.items() if name in self.ends))
        if state in self.dead or not self._possible(place, taken):
            return
        if place == len(self.names):
            yield dict(self.chosen)
            return
        alive = False
        name = self.names[place]
        for option in self.domains[name]:
            self.chosen[name] = option
            reached = tuple([n + (option in c.options) for n, c in zip(taken, self.counts, strict=True)])
            for found in self.extend(place + 1, reached):
                alive = True
                yield found
            del self.chosen[name]
        if not alive:
            self.dead.add(state)

    def _ahead(self, count: Count, rule: Callable[[list[bool]], bool]) -> list[int]:
        number = [0] * (len(self.names) + 1)
        for place in reversed(range(len(self.names))):
            member = [option in count.options for option in self.domains[self.names[place]]]
            number[place] = number[place + 1] + rule(member)
        return number

    def _possible(self, place: int, taken: tuple[int, ...]) -> bool:
        for count, reached, able, forced in zip(self.counts, taken, self.able, self.forced, strict=True):
            if reached + able[place] < count.at_least:
                return False
            if count.at_most is not None and reached + forced[place] > count.at_most:
                return False
        known = self.chosen
        return all(w.decision not in known or w.then.decision not in known or w.holds(known) for w in self.whens)


def _support(principle: Principle) -> tuple[float, float, int]:
    """Order principles by what speaks for them: the low end of the interval, then the effect, then age."""
    evidence = principle.evidence
    low = float("-inf") if evidence.low is None else evidence.low
    effect = float("-inf") if evidence.effect is None else evidence.effect
    return low, effect, -int("".join(filter(str.isdigit, principle.id)) or 0)


def _compile(constraint: Constraint) -> Holds:
    """Return a function that checks a mapping of choices as quickly as Python can."""
    match constraint:
        case Allowed():
            decision, options = constraint.decision, frozenset(constraint.options)
            return lambda choices: choices[decision] in options
        case Count():
            counted, least = frozenset(constraint.options), constraint.at_least
            most = constraint.at_most
            if most is None:
                return lambda choices: sum([option in counted for option in choices.values()]) >= least
            limit = most
            return lambda choices: least <= sum([option in counted for option in choices.values()]) <= limit
        case When():
            condition, then = _compile(Allowed(constraint.decision, constraint.options)), _compile(constraint.then)
            return lambda choices: not condition(choices) or then(choices)
