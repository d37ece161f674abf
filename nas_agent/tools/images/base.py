"""Images of one size with their labels, and how they are split: stratified, drawn once with seed 0, the same for ever.

A source gives what it holds, with or without a validation and a test part; `image_task` makes the parts that are
missing, in which every class has its share. Mean and spread come from the training part alone. The test part is a
function: nothing of it is decoded before somebody opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import DataError
from nas_agent.records import Task

SPLIT_SEED = 0
Rows = NDArray[np.int64]


class NoImages(DataError):
    """The images of a known task are not on this machine."""


@dataclass(frozen=True, slots=True)
class Images:
    """Some images, as they were read."""

    pixels: NDArray[np.uint8]  # (images, height, width, channels)
    labels: NDArray[np.int64]  # (images,)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class ImageTask:
    """The parts of a task. Each prefix of the training part holds the classes in proportion."""

    task: Task
    classes: tuple[str, ...]
    train: Images
    validation: Images
    open_test: Callable[[], Images] | None  # reads the test part; None where there is none
    mean: tuple[float, ...]  # of each channel, over the training part, from 0 to 255
    spread: tuple[float, ...]
    split: str  # one line: which images are in which part
    flip: bool = True  # whether the mirror image of an object is still that object

    @property
    def channels(self) -> int:
        """Colours of an image."""
        return int(self.train.pixels.shape[3])


Read = Callable[[], Images]


def image_task(
    task: Task,
    classes: Sequence[str],
    rest: Images,
    *,
    split: str,
    validation: Images | int,
    open_test: Read | None,
    flip: bool = True,
) -> ImageTask:
    """Make the parts of a task; `validation` is a part of its own, or how many of the rest it takes."""
    if isinstance(validation, int):
        kept, chosen = stratified(rest.labels, validation)
        validation, rest = (
            Images(rest.pixels[chosen], rest.labels[chosen]),
            Images(rest.pixels[kept], rest.labels[kept]),
        )
    check(task.name, rest, validation, len(classes))
    order = in_proportion(rest.labels)
    train = Images(np.ascontiguousarray(rest.pixels[order]), rest.labels[order])
    scaled = train.pixels.reshape(-1, train.pixels.shape[3])
    spread = scaled.std(axis=0, dtype=np.float64)
    return ImageTask(
        task,
        tuple(classes),
        train,
        validation,
        open_test,
        mean=tuple(map(float, scaled.mean(axis=0, dtype=np.float64))),
        spread=tuple(float(value) or 1.0 for value in spread),  # one colour throughout
        split=split,
        flip=flip,
    )


def stratified(labels: NDArray[np.int64], count: int) -> tuple[Rows, Rows]:
    """Draw `count` rows, each class in proportion and at least once; return the other rows and these, in order."""
    rng = np.random.default_rng(SPLIT_SEED)
    drawn = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        drawn.append(rows[: max(1, round(count * len(rows) / len(labels)))])
    chosen = np.sort(np.concatenate(drawn))
    return np.setdiff1d(np.arange(len(labels)), chosen), chosen


def in_proportion(labels: NDArray[np.int64]) -> Rows:
    """Order rows so that each prefix holds the classes in proportion: a share of the data is a prefix."""
    rng = np.random.default_rng(SPLIT_SEED)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + rng.random()) / len(rows)
    return np.argsort(place, kind="stable")


def check(name: str, train: Images, validation: Images, classes: int) -> None:
    """Refuse what nothing can be learned from, in one line."""
    if classes < 2:
        raise DataError(f"{name}: expected at least two classes to tell apart, got {classes}")
    for what, part in (("training", train), ("validation", validation)):
        if not len(part):
            raise DataError(f"{name}: expected {what} images, got none")
        check_labels(name, what, part, classes)
    missing = classes - len(np.unique(train.labels))
    if missing:
        raise DataError(f"{name}: {missing} of {classes} classes have no training image; add some, or leave them out")
    check_shape(name, "validation", validation, train)


def check_labels(name: str, what: str, part: Images, classes: int) -> None:
    """Refuse labels outside the classes."""
    if len(part.labels) != len(part.pixels):
        raise DataError(
            f"{name}: expected one label for each of {len(part.pixels)} {what} images, got {len(part.labels)}"
        )
    if len(part) and not 0 <= part.labels.min() <= part.labels.max() < classes:
        raise DataError(
            f"{name}: expected {what} labels from 0 to {classes - 1}, got {part.labels.min()} to {part.labels.max()}"
        )


def check_shape(name: str, what: str, part: Images, train: Images) -> None:
    """Refuse images of another size than those that are trained on."""
    if part.pixels.shape[1:] != train.pixels.shape[1:]:
        sizes = ["x".join(map(str, pixels.shape[1:])) for pixels in (train.pixels, part.pixels)]
        raise DataError(f"{name}: training images are {sizes[0]} and {what} images {sizes[1]}; expected one size")
