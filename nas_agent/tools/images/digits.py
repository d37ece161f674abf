"""scikit-learn's handwritten digits in three fixed parts: 1,077 images to train, 360 to choose by, 360 to test.

1,797 grey images of 8x8 pixels in 10 classes, part of the package, so that a real training needs no download. The
parts are stratified by class and drawn once with seed 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nas_agent.records import Task
from nas_agent.tools.images.base import SPLIT_SEED, Images, ImageTask, image_task

TASK = Task(
    name="digits",
    description="image classification on handwritten digits: 8x8 grey images of the ten digits, few training images",
)
CLASSES = tuple("0123456789")
PART = 360


def digits_task() -> ImageTask:
    """Read and split the images; the same split every time."""
    rest, validation, _ = _parts()
    split = "scikit-learn's digits: 1,077 to train, 360 to choose by, 360 to test, stratified, seed 0"
    return image_task(
        TASK, CLASSES, rest, validation=validation, open_test=lambda: _parts()[2], split=split, flip=False
    )


def _parts() -> tuple[Images, Images, Images]:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    pixels, labels = data.images.astype(np.uint8)[..., None], data.target.astype(np.int64)  # from 0 to 16
    rest, test = train_test_split(np.arange(len(labels)), test_size=PART, stratify=labels, random_state=SPLIT_SEED)
    train, validation = train_test_split(rest, test_size=PART, stratify=labels[rest], random_state=SPLIT_SEED)

    def part(rows: NDArray[np.int64]) -> Images:
        return Images(pixels[rows], labels[rows])

    return part(train), part(validation), part(test)
