"""Namespaces: a root of its own that holds only what may be read, no network, no processes but its own.

What `unshare` and `mount` do, from within: the process that calls `enter` goes on as the first process of the new
namespaces; its parent waits for it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from nas_agent.tools.sandbox import kernel


def enter(readable: Sequence[str], links: Sequence[tuple[str, str]], devices: Sequence[str], base: str) -> None:
    """Leave for new namespaces; OSError where the kernel refuses, and then nothing but this process has changed.

    `base` is an empty folder; in the new root it is all that can be written to.
    """
    user, group = os.getuid(), os.getgid()
    kernel.unshare("user", "mount", "net", "ipc", "uts", "cgroup", "pid")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    report, tell = os.pipe()
    inner = os.fork()
    if inner:
        os.close(tell)
        _wait(inner, report)
    os.close(report)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        _new_root(readable, links, devices, base)
    except OSError as error:
        os.write(tell, str(error).encode())
        os._exit(1)
    os.close(tell)


def _wait(inner: int, report: int) -> None:
    """Wait for the first process of the namespaces: raise where its root could not be made, else end as it ends."""
    with os.fdopen(report, "rb") as file:
        trouble = file.read()
    if trouble:
        os.waitpid(inner, 0)
        raise OSError(trouble.decode(errors="replace"))
    _, status = os.waitpid(inner, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _new_root(readable: Sequence[str], links: Sequence[tuple[str, str]], devices: Sequence[str], base: str) -> None:
    """Build the new root in a file system in memory at `base`, and move to it."""
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("root", base, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=4m,mode=755")
    proc = f"{base}/proc"
    os.mkdir(proc)
    kernel.mount("proc", proc, "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    for path in (*readable, *devices):
        if not path.startswith("/proc/"):
            _bind(path, base + path)
    for path, end in links:
        if not os.path.lexists(base + path):
            os.makedirs(os.path.dirname(base + path), exist_ok=True)
            os.symlink(end, base + path)
    os.makedirs(base + base, exist_ok=True)
    kernel.read_only(base)
    kernel.mount("base", base + base, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "size=64k,mode=700")
    os.chdir(base)
    kernel.pivot_root(".", ".")  # the old root lies over the new one until it is taken away
    kernel.unmount(".")
    os.chdir("/")


def _bind(path: str, target: str) -> None:
    if os.path.exists(target):
        return  # beneath another one
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(path):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT, 0o600))
    kernel.mount(path, target, None, kernel.MS_BIND | kernel.MS_REC)
