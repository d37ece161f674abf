"""The process between a search and a Ray cluster: a Ray driver ends with its cluster, a search must not.

    python -P -m nas_agent.tools.executors.ray_bridge

The first line on stdin says which cluster and how many workers, and how many bytes follow: the pickled evaluator. Then
each line is work, and each line on stdout an answer: `ready` once there is a worker, `unreachable`, an outcome, what
an evaluation raised, `lost` (a worker was lost twice with the same work), or `gone` (no worker is left). When stdin
ends, so does this process, and with it a cluster that it has started itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from nas_agent.records import Json
from nas_agent.tools.executors.ray_worker import RayWorker

PATIENCE = 60.0  # seconds in which the cluster must have room for a worker
TRIES = 2  # with the work of a worker that was lost
ANSWERING = 2.0  # seconds that the host of an address has to take a connection
CLIENT_PORT = 10001  # of ray://HOST, as `ray start` opens it


class Lost(Exception):
    """A worker was lost, or none could be had."""


class Cluster(Protocol):
    """Where workers are hired."""

    def hire(self) -> tuple[Any, str]:
        """Start a worker and return it with its name; Lost where there is no room for it."""
        ...

    def perform(self, worker: Any, work: Json) -> Json:
        """Return what the worker answers; Lost where it is gone."""
        ...


class Bridge:
    """A thread for each worker. One that is lost is replaced; where it cannot be, its work goes to the others."""

    def __init__(self, cluster: Cluster, workers: int, say: Callable[[Json], None]) -> None:
        self._cluster, self._say, self._left = cluster, say, workers
        self._work: queue.PriorityQueue[tuple[int, Json]] = queue.PriorityQueue()
        self._ready, self._lock = False, threading.Lock()
        for _ in range(workers):
            threading.Thread(target=self._serve, daemon=True).start()

    def hand_on(self, lines: Iterable[bytes]) -> None:
        """Take work until there is no more line."""
        for number, line in enumerate(lines):
            self._work.put((number, json.loads(line)))

    def _serve(self) -> None:
        work: tuple[int, Json] | None = None
        try:
            worker, name = self._cluster.hire()
            self._started()
            tried = 0
            while True:
                work = work or self._work.get()
                try:
                    answer = self._cluster.perform(worker, work[1])
                except Lost as lost:
                    tried += 1
                    if tried == TRIES:
                        self._tell({"lost": str(lost), "work": work[1], "worker": name})
                        work, tried = None, 0
                    worker, name = self._cluster.hire()
                    continue
                self._tell({**answer, "work": work[1], "worker": name})
                work, tried = None, 0
        except Lost as lost:
            self._retire(work, str(lost))

    def _started(self) -> None:
        with self._lock:
            if not self._ready:
                self._ready = True
                self._say({"status": "ready", "workers": self._left})

    def _tell(self, answer: Json) -> None:
        with self._lock:
            self._say({"status": "answer", **answer})

    def _retire(self, work: tuple[int, Json] | None, why: str) -> None:
        with self._lock:
            if work is not None:
                self._work.put(work)
            self._left -= 1
            if self._left == 0:
                self._say({"status": "gone" if self._ready else "unreachable", "reason": why})


class RayCluster:
    """Actors of a Ray cluster."""

    def __init__(self, order: Json, evaluator: bytes) -> None:
        """Connect; ConnectionError, ValueError or RuntimeError where that cannot be done."""
        address = order["address"]
        reach(os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
        show_token(own=address == "local")
        import ray

        known: Json = {} if address != "local" else {"include_dashboard": False, "num_cpus": order["local_cpus"]}
        ray.init(address=address, logging_level="ERROR", log_to_driver=False, **known)
        self._ray = ray
        there = ray.cluster_resources()
        size = order["threads"]
        room = int(there.get("GPU", 0) if order["gpu"] else there.get("CPU", 0) // size)
        self.workers = max(1, min(order["workers"] or room, order["most"]))
        # Several workers may share a GPU.
        asked = {"num_cpus": 1, "num_gpus": min(1.0, room / self.workers)} if order["gpu"] else {"num_cpus": size}
        self._actor = ray.remote(RayWorker).options(max_restarts=0, **asked)
        self._evaluator = ray.put(evaluator)

    def hire(self) -> tuple[Any, str]:
        """Start an actor and wait until it answers."""
        with self._losses():
            worker = self._actor.remote(self._evaluator)
            return worker, self._ray.get(worker.name.remote(), timeout=PATIENCE)

    def perform(self, worker: Any, work: Json) -> Json:
        """Have an actor evaluate."""
        with self._losses():
            answer: Json = self._ray.get(worker.perform.remote(work))
            return answer

    def leave(self) -> None:
        """Let the workers go; a cluster that was started here ends."""
        self._ray.shutdown()

    @contextlib.contextmanager
    def _losses(self) -> Any:
        errors = self._ray.exceptions
        try:
            yield
        except errors.GetTimeoutError as error:
            raise Lost(f"the cluster had no room for a worker in {PATIENCE:g} seconds") from error
        except errors.RayTaskError as error:  # the evaluator cannot be made there
            raise Lost(" ".join(str(error).split())[-300:]) from error
        except (errors.RayError, ConnectionError) as error:
            raise Lost(told(error)) from error


def reach(address: str) -> None:
    """Raise ConnectionError where nothing listens at an address: Ray itself tries for a minute, and writes pages.

    `auto` and `local` name no host.
    """
    client = address.startswith("ray://")
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if client and not colon:
        host, port = port, str(CLIENT_PORT)
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERING).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError("nothing listens there") from error


def show_token(*, own: bool) -> None:
    """Give a cluster of our `own` a token that nobody else knows; show others that of this user, if there is one.

    So does `ray start`; `ray.init` does so only for a cluster of its own, and leaves the token in the home folder.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    if own:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    path = os.environ.get("RAY_AUTH_TOKEN_PATH", os.path.expanduser("~/.ray/auth_token"))
    if "RAY_AUTH_TOKEN" in os.environ or os.path.exists(path):
        os.environ["RAY_AUTH_MODE"] = "token"


def told(error: BaseException) -> str:
    """Return what an error says first, and what lies behind it last; Ray goes on for pages in between."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    behind = (str(error.__cause__ or error.__context__ or "").strip() or said[-1]).splitlines()
    return said[0][:200] if behind[-1] == said[0] else f"{said[0][:200]}: {behind[-1][:200]}"


def main() -> None:
    """Connect, then hand on until stdin ends."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(what: Json) -> None:
        replies.write(json.dumps(what) + "\n")
        replies.flush()

    order = json.loads(sys.stdin.buffer.readline())
    evaluator = sys.stdin.buffer.read(order["size"])
    try:
        cluster = RayCluster(order, evaluator)
    except (ConnectionError, ValueError, RuntimeError, ImportError, OSError) as error:
        say({"status": "unreachable", "reason": told(error)})
        return
    try:
        Bridge(cluster, cluster.workers, say).hand_on(sys.stdin.buffer)
    finally:
        cluster.leave()
        os._exit(0)  # threads may still wait for workers that nobody wants any more


if __name__ == "__main__":
    main()
