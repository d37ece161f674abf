"""`hf:REPO` or `hf:REPO@CONFIG`: a data set of images of the Hugging Face hub, or a folder of one, by `datasets`.

It needs a column of images and a column of class labels; where there are several of labels, the one with most
classes counts. Splits `validation` (or `val`, `valid`) and `test` are taken as they are; what is missing is split off
as for `folder:PATH`.
"""

from __future__ import annotations

import importlib.util
import io
from typing import Any

import numpy as np

from nas_agent.errors import DataError, MissingExtra
from nas_agent.records import Task
from nas_agent.tools.images.base import Images, ImageTask, check_labels, check_shape, image_task, stratified
from nas_agent.tools.images.folder import SHARE
from nas_agent.tools.images.folder import VALIDATION as VALIDATION_NAMES
from nas_agent.tools.images.pictures import decoded, is_grey

# Published tasks that lie on the hub.
REPOSITORIES = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}


def installed() -> bool:
    """Tell whether `datasets` is there."""
    return importlib.util.find_spec("datasets") is not None


def hub_task(spec: str, resolution: int | None, task: Task | None = None) -> ImageTask:
    """Download, or read from the cache, and decode."""
    if not installed():
        raise MissingExtra("datasets", "hub", f"--task hf:{spec}")
    import datasets

    repository, _, config = spec.partition("@")
    try:
        parts: Any = datasets.load_dataset(repository, config or None)
    except Exception as error:  # the hub, its client and the files of a repository fail in many ways
        why = " ".join(str(error).split())[:300]
        raise DataError(f"hf:{spec}: the data set cannot be loaded ({type(error).__name__}: {why})") from error
    return hub_parts(f"hf:{spec}", parts, resolution, task)


def hub_parts(name: str, parts: Any, resolution: int | None, task: Task | None = None) -> ImageTask:
    """Make a task of a DatasetDict."""
    import datasets

    if "train" not in parts:
        raise DataError(f"{name}: expected a split called train, got {', '.join(parts)}")
    features = parts["train"].features
    images = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    labels = {key: feature for key, feature in features.items() if isinstance(feature, datasets.ClassLabel)}
    if not images or not labels:
        raise DataError(f"{name}: expected a column of images and one of class labels, got {', '.join(features)}")
    image, label = images[0], max(labels, key=lambda key: int(labels[key].num_classes))
    classes = tuple(labels[label].names)
    parts = parts.cast_column(image, datasets.Image(decode=False))
    grey = is_grey(name, _bytes(parts["train"][0][image]))

    def read(split: str) -> Images:
        rows = parts[split]
        sources = ((f"{name}, {split} image {place}", _bytes(row[image])) for place, row in enumerate(rows))
        return Images(decoded(name, sources, resolution, grey=grey), np.array(rows[label], dtype=np.int64))

    rest, tested = read("train"), None
    check_labels(name, "training", rest, len(classes))
    if "test" not in parts:
        kept, drawn = stratified(rest.labels, len(rest) // SHARE)
        tested = Images(rest.pixels[drawn], rest.labels[drawn])
        rest = Images(rest.pixels[kept], rest.labels[kept])

    def open_test() -> Images:
        part = tested if tested is not None else read("test")
        check_labels(name, "test", part, len(classes))
        check_shape(name, "test", part, rest)
        return part

    own = next((split for split in VALIDATION_NAMES if split in parts), None)
    size = "x".join(map(str, rest.pixels.shape[2:0:-1]))
    told = Task(name, f"image classification on {name[3:]}: {len(classes)} classes of images of {size} pixels")
    split = (
        f"test part: {'a tenth' if tested is not None else 'as published'}; "
        f"validation part: {'as published' if own else 'a tenth of the others'}; stratified, seed 0"
    )
    validation = read(own) if own else len(rest) // SHARE
    return image_task(task or told, classes, rest, validation=validation, open_test=open_test, split=split)


def _bytes(cell: Any) -> bytes:
    """Return the encoded image of a row; `datasets` keeps its bytes or where they lie."""
    if cell["bytes"] is not None:
        return bytes(cell["bytes"])
    with open(cell["path"], "rb") as file:
        return io.BytesIO(file.read()).getvalue()
