"""What a space must answer, and a base class for spaces whose decisions are a fixed list of choices.

A user's own space subclasses `CategoricalSpace` and states its decisions; everything else has a default:

    class Widths(CategoricalSpace):
        name = "widths"
        decisions = (Decision("depth", ("2", "4", "8")), Decision("width", ("16", "32", "64")))
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture

if TYPE_CHECKING:
    from torch import nn

Floats = NDArray[np.float64]
Choices = Mapping[str, str]  # decision name -> the option chosen

# A space with at most this many points is enumerated: its canonical classes are all candidates.
ENUMERABLE = 50_000


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice that a space leaves open, e.g. the operation of an edge."""

    name: str
    options: tuple[str, ...]
    meaning: str = ""  # a few words for prompts and reports, e.g. "the operation from node 0 to node 1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"decision '{self.name}' needs distinct options, got {self.options}")


@runtime_checkable
class Space(Protocol):
    """What can be searched. No method changes the space; chance comes in as an argument."""

    @property
    def name(self) -> str:
        """The name on the command line and in every record."""
        ...

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What principles may constrain."""
        ...

    def sample(self, rng: Random) -> Architecture:
        """Draw uniformly over the decisions; the result is canonical."""
        ...

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield each distinct canonical architecture that differs in one decision."""
        ...

    def crossover(self, first: Architecture, second: Architecture, rng: Random) -> Architecture:
        """Take each decision from one of the two parents."""
        ...

    def parse(self, text: str) -> Architecture:
        """Read the space's notation; raise InvalidArchitecture with advice."""
        ...

    def format(self, architecture: Architecture) -> str:
        """Write the space's notation: what tables, people and models read."""
        ...

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the one representative of the architecture's isomorphism class."""
        ...

    def choices(self, architecture: Architecture) -> dict[str, str]:
        """Return the option of each decision."""
        ...

    def build(self, choices: Choices) -> Architecture:
        """Make the architecture with these options; the inverse of `choices`."""
        ...

    def enumerate(self) -> Sequence[Architecture] | None:
        """Return all canonical architectures, or None where they are too many."""
        ...

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        """Describe the structure by named blocks of numbers, equal lengths for all architectures."""
        ...

    def source(self, architecture: Architecture) -> str:
        """Write the canonical architecture as PyTorch class text: what models read and COLE embeds."""
        ...

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write a Python file that needs nothing but torch and defines the whole network."""
        ...

    def network(self, architecture: Architecture, *, classes: int, in_channels: int, width: int) -> nn.Module:
        """Build the network for training: images (B, in_channels, H, W) -> logits (B, classes)."""
        ...


def short_hash(text: str) -> str:
    """Ten hexadecimal digits of the text's SHA-256: enough for an id that people can type."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]


class CategoricalSpace:
    """A space whose architectures are one option for each of a fixed list of decisions.

    Subclasses set `name` and `decisions`. They override `canonical_key` where different choices can mean
    the same network, `source` and `network` where architectures can be built, and `features` where the
    structure says more than the choices.
    """

    name: ClassVar[str]
    decisions: ClassVar[tuple[Decision, ...]]

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

    def canonical_key(self, options: tuple[str, ...]) -> str:
        """Return a text that is equal exactly for options that mean the same network."""
        return self.write(options)

    def cost(self, options: tuple[str, ...]) -> float:
        """Relative size, by which the cheapest member of an isomorphism class represents it."""
        return 0.0

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

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        """One-hot choices of the canonical architecture, and how often each option occurs."""
        options = self._options(self.canonical(architecture))
        hot = [float(o == option) for d, o in zip(self.decisions, options, strict=True) for option in d.options]
        counts = [float(options.count(name)) for name in self._vocabulary]
        return {"choices": np.array(hot), "counts": np.array(counts)}

    # -- the Space protocol -------------------------------------------------------------------------

    def parse(self, text: str) -> Architecture:
        """Read the space's notation; raise InvalidArchitecture with advice."""
        return self._make(self.read(text))

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
        return self.canonical(self._make(tuple(rng.choice(d.options) for d in self.decisions)))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield each distinct canonical architecture that differs in one decision."""
        options = self._options(architecture)
        seen = {architecture.id}
        for place, decision in enumerate(self.decisions):
            for option in decision.options:
                other = self._make((*options[:place], option, *options[place + 1 :]))
                if other.id not in seen:
                    seen.add(other.id)
                    yield self.canonical(other)

    def crossover(self, first: Architecture, second: Architecture, rng: Random) -> Architecture:
        """Take each decision from one of the two parents."""
        pairs = zip(self._options(first), self._options(second), strict=True)
        return self.canonical(self._make(tuple(rng.choice(pair) for pair in pairs)))

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the cheapest member of the isomorphism class (the architecture itself in a large space)."""
        if not self._enumerable:
            return architecture
        return self._representatives[architecture.id]

    def enumerate(self) -> Sequence[Architecture] | None:
        """Return all canonical architectures, or None where they are too many."""
        return self._classes if self._enumerable else None

    # -- behind the scenes ----------------------------------------------------------------------------

    @cached_property
    def _vocabulary(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(option for d in self.decisions for option in d.options))

    @cached_property
    def _example(self) -> str:
        return self.write(tuple(d.options[0] for d in self.decisions))

    @cached_property
    def _made(self) -> dict[tuple[str, ...], Architecture]:
        return {}

    @cached_property
    def _split(self) -> dict[str, tuple[str, ...]]:
        return {}

    def _make(self, options: tuple[str, ...]) -> Architecture:
        known = self._made.get(options)
        if known is not None:
            return known
        for decision, option in zip(self.decisions, options, strict=True):
            if option not in decision.options:
                raise InvalidArchitecture(
                    f"unknown option {option!r} for '{decision.name}'; choose from {', '.join(decision.options)}"
                )
        architecture = Architecture(self.name, self.write(options), short_hash(self.canonical_key(options)))
        self._made[options] = architecture
        self._split[architecture.text] = options
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
            member, cost = self._make(options), self.cost(options)
            known = best.get(member.id)
            if known is None or cost < known[0]:
                best[member.id] = (cost, member)
        return {key: member for key, (_, member) in best.items()}

    @cached_property
    def _classes(self) -> tuple[Architecture, ...]:
        return tuple(self._representatives.values())
