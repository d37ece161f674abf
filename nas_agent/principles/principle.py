"""A principle: a sentence, a constraint, the evidence for it, its author and its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nas_agent.principles.constraint import Constraint, constraint_from_dict
from nas_agent.records import Json

# candidate: not yet allowed to constrain; active: constrains proposals; retired: never again in this run.
Status = Literal["candidate", "active", "retired"]
Action = Literal["created", "activated", "credited", "revised", "retired"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One measured architecture as evidence: what it chose and how well it did."""

    id: str
    choices: Mapping[str, str]
    score: float  # more is better, in the metric's unit
    task: str
    round: int = 0  # the round it was proposed in, 0 for the first sample: near rounds are comparable


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the measurements say about a constraint."""

    supporting: tuple[str, ...] = ()  # ids: obey and beat the median of the others
    opposing: tuple[str, ...] = ()  # ids: obey and do not
    effect: float | None = None  # mean score of those that obey minus the others', in the metric's unit
    low: float | None = None  # 95 % interval of the effect
    high: float | None = None
    others: int = 0  # how many measured architectures do not obey
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("supporting", "opposing", "tasks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "supporting": list(self.supporting),
            "opposing": list(self.opposing),
            "effect": self.effect,
            "low": self.low,
            "high": self.high,
            "others": self.others,
            "tasks": list(self.tasks),
        }


@dataclass(frozen=True, slots=True)
class Principle:
    """One version of a principle; a revision is a new version with the same id."""

    id: str
    version: int
    text: str
    constraint: Constraint
    author: str  # "statistics", "person", or "MODEL / prompt NAME@HASH"
    status: Status = "candidate"
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def reference(self) -> str:
        """What proposals and the event log name it by: this version and no other."""
        return f"{self.id}@{self.version}"

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "id": self.id,
            "version": self.version,
            "text": self.text,
            "constraint": self.constraint.to_dict(),
            "author": self.author,
            "status": self.status,
            "evidence": self.evidence.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Principle:
        """The inverse of `to_dict`."""
        return cls(
            id=str(data["id"]),
            version=int(data["version"]),
            text=str(data["text"]),
            constraint=constraint_from_dict(data["constraint"]),
            author=str(data["author"]),
            status=data["status"],
            evidence=Evidence(**data["evidence"]),
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A principle that a learner suggests; the library gives it an id once it has looked at the evidence."""

    text: str
    constraint: Constraint
    author: str


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a principle's history: the principle after it, and why it was taken."""

    action: Action
    principle: Principle
    why: str
    evaluations: int  # outcomes known when it happened

    def to_dict(self) -> Json:
        """As plain JSON types: one event of the log."""
        return {
            "action": self.action,
            "principle": self.principle.to_dict(),
            "why": self.why,
            "evaluations": self.evaluations,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Change:
        """The inverse of `to_dict`."""
        return cls(
            action=data["action"],
            principle=Principle.from_dict(data["principle"]),
            why=str(data["why"]),
            evaluations=int(data["evaluations"]),
        )
