"""What proposes architectures, driven directly: who the parents are, and on which side of the principles it stays."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from nas_agent.agents.generators import GENERATORS as GENERATORS_BY_NAME
from nas_agent.agents.generators.base import Brief, Generator
from nas_agent.agents.generators.evolve import CLOSEST, ELITES, Evolve, RandomDraws
from nas_agent.principles.constraint import Allowed, Constraint, Count
from nas_agent.principles.principle import Principle
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Proposal
from nas_agent.spaces import CategoricalSpace, Space
from tests.searching import LargeToy, Toy, worth

SMALL, LARGE = Toy(), LargeToy()
GENERATORS: list[Generator] = [make() for make in GENERATORS_BY_NAME.values()]
SPACES: list[CategoricalSpace] = [SMALL, LARGE]
# One architecture in 4 ** 6 obeys the six: chance never hits it.
SIX = [Allowed(f"layer_{place}", (option,)) for place, option in enumerate(("pool", "skip", "pool") * 2)]


def ranked(space: Space, number: int = 20, seed: int = 0) -> list[tuple[Architecture, float]]:
    rng = Random(seed)
    drawn = {architecture.id: architecture for architecture in (space.sample(rng) for _ in range(number))}
    return sorted(((a, worth(a)) for a in drawn.values()), key=lambda pair: -pair[1])


def under(space: Space, constraints: Sequence[Constraint]) -> Refinement:
    principles = [
        Principle(f"P{number}", 1, str(constraint), constraint, "statistics", "active")
        for number, constraint in enumerate(constraints, 1)
    ]
    return Refinement(space.decisions, principles)


def brief(space: Space, refinement: Refinement | None = None, *, outside: bool = False, seed: int = 0) -> Brief:
    measured = ranked(space, seed=seed)
    known = {architecture.id for architecture, _ in measured}
    return Brief(space, measured, known, space.enumerate(), refinement, outside)


def differences(space: Space, first: Architecture, second: Architecture) -> int:
    pairs = zip(space.choices(first).values(), space.choices(second).values(), strict=True)
    return sum(one != other for one, other in pairs)


def by(proposals: Sequence[Proposal], author: str) -> list[Proposal]:
    return [proposal for proposal in proposals if proposal.author == author]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_crossovers_take_every_choice_from_their_two_parents(space: CategoricalSpace) -> None:
    told = brief(space)
    elites = {architecture.id: space.choices(architecture) for architecture, _ in told.ranked[:ELITES]}
    crossed = by(Evolve().propose(told, Random(0)), "crossover")
    assert crossed
    for child in crossed:
        mother, father = (elites[parent] for parent in child.parents)
        assert child.parents[0] != child.parents[1]
        choices = space.choices(child.architecture)
        assert all(choices[name] in (mother[name], father[name]) for name in choices)


def test_mutations_differ_from_their_one_parent_in_one_or_two_decisions() -> None:
    told = brief(LARGE)
    elites = {architecture.id: architecture for architecture, _ in told.ranked}
    mutants = by(Evolve().propose(told, Random(0)), "mutation")
    steps = [differences(LARGE, elites[only], m.architecture) for m in mutants for only in m.parents]
    assert len(steps) == len(mutants)
    assert set(steps) == {1, 2}
    bred = {parent for mutant in mutants for parent in mutant.parents}
    assert len(bred) > CLOSEST  # not the neighbourhoods alone


def test_in_a_listed_space_mutations_are_the_whole_neighbourhood_of_the_closest() -> None:
    told = brief(SMALL)
    mutants = {m.architecture.id for m in by(Evolve().propose(told, Random(0)), "mutation")}
    around = {n.id for elite, _ in told.ranked[:CLOSEST] for n in SMALL.neighbours(elite)}
    assert mutants == {key for key in around if key not in told.known}


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.name)
def test_nothing_known_and_nothing_twice(generator: Generator, space: CategoricalSpace) -> None:
    told = brief(space)
    ids = [proposal.architecture.id for proposal in generator.propose(told, Random(0))]
    assert ids
    assert len(set(ids)) == len(ids)
    assert not set(ids) & set(told.known)  # type: ignore[call-overload]


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("name", ["evolve", "random"])
def test_the_rng_is_the_only_chance(name: str, space: CategoricalSpace) -> None:
    told = brief(space)
    draws = [GENERATORS_BY_NAME[name]().propose(told, Random(seed)) for seed in (7, 7, 8)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.name)
def test_only_members_of_the_pool_are_proposed(generator: Generator) -> None:
    everything = SMALL.enumerate()
    assert everything is not None
    pool = [architecture for architecture in everything if "layer_0=wide" in architecture.text]
    measured = ranked(SMALL)
    told = Brief(SMALL, measured, {a.id for a, _ in measured}, pool, None)
    found = generator.propose(told, Random(0))
    assert found
    assert {proposal.architecture for proposal in found} <= set(pool)


def test_all_that_is_left_of_a_listed_space_is_proposed() -> None:
    told = brief(SMALL)
    assert len(Evolve().propose(told, Random(0))) == 4**5 - len(told.ranked)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.name)
def test_inside_all_obey_and_outside_all_break(generator: Generator, space: CategoricalSpace) -> None:
    refinement = under(space, [Count(("wide",), at_least=2)])
    for outside in (False, True):
        found = generator.propose(brief(space, refinement, outside=outside), Random(0))
        assert found
        assert all(refinement.allows(space.choices(p.architecture)) is not outside for p in found)


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda generator: generator.name)
def test_a_narrow_part_of_a_large_space_is_found(generator: Generator) -> None:
    refinement = under(LARGE, SIX)
    assert len(refinement.principles) == len(SIX)
    told = brief(LARGE, refinement)
    assert not any(told.allows(architecture) for architecture, _ in told.ranked)
    found = generator.propose(told, Random(0))
    assert len(found) >= 8
    assert all(told.allows(proposal.architecture) for proposal in found)


def test_where_uniform_draws_from_the_options_fail_the_exact_search_draws() -> None:
    refinement = under(LARGE, [Count(("wide",), at_least=9)])  # every option is still allowed everywhere
    told = Brief(LARGE, [], frozenset(), None, refinement)
    found = RandomDraws().propose(told, Random(0))
    assert len(found) == RandomDraws.draws
    assert all(told.allows(proposal.architecture) for proposal in found)


def test_inside_a_narrow_part_elites_of_it_breed() -> None:
    refinement = under(LARGE, SIX)
    rng = Random(1)
    members = {a.id: a for a in (LARGE.build(refinement.sample(rng)) for _ in range(10))}
    measured = [*((a, 99.0) for a in members.values()), *ranked(LARGE)]
    told = Brief(LARGE, measured, {a.id for a, _ in measured}, None, refinement)
    found = Evolve().propose(told, Random(0))
    assert {"mutation", "crossover"} <= {proposal.author for proposal in found}
    for proposal in found:
        assert set(proposal.parents) <= set(members)


def test_a_part_with_few_architectures_is_proposed_and_the_round_ends() -> None:
    refinement = under(LARGE, [*SIX, *(Allowed(f"layer_{place}", ("wide",)) for place in range(6, 10))])
    found = Evolve().propose(brief(LARGE, refinement), Random(0))
    assert len(found) == refinement.size() == 1


def test_without_measured_architectures_there_are_draws_only() -> None:
    found = Evolve().propose(Brief(LARGE, [], frozenset(), None, None), Random(0))
    assert len(found) > 100
    assert {proposal.author for proposal in found} == {"sample"}


def test_a_large_neighbourhood_leaves_room_for_crossovers() -> None:
    class Wide(LargeToy):
        name = "wide"
        decisions = tuple(type(d)(f"layer_{i}", d.options) for i in range(40) for d in LargeToy.decisions[:1])

    found = Evolve().propose(brief(Wide()), Random(0))
    assert len(by(found, "crossover")) > 20
