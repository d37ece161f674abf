"""Read pickles from outside by an allow-list: containers, numbers and tensors, and nothing that could run a program."""

from __future__ import annotations

import bz2
import collections
import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.errors import DataError


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for `_codecs.encode`, by which old pickles write bytes; other codecs are refused."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the codec {encoding!r} is not allowed")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], Any]:
    """Name what a pickle may build: containers and numbers. None of it can call anything else."""
    from numpy._core import multiarray  # where numpy keeps what its pickles name

    allowed: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("_codecs", "encode"): _latin1,
        ("numpy", "dtype"): np.dtype,
        ("numpy", "ndarray"): np.ndarray,
    }
    for module in ("builtins", "__builtin__"):
        allowed |= {(module, kind.__name__): kind for kind in (set, frozenset, list, dict, int, float, complex)}
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed |= {(module, "scalar"): multiarray.scalar, (module, "_reconstruct"): multiarray._reconstruct}
    return allowed


class _Restricted(pickle.Unpickler):
    """Reads a pickle that names nothing beyond the allow-list; a name outside it is refused before it is imported."""

    def __init__(self, file: io.BufferedIOBase, encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._names = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed thing, or refuse."""
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(f"it names '{module}.{name}', which no table needs")
        return self._names[module, name]


def _refused(path: Path, error: BaseException) -> DataError:
    text = str(error) or type(error).__name__
    # torch buries the name in advice on how to switch the check off, which is not passed on.
    named = re.search(r"GLOBAL ([\w.]+)", text)
    unpickler = re.search(r"WeightsUnpickler error:\s*(\S.*)", text)
    if named:
        why = f"it names '{named[1]}', which no table needs"
    elif unpickler or "weights_only" in text:
        why = unpickler[1][:300] if unpickler and "weights_only" not in unpickler[1] else "its pickle cannot be read"
    else:
        why = text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
    return DataError(
        f"{path}: not read, since it is no plain benchmark file or is cut short ({why}); "
        "nothing in it was run. Get it again from the benchmark's authors"
    )


def read_pickle(path: Path, *, encoding: str = "ASCII") -> Any:
    """Read a pickle, compressed by bz2 where its name says so; `encoding` is that of texts by Python 2."""
    try:
        with bz2.open(path, "rb") if path.suffix in (".pbz2", ".bz2") else path.open("rb") as file:
            return _Restricted(file, encoding).load()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except Exception as error:  # a broken pickle raises whatever its opcodes stumble over
        raise _refused(path, error) from error


def read_torch(path: Path) -> Any:
    """Read a file of `torch.save`, old or new, as NAS-Bench-201 is one."""
    import torch

    names = {f"{module}.{name}": thing for (module, name), thing in _allowed().items() if module.startswith("numpy")}
    kinds: list[Any] = [(thing, name) for name, thing in names.items()]
    kinds += [set, frozenset, type(np.dtype(np.float64)), type(np.dtype(np.float32)), type(np.dtype(np.int64))]
    try:
        with torch.serialization.safe_globals(kinds):
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except Exception as error:  # likewise
        raise _refused(path, error) from error
