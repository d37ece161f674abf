"""Changes of a derivation tree of `einspace`: a part of it drawn anew, or taken from another tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from nas_agent.spaces.einspace_grammar import draw, excess
from nas_agent.spaces.einspace_shapes import Shape, arm_shape, shapes
from nas_agent.spaces.einspace_tree import Branch, Module

REWRITTEN = (0, 1, 1, 1, 2, 3)  # how many steps in a row a mutation draws anew
TRIES = 200  # mutations or children before the caller gets another answer


class Place(NamedTuple):
    """A sequence within a tree: the way to it, as (step, arm) of each branch, and the shapes along it."""

    way: tuple[tuple[int, int], ...]
    steps: Module
    along: tuple[Shape, ...]


def places(module: Module, shape: Shape, way: tuple[tuple[int, int], ...] = ()) -> Iterator[Place]:
    """Yield every sequence of a tree, the whole first."""
    along = shapes(module, shape)
    yield Place(way, module, along)
    for index, step in enumerate(module):
        if isinstance(step, Branch):
            entry = arm_shape(step, along[index])
            for number, arm in enumerate(step.arms):
                yield from places(arm, entry, (*way, (index, number)))


def replaced(module: Module, way: Sequence[tuple[int, int]], begin: int, end: int, new: Module) -> Module:
    """Return the tree with other steps between two points of one of its sequences."""
    if not way:
        return module[:begin] + new + module[end:]
    (index, number), *rest = way
    step = module[index]
    assert isinstance(step, Branch)
    arms = list(step.arms)
    arms[number] = replaced(arms[number], rest, begin, end, new)
    return (*module[:index], step._replace(arms=tuple(arms)), *module[index + 1 :])


def mutated(module: Module, shape: Shape, rng: Random) -> Module | None:
    """Draw anew what a few steps in a row do, or insert something; None where no draw fits or the limits are passed."""
    found = list(places(module, shape))
    place = rng.choices(found, [len(place.steps) + 1 for place in found])[0]
    begin = rng.randint(0, len(place.steps))
    end = min(len(place.steps), begin + rng.choice(REWRITTEN))
    goal: Shape | None = place.along[end]
    if end > begin and place.along[begin] == goal and rng.random() < 0.2:
        new: Module | None = ()
    else:
        if not place.way and end == len(place.steps) and rng.random() < 0.5:
            goal = None  # nothing follows but the head, which takes any shape
        new = draw(place.along[begin], goal, rng, deepest=3)
    if new is None:
        return None
    child = replaced(module, place.way, begin, end, new)
    return None if not child or excess(child) else child


def crossed(mother: Module, father: Module, shape: Shape, rng: Random) -> Module | None:
    """Put a run of the father's steps in place of one of the mother's between the same shapes; None where none fits."""
    offered: dict[tuple[Shape, Shape], list[Module]] = {}
    for place in places(father, shape):
        for begin, end in _runs(place):
            offered.setdefault((place.along[begin], place.along[end]), []).append(place.steps[begin:end])
    wanted = [
        (place, begin, end)
        for place in places(mother, shape)
        for begin, end in _runs(place)
        if (place.along[begin], place.along[end]) in offered
    ]
    if not wanted:
        return None
    place, begin, end = rng.choice(wanted)
    new = rng.choice(offered[place.along[begin], place.along[end]])
    child = replaced(mother, place.way, begin, end, new)
    return None if excess(child) else child


def _runs(place: Place) -> Iterator[tuple[int, int]]:
    count = len(place.steps)
    return ((begin, end) for begin in range(count) for end in range(begin + 1, count + 1))
