"""CIFAR-10, CIFAR-100 and ImageNet16-120: official files in a data folder, or the compact `cifar10_30k.npz`.

| task | training | validation | test |
| --- | --- | --- | --- |
| cifar10, official files | 45,000 | 5,000 of the training images | the 10,000 official ones |
| cifar10, cifar10_30k.npz | 20,000 | 5,000 of its training images | its 5,000 |
| cifar100, official files | 45,000 | 5,000 of the training images | the 10,000 official ones |
| ImageNet16-120 | all 151,700 | half of the official validation images, 3,000 | the other half |

Drawn once with seed 0, stratified. Official folders: `cifar-10-batches-py` or `-bin`, `cifar-100-python` or
`-binary`, `ImageNet16`. NAS-Bench-201 draws other halves of the same images. Pickles are read by an allow-list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import DataError
from nas_agent.records import Task
from nas_agent.tools.images.base import Images, ImageTask, check_labels, image_task, stratified
from nas_agent.tools.images.pictures import decoded
from nas_agent.tools.untrusted import read_pickle

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VALIDATION = 5_000
IMAGENET_CLASSES = 120
_SHAPE = (3, 32, 32)

Loader = Callable[[Path, Task], ImageTask]


def _layered(data: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Turn rows of red, green and blue planes into (images, height, width, 3)."""
    return np.ascontiguousarray(data.reshape(-1, 3, side, side).transpose(0, 2, 3, 1))


def _pickled(files: Sequence[Path], label: str, side: int = 32) -> Images:
    pixels, labels = [], []
    for file in files:
        batch = read_pickle(file, encoding="latin1")
        try:
            pixels.append(_layered(np.asarray(batch["data"], dtype=np.uint8), side))
            labels.append(np.asarray(batch[label], dtype=np.int64))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file}: expected a batch with data and {label}; get it again from its authors") from error
    return Images(np.concatenate(pixels), np.concatenate(labels))


def _binary(files: Sequence[Path], label_bytes: int) -> Images:
    """Read records of label bytes, the last of which counts, and 3,072 bytes of an image."""
    size = label_bytes + int(np.prod(_SHAPE))
    records = []
    for file in files:
        try:
            raw = np.fromfile(file, dtype=np.uint8)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror})") from error
        if not len(raw) or len(raw) % size:
            raise DataError(f"{file}: expected records of {size} bytes, got {len(raw)} bytes; it is cut short")
        records.append(raw.reshape(-1, size))
    rows = np.concatenate(records)
    return Images(_layered(rows[:, label_bytes:], 32), rows[:, label_bytes - 1].astype(np.int64))


def _official(
    classes: Sequence[str], train: Callable[[], Images], test: Callable[[], Images], folder: Path, task: Task
) -> ImageTask:
    rest = train()
    check_labels(str(folder), "training", rest, len(classes))
    split = f"{folder.name}: 5,000 of the training images, stratified with seed 0, to choose by; the official test part"
    return image_task(task, classes, rest, validation=VALIDATION, open_test=test, split=split)


def cifar10_python(folder: Path, task: Task) -> ImageTask:
    """Read `cifar-10-batches-py`."""
    files = [folder / f"data_batch_{number}" for number in range(1, 6)]
    return _official(
        CIFAR10, partial(_pickled, files, "labels"), partial(_pickled, [folder / "test_batch"], "labels"), folder, task
    )


def cifar10_binary(folder: Path, task: Task) -> ImageTask:
    """Read `cifar-10-batches-bin`."""
    files = [folder / f"data_batch_{number}.bin" for number in range(1, 6)]
    return _official(
        CIFAR10, partial(_binary, files, 1), partial(_binary, [folder / "test_batch.bin"], 1), folder, task
    )


def cifar100_python(folder: Path, task: Task) -> ImageTask:
    """Read `cifar-100-python`."""
    names = [str(number) for number in range(100)]
    train, test = (partial(_pickled, [folder / part], "fine_labels") for part in ("train", "test"))
    return _official(names, train, test, folder, task)


def cifar100_binary(folder: Path, task: Task) -> ImageTask:
    """Read `cifar-100-binary`."""
    names = [str(number) for number in range(100)]
    train, test = (partial(_binary, [folder / f"{part}.bin"], 2) for part in ("train", "test"))
    return _official(names, train, test, folder, task)


def imagenet16_120(folder: Path, task: Task) -> ImageTask:
    """Read `ImageNet16` (Chrabaszcz et al., 2017): the first 120 of its 1,000 classes; labels count from 1."""

    def first(part: Images) -> Images:
        rows = part.labels <= IMAGENET_CLASSES
        return Images(part.pixels[rows], part.labels[rows] - 1)

    files = [folder / f"train_data_batch_{number}" for number in range(1, 11)]
    rest = first(_pickled(files, "labels", side=16))

    def halves() -> tuple[Images, Images]:
        both = first(_pickled([folder / "val_data"], "labels", side=16))
        kept, drawn = stratified(both.labels, len(both) // 2)
        return Images(both.pixels[drawn], both.labels[drawn]), Images(both.pixels[kept], both.labels[kept])

    split = "ImageNet16: all training images of the first 120 classes; half of the validation images, stratified with "
    split += "seed 0, to choose by; the other half to test"
    names = [str(number) for number in range(IMAGENET_CLASSES)]
    return image_task(task, names, rest, validation=halves()[0], open_test=lambda: halves()[1], split=split)


def cifar10_compact(file: Path, task: Task) -> ImageTask:
    """Read `cifar10_30k.npz`: JPEG images one after the other, `offset`, `label`, `is_train`, `classes`."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            held: dict[str, NDArray[Any]] = {
                key: arrays[key] for key in ("jpeg", "offset", "label", "is_train", "classes")
            }
    except Exception as error:  # zip and numpy raise several kinds for a file that is cut short
        raise DataError(f"{file}: expected the compact CIFAR-10 file, got one that is broken or cut short") from error
    stream, offset = held["jpeg"].tobytes(), held["offset"].astype(int)
    trained = held["is_train"].astype(bool)

    def part(rows: NDArray[np.int64]) -> Images:
        named = ((f"{file.name}, image {row}", stream[offset[row] : offset[row + 1]]) for row in rows)
        return Images(decoded(file.name, named, None), held["label"][rows].astype(np.int64))

    split = f"{file.name}: 5,000 of its 25,000 training images, stratified with seed 0, to choose by; its test part"
    return image_task(
        task,
        tuple(map(str, held["classes"])),
        part(np.flatnonzero(trained)),
        validation=int(trained.sum()) // 5,
        open_test=lambda: part(np.flatnonzero(~trained)),
        split=split,
    )


# For each task: what lies in a data folder, best first, and what reads it.
PUBLISHED: dict[str, tuple[tuple[str, Loader], ...]] = {
    "cifar10": (
        ("cifar-10-batches-py", cifar10_python),
        ("cifar-10-batches-bin", cifar10_binary),
        ("cifar10_30k.npz", cifar10_compact),
    ),
    "cifar100": (("cifar-100-python", cifar100_python), ("cifar-100-binary", cifar100_binary)),
    "ImageNet16-120": (("ImageNet16", imagenet16_120),),
}
