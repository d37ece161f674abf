"""What a text is, and the two that every space has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nas_agent.records import Architecture


class TextMaker(Protocol):
    """Writes an architecture as a text that can be embedded. It can be pickled, so that processes share the work."""

    @property
    def name(self) -> str:
        """What `make_text` was asked for, additions in a fixed order."""
        ...

    def __call__(self, architecture: Architecture) -> str:
        """Write the text; raise InvalidArchitecture with the reason where this architecture has none."""
        ...


@dataclass(frozen=True, slots=True)
class SpaceText:
    """A text that a method of the space writes."""

    name: str
    write: Callable[[Architecture], str]

    def __call__(self, architecture: Architecture) -> str:
        """Ask the space."""
        return self.write(architecture)
