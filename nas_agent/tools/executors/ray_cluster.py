"""Evaluate on the workers of a Ray cluster, through a process that may end with the cluster (`ray_bridge.py`)."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from typing import IO

from nas_agent import errors
from nas_agent.errors import ConfigError, ExecutorError, MissingExtra, NasAgentError
from nas_agent.records import Failed, Json, Outcome, outcome_from_dict
from nas_agent.tools.evaluators.base import Evaluator
from nas_agent.tools.executors.base import Arrived, Work
from nas_agent.tools.executors.desk import Desk

BRIDGE = (sys.executable, "-P", "-m", "nas_agent.tools.executors.ray_bridge")
CONNECTING = 300.0  # seconds until there must be a first worker
ENDING = 20.0  # seconds that the bridge has to leave the cluster


class RemoteFault(RuntimeError):
    """A worker of the cluster raised what is no doing of the architecture; the message holds its traceback."""


class RayExecutor:
    """Work goes out as it is submitted, to whichever worker is free; outcomes come back as they are made."""

    def __init__(
        self,
        evaluator: Evaluator,
        address: str,
        workers: int | None,
        *,
        most: int,
        threads: int = 1,
        gpu: bool = False,
        local_cpus: int = 1,
        command: Sequence[str] = BRIDGE,
    ) -> None:
        """Connect, and wait for the first worker; ConfigError where there is no cluster.

        `workers`: None is as many as there is room for; `most`: as many as can ever have work; `threads`: cores of
        one; `local_cpus`: of a cluster that is started here.
        """
        if find_spec("ray") is None:
            raise MissingExtra("ray", "ray", "--executor ray")
        self._name, self._address, self._desk = evaluator.name, address, Desk()
        self._lines: queue.Queue[Json | None] = queue.Queue()
        blob = sent(evaluator)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
        )
        self._end = weakref.finalize(self, _end, self._child, self._errors)
        threading.Thread(target=_read, args=(self._child.stdout, self._lines), daemon=True).start()
        order = {
            "address": address, "workers": workers, "most": most, "threads": threads, "gpu": gpu,
            "local_cpus": local_cpus, "size": len(blob),
        }  # fmt: skip
        try:
            self._write(json.dumps(order).encode() + b"\n" + blob)
            self.workers = self._connected()
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._listen, daemon=True).start()

    def begin(self, arrived: Arrived) -> None:
        """Name who hears of outcomes as they arrive."""
        self._desk.begin(arrived)

    def submit(self, work: Work) -> None:
        """Send it to the cluster."""
        if self._desk.expect(work):
            self._write(json.dumps(work.to_dict()).encode() + b"\n")

    def take(self, work: Work) -> Outcome:
        """Wait for an outcome; ExecutorError where the cluster has gone away."""
        return self._desk.take(work)

    def close(self) -> None:
        """Leave the cluster."""
        self._desk.close()
        self._end()

    def _write(self, data: bytes) -> None:
        assert self._child.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: `_listen` hears so too
            self._child.stdin.write(data)
            self._child.stdin.flush()

    def _connected(self) -> int:
        try:
            first = self._lines.get(timeout=CONNECTING)
        except queue.Empty:
            first = {"status": "unreachable", "reason": f"no worker was ready in {CONNECTING:g} seconds"}
        if first is None:
            first = {"status": "unreachable", "reason": self._last_words()}
        if first["status"] != "ready":
            raise ConfigError(
                f"--ray-address {self._address}: no worker of a Ray cluster can be had there ({first['reason']}); "
                "start one with `ray start --head`, name another address, or take --ray-address local"
            )
        return int(first["workers"])

    def _listen(self) -> None:
        while (said := self._lines.get()) is not None and said["status"] != "gone":
            work = Work.from_dict(said["work"])
            self._desk.arrive(work, self._result(work, said), str(said["worker"]))
        if self._desk.closed:
            return
        why = self._last_words() if said is None else said["reason"]
        self._desk.break_down(
            ExecutorError(
                f"the Ray cluster at {self._address} went away ({why}); what has arrived is in the log. "
                "When it is back, or by other workers (--executor pool), `nas-agent resume` goes on from here"
            )
        )

    def _result(self, work: Work, said: Json) -> Outcome | BaseException:
        if "outcome" in said:
            return outcome_from_dict(said["outcome"])
        if "lost" in said:
            reason = f"its Ray worker was lost, twice ({said['lost']}); propose a smaller or simpler architecture"
            return Failed(work.architecture, reason, seconds=0.0, seed=work.seed, evaluator=self._name)
        if said["raised"] == "away":
            return ConnectionError(said["text"])
        kind = getattr(errors, said["raised"], None)
        if isinstance(kind, type) and issubclass(kind, NasAgentError) and kind is not MissingExtra:
            return kind(said["text"])
        return RemoteFault(f"on {said['worker']}: {said['trace']}")

    def _last_words(self) -> str:
        deadline = time.monotonic() + 5.0
        while self._child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        try:
            self._errors.seek(0)
            lines = self._errors.read()[-8192:].decode("utf-8", "replace").strip().splitlines()
        except ValueError:  # closed meanwhile: nobody wants to know any more
            lines = []
        return lines[-1][:300] if lines else "it gave no reason"


def sent(evaluator: Evaluator) -> bytes:
    """Pickle what is sent to the workers; ConfigError where it cannot be."""
    try:
        if type(evaluator).__module__ == "__main__":
            raise TypeError("its class is of the script that runs")
        return pickle.dumps(evaluator)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--executor ray: evaluator '{evaluator.name}' cannot be sent to other machines ({error}); "
            "take --executor pool, or make it an object of an importable class that pickle can write"
        ) from error


def _read(source: IO[bytes], lines: queue.Queue[Json | None]) -> None:
    with source:
        for line in source:
            lines.put(json.loads(line))
    lines.put(None)


def _end(child: subprocess.Popen[bytes], last_words: IO[bytes]) -> None:
    """Let the bridge leave the cluster, or end it."""
    assert child.stdin is not None
    with contextlib.suppress(OSError):
        child.stdin.close()
    try:
        child.wait(ENDING)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    last_words.close()
