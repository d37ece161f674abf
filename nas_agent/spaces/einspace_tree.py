"""Derivation trees of the space `einspace`: what they are made of, and how they are read and written.

    patches_3 > linear_2w > image > norm > branch(clone2, relu | identity, add)

A module is a sequence of steps. A step computes (`linear_2w`), routes (`patches_3`, `image`, `transpose`), or branches:
split, arms, merge. The grammar has one more rule than the tree has kinds of node: routing, which is a step that changes
the view, a module, and a step that changes it back. Since a sequence of sequences is a sequence, the tree is kept flat,
and `derivation` finds the routing rules again; `route(patches_3, linear_2w, image)` is read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from nas_agent.errors import InvalidArchitecture

IDENTITY, TRANSPOSE, IMAGE = "identity", "transpose", "image"
LINEAR = (
    "linear_1w",
    "linear_2w",
    "linear_4w",
    "linear_8w",
    "linear_same",
    "linear_double",
    "linear_half",
)
COMPUTATION = (*LINEAR, "norm", "relu", "gelu", "softmax", "position", IDENTITY)
# Side of a patch and stride; a patch of side 3 is padded by one pixel.
PATCHES = {
    "patches_1": (1, 1),
    "patches_2_stride_2": (2, 2),
    "patches_3": (3, 1),
    "patches_3_stride_2": (3, 2),
    "patches_4_stride_4": (4, 4),
}
ROUTING = (*PATCHES, TRANSPOSE, IMAGE)
WORDS = (*COMPUTATION, *ROUTING)
# How many arms get a part of the features (group) or all of them (clone).
SPLITS = {"clone2": 2, "clone4": 4, "clone8": 8, "group2": 2, "group4": 4, "group8": 8}
ADD, CONCAT, PRODUCT, SIMILARITY = "add", "concat", "product", "similarity"
MERGES = (ADD, CONCAT, PRODUCT, SIMILARITY)
PAIRED = (PRODUCT, SIMILARITY)  # of two arms only
MOST_NESTED = 5  # branches inside each other
MOST_ROUTES = 30  # routes inside each other, as they may be written
LONGEST_TEXT = 20_000  # characters: far more than any tree within the limits needs
_TOKEN = re.compile(r"\s*([a-z0-9_]+|[(),|>])")
_SHAPE = "steps such as 'patches_3 > linear_2w > image > branch(clone2, relu | identity, add)'"


class Branch(NamedTuple):
    """Split what comes, send it through the arms, merge the results.

    With two ways, two arms that may differ; with four or eight, one arm that is built so many times, each with
    weights of its own.
    """

    split: str
    arms: tuple[Module, ...]
    merge: str

    @property
    def ways(self) -> int:
        """How many arms are built."""
        return SPLITS[self.split]

    @property
    def copies(self) -> int:
        """How often each arm is built."""
        return self.ways // len(self.arms)


Step = str | Branch
Module = tuple[Step, ...]


def write(module: Module) -> str:
    """Write a module; the empty one is `identity`."""
    return " > ".join(_write_step(step) for step in module) or IDENTITY


def _write_step(step: Step) -> str:
    if isinstance(step, str):
        return step
    return f"branch({step.split}, {' | '.join(map(write, step.arms))}, {step.merge})"


@lru_cache(maxsize=50_000)
def read(text: str) -> Module:
    """Read what `write` writes, and routes; raise InvalidArchitecture. Shapes are not looked at."""
    if len(text) > LONGEST_TEXT:
        raise InvalidArchitecture(f"expected {_SHAPE}, got {len(text):,} characters; write a smaller tree")
    return _Reader(text).whole()


class _Reader:
    """Reads a text from left to right, one token ahead."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, place = text, list[str](), 0
        self.nested = self.routes = 0  # branches and routes that are open
        text = text.rstrip()
        while place < len(text):
            found = _TOKEN.match(text, place)
            if found is None:
                raise self._fault(f"found {text[place : place + 20]!r}")
            self.tokens.append(found[1])
            place = found.end()
        self.tokens.append("")  # the end

    def whole(self) -> Module:
        module = self._module()
        if self.tokens[0]:
            raise self._fault(f"found '{self.tokens[0]}' after the end")
        return module

    def _module(self) -> Module:
        steps = list(self._step())
        while self.tokens[0] == ">":
            self._take(">")
            steps += self._step()
        return () if steps == [IDENTITY] else tuple(steps)

    def _step(self) -> Module:
        word = self.tokens.pop(0) if self.tokens[0] else ""
        if word == "branch":
            return (self._branch(),)
        if word == "route":
            return self._route()
        if word not in WORDS:
            if not word or not word[0].isalnum():
                raise self._fault(f"found {word or 'the end'!r} in place of a step")
            raise InvalidArchitecture(f"unknown step '{word[:50]}'; choose from {', '.join(WORDS)}, or branch(…)")
        return (word,)

    def _branch(self) -> Branch:
        self.nested += 1
        if self.nested > MOST_NESTED:
            raise InvalidArchitecture(
                f"expected at most {MOST_NESTED} branches inside each other; write a smaller tree"
            )
        self._take("(")
        split = self._one_of("split", tuple(SPLITS))
        self._take(",")
        arms = [self._module()]
        while self.tokens[0] == "|":
            self._take("|")
            arms.append(self._module())
        self._take(",")
        merge = self._one_of("merge", MERGES)
        self._take(")")
        self.nested -= 1
        wanted = 2 if SPLITS[split] == 2 else 1
        if len(arms) != wanted:
            raise InvalidArchitecture(
                f"expected {wanted} arm(s) after '{split}', got {len(arms)}; with 4 or 8 ways, "
                "one arm is written, and built so many times"
            )
        if merge in PAIRED and SPLITS[split] != 2:
            raise InvalidArchitecture(f"expected two arms for '{merge}', got {SPLITS[split]}; choose add or concat")
        return Branch(split, tuple(arms), merge)

    def _route(self) -> Module:
        self.routes += 1
        if self.routes > MOST_ROUTES:
            raise InvalidArchitecture(f"expected at most {MOST_ROUTES} routes inside each other; write a smaller tree")
        self._take("(")
        before = self._one_of("routing", (*ROUTING, IDENTITY))
        self._take(",")
        inner = self._module()
        self._take(",")
        after = self._one_of("routing", (*ROUTING, IDENTITY))
        self._take(")")
        self.routes -= 1
        return (before, *inner, after)

    def _one_of(self, what: str, words: tuple[str, ...]) -> str:
        word = self.tokens.pop(0) if self.tokens[0] else "the end"
        if word not in words:
            raise InvalidArchitecture(f"unknown {what} '{word[:50]}'; choose from {', '.join(words)}")
        return word

    def _take(self, token: str) -> None:
        if self.tokens[0] != token:
            raise self._fault(f"found {self.tokens[0] or 'the end'!r} in place of '{token}'")
        self.tokens.pop(0)

    def _fault(self, what: str) -> InvalidArchitecture:
        return InvalidArchitecture(f"expected {_SHAPE}, got {self.text[:200]!r}: {what}")


