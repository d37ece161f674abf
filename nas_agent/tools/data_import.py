"""Turn the official NAS-Bench-201 and NATS-Bench files into the compact table, without trusting their pickles.

Both official formats are pickles, and a pickle can run any program while it is read. So the file is read here, by an
unpickler that builds only containers, numbers and tensors and refuses everything else, and the plain data are handed
to the benchmark's own API (extra `nasbench`), one architecture at a time, which answers all questions about them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.errors import DataError, InvalidArchitecture, MissingExtra, StorageError
from nas_agent.records import Json
from nas_agent.spaces.nasbench201 import OPERATIONS, NasBench201
from nas_agent.tools.benchmarks.nb201 import FILE, SHORT
from nas_agent.tools.home import home
from nas_agent.tools.table_files import mode_of
from nas_agent.tools.untrusted import read_pickle, read_torch

_PICKLE = ".pickle.pbz2"
_EPOCHS = ("12", "200")


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import wrote."""

    path: Path
    rows: int
    arrays: tuple[str, ...]
    missing: dict[str, int]  # array -> rows without a value, where there are any
    sha256: str

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "path": str(self.path),
            "rows": self.rows,
            "arrays": list(self.arrays),
            "missing": self.missing,
            "sha256": self.sha256,
        }


def import_official(path: Path, out: Path | None = None) -> Imported:
    """Read an official file or folder and write the compact table (default: into the user's data folder)."""
    target = home() / "data" / FILE if out is None else out / FILE if _is_folder(out) else out
    if mode_of(target) is not None:
        raise DataError(f"{target} exists already; move it away, or name another file to write")
    if _is_folder(path):
        entries, release = _nats_folder(path), "nats"
    elif path.name.endswith((".pbz2", ".bz2")):
        entries, release = _nats_file(path), "nats"
    elif path.suffix == ".pth":
        entries, release = _nb201_file(path), "v11"
    else:
        raise DataError(
            f"{path}: expected NAS-Bench-201-v1_1-*.pth, NATS-tss-*{_PICKLE} or the folder NATS-tss-*-simple, "
            + ("which is none of them" if mode_of(path) is not None else "but there is no such file")
        )
    try:
        arrays = _compact(entries, release)
    except InvalidArchitecture as error:
        raise DataError(f"{path}: expected cells of NAS-Bench-201 (the 'tss' of NATS-Bench): {error}") from error
    _write(target, arrays)
    lacking = {name: int(np.isnan(a).sum()) for name, a in arrays.items() if a.dtype.kind == "f" and np.isnan(a).any()}
    return Imported(target, len(arrays["ops"]), tuple(arrays), lacking, sha256(target))


def _is_folder(path: Path) -> bool:
    return stat.S_ISDIR(mode_of(path) or 0)


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- one architecture at a time, through the official API ------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """One architecture behind the official API; its index there is 0."""

    text: str
    api: Any  # None where the file names the architecture but holds no result for it


def _nats_api() -> Callable[[dict[str, Any]], Any]:
    try:
        from nats_bench.api_topology import NATStopology
    except ImportError as error:
        raise MissingExtra("nats-bench", "nasbench", "reading a NATS-Bench file") from error
    return lambda content: NATStopology(content, verbose=False)


def _nb201_api() -> Callable[[dict[str, Any]], Any]:
    try:
        from nas_201_api import NASBench201API
    except ImportError as error:
        raise MissingExtra("nas-bench-201", "nasbench", "reading a NAS-Bench-201 file") from error
    return lambda content: NASBench201API(content, verbose=False)


def _single(make: Callable[[dict[str, Any]], Any], path: Path, text: str, infos: Any) -> _Entry:
    if infos is None:
        return _Entry(text, None)
    content = {"meta_archs": [text], "arch2infos": {0: infos}, "evaluated_indexes": [0]}
    try:
        return _Entry(text, make(content))
    except Exception as error:  # the API asserts and indexes its way through the content
        raise DataError(f"{path}: the results of {text} are not in the official format ({error!r})") from error


def _nats_folder(path: Path) -> Iterator[_Entry]:
    make = _nats_api()
    for index, text in enumerate(_names(path, read_pickle(path / f"meta{_PICKLE}"))):
        found = [f for f in (path / f"{index:06d}{_PICKLE}", path / f"{index}{_PICKLE}") if f.is_file()]
        yield _single(make, path, text, read_pickle(found[0]) if found else None)


