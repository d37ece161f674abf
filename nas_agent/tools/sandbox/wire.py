"""Frames between the processes: two lengths, a JSON text, bytes. Nothing that comes from a job is unpickled."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

_HEADER = struct.Struct(">QQ")
_LONGEST = 2**20  # bytes of JSON from a job: read, a text of brackets becomes fifty times as much; data go in the blob


class Malformed(ValueError):
    """Bytes that are no frame."""


def frame(document: object, blob: bytes = b"") -> bytes:
    """Return the bytes of a frame; TypeError or ValueError where the document is not JSON."""
    text = json.dumps(document).encode()
    return _HEADER.pack(len(text), len(blob)) + text + blob


def parsed(data: bytes) -> tuple[Any, bytes]:
    """Read exactly one frame; Malformed where it is none, whoever wrote it."""
    if len(data) < _HEADER.size:
        raise Malformed("too short for a frame")
    text, blob = _HEADER.unpack_from(data)
    if len(data) != _HEADER.size + text + blob:
        raise Malformed("its lengths do not fit")
    if text > _LONGEST:
        raise Malformed(f"more than {_LONGEST} bytes of JSON")
    try:
        document = json.loads(data[_HEADER.size : _HEADER.size + text])
    except (ValueError, RecursionError) as error:
        raise Malformed(f"no JSON ({type(error).__name__})") from error
    return document, data[_HEADER.size + text :]


def receive(descriptor: int) -> tuple[Any, bytes] | None:
    """Read one frame from a trusted process; None at the end."""
    header = _exactly(descriptor, _HEADER.size)
    if header is None:
        return None
    text, blob = _HEADER.unpack(header)
    rest = _exactly(descriptor, text + blob)
    return None if rest is None else (json.loads(rest[:text]), rest[text:])


def send(descriptor: int, data: bytes) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _exactly(descriptor: int, count: int) -> bytes | None:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 2**20))
        if not part:
            return None
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
