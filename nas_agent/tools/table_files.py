"""Read a user's own benchmark table, `--task table:FILE.npz|csv`, and report what is wrong with it in one line.

Columns (csv) or arrays (npz): `architecture` and `val`; optional `test`, `seconds`, and costs: `params`, `flops`,
`latency` or `latency@DEVICE` in milliseconds. How the values are meant is said by the npz scalars, or the csv
comment lines before the header, `direction`, `metric`, `unit`:

    # direction: min
    # metric: perplexity
    architecture,val,test
    "depth=2,width=16",71.2,70.9

Their names may be in any case, and `=` may stand for `:`; a name that is nearly one of them is refused, since a
direction that is passed over would turn the search round.
"""

from __future__ import annotations

import csv
import io
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from nas_agent.errors import DataError
from nas_agent.spaces.base import Floats

NUMBERS = ("val", "test", "seconds", "params", "flops", "latency")
LATENCY = "latency@"  # begins the column of a device
SAYINGS = ("direction", "metric", "unit")


@dataclass(frozen=True, slots=True)
class Columns:
    """The content of a table file, every column of the same length; a number that is missing is NaN."""

    texts: tuple[str, ...]
    numbers: Mapping[str, Floats]  # "val" always; of the other NUMBERS and latencies what the file has
    lines: tuple[int, ...] | None = None  # csv: the line of the file on which each row ends
    maximise: bool = True
    metric: str = "accuracy"
    unit: str = "%"

    def place(self, row: int) -> str:
        """Name a row as the user finds it in the file."""
        return f"row {row}" if self.lines is None else f"line {self.lines[row]}"


