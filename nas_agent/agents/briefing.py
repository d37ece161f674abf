"""What a language model is shown, whatever its job: a task, a space, architectures, failures, principles.

The records say what there is to show; `setting` and `evidence` turn them into the values of the prompts, through
the lens that may disguise them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nas_agent.agents.disguise import Lens
from nas_agent.principles.principle import Principle, one_line
from nas_agent.records import Architecture, Json, Provenance, Task

Stage = Literal["learn", "improved", "stuck"]
PROBLEM = 1000  # characters of what is wrong with a reply: it may quote the reply


@dataclass(frozen=True, slots=True)
class RecalledPrinciple:
    """A principle of another task, with the evidence that it had there."""

    task: str
    principle: Principle
    provenance: Provenance  # of the values behind the evidence
    why: str


@dataclass(frozen=True, slots=True)
class RecalledArchitecture:
    """An architecture that did well on another task."""

    task: str
    architecture: Architecture
    value: float  # of that task's metric
    metric: str
    unit: str
    maximise: bool
    rank: int
    of: int
    provenance: Provenance
    why: str


Recalled = RecalledPrinciple | RecalledArchitecture


@dataclass(frozen=True, slots=True)
class Shown:
    """An architecture that the model reads."""

    architecture: Architecture
    value: float  # of the metric, as it is: smaller may be better
    rank: int  # 1 is the best of those that were evaluated in the same way
    of: int
    provenance: Provenance = "measured"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Architectures of one other task whose values compare: obtained in one way, best first."""

    task: str
    metric: str
    unit: str
    maximise: bool
    obtained: str  # e.g. "table, 200 epochs"
    best: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason why architectures could not be evaluated, with one of them."""

    reason: str
    times: int
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class LearnContext:
    """All that the model is shown."""

    task: Task
    best: Sequence[Shown] = ()  # of this task, best first
    worst: Sequence[Shown] = ()  # of this task, worst first
    elsewhere: Sequence[Elsewhere] = ()  # other tasks, shown in full: where this one has little to show
    failures: Sequence[Failure] = ()
    principles: Sequence[Principle] = ()  # active ones and those worth a thought
    recalled: Sequence[Recalled] = ()
    stage: Stage = "learn"


def setting(lens: Lens, task: Task) -> dict[str, Any]:
    """Return the values of `_space.md`."""
    decisions = [{"decision": d.name, "options": list(d.options), "meaning": d.meaning} for d in lens.decisions]
    return {"task": lens.task(task), "space": lens.name, "decisions": decisions}


def evidence(lens: Lens, context: LearnContext) -> dict[str, Any]:
    """Return the values of `_space.md`, `_evidence.md` and `_known.md`."""
    return {
        **setting(lens, context.task),
        "code_is": lens.code_is,
        "groups": _groups(lens, context),
        "failures": [_failure(lens, failure) for failure in context.failures],
        "basis": _basis([*context.best, *context.worst]),
        "principles": [line for line in (_known(lens, p) for p in context.principles) if line],
        "recalled": [line for line in (_recalled(lens, r) for r in context.recalled) if line],
    }


def _groups(lens: Lens, context: LearnContext) -> list[Json]:
    """Return what may be compared together: this task first, then each of the others."""
    groups = list[Json]()
    if context.best or context.worst:
        task = context.task
        about = _about(lens, task.name, task.metric, task.unit)
        groups.append(_group(lens, about, task.maximise, context.best, context.worst, here=True))
    for other in context.elsewhere:
        about = {
            **_about(lens, other.task, other.metric, other.unit),
            "obtained": lens.label("way", other.obtained),
        }
        groups.append(_group(lens, about, other.maximise, other.best, (), here=False))
    return groups


def _about(lens: Lens, task: str, metric: str, unit: str) -> Json:
    return {"task": lens.label("task", task), "metric": lens.label("metric", metric), "unit": lens.label("unit", unit)}


def _group(
    lens: Lens, about: Json, maximise: bool, best: Sequence[Shown], worst: Sequence[Shown], *, here: bool
) -> Json:
    return {
        "here": here,
        "basis": _basis([*best, *worst]),
        "maximise": maximise,
        "about": about,
        "best": [_shown(lens, shown) for shown in best],
        "worst": [_shown(lens, shown) for shown in worst],
    }


def _shown(lens: Lens, shown: Shown) -> Json:
    return {
        "code": lens.code(shown.architecture),
        "choices": lens.choices(shown.architecture),
        "value": shown.value,
        "rank": shown.rank,
        "of": shown.of,
        "provenance": shown.provenance,
    }


def _failure(lens: Lens, failure: Failure) -> Json:
    reason = lens.label("reason", one_line(failure.reason))
    return {"reason": reason, "times": failure.times, "choices": lens.choices(failure.architecture)}


def _basis(shown: Sequence[Shown]) -> str:
    """Say what values rest on, in words of ours: it stands outside of the fences."""
    return " and ".join(sorted({each.provenance for each in shown})) or "no"


def _known(lens: Lens, principle: Principle) -> Json | None:
    claim = _claim(lens, principle)
    return claim and {"id": principle.reference, "status": principle.status, **claim}


def _recalled(lens: Lens, recalled: Recalled) -> Json | None:
    """Tell of something from another task; None where it speaks of what this space does not have."""
    told: Json = {"task": lens.label("task", recalled.task)}
    if isinstance(recalled, RecalledPrinciple):
        claim = _claim(lens, recalled.principle)
        if claim is None:
            return None
        tasks = [lens.label("task", task) for task in recalled.principle.evidence.tasks]
        told |= {"kind": "principle", **claim, "tasks": tasks}
    elif recalled.architecture.space != lens.space.name:
        return None
    else:
        told |= {"kind": "architecture", "choices": lens.choices(recalled.architecture), "value": recalled.value}
        told |= {"metric": lens.label("metric", recalled.metric), "unit": lens.label("unit", recalled.unit)}
        told |= {"better": "larger" if recalled.maximise else "smaller", "rank": recalled.rank, "of": recalled.of}
    return {**told, "provenance": recalled.provenance, "why": lens.label("why", one_line(recalled.why))}


def _claim(lens: Lens, principle: Principle) -> Json | None:
    """Say what a principle demands and what speaks for it."""
    shown = lens.constraint(principle.constraint)
    if shown is None:
        return None
    evidence = principle.evidence
    numbers = {"effect": evidence.effect, "low": evidence.low, "high": evidence.high}
    return {
        "text": lens.claim(one_line(principle.text), shown),
        "constraint": shown.to_dict(),
        "obeying": len(evidence.supporting) + len(evidence.opposing),
        "supporting": len(evidence.supporting),
        "others": evidence.others,
        **{name: None if value is None else round(value, 4) for name, value in numbers.items()},
    }
