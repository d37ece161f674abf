"""Decode image files to one size, with Pillow; what cannot be read is one clear line."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = {"1", "L", "I", "I;16", "F", "LA"}
Source = tuple[str, Path | bytes]  # what to call it, and the file or its bytes


def decoded(name: str, sources: Iterable[Source], resolution: int | None, *, grey: bool = False) -> NDArray[np.uint8]:
    """Return (images, height, width, channels); with a resolution, the middle square of each, scaled to it."""
    arrays: list[NDArray[np.uint8]] = []
    first = ""
    for label, source in sources:
        array = _decoded(label, source, resolution, grey=grey)
        first = first or label
        if arrays and array.shape != arrays[0].shape:
            sizes = [f"{shape[1]}x{shape[0]}" for shape in (arrays[0].shape, array.shape)]
            raise DataError(
                f"{name}: expected images of one size, got {first} with {sizes[0]} and {label} with {sizes[1]} pixels; "
                "give --resolution N to cut out the middle squares and scale them to NxN"
            )
        arrays.append(array)
    if not arrays:
        raise DataError(f"{name}: expected images, got none")
    return np.stack(arrays)


def is_grey(label: str, source: Path | bytes) -> bool:
    """Tell whether an image has no colours, from its header."""
    with _opened(label, source) as image:
        return image.mode in GREY


def _decoded(label: str, source: Path | bytes, resolution: int | None, *, grey: bool) -> NDArray[np.uint8]:
    with _opened(label, source) as image:
        try:
            plain = image.convert("L" if grey else "RGB")
        except Exception as error:  # Pillow's decoders raise whatever a broken file makes them stumble over
            raise _unreadable(label, error) from error
    array = np.asarray(plain if resolution is None else scaled(plain, resolution))
    return array[..., None] if grey else array


def scaled(image: Image, resolution: int) -> Image:
    """Cut out the middle square and scale it."""
    from PIL.Image import Resampling

    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((resolution, resolution), Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _opened(label: str, source: Path | bytes) -> Image:
    from PIL import Image as files

    try:
        return files.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except Exception as error:  # likewise: no image, no permission, a picture that would fill the memory
        raise _unreadable(label, error) from error


def _unreadable(label: str, error: Exception) -> DataError:
    why = " ".join(str(error).split())[:200] or type(error).__name__
    return DataError(f"{label}: expected an image that can be read, got {why}; mend or remove the file")
