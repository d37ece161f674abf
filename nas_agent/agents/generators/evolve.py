"""Mutation and crossover inside the refined space, and a sweep where the space can be listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from nas_agent.agents.generators.base import Brief
from nas_agent.principles.coding import Codes
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Proposal
from nas_agent.spaces import Mutates, try_build
from nas_agent.spaces.inspection import Inspected

ELITES = 16  # parents: the best of what was measured
CLOSEST = 4  # elites whose whole neighbourhood is proposed
LOCAL = 400  # proposals a round, where the space is too large to be listed
BRED = 100  # of them, at least so many by chance: draws, crossovers, mutations of all elites
CROSSED = 40  # crossovers a round, where it is listed
PATIENCE = 20  # draws a proposal before a round settles for fewer
FRUITLESS = 500  # draws in a row without a proposal before it does so earlier
TRIES = 8  # uniform draws from the allowed options before the exact, slower and uneven draw


@dataclass(frozen=True, slots=True)
class _Sweep:
    """The part of a pool on one side of the principles, and what it was made from."""

    pool: Sequence[Architecture]
    refinement: Refinement | None
    proposals: dict[str, Proposal]


class Evolve:
    """Propose mutations and crossovers of the elites; in a listed space, all that is left of it as well.

    A surrogate that ranks thousands of architectures in a few milliseconds makes a whole listed space a
    better set of proposals than any sample of it (docs/log.md). In a larger space the neighbourhood of
    the elites stands in for it, with uniform draws against narrowness.
    """

    name = "evolve"

    def __init__(self) -> None:
        # Caches, not state: the pool is encoded once, its refined part changes with the principles only.
        self._codes: tuple[Sequence[Architecture], Codes] | None = None
        self._swept: dict[bool, _Sweep] = {}  # by side: inside and outside

    def propose(self, brief: Brief, rng: Random) -> list[Proposal]:
        """Return distinct unknown proposals inside the refined space, those with parents first."""
        found: dict[str, Proposal] = {}
        if isinstance(brief.space, Inspected):
            self._draw(brief, found, rng, brief.space.proposals)
            return list(found.values())
        self._mutate_neighbourhoods(brief, found)
        if brief.pool is None:
            self._draw(brief, found, rng)
            return list(found.values())
        elites = [architecture for architecture, _ in brief.ranked[:ELITES]]
        for _ in range(CROSSED):
            self._cross(brief, elites, found, rng)
        swept = self._sweep(brief.pool, brief)
        # The pool's member of a class is the one that can be measured, whatever member was bred.
        bred = [replace(found[key], architecture=swept[key].architecture) for key in found if key in swept]
        rest = [proposal for key, proposal in swept.items() if key not in found and key not in brief.known]
        return bred + rest

    def _sweep(self, pool: Sequence[Architecture], brief: Brief) -> dict[str, Proposal]:
        refinement = brief.refinement
        known = self._swept.get(brief.outside)
        if known is None or known.pool is not pool or known.refinement is not refinement:
            inside: Sequence[Architecture] = pool
            if refinement is not None:
                if self._codes is None or self._codes[0] is not pool:
                    self._codes = (pool, refinement.encode([brief.space.choices(member) for member in pool]))
                mask = refinement.mask(self._codes[1]) != brief.outside
                inside = [member for member, taken in zip(pool, mask.tolist(), strict=True) if taken]
            known = _Sweep(pool, refinement, {member.id: Proposal(member, "sweep") for member in inside})
            self._swept[brief.outside] = known
        return known.proposals

    def _mutate_neighbourhoods(self, brief: Brief, found: dict[str, Proposal]) -> None:
        for elite, _ in brief.ranked[:CLOSEST]:
            for neighbour in brief.space.neighbours(elite):
                _keep(brief, found, neighbour, "mutation", elite)

    def _cross(self, brief: Brief, parents: Sequence[Architecture], found: dict[str, Proposal], rng: Random) -> None:
        if len(parents) < 2:
            return
        mother, father = rng.sample(parents, 2)
        _keep(brief, found, brief.space.crossover(mother, father, rng), "crossover", mother, father)

    def _draw(self, brief: Brief, found: dict[str, Proposal], rng: Random, most: int = LOCAL) -> None:
        elites = [architecture for architecture, _ in brief.ranked[:ELITES]]
        # Parents on the right side breed most children there; where there are none, the others must do.
        parents = [elite for elite in elites if brief.allows(elite)]
        parents = parents if len(parents) > 1 else elites
        domains = _domains(brief)
        wanted, missed = max(most, len(found) + min(BRED, most)), 0
        for drawn in range(most * PATIENCE):
            before = len(found)
            if before >= (wanted if drawn < most else min(BRED, most)) or missed >= min(FRUITLESS, 2 * most):
                return
            chance = rng.random()
            if not parents or chance < 0.1:
                _keep(brief, found, _sample(brief, domains, rng), "sample")
            elif chance < 0.55:
                parent = rng.choice(parents)
                _keep(brief, found, _mutate(brief, parent, domains, rng), "mutation", parent)
            else:
                self._cross(brief, parents, found, rng)
            missed = 0 if len(found) > before else missed + 1


class RandomDraws:
    """Propose a few uniform draws of the refined space: the control for `evolve`."""

    name = "random"
    draws = 8  # a round; the surrogate, where there is one, chooses among them

    def propose(self, brief: Brief, rng: Random) -> list[Proposal]:
        """Return up to eight distinct unknown draws."""
        if brief.pool is not None:
            rest = [a for a in brief.pool if a.id not in brief.known and brief.allows(a)]
            return [Proposal(drawn, "sample") for drawn in rng.sample(rest, min(self.draws, len(rest)))]
        found: dict[str, Proposal] = {}
        domains = _domains(brief)
        for _ in range(self.draws * PATIENCE):
            if len(found) < self.draws:
                _keep(brief, found, _sample(brief, domains, rng), "sample")
        return list(found.values())


def _domains(brief: Brief) -> dict[str, tuple[str, ...]]:
    """Return the options that each decision may take; outside the principles, all."""
    if brief.refinement is None or brief.outside:
        return {decision.name: decision.options for decision in brief.space.decisions}
    return {decision.name: brief.refinement.allowed(decision) for decision in brief.space.decisions}


def _sample(brief: Brief, domains: dict[str, tuple[str, ...]], rng: Random) -> Architecture | None:
    """Draw from the space; inside the principles, from what they leave, which chance alone may never hit.

    None where the draw is no architecture of the space: the caller draws again.
    """
    if brief.refinement is None or brief.outside:
        return brief.space.sample(rng)
    for _ in range(TRIES):
        choices = {name: rng.choice(options) for name, options in domains.items()}
        if brief.refinement.allows(choices) and (drawn := try_build(brief.space, choices)) is not None:
            return drawn
    return try_build(brief.space, brief.refinement.sample(rng))


def _mutate(
    brief: Brief, parent: Architecture, domains: dict[str, tuple[str, ...]], rng: Random
) -> Architecture | None:
    """Give one or two decisions of the parent another option, where their domains have one; None as in `_sample`.

    A space without decisions changes the parent in its own way.
    """
    if isinstance(brief.space, Mutates):
        return brief.space.mutate(parent, rng)
    choices = brief.space.choices(parent)
    for name in rng.sample(list(domains), min(rng.choice((1, 2)), len(domains))):
        others = [option for option in domains[name] if option != choices[name]]
        choices[name] = rng.choice(others) if others else choices[name]
    return try_build(brief.space, choices)


def _keep(
    brief: Brief, found: dict[str, Proposal], candidate: Architecture | None, author: str, *parents: Architecture
) -> None:
    """Add the candidate unless it is none, is known, was found already, or breaks a principle."""
    if candidate is None or candidate.id in brief.known or candidate.id in found or not brief.allows(candidate):
        return
    found[candidate.id] = Proposal(candidate, author, tuple(parent.id for parent in parents))
