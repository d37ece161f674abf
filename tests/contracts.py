"""Contract test classes: a new space or evaluator is a fixture, the tests are already written."""

from __future__ import annotations

import itertools
from random import Random

import numpy as np
import pytest

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces import Choices, Space
from nas_agent.spaces.cell_graph import CellGraph

SEEDS = range(8)


def built(space: Space, choices: Choices) -> Architecture | None:
    """Build as it is, not canonical; None where the choices are no architecture together."""
    try:
        return space.build(choices)
    except InvalidArchitecture:
        return None


def some_member(space: Space, rng: Random) -> Architecture:
    """Build from random choices: unlike a sample, it need not be the representative of its class."""
    for _ in range(1000):
        member = built(space, {decision.name: rng.choice(decision.options) for decision in space.decisions})
        if member is not None:
            return member
    raise AssertionError("random choices are hardly ever an architecture")


class AnySpaceContract:
    """What holds in every space, also in one without decisions. Subclass it and give a fixture `space`."""

    def member(self, space: Space, rng: Random) -> Architecture:
        """Return any architecture: unlike a sample, it need not be the representative of its class."""
        raise NotImplementedError

    def same_class(self, space: Space, member: Architecture, rng: Random) -> Architecture:
        """Return another member of the class where one is found, else this one."""
        raise NotImplementedError

    def test_it_speaks_the_protocol(self, space: Space) -> None:
        assert isinstance(space, Space)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_text_round_trips(self, space: Space, seed: int) -> None:
        architecture = space.sample(Random(seed))
        assert space.parse(space.format(architecture)) == architecture

    def test_the_given_rng_is_the_only_chance(self, space: Space) -> None:
        draws = [[space.sample(rng) for _ in range(10)] for rng in (Random(7), Random(7))]
        assert draws[0] == draws[1]
        parents = draws[0][:2]
        children = [space.crossover(*parents, rng) for rng in (Random(7), Random(7))]
        assert children[0] == children[1]

    def test_samples_differ(self, space: Space) -> None:
        rng = Random(0)
        assert len({space.sample(rng).id for _ in range(50)}) > 5

    @pytest.mark.parametrize("seed", SEEDS)
    def test_neighbours_are_canonical_distinct_and_not_the_architecture(self, space: Space, seed: int) -> None:
        architecture = space.sample(Random(seed))
        neighbours = list(space.neighbours(architecture))
        assert neighbours
        ids = [neighbour.id for neighbour in neighbours]
        assert len(set(ids)) == len(ids)
        assert architecture.id not in ids
        assert all(space.canonical(neighbour) == neighbour for neighbour in neighbours)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_canonical_is_idempotent_and_keeps_the_id(self, space: Space, seed: int) -> None:
        architecture = self.member(space, Random(seed))
        once = space.canonical(architecture)
        assert once.id == architecture.id
        assert space.canonical(once) == once
        assert space.canonical(space.sample(Random(seed))) == space.sample(Random(seed))

    def test_one_id_has_one_representative(self, space: Space) -> None:
        rng = Random(4)
        members = [self.member(space, rng) for _ in range(200)]
        members += [self.same_class(space, member, rng) for member in members]
        representatives = {(member.id, space.canonical(member)) for member in members}
        assert len(representatives) == len({member.id for member in members})

    def test_features_have_one_shape_and_are_finite(self, space: Space) -> None:
        rng = Random(1)
        blocks = [space.features(space.sample(rng)) for _ in range(20)]
        shapes = [{name: block.shape for name, block in one.items()} for one in blocks]
        assert all(shape == shapes[0] for shape in shapes)
        assert all(np.isfinite(block).all() for one in blocks for block in one.values())
        assert len({tuple(np.concatenate(list(one.values()))) for one in blocks}) > 1

    def test_isomorphic_architectures_share_features_and_source(self, space: Space) -> None:
        rng = Random(2)
        for _ in range(40):
            member = self.member(space, rng)
            for other in (space.canonical(member), self.same_class(space, member, rng)):
                assert space.source(member) == space.source(other)
                features = space.features(member)
                for name, block in space.features(other).items():
                    np.testing.assert_array_equal(features[name], block)

    def test_a_graph_is_a_cell_or_nothing_for_all(self, space: Space) -> None:
        rng = Random(5)
        graphs = [space.graph(self.member(space, rng)) for _ in range(10)]
        assert all(isinstance(graph, CellGraph) for graph in graphs) or graphs == [None] * 10

    def test_an_enumeration_holds_each_class_once(self, space: Space) -> None:
        everything = space.enumerate()
        if everything is None:
            pytest.skip("the space is too large to be listed")
        ids = [architecture.id for architecture in everything]
        assert len(set(ids)) == len(ids)
        assert space.sample(Random(3)).id in set(ids)

    @pytest.mark.parametrize("text", ["", "nonsense", "|x~0|", "a=b", "\x00", "é" * 1000])
    def test_nonsense_is_refused_with_advice(self, space: Space, text: str) -> None:
        with pytest.raises(InvalidArchitecture, match=r"expected|choose from"):
            space.parse(text)


