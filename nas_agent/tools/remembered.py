"""What memory takes in, keeps and gives back: plain records without Chroma."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nas_agent.principles.principle import Principle
from nas_agent.records import Architecture, Json, Measured, Outcome, Provenance, Task
from nas_agent.wording import plural

Scope = Literal["others", "all", "none"]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run as memory takes it in; the run folder is the truth, memory is an index of it."""

    run_id: str
    task: Task
    space: str  # the space's name
    outcomes: Sequence[Outcome]
    principles: Sequence[Principle]  # of several versions the last one counts
    finished: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "outcomes", tuple(self.outcomes))
        last = {principle.id: principle for principle in self.principles}
        object.__setattr__(self, "principles", tuple(last.values()))

    @property
    def provenance(self) -> Provenance:
        """Whether what the run's principles rest on was measured; one predicted outcome makes it predicted."""
        predicted = any(isinstance(o, Measured) and o.provenance == "predicted" for o in self.outcomes)
        return "predicted" if predicted else "measured"

    def to_dict(self) -> Json:
        """As plain JSON types; its digest tells whether memory knows the record already."""
        return {
            "run_id": self.run_id,
            "task": self.task.to_dict(),
            "space": self.space,
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
            "principles": [principle.to_dict() for principle in self.principles],
            "finished": self.finished,
        }


@dataclass(frozen=True, slots=True)
class Elite:
    """An architecture of one run and its rank there, among those obtained in the same way."""

    run: str
    task: str
    architecture: Architecture
    value: float  # the metric on validation; the mean where the run measured it more than once
    score: float  # more is better
    rank: int  # 1 is the best of the run
    of: int
    provenance: Provenance
    evaluator: str
    fidelity: str

    def to_metadata(self) -> Json:
        """Flat, as Chroma wants it."""
        return {
            "run": self.run,
            "task": self.task,
            **{key: value for key, value in self.architecture.to_dict().items() if key != "id"},
            "architecture": self.architecture.id,
            "value": self.value,
            "score": self.score,
            "rank": self.rank,
            "of": self.of,
            "provenance": self.provenance,
            "evaluator": self.evaluator,
            "fidelity": self.fidelity,
        }

    @classmethod
    def from_metadata(cls, data: Mapping[str, Any]) -> Elite:
        """The inverse of `to_metadata`."""
        same = ("run", "task", "value", "score", "rank", "of", "provenance", "evaluator", "fidelity")
        architecture = Architecture(str(data["space"]), str(data["text"]), str(data["architecture"]))
        return cls(architecture=architecture, **{key: data[key] for key in same})


