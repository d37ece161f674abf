"""A principle: a sentence, a constraint, the evidence for it, its author and its history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nas_agent.principles.constraint import Constraint, constraint_from_dict
from nas_agent.records import Json

# candidate: not yet allowed to constrain; active: constrains proposals; retired: never again in this run.
Status = Literal["candidate", "active", "retired"]
# refused: a person did not let it take effect (only under `--review`).
Action = Literal["created", "activated", "credited", "revised", "retired", "refused"]
SENTENCE = 300  # characters of a principle's text that are kept


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
class Origin:
    """Where a principle was taken over from, step by step back to the run that learned it."""

    run: str  # the name of the run folder; empty where it was learned from a task's table
    principle: str  # its reference there, e.g. "P3@2"
    task: str
    earlier: Origin | None = None  # where that run had taken it over from

    def __str__(self) -> str:
        return f"{self.principle} of {self.run} on {self.task}" if self.run else f"the table of {self.task}"

    @property
    def steps(self) -> Iterator[Origin]:
        """Yield this step and those before it, the run that learned it last."""
        step: Origin | None = self
        while step is not None:
            yield step
            step = step.earlier

    def to_dict(self) -> Json:
        """As plain JSON types."""
        earlier = None if self.earlier is None else self.earlier.to_dict()
        return {"run": self.run, "principle": self.principle, "task": self.task, "earlier": earlier}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Origin:
        """The inverse of `to_dict`."""
        earlier = data.get("earlier")
        before = None if earlier is None else cls.from_dict(earlier)
        return cls(str(data["run"]), str(data["principle"]), str(data["task"]), before)


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
    origin: Origin | None = None  # None: it was learned, or said, in this run

    @property
    def reference(self) -> str:
        """What proposals and the event log name it by: this version and no other."""
        return f"{self.id}@{self.version}"

    @property
    def tasks(self) -> frozenset[str]:
        """Every task that had a part in it: those of its evidence, and those it was taken over from."""
        steps = () if self.origin is None else self.origin.steps
        return frozenset(self.evidence.tasks) | {step.task for step in steps}

    def taken_over(self, run: str, task: str) -> Principle:
        """Return it as another run gets it, with this run's version as its origin."""
        return replace(self, origin=Origin(run, self.reference, task, self.origin))

    def to_dict(self) -> Json:
        """As plain JSON types."""
        origin = {} if self.origin is None else {"origin": self.origin.to_dict()}
        return {
            "id": self.id,
            "version": self.version,
            "text": self.text,
            "constraint": self.constraint.to_dict(),
            "author": self.author,
            "status": self.status,
            "evidence": self.evidence.to_dict(),
            **origin,
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
            origin=None if data.get("origin") is None else Origin.from_dict(data["origin"]),
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


def one_line(text: str, most: int = SENTENCE) -> str:
    """Make one printable line of what somebody wrote: no control characters, cut where it is too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