class Routing(NamedTuple):
    """The grammar's routing rule: change the view, compute, change it back; IDENTITY where one side does nothing."""

    before: str
    inner: tuple[Rule, ...]
    after: str


class Branching(NamedTuple):
    """The grammar's branching rule."""

    split: str
    arms: tuple[tuple[Rule, ...], ...]
    merge: str


Rule = str | Routing | Branching  # a text is a computation


def derive(module: Module) -> tuple[Rule, ...]:
    """Find the rules that lead to a module: a change of view pairs with the next one that takes it back."""
    done: list[list[Rule]] = [[]]
    opened: list[str] = []
    for step in module:
        if isinstance(step, Branch):
            done[-1].append(Branching(step.split, tuple(derive(arm) for arm in step.arms), step.merge))
        elif step in ROUTING and opened and step == _closing(opened[-1]):
            inner = tuple(done.pop())
            done[-1].append(Routing(opened.pop(), inner, step))
        elif step == IMAGE:
            done[-1].append(Routing(IDENTITY, (), step))
        elif step in ROUTING:
            opened.append(step)
            done.append([])
        else:
            done[-1].append(step)
    while opened:  # never taken back: the rule whose last part is the identity
        inner = tuple(done.pop())
        done[-1].append(Routing(opened.pop(), inner, IDENTITY))
    return tuple(done[0])


def _closing(opening: str) -> str:
    return TRANSPOSE if opening == TRANSPOSE else IMAGE


def derivation(module: Module) -> str:
    """Write the derivation with the names of the rules, from the outermost inwards."""
    return _write_rules(derive(module))


def _write_rules(rules: tuple[Rule, ...]) -> str:
    parts = list(_each_rule(rules)) or [f"computation({IDENTITY})"]
    return parts[0] if len(parts) == 1 else f"sequential({', '.join(parts)})"


def _each_rule(rules: tuple[Rule, ...]) -> Iterator[str]:
    for rule in rules:
        match rule:
            case Branching(split, arms, merge):
                yield f"branching({split}, {', '.join(map(_write_rules, arms))}, {merge})"
            case Routing(before, inner, after):
                yield f"routing({before}, {_write_rules(inner)}, {after})"
            case _:
                yield f"computation({rule})"
