"""What memory says of itself: what a write did, what it holds, what a search of it found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from nas_agent.records import Json


class Remembered(Enum):
    """What `remember` did."""

    NEW = "new"
    UPDATED = "updated"  # the run was known with other contents, e.g. before it was resumed
    KNOWN = "known"  # nothing written


@dataclass(frozen=True, slots=True)
class Stats:
    """What memory holds."""

    folder: Path
    embedder: str
    runs: int
    architectures: int
    measured: int
    predicted: int
    principles: int
    active: int
    tasks: dict[str, int]  # task -> runs
    spaces: dict[str, int]  # space -> runs

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {**asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True, slots=True)
class Hit:
    """One item found by `search`."""

    kind: str  # "architecture" or "principle"
    text: str
    task: str
    space: str
    run: str
    about: str  # its value and rank, or its status and effect
    similarity: float

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild` made."""

    runs: int
    architectures: int
    principles: int
    previous: Path | None  # where the store before it was moved

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {**asdict(self), "previous": None if self.previous is None else str(self.previous)}
