"""Hostile code: each technique is shown to work with the sandbox off, and to leave no trace with it on."""

from __future__ import annotations

import glob
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nas_agent.errors import SandboxError
from nas_agent.tools.sandbox import (
    Completed,
    Job,
    JobOutcome,
    Limits,
    Policy,
    Sandbox,
    Stopped,
    WarmSandbox,
    open_sandbox,
)
from nas_agent.tools.sandbox.backends import UNSAFE, chosen, obstacle
from nas_agent.tools.sandbox.base import MIB
from tests.hostile import SNIPPETS, TECHNIQUES, Snippet, corpus

pytestmark = pytest.mark.skipif(obstacle() is not None, reason=f"no sandbox here: {obstacle()}")

BARE = Policy(preload=(), packages=())
TIGHT = Limits(seconds=0.5, memory=64 * MIB, threads=16, disk=MIB, files=64, reply=MIB)
# With the sandbox off: enough that a bomb gets through, and still an end to everything.
LOOSE = Limits(seconds=5.0, memory=768 * MIB, threads=200, disk=64 * MIB, files=1000, reply=8 * MIB)


class Victim:
    """What hostile code is offered: a folder, sockets and a process, none of them anybody's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = [sys.executable, "-c", "import time; time.sleep(600)"]
        self.process = subprocess.Popen(program, env={"HOSTILE_SECRET": "1"})
        self.sockets = [socket.socket(), socket.socket(type=socket.SOCK_DGRAM)]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.port = self.sockets[0].getsockname()[1]
        self.sockets[1].bind(("127.0.0.1", self.port))
        self.abstract = f"\0nas-agent-hostile-{os.getpid()}"
        for address in (str(folder.parent / "socket"), self.abstract):
            self.sockets.append(socket.socket(socket.AF_UNIX))
            self.sockets[-1].bind(address)
        for one in self.sockets:
            one.setblocking(False)
            if one.type == socket.SOCK_STREAM:
                one.listen()
        self.reset()

    def reset(self) -> None:
        """Plant the files anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "candidate").mkdir(parents=True)
        (self.folder / "key").write_text("secret")
        (self.folder / "key").chmod(0o600)
        (self.folder / "file").write_text("content")
        (self.folder / "candidate" / "model.py").write_text("x = 1\n")
        os.setpriority(os.PRIO_PROCESS, self.process.pid, os.getpriority(os.PRIO_PROCESS, 0))

    @property
    def target(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "key": str(self.folder / "key"),
            "file": str(self.folder / "file"),
            "other": str(self.folder / "candidate" / "model.py"),
            "port": self.port,
            "unix": str(self.folder.parent / "socket"),
            "abstract": self.abstract,
            "victim": self.process.pid,
        }

    def state(self) -> dict[str, Any]:
        """Everything outside of the scratch folder that a technique could change."""
        process = self.process.pid
        return {
            "files": {str(path): _file(path) for path in [self.folder, *sorted(self.folder.rglob("*"))]},
            "knocks": sum(_knocked(one) for one in self.sockets),
            "process": (
                self.process.poll(),
                os.getpriority(os.PRIO_PROCESS, process),
                os.sched_getaffinity(process),
                resource.prlimit(process, resource.RLIMIT_CORE),
                _field(process, "TracerPid:"),
                _field(process, "State:") in {"S", "R"},
            ),
            "elsewhere": [found for pattern in MARKS for found in glob.glob(pattern)],
            "kept by the kernel": [kind for kind in ("shm", "msg", "sem") if _kept(kind)],
        }

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for one in self.sockets:
            one.close()


MARKS = (
    "/dev/shm/*nas-agent-hostile*", "/var/tmp/nas-agent-hostile*", "/tmp/nas-agent-hostile*",
    os.path.dirname(json.__file__) + "/nas_agent_hostile.py",
)  # fmt: skip


def _file(path: Path) -> tuple[Any, ...]:
    found = path.lstat()
    content = path.read_bytes() if path.is_file() else None
    extra: list[str] = []
    with suppress(OSError):
        extra = os.listxattr(path, follow_symlinks=False)
    return found.st_mode, found.st_uid, found.st_gid, found.st_nlink, found.st_mtime_ns, content, extra


def _knocked(one: socket.socket) -> int:
    with suppress(BlockingIOError):
        if one.type == socket.SOCK_DGRAM:
            one.recv(10)
        else:
            one.accept()[0].close()
        return 1
    return 0


def _field(process: int, key: str) -> str:
    text = Path(f"/proc/{process}/status").read_text()
    return next(line.split()[1] for line in text.splitlines() if line.startswith(key))


