"""The kernel's calls that Python does not offer, by ctypes; each raises OSError with the name of what was refused."""

from __future__ import annotations

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
MNT_DETACH = 2
NAMESPACES = {
    "mount": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
# The numbers of the newer calls are the same on every architecture.
_MOUNT_SETATTR, _LANDLOCK = 442, {"create": 444, "add_rule": 445, "restrict_self": 446}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_AT_FDCWD, _AT_RECURSIVE, _ATTR_READ_ONLY, _ATTR_NO_SUID = -100, 0x8000, 1, 2


def machine() -> str:
    """Return the architecture's name as the tables here know it."""
    return os.uname().machine


def _checked(answer: int, what: str) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return answer


def _call(number: int, what: str, *arguments: object) -> int:
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    return _checked(int(_libc.syscall(ctypes.c_long(number), *converted)), what)


def prctl(option: int, *arguments: object) -> None:
    """Change how this process is treated."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    values = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in padded]
    _checked(int(_libc.prctl(option, *values)), f"prctl({option})")


def unshare(*names: str) -> None:
    """Leave the namespaces of these kinds for new ones."""
    _checked(int(_libc.unshare(sum(NAMESPACES[name] for name in names))), f"unshare({', '.join(names)})")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount, bind or change a mount."""
    text = [None if value is None else os.fsencode(value) for value in (source, target, kind, options)]
    answer = _libc.mount(text[0], text[1], text[2], ctypes.c_ulong(flags), text[3])
    _checked(int(answer), f"mount {target}")


def unmount(target: str) -> None:
    """Take a mount away, at once for new look-ups."""
    _checked(int(_libc.umount2(os.fsencode(target), MNT_DETACH)), f"umount {target}")


def read_only(target: str) -> None:
    """Make a mount and all beneath it read-only, without set-user-id programs."""
    attributes = struct.pack("=QQQQ", _ATTR_READ_ONLY | _ATTR_NO_SUID, 0, 0, 0)
    _call(
        _MOUNT_SETATTR,
        f"mount_setattr {target}",
        _AT_FDCWD,
        ctypes.c_char_p(os.fsencode(target)),
        _AT_RECURSIVE,
        ctypes.c_char_p(attributes),
        len(attributes),
    )


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root; the old one is then at `old`."""
    paths = [ctypes.c_char_p(os.fsencode(path)) for path in (new, old)]
    _call(_PIVOT_ROOT[machine()], "pivot_root", *paths)


def drop_capabilities() -> None:
    """Give up every capability for good; where this process has none, nothing changes."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        last = int(file.read())
    for capability in range(last + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except PermissionError:  # it has no capabilities, and no_new_privs keeps it so
            break
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", 0x20080522, 0)
    _call(_CAPSET[machine()], "capset", ctypes.c_char_p(header), ctypes.c_char_p(bytes(24)))


def landlock_abi() -> int:
    """Return the version of Landlock here; 0 where there is none."""
    try:
        return _call(_LANDLOCK["create"], "landlock", 0, 0, 1)
    except OSError:
        return 0


def landlock_create(attributes: bytes) -> int:
    """Return the descriptor of a new rule set."""
    return _call(_LANDLOCK["create"], "landlock_create_ruleset", ctypes.c_char_p(attributes), len(attributes), 0)


def landlock_add(rules: int, rule: bytes) -> None:
    """Add a rule about what lies beneath a path."""
    _call(_LANDLOCK["add_rule"], "landlock_add_rule", rules, 1, ctypes.c_char_p(rule), 0)


def landlock_restrict(rules: int) -> None:
    """Confine this thread, and what it will start, to the rule set."""
    _call(_LANDLOCK["restrict_self"], "landlock_restrict_self", rules, 0)


def install_filter(program: bytes) -> None:
    """Install a filter of system calls, a classic BPF program; there is no way back."""
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the count of instructions of 8 bytes, padding, the pointer.
    header = struct.pack("@HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, 2, ctypes.c_char_p(header))
