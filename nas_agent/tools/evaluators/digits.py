"""scikit-learn's handwritten digits in three fixed parts: 1,077 images to train, 360 to choose by, 360 to test.

1,797 grey images of 8x8 pixels in 10 classes, part of the package, so that a real training needs no download. The
parts are stratified by class and drawn once with seed 0; mean and spread come from the training part only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_agent.records import Task

TASK = Task(
    name="digits",
    description="image classification on handwritten digits: 8x8 grey images of the ten digits, few training images",
)
CLASSES = 10
_SPLIT_SEED = 0


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the images, unscaled."""

    pixels: NDArray[np.uint8]  # (images, 8, 8), 0 to 16
    labels: NDArray[np.uint8]  # (images,)


@dataclass(frozen=True, slots=True)
class Digits:
    """The three parts, and the training part's statistics."""

    train: Part
    validation: Part
    test: Part
    mean: float
    spread: float


def load_digits() -> Digits:
    """Read and split the images; the same split every time."""
    from sklearn.datasets import load_digits as read
    from sklearn.model_selection import train_test_split

    data = read()
    pixels, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    rest, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=_SPLIT_SEED)
    train, validation = train_test_split(rest, test_size=360, stratify=labels[rest], random_state=_SPLIT_SEED)

    def part(rows: NDArray[np.int64]) -> Part:
        return Part(pixels[rows], labels[rows])

    return Digits(
        part(train), part(validation), part(test), mean=float(pixels[train].mean()), spread=float(pixels[train].std())
    )