def _kept(kind: str) -> bool:
    lines = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
    return any(int(line.split()[0]) & 0xFFFFFF00 == 0x6E617300 for line in lines)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    one = Victim(tmp_path_factory.mktemp("victim") / "folder")
    yield one
    one.close()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSTILE_SECRET", "1")
        try:
            with open_sandbox(BARE) as one:
                yield one
        except SandboxError as error:
            pytest.skip(f"nothing confines here: {error}")


@pytest.fixture(scope="module")
def off() -> Iterator[Sandbox]:
    with WarmSandbox(BARE, UNSAFE) as one:
        yield one


def attempt(sandbox: Sandbox, snippet: Snippet, victim: Victim, limits: Limits) -> JobOutcome:
    return sandbox.run(Job("main", source=snippet.source, payload=victim.target, limits=limits))


def got_through(outcome: JobOutcome) -> object:
    """The evidence that a snippet returned, if any."""
    return outcome.result if isinstance(outcome, Completed) else None


def test_the_corpus_has_a_thousand_different_snippets_of_sixty_techniques() -> None:
    assert len({snippet.source for snippet in corpus()}) == SNIPPETS == 1000
    assert len({snippet.name for snippet in TECHNIQUES}) == len(TECHNIQUES) >= 60
    assert sum(not snippet.gains for snippet in TECHNIQUES) < 20
    assert sum(snippet.gains and snippet.certain for snippet in TECHNIQUES) >= 60  # shown to work on every system


@pytest.mark.parametrize("snippet", [s for s in TECHNIQUES if s.gains], ids=lambda snippet: snippet.name)
def test_a_technique_works_with_the_sandbox_off(snippet: Snippet, off: Sandbox, victim: Victim) -> None:
    victim.reset()
    if "secrets in the environment" in snippet.name:
        pytest.skip("the environment is emptied with the sandbox off too")
    outcome = attempt(off, snippet, victim, LOOSE)
    if not snippet.certain and not got_through(outcome):
        pytest.skip(f"this system refuses it to everyone: {outcome}")
    assert got_through(outcome), outcome
    victim.state()  # takes the knocks


@pytest.mark.parametrize("snippet", TECHNIQUES, ids=lambda snippet: snippet.name)
def test_a_technique_leaves_no_trace_with_the_sandbox_on(snippet: Snippet, sandbox: Sandbox, victim: Victim) -> None:
    withstands(sandbox, snippet, victim)


def withstands(sandbox: Sandbox, snippet: Snippet, victim: Victim) -> None:
    victim.reset()
    before = victim.state()
    outcome = attempt(sandbox, snippet, victim, TIGHT)
    assert not got_through(outcome), outcome
    assert victim.state() == before
    assert outcome.level == sandbox.level


@pytest.mark.slow
def test_a_thousand_hostile_snippets_leave_no_trace(sandbox: Sandbox, victim: Victim) -> None:
    for snippet in corpus():
        withstands(sandbox, snippet, victim)
    assert got_through(sandbox.run(Job("main", source="def main(p, b): return 1")))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["landlock", "docker", "podman"])
def test_a_thousand_hostile_snippets_leave_no_trace_in_another_sandbox(name: str, victim: Victim) -> None:
    try:
        (backend,) = chosen(name)
        confined = WarmSandbox(BARE, backend)
    except SandboxError as error:
        pytest.skip(f"{name} does not work here: {error}")
    with confined:
        for snippet in corpus():
            withstands(confined, snippet, victim)


def test_the_scratch_folder_is_empty_for_every_job(sandbox: Sandbox) -> None:
    write = Job("main", source="import os\ndef main(p, b):\n    open('x', 'w').close()\n    return os.listdir()")
    assert [got_through(sandbox.run(write)) for _ in range(2)] == [["x"], ["x"]]


def test_with_the_sandbox_off_too_no_process_of_a_job_is_left() -> None:
    name = f"x{time.time_ns()}"[-15:]
    source = f"""
import ctypes, os, time
def main(payload, blob):
    for _ in range(3):
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, b"{name}", 0, 0, 0)
            time.sleep(60)
    time.sleep(60)
"""
    with WarmSandbox(BARE, UNSAFE) as one:
        outcome = one.run(Job("main", source=source, limits=Limits(seconds=0.5)))
    assert isinstance(outcome, Stopped)
    end = time.monotonic() + 30  # the system takes a moment to bury the dead
    while name in _names() and time.monotonic() < end:
        time.sleep(0.01)
    assert name not in _names()


def _names() -> set[str]:
    found = set()
    for path in glob.glob("/proc/[0-9]*/comm"):
        with suppress(OSError):
            found.add(Path(path).read_text().strip())
    return found
