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
from nas_agent.tools.sandbox import backends, canaries, kernel, wire
from nas_agent.tools.sandbox.backends import Backend
from nas_agent.tools.sandbox.base import Completed, Job, JobOutcome, Kind, Stopped
from nas_agent.tools.sandbox.job import BROKEN, CONFINED
from nas_agent.tools.sandbox.policy import Policy, environment

_START = 300.0  # seconds: torch on a slow disk
_LONGEST = 500  # characters of a job's error
_GRACE = 60.0  # seconds that the warm parent gets beyond a job's own limit


def open_sandbox(
    policy: Policy | None = None, *, unsafe: bool = False, among: Sequence[Backend] | None = None
) -> WarmSandbox:
    """Start the strongest sandbox that holds here; SandboxError where none does, unless `unsafe`.

    `among` are the backends to try, in this order; by default, those that this machine may have.
    """
    chosen = policy or Policy()
    obstacle = backends.obstacle()
    if obstacle:
        raise SandboxError(f"generated code cannot be confined here: {obstacle}; run it on Linux")
    if unsafe:
        return WarmSandbox(chosen, backends.UNSAFE)
    troubles = []
    for backend in backends.candidates() if among is None else among:
        try:
            return _proven(WarmSandbox(chosen, backend))
        except SandboxError as error:
            troubles.append(f"{backend.name}: {error}")
    raise SandboxError(
        f"generated code cannot be confined here ({'; '.join(troubles) or 'no Landlock'}); allow user namespaces or "
        "Landlock, install bubblewrap, or allow it to run unconfined with --unsafe"
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
            if self._process.poll() is not None and not self._interrupted:
                self._end()
                self._start()
            try:
                answer = None if self._interrupted else self._exchange(job)
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
            self._process = subprocess.Popen(
                backend.command(policy, self._base),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment(policy),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            shutil.rmtree(self._base, ignore_errors=True)
            raise SandboxError(f"cannot be started ({error})") from error
        try:
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
            "landlock": backend.confining and kernel.landlock_abi() > 0,
            "seccomp": backend.confining,
        }
        self._send(wire.frame(setup))
        answer = self._answer(_START)
        if answer is None or "broken" in answer[0]:
            reason = self._last_words() if answer is None else answer[0]["broken"]
            raise SandboxError(f"cannot be started ({reason})")
        walls = ["bubblewrap's namespaces"] if backend.wrapper else []
        return [*walls, *answer[0]["level"]]

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
        return lines[-1][:300] if lines else f"exit code {self._process.wait()}"

    def _kill(self) -> None:
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                self._process.kill()
        self._process.wait()

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
