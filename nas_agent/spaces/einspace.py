"""`einspace`: networks that a grammar derives, from convolutions to attention and mixers.

    patches_3 > linear_2w > image > norm > relu            a convolution, normalised
    branch(clone2, branch(clone2, linear_same | linear_same, similarity) > softmax | linear_same, product)   attention
    transpose > linear_double > gelu > linear_half > transpose                                     a mixer of tokens

After einspace (Ericsson et al., NeurIPS 2024): sequential, branching, routing and computation modules, drawn by a
probabilistic context-free grammar whose branching rate is below one. What is ours: sizes are multiples of the width;
`similarity` (first times transposed second, over the root of the features) beside the plain `product`, so that
attention needs no transposed arm; a tree sees the 8x8 image of a stem, and a pooling head reads whatever it ends in;
routes are kept flat (see `einspace_tree`). Left out: routing that permutes the axes of an image.

The space has no decisions: a tree is no list of choices of fixed length, so principles have nothing to constrain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, ClassVar

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Choices, Decision, short_hash
from nas_agent.spaces.cell_graph import CellGraph, Operation
from nas_agent.spaces.einspace_features import tree_features
from nas_agent.spaces.einspace_grammar import draw_tree, excess
from nas_agent.spaces.einspace_shapes import START, canonical_module, shapes
from nas_agent.spaces.einspace_source import class_source, module_source
from nas_agent.spaces.einspace_tree import Module, derivation, read, write
from nas_agent.spaces.einspace_variation import TRIES, crossed, mutated
from nas_agent.spaces.features import Floats

if TYPE_CHECKING:
    from torch import nn

NEIGHBOURS = 32  # of the changes that a tree allows, which are without number


class EinSpace:
    """Derivation trees; spellings of one network that `canonical_module` knows share one id."""

    name: ClassVar[str] = "einspace"
    decisions: ClassVar[tuple[Decision, ...]] = ()
    operations: ClassVar[tuple[Operation, ...]] = ()

    def sample(self, rng: Random) -> Architecture:
        """Draw a tree by the grammar; the result is canonical and within the limits."""
        return self._make(draw_tree(START, rng))

    def mutate(self, architecture: Architecture, rng: Random) -> Architecture:
        """Draw one subtree anew; the architecture itself where no change was found that keeps the limits."""
        module = self.tree(architecture)
        for _ in range(TRIES):
            changed = mutated(module, START, rng)
            if changed is not None and (other := self._make(canonical_module(changed))).id != architecture.id:
                return other
        return self.canonical(architecture)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield up to NEIGHBOURS distinct canonical trees that differ in one subtree, always the same ones."""
        rng, seen = Random(architecture.id), {architecture.id}
        origin = self.canonical(architecture)
        for _ in range(TRIES):
            other = self.mutate(origin, rng)
            if other.id not in seen:
                seen.add(other.id)
                yield other
            if len(seen) > NEIGHBOURS:
                return

    def crossover(self, first: Architecture, second: Architecture, rng: Random) -> Architecture:
        """Put a subtree of the second parent in place of one of the first between the same shapes.

        The first parent where no subtree of the two can be exchanged, or where they are one.
        """
        mother, father = self.tree(first), self.tree(second)
        for _ in range(TRIES // 10 if first.id != second.id else 0):
            child = crossed(mother, father, START, rng)
            if child is not None and (made := self._make(canonical_module(child))).id not in (first.id, second.id):
                return made
        return self._make(mother)

    def parse(self, text: str) -> Architecture:
        """Read the notation; raise InvalidArchitecture where it does not fit together or passes a limit."""
        return _parsed(text)

    def format(self, architecture: Architecture) -> str:
        """Write the notation."""
        return architecture.text

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the one spelling that stands for the architecture's class."""
        return self._make(self.tree(architecture))

    def choices(self, architecture: Architecture) -> dict[str, str]:
        """Return nothing: there are no decisions."""
        return {}

    def build(self, choices: Choices) -> Architecture:
        """Refuse: choices are no tree."""
        raise InvalidArchitecture(
            f"space '{self.name}' has no decisions, expected the text of a tree, got choices; "
            "read it with `parse`, or draw one with `sample`"
        )

    def enumerate(self) -> Sequence[Architecture] | None:
        """Return None: there are too many."""
        return None

    def graph(self, architecture: Architecture) -> CellGraph | None:
        """Return None: there are no cells."""
        return None

    def tree(self, architecture: Architecture) -> Module:
        """Return the canonical tree."""
        return canonical_module(read(architecture.text))

    def derivation(self, architecture: Architecture) -> str:
        """Write the rules of the grammar that derive the canonical tree, from the outermost inwards."""
        return derivation(self.tree(architecture))

    def texts(self) -> dict[str, Callable[[Architecture], str]]:
        """Return the texts that this space writes besides those of all spaces."""
        return {"derivation": self.derivation}

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        """Describe the canonical tree by blocks of numbers."""
        return tree_features(self.tree(architecture))

    def source(self, architecture: Architecture) -> str:
        """Write the canonical tree as PyTorch classes, without the stem and the head that all have."""
        return class_source(self.tree(architecture))

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write a file that needs nothing but torch and defines the whole network."""
        module = self.tree(architecture)
        return module_source(write(module), module, classes)

    def network(self, architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = 16) -> nn.Module:
        """Build the network for training: images (B, in_channels, H, W) -> logits (B, classes)."""
        from nas_agent.spaces.einspace_network import Network

        return Network(self.tree(architecture), classes=classes, in_channels=in_channels, width=width)

    def _make(self, canonical: Module) -> Architecture:
        text = write(canonical)
        return Architecture(self.name, text, short_hash(text))


@lru_cache(maxsize=50_000)
def _parsed(text: str) -> Architecture:
    module = read(text)
    shapes(module, START)  # raises where the steps do not fit together
    over = excess(module)
    if over:
        raise InvalidArchitecture(f"expected a tree within the limits, got {over}; propose a smaller one")
    return Architecture(EinSpace.name, write(module), short_hash(write(canonical_module(module))))
