"""The process that trains, seen from the process that asks: started on first use, asked, and replaced when it dies."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Protocol

from nas_agent.errors import ConfigError, StorageError
from nas_agent.records import Json

# -P keeps the user's current folder off the import path: a file called torch.py there must not be imported.
WORKER = (sys.executable, "-P", "-m", "nas_agent.tools.evaluators.worker")
GRACE = 15.0  # seconds that the worker has, beyond a candidate's limit, to say that its time has passed
STARTING = 300.0  # seconds that the worker may take to load torch
MEMORY_SHARE = 0.8  # of the machine's memory, that one candidate may take where nothing is said
LOST = "its training process was killed together with the process that watches it"
NO_RESULT = "its training process gave a reply that is no result; propose another architecture"


class BrokenWorker(RuntimeError):
    """The training process cannot work here at all, whatever the architecture: a broken machine."""


class Interrupted(RuntimeError):
    """The training process was ended by who owns it, while it trained."""


class Trains(Protocol):
    """Who trains: `Worker` code that is trusted, `Confined` code that is not. Both run `candidate.answers`."""

    def probe(self, request: Json) -> Json:
        """Return the `device` and the number format (`precision`) that it would train with; ConfigError for none."""
        ...

    def train(self, request: Json) -> Json:
        """Return `predicted`, with the bytes of `classes`, or `failed`, with `reason` and `cause`; and the seconds.

        Where proxies are asked for, it is `scored` instead of `predicted`, with their `scores`. Where code is
        confined, `sandbox` says by what.
        """
        ...

    def close(self) -> None:
        """End what was started."""
        ...

    def stop(self) -> None:
        """End it also while another thread waits for a reply; that thread gets Interrupted."""
        ...


class Worker:
    """Trains one architecture at a time in children of a process of its own; several workers train side by side."""

    def __init__(self, command: Sequence[str] = WORKER, *, threads: int = 1) -> None:
        self._command, self._threads = tuple(command), threads
        self._running: _Running | None = None
        self._asked: _Running | None = None  # while a thread waits for its reply
        self._stopped = False
        self._lock = threading.Lock()

    def probe(self, request: Json) -> Json:
        """Ask on which device and in which number format it would train."""
        replies = self._ask({**request, "limit": STARTING})
        return _checked(replies)[0]

    def train(self, request: Json) -> Json:
        """Train in a child of the worker; a worker that is lost is replaced and asked once more.

        Raise BrokenWorker where it cannot work at all, ConfigError where it is asked for what is not here, and
        StorageError where weights cannot be written.
        """
        start, replies = time.perf_counter(), self._ask(request)
        if not _ended(replies):
            replies = self._ask(request)
        reply = _outcome(replies, request["limit"])
        # The whole cost, the start of the process included, is what the user waits for.
        return {**reply, "seconds": time.perf_counter() - start}

    def close(self) -> None:
        """End the process."""
        if self._running is not None:
            self._running.end()
            self._running = None

    def stop(self) -> None:
        """End the process, also while another thread waits for its reply, which then gets Interrupted."""
        self._stopped = True
        if (asked := self._asked) is not None:
            asked.end()
        with self._lock:
            self.close()
            self._stopped = False

    def _ask(self, request: Json) -> list[Json]:
        with self._lock:
            running = self._running
            if running is None or running.child.poll() is not None:
                running = _Running(self._command, self._threads)
            self._running = None  # until all is well: also Ctrl-C leaves no half-read reply behind
            self._asked = running
            try:
                self._check()
                replies = running.ask(request)
                self._check()
            except BaseException:
                running.end()
                self._check()
                raise
            finally:
                self._asked = None
            if _ended(replies) and not replies[-1].get("stuck") and hasattr(os, "fork"):
                self._running = running
            else:
                running.end()
            return replies

    def _check(self) -> None:
        if self._stopped:
            raise Interrupted("the training process was ended")


class _Running:
    """A worker process and what it says."""

    def __init__(self, command: tuple[str, ...], threads: int) -> None:
        numbers = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        try:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                env={**os.environ, **numbers},
                start_new_session=True,
            )
        except OSError as error:
            self.errors.close()
            raise BrokenWorker(f"the training process cannot be started: {' '.join(command)} ({error})") from error
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=_read, args=(self.child.stdout, self.lines), daemon=True).start()
        self.end = weakref.finalize(self, _end, self.child, self.errors)
        self.fresh = True

    def ask(self, request: Json) -> list[Json]:
        """Send a request; return the replies, the last of which is `ended` unless the process was lost.

        Only lines that begin with the nonce are the worker's.
        """
        nonce = secrets.token_hex(16)  # no result depends on it
        limit = request["limit"] + GRACE + (STARTING if self.fresh else 0.0)
        deadline = time.monotonic() + limit
        replies: list[Json] = []
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(json.dumps({**request, "nonce": nonce}).encode() + b"\n")
            self.child.stdin.flush()
        except OSError:  # it is dead already; its last words are read below
            deadline = time.monotonic() + 5.0
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return [*replies, {"status": "ended", "code": 0, "error": "", "late": True, "stuck": True}]
            if line is None:
                if not replies and self.fresh:
                    raise BrokenWorker(
                        f"the training process ended with exit code {self.child.wait()} before it was ready: "
                        f"{self._last_words()}"
                    )
                return replies
            if line.startswith(nonce.encode()):
                self.fresh = False
                replies.append(_parsed(line[len(nonce) :]))
                if _ended(replies):
                    return replies

    def _last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read()[-4096:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:300] if lines else "no message"


def _read(source: IO[bytes], lines: queue.Queue[bytes | None]) -> None:
    with source:
        for line in source:
            lines.put(line)
    lines.put(None)


def _end(child: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    """End the process, its candidate and what that has started; asked first, since only the worker knows them."""
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            child.kill()
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all of them had ended
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, errors):
        with contextlib.suppress(OSError):  # what was not sent is not wanted any more
            if pipe is not None:
                pipe.close()


def _parsed(line: bytes) -> Json:
    """Read one reply; what is no reply at all has the status `malformed`."""
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        return {"status": "malformed"}
    return reply if isinstance(reply, dict) and isinstance(reply.get("status"), str) else {"status": "malformed"}


def _ended(replies: list[Json]) -> bool:
    return bool(replies) and replies[-1]["status"] == "ended"


def _checked(replies: list[Json]) -> list[Json]:
    """Raise what is not the architecture's doing."""
    for reply in replies:
        reason = reply.get("reason", "no reason given")
        match reply["status"]:
            case "broken":
                raise BrokenWorker(f"the training process cannot work here: {reason}")
            case "misconfigured":
                raise ConfigError(str(reason))
            case "unsaved":
                raise StorageError(
                    f"the network cannot be written ({reason}); free some space, or choose another folder"
                )
    return replies


