"""The sandbox as the rest of the program has it: started once, warm, proven by attacks, then one job after another."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from nas_agent.errors import SandboxError
from nas_agent.tools.sandbox import backends, canaries, wire
from nas_agent.tools.sandbox.backends import Backend
from nas_agent.tools.sandbox.base import Completed, Job, JobOutcome, Kind, Stopped
from nas_agent.tools.sandbox.job import BROKEN, CONFINED
from nas_agent.tools.sandbox.policy import Policy

_START = 300.0  # seconds: torch on a slow disk
_LONGEST = 500  # characters of a job's error
_GRACE = 60.0  # seconds that the warm parent gets beyond a job's own limit


def open_sandbox(
    policy: Policy | None = None, name: str = "auto", *, among: Sequence[Backend] | None = None
) -> WarmSandbox:
    """Start the strongest sandbox that holds here; SandboxError where none does.

    `name` is `auto`, that of the one backend to try, or `off`: then nothing is confined. `among` are the backends to
    try, in this order; by default, those that this machine may have.
    """
    wanted = policy or Policy()
    obstacle = backends.obstacle()
    if obstacle:
        raise SandboxError(f"generated code cannot be confined here: {obstacle}; run it on Linux")
    if name == backends.UNSAFE.name:
        return WarmSandbox(wanted, backends.UNSAFE)
    troubles = []
    for backend in backends.chosen(name) if among is None else among:
        try:
            return _proven(WarmSandbox(wanted, backend))
        except SandboxError as error:
            troubles.append(f"{backend.name}: {error}")
    mending = (
        "allow user namespaces or Landlock, install bubblewrap or Docker"
        if name == "auto"
        else f"leave --sandbox {name} out, which takes the strongest that holds"
    )
    raise SandboxError(
        f"generated code cannot be confined here ({'; '.join(troubles) or 'no Landlock'}); {mending}, or allow it to "
        "run unconfined with --unsafe"
    )


def _proven(sandbox: WarmSandbox) -> WarmSandbox:
    """Return the sandbox if it withstands the quick attacks, else close it and raise SandboxError."""
    try:
        broken = [result for result in canaries.attack(sandbox, canaries.QUICK) if not result.held]
    except BaseException:
        sandbox.close()
        raise
    if broken:
        sandbox.close()
        raise SandboxError("; ".join(f"{result.name}: {result.detail}" for result in broken))
    return sandbox


class WarmSandbox:
    """A warm parent in a process of its own, and the jobs that it forks, one at a time."""

    def __init__(self, policy: Policy, backend: Backend) -> None:
        self._policy, self._backend = policy, backend
        self._lock = threading.Lock()
        self._interrupted = False
        self._start()

    @property
    def level(self) -> str:
        """Which mechanisms confine a job."""
        return f"{self._backend.name}: {', '.join(self._mechanisms)}"

    def run(self, job: Job) -> JobOutcome:
        """Run one job; where the warm parent itself is lost, the job is a Stopped and the next gets a new parent."""
        with self._lock:
            try:
                if self._process.poll() is not None and not self._interrupted:
                    self._end()
                    self._start()
                answer = None if self._interrupted else self._exchange(job)
            except SandboxError:
                if not self._interrupted:  # else it came while another warm parent was started
                    raise
                answer = None
            except BaseException:  # Ctrl-C too: what is left in the pipe would be taken for the next job's answer
                self._end()
                raise
        if answer is None:
            return Stopped("lost", "it took the sandbox's warm parent with it", 0.0, 0.0, self.level)
        return _outcome(job, *answer, self.level)

    def close(self) -> None:
        """End the warm parent and with it any job, and remove its folder."""
        with self._lock:
            self._end()

    def interrupt(self) -> None:
        """End the warm parent for good, also while another thread waits for a job: that and any later one is "lost"."""
        self._interrupted = True
        self._kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        policy, backend = self._policy, self._backend
        self._base = os.path.realpath(tempfile.mkdtemp(prefix="nas-agent-sandbox-"))
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the warm parent lives
        try:
            start = backend.start(policy, self._base)
            process = subprocess.Popen(
                start.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=start.environment,
                cwd="/",
                start_new_session=True,
            )
        except BaseException as error:
            self._errors.close()
            shutil.rmtree(self._base, ignore_errors=True)
            if isinstance(error, OSError):
                raise SandboxError(f"cannot be started ({error})") from error
            raise
        self._around, self._process = start.around, process  # from here on `interrupt` finds it
        try:
            if self._interrupted:
                raise SandboxError("it was interrupted while it started")
            self._mechanisms = self._greet()
        except BaseException:
            self._end()
            raise

    def _greet(self) -> list[str]:
        policy, backend = self._policy, self._backend
        setup = {
            "base": self._base,
            "readable": policy.paths(),
            "links": policy.links(),
            "devices": policy.devices(),
            "preload": policy.preload,
            "gpu": policy.gpu,
            "namespaces": backend.namespaces,
            "landlock": backend.confining,
            "seccomp": backend.confining,
        }
        self._send(wire.frame(setup))
        answer = self._answer(_START)
        if answer is None or "broken" in answer[0]:
            reason = self._last_words() if answer is None else answer[0]["broken"]
            raise SandboxError(f"cannot be started ({reason})")
        return [*backend.walls, *answer[0]["level"]]

    def _exchange(self, job: Job) -> tuple[Any, bytes] | None:
        request = {"entry": job.entry, "source": job.source, "payload": job.payload, "limits": asdict(job.limits)}
        self._send(wire.frame(request, job.blob))
        return self._answer(job.limits.seconds + _GRACE)

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            wire.send(self._process.stdin.fileno(), data)
        except BrokenPipeError:
            return  # it has ended; its answer will be none

    def _answer(self, seconds: float) -> tuple[Any, bytes] | None:
        """Return the next frame; None where the warm parent has ended or is silent."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], seconds)
        answer = wire.receive(descriptor) if ready else None
        if answer is None:
            self._kill()
        return answer

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        told = [line for line in lines if "rror" in line] or lines  # a client's last line is how to get help
        return told[-1][:300] if lines else f"exit code {self._process.wait()}"

    def _kill(self) -> None:
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.kill()
        self._process.wait()
        around, self._around = self._around, None
        if around is not None:
            around.end()

    def _end(self) -> None:
        self._kill()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                stream.close()
        shutil.rmtree(self._base, ignore_errors=True)


