"""Ways to confine, strongest first; which of them works here is found by trying, not by asking for versions."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from nas_agent.errors import SandboxError
from nas_agent.tools.sandbox import kernel, syscalls
from nas_agent.tools.sandbox.containers import Container, container
from nas_agent.tools.sandbox.policy import Policy, environment

WARM = (sys.executable, "-P", "-m", "nas_agent.tools.sandbox.zygote")


@dataclass(frozen=True, slots=True)
class Start:
    """One way to start a warm parent: a command, its environment, and what to end beside its process."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    around: Container | None = None


@dataclass(frozen=True, slots=True)
class Backend:
    """Around the warm parent a wall, in each job's process a filter of system calls and, if there is one, Landlock."""

    name: str
    namespaces: bool = False  # the warm parent leaves for namespaces of its own
    wrapper: str | None = None  # path of bubblewrap
    engine: str | None = None  # path of Docker's or Podman's client
    confining: bool = True  # False: the sandbox is off

    @property
    def walls(self) -> list[str]:
        """What stands around the warm parent beside what it does itself."""
        return ["bubblewrap's namespaces"] if self.wrapper else ["container"] if self.engine else []

    def start(self, policy: Policy, base: str) -> Start:
        """Return how to start a warm parent; SandboxError where this backend does not work here."""
        if self.engine is not None:
            around = container(self.engine, policy, base)
            return Start((*around.command, *WARM), around.client, around)
        wrapped = () if self.wrapper is None else _bubblewrap(self.wrapper, policy, base)
        return Start((*wrapped, *WARM), environment(policy))


NAMESPACES = Backend("unshare", namespaces=True)
LANDLOCK = Backend("landlock")
UNSAFE = Backend("off", confining=False)
ENGINES = ("docker", "podman")
_LACKING = {
    "bubblewrap": "there is no program 'bwrap'",
    "landlock": "the kernel has no Landlock",
    **{name: f"there is no program '{name}'" for name in ENGINES},
}


def obstacle(system: str = platform.system(), machine: str = platform.machine()) -> str | None:
    """Return why nothing can be confined on such a machine at all, where that is so."""
    if system != "Linux":
        return f"it needs Linux, this is {system}"
    if machine not in syscalls.AUDIT:
        return f"its filter of system calls knows {' and '.join(syscalls.AUDIT)}, this is {machine}"
    return None


def installed() -> list[Backend]:
    """Return the backends that this machine may have, strongest first; whether one works is found by starting it.

    Namespaces of our own come before bubblewrap's: only there has each job a scratch folder of limited size in memory.
    Containers come last: they add a daemon that is trusted with all of the machine, and take longest to start.
    """
    found = [NAMESPACES]
    if path := shutil.which("bwrap"):
        found.append(Backend("bubblewrap", wrapper=path))
    if kernel.landlock_abi():
        found.append(LANDLOCK)
    return [*found, *(Backend(name, engine=path) for name in ENGINES if (path := shutil.which(name)))]


def chosen(name: str) -> list[Backend]:
    """Return the backends that a name stands for: one, or with `auto` all; SandboxError where it is not installed."""
    found = [backend for backend in installed() if name in ("auto", backend.name)]
    if not found:
        raise SandboxError(
            f"sandbox {name}: {_LACKING.get(name, 'no such backend')} on this machine; leave it out, or choose another"
        )
    return found


def _bubblewrap(path: str, policy: Policy, base: str) -> tuple[str, ...]:
    command = [path, "--unshare-all", "--die-with-parent", "--new-session", "--proc", "/proc"]
    for place in policy.paths():
        if not place.startswith("/proc/"):
            command += ["--ro-bind", place, place]
    for place in policy.devices():
        command += ["--dev-bind", place, place]
    for place, end in policy.links():
        command += ["--symlink", end, place]
    return (*command, "--tmpfs", base, "--remount-ro", "/", "--chdir", "/", "--")
