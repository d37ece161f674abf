"""`npz:PATH`: arrays of images and labels in one file of numpy.

`x_train` and `y_train`, with or without `x_val`, `y_val`, `x_test`, `y_test`; or the same as `train_images`,
`train_labels`, ... (as MedMNIST names them); or `images` and `labels` alone. Images are (N, H, W) or (N, H, W, C),
whole numbers from 0 to 255 or fractions from 0 to 1; labels whole numbers from 0. Missing parts are split off as
for `folder:PATH`.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import DataError
from nas_agent.records import Task
from nas_agent.tools.images.base import Images, ImageTask, check_labels, check_shape, image_task, stratified
from nas_agent.tools.images.folder import FEWEST, SHARE

NAMES = (("x_{}", "y_{}"), ("{}_images", "{}_labels"))
WHOLE = ("images", "labels")


def npz_task(path: Path, resolution: int | None) -> ImageTask:
    """Read the arrays of a file; those of the test part only when it is opened."""
    name = f"npz:{path}"
    held = _names(path)
    pairs = {part: pair for part in ("train", "val", "test") if (pair := _pair(held, part)) is not None}
    if "train" not in pairs and not set(WHOLE) <= held:
        raise DataError(
            f"{name}: expected arrays x_train and y_train, or images and labels, got {', '.join(sorted(held)[:8])}"
        )
    rest = _read(path, *pairs.get("train", WHOLE), resolution)
    count = int(rest.labels.max()) + 1 if len(rest) else 0
    check_labels(name, "training", rest, max(count, 1))
    tested: Images | None = None
    if "train" not in pairs:
        if len(rest) and np.bincount(rest.labels).min() < FEWEST:
            raise DataError(f"{name}: expected at least {FEWEST} images of each class, got fewer of some")
        rows, drawn = stratified(rest.labels, len(rest) // SHARE)
        tested = Images(rest.pixels[drawn], rest.labels[drawn])
        rest = Images(rest.pixels[rows], rest.labels[rows])

    def open_test() -> Images:
        part = tested if tested is not None else _read(path, *pairs["test"], resolution)
        check_labels(name, "test", part, count)
        check_shape(name, "test", part, rest)
        return part

    own = _read(path, *pairs["val"], resolution) if "val" in pairs else None
    size = "x".join(map(str, rest.pixels.shape[2:0:-1]))
    task = Task(
        name=f"npz:{path.name}",
        description=f"image classification on {path.stem}: {count} classes of images of {size} pixels",
    )
    told = "a tenth" if tested is not None else "as in the file" if "test" in pairs else "none"
    split = (
        f"test part: {told}; validation part: {'as in the file' if own is not None else 'a tenth of the others'}; "
        "stratified, seed 0"
    )
    return image_task(
        task,
        tuple(map(str, range(count))),
        rest,
        validation=own if own is not None else len(rest) // SHARE,
        open_test=open_test if tested is not None or "test" in pairs else None,
        split=split,
    )


def _names(path: Path) -> set[str]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return set(arrays.files)
    except FileNotFoundError as error:
        raise DataError(f"npz:{path}: there is no such file") from error
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"npz:{path}: expected a file of numpy.savez, got one that is broken or of another kind"
        ) from error


def _pair(held: set[str], part: str) -> tuple[str, str] | None:
    return next(
        (
            (images.format(part), labels.format(part))
            for images, labels in NAMES
            if {images.format(part), labels.format(part)} <= held
        ),
        None,
    )


def _read(path: Path, images: str, labels: str, resolution: int | None) -> Images:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            pixels, marks = arrays[images], arrays[labels]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:  # cut short, or of Python objects
        why = " ".join(str(error).split())[:200]
        raise DataError(f"npz:{path}: arrays {images} and {labels} cannot be read ({why})") from error
    marks = marks.reshape(-1)
    if not (np.issubdtype(marks.dtype, np.integer) or (marks.dtype.kind == "f" and (marks == marks.round()).all())):
        raise DataError(f"npz:{path}: expected whole numbers as {labels}, got {marks.dtype}")
    bytes_ = _as_bytes(path, images, pixels)
    if resolution is not None:
        from PIL import Image

        from nas_agent.tools.images.pictures import scaled

        side = [np.asarray(scaled(Image.fromarray(one.squeeze()), resolution)) for one in bytes_]
        bytes_ = np.stack(side).reshape(len(bytes_), resolution, resolution, -1)
    return Images(bytes_, marks.astype(np.int64))


def _as_bytes(path: Path, name: str, pixels: NDArray[Any]) -> NDArray[np.uint8]:
    shape = "x".join(map(str, pixels.shape))
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise DataError(f"npz:{path}: expected {name} as (N, H, W), (N, H, W, 1) or (N, H, W, 3), got {shape}")
    if pixels.dtype.kind not in "uif" or (pixels.dtype.kind == "f" and not np.isfinite(pixels).all()):
        raise DataError(f"npz:{path}: expected {name} as finite numbers, got {pixels.dtype}")
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    if pixels.dtype.kind == "f" and low >= 0.0 and high <= 1.0:
        return (pixels * 255).round().astype(np.uint8)
    if not 0.0 <= low <= high <= 255.0:
        raise DataError(f"npz:{path}: expected {name} from 0 to 255, or from 0 to 1, got {low:g} to {high:g}")
    return pixels.astype(np.uint8)