def _outcome(replies: list[Json], limit: float) -> Json:
    """Tell what became of a candidate; one that was ready and then died was killed by its architecture."""
    _checked(replies)
    if not _ended(replies):
        return _failed(f"{LOST}, twice; propose a smaller or simpler architecture", "crash")
    ended, said = replies[-1], replies[:-1]
    if ended.get("late"):
        return _failed(f"its training was stopped after {limit:g} seconds; propose a smaller architecture", "time")
    if not said:
        raise BrokenWorker(f"the training process gave no reply before it ended: {ended.get('error') or 'no message'}")
    code, last = ended.get("code"), said[-1]
    if code != 0 or last["status"] == "ready":
        # A signal is a crash in native code, or the kernel's out-of-memory killer.
        signalled = isinstance(code, int) and code < 0
        how = f"killed by signal {-code} (9 is mostly a lack of memory)" if signalled else "ended"  # type: ignore[operator]
        how += "" if signalled else f" ({ended.get('error') or 'no message'})"
        reason = f"its training process was {how} without a result; propose a smaller or simpler architecture"
        return _failed(reason, "memory" if code == -signal.SIGKILL else "crash")
    if last["status"] == "scored":
        return last if _are_scores(last.get("scores")) else _failed(NO_RESULT, "crash")
    return _unpacked(last) if last["status"] == "predicted" else _refused(last)


def _are_scores(scores: object) -> bool:
    """Tell whether these are proxies' names with finite numbers, or None."""
    return isinstance(scores, dict) and all(
        isinstance(name, str)
        and (score is None or (isinstance(score, int | float) and not isinstance(score, bool) and math.isfinite(score)))
        for name, score in scores.items()
    )


def _unpacked(last: Json) -> Json:
    """Read the predictions, and the learning curve where there is one."""
    try:
        if not all(math.isfinite(loss) for loss in last.get("curve", ())):
            return _failed(NO_RESULT, "crash")
        return {**last, "classes": base64.b64decode(last["classes"], validate=True)}
    except (KeyError, TypeError, ValueError, binascii.Error):
        return _failed(NO_RESULT, "crash")


def _refused(last: Json) -> Json:
    known = last["status"] == "failed" and isinstance(last.get("reason"), str)
    return last if known else _failed(NO_RESULT, "crash")


def _failed(reason: str, cause: str) -> Json:
    return {"status": "failed", "reason": reason, "cause": cause}


def machine_memory() -> float | None:
    """Return a share of the machine's memory in GiB, or of what a container may take; None where it is unknown."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    with contextlib.suppress(OSError, ValueError):  # no such limit
        whole = min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return MEMORY_SHARE * whole / 2**30
