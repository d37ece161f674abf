"""What has arrived before its turn, kept at once: `arrivals.jsonl` of a run folder, one outcome a line.

The event log holds outcomes in the order of the search, which does not depend on who was faster. An outcome that
arrives out of turn is written here, so that a crash of the search takes nothing back that a worker has finished; a
resumed search finds it here when its turn comes. The file also tells when each came, and from which worker.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path

from nas_agent.errors import RunFolderError, StorageError
from nas_agent.records import Outcome, outcome_from_dict
from nas_agent.tools.event_log import read_events
from nas_agent.tools.executors.base import Work

ARRIVED = "arrived"


class Arrivals:
    """Outcomes that an earlier process of the run has left, and where this one leaves its own; without a path, none."""

    def __init__(self, path: Path | None = None) -> None:
        """Read what an earlier process has left; RunFolderError where a line in the middle cannot be read."""
        self._path, self._lock = path, threading.Lock()
        self._left: dict[Work, Outcome] = {}
        if path is None or not path.exists():
            return
        events, whole = read_events(path)
        if whole < path.stat().st_size:  # the last line was cut off
            os.truncate(path, whole)
        for number, event in enumerate(events, start=1):
            try:
                self._left[Work.from_dict(event)] = outcome_from_dict(event["outcome"])
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise RunFolderError(
                    f"{path}, line {number}: expected an outcome, got what lacks or misuses {error}; "
                    "mend or remove the line"
                ) from error

    def left(self, work: Work) -> Outcome | None:
        """Return the outcome of this work that arrived at an earlier process, if it did."""
        return self._left.get(work)

    def add(self, work: Work, outcome: Outcome, worker: str) -> None:
        """Keep an outcome, from any thread; one that took time is forced to the disk. StorageError where it is full."""
        if self._path is None:
            return
        event = {"type": ARRIVED, **work.to_dict(), "outcome": outcome.to_dict()}
        event["wall"] = {"time": round(time.time(), 3), "worker": worker}
        with self._lock:
            line = json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n"
            try:
                with self._path.open("ab", buffering=0) as file:
                    start = file.tell()
                    if file.write(line) != len(line):
                        file.truncate(start)  # no half line in the middle, should the next one fit again
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    if outcome.seconds > 1.0:
                        os.fsync(file.fileno())
            except OSError as error:
                raise StorageError(
                    f"{self._path}: cannot be written ({error.strerror}); free some space, "
                    "then `nas-agent resume` goes on from here"
                ) from error
