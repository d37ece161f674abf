"""`folder:PATH`: images in one folder per class, or in folders train, val and test that hold one folder per class.

Without a folder `val`, a tenth of the training images is the validation part (the folder `train`, or all of them);
without folders at all, a tenth is the test part, too. Stratified, drawn once with seed 0, files sorted by name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_agent.errors import DataError
from nas_agent.records import Task
from nas_agent.tools.images.base import Images, ImageTask, check_labels, check_shape, image_task, stratified
from nas_agent.tools.images.pictures import decoded, is_grey

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
VALIDATION = ("val", "valid", "validation")
SHARE = 10  # a part that is missing gets one in so many
FEWEST = 3  # images of a class: one for each part
Files = list[tuple[Path, int]]


def folder_task(path: Path, resolution: int | None) -> ImageTask:
    """Read the images of a folder."""
    name = f"folder:{path}"
    try:
        parts = {child.name: child for child in sorted(path.iterdir()) if child.is_dir() and child.name[0] != "."}
    except OSError as error:
        raise DataError(f"{name}: expected a folder with one folder per class ({error.strerror})") from error
    test: Path | None = None
    rest_in, validation_in = path, None
    if "train" in parts:
        validation_in = next((parts[part] for part in VALIDATION if part in parts), None)
        rest_in, test = parts["train"], parts.get("test")
    classes = _classes(name, rest_in)
    files = _files(rest_in, classes)
    counts = np.bincount([label for _, label in files], minlength=len(classes))
    few = [f"{label} ({count})" for label, count in zip(classes, counts, strict=True) if count < FEWEST]
    if few:
        raise DataError(f"{name}: expected at least {FEWEST} images of each class, got fewer of {', '.join(few[:5])}")
    grey = is_grey(str(files[0][0]), files[0][0])

    def read(some: Files) -> Images:
        pixels = decoded(name, ((str(file), file) for file, _ in some), resolution, grey=grey)
        return Images(pixels, np.array([label for _, label in some], dtype=np.int64))

    kept, tested, told = files, _files(test, classes) if test is not None else None, "the folder test"
    if rest_in == path:
        labels = np.array([label for _, label in files])
        rows, drawn = stratified(labels, len(files) // SHARE)
        kept, tested, told = [files[row] for row in rows], [files[row] for row in drawn], "a tenth"
    rest = read(kept)

    def open_test() -> Images:
        part = read(tested or [])
        check_labels(name, "test", part, len(classes))
        check_shape(name, "test", part, rest)
        return part

    size = "x".join(map(str, rest.pixels.shape[2:0:-1]))
    task = Task(
        name=name,
        description=f"image classification on {path.name}: {len(classes)} classes of {'grey' if grey else 'colour'} "
        f"images of {size} pixels",
    )
    validation = len(rest) // SHARE if validation_in is None else read(_files(validation_in, classes))
    by = "a tenth of the others" if validation_in is None else f"the folder {validation_in.name}"
    split = f"test part: {told if tested else 'none'}; validation part: {by}; stratified, seed 0"
    return image_task(task, classes, rest, validation=validation, open_test=open_test if tested else None, split=split)


def _classes(name: str, folder: Path) -> tuple[str, ...]:
    classes = tuple(sorted(child.name for child in folder.iterdir() if child.is_dir() and child.name[0] != "."))
    if len(classes) < 2:
        raise DataError(
            f"{name}: expected one folder per class and at least two of them, got {len(classes)} in {folder}"
        )
    return classes


def _files(folder: Path, classes: tuple[str, ...]) -> Files:
    """List the images of each class; a class that training does not know is refused."""
    found: Files = []
    named = (child.name for child in folder.iterdir() if child.is_dir() and child.name[0] != ".")
    unknown = [label for label in named if label not in classes]
    if unknown:
        raise DataError(f"{folder}: class '{sorted(unknown)[0]}' is not among those to train on; add or remove it")
    for label, name in enumerate(classes):
        inside = folder / name
        images = (
            sorted(file for file in inside.rglob("*") if file.suffix.lower() in SUFFIXES) if inside.is_dir() else []
        )
        found += [(file, label) for file in images]
    return found
