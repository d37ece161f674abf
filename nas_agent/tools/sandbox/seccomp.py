"""A filter of system calls (seccomp, classic BPF): a list of what is allowed; all else answers "not permitted"."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

from nas_agent.tools.sandbox import kernel, syscalls

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_KILL, _ALLOW, _ERROR = 0x80000000, 0x7FFF0000, 0x00050000
_X32 = 0x40000000  # on x86-64, calls from here on are those of a second interface with other numbers

_THREAD = 0x00010000
_NEW_NAMESPACES = sum(kernel.NAMESPACES.values())
_ANONYMOUS, _MAP_TYPE, _PRIVATE = 0x20, 0x0F, 0x02
# Terminal size and attributes are asked for by Python; FIONREAD, FIONBIO, FIOCLEX, FIONCLEX concern descriptors.
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5451, 0x5450)
_FCNTLS = (0, 1, 2, 3, 4, 1030, 1032)  # duplicate, get and set flags, pipe size; no owners, leases, notices or locks
_PRCTLS = (3, 15, 16, 0x53564D41)  # get dumpable, set and get name, name a mapping


@dataclass(frozen=True, slots=True)
class When:
    """Allows a call where an argument, masked, has a value."""

    argument: int
    mask: int
    value: int


def conditions(process: int, *, gpu: bool) -> dict[str, tuple[When, ...]]:
    """Return for each checked call the cases in which it is allowed."""
    whole = 2**64 - 1
    word = 2**32 - 1
    if gpu:  # drivers have calls of their own, and share memory with the device
        ioctl: tuple[When, ...] = (When(1, 0, 0),)
        mmap: tuple[When, ...] = (When(3, 0, 0),)
    else:
        ioctl = tuple(When(1, word, code) for code in _IOCTLS)
        # Shared memory of no file is counted by no limit of the process.
        mmap = (When(3, _ANONYMOUS, 0), When(3, _MAP_TYPE, _PRIVATE))
    return {
        "clone": (When(0, _THREAD | _NEW_NAMESPACES, _THREAD),),
        "kill": (When(0, word, process),),
        "tgkill": (When(0, word, process),),
        "sched_setaffinity": (When(0, word, 0), When(0, word, process)),
        "ioctl": ioctl,
        "mmap": mmap,
        "fcntl": tuple(When(1, word, code) for code in _FCNTLS),
        "prctl": tuple(When(0, word, code) for code in _PRCTLS),
        "prlimit64": (When(2, whole, 0),),  # asking for a limit, not setting it
        # Landlock before its third version does not see a file emptied by opening it to read.
        "open": _opening(1),
        "openat": _opening(2),
    }


def _opening(flags: int) -> tuple[When, ...]:
    return (When(flags, os.O_TRUNC, 0), When(flags, os.O_ACCMODE, os.O_WRONLY), When(flags, os.O_ACCMODE, os.O_RDWR))


def program(process: int, *, gpu: bool) -> bytes:
    """Return the filter for a job's process; KeyError on an architecture without a table."""
    machine = kernel.machine()
    numbers = syscalls.numbers(machine)
    checked = conditions(process, gpu=gpu)
    code = [_step(_LOAD, 4), _step(_EQUAL, syscalls.AUDIT[machine], 1, 0), _step(_RETURN, _KILL), _step(_LOAD, 0)]
    if machine == "x86_64":
        code += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, _KILL)]
    for name, number in numbers.items():
        if name in syscalls.CHECKED:
            body = _cases(checked[name])
        elif name in syscalls.UNKNOWN:
            body = [_step(_RETURN, _ERROR | errno.ENOSYS)]
        elif name in syscalls.FOR_GPU and not gpu:
            continue
        else:
            body = [_step(_RETURN, _ALLOW)]
        code += [_step(_EQUAL, number, 0, len(body)), *body]
    code.append(_step(_RETURN, _ERROR | errno.EPERM))
    return b"".join(code)


def _step(operation: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", operation, jump_true, jump_false, value)


def _cases(cases: tuple[When, ...]) -> list[bytes]:
    """Allow in any of the cases, refuse otherwise."""
    return [*(step for case in cases for step in _case(case)), _step(_RETURN, _ERROR | errno.EPERM)]


def _case(case: When) -> list[bytes]:
    """Return from the filter where the argument fits, else go on after these steps."""
    place = 16 + 8 * case.argument
    halves = [(place, case.mask & 0xFFFFFFFF, case.value & 0xFFFFFFFF)]
    if case.mask >> 32:
        halves.append((place + 4, case.mask >> 32, case.value >> 32))
    size = 3 * len(halves) + 1
    code: list[bytes] = []
    for at, mask, value in halves:
        code += [_step(_LOAD, at), _step(_AND, mask)]
        code.append(_step(_EQUAL, value, 0, size - len(code) - 1))
    return [*code, _step(_RETURN, _ALLOW)]
