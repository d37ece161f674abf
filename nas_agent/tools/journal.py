"""The event log together with what follows from it: archive, principles, recalled items, model costs.

Nothing changes these views but an event, so a log read back gives the same views: that is `resume`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas_agent.principles.library import Library
from nas_agent.principles.principle import Change, Observation
from nas_agent.records import Failed, Json, Measured, Outcome, Task, outcome_from_dict
from nas_agent.spaces.base import Space
from nas_agent.tools.archive import Added, Archive
from nas_agent.tools.event_log import EventLog

Listener = Callable[[Json], None]


@dataclass(slots=True)
class ModelUse:
    """What the language model cost so far."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost_usd": self.cost_usd,
        }


@dataclass(slots=True)
class Journal:
    """Write events here; read the views."""

    task: Task
    space: Space
    log: EventLog
    archive: Archive
    library: Library
    recalled: list[Json] = field(default_factory=list)  # architectures and principles
    sources: list[Json] = field(default_factory=list)  # recalled for the surrogate to learn from
    agreement: dict[str, float] | None = None  # of each source that is used, as last logged; None: not yet
    model_use: ModelUse = field(default_factory=ModelUse)
    result: Json | None = None  # the data of the `finished` event
    listeners: list[Listener] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    rounds: dict[str, int] = field(default_factory=dict)  # id -> round it was proposed in; 0 for the first sample

    @classmethod
    def begin(cls, task: Task, space: Space, log: EventLog) -> Journal:
        """Make the views and bring them up to date with the log's past."""
        journal = cls(task, space, log, Archive(task), Library(space.decisions))
        for event in log.events:
            journal._apply(event)
        return journal

    def emit(self, kind: str, *, lasting: bool = False, **data: Any) -> None:
        """Write an event and let the views follow."""
        event, new = self.log.append(kind, data, lasting=lasting)
        self._apply(event)
        if new:
            for listen in self.listeners:
                listen(event)

    def outcome(self, evaluation: int, outcome: Outcome) -> None:
        """Write an outcome; one that really took time is forced to the disk."""
        simulated = isinstance(outcome, Measured) and outcome.simulated
        lasting = outcome.seconds > 1.0 and not simulated
        self.emit("outcome", evaluation=evaluation, outcome=outcome.to_dict(), lasting=lasting)

    def changes(self, changes: Sequence[Change]) -> None:
        """Write what happened to principles."""
        for change in changes:
            self.emit("principle", **change.to_dict())

    def _apply(self, event: Json) -> None:
        match event["type"]:
            case "outcome":
                outcome = outcome_from_dict(event["outcome"])
                worst = min(self.archive.scores, default=None)
                added = self.archive.add(outcome)
                score = self.task.score(outcome.value) if isinstance(outcome, Measured) else worst
                # A failure has no value. As evidence it is no better than the worst that was measured before it.
                if added is not Added.KNOWN and score is not None:
                    self.observations.append(self._observe(outcome, score))
            case "proposal":
                self.rounds[event["proposal"]["architecture"]["id"]] = 0 if event["initial"] else event["round"]
            case "principle":
                self.library.apply(Change.from_dict(event))
            case "recalled":
                self.recalled = [item for item in event["items"] if item["kind"] != "source"]
                self.sources = [item for item in event["items"] if item["kind"] == "source"]
            case "sources":
                self.agreement = dict(event["agreement"])
            case "model_call":
                self.model_use.calls += 1
                self.model_use.input_tokens += event["input_tokens"]
                self.model_use.output_tokens += event["output_tokens"]
                self.model_use.cost_usd += event["cost_usd"] or 0.0
            case "finished":
                self.result = {key: value for key, value in event.items() if key not in {"type", "wall"}}

    def _observe(self, outcome: Outcome, score: float) -> Observation:
        key = outcome.architecture.id
        choices = self.space.choices(outcome.architecture)
        return Observation(key, choices, score, self.task.name, self.rounds.get(key, 0))

    def failures(self) -> list[Failed]:
        """Return the evaluations that did not finish."""
        return [outcome for outcome in self.archive if isinstance(outcome, Failed)]
