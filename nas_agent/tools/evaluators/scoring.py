"""From predictions to a score, in the process that asks: the one that trains has never had the labels that it needs.

Predictions travel as the bytes of class numbers, four each: 40 kB for 10,000 images, whatever the number of classes.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from nas_agent.tools.evaluators.candidate import NUMBER
from nas_agent.tools.images import Images


class NoPredictions(ValueError):
    """Bytes that are no class number for each image."""


def accuracy(predictions: bytes, labels: NDArray[np.int64]) -> float:
    """Return the percentage of right ones; NoPredictions, as advice, where it is not one number for each image."""
    expected = np.dtype(NUMBER).itemsize * len(labels)
    if len(predictions) != expected:
        raise NoPredictions(
            f"its process gave {len(predictions)} bytes of predictions, {len(labels)} images have {expected}; "
            "propose a network that returns one row of logits for each image"
        )
    return 100.0 * float((np.frombuffer(predictions, dtype=NUMBER) == labels).mean())


def shuffled(part: Images) -> Images:
    """Return the images in an order that is always the same, and unknown to who has not seen them in theirs.

    Folders are read class by class, and so is what is drawn of them: the order in which images come tells their labels.
    """
    seed = hashlib.blake2b(part.pixels.tobytes(), digest_size=16).digest()
    order = np.random.default_rng(int.from_bytes(seed)).permutation(len(part))
    return Images(part.pixels[order], part.labels[order])
