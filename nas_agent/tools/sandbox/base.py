"""What a sandbox is asked and what it answers: a job under limits in, a result or the reason for none out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, Self

from nas_agent.records import Json

MIB = 2**20
Kind = Literal["raised", "wall clock", "cpu", "memory", "threads", "disk", "reply", "crashed", "lost"]
_ENTRY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use. There is no count of processes: a job is one process and cannot start another."""

    seconds: float = 60.0  # wall clock
    memory: int = 2048 * MIB  # bytes beyond those of the warm parent
    threads: int = 16
    disk: int = 64 * MIB  # bytes in the scratch folder, which is gone after the job
    files: int = 256  # open at a time
    reply: int = 64 * MIB  # bytes of result and blob together

    def __post_init__(self) -> None:
        for name in ("seconds", "memory", "threads", "disk", "files", "reply"):
            if not getattr(self, name) > 0:
                raise ValueError(f"the limit '{name}' is above 0, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Job:
    """A function to call with `payload` and `blob`; it returns JSON, or a pair of JSON and bytes.

    `entry` is an import path, "package.module:function", or with `source` the name of a function that it defines.
    """

    entry: str
    payload: Json = field(default_factory=dict)
    blob: bytes = b""
    source: str | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.source is None and not _ENTRY.fullmatch(self.entry):
            raise ValueError(f"an entry is 'package.module:function', got '{self.entry}'")


@dataclass(frozen=True, slots=True)
class Completed:
    """A job that gave a result. The result is what the job's process claims; only the rest was seen from outside."""

    result: object  # plain JSON types
    blob: bytes
    seconds: float
    cpu_seconds: float
    level: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """A job that ended without a result."""

    kind: Kind
    reason: str
    seconds: float
    cpu_seconds: float
    level: str


JobOutcome = Completed | Stopped


class Sandbox(Protocol):
    """Runs jobs, each in a confined process of its own."""

    @property
    def level(self) -> str:
        """Which mechanisms confine a job here, e.g. "unshare: namespaces, Landlock 7, seccomp, limits"."""
        ...

    def run(self, job: Job) -> JobOutcome:
        """Run one job to its end; a job that fails is a Stopped, a sandbox that cannot work is an exception."""
        ...

    def close(self) -> None:
        """End the warm parent and remove its folder."""
        ...

    def interrupt(self) -> None:
        """End the warm parent for good, also while another thread waits for a job: that and any later one is "lost"."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