@dataclass(frozen=True, slots=True)
class Lesson:
    """A principle of one run."""

    run: str
    task: str
    space: str
    principle: Principle
    provenance: Provenance  # of the values that its evidence rests on

    def to_metadata(self) -> Json:
        """Flat, as Chroma wants it; the principle itself as JSON."""
        evidence = self.principle.evidence
        numbers = {"effect": evidence.effect, "low": evidence.low, "high": evidence.high}
        return {
            "run": self.run,
            "task": self.task,
            "space": self.space,
            "provenance": self.provenance,
            "status": self.principle.status,
            "text": self.principle.text,
            "tasks": ", ".join(evidence.tasks),
            "supporting": len(evidence.supporting),
            "opposing": len(evidence.opposing),
            **{key: value for key, value in numbers.items() if value is not None},  # Chroma has no null
            "principle": json.dumps(self.principle.to_dict(), sort_keys=True),
        }

    @classmethod
    def from_metadata(cls, data: Mapping[str, Any]) -> Lesson:
        """The inverse of `to_metadata`."""
        principle = Principle.from_dict(json.loads(data["principle"]))
        return cls(data["run"], data["task"], data["space"], principle, data["provenance"])

    @property
    def strength(self) -> tuple[float, float, int]:
        """The least effect that the evidence allows, then the effect, then how many architectures support it."""
        evidence = self.principle.evidence
        nothing = float("-inf")
        low = nothing if evidence.low is None else evidence.low
        return low, nothing if evidence.effect is None else evidence.effect, len(evidence.supporting)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two tasks rank the architectures that were obtained on both."""

    task: str  # the one that is compared with
    tau: float  # Kendall's
    shared: int  # architectures


@dataclass(frozen=True, slots=True)
class NearTask:
    """A remembered task and how near it is."""

    task: Task
    similarity: float  # cosine of the description embeddings
    place: int  # 1 is the nearest
    agreement: Agreement | None = None  # where enough architectures are shared to know

    def phrase(self, wanted: str) -> str:
        """Name the task and its nearness, for people."""
        if self.task.name == wanted:
            near = "the same task"
        else:
            near = "the nearest task" if self.place == 1 else f"task {self.place} by nearness"
        known = f"similarity {self.similarity:.2f}"
        if self.agreement is not None:
            other = "this task" if self.agreement.task == wanted else self.agreement.task
            shared = plural(self.agreement.shared, "shared architecture")
            known += f", tau {self.agreement.tau:.2f} with {other} over {shared}"
        return f"from {self.task.name}, {near} ({known})"


@dataclass(frozen=True, slots=True)
class RecalledArchitecture:
    """An architecture that did well on a remembered task."""

    architecture: Architecture
    task: str
    run: str  # where its value is from (the first such run by name)
    value: float  # on that task, in that task's unit: no value of the task at hand
    metric: str
    unit: str
    maximise: bool  # whether larger values are better there
    rank: int  # among the architectures that were obtained in the same way on that task
    of: int
    provenance: Provenance
    evaluator: str
    fidelity: str
    similarity: float
    why: str

    def to_dict(self) -> Json:
        """As plain JSON types, with `kind` to tell it from a principle."""
        same = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "architecture"}
        return {"kind": "architecture", "architecture": self.architecture.to_dict(), **same}


@dataclass(frozen=True, slots=True)
class RecalledPrinciple:
    """An active principle of a remembered task; the task at hand has no evidence for it yet."""

    principle: Principle
    task: str
    run: str
    provenance: Provenance  # of the values that its evidence rests on
    similarity: float
    why: str
    # What speaks for it: its effect there, or the share of the best that obey against that of random ones.
    grounds: Literal["effect", "shares"] = "effect"

    def to_dict(self) -> Json:
        """As plain JSON types, with `kind` to tell it from an architecture."""
        same = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "principle"}
        return {"kind": "principle", "principle": self.principle.to_dict(), **same}


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One architecture of a source and how it did there."""

    architecture: Architecture
    value: float
    rank: int  # 1 is the best of `of`

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"architecture": self.architecture.to_dict(), "value": self.value, "rank": self.rank}


@dataclass(frozen=True, slots=True)
class RecalledSource:
    """What another task found, for the surrogate to learn from and the search to begin with."""

    name: str  # what traces name it by
    task: str
    space: str
    metric: str
    unit: str
    maximise: bool
    provenance: Provenance
    evaluator: str
    fidelity: str
    of: int  # how many architectures the ranks are among
    best_only: bool  # a slice of the best of a table; False: good and bad ones of what a search measured
    rows: tuple[SourceRow, ...]  # best first
    why: str
    refused: str = ""  # why nothing is learned from it; empty where it is used

    def to_dict(self) -> Json:
        """As plain JSON types, with `kind` to tell it from the other items."""
        same = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "rows"}
        return {"kind": "source", **same, "rows": [row.to_dict() for row in self.rows]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RecalledSource:
        """The inverse of `to_dict`."""
        fields = {key: value for key, value in data.items() if key not in {"kind", "rows"}}
        rows = (
            SourceRow(Architecture.from_dict(row["architecture"]), row["value"], row["rank"]) for row in data["rows"]
        )
        return cls(rows=tuple(rows), **fields)


Recalled = RecalledArchitecture | RecalledPrinciple | RecalledSource
