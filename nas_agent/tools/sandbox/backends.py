"""Ways to confine, strongest first; which of them works here is found by trying, not by asking for versions."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass

from nas_agent.tools.sandbox import kernel, syscalls
from nas_agent.tools.sandbox.policy import Policy

WARM = (sys.executable, "-P", "-m", "nas_agent.tools.sandbox.zygote")


@dataclass(frozen=True, slots=True)
class Backend:
    """Around the warm parent a wall, in each job's process a filter of system calls and, if there is one, Landlock."""

    name: str
    namespaces: bool = False  # the warm parent leaves for namespaces of its own
    wrapper: str | None = None  # path of bubblewrap
    confining: bool = True  # False: the sandbox is off

    def command(self, policy: Policy, base: str) -> tuple[str, ...]:
        """Return the command that starts the warm parent."""
        return WARM if self.wrapper is None else (*_bubblewrap(self.wrapper, policy, base), *WARM)


NAMESPACES = Backend("unshare", namespaces=True)
LANDLOCK = Backend("landlock")
UNSAFE = Backend("off", confining=False)


def bubblewrap() -> Backend | None:
    """Return the backend that uses bubblewrap, a program of the system, where it is installed."""
    path = shutil.which("bwrap")
    return Backend("bubblewrap", wrapper=path) if path else None


def obstacle(system: str = platform.system(), machine: str = platform.machine()) -> str | None:
    """Return why nothing can be confined on such a machine at all, where that is so."""
    if system != "Linux":
        return f"it needs Linux, this is {system}"
    if machine not in syscalls.AUDIT:
        return f"its filter of system calls knows {' and '.join(syscalls.AUDIT)}, this is {machine}"
    return None


def candidates() -> list[Backend]:
    """Return the backends to try, strongest first.

    Namespaces of our own come before bubblewrap's: only there has each job a scratch folder of limited size in memory.
    """
    wrapped = bubblewrap()
    return [NAMESPACES, *([wrapped] if wrapped else []), *([LANDLOCK] if kernel.landlock_abi() else [])]


def _bubblewrap(path: str, policy: Policy, base: str) -> list[str]:
    command = [path, "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc"]
    for place in policy.paths():
        if not place.startswith("/proc/"):
            command += ["--ro-bind", place, place]
    for place in policy.devices():
        command += ["--dev-bind", place, place]
    for place, end in policy.links():
        command += ["--symlink", end, place]
    return [*command, "--tmpfs", base, "--remount-ro", "/", "--chdir", "/", "--"]
