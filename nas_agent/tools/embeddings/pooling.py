"""From the hidden states of a text's tokens to one vector: the variants of COLE (Somu et al., 2026, "Pooling").

The paper feeds every fourth layer to a Perceiver that is trained with the head; here the means of every K-th layer
are concatenated, so that an embedding has no trained part. Echo: Springer et al., 2024, arXiv 2402.15449.
"""

from __future__ import annotations

from typing import Any


def layers_read(pooling: str, layers: int) -> list[int]:
    """Return the layers, 1 to `layers`, that a pooling reads; every K-th is counted down from the last."""
    if pooling == "mean-layers":
        return list(range(1, layers + 1))
    if pooling.startswith("every-"):
        return list(range(layers, 0, -int(pooling.removeprefix("every-"))))[::-1]
    return [layers]


def width(pooling: str, hidden: int, layers: int) -> int:
    """Return how long a vector is for a model of `layers` layers, `hidden` wide."""
    return hidden * len(layers_read(pooling, layers)) if pooling.startswith("every-") else hidden


def pool(pooling: str, states: Any, first: int, last: int) -> Any:
    """Return the vector of one text from a list of (tokens, hidden), of which tokens `first` to `last` - 1 count.

    Sums are in float32 whatever the model computes in.
    """
    kept = [layer[first:last].float() for layer in states]
    if pooling == "last-token":
        return kept[0][-1]
    if pooling == "cls":
        return kept[0][0]
    means = [layer.mean(dim=0) for layer in kept]
    if pooling == "mean-layers":
        return sum(means) / len(means)
    if pooling.startswith("every-"):
        import torch

        return torch.cat(means)
    return means[0]
