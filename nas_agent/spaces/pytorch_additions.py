"""Intents that add a layer where one fits: a place drawn by chance, and a layer for the shape that is known there."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from nas_agent.spaces.inspection import Sizes
from nas_agent.spaces.pytorch_calls import NotHere
from nas_agent.spaces.pytorch_draft import Draft


def insert(draft: Draft, rng: Random, make: Callable[[Sizes, Random], str | None], what: str) -> Draft:
    """Put a layer at a place drawn by chance among those that can take it."""
    found = [(slot, layer) for slot in draft.slots() if (layer := make(slot.shape, rng)) is not None]
    if not found:
        raise NotHere(f"there is no place for {what} whose input has one known shape")
    slot, layer = rng.choice(found)
    return slot.put(draft, layer)


def convolution(draft: Draft, rng: Random) -> Draft:
    """Add a convolution to a feature map, with or without normalisation and activation."""
    return insert(draft, rng, _convolution, "a convolution: no feature map of several pixels")


def _convolution(shape: Sizes, rng: Random) -> str | None:
    if len(shape) != 3 or min(shape[1:]) < 1:
        return None
    channels = shape[0]
    leaving = rng.choice((8, 16, 24, 32)) if channels <= 4 else rng.choice((channels, channels, 2 * channels))
    leaving = min(leaving, 256)
    kernel = rng.choice((1, 3, 3, 3, 5) if min(shape[1:]) >= 5 else (1, 3) if min(shape[1:]) >= 2 else (1,))
    padding = f", padding={kernel // 2}" if kernel > 1 else ""
    layer = f"nn.Conv2d({channels}, {leaving}, {kernel}{padding})"
    return rng.choice(
        (
            layer,
            f"nn.Sequential({layer}, nn.ReLU())",
            f"nn.Sequential({layer}, nn.BatchNorm2d({leaving}), nn.ReLU())",
        )
    )


def fully_connected(draft: Draft, rng: Random) -> Draft:
    """Add a linear layer to a vector, or to each step of a sequence; the logits stay what they are."""
    return insert(draft, rng, _linear, "a fully connected layer: no vector of features")


def _linear(shape: Sizes, rng: Random) -> str | None:
    if len(shape) not in (1, 2):
        return None
    leaving = rng.choice((16, 32, 64, 128))
    layer = f"nn.Linear({shape[-1]}, {leaving})"
    return rng.choice((layer, f"nn.Sequential({layer}, nn.ReLU())", f"nn.Sequential({layer}, nn.ReLU())"))


def pooling(draft: Draft, rng: Random) -> Draft:
    """Add a pooling of 2 x 2, or where maps are small one of 3 x 3 that keeps the size."""
    return insert(draft, rng, _pooling, "a pooling layer: no feature map of several pixels")


def _pooling(shape: Sizes, rng: Random) -> str | None:
    if len(shape) != 3 or min(shape[1:]) < 2:
        return None
    same = ("nn.MaxPool2d(3, stride=1, padding=1)", "nn.AvgPool2d(3, stride=1, padding=1)")
    return rng.choice(same if min(shape[1:]) < 4 else ("nn.MaxPool2d(2)", "nn.AvgPool2d(2)", *same))


def dropout(draft: Draft, rng: Random) -> Draft:
    """Add dropout anywhere but to the logits."""

    def make(shape: Sizes, rng: Random) -> str:
        kind = "Dropout2d" if len(shape) == 3 and rng.random() < 0.3 else "Dropout"
        return f"nn.{kind}({rng.choice((0.05, 0.1, 0.2, 0.3))})"

    return insert(draft, rng, make, "dropout")


def normalisation(draft: Draft, rng: Random) -> Draft:
    """Add the normalisation that suits the shape."""
    return insert(draft, rng, _norm, "a normalisation layer")


def _norm(shape: Sizes, rng: Random) -> str | None:
    if len(shape) == 3:
        groups = next(g for g in (8, 4, 2, 1) if shape[0] % g == 0)
        return rng.choice((f"nn.BatchNorm2d({shape[0]})",) * 3 + (f"nn.GroupNorm({groups}, {shape[0]})",))
    if len(shape) == 1 and rng.random() < 0.5:
        return f"nn.BatchNorm1d({shape[0]})"
    return f"nn.LayerNorm({shape[-1]})" if len(shape) in (1, 2) and shape[-1] > 1 else None


def recurrent(draft: Draft, rng: Random) -> Draft:
    """Add an LSTM or GRU along each row of a feature map (as ReNet does), or the steps of a sequence."""
    return insert(draft, rng, _recurrent, "a recurrent layer: no feature map and no sequence")


def _recurrent(shape: Sizes, rng: Random) -> str | None:
    cells, hidden = rng.choice(("nn.LSTM", "nn.GRU")), rng.choice((16, 32, 64))
    if len(shape) == 3 and shape[2] > 1:
        return f"Rows({cells}({shape[0]}, {hidden}, batch_first=True))"
    if len(shape) == 2 and shape[0] > 1:
        return f"Steps({cells}({shape[1]}, {hidden}, batch_first=True))"
    return None
