"""Trained weights in a run folder: files by the SHA-256 of what they hold, written whole or not at all.

What comes from a sandbox is data of somebody whom nobody trusts: its size is limited, the safetensors library reads its
form, and nothing is unpickled. A file that is gone or spoiled is told, never an error: its heirs begin from scratch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from nas_agent.errors import StorageError
from nas_agent.records import Heritage, Inherited, Legacy

MOST = 96 * 2**20  # bytes of one network's weights: twenty million, the most that a space of programs allows
HEADER = 2**20  # bytes of names and shapes
_FLOATS = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_COUNTS = ("I64",)  # batches that a running statistic has seen


@dataclass(frozen=True, slots=True)
class Given:
    """What of its heritage a training can begin with."""

    files: list[bytes]
    epochs: int  # the most that are behind one of them
    leaves: bool
    notes: list[str]  # why some are missing


class WeightStore:
    """A folder of weights; without one (None), nothing may be kept or read."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def keep(self, data: bytes) -> str:
        """Write a file and return its name; StorageError where the disk does not take it."""
        name = hashlib.sha256(data).hexdigest()
        file = self._file(name)
        temporary = file.with_name(f"{name}.{secrets.token_hex(4)}.tmp")  # several workers may have the same
        try:
            file.parent.mkdir(exist_ok=True)
            with temporary.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            temporary.replace(file)
        except OSError as error:
            with contextlib.suppress(OSError):  # it may never have been made
                temporary.unlink()
            raise StorageError(
                f"{file}: trained weights cannot be written ({error.strerror}); free some space, "
                "then `nas-agent resume` goes on from here"
            ) from error
        return name

    def read(self, name: str) -> tuple[bytes, str]:
        """Return a file's bytes, or none and the reason why it cannot be used."""
        try:
            with self._file(name).open("rb") as file:
                data = file.read(MOST + 1)
        except FileNotFoundError:
            return b"", f"the weights {name[:12]} are gone"
        except OSError as error:
            return b"", f"the weights {name[:12]} cannot be read ({error.strerror})"
        if hashlib.sha256(data).hexdigest() != name:
            return b"", f"the weights {name[:12]} are no longer what was written"
        return data, ""

    def given(self, heritage: Heritage) -> Given:
        """Read what the parents have left; what cannot be used is a note."""
        files, epochs, notes = list[bytes](), 0, list[str]()
        for legacy in heritage.parents:
            data, why = self.read(legacy.file)
            if why:
                notes.append(f"{why}, so that it began without them")
            else:
                files.append(data)
                epochs = max(epochs, legacy.epochs)
        return Given(files, epochs, heritage.leaves, notes)

    def taken_in(self, given: Given, taken: int, of: int, left: bytes, epochs: int) -> Inherited:
        """Keep what a training of so many `epochs` has left, and return what is to be recorded of its heritage."""
        notes, legacy, behind = list(given.notes), None, given.epochs if taken else 0
        if not given.leaves:
            notes.append("the run's folder holds as many weights as it may: its own are not kept")
        elif not left:
            notes.append(f"it has left no weights: none, or more than {MOST:,} bytes")
        elif why := refusal(left):
            notes.append(f"its weights are not kept: {why}")
        else:
            legacy = Legacy(self.keep(left), behind + epochs, len(left))
        return Inherited(taken, of, behind, legacy, "; ".join(notes))

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"


def refusal(data: bytes) -> str:
    """Say why bytes are no weights that children may begin with; "" where they are."""
    import numpy as np
    from safetensors import SafetensorError, deserialize

    if len(data) > MOST:
        return f"they take {len(data):,} bytes, more than {MOST:,}"
    if len(data) < 8 or int.from_bytes(data[:8], "little") > HEADER:
        return "they are no safetensors file"
    try:
        tensors = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError:
        return "they are no safetensors file"
    for _, tensor in tensors:
        kind = tensor["dtype"]
        if kind not in _FLOATS and kind not in _COUNTS:
            return f"they hold numbers of the kind {kind}"
        if kind in _FLOATS and not np.isfinite(np.frombuffer(tensor["data"], _FLOATS[kind])).all():
            return "they hold what is no finite number"
    return ""