def _outcome(job: Job, answer: Any, data: bytes, level: str) -> JobOutcome:
    """Judge what the warm parent saw and what the job claims; of the claims, only their form is believed."""
    seconds, cpu, code = float(answer["seconds"]), float(answer["cpu_seconds"]), int(answer["code"])

    def stopped(kind: Kind, reason: str) -> Stopped:
        return Stopped(kind, reason, seconds, cpu, level)

    if "stopped" in answer:
        return stopped(*answer["stopped"])
    if not data.startswith(CONFINED):
        message = data.removeprefix(BROKEN).decode(errors="replace") or f"it ended with code {code}"
        raise SandboxError(f"a job could not be confined: {message}")
    if code < 0:
        return stopped(*_signalled(-code, cpu, job))
    try:
        document, blob = wire.parsed(data[1:])
    except wire.Malformed:
        reason = "it ended without a result" if len(data) == 1 else "its reply is no result"
        return stopped("crashed" if len(data) == 1 else "reply", reason)
    if isinstance(document, dict) and "result" in document:
        return Completed(document["result"], blob, seconds, cpu, level)
    if isinstance(document, dict) and isinstance(document.get("raised"), str):
        return stopped("memory" if document.get("kind") == "memory" else "raised", plain(document["raised"]))
    return stopped("reply", "its reply is no result")


def _signalled(number: int, cpu: float, job: Job) -> tuple[Kind, str]:
    if number == signal.SIGKILL and cpu >= job.limits.seconds:
        return "cpu", f"it used more than {cpu:.0f} seconds of the processor"
    if number == signal.SIGKILL:
        return "memory", "it was killed by the kernel, mostly for lack of memory"
    return "crashed", f"it crashed by signal {number} ({signal.strsignal(number) or 'of no name'})"


def plain(text: str) -> str:
    """Return the text of a job without what could steer a terminal or break a log: it is read by people and models."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_LONGEST])