def _nats_file(path: Path) -> Iterator[_Entry]:
    make, content = _nats_api(), read_pickle(path)
    for index, text in enumerate(_names(path, content)):
        yield _single(make, path, text, _results(path, content).get(index))


def _nb201_file(path: Path) -> Iterator[_Entry]:
    make, content = _nb201_api(), read_torch(path)
    for index, text in enumerate(_names(path, content)):
        yield _single(make, path, text, _results(path, content).get(index))


def _results(path: Path, content: dict[str, Any]) -> dict[int, Any]:
    found = content.get("arch2infos")
    if not isinstance(found, dict):
        raise DataError(
            f"{path}: expected the official dictionary with 'arch2infos', got {', '.join(map(str, content))}"
        )
    return found


def _names(path: Path, content: Any) -> list[str]:
    names = content.get("meta_archs") if isinstance(content, dict) else None
    if not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"{path}: expected the official dictionary with 'meta_archs', got {type(content).__name__}")
    return list(names)


# -- the compact arrays ----------------------------------------------------------------------------------


def _compact(entries: Iterator[_Entry], release: str) -> dict[str, np.ndarray]:
    """Ask the API for everything the compact table holds; accuracies are means over seeds, in percent."""
    space = NasBench201()
    op_names = [operation.name for operation in OPERATIONS]
    ops: list[list[int]] = []
    ids: list[str] = []
    numbers: dict[str, list[float]] = {}
    for row, entry in enumerate(entries):
        architecture = space.parse(entry.text)
        ops.append([op_names.index(option) for option in space.choices(architecture).values()])
        ids.append(architecture.id)
        for name, value in ({} if entry.api is None else _answers(entry.api, release)).items():
            column = numbers.setdefault(name, [])
            column += [float("nan")] * (row - len(column)) + [value]
    first: dict[str, int] = {}
    iso = [first.setdefault(id_, row) for row, id_ in enumerate(ids)]
    arrays = {
        "ops": np.array(ops, dtype=np.uint8),
        "op_names": np.array(op_names),
        "iso": np.array(iso, dtype=np.int16),
    }
    for name, column in sorted(numbers.items()):
        arrays[name] = np.array(column + [float("nan")] * (len(ops) - len(column)), dtype=np.float32)
    if not any(name.startswith("val_") for name in arrays):
        raise DataError("the official file holds no validation result at all; is it the full benchmark file?")
    return arrays


def _answers(api: Any, release: str) -> dict[str, float]:
    """Return array name -> value for one architecture; what the file lacks is left out."""
    found: dict[str, float | None] = {}
    for epochs in _EPOCHS:
        # The first release of NATS-Bench and v1.1 of NAS-Bench-201 differ in their seeds: so do the arrays' names.
        test = f"test_v11_{{}}_{epochs}" if release == "v11" and epochs == "200" else f"test_{{}}_{epochs}"
        half = _info(api, "cifar10-valid", epochs)  # trained on half of CIFAR-10, validated on the other half
        found[f"val_c10_{epochs}"] = half.get("valid-accuracy")
        found[test.format("c10")] = _info(api, "cifar10", epochs).get("test-accuracy")
        if epochs == "12":
            found["time_c10valid_12"] = half.get("train-all-time")
        else:
            found["test_c10valid_200"] = half.get("test-accuracy")
        for name, short in SHORT.items():
            if short != "c10":
                info = _info(api, name, epochs)
                found[f"val_{short}_{epochs}"] = info.get("valid-accuracy")
                found[test.format(short)] = info.get("test-accuracy")
        found |= _costs(api, epochs)
    return {name: float(value) for name, value in found.items() if value is not None}


def _info(api: Any, dataset: str, epochs: str) -> dict[str, float | None]:
    """Ask for the mean over seeds after the last epoch; nothing where the file has no such training."""
    try:
        info: dict[str, float | None] = api.get_more_info(0, dataset, hp=epochs, is_random=False)
    except (KeyError, ValueError, IndexError, AssertionError):
        return {}
    return info


def _costs(api: Any, epochs: str) -> dict[str, float | None]:
    try:
        costs = api.get_cost_info(0, "cifar10", hp=epochs)
    except (KeyError, ValueError, IndexError, AssertionError):
        return {}
    return {"params_M": costs["params"], "flops_M": costs["flops"]}


def _write(target: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write beside the target and rename, so that a table is whole or absent."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        part.replace(target)
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be written ({error.strerror or error}); free space or name another file"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it was renamed, or never came to be
            part.unlink()
