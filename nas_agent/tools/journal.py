"""The event log together with what follows from it: archive, principles, recalled items, model costs.

Nothing changes these views but an event, so a log read back gives the same views: that is `resume`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas_agent.principles.library import Library
from nas_agent.principles.principle import Change, Observation
from nas_agent.principles.review import Answer, decide
from nas_agent.records import Failed, Json, Measured, Outcome, Proposal, Task, outcome_from_dict
from nas_agent.spaces.base import Space
from nas_agent.tools.archive import Added, Archive
from nas_agent.tools.curves import Bar
from nas_agent.tools.event_log import EventLog
from nas_agent.tools.fidelities import Rungs
from nas_agent.tools.surrogates.gate import Gate
from nas_agent.tools.tried import Tried

Listener = Callable[[Json], None]


@dataclass(slots=True)
class Use:
    """What calls of a model cost so far."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0  # None once a model of unknown price has answered
    seconds: float = 0.0

    def add(self, event: Json) -> None:
        """Count a `model_call` event; one that got no answer costs nothing."""
        self.calls += 1
        self.input_tokens += event["input_tokens"]
        self.output_tokens += event["output_tokens"]
        self.seconds += event.get("wall", {}).get("seconds", 0.0)
        cost = 0.0 if event.get("method") == "none" else event["cost_usd"]
        self.cost_usd = None if cost is None or self.cost_usd is None else self.cost_usd + cost

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {name: getattr(self, name) for name in Use.__slots__}


@dataclass(slots=True)
class ModelUse(Use):
    """What the language models cost so far: in total, and each role's part."""

    roles: dict[str, Use] = field(default_factory=dict)

    def add(self, event: Json) -> None:
        """Count a `model_call` event; those of older logs are the learner's."""
        Use.add(self, event)
        self.roles.setdefault(event.get("role", "learner"), Use()).add(event)

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {**Use.to_dict(self), "roles": {role: use.to_dict() for role, use in sorted(self.roles.items())}}


