"""What a space of program texts can do besides: sixteen intents by which a text is varied, and what archives bin by.

The intents are the prompt kinds of LLMatic (Nasir et al., 2024, arXiv 2306.01102, section 3), where a language model
carries them out; a space carries them out itself, by rewriting the syntax tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol, runtime_checkable

from nas_agent.records import Architecture


@dataclass(frozen=True, slots=True)
class Intent:
    """One kind of variation."""

    name: str
    wish: str  # what is asked for, as a prompt says it: "Add a layer ..."
    parents: int = 1  # networks that it starts from at least; more than one is a crossover


INTENTS: tuple[Intent, ...] = (
    Intent("add layer", "Add one layer, of a kind of your choice, where it helps most."),
    Intent("delete layer", "Delete one layer that the network can do without."),
    Intent("improve", "Improve the network so that it classifies more images rightly."),
    Intent("smaller", "Improve the network by making it drastically smaller."),
    Intent("larger", "Improve the network by making it drastically larger."),
    Intent("fully connected", "Add a fully connected layer."),
    Intent("convolution", "Add a convolutional layer."),
    Intent("pooling", "Add a pooling layer."),
    Intent("residual", "Add a residual connection around one or more layers."),
    Intent("multi-residual", "Add several residual connections that skip different numbers of layers."),
    Intent("dropout", "Add a dropout layer."),
    Intent("normalisation", "Add a normalisation layer."),
    Intent("recurrent", "Add a recurrent layer, e.g. an LSTM or GRU over the rows of a feature map."),
    Intent("width", "Change the number of channels or features of one or more layers."),
    Intent("activation", "Exchange the activation functions, or add one where there is none."),
    Intent("combine", "Combine the networks into one that has the best parts of each.", parents=2),
)


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What an archive of networks bins by (LLMatic, section 3.1)."""

    width_to_depth: float  # largest number of channels or features of a layer / number of layers with weights
    flops: float  # multiply-adds of one image, as `tools/costs` counts them
    parameters: float


@runtime_checkable
class Varies(Protocol):
    """A space that can carry out intents without a language model."""

    def vary(self, intent: str, parents: Sequence[Architecture], rng: Random) -> Architecture:
        """Return a canonical child; InvalidArchitecture with the reason where this intent cannot be carried out."""
        ...

    def descriptors(self, architecture: Architecture) -> Descriptors:
        """Describe an architecture for archives."""
        ...