def mode_of(path: Path) -> int | None:
    """Return the file mode of what lies at `path`, None for nothing; raise DataError where one cannot look."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # no permission, a name too long, a loop of links; a NUL in the name
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{shown(path)}: cannot be looked at ({why}); check the path and its permissions") from error


def shown(path: Path) -> str:
    """Write a path on one line of a readable length."""
    text = str(path)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"


def _check_file(path: Path, advice: str = "") -> None:
    """Raise DataError unless a regular file lies there: a pipe would be waited for without end."""
    mode = mode_of(path)
    if mode is None:
        raise DataError(f"{shown(path)}: there is no such file{advice}")
    if stat.S_ISDIR(mode):
        raise DataError(f"{shown(path)}: expected a file, but it is a folder{advice}")
    if not stat.S_ISREG(mode):
        kind = "a named pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise DataError(f"{shown(path)}: expected a file, but it is {kind}{advice}")


def read_arrays(path: Path, wanted: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file (those in `wanted` that it has), without unpickling anything."""
    _check_file(path)
    try:
        # Opened here, since np.load leaves its own file open where the archive is broken.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise DataError(
                    f"{path}: expected an npz file of named arrays, but it is one .npy array; write it with numpy.savez"
                )
            with archive:
                names = archive.files if wanted is None else [name for name in wanted if name in archive.files]
                arrays = {name: archive[name] for name in names}
    except DataError:
        raise
    except PermissionError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror})") from error
    except (
        Exception
    ) as error:  # numpy and zipfile raise whatever a broken file makes them stumble over, MemoryError too
        why = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(
            f"{path}: expected an npz file of plain arrays, but it is broken or cut short ({why}); "
            "copy or make it again"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy hands out other members of the zip as bytes
            raise DataError(f"{path}: expected an npz file of plain arrays, but {name!r} is none; make it again")
    return arrays


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of the arrays of an npz file by their headers alone; raise DataError where it is none."""
    _check_file(path)
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = np.lib.format.read_magic(member)
                    first = version == (1, 0)
                    read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
                    shapes[name.removesuffix(".npy")] = read(member)[0]
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: expected an npz file of plain arrays, but it is broken, cut short or cannot be read "
            f"({' '.join(str(error).split())[:300]}); copy or make it again"
        ) from error
    return shapes


def read_columns(path: Path) -> Columns:
    """Read a user's table; raise DataError with the row where something is wrong."""
    _check_file(path, advice="; give --task table:FILE.npz or table:FILE.csv")
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
    for name, column in arrays.items():
        if not _is_number(name):
            continue
        if column.dtype.kind not in "fiu":
            raise DataError(f"table {path}: '{name}' must hold numbers, got {column.dtype}")
        if column.shape != texts.shape:
            raise DataError(
                f"table {path}: '{name}' has shape {column.shape} but 'architecture' has {texts.shape}; "
                "each row needs one value"
            )
        numbers[name] = column.astype(np.float64)
    said: dict[str, str] = {}
    for name, array in arrays.items():
        if not _is_number(name) and name != "architecture":
            _say(path, said, name, lambda name=name, array=array: _text(path, name, array))  # type: ignore[misc]
    decoded = (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in texts.tolist())
    return Columns(tuple(decoded), numbers, **_meaning(path, said))  # type: ignore[arg-type]


def _is_number(name: str) -> bool:
    return name in NUMBERS or name.startswith(LATENCY)


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
    start, said = 0, dict[str, str]()
    while start < len(lines) and (not lines[start].strip() or lines[start].lstrip().startswith("#")):
        _read_comment(path, said, lines[start].lstrip("# \t").strip())
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
    cells: dict[str, list[float]] = {name: [] for name in header if _is_number(name)}
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
        if "_" in text:  # Python reads 1_0 as ten, which no other program does
            raise ValueError(text)
        return float(text) if text else float("nan")
    except ValueError as error:
        raise DataError(f"table {path}, line {line}: '{name}' must be a number or empty, got {text!r}") from error


def _read_comment(path: Path, said: dict[str, str], text: str) -> None:
    """Take up what a comment line says about the values; any other comment means nothing."""
    setting = re.fullmatch(r"(\w+)\s*[:=]\s*(.*)", text)
    if setting:
        value = setting[2]
        _say(path, said, setting[1], lambda: value)
    elif re.fullmatch(r"(direction|metric|unit)(\s+\S+)?", text, re.IGNORECASE):
        raise DataError(f"table {path}: expected a comment such as '# direction: min', got {text!r}; put in the ':'")


def _say(path: Path, said: dict[str, str], key: str, value: Callable[[], str]) -> None:
    """Note the setting `key`; raise DataError where it is given twice or is nearly the name of one."""
    name = key.lower()
    if name in said:
        raise DataError(f"table {path}: '{name}' is given twice; keep one of them")
    if name in SAYINGS:
        said[name] = value()
        return
    near = get_close_matches(name, SAYINGS, n=1, cutoff=0.75)
    if near:
        raise DataError(
            f"table {path}: expected {', '.join(SAYINGS)}, got {key!r}; did you mean '{near[0]}'? Rename it"
        )


def _check_names(path: Path, names: tuple[str, ...], kind: str) -> None:
    missing = [name for name in ("architecture", "val") if name not in names]
    if missing:
        raise DataError(
            f"table {path}: expected {kind} 'architecture' and 'val' (optional: test, seconds, params, flops, "
            f"latency@DEVICE), got {', '.join(names[:12]) or 'none'}"
        )
    if len(set(names)) != len(names):
        raise DataError(f"table {path}: each of the {kind} must have its own name, got {', '.join(names)}")


def _meaning(path: Path, said: Mapping[str, str]) -> dict[str, str | bool]:
    direction = said.get("direction", "max").strip().lower()
    if direction not in {"max", "min"}:
        raise DataError(f"table {path}: direction must be 'max' or 'min', got {said['direction']!r}")
    metric = said.get("metric", "accuracy")
    # A metric of the user's own has no percent sign unless the table says so.
    return {
        "maximise": direction == "max",
        "metric": metric,
        "unit": said.get("unit", "%" if metric == "accuracy" else ""),
    }
