"""Attacks on our own sandbox: what is enforced here is what these find refused, not what a version promises.

Each attack is a source text that reports what it achieved; beside its report, what it would leave behind is looked
for from outside: a connection, a file, a process.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from nas_agent.records import Json
from nas_agent.tools.sandbox.base import MIB, Completed, Job, JobOutcome, Limits, Sandbox
from nas_agent.tools.sandbox.policy import plain_names

_LIMITS = Limits(seconds=0.5, memory=64 * MIB, threads=16, disk=MIB, reply=MIB)

_NETWORK = """
import socket
def main(target, blob):
    for family, address in ((socket.AF_INET, ("127.0.0.1", target["port"])), (socket.AF_UNIX, target["unix"])):
        try:
            with socket.socket(family) as one:
                one.settimeout(0.2)
                one.connect(address)
                return "a socket was opened and connected"
        except OSError:
            continue
"""
_READ = """
def main(target, blob):
    for path in target["secrets"]:
        try:
            with open(path) as file:
                if file.read(1):
                    return f"{path} was read"
        except OSError:
            continue
"""
_ENVIRONMENT = """
import os
def main(target, blob):
    parent = ""
    try:
        parent = open(f"/proc/{os.getppid()}/environ").read()
    except OSError:
        pass
    for name in target["names"]:
        if name in os.environ or f"{name}=" in parent:
            return f"{name} is in the environment"
"""
_WRITE = """
import os
def main(target, blob):
    for path in target["places"]:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            return f"{path} was written"
        except OSError:
            continue
    try:
        os.chmod(target["secret"], 0o777)
        return "a file's mode was changed"
    except OSError:
        pass
"""
_FORK = """
import os, time
def main(target, blob):
    try:
        if os.fork() == 0:
            time.sleep(0.3)
            os._exit(0)
    except OSError:
        return None
    return "a process was started"
"""
_ALLOCATE = """
def main(target, blob):
    held = []
    for _ in range(64):
        held.append(bytearray(4 << 20))
    return f"{len(held) * 4} MB were allocated, with a limit of 64"
"""
_SLEEP = """
import signal, time
def main(target, blob):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(2)
    return "it slept for 2 seconds, with a limit of 0.5"
"""
_TRACE = """
import ctypes, os
def main(target, blob):
    libc = ctypes.CDLL(None, use_errno=True)
    for process in (os.getppid(), target["process"]):
        if libc.ptrace(0x4206, process, 0, 0) == 0:
            return f"process {process} was seized"
        try:
            os.kill(process, 0)
            open(f"/proc/{process}/mem", "rb").close()
            return f"process {process} can be signalled and its memory opened"
        except OSError:
            continue
"""
_OTHER = """
import os
def main(target, blob):
    for folder in target["others"]:
        try:
            if os.listdir(folder):
                return f"{folder} was listed"
        except OSError:
            continue
    if "left-behind" in os.listdir("."):
        return "what the job before it wrote was found"
    with open("left-behind", "w") as file:
        file.write("x")
"""


@dataclass(frozen=True, slots=True)
class Canary:
    """One attack."""

    name: str
    source: str
    allowed: str  # what to say where it was not refused and left a trace


@dataclass(frozen=True, slots=True)
class Attacked:
    """How an attack ended."""

    name: str
    held: bool
    detail: str


CANARIES = (
    Canary("open a socket", _NETWORK, "a connection arrived"),
    Canary("read a key", _READ, ""),
    Canary("read the environment", _ENVIRONMENT, ""),
    Canary("write outside", _WRITE, "a file was left"),
    Canary("start processes", _FORK, ""),
    Canary("trace the parent", _TRACE, ""),
    Canary("read another candidate's folder", _OTHER, ""),
    Canary("find what the job before wrote", _OTHER, ""),
    Canary("allocate without end", _ALLOCATE, ""),
    Canary("sleep for ever", _SLEEP, ""),
)
QUICK = CANARIES[:8]  # those of a few milliseconds: every start of a sandbox is tried by them


def attack(sandbox: Sandbox, canaries: Sequence[Canary] = CANARIES) -> list[Attacked]:
    """Make the attacks and say which were refused, and by what; a sandbox where a plain job fails holds nothing."""
    plain = sandbox.run(Job("main", source="def main(payload, blob):\n    return payload\n", payload={"one": 1}))
    if not isinstance(plain, Completed) or plain.result != {"one": 1}:
        return [Attacked("run a plain job", False, f"it failed: {getattr(plain, 'reason', 'another answer')}")]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nas-agent-canary-")))
        listeners = [stack.enter_context(listener) for listener in _listeners(folder)]
        target = _target(folder, listeners[0].getsockname()[1])
        results = []
        for canary in canaries:
            outcome = sandbox.run(Job("main", source=canary.source, payload=target, limits=_LIMITS))
            trace = any(_knocked(listener) for listener in listeners) or bool(_traces(folder))
            results.append(_judged(canary, outcome, trace))
    return results


def _listeners(folder: Path) -> Iterator[socket.socket]:
    for family, address in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, str(folder / "socket"))):
        listener = socket.socket(family)
        listener.bind(address)
        listener.listen()
        listener.setblocking(False)
        yield listener


def _target(folder: Path, port: int) -> Json:
    """Plant a key and another candidate's folder; name them and the user's real ones, if there are any."""
    secret, other = folder / "id_key", folder / "candidate"
    secret.write_text("a planted secret")
    secret.chmod(0o600)
    other.mkdir()
    (other / "model.py").write_text("x = 1\n")
    home = Path.home()
    keys = [home / name for name in (".ssh/id_rsa", ".ssh/id_ed25519", ".netrc", ".bashrc", ".bash_history")]
    return {
        "port": port,
        "unix": str(folder / "socket"),
        "secret": str(secret),
        "secrets": [str(path) for path in (secret, *keys, "/etc/shadow", "/etc/passwd")],
        "names": sorted(set(os.environ) - plain_names()),
        "places": [str(folder / "written"), str(home / ".nas-agent-canary"), "/var/tmp/nas-agent-canary"],
        "process": os.getpid(),
        "others": [str(other)],
    }


def _knocked(listener: socket.socket) -> bool:
    try:
        connection, _ = listener.accept()
    except BlockingIOError:
        return False
    connection.close()
    return True


def _traces(folder: Path) -> list[Path]:
    """Return what an attack left, and remove it."""
    left = [folder / "written", Path.home() / ".nas-agent-canary", Path("/var/tmp/nas-agent-canary")]
    found = [path for path in left if path.exists()]
    for path in found:
        path.unlink()
    return found


def _judged(canary: Canary, outcome: JobOutcome, trace: bool) -> Attacked:
    if trace:
        return Attacked(canary.name, False, canary.allowed or "it left a trace")
    if not isinstance(outcome, Completed):
        return Attacked(canary.name, True, outcome.reason)
    if outcome.result is None:
        return Attacked(canary.name, True, "refused")
    return Attacked(canary.name, False, str(outcome.result))
