"""What the readers of published npz files share: arrays that must be there, one number a row, indices into options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nas_agent.errors import DataError, InvalidArchitecture
from nas_agent.spaces.base import Floats, Space
from nas_agent.tools.table_files import Columns, read_arrays, read_shapes


def read_needed(
    path: Path, needed: Sequence[str], optional: Sequence[str] = (), *, advice: str
) -> dict[str, np.ndarray]:
    """Read these arrays of a file; raise DataError with `advice` where a needed one is not in it."""
    arrays = read_arrays(path, (*needed, *optional))
    for name in needed:
        if name not in arrays:
            raise DataError(f"{path}: expected the array '{name}', which it lacks; {advice}")
    return arrays


def rows_of(path: Path, needed: Sequence[str]) -> int:
    """Count the rows of a file by the headers of its arrays; raise DataError where a needed one is not in it."""
    shapes = read_shapes(path)
    for name in needed:
        if name not in shapes:
            raise DataError(f"{path}: expected the array '{name}', which it lacks; copy or make it again")
    first = shapes[needed[0]]
    return first[0] if first else 0


def one_number_a_row(path: Path, texts: Sequence[str], numbers: Mapping[str, np.ndarray], *, advice: str) -> Columns:
    """Join texts and columns; raise DataError for a column of another length or of no numbers."""
    for name, column in numbers.items():
        if column.shape != (len(texts),) or column.dtype.kind not in "fiu":
            raise DataError(
                f"{path}: the array for '{name}' must hold one number for each of {len(texts)} rows, "
                f"got {column.dtype} of shape {column.shape}; {advice}"
            )
    return Columns(tuple(texts), {name: column.astype(np.float64) for name, column in numbers.items()})


def in_ones(path: Path, arrays: Mapping[str, np.ndarray], name: str, *, advice: str) -> Floats:
    """Return counts that a file has in millions; DataError where they are no numbers."""
    array = arrays[name]
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected numbers in '{name}', got {array.dtype}; {advice}")
    return np.round(array.astype(np.float64) * 1e6)


def in_percent(
    path: Path, name: str, values: Floats, *, fractions: bool = False, unit: str = "%", advice: str
) -> Floats:
    """Return accuracies in percent, NaN where there is none; DataError where the file holds them in the other unit.

    `fractions`: how the file should have them. A metric whose `unit` is not percent is passed on as it is.
    """
    known = values[np.isfinite(values)]
    if unit != "%" or not known.size:
        return values
    expected = "fractions of 1" if fractions else "percent"
    other_unit = known.max() > 1.0 if fractions else known.max() <= 1.0
    if other_unit or known.min() < 0.0:
        raise DataError(
            f"{path}: expected accuracies in '{name}' as {expected}, got values from {known.min():g} to "
            f"{known.max():g}; {advice}"
        )
    return values * 100.0 if fractions else values


def names_in(path: Path, arrays: Mapping[str, np.ndarray], name: str, *, advice: str) -> tuple[str, ...]:
    """Return a row of names; raise DataError where the array is anything else."""
    array = arrays[name]
    if array.ndim != 1 or array.dtype.kind not in "US":
        raise DataError(
            f"{path}: expected a row of texts in '{name}', got {array.dtype} of shape {array.shape}; {advice}"
        )
    return tuple(array.astype(str).tolist())


def texts_of_indices(path: Path, space: Space, array: str, indices: np.ndarray, names: Sequence[str]) -> list[str]:
    """Write each row of indices into `names`, one for each decision in the space's order, as an architecture."""
    decisions = [decision.name for decision in space.decisions]
    if (
        indices.ndim != 2
        or indices.shape[1] != len(decisions)
        or indices.dtype.kind not in "iu"
        or (indices.size and not 0 <= indices.min() <= indices.max() < len(names))  # Python reads -1 as the last name
    ):
        raise DataError(
            f"{path}: '{array}' must hold {len(decisions)} indices into {len(names)} names a row, "
            f"got {indices.dtype} of shape {indices.shape}"
        )
    try:
        return [
            space.format(space.build(dict(zip(decisions, (names[k] for k in row), strict=True))))
            for row in indices.tolist()
        ]
    except InvalidArchitecture as error:
        raise DataError(f"{path}: a row of '{array}' does not fit space '{space.name}': {error}") from error
