"""Landlock: which files a job may reach, whoever its user is. Documentation/userspace-api/landlock.rst of the kernel.

A right that is handled and not granted is refused everywhere. Nothing may be executed; files are made, changed and
removed in writable folders only; no TCP (from version 4), no signals and no abstract sockets beyond the job (from 6).
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Sequence

from nas_agent.tools.sandbox import kernel

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_DIR, _MAKE_FILE = 1 << 7, 1 << 8
_TRUNCATE, _DEVICE_IOCTL = 1 << 14, 1 << 15
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}  # version: how many rights on files it knows
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _DEVICE_IOCTL
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_FILE | _TRUNCATE


def rules(readable: Sequence[str], writable: Sequence[str], devices: Sequence[str]) -> int:
    """Return the descriptor of a rule set; a path that is not there is left out."""
    version = kernel.landlock_abi()
    handled = (1 << _RIGHTS[min(version, max(_RIGHTS))]) - 1
    attributes = struct.pack("=QQQ", handled, 0b11, 0b11)
    descriptor = kernel.landlock_create(attributes[: 8 if version < 4 else 16 if version < 6 else 24])
    for paths, rights in (
        (readable, _READ),
        (writable, _READ | _WRITE),
        (devices, _READ_FILE | _WRITE_FILE | _DEVICE_IOCTL),
    ):
        for path in paths:
            _allow(descriptor, path, rights & handled)
    return descriptor


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        kernel.landlock_add(rules, struct.pack("=Qi", rights, place))
    finally:
        os.close(place)
