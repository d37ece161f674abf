"""The probabilistic grammar of `einspace`: draws modules that fit.

A module is drawn for the shape that it is given and, where something follows that needs it, for the shape that it has
to end in: the goal of an arm that is added is where the first arm ended. So whatever is drawn fits, and no tree has to
be repaired. The rules and the branching rate below one are those of Ericsson et al. (NeurIPS 2024, section 3); the
goals, and drawing by them, are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from nas_agent.errors import InvalidArchitecture
from nas_agent.spaces.einspace_shapes import (
    Extent,
    Image,
    Shape,
    Size,
    Tokens,
    after,
    arm_shape,
    canonical_module,
    features_of,
    part_of,
    shapes,
    size_of,
    with_features,
)
from nas_agent.spaces.einspace_tree import (
    ADD,
    CONCAT,
    IMAGE,
    MOST_NESTED,
    PAIRED,
    PATCHES,
    PRODUCT,
    SIMILARITY,
    SPLITS,
    TRANSPOSE,
    Branch,
    Module,
    Step,
)

# Chances of the four rules. Mean number of modules that one leads to: two for a sequence, one for a routing, and for a
# branching one or two by its split; their sum, weighed, is the branching rate, and below one draws end.
RULES = {"computation": 0.44, "sequential": 0.22, "branching": 0.14, "routing": 0.20}
COMPUTATIONS = {
    "linear_1w": 3.0, "linear_2w": 4.0, "linear_4w": 3.0, "linear_8w": 1.0,
    "linear_same": 4.0, "linear_double": 2.0, "linear_half": 1.0,
    "norm": 5.0, "relu": 4.0, "gelu": 3.0, "softmax": 1.5, "position": 1.5, "identity": 2.0,
}  # fmt: skip
SPLIT_CHANCES = {"clone2": 5.0, "group2": 2.0, "clone4": 1.0, "group4": 1.5, "clone8": 0.5, "group8": 0.5}
MERGE_CHANCES = {ADD: 4.0, CONCAT: 2.0, PRODUCT: 4.0, SIMILARITY: 1.0}
PATCH_CHANCES = {
    "patches_1": 1.0, "patches_3": 4.0, "patches_3_stride_2": 2.0, "patches_2_stride_2": 1.5, "patches_4_stride_4": 0.5
}  # fmt: skip
DEEPEST = 7  # rules inside each other in a draw; below it only computations
PATIENCE = 200  # modules tried in one draw before it is given up

# The limits of a tree, in a network of the reference width for images of three channels and ten classes.
WIDTH = 16
LEAST_STEPS, LONG_STEPS, MOST_STEPS = 4, 30, 60  # a draw aims at 4 to 30 steps
MOST_PARAMETERS, MOST_PRODUCTS, MOST_ELEMENTS = 1_000_000, 20_000_000, 80_000

Word = TypeVar("Word")


class TooHard(Exception):
    """A draw took too many attempts; it is begun again."""


def draw_tree(shape: Shape, rng: Random) -> Module:
    """Draw a whole tree within the limits: modules one after the other, until a drawn number of steps is reached."""
    while True:
        module: Module = ()
        wanted = rng.randint(LEAST_STEPS, LONG_STEPS)
        while (size := size_of(module, width=WIDTH)).steps < wanted and not excess(module):
            drawn = draw(shapes(module, shape)[-1], None, rng)
            module = canonical_module(module + (drawn or ()))
        if size.steps >= LEAST_STEPS and not excess(module):
            return module


def excess(module: Module) -> str:
    """Say which limit a tree is over; empty where none."""
    size: Size = size_of(module, width=WIDTH)
    limits = (
        ("steps", size.steps, MOST_STEPS),
        ("branches inside each other", size.nesting, MOST_NESTED),
        ("parameters", size.parameters, MOST_PARAMETERS),
        ("multiplications for an image", size.products, MOST_PRODUCTS),
        ("numbers between two steps", size.elements, MOST_ELEMENTS),
    )
    over = [f"{found:,} {what}, at most {most:,} are allowed" for what, found, most in limits if found > most]
    return "; ".join(over)


def draw(shape: Shape, goal: Shape | None, rng: Random, deepest: int = DEEPEST) -> Module | None:
    """Draw a module from one shape to another, or to any; None where none was found."""
    try:
        return _Draw(rng).module(shape, goal, deepest)
    except TooHard:
        return None


class _Draw:
    """One draw, and how much it has tried."""

    def __init__(self, rng: Random) -> None:
        self.rng, self.left = rng, PATIENCE
        self.rules: dict[str, Callable[[Shape, Shape | None, int], Module | None]] = {
            "computation": self._computation,
            "sequential": self._sequential,
            "branching": self._branching,
            "routing": self._routing,
        }

    def module(self, shape: Shape, goal: Shape | None, depth: int) -> Module | None:
        """Try the rules in a drawn order until one leads from the shape to the goal."""
        self.left -= 1
        if self.left < 0:
            raise TooHard
        if depth <= 0:
            return self._computation(shape, goal, depth)
        chances = dict(RULES)
        while chances:
            rule = weighted(chances, self.rng)
            del chances[rule]
            found = self.rules[rule](shape, goal, depth - 1)
            if found is not None:
                return found
        return None

    def _computation(self, shape: Shape, goal: Shape | None, depth: int) -> Module | None:
        fitting = {
            word: chance
            for word, chance in COMPUTATIONS.items()
            if (end := fits(word, shape)) is not None and goal in (None, end)
        }
        return (weighted(fitting, self.rng),) if fitting else None

    def _sequential(self, shape: Shape, goal: Shape | None, depth: int) -> Module | None:
        first = self.module(shape, None, depth)
        if first is None:
            return None
        second = self.module(shapes(first, shape)[-1], goal, depth)
        return None if second is None else first + second

    def _routing(self, shape: Shape, goal: Shape | None, depth: int) -> Module | None:
        both = self.rng.random() < 0.8  # otherwise one of the two sides is the identity
        before: tuple[str, ...]
        behind: tuple[str, ...]
        if isinstance(shape, Image):
            cuts = {word: chance for word, chance in PATCH_CHANCES.items() if fits(word, shape) is not None}
            if not cuts:
                return None
            before, behind = (weighted(cuts, self.rng),), (IMAGE,) if both else ()
        elif both:
            before, behind = (TRANSPOSE,), (TRANSPOSE,)
        else:
            before, behind = self.rng.choice((((TRANSPOSE,), ()), ((), (TRANSPOSE,)), ((), (IMAGE,))))
        entry = shapes(before, shape)[-1]
        wanted = goal
        if goal is not None and behind:
            wanted = _before(behind[0], goal)
            if wanted is None:
                return None
        inner = self.module(entry, wanted, depth)
        if inner is None or (behind and fits(behind[0], shapes(inner, entry)[-1]) is None):
            return None
        return before + inner + behind

    def _branching(self, shape: Shape, goal: Shape | None, depth: int) -> Module | None:
        splits = {split: c for split, c in SPLIT_CHANCES.items() if split_fits(split, shape)}
        split = weighted(splits, self.rng)
        matrices = SPLITS[split] == 2 and isinstance(shape, Tokens) and not isinstance(goal, Image)
        merge = weighted({m: c for m, c in MERGE_CHANCES.items() if matrices or m not in PAIRED}, self.rng)
        entry = arm_shape(Branch(split, (), merge), shape)
        arms = self._arms(entry, goal, merge, SPLITS[split], depth)
        return None if arms is None else (Branch(split, arms, merge),)

    def _arms(self, entry: Shape, goal: Shape | None, merge: str, ways: int, depth: int) -> tuple[Module, ...] | None:
        if merge in PAIRED:
            assert isinstance(entry, Tokens)
            assert not isinstance(goal, Image)
            return self._factors(entry, goal, merge, depth)
        first_goal = goal
        if goal is not None and merge == CONCAT:
            try:
                first_goal = with_features(goal, part_of(features_of(goal), ways, merge))
            except InvalidArchitecture:
                return None
        first = self.module(entry, first_goal, depth)
        if first is None or ways > 2:
            return None if first is None else (first,)
        second = self.module(entry, shapes(first, entry)[-1], depth)
        return None if second is None else (first, second)

    def _factors(self, entry: Tokens, goal: Tokens | None, merge: str, depth: int) -> tuple[Module, ...] | None:
        """Draw two arms whose results can be multiplied as matrices."""
        length, outer = entry if goal is None else goal
        inner = self.rng.choice(entry)
        if merge == SIMILARITY:
            goals = Tokens(length, inner), Tokens(entry.length if goal is None else outer, inner)
        else:
            goals = Tokens(length, inner), Tokens(inner, outer)
        if merge == PRODUCT and length == inner == entry.length:
            first = self._weights(entry, depth)
        else:
            first = self.module(entry, goals[0], depth)
        second = None if first is None else self.module(entry, goals[1], depth)
        return None if first is None or second is None else (first, second)

    def _weights(self, entry: Tokens, depth: int) -> Module | None:
        """Draw how much each token takes of each: no computation leads there, so chance alone seldom would."""
        arms = self._factors(entry, Tokens(entry.length, entry.length), SIMILARITY, depth - 1)
        if arms is None:
            return None
        rest: Module = ("softmax",) if self.rng.random() < 0.7 else ()
        return (Branch("clone2", arms, SIMILARITY), *rest)


def fits(step: Step, shape: Shape) -> Shape | None:
    """Return the shape after a step, or None where it cannot stand there."""
    try:
        return after(step, shape)
    except InvalidArchitecture:
        return None


def split_fits(split: str, shape: Shape) -> bool:
    """Tell whether the features can be divided as the split does."""
    return split.startswith("clone") or features_of(shape).times % SPLITS[split] == 0


def _before(routing: str, goal: Shape) -> Shape | None:
    """Return the only shape that a step back leads from to the goal."""
    if routing == TRANSPOSE:
        return None if isinstance(goal, Image) else Tokens(goal.features, goal.length)
    if isinstance(goal, Tokens) or goal.height != goal.width:
        return None
    return Tokens(Extent(goal.height * goal.width, False), goal.channels)


def weighted(chances: dict[Word, float], rng: Random) -> Word:
    """Draw one by its chance."""
    return rng.choices(list(chances), list(chances.values()))[0]


def branching_rate() -> float:
    """Return how many modules a module leads to on average, before shapes have their say."""
    two = sum(chance for split, chance in SPLIT_CHANCES.items() if SPLITS[split] == 2) / sum(SPLIT_CHANCES.values())
    return 2 * RULES["sequential"] + (1 + two) * RULES["branching"] + RULES["routing"]


assert set(PATCH_CHANCES) == set(PATCHES)
