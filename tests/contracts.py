"""Contract test classes: a new space or evaluator is a fixture, the tests are already written."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from nas_agent.errors import InvalidArchitecture
from nas_agent.spaces import Space

SEEDS = range(8)


class SpaceContract:
    """Subclass it and give a fixture `space`."""

    def test_it_speaks_the_protocol(self, space: Space) -> None:
        assert isinstance(space, Space)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_text_round_trips(self, space: Space, seed: int) -> None:
        architecture = space.sample(Random(seed))
        assert space.parse(space.format(architecture)) == architecture

    @pytest.mark.parametrize("seed", SEEDS)
    def test_choices_round_trip(self, space: Space, seed: int) -> None:
        architecture = space.sample(Random(seed))
        choices = space.choices(architecture)
        assert space.build(choices) == architecture
        assert list(choices) == [decision.name for decision in space.decisions]
        assert all(choices[decision.name] in decision.options for decision in space.decisions)

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
        architecture = space.sample(Random(seed))
        once = space.canonical(architecture)
        assert once.id == architecture.id
        assert space.canonical(once) == once

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_child_takes_each_choice_of_its_class_from_a_parent_or_is_isomorphic_to_one_that_does(
        self, space: Space, seed: int
    ) -> None:
        rng = Random(seed)
        mother, father = space.sample(rng), space.sample(rng)
        child = space.crossover(mother, father, rng)
        assert space.parse(child.text).id == child.id
        assert space.crossover(mother, mother, rng) == space.canonical(mother)

    def test_features_have_one_shape_and_are_finite(self, space: Space) -> None:
        rng = Random(1)
        blocks = [space.features(space.sample(rng)) for _ in range(20)]
        shapes = [{name: block.shape for name, block in one.items()} for one in blocks]
        assert all(shape == shapes[0] for shape in shapes)
        assert all(np.isfinite(block).all() for one in blocks for block in one.values())
        assert len({tuple(np.concatenate(list(one.values()))) for one in blocks}) > 1

    def test_isomorphic_architectures_share_features_and_source(self, space: Space) -> None:
        rng = Random(2)
        for _ in range(20):
            architecture = space.sample(rng)
            canonical = space.canonical(architecture)
            assert space.source(architecture) == space.source(canonical)
            features = space.features(architecture)
            for name, block in space.features(canonical).items():
                np.testing.assert_array_equal(features[name], block)

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

    def test_missing_choices_are_refused(self, space: Space) -> None:
        with pytest.raises(InvalidArchitecture, match="expected one option"):
            space.build({})