@dataclass(slots=True)
class Journal:
    """Write events here; read the views."""

    task: Task
    space: Space
    log: EventLog
    archive: Archive
    library: Library
    gate: Gate  # whether the surrogate's predictions came true
    recalled: list[Json] = field(default_factory=list)  # architectures and principles
    sources: list[Json] = field(default_factory=list)  # recalled for the surrogate to learn from
    imported: list[Json] = field(default_factory=list)  # the principles of the file that the run started from
    agreement: dict[str, float] | None = None  # of each source that is used, as last logged; None: not yet
    offers: list[Json] = field(default_factory=list)  # what a language model proposed, one item for each question
    varied: dict[int, list[Json]] = field(default_factory=dict)  # round -> what a language model made of its wishes
    model_use: ModelUse = field(default_factory=ModelUse)
    embedder_failure: Json | None = None  # since then the surrogate knows structure alone
    truncated: bool = False  # whether the log says that texts are too long for the embedder
    result: Json | None = None  # the data of the `finished` event
    listeners: list[Listener] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    review: bool = False  # whether a person is asked before a principle takes effect
    pending: dict[str, Change] = field(default_factory=dict)  # what waits for an answer, by the reference it will have
    costs: dict[str, Json] = field(default_factory=dict)  # id -> costs by name, of what was to be measured
    bars: dict[str, Bar] = field(default_factory=dict)  # id -> what its learning curve is compared with
    refused: dict[str, str] = field(default_factory=dict)  # id -> which limit a proposal breaks
    rounds: dict[str, int] = field(default_factory=dict)  # id -> round it was proposed in; 0 for the first sample
    scores: dict[str, float | None] = field(default_factory=dict)  # id -> proxy, of what was screened
    promotions: set[int] = field(default_factory=set)  # rounds that proposed nothing new, but promoted
    tried: Tried = field(default_factory=Tried)
    under_way: dict[str, Proposal] = field(default_factory=dict)  # by id, without an outcome yet; oldest first

    @classmethod
    def begin(cls, task: Task, space: Space, log: EventLog) -> Journal:
        """Make the views and bring them up to date with the log's past."""
        journal = cls(task, space, log, Archive(task), Library(space.decisions), Gate(task))
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
        """Write what happened to principles; under review, what would take effect is held back."""
        for change in changes:
            held = self.review and change.action in {"activated", "revised"}
            self.emit("held" if held else "principle", **change.to_dict())

    def settle(self, answers: Mapping[str, Answer]) -> None:
        """Write what a person says to what is held back, and what follows; PrincipleError, and nothing is written."""
        following = decide(self.library, self.pending, answers, self.observations, len(self.archive))
        self.emit("reviewed", answers={reference: answer.to_dict() for reference, answer in answers.items()})
        for change in following:
            self.emit("principle", **change.to_dict())

    def _apply(self, event: Json) -> None:
        self.gate.follow(event)
        self.tried.follow(event)
        match event["type"]:
            case "started":
                if event.get("fidelities"):
                    self.archive.rungs = Rungs.from_list(event["fidelities"])
                self.imported = list(event.get("imported", {}).get("principles", []))
            case "outcome":
                outcome = outcome_from_dict(event["outcome"])
                self.under_way.pop(outcome.architecture.id, None)
                worst = min(self.archive.levels[0].scores, default=None)
                added = self.archive.add(outcome)
                score = self.task.score(outcome.worth) if isinstance(outcome, Measured) else worst
                # A failure has no value. As evidence it is no better than the worst that was measured before it.
                # Of several rungs the cheapest is evidence: at the others stands only what was good there.
                if added is not Added.KNOWN and score is not None and self.archive.is_first(outcome):
                    self.observations.append(self._observe(outcome, score))
            case "screened":
                self.scores |= event["scores"]
            case "refused":
                self.refused |= {item["id"]: item["why"] for item in event["architectures"]}
            case "proposal":
                proposal = Proposal.from_dict(event["proposal"])
                key = proposal.architecture.id
                if not self.archive.holds(key, proposal.at):
                    self.under_way[key] = proposal
                if event.get("choice") == "promoted":
                    self.promotions.add(event["round"])
                    return
                self.costs[key] = event.get("costs", {})
                if "bar" in event:
                    self.bars[key] = Bar.from_dict(event["bar"])
                self.rounds[key] = 0 if event["initial"] else event["round"]
            case "principle":
                self.library.apply(Change.from_dict(event))
            case "held":
                change = Change.from_dict(event)
                self.pending[change.principle.reference] = change
                self.library.know(change.principle.constraint)
            case "reviewed":
                for reference in event["answers"]:
                    self.pending.pop(reference, None)
            case "recalled":
                self.recalled = [item for item in event["items"] if item["kind"] != "source"]
                self.sources = [item for item in event["items"] if item["kind"] == "source"]
            case "sources":
                self.agreement = dict(event["agreement"])
            case "embedder_failure":
                self.embedder_failure = event
            case "truncated":
                self.truncated = True
            case "offered":
                self.offers.append({key: value for key, value in event.items() if key not in {"type", "wall"}})
            case "varied":
                self.varied[event["round"]] = event["answers"]
            case "model_call":
                self.model_use.add(event)
            case "finished":
                self.result = {key: value for key, value in event.items() if key not in {"type", "wall"}}

    @property
    def known(self) -> Collection[str]:
        """Canonical ids that are measured or being measured: what needs no proposal."""
        return self.archive.ids | self.under_way.keys() if self.under_way else self.archive.ids

    @property
    def begun(self) -> int:
        """How many evaluations were begun, whether or not they have an outcome yet."""
        return len(self.archive) + len(self.under_way)

    def _observe(self, outcome: Outcome, score: float) -> Observation:
        key = outcome.architecture.id
        choices = self.space.choices(outcome.architecture)
        return Observation(key, choices, score, self.task.name, self.rounds.get(key, 0))

    def failures(self) -> list[Failed]:
        """Return the evaluations that did not finish."""
        return [outcome for outcome in self.archive if isinstance(outcome, Failed)]
