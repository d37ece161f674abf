"""What a person says to principles before they take effect: accept, edit or refuse, checked before it counts (ours)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from nas_agent.errors import PrincipleError
from nas_agent.principles.constraint import Constraint, constraint_from_dict
from nas_agent.principles.evidence import weigh
from nas_agent.principles.library import PERSON, Library
from nas_agent.principles.notation import looks_like_constraint, read_constraint
from nas_agent.principles.principle import Change, Observation, Principle, one_line
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.principles.statistics import sentence
from nas_agent.records import Json

Verb = Literal["accept", "edit", "refuse"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person says to one principle; an edit lets the edited one take effect."""

    verb: Verb
    text: str = ""  # of an edit: the new sentence, "" where it stays or follows from the constraint
    constraint: Constraint | None = None  # of an edit: the new constraint, None where it stays
    why: str = ""  # of a refusal

    def to_dict(self) -> Json:
        """As plain JSON types."""
        constraint = None if self.constraint is None else self.constraint.to_dict()
        return {"verb": self.verb, "text": self.text, "constraint": constraint, "why": self.why}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Answer:
        """The inverse of `to_dict`."""
        if data.get("verb") not in get_args(Verb):
            raise PrincipleError(f"expected one of {', '.join(get_args(Verb))}, got {data.get('verb')!r}")
        constraint = None if data.get("constraint") is None else constraint_from_dict(data["constraint"])
        text, why = one_line(str(data.get("text", ""))), one_line(str(data.get("why", "")))
        return cls(data["verb"], text, constraint, why)


def read_edit(text: str) -> Answer:
    """Read an edit: a sentence, a constraint, or JSON with `text` and `constraint`; PrincipleError says what came."""
    text = text.strip()
    if not text:
        raise PrincipleError("an edit needs a new sentence or a new constraint")
    if not looks_like_constraint(text):
        return Answer("edit", one_line(text))
    if text.startswith("{"):
        return _read_json(text)
    return Answer("edit", constraint=read_constraint(text))


def _read_json(text: str) -> Answer:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PrincipleError(f"expected JSON behind the brace, got a text that is none ({error})") from error
    if "kind" in data:
        return Answer("edit", constraint=constraint_from_dict(data))
    unknown = sorted(set(data) - {"text", "constraint"})
    if unknown or not data:
        raise PrincipleError(f"expected JSON with 'text' and 'constraint', got {', '.join(unknown) or 'nothing'}")
    given = data.get("constraint")
    if isinstance(given, str):
        given = read_constraint(given).to_dict()
    if not isinstance(given, dict | None):
        raise PrincipleError(f"expected a constraint as a text or an object, got {str(given)[:80]!r}")
    constraint = None if given is None else constraint_from_dict(given)
    return Answer("edit", one_line(str(data.get("text", ""))), constraint)


def decide(
    library: Library,
    pending: Mapping[str, Change],
    answers: Mapping[str, Answer],
    observations: Sequence[Observation],
    evaluations: int,
) -> list[Change]:
    """Return what follows from the answers; PrincipleError where one cannot be carried out, and then nothing does.

    `pending` are the changes that wait, by the reference of the principle as it would take effect.
    """
    for reference in answers:
        if reference not in pending:
            waiting = ", ".join(pending) or "none does"
            raise PrincipleError(f"'{reference}' does not wait for an answer; these do: {waiting}")
    ruling = {principle.id: principle for principle in library.active}
    changes = []
    for reference, change in pending.items():
        if reference not in answers:
            continue
        answer = answers[reference]
        if answer.verb == "refuse":
            changes.append(_refused(change, ruling.get(change.principle.id), answer.why, evaluations))
            continue
        if answer.verb == "accept":
            step = replace(change, why=f"{change.why}; accepted by a person", evaluations=evaluations)
        else:
            step = _edited(library, change, answer, observations, evaluations)
        _check(library, step.principle, [other for other in ruling.values() if other.id != step.principle.id])
        ruling[step.principle.id] = step.principle
        changes.append(step)
    return changes


def _refused(change: Change, before: Principle | None, why: str, evaluations: int) -> Change:
    reason = f": {why}" if why else ""
    if before is not None:  # it rules already; what is refused is its revision
        told = f"a person refused version {change.principle.version}, {change.principle.constraint}{reason}"
        return Change("refused", before, told, evaluations)
    return Change("refused", replace(change.principle, status="retired"), f"refused by a person{reason}", evaluations)


def _edited(
    library: Library, change: Change, answer: Answer, observations: Sequence[Observation], evaluations: int
) -> Change:
    given = change.principle
    constraint = given.constraint if answer.constraint is None else answer.constraint
    if constraint == given.constraint and answer.text in ("", given.text):
        raise PrincipleError(f"the edit of {given.reference} changes nothing; accept it instead")
    constraint.check(library.decisions)
    if not forbids(constraint, library.decisions):
        raise PrincipleError(f"'{constraint}' forbids nothing; refuse {given.reference} instead, or allow less")
    told = given.text if constraint == given.constraint else sentence(constraint, library.decisions)
    edited = replace(
        given,
        version=given.version + 1,
        text=answer.text or told,
        constraint=constraint,
        author=PERSON,
        status="active",
        evidence=weigh(constraint, observations, library.decisions),
    )
    return Change("revised", edited, f"edited by a person; it was: {given.text} ({given.constraint})", evaluations)


def _check(library: Library, principle: Principle, others: Sequence[Principle]) -> None:
    for other in others:
        if other.constraint == principle.constraint:
            raise PrincipleError(f"{other.reference} demands '{principle.constraint}' already")
    if not satisfiable(library.decisions, [*(other.constraint for other in others), principle.constraint]):
        names = ", ".join(other.reference for other in others)
        raise PrincipleError(
            f"no architecture obeys '{principle.constraint}' together with {names}; "
            f"refuse {principle.reference}, or edit it"
        )
