"""Read a user's own benchmark table, `--task table:FILE.npz|csv`, and report what is wrong with it in one line.

Columns (csv) or arrays (npz): `architecture` and `val`; optional `test`, `seconds`, `params`. How the values are
meant is said by the npz scalars, or the csv comment lines before the header, `direction`, `metric`, `unit`:

    # direction: min
    # metric: perplexity
    architecture,val,test
    "depth=2,width=16",71.2,70.9
"""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_agent.errors import DataError
from nas_agent.spaces.base import Floats

NUMBERS = ("val", "test", "seconds", "params")
SAYINGS = ("direction", "metric", "unit")


@dataclass(frozen=True, slots=True)
class Columns:
    """The content of a table file, every column of the same length; a number that is missing is NaN."""

    texts: tuple[str, ...]
    numbers: Mapping[str, Floats]  # "val" always; "test", "seconds", "params" where the file has them
    lines: tuple[int, ...] | None = None  # csv: the line of the file on which each row ends
    maximise: bool = True
    metric: str = "accuracy"
    unit: str = "%"

    def place(self, row: int) -> str:
        """Name a row as the user finds it in the file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"


def read_arrays(path: Path, wanted: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file (those in `wanted` that it has), without unpickling anything."""
    try:
        # Opened here, since np.load leaves its own file open where the archive is broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = archive.files if wanted is None else [name for name in wanted if name in archive.files]
            return {name: archive[name] for name in names}
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror})") from error
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected an npz file of plain arrays, but it is broken or cut short ({error}); "
            "copy or make it again"
        ) from error


def read_columns(path: Path) -> Columns:
    """Read a user's table; raise DataError with the row where something is wrong."""
    if not path.is_file():
        raise DataError(f"table {path}: there is no such file; give --task table:FILE.npz or table:FILE.csv")
    match path.suffix.lower():
        case ".npz":
            return _from_npz(path)
        case ".csv":
            return _from_csv(path)
    raise DataError(f"table {path}: expected a file that ends in .npz or .csv")


def _from_npz(path: Path) -> Columns:
    arrays = read_arrays(path)
    _check_names(path, tuple(arrays), "arrays")
    texts = arrays["architecture"]
    if texts.ndim != 1 or texts.dtype.kind not in "US":
        raise DataError(
            f"table {path}: 'architecture' must be one row of texts, got {texts.dtype} of shape {texts.shape}"
        )
    numbers: dict[str, Floats] = {}
    for name in NUMBERS:
        if name not in arrays:
            continue
        column = arrays[name]
        if column.dtype.kind not in "fiu":
            raise DataError(f"table {path}: '{name}' must hold numbers, got {column.dtype}")
        if column.shape != texts.shape:
            raise DataError(
                f"table {path}: '{name}' has shape {column.shape} but 'architecture' has {texts.shape}; "
                "each row needs one value"
            )
        numbers[name] = column.astype(np.float64)
    said = {name: _text(path, name, arrays[name]) for name in SAYINGS if name in arrays}
    decoded = (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in texts.tolist())
    return Columns(tuple(decoded), numbers, **_meaning(path, said))  # type: ignore[arg-type]


def _text(path: Path, name: str, array: np.ndarray) -> str:
    if array.size != 1 or array.dtype.kind not in "US":
        raise DataError(f"table {path}: '{name}' must be one text, got {array.dtype} of shape {array.shape}")
    value = array.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _from_csv(path: Path) -> Columns:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"table {path}: expected a readable csv file in UTF-8 ({error})") from error
    start, said = 0, {}
    while start < len(lines) and (not lines[start].strip() or lines[start].startswith("#")):
        key, _, value = lines[start].lstrip("# ").partition(":")
        if key.strip() in SAYINGS:
            said[key.strip()] = value.strip()
        start += 1
    reader = csv.reader(io.StringIO("\n".join(lines[start:])))
    try:
        rows = [(start + reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"table {path}, line {start + reader.line_num}: expected csv ({error})") from error
    if not rows:
        raise DataError(f"table {path}: the file is empty; expected a header line such as architecture,val,test")
    header = tuple(name.strip() for name in rows[0][1])
    _check_names(path, header, "columns")
    texts: list[str] = []
    cells: dict[str, list[float]] = {name: [] for name in NUMBERS if name in header}
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(
                f"table {path}, line {line}: expected {len(header)} fields ({', '.join(header)}), got {len(row)}; "
                "put a text that holds a comma in double quotes"
            )
        fields = dict(zip(header, row, strict=True))
        texts.append(fields["architecture"].strip())
        for name, column in cells.items():
            column.append(_number(path, line, name, fields[name].strip()))
    numbers = {name: np.array(column, dtype=np.float64) for name, column in cells.items()}
    return Columns(tuple(texts), numbers, lines=tuple(line for line, _ in rows[1:]), **_meaning(path, said))  # type: ignore[arg-type]


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError as error:
        raise DataError(f"table {path}, line {line}: '{name}' must be a number or empty, got {text!r}") from error


def _check_names(path: Path, names: tuple[str, ...], kind: str) -> None:
    missing = [name for name in ("architecture", "val") if name not in names]
    if missing:
        raise DataError(
            f"table {path}: expected {kind} 'architecture' and 'val' (optional: test, seconds, params), "
            f"got {', '.join(names[:12]) or 'none'}"
        )
    if len(set(names)) != len(names):
        raise DataError(f"table {path}: each of the {kind} must have its own name, got {', '.join(names)}")


def _meaning(path: Path, said: Mapping[str, str]) -> dict[str, str | bool]:
    direction = said.get("direction", "max")
    if direction not in {"max", "min"}:
        raise DataError(f"table {path}: direction must be 'max' or 'min', got {direction!r}")
    metric = said.get("metric", "accuracy")
    # A metric of the user's own has no percent sign unless the table says so.
    return {
        "maximise": direction == "max",
        "metric": metric,
        "unit": said.get("unit", "%" if metric == "accuracy" else ""),
    }
