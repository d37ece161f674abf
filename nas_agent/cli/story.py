"""A run as its folder tells it: everything below follows from `events.jsonl`, finished or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nas_agent.cli.checked_events import check, check_embedding, check_gate, check_proposal, outcome_of, task_of
from nas_agent.config import Config
from nas_agent.errors import ConfigError, PrincipleError, RunFolderError
from nas_agent.principles.principle import Change, Principle
from nas_agent.records import Failed, Json, Measured, Outcome, Task
from nas_agent.tools.archive import Archive
from nas_agent.tools.event_log import read_events
from nas_agent.tools.fidelities import Rungs
from nas_agent.tools.fronts import Front, front_in
from nas_agent.tools.journal import ModelUse
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.source_story import follow
from nas_agent.tools.surrogates.gate import Gate

if TYPE_CHECKING:
    from nas_agent.agents.operators import Tally

UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError, PrincipleError)


def _told(folder: RunFolder, line: int, kind: object, error: Exception) -> str:
    return (
        f"{folder.events}, line {line}: a '{kind}' event lacks or misuses {error}; "
        "mend or remove the line, or start a new run"
    )


@dataclass(slots=True)
class Story:
    """What has happened in a run, ready to be told."""

    folder: RunFolder
    config: Config
    events: list[Json]
    started: Json  # data of the first event; empty where the run was stopped before it
    task: Task
    archive: Archive
    proposals: list[Json] = field(default_factory=list)  # `proposal` events, oldest first
    outcomes: int = 0  # `outcome` events
    places: dict[str, int] = field(default_factory=dict)  # architecture id -> its evaluation, from 1; the latest
    principles: dict[str, Principle] = field(default_factory=dict)  # the latest version of each
    changes: list[Change] = field(default_factory=list)
    recalled: list[Json] = field(default_factory=list)  # architectures and principles
    recalled_sources: list[Json] = field(default_factory=list)
    recall_problem: str = ""  # why memory gave nothing, where that was worth telling
    sources: dict[str, Json] = field(default_factory=dict)  # what became of each source, by its name
    pending: dict[str, Change] = field(default_factory=dict)  # what waits for a person's answer
    model_use: ModelUse = field(default_factory=ModelUse)
    model_failures: list[str] = field(default_factory=list)
    offered: dict[str, int] = field(default_factory=dict)  # architectures a model proposed: accepted, or why not
    tallies: dict[str, Tally] = field(default_factory=dict)  # what came of a model's programs: `all`, and by intent
    embedding: list[Json] = field(default_factory=list)  # events about what the surrogate reads code by
    costs: dict[str, dict[str, float | None]] = field(default_factory=dict)  # id -> costs by name
    spreads: dict[str, Json] = field(default_factory=dict)  # id -> quartiles of what was timed, by name
    refused: dict[str, str] = field(default_factory=dict)  # id -> the limit that a proposal breaks
    finished: Json | None = None
    gate: Gate = field(init=False)  # whether the surrogate's predictions came true

    def __post_init__(self) -> None:
        self.gate = Gate(self.task)

    @classmethod
    def read(cls, folder: RunFolder) -> Story:
        """Read the log of a run; one that was stopped before its first event has an empty one."""
        config = folder.config()
        events = read_events(folder.events)[0] if folder.events.exists() else []
        started = events[0] if events and events[0]["type"] == "started" else {}
        try:
            task = task_of(started) if started else Task(config.task, config.task)
        except UNREADABLE as error:
            raise RunFolderError(_told(folder, 1, "started", error)) from error
        archive = Archive(task)
        try:
            if started.get("fidelities"):
                archive.rungs = Rungs.from_list(started["fidelities"])
        except UNREADABLE as error:
            raise RunFolderError(_told(folder, 1, "started", error)) from error
        story = cls(folder, config, events, started, task, archive)
        for number, event in enumerate(events, start=1):
            try:
                float(event["wall"]["time"])
                story._take(event)
            except UNREADABLE as error:
                raise RunFolderError(_told(folder, number, event["type"], error)) from error
        return story

    def _take(self, event: Json) -> None:
        self.gate.follow(event)
        match event["type"]:
            case "gate":
                check_gate(event)
            case "embedder_failure" | "truncated":
                check_embedding(event)
                self.embedding.append(event)
            case "proposal":
                check_proposal(event)
                self.proposals.append(event)
                self._take_costs(event["proposal"]["architecture"]["id"], event)
            case "refused":
                for item in event["architectures"]:
                    check(item["why"], "why", str)
                    self.refused[item["id"]] = item["why"]
            case "outcome":
                outcome = outcome_of(event)
                self.outcomes += 1
                self.archive.add(outcome)
                self.places[outcome.architecture.id] = self.archive.place(outcome.architecture.id)
            case "principle":
                change = Change.from_dict(event)
                self.changes.append(change)
                self.principles[change.principle.id] = change.principle
            case "held":
                held = Change.from_dict(event)
                self.pending[held.principle.reference] = held
            case "reviewed":
                for reference in dict(event["answers"]):
                    self.pending.pop(reference, None)
            case "recalled":
                items = [{**item, "kind": item["kind"], "why": item["why"]} for item in event["items"]]
                self.recall_problem = str(event["problem"])
                self.recalled = [item for item in items if item["kind"] != "source"]
                self.recalled_sources = [item for item in items if item["kind"] == "source"]
                follow(self.sources, event, self.started)
            case "sources":
                follow(self.sources, event, self.started)
            case "model_call":
                self.model_use.add(event)
            case "model_failure":
                self.model_failures.append(str(event["why"]))
            case "offered":
                for what in ["accepted"] * len(event["proposals"]) + [str(item["fault"]) for item in event["refused"]]:
                    self.offered[what] = self.offered.get(what, 0) + 1
            case "varied":
                from nas_agent.agents.operators import tally

                tally(event["answers"], self.tallies)
            case "finished":
                test = event["test"]
                if test is not None:
                    check(test["value"], "value", (int, float, type(None)))
                    for name in ("provenance", "note"):
                        check(test[name], name, (str, type(None)))
                check(event["why"], "why", (str, type(None)))
                self.finished = event

    def _take_costs(self, architecture_id: str, event: Json) -> None:
        for value in event.get("costs", {}).values():
            check(value, "costs", (int, float, type(None)))
        self.costs[architecture_id] = event.get("costs", {})
        if "spreads" in event:
            self.spreads[architecture_id] = {name: tuple(map(float, pair)) for name, pair in event["spreads"].items()}

    @property
    def front(self) -> Front | None:
        """The front of two objectives so far; None where the metric is all."""
        return front_in(self.started, self.task, self.archive.measured, self.costs)

    @property
    def space_name(self) -> str:
        """The space as a person calls it; a user's own is configured by its file."""
        return str(self.started.get("space_name", self.config.space))

    @property
    def best(self) -> Measured | None:
        """The best outcome so far."""
        return self.archive.best

    @property
    def test(self) -> Json | None:
        """The test result of a finished run."""
        return None if self.finished is None else self.finished["test"]

    @property
    def sandboxes(self) -> list[str]:
        """What confined code that is trusted by nobody, each level once; empty where there was none."""
        return list(dict.fromkeys(outcome.sandbox for outcome in self.archive if outcome.sandbox is not None))

    @property
    def simulated_seconds(self) -> float:
        """Training time that was read from a table instead of being spent."""
        return sum(outcome.seconds for outcome in self.archive.measured if outcome.simulated)

    @property
    def active_seconds(self) -> float:
        """Wall-clock seconds between events, pauses of more than ten minutes without an outcome left out."""
        times = [float(event["wall"]["time"]) for event in self.events]
        steps = zip(times, times[1:], self.events[1:], strict=False)
        return sum(
            max(0.0, later - earlier)
            for earlier, later, event in steps
            if later - earlier < 600.0 or event["type"] == "outcome"
        )

    def peers(self, outcome: Outcome) -> list[Measured]:
        """Return the outcomes with a value that this one can be compared with: those of its fidelity."""
        return self.archive.levels[self.archive.level_of(outcome.at)].measured

    def evaluation(self, outcome: Outcome) -> int:
        """Return the number of an outcome, counted from 1."""
        return next(place for place, other in enumerate(self.archive, start=1) if other is outcome)

    def failures(self) -> list[Failed]:
        """Return the evaluations that did not finish."""
        return [outcome for outcome in self.archive if isinstance(outcome, Failed)]

    def ranked(self) -> list[Measured]:
        """Return the measured outcomes, best first, the earlier one first among equals."""
        order = sorted(self.archive.measured, key=lambda outcome: -self.task.score(outcome.value))
        return order  # sorted() keeps the order of equals

    def statuses(self, status: str) -> int:
        """Count the principles with this status."""
        return sum(principle.status == status for principle in self.principles.values())

    def proposal(self, architecture_id: str) -> Json | None:
        """Return the event in which an architecture was proposed for measurement."""
        found = (e for e in self.proposals if e["proposal"]["architecture"]["id"] == architecture_id)
        return next(found, None)

    def principle(self, identity: str) -> Principle:
        """Return the latest version of a principle; raise ConfigError that lists the known ones."""
        wanted = identity.partition("@")[0]
        if wanted not in self.principles:
            known = ", ".join(self.principles) or "none"
            raise ConfigError(f"there is no principle '{identity}' in {self.folder.path.name}; it has {known}")
        latest = self.principles[wanted]
        if "@" not in identity:
            return latest
        versions = {str(c.principle.version): c.principle for c in self.changes if c.principle.id == wanted}
        number = identity.partition("@")[2]
        if number not in versions:
            raise ConfigError(f"principle {wanted} has no version '{number}'; it has {', '.join(versions)}")
        return versions[number]

    def version(self, reference: str) -> Principle:
        """Return one version of a principle, e.g. `P3@2`, with the latest evidence of that version."""
        identity, _, number = reference.rpartition("@")
        versions = [change.principle for change in self.changes if change.principle.id == identity]
        wanted = [principle for principle in versions if principle.version == int(number)]
        return wanted[-1] if wanted else self.principle(identity)

    def candidate(self, name: str) -> Outcome:
        """Find an outcome by `best`, its evaluation number, its id or the beginning of its id."""
        outcomes = list(self.archive)
        if name == "best":
            if self.best is None:
                raise ConfigError(f"{self.folder.path.name} has no measured architecture yet, so none is the best")
            return self.best
        if name.isdecimal() and 1 <= int(name) <= len(outcomes):
            return outcomes[int(name) - 1]
        matching = [self.archive.get(key) for key in self.archive.ids if key.startswith(name)]
        if len(matching) == 1 and matching[0] is not None:
            return matching[0]
        if matching:
            ids = ", ".join(outcome.architecture.id for outcome in matching[:5] if outcome is not None)
            raise ConfigError(f"'{name}' begins {len(matching)} ids: {ids}; give more of it")
        raise ConfigError(
            f"{self.folder.path.name} has no candidate '{name}'; give 'best', an evaluation from 1 to {len(outcomes)}, "
            "or the beginning of an id"
        )
