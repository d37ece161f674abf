"""A base class for spaces whose decisions are a fixed list of choices.

A user's own space subclasses `CategoricalSpace` and states its decisions; everything else has a default:

    class Widths(CategoricalSpace):
        name = "widths"
        decisions = (Decision("depth", ("2", "4", "8")), Decision("width", ("16", "32", "64")))
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Choices, Decision, short_hash
from nas_agent.spaces.cell_graph import CellGraph, Operation
from nas_agent.spaces.features import Floats, size_block, structure_features

if TYPE_CHECKING:
    from torch import nn

# A space with at most this many points is enumerated: its canonical classes are all candidates.
ENUMERABLE = 50_000
# Architectures that a larger space remembers at once: more than a round proposes or a table of it lists.
REMEMBERED = 50_000
# Draws of a sample or a child before a space settles for none, where not all options go together.
REDRAWS = 1000

Key = TypeVar("Key")
Value = TypeVar("Value")


class CategoricalSpace:
    """A space whose architectures are one option for each of a fixed list of decisions.

    Subclasses set `name` and `decisions`. They override `canonical_options` or `canonical_key` where different
    choices can mean the same network, `graph` where an architecture is a cell, and `source` and `network` where
    it can be built.
    """

    name: ClassVar[str]
    decisions: ClassVar[tuple[Decision, ...]]
    operations: ClassVar[tuple[Operation, ...]] = ()

    # -- what a subclass may override -------------------------------------------------------------

    def write(self, options: tuple[str, ...]) -> str:
        """Write the notation of these options, in the order of `decisions`."""
        return ",".join(f"{d.name}={o}" for d, o in zip(self.decisions, options, strict=True))

    def read(self, text: str) -> tuple[str, ...]:
        """Read the notation; raise InvalidArchitecture where it cannot be split into decisions."""
        given: dict[str, str] = {}
        for part in text.strip().split(","):
            name, equals, option = (piece.strip() for piece in part.partition("="))
            if not equals or name in given:
                raise InvalidArchitecture(f"expected '{self._example}', got {text!r}")
            given[name] = option
        if set(given) != {d.name for d in self.decisions}:
            raise InvalidArchitecture(f"expected each decision once, as in '{self._example}', got {text!r}")
        return tuple(given[d.name] for d in self.decisions)

    def check(self, options: tuple[str, ...]) -> None:
        """Raise InvalidArchitecture where these options together are no architecture; by default all are."""

    def canonical_options(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """Return the options that stand for all those that mean the same network; applied twice, it changes nothing.

        A space in which different choices can mean the same network must override this one if it has more than
        ENUMERABLE points: where the classes cannot be listed, nothing else leads to one representative.
        """
        return options

    def canonical_key(self, options: tuple[str, ...]) -> str:
        """Return a text that is equal exactly for options that mean the same network.

        To override this one instead of `canonical_options` is enough in a space that is listed.
        """
        return self.write(self.canonical_options(options))

    def cost(self, options: tuple[str, ...]) -> float:
        """Relative size: in a listed space, the cheapest member of an isomorphism class represents it."""
        return 0.0

    def graph(self, architecture: Architecture) -> CellGraph | None:
        """Return the cell as a labelled graph, from which its features follow; None where there are no cells."""
        return None

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        """Return sizes known without training, e.g. parameters and FLOPs: the features hold their logs.

        The surrogate expects scores to rise with the first one before it has seen any. Give none where that is
        not likely: for an error or a latency, or where size has nothing to do with the metric.
        """
        return ()

    def source(self, architecture: Architecture) -> str:
        """Write the choices as a PyTorch class text; a subclass with a network spells it out."""
        lines = [f"    {d} = {o!r}" for d, o in self.choices(self.canonical(architecture)).items()]
        return "\n".join(["class Network(nn.Module):", *lines])

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write the class text with its imports; a subclass with a network writes all of it."""
        return f'"""{architecture.text}"""\n\nfrom torch import nn\n\n\n{self.source(architecture)}\n'

    def network(self, architecture: Architecture, *, classes: int, in_channels: int, width: int) -> nn.Module:
        """Refuse: this space can be searched by a table only."""
        raise InvalidArchitecture(
            f"space '{self.name}' has no network to train; give its class a method 'network', or use a table"
        )

    def describe(self, architecture: Architecture) -> dict[str, Floats]:
        """Structure of a canonical cell's graph; without one, its choices and option counts; logs of the sizes.

        A subclass may add blocks of its own; `features` remembers what this returns.
        """
        graph = self.graph(architecture)
        return self._counted(architecture) if graph is None else structure_features(graph, self.sizes(architecture))

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        """Describe the architecture's class by blocks of numbers; one block is known to the surrogate: see `Space`."""
        known = self._described.get(architecture.id)
        if known is None:
            known = self.describe(self.canonical(architecture))
            self._remember(self._described, architecture.id, known)
        return known

    # -- the Space protocol -------------------------------------------------------------------------

    def parse(self, text: str) -> Architecture:
        """Read the space's notation; raise InvalidArchitecture with advice."""
        known = self._split.get(text)
        return self._make(self.read(text) if known is None else known)

    def format(self, architecture: Architecture) -> str:
        """Write the space's notation."""
        return architecture.text

    def choices(self, architecture: Architecture) -> dict[str, str]:
        """Return the option of each decision."""
        return {d.name: o for d, o in zip(self.decisions, self._options(architecture), strict=True)}

    def build(self, choices: Choices) -> Architecture:
        """Make the architecture with these options; the inverse of `choices`."""
        names = [d.name for d in self.decisions]
        if set(choices) != set(names):
            raise InvalidArchitecture(f"expected one option for each of {', '.join(names)}, got {dict(choices)}")
        return self._make(tuple(choices[name] for name in names))

    def sample(self, rng: Random) -> Architecture:
        """Draw uniformly over the decisions; the result is canonical."""
        for _ in range(REDRAWS):
            drawn = self.made(tuple(rng.choice(d.options) for d in self.decisions))
            if drawn is not None:
                return self.canonical(drawn)
        raise InvalidArchitecture(
            f"space '{self.name}': {REDRAWS:,} draws of its decisions gave no architecture; "
            "give its class a method 'sample' that does"
        )

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield each distinct canonical architecture that differs in one decision."""
        options = self._options(architecture)
        seen = {architecture.id}
        for place, decision in enumerate(self.decisions):
            for option in decision.options:
                other = self.made((*options[:place], option, *options[place + 1 :]))
                if other is not None and other.id not in seen:
                    seen.add(other.id)
                    yield self.canonical(other)

    def crossover(self, first: Architecture, second: Architecture, rng: Random) -> Architecture:
        """Take each decision from one of the two parents; the first parent where that is no architecture too often."""
        pairs = list(zip(self._options(first), self._options(second), strict=True))
        for _ in range(REDRAWS):
            child = self.made(tuple(rng.choice(pair) for pair in pairs))
            if child is not None:
                return self.canonical(child)
        return self.canonical(first)

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the cheapest member of the isomorphism class; in a large space, that of `canonical_options`."""
        if not self._enumerable:
            return self._make(self.canonical_options(self._options(architecture)))
        return self._representatives[architecture.id]

    def enumerate(self) -> Sequence[Architecture] | None:
        """Return all canonical architectures, or None where they are too many."""
        return self._classes if self._enumerable else None

    def made(self, options: tuple[str, ...]) -> Architecture | None:
        """Make the architecture with these options, or None where together they are none."""
        try:
            return self._make(options)
        except InvalidArchitecture:
            return None

    # -- behind the scenes ----------------------------------------------------------------------------

    @cached_property
    def _vocabulary(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(option for d in self.decisions for option in d.options))

    @cached_property
    def _example(self) -> str:
        return self.write(tuple(d.options[0] for d in self.decisions))

    @cached_property
    def _columns(self) -> tuple[tuple[int, dict[str, int]], ...]:
        """For each decision: where its one-hot options begin, and the place of each among them."""
        ends = itertools.accumulate(len(d.options) for d in self.decisions)
        places = ({option: place for place, option in enumerate(d.options)} for d in self.decisions)
        return tuple((end - len(place), place) for end, place in zip(ends, places, strict=True))

    def _counted(self, architecture: Architecture) -> dict[str, Floats]:
        options = self._options(architecture)
        hot = np.zeros(sum(len(d.options) for d in self.decisions))
        hot[[start + place[option] for (start, place), option in zip(self._columns, options, strict=True)]] = 1.0
        counts = np.array([float(options.count(name)) for name in self._vocabulary])
        return {"choices": hot, "counts": counts, **size_block(self.sizes(architecture))}

    # Caches: what was made from options, the options of a text, the features of a class.

    @cached_property
    def _made(self) -> dict[tuple[str, ...], Architecture]:
        return {}

    @cached_property
    def _split(self) -> dict[str, tuple[str, ...]]:
        return {}

    @cached_property
    def _described(self) -> dict[str, dict[str, Floats]]:
        return {}

    def _remember(self, cache: dict[Key, Value], key: Key, value: Value) -> None:
        """Add to a cache; one that is full starts again, so that a long search of a large space stays small."""
        if len(cache) >= (ENUMERABLE if self._enumerable else REMEMBERED):
            cache.clear()
        cache[key] = value

    def _make(self, options: tuple[str, ...]) -> Architecture:
        known = self._made.get(options)
        if known is not None:
            return known
        for (_, place), decision, option in zip(self._columns, self.decisions, options, strict=True):
            if option not in place:
                raise InvalidArchitecture(
                    f"unknown option {option!r} for '{decision.name}'; choose from {', '.join(decision.options)}"
                )
        self.check(options)
        architecture = Architecture(self.name, self.write(options), short_hash(self.canonical_key(options)))
        self._remember(self._made, options, architecture)
        self._remember(self._split, architecture.text, options)
        return architecture

    def _options(self, architecture: Architecture) -> tuple[str, ...]:
        known = self._split.get(architecture.text)
        if known is None:
            known = self.read(architecture.text)
            self._make(known)
        return known

    @cached_property
    def _enumerable(self) -> bool:
        return math.prod(len(d.options) for d in self.decisions) <= ENUMERABLE

    @cached_property
    def _representatives(self) -> dict[str, Architecture]:
        """Isomorphism class id -> its cheapest member; the first in enumeration order among equals."""
        best: dict[str, tuple[float, Architecture]] = {}
        for options in itertools.product(*(d.options for d in self.decisions)):
            member, cost = self.made(options), self.cost(options)
            if member is None:
                continue
            known = best.get(member.id)
            if known is None or cost < known[0]:
                best[member.id] = (cost, member)
        return {key: member for key, (_, member) in best.items()}

    @cached_property
    def _classes(self) -> tuple[Architecture, ...]:
        return tuple(self._representatives.values())
