"""The append-only truth of a run: one JSON object a line.

Wall-clock values stand under the key `wall` and nowhere else, so that two runs can be compared by
everything but that key.

A search that was killed may have logged more than its last checkpoint knows. Those events are *ahead*:
the steps that wrote them are taken again, write the same events, and `append` recognises them instead
of writing them twice. Outcomes that are ahead are handed out by `outcome_ahead`, so that no measurement
is ever repeated once it stands in the log, or among the events that were set aside.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from nas_agent.errors import RunFolderError, StorageError
from nas_agent.records import Json

DISCARDED = "events.discarded.jsonl"


def deterministic(event: Json) -> Json:
    """Return the event without its wall-clock values."""
    return {key: value for key, value in event.items() if key != "wall"}


def read_events(path: Path) -> tuple[list[Json], int]:
    """Read a log; return its events and how many bytes of it are whole.

    A last line that was cut off while it was written is left out; a broken line before it is an error.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RunFolderError(f"{path}: the event log cannot be read ({error.strerror})") from error
    whole = raw.rfind(b"\n") + 1
    events: list[Json] = []
    for number, line in enumerate(raw[:whole].splitlines(), start=1):
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or "type" not in event:
                raise ValueError("not an event")
        except ValueError as error:
            raise RunFolderError(
                f"{path}, line {number}: expected one JSON event, got {line[:80]!r}; "
                "mend or remove the line, or start a new run"
            ) from error
        events.append(event)
    return events, whole


class EventLog:
    """Events in memory and, where a path is given, in a file."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.events: list[Json] = []  # what has happened, as far as this process has come
        self._ahead: list[Json] = []  # logged by a killed process, not yet reached again; next one last
        self._outcomes_ahead: dict[str, list[Json]] = {}  # by canonical id
        self._file: IO[bytes] | None = None

    @classmethod
    def reopen(cls, path: Path, known: int) -> EventLog:
        """Open a log whose last checkpoint has seen `known` events; the others are ahead."""
        log = cls(path)
        events, whole = read_events(path)
        if whole < path.stat().st_size:
            with _writing(path), path.open("rb+") as file:
                file.truncate(whole)
        log.events = events[:known]
        log._ahead = events[known:][::-1]
        for event in [*_discarded(path.parent / DISCARDED), *events[known:]]:
            if event["type"] == "outcome":
                outcome = event["outcome"]
                log._outcomes_ahead.setdefault(outcome["architecture"]["id"], []).append(outcome)
        return log

    def outcome_ahead(self, architecture_id: str, at: Json | None = None) -> Json | None:
        """Return the outcome of this architecture that a killed process measured, if it did; `at`: at this fidelity."""
        found = self._outcomes_ahead.get(architecture_id, [])
        return next((outcome for outcome in reversed(found) if at is None or outcome.get("at") == at), None)

    def everything(self) -> list[Json]:
        """Return what was logged, also what a killed process logged and this one has not done again yet."""
        return [*self.events, *reversed(self._ahead)]

    def ahead(self, kind: str) -> Json | None:
        """Return the next event that a killed process logged, if it is of this kind.

        For what must not be found out twice: what memory recalled, what the test split said.
        """
        return self._ahead[-1] if self._ahead and self._ahead[-1]["type"] == kind else None

    def append(self, kind: str, data: Json, *, lasting: bool = False) -> tuple[Json, bool]:
        """Write one event; return it, and whether it is new (False: a killed process wrote it).

        `lasting` also waits until the disk has it: for what cost more than a moment to find out.
        """
        event = {"type": kind, **data}
        event["wall"] = {**event.get("wall", {}), "time": round(time.time(), 3)}
        if self._ahead:
            # Through JSON, as the file has it: tuples are lists there.
            same = deterministic(json.loads(json.dumps(event))) == deterministic(self._ahead[-1])
            if same:
                event = self._ahead.pop()
                self.events.append(event)
                return event, False
            self._discard_ahead()
        self.events.append(event)
        if self.path is not None:
            self._write(event, lasting)
        return event, True

    def close(self) -> None:
        """Close the file; the log can be appended to again, which opens it anew."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, event: Json, lasting: bool) -> None:
        assert self.path is not None
        line = json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        with _writing(self.path):
            if self._file is None:
                # Unbuffered: a line is with the operating system, or it is not; kill -9 takes nothing back.
                self._file = self.path.open("ab", buffering=0)
            start = self._file.tell()
            try:
                written = self._file.write(line)
                if written != len(line):
                    raise OSError(28, "No space left on device")
            except OSError:
                # Leave no half line behind for the next process; where that fails too, `reopen` cuts it.
                with contextlib.suppress(OSError):
                    self._file.truncate(start)
                self.close()
                raise
            if lasting:
                os.fsync(self._file.fileno())

    def _discard_ahead(self) -> None:
        """Set aside what is ahead: this process took another way (another version, another model reply)."""
        assert self.path is not None
        kept: Sequence[Json] = self._ahead[::-1]
        with _writing(self.path):
            with (self.path.parent / DISCARDED).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(event) + "\n" for event in kept)
            temporary = self.path.with_suffix(".tmp")
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(event, separators=(",", ":")) + "\n" for event in self.events)
            temporary.replace(self.path)
        self._ahead = []


def _discarded(path: Path) -> list[Json]:
    """Read what was set aside; its measurements are as good as any."""
    return read_events(path)[0] if path.exists() else []


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another --out, "
            "then `nas-agent resume` goes on from here"
        ) from error
