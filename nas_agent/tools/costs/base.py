"""What a cost is to a search: a number of each architecture, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from nas_agent.records import Architecture

# Nothing to speak of; a network that is built; a clock, which is slow and never twice says the same.
Effort = Literal["instant", "built", "timed"]


class Cost(Protocol):
    """One quantity of any architecture, in the unit of its `Quantity`."""

    @property
    def origin(self) -> str:
        """Where the numbers come from, for the user."""
        ...

    @property
    def effort(self) -> Effort:
        """What an answer takes."""
        ...

    def __call__(self, architecture: Architecture) -> float | None:
        """Return it; None where it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """What a file says, by canonical id."""

    values: Mapping[str, float]
    origin: str
    effort: Effort = "instant"

    def __call__(self, architecture: Architecture) -> float | None:
        """Look it up."""
        return self.values.get(architecture.id)


@dataclass(frozen=True, slots=True)
class Scaled:
    """A cost as a multiple of another one, e.g. the bytes of so many weights."""

    of: Callable[[Architecture], float | None]
    factor: float
    origin: str
    effort: Effort

    def __call__(self, architecture: Architecture) -> float | None:
        """Multiply."""
        value = self.of(architecture)
        return None if value is None else value * self.factor
