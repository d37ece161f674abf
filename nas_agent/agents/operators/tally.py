"""How often a language model's programs could be used, by intent: with and without repair."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nas_agent.records import Json


@dataclass(slots=True)
class Tally:
    """Counts of the questions of one intent, or of several."""

    asked: int = 0  # that got an answer; where the model was silent there is nothing to judge
    came_back: int = 0  # the first answer held a Python program with a class
    valid: int = 0  # the first answer was a new network of the space
    valid_after_repair: int = 0  # the first or a later one was

    def add(self, offspring: Json) -> None:
        """Count one `Offspring.to_dict()`."""
        attempts = offspring["attempts"]
        if attempts:
            self.asked += 1
            self.came_back += attempts[0]["came_back"]
            self.valid += not attempts[0]["problem"]
            self.valid_after_repair += offspring["child"] is not None

    def to_dict(self) -> dict[str, int]:
        """As plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


def tally(offspring: Iterable[Json], counted: dict[str, Tally] | None = None) -> dict[str, Tally]:
    """Count what an event log holds, by intent, on top of what was counted before; `all` counts them together."""
    counted = {} if counted is None else counted
    for each in offspring:
        counted.setdefault("all", Tally()).add(each)
        counted.setdefault(each["intent"], Tally()).add(each)
    return counted
