"""What ranks proposals before any of them is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nas_agent.records import Architecture, Json
from nas_agent.tools.surrogates.transfer import Source


@dataclass(frozen=True, slots=True)
class Ranked:
    """One proposal that is worth a measurement, and what the surrogate expects of it."""

    index: int  # its place among the proposals
    mean: float | None = None  # in standard deviations of the outcomes so far; None: not predicted
    deviation: float | None = None
    gain: float | None = None  # value of the acquisition function

    def to_dict(self) -> Json:
        """As plain JSON types, without the place."""
        return {"mean": self.mean, "deviation": self.deviation, "gain": self.gain}


class Surrogate(Protocol):
    """A model of the scores of a space, told of one outcome after another.

    What it predicts is a function of the outcomes in their order and of nothing else, so that a resumed
    search ranks as the one that was never stopped.
    """

    @property
    def name(self) -> str:
        """`structure` or `joint`: what the event log names it by."""
        ...

    def inform(self, sources: Sequence[Source]) -> None:
        """Learn of other tasks, before the first outcome; what cannot be measured here is passed over."""
        ...

    @property
    def agreement(self) -> dict[str, float]:
        """How much each source that is still used agrees with the outcomes, from 0 to 1."""
        ...

    def observe(self, architecture: Architecture, score: float) -> None:
        """Learn of a measured architecture, or that one is worth something else than was told; more is better."""
        ...

    def rank(
        self, proposals: Sequence[Architecture], keep: int, under_way: Sequence[Architecture] = ()
    ) -> list[Ranked]:
        """Return the `keep` proposals most worth measuring, best first, while others are being measured."""
        ...

    def predict(self, proposals: Sequence[Architecture]) -> list[Ranked]:
        """Return what is expected of each proposal, in their order and without a gain."""
        ...
