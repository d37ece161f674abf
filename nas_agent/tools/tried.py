"""What was tried in a run, and what came of it, as its events tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nas_agent.records import Json, Miss, Proposal, Trial, outcome_from_dict


@dataclass(slots=True)
class Tried:
    """Measured proposals and attempts in vain, in the order in which they were logged."""

    items: list[Trial | Miss] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)  # of each item; 0 for the first sample
    _waiting: dict[str, tuple[int, Proposal]] = field(default_factory=dict)  # by id

    def follow(self, event: Json) -> None:
        """Take in one event of the log."""
        if event["type"] == "proposed":
            for miss in event.get("misses", ()):
                self._add(event["round"], Miss.from_dict(miss))
        elif event["type"] == "proposal":
            proposal = Proposal.from_dict(event["proposal"])
            self._waiting[proposal.architecture.id] = (0 if event["initial"] else event["round"], proposal)
        elif event["type"] == "outcome":
            found = self._waiting.pop(event["outcome"]["architecture"]["id"], None)
            if found is not None:
                self._add(found[0], Trial(found[1], outcome_from_dict(event["outcome"])))

    def before(self, number: int) -> list[Trial | Miss]:
        """Return what was tried before a round: a process that takes it again may have logged a part of it already."""
        return [item for round_, item in self.by_round() if round_ < number]

    def by_round(self) -> Iterator[tuple[int, Trial | Miss]]:
        """Yield each item with its round."""
        return zip(self.rounds, self.items, strict=True)

    def _add(self, number: int, item: Trial | Miss) -> None:
        self.rounds.append(number)
        self.items.append(item)
