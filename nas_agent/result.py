"""What a search has found, gathered from its journal."""

from __future__ import annotations

from dataclasses import dataclass

from nas_agent.records import Json, Measured, Outcome, Task
from nas_agent.tools.curves import saved
from nas_agent.tools.evaluators.base import TestResult
from nas_agent.tools.fronts import told_front, told_limits
from nas_agent.tools.heritage import told_inheritance
from nas_agent.tools.journal import Journal
from nas_agent.tools.source_story import told_sources

WAITING = "waiting for review"


@dataclass(frozen=True, slots=True)
class Result:
    """What a search has found; `to_dict` is the JSON document of `nas-agent run --json`."""

    run: str | None  # the run folder, None for a search in memory
    task: Task
    space: str
    evaluator: str
    best: Measured | None
    best_evaluation: int | None  # when it was found, counted from 1
    test: TestResult | None
    curve: tuple[float | None, ...]  # best validation value so far after each evaluation
    outcomes: tuple[Outcome, ...]
    active_principles: int
    retired_principles: int
    llm: Json
    why: str  # why the search ended
    seconds: float
    sources: tuple[Json, ...] = ()  # what was read of each source, and what became of it
    gate: Json | None = None  # when the surrogate stepped back and came back; None where it never did
    pending: tuple[Json, ...] = ()  # principles that wait for a person's answer; then the run is not finished
    front: Json | None = None  # of two objectives: the front, its area and the reference; None with one
    inherited: Json | None = None  # of a search in which children inherit weights: how many, how much; None without
    limits: Json | None = None  # what the search was limited to, and how many proposals that refused; None without
    fidelities: tuple[Json, ...] = ()  # of several, what was measured at each and what it costs; empty with one
    spent: float = 0.0  # in full trainings: with one fidelity, the evaluations
    stopped: Json | None = None  # by their learning curves: how many trainings, and epochs saved; None: not asked for

    def to_dict(self) -> Json:
        """As plain JSON types; keys such as `sources`, `gate`, `limits`, `fidelities` only where there are some."""
        best: Json | None = None
        if self.best is not None:
            best = {
                "id": self.best.architecture.id,
                "arch": self.best.architecture.text,
                "val": self.best.value,
                "test": None if self.test is None else self.test.value,
                "evaluation": self.best_evaluation,
                "provenance": self.best.provenance,
            }
        return {
            "run": self.run,
            "task": self.task.name,
            "space": self.space,
            "evaluator": self.evaluator,
            "evaluations": len(self.outcomes),
            "best": best,
            "curve": list(self.curve),
            "principles": {"active": self.active_principles, "retired": self.retired_principles},
            "llm": self.llm,
            "why": self.why,
            "seconds": self.seconds,
            **({"sources": list(self.sources)} if self.sources else {}),
            **({"gate": self.gate} if self.gate is not None else {}),
            **({"pending": list(self.pending)} if self.pending else {}),
            **({"inherited": self.inherited} if self.inherited is not None else {}),
            **({"limits": self.limits} if self.limits is not None else {}),
            **({"fidelities": list(self.fidelities), "spent": self.spent} if self.fidelities else {}),
            **({"stopped": self.stopped} if self.stopped is not None else {}),
            **(self.front or {}),
        }


def gather(journal: Journal, run: str | None, space: str, evaluator: str, seconds: float) -> Result:
    """Return the result as the journal has it."""
    finished = journal.result or {}
    best = journal.archive.best
    outcomes = tuple(journal.archive)
    place = None
    if best is not None:
        place = journal.archive.place(best.architecture.id)
    test = finished.get("test")
    waiting = () if journal.result is not None else tuple(change.to_dict() for change in journal.pending.values())
    llm = journal.model_use.to_dict()
    if journal.varied:
        from nas_agent.agents.operators import tally

        told = tally(answer for answers in journal.varied.values() for answer in answers)
        llm["operators"] = {intent: counts.to_dict() for intent, counts in told.items()}
    statuses = [principle.status for principle in journal.library.principles]
    return Result(
        run=run,
        task=journal.task,
        space=space,
        evaluator=evaluator,
        best=best,
        best_evaluation=place,
        test=None if test is None else TestResult(**test),
        curve=tuple(journal.archive.curve),
        outcomes=outcomes,
        active_principles=statuses.count("active"),
        retired_principles=statuses.count("retired"),
        llm=llm,
        why=str(finished.get("why", WAITING if waiting else "")),
        seconds=seconds,
        sources=tuple(told_sources(journal.log.events)),
        gate=journal.gate.to_dict() if journal.gate.changes else None,
        pending=waiting,
        front=told_front(journal),
        inherited=told_inheritance(journal.archive),
        limits=told_limits(journal),
        fidelities=tuple(journal.archive.told()),
        spent=journal.archive.spent,
        stopped=saved(journal.archive) if journal.bars else None,
    )
