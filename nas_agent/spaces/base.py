"""What a space must answer. A space of your own subclasses `CategoricalSpace`, which has most answers ready."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal, Protocol, get_args, runtime_checkable

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.cell_graph import CellGraph, Operation
from nas_agent.spaces.features import Floats as Floats

if TYPE_CHECKING:
    from torch import nn

Choices = Mapping[str, str]  # decision name -> the option chosen
# What a decision is about. Principles are translated between spaces where roles and meanings agree.
Role = Literal["operation", "input", "depth", "width", "other"]


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice that a space leaves open, e.g. the operation of an edge."""

    name: str
    options: tuple[str, ...]
    meaning: str = ""  # a few words for prompts and reports, e.g. "the operation from node 0 to node 1"
    role: Role = "other"  # "operation": its options are among the space's `operations`

    def __post_init__(self) -> None:
        given: object = self.options
        if isinstance(given, str):  # its letters would become the options
            raise ValueError(f"decision '{self.name}': options are several texts, got the one text {given!r}")
        object.__setattr__(self, "options", tuple(self.options))
        if not isinstance(self.name, str) or not all(isinstance(option, str) for option in self.options):
            raise ValueError(f"decision '{self.name}': its name and options are texts, got {self.options}")
        if self.role not in get_args(Role):
            raise ValueError(
                f"decision '{self.name}': expected a role of {', '.join(get_args(Role))}, got {self.role!r}"
            )
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"decision '{self.name}' needs distinct options, got {self.options}")


@runtime_checkable
class Space(Protocol):
    """What can be searched. No method changes the space; chance comes in as an argument.

    A space whose architectures are no fixed list of choices, e.g. trees, has no decisions: `choices` is empty, `build`
    refuses, and principles have nothing to constrain. It has its own `mutate` instead: see `Mutates`.
    """

    @property
    def name(self) -> str:
        """The name on the command line and in every record."""
        ...

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What principles may constrain; empty where an architecture is no fixed list of choices."""
        ...

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What the options of decisions with the role "operation" do; empty where there are none."""
        ...

    def sample(self, rng: Random) -> Architecture:
        """Draw uniformly over the decisions, again where that is no architecture; the result is canonical.

        Without decisions, by a rule of its own.
        """
        ...

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield each distinct canonical architecture that differs in one decision; those that are none are left out.

        Without decisions: some that differ in one part, always the same ones.
        """
        ...

    def crossover(self, first: Architecture, second: Architecture, rng: Random) -> Architecture:
        """Take each decision, or without decisions some parts, from one of the two parents."""
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
        """Make the architecture with these options; the inverse of `choices`.

        Raise InvalidArchitecture where they are no architecture together: who draws choices uses `try_build`.
        """
        ...

    def enumerate(self) -> Sequence[Architecture] | None:
        """Return all canonical architectures, or None where they are too many."""
        ...

    def graph(self, architecture: Architecture) -> CellGraph | None:
        """Return the cell as a labelled graph, or None where the space has no cells."""
        ...

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        """Describe the structure by named blocks of numbers, equal lengths for all architectures.

        One name has a meaning: the surrogate expects scores to rise with the first number of a block `size`
        before it has seen any. Leave that block out where larger is not likely to score better.
        """
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


@runtime_checkable
class Mutates(Protocol):
    """What a space without decisions can do besides: nothing else could change an architecture by chance."""

    def mutate(self, architecture: Architecture, rng: Random) -> Architecture:
        """Return a canonical architecture that differs in one part; the same one only where none was found."""
        ...


def is_untrusted(space: Space) -> bool:
    """Tell whether its architectures are program texts that anybody may have written: `untrusted = True`.

    Such a text runs in a sandbox only, and must come whole from `module_source`: a file that defines
    `Network(classes, in_channels, width)`. The space itself is trusted, a user's own too.
    """
    return bool(getattr(space, "untrusted", False))


def try_build(space: Space, choices: Choices) -> Architecture | None:
    """Return the canonical architecture of these choices, or None where together they are none."""
    try:
        return space.canonical(space.build(choices))
    except InvalidArchitecture:
        return None


def short_hash(text: str) -> str:
    """Ten hexadecimal digits of the text's SHA-256: enough for an id that people can type."""
    return hashlib.sha256(text.encode()).hexdigest()[:10]