class SpaceContract(AnySpaceContract):
    """What holds besides where architectures are made by decisions. Subclass it and give a fixture `space`."""

    def member(self, space: Space, rng: Random) -> Architecture:
        return some_member(space, rng)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_choices_round_trip(self, space: Space, seed: int) -> None:
        architecture = space.sample(Random(seed))
        choices = space.choices(architecture)
        assert space.build(choices) == architecture
        assert list(choices) == [decision.name for decision in space.decisions]
        assert all(choices[decision.name] in decision.options for decision in space.decisions)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_child_is_of_the_class_of_some_mixture_of_its_parents(self, space: Space, seed: int) -> None:
        # A child is canonical, so its own choices may be those of neither parent: some mixture has its id.
        rng = Random(seed)
        mother = space.sample(rng)
        father = list(space.neighbours(mother))[-1]
        for _ in range(3):  # a few steps away: close enough for all mixtures to be listed
            father = rng.choice(list(space.neighbours(father)))
        mixtures = self._mixtures(space, mother, father)
        children = [space.crossover(mother, father, rng) for _ in range(20)]
        for child in children:
            assert child.id in mixtures
            assert space.canonical(child) == child
            assert space.parse(child.text) == child
        if len(mixtures) > 3:
            assert not {child.id for child in children} <= {mother.id, father.id}
        assert space.crossover(mother, mother, rng) == mother

    @pytest.mark.parametrize("seed", SEEDS)
    def test_each_neighbour_is_of_the_class_of_a_change_in_one_decision(self, space: Space, seed: int) -> None:
        architecture = space.sample(Random(seed))
        choices = space.choices(architecture)
        changes = (built(space, {**choices, d.name: option}) for d in space.decisions for option in d.options)
        changed = {change.id for change in changes if change is not None}
        assert {neighbour.id for neighbour in space.neighbours(architecture)} == changed - {architecture.id}

    def _mixtures(self, space: Space, mother: Architecture, father: Architecture) -> set[str]:
        """Ids of all architectures with each choice from one of the two."""
        ours, theirs = space.choices(mother), space.choices(father)
        differing = [name for name in ours if ours[name] != theirs[name]]
        found = set()
        for taken in itertools.product((ours, theirs), repeat=len(differing)):
            chosen = {name: side[name] for name, side in zip(differing, taken, strict=True)}
            mixture = built(space, {**ours, **chosen})
            found |= set() if mixture is None else {mixture.id}
        return found

    def same_class(self, space: Space, member: Architecture, rng: Random) -> Architecture:
        """Return another member of the class where one decision's change, or two options' exchange, leads to it."""
        choices = space.choices(member)
        names = list(choices)
        first, second = rng.sample(names, 2)
        options = {decision.name: decision.options for decision in space.decisions}
        swapped = {**choices, first: choices[second], second: choices[first]}
        variants = [{**choices, name: rng.choice(options[name])} for name in names]
        variants += [swapped] if all(swapped[name] in options[name] for name in names) else []
        others = (other for variant in variants if (other := built(space, variant)) is not None)
        return next((other for other in others if other.id == member.id and other != member), member)

    def test_missing_choices_are_refused(self, space: Space) -> None:
        with pytest.raises(InvalidArchitecture, match="expected one option"):
            space.build({})
