"""What a job's process does to itself before it runs any code of others; none of it can be undone."""

from __future__ import annotations

import os
import resource
import signal
from dataclasses import dataclass

from nas_agent.tools.sandbox import kernel, scratch, seccomp
from nas_agent.tools.sandbox.base import Limits


@dataclass(frozen=True, slots=True)
class Cell:
    """The mechanisms that confine a job, found when the warm parent started."""

    scratch: str  # the only folder that can be written to
    rules: int | None  # descriptor of the Landlock rules
    filtered: bool  # system calls
    own_mounts: bool  # the scratch folder is a file system in memory, of limited size
    gpu: bool


def confine(cell: Cell, limits: Limits, parent: int) -> None:
    """Confine this process for good; OSError where any of it is refused."""
    if os.getppid() != parent:  # it has ended already, and will not end us
        os._exit(1)
    os.setsid()
    if cell.own_mounts:
        kernel.unshare("mount")
        size = f"size={limits.disk},nr_inodes={scratch.most_entries(limits.disk)},mode=700"
        kernel.mount("scratch", cell.scratch, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, size)
    os.chdir(cell.scratch)
    os.umask(0o077)
    set_limits(limits)
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if cell.rules is None and not cell.filtered:
        return
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.drop_capabilities()
    if cell.rules is not None:
        kernel.landlock_restrict(cell.rules)
        os.close(cell.rules)
    if cell.filtered:
        kernel.install_filter(seccomp.program(os.getpid(), gpu=cell.gpu))


def set_limits(limits: Limits) -> None:
    """Set the limits that the kernel keeps for a process."""
    cpu = int(limits.seconds * min(limits.threads, os.cpu_count() or 1)) + 1
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_FSIZE: limits.disk,
        resource.RLIMIT_NOFILE: limits.files,
        # Private memory that can be written; relative, since the warm parent's own is inherited.
        resource.RLIMIT_DATA: _data() + limits.memory,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for name, most in wanted.items():
        _, hard = resource.getrlimit(name)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(name, (most, most))


def _data() -> int:
    """Return the bytes of private writable memory that this process has."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[5]) * resource.getpagesize()
