"""Shapes in `einspace`: what each step makes of a shape, what it costs, and which trees mean the same.

An image is (channels, height, width); tokens are (length, features), as attention has them. Channels and features are
multiples of the network's width or plain numbers, so that a tree that fits together does so at every width (ours).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import isqrt
from typing import NamedTuple

from nas_agent.errors import InvalidArchitecture
from nas_agent.spaces.einspace_tree import (
    ADD,
    CONCAT,
    IDENTITY,
    IMAGE,
    LINEAR,
    PATCHES,
    PRODUCT,
    TRANSPOSE,
    Branch,
    Module,
    Step,
    write,
)

SIDE = 8  # pixels of the image that a tree is given; the stem averages larger ones down to it


class Extent(NamedTuple):
    """`times` where it is plain, `times` widths where it is scaled."""

    times: int
    scaled: bool

    def at(self, width: int) -> int:
        """As a number, in a network of this width."""
        return self.times * width if self.scaled else self.times

    def code(self) -> str:
        """As Python, the width being C."""
        return str(self.times) if not self.scaled else "C" if self.times == 1 else f"{self.times} * C"


class Image(NamedTuple):
    """(channels, height, width)."""

    channels: Extent
    height: int
    width: int


class Tokens(NamedTuple):
    """(length, features)."""

    length: Extent
    features: Extent


Shape = Image | Tokens
START = Image(Extent(1, True), SIDE, SIDE)


def features_of(shape: Shape) -> Extent:
    """Return what a linear layer acts on: channels or features."""
    return shape.channels if isinstance(shape, Image) else shape.features


def with_features(shape: Shape, extent: Extent) -> Shape:
    """Return the same places with another number of features."""
    if isinstance(shape, Image):
        return Image(extent, shape.height, shape.width)
    return Tokens(shape.length, extent)


def places_of(shape: Shape) -> Extent:
    """Return how many pixels or tokens there are."""
    return Extent(shape.height * shape.width, False) if isinstance(shape, Image) else shape.length


def elements(shape: Shape, width: int) -> int:
    """Count the numbers of one example."""
    return places_of(shape).at(width) * features_of(shape).at(width)


def linear_extent(step: str, extent: Extent) -> Extent:
    """Return the features after a linear layer; raise InvalidArchitecture where half of them is no whole number."""
    match step:
        case "linear_same":
            return extent
        case "linear_double":
            return Extent(2 * extent.times, extent.scaled)
        case "linear_half":
            return part_of(extent, 2, step)
    return Extent(int(step[len("linear_") : -1]), True)


def part_of(extent: Extent, parts: int, step: str) -> Extent:
    """Return one of equal parts of the features."""
    if extent.times % parts:
        raise InvalidArchitecture(f"'{step}': expected features that can be divided by {parts}, got {extent.code()}")
    return Extent(extent.times // parts, extent.scaled)


@lru_cache(maxsize=200_000)
def after(step: Step, shape: Shape) -> Shape:
    """Return the shape that a step makes of another; raise InvalidArchitecture where it cannot."""
    if isinstance(step, Branch):
        entry = arm_shape(step, shape)
        return _merged(step, [shapes(arm, entry)[-1] for arm in step.arms])
    if step in LINEAR:
        return with_features(shape, linear_extent(step, features_of(shape)))
    if step in PATCHES:
        return _cut(step, shape)
    if step == TRANSPOSE:
        if isinstance(shape, Image):
            raise InvalidArchitecture("'transpose': expected tokens, got an image; cut it into patches before")
        return Tokens(shape.features, shape.length)
    if step == IMAGE:
        return _laid_out(shape)
    return shape


def shapes(module: Module, shape: Shape) -> tuple[Shape, ...]:
    """Return the shapes before, between and after the steps."""
    found = [shape]
    for step in module:
        found.append(after(step, found[-1]))
    return tuple(found)


def arm_shape(branch: Branch, shape: Shape) -> Shape:
    """Return what each arm of a branch is given."""
    if branch.split.startswith("clone"):
        return shape
    return with_features(shape, part_of(features_of(shape), branch.ways, branch.split))


def _cut(step: str, shape: Shape) -> Tokens:
    side, stride = PATCHES[step]
    if not isinstance(shape, Image):
        raise InvalidArchitecture(f"'{step}': expected an image, got tokens; lay them out by 'image' before")
    if min(shape.height, shape.width) < stride or (side % 2 == 0 and (shape.height % side or shape.width % side)):
        raise InvalidArchitecture(f"'{step}': an image of {shape.height}x{shape.width} is too small; leave it out")
    places = -(-shape.height // stride) * -(-shape.width // stride)
    return Tokens(Extent(places, False), Extent(shape.channels.times * side**2, shape.channels.scaled))


def _laid_out(shape: Shape) -> Image:
    if isinstance(shape, Image):
        raise InvalidArchitecture("'image': expected tokens, got an image; leave it out")
    side = isqrt(shape.length.times)
    if shape.length.scaled or side**2 != shape.length.times:
        raise InvalidArchitecture(
            f"'image': expected as many tokens as a square has pixels, got {shape.length.code()}; transpose before"
        )
    return Image(shape.features, side, side)


def _merged(branch: Branch, results: list[Shape]) -> Shape:
    first, second = results[0], results[-1]
    if branch.merge == ADD:
        if first != second:
            raise InvalidArchitecture(f"'add': expected arms of one shape, got {say(first)} and {say(second)}")
        return first
    if branch.merge == CONCAT:
        return _joined(branch, first, second)
    if isinstance(first, Image) or isinstance(second, Image):
        raise InvalidArchitecture(f"'{branch.merge}': expected arms that end in tokens, got an image")
    inner = second.length if branch.merge == PRODUCT else second.features
    if first.features != inner:
        raise InvalidArchitecture(
            f"'{branch.merge}': expected matrices that can be multiplied, got {say(first)} and {say(second)}"
        )
    return Tokens(first.length, second.features if branch.merge == PRODUCT else second.length)


def _joined(branch: Branch, first: Shape, second: Shape) -> Shape:
    one, other = features_of(first), features_of(second)
    if type(first) is not type(second) or with_features(first, other) != second or one.scaled != other.scaled:
        raise InvalidArchitecture(
            f"'concat': expected arms that differ in their features only, got {say(first)} and {say(second)}"
        )
    times = (one.times + other.times) * branch.copies if len(branch.arms) == 2 else one.times * branch.copies
    return with_features(first, Extent(times, one.scaled))


def say(shape: Shape) -> str:
    """Write a shape for people."""
    if isinstance(shape, Image):
        return f"an image of {shape.channels.code()} x {shape.height} x {shape.width}"
    return f"{shape.length.code()} tokens of {shape.features.code()}"


class Visit(NamedTuple):
    """A step where it stands."""

    step: Step
    before: Shape
    after: Shape
    copies: int  # how often it is built
    nesting: int  # branches around it


def visits(module: Module, shape: Shape = START, copies: int = 1, nesting: int = 0) -> Iterator[Visit]:
    """Yield every step of a tree, a branch before its arms."""
    along = shapes(module, shape)
    for step, before, behind in zip(module, along, along[1:], strict=False):
        yield Visit(step, before, behind, copies, nesting)
        if isinstance(step, Branch):
            entry = arm_shape(step, before)
            for arm in step.arms:
                yield from visits(arm, entry, copies * step.copies, nesting + 1)


class Size(NamedTuple):
    """How large a tree is, and the network around it."""

    steps: int
    nesting: int
    parameters: int  # of the whole network, its stem and its head included
    products: int  # multiplications for one image, in the same network
    elements: int  # of the largest thing between two steps


def size_of(module: Module, *, width: int, classes: int = 10, in_channels: int = 3) -> Size:
    """Count what the network of this width has and does."""
    stem = 9 * in_channels * width
    steps = nesting = 0
    parameters, products, largest = stem + 2 * width, stem * SIDE**2, elements(START, width)
    for visit in visits(module):
        steps += 1
        nesting = max(nesting, visit.nesting + isinstance(visit.step, Branch))
        weights, multiplied = _cost(visit, width)
        parameters += weights * visit.copies
        products += multiplied * visit.copies
        largest = max(largest, elements(visit.after, width) * visit.copies)
    last = features_of(shapes(module, START)[-1]).at(width)
    return Size(steps, nesting, parameters + 2 * last + (last + 1) * classes, products + last * classes, largest)


def _cost(visit: Visit, width: int) -> tuple[int, int]:
    step, entering, leaving = visit.step, features_of(visit.before).at(width), features_of(visit.after).at(width)
    if isinstance(step, Branch):
        if step.merge in (ADD, CONCAT):
            return 0, 0
        first = shapes(step.arms[0], arm_shape(step, visit.before))[-1]
        return 0, elements(first, width) * leaving
    if step in LINEAR:
        return (entering + 1) * leaving, places_of(visit.before).at(width) * entering * leaving
    if step == "norm":
        return 2 * entering, 0
    return (elements(visit.before, width) if step == "position" else 0), 0


@lru_cache(maxsize=50_000)
def canonical_module(module: Module, shape: Shape = START) -> Module:
    """Return the one spelling that stands for all which these rules make equal; applied twice, it changes nothing.

    Steps that do nothing are dropped: identities, groups that are put together again as they were, views that are
    changed and at once changed back, a second relu. Added arms of a clone are sorted. A linear layer is named by what
    it does to its features where that is to keep, double or halve them. What only training makes equal stays apart.
    """
    kept: list[Step] = []
    along = shapes(module, shape)
    for step, before, behind in zip(module, along, along[1:], strict=False):
        if isinstance(step, Branch):
            entry = arm_shape(step, before)
            arms = tuple(canonical_module(arm, entry) for arm in step.arms)
            if step.merge == CONCAT and step.split.startswith("group") and not any(arms):
                continue
            ordered = step.merge != ADD or not step.split.startswith("clone")
            kept.append(Branch(step.split, arms if ordered else tuple(sorted(arms, key=write)), step.merge))
        elif step in LINEAR:
            kept.append(_named(step, features_of(before), features_of(behind)))
        elif step == IDENTITY or (step == "relu" and kept and kept[-1] == step):
            continue
        elif kept and (kept[-1], step) in _UNDONE:
            kept.pop()
        else:
            kept.append(step)
    return tuple(kept)


_UNDONE = {(TRANSPOSE, TRANSPOSE), (IMAGE, "patches_1"), ("patches_1", IMAGE)}


def _named(step: str, before: Extent, behind: Extent) -> str:
    for name, times in (("linear_same", (1, 1)), ("linear_double", (2, 1)), ("linear_half", (1, 2))):
        if before.scaled == behind.scaled and before.times * times[0] == behind.times * times[1]:
            return name
    return step
