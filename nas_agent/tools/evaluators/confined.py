"""Who trains code that nobody vouches for: each candidate is one job of a sandbox. See docs/security.md.

What a job says is its claim: its form is checked here, its predictions are compared elsewhere, and nothing that it says
can be more than the failure of one candidate.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nas_agent.errors import ConfigError, StorageError
from nas_agent.records import Json
from nas_agent.tools.evaluators.artefacts import ONNX, SOURCE, WEIGHTS
from nas_agent.tools.evaluators.candidate import LEFT
from nas_agent.tools.evaluators.isolation import STARTING, BrokenWorker, Interrupted, machine_memory
from nas_agent.tools.sandbox import Completed, Job, JobOutcome, Limits, Policy, Sandbox, Stopped
from nas_agent.tools.sandbox.base import MIB, Kind
from nas_agent.tools.sandbox.policy import gpus
from nas_agent.tools.sandbox.warm import plain
from nas_agent.tools.weights import MOST

JOB = "nas_agent.tools.evaluators.candidate:job"
PRELOAD = (*Policy().preload, "nas_agent.tools.evaluators.candidate", "nas_agent.tools.evaluators.trainer")
PACKAGES = ("torch", "numpy", "safetensors", "onnx", "onnxruntime")  # the last three to leave a network
THREADS = 32  # beside those that compute
PREDICTIONS = 16 * MIB  # bytes of a reply at most: four million images
KEPT = 2048 * MIB  # bytes of weights and ONNX at most
NO_RESULT = "its process gave a reply that is no result; propose a network that computes logits and nothing else"
# What ended a job, and so what to propose; {0} is what the sandbox says, {1:g} the seconds.
ADVICE: dict[Kind, tuple[str, str]] = {
    "raised": ("network", "its network raised {0}; propose one whose layers fit together"),
    "wall clock": ("time", "its training was stopped after {1:g} seconds; propose a smaller architecture"),
    "cpu": ("time", "{0}; propose a smaller architecture"),
    "memory": ("memory", "it ran out of memory; propose a smaller architecture"),
    "threads": ("crash", "{0}; propose a network that starts no threads"),
    "disk": ("crash", "{0}; propose a network that writes no files"),
    "reply": ("crash", NO_RESULT),
    "crashed": ("crash", "{0} without a result; propose a smaller or simpler architecture"),
    "lost": ("crash", "{0}, twice; propose a smaller or simpler architecture"),
}


class Confined:
    """Trains one architecture at a time, each in a job of a sandbox that is opened on first use.

    `folder` holds the images that a job may read. `start` opens a sandbox; SandboxError where none holds here.
    """

    def __init__(self, folder: Path, *, threads: int = 1, start: Callable[[Policy], Sandbox]) -> None:
        self._folder, self._threads, self._start = folder, threads, start
        self._lock = threading.Lock()
        self._sandbox: Sandbox | None = None
        self._ready: Json = {}
        self._stopped = False

    @property
    def level(self) -> str | None:
        """What confines jobs; None before there was one."""
        return None if self._sandbox is None else self._sandbox.level

    def probe(self, request: Json) -> Json:
        """Tell where jobs train; the sandbox is opened for it."""
        with self._lock:
            self._opened(request)
            return self._ready

    def train(self, request: Json) -> Json:
        """Train in a job; where the sandbox itself was lost, once more in a new one."""
        start = time.perf_counter()
        with self._lock:
            sandbox, job = self._opened(request), self._job(request)
            outcome = self._run(sandbox, job)
            if isinstance(outcome, Stopped) and outcome.kind == "lost":
                outcome = self._run(sandbox, job)
        reply = _judged(outcome, request)
        return {**reply, "seconds": time.perf_counter() - start, "sandbox": outcome.level}

    def close(self) -> None:
        """End the sandbox."""
        with self._lock:
            self._end()

    def stop(self) -> None:
        """End the sandbox, also while another thread waits for a job in it, which then gets Interrupted."""
        self._stopped = True
        if (sandbox := self._sandbox) is not None:
            sandbox.interrupt()
        with self._lock:
            self._end()
            self._stopped = False

    def _end(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def _run(self, sandbox: Sandbox, job: Job) -> JobOutcome:
        try:
            return sandbox.run(job)
        finally:
            self._check()

    def _check(self) -> None:
        if self._stopped:
            raise Interrupted("the sandbox was ended")

    def _opened(self, request: Json) -> Sandbox:
        if self._sandbox is None:
            gpu = request["device"] != "cpu" and bool(gpus())
            self._sandbox, self._ready = self._greeted(request, gpu=gpu)
            if gpu and self._ready["device"] == "cpu":  # torch cannot use it: then a job need not open it
                self._sandbox.close()
                self._sandbox, self._ready = self._greeted(request, gpu=False)
            weakref.finalize(self, self._sandbox.close)
        self._check()
        return self._sandbox

    def _greeted(self, request: Json, *, gpu: bool) -> tuple[Sandbox, Json]:
        """Open a sandbox in which our own code works; else the machine is broken, and not every candidate."""
        policy = Policy(
            preload=PRELOAD, packages=PACKAGES, readable=(str(self._folder),), compute_threads=self._threads, gpu=gpu
        )
        sandbox = self._start(policy)
        try:
            question = {key: request[key] for key in ("device", "precision", "side", "threads")}
            outcome = sandbox.run(Job(JOB, question, limits=Limits(seconds=STARTING)))
            said: Any = outcome.result if isinstance(outcome, Completed) else {"reason": outcome.reason}
            if said.get("status") == "misconfigured":
                raise ConfigError(str(said["reason"]))
            if said.get("status") != "ready":
                raise BrokenWorker(f"nothing can be trained in the sandbox ({sandbox.level}): {said.get('reason')}")
        except BaseException:
            sandbox.close()
            raise
        return sandbox, said

    def _job(self, request: Json) -> Job:
        save, inherit = request.get("save"), request.get("inherit")
        files: Sequence[bytes] = () if inherit is None else inherit["files"]
        more = MOST if inherit is not None and inherit["leaves"] else 0
        asked = {} if inherit is None else {"inherit": {**inherit, "files": [], "sizes": [*map(len, files)]}}
        memory = request["memory"] if request["device"] == "cpu" else machine_memory()  # a GPU's is limited by torch
        return Job(
            JOB,
            {**request, "save": save is not None, **asked},
            b"".join(files) if save is None else Path(save, SOURCE).read_bytes(),
            limits=Limits(
                seconds=request["limit"],
                memory=2**50 if memory is None else int(memory * 2**30),
                threads=THREADS + self._threads,
                **({"reply": PREDICTIONS + more} if save is None else {"disk": KEPT, "reply": KEPT}),
            ),
        )


def _judged(outcome: JobOutcome, request: Json) -> Json:
    """Make of what a job claims, or of what ended it, a reply as a worker gives it."""
    if isinstance(outcome, Stopped):
        cause, words = ADVICE[outcome.kind]
        return _failed(words.format(outcome.reason, request["limit"]), cause)
    said: Any = outcome.result
    try:
        if said["status"] == "predicted":
            return {"status": "predicted", **_taken(said, outcome.blob, request), **_began(said, request)}
        if said["status"] == "failed" and isinstance(said["reason"], str):
            return _failed(plain(said["reason"]), "memory" if said["cause"] == "memory" else "network")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):  # whatever it is, it is no reply of ours
        pass
    return _failed(NO_RESULT, "crash")


def _failed(reason: str, cause: str) -> Json:
    return {"status": "failed", "reason": reason, "cause": cause}


def _began(said: Any, request: Json) -> Json:
    """Return how much it claims to have inherited; ValueError where that cannot be."""
    if request.get("inherit") is None:
        return {}
    taken, of = said["taken"], said["of"]
    if not (type(taken) is type(of) is int and 0 <= taken <= of <= MOST):
        raise ValueError("no number of weights")
    return {"taken": taken if request["inherit"]["files"] else 0, "of": of}


def _taken(said: Any, data: bytes, request: Json) -> Json:
    """Take the predictions off the bytes, and write the files that follow them; ValueError where they do not fit."""
    save, inherit = request.get("save"), request.get("inherit")
    lengths = {str(name): int(length) for name, length in said["files"].items()}
    wanted = [] if save is None else [WEIGHTS, ONNX] if said["onnx"]["written"] else [WEIGHTS]
    if inherit is not None and inherit["leaves"] and lengths:  # a network may have none, or too many
        wanted = [LEFT]
    end = len(data) - sum(lengths.values())
    if list(lengths) != wanted or min(lengths.values(), default=0) < 0 or end < 0:
        raise ValueError("not the files that were asked for")
    if save is None:
        return {"classes": data[:end], **({LEFT: data[end:]} if lengths else {})}
    kept = _told(said)
    start = end
    for name, length in lengths.items():
        _write(Path(save, name), data[start : start + length])
        start += length
    return {"classes": data[:end], **kept}


def _told(said: Any) -> Json:
    """Return what is said of the files; nothing but the job knows whether it is true."""
    onnx = said["onnx"]
    if onnx["written"]:
        found: Json = {"checked_by": plain(str(onnx["checked_by"])), "difference": float(onnx["difference"])}
    else:
        found = {"why": plain(str(onnx["why"]))}
    return {
        "parameters": int(said["parameters"]),
        "same_logits": bool(said["same_logits"]),
        "onnx": {"written": bool(onnx["written"]), **found},
    }


def _write(file: Path, data: bytes) -> None:
    try:
        file.write_bytes(data)
    except OSError as error:
        why = error.strerror or error
        raise StorageError(
            f"the network cannot be written ({file}: {why}); free some space, or choose another folder"
        ) from error
