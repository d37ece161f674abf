"""Principles as a file that people write, edit and share: what one holds, and what is checked before it is used.

A file is Markdown (`principles.markdown`) or JSON; both hold the same entries. Nothing in it is trusted: every text
becomes one printable line, every constraint must fit the space, and prompts get it as fenced data like any other. The
format is ours.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from nas_agent.errors import PrincipleError
from nas_agent.principles.constraint import Constraint, constraint_from_dict
from nas_agent.principles.library import PERSON, needs_support
from nas_agent.principles.notation import read_constraint, write_constraint
from nas_agent.principles.principle import SENTENCE, Evidence, Origin, Principle, Status, one_line
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.records import Json, Provenance
from nas_agent.spaces.base import Decision

FORMAT = "nas-agent principles 1"
MOST = 100  # principles in a file: no run can test more
STEPS = 20  # runs through which a principle may have come
NAME = 200  # characters of an author, a run or a task


@dataclass(frozen=True, slots=True)
class Shared:
    """A principle on its way from one run, or from a person, to another run."""

    principle: Principle  # its id and version mean nothing outside; `origin` says where it is from
    provenance: Provenance = "measured"  # of the values that its evidence rests on

    def to_dict(self) -> Json:
        """As an entry of a JSON file."""
        principle = self.principle
        return {
            "text": principle.text,
            "constraint": write_constraint(principle.constraint),
            "author": principle.author,
            "status": principle.status,
            "provenance": self.provenance,
            "evidence": principle.evidence.to_dict(),
            "origin": None if principle.origin is None else principle.origin.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a file holds."""

    title: str
    space: str  # the space it was written for; empty where it does not say
    shared: tuple[Shared, ...]
    notes: tuple[str, ...] = ()  # what was cut or left out in reading, for people

    def to_json(self) -> str:
        """Write the JSON file."""
        entries = [shared.to_dict() for shared in self.shared]
        data = {"format": FORMAT, "title": self.title, "space": self.space, "principles": entries}
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


# -- what an entry may hold -------------------------------------------------------------------------------


def _line(value: object) -> object:
    return one_line(value, NAME) if isinstance(value, str) else value


def _finite(value: object) -> object:
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("expected a finite number")
    return value


Line = Annotated[str, BeforeValidator(_line)]
Number = Annotated[float | None, BeforeValidator(_finite)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _OriginEntry(_Strict):
    run: Line
    principle: Line
    task: Line
    earlier: _OriginEntry | None = None


class _EvidenceEntry(_Strict):
    supporting: list[Line] = Field(default_factory=list)
    opposing: list[Line] = Field(default_factory=list)
    effect: Number = None
    low: Number = None
    high: Number = None
    others: int = Field(default=0, ge=0)
    tasks: list[Line] = Field(default_factory=list)


class _Entry(_Strict):
    text: str = ""
    constraint: str | dict[str, Any]
    author: Line = PERSON
    status: Status = "active"
    provenance: Literal["measured", "predicted"] = "measured"
    evidence: _EvidenceEntry = Field(default_factory=_EvidenceEntry)
    origin: _OriginEntry | None = None


KEYS = tuple(_Entry.model_fields)


def read_json(text: str) -> Exchange:
    """Read a JSON file: an object with `principles`, or just the list of them; PrincipleError for anything else."""
    try:
        data = json.loads(text)
    except RecursionError:
        raise PrincipleError("the JSON is nested too deeply") from None
    except ValueError as error:
        raise PrincipleError(f"expected JSON, got a text that is none ({error})") from error
    if isinstance(data, list):
        data = {"principles": data}
    if not isinstance(data, dict) or not isinstance(data.get("principles"), list):
        raise PrincipleError(
            "expected an object with a list 'principles', or that list; `principles export` writes one"
        )
    unknown = sorted(set(data) - {"format", "title", "space", "principles"})
    if unknown:
        raise PrincipleError(f"unknown key '{unknown[0]}'; choose from format, title, space, principles")
    if data.get("format", FORMAT) != FORMAT:
        raise PrincipleError(f"expected the format '{FORMAT}', got {str(data['format'])[:80]!r}; upgrade nas-agent")
    return read_entries(data["principles"], title=str(data.get("title", "")), space=str(data.get("space", "")))


def read_entries(entries: Sequence[object], *, title: str, space: str) -> Exchange:
    """Check the form of the entries; PrincipleError names the one that is wrong, counted from 1."""
    if not entries:
        raise PrincipleError("there is no principle in it; write one by hand, or let `principles export` write a file")
    if len(entries) > MOST:
        raise PrincipleError(f"it holds {len(entries):,} principles; keep the best, {MOST} at most")
    shared, notes = [], list[str]()
    for number, entry in enumerate(entries, start=1):
        try:
            found, note = _read_entry(entry)
        except PrincipleError as error:
            raise PrincipleError(f"principle {number}: {_short(error)}") from error
        except RecursionError:
            raise PrincipleError(f"principle {number}: it is nested too deeply") from None
        shared.append(found)
        notes += [f"principle {number}: {note}"] if note else []
    return Exchange(one_line(title, NAME), one_line(space, NAME), tuple(shared), tuple(notes))


def _read_entry(data: object) -> tuple[Shared, str]:
    if not isinstance(data, dict):
        raise PrincipleError(f"expected an object with 'text' and 'constraint', got {str(data)[:80]!r}")
    try:
        entry = _Entry.model_validate(data)
    except ValidationError as error:
        raise PrincipleError(_problem(error)) from error
    given = entry.constraint
    constraint = read_constraint(given) if isinstance(given, str) else constraint_from_dict(given)
    origin = None if entry.origin is None else Origin.from_dict(entry.origin.model_dump())
    if origin is not None and sum(1 for _ in origin.steps) > STEPS:
        raise PrincipleError(f"its origin has more than {STEPS} steps")
    evidence = Evidence(**entry.evidence.model_dump())
    text = one_line(entry.text) or str(constraint)
    principle = Principle("P0", 1, text, constraint, entry.author or PERSON, entry.status, evidence, origin)
    return Shared(principle, entry.provenance), _note(entry.text)


def _note(text: str) -> str:
    if len(" ".join(text.split())) > SENTENCE:
        return f"its text has {len(text):,} characters; {SENTENCE} are kept"
    strange = any(not character.isprintable() and not character.isspace() for character in text)
    return "characters of its text that cannot be printed are left out" if strange else ""


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the entry"
    if first["type"] == "extra_forbidden":
        return f"unknown entry '{where}'; choose from {', '.join(KEYS)}"
    if first["type"] == "missing":
        return f"'{where}' is missing"
    return f"'{where}': {first['msg']}, got {str(first['input'])[:80]!r}"


def _short(error: PrincipleError) -> str:
    return one_line(str(error), 500)


# -- whether a space can use it ---------------------------------------------------------------------------


def check(exchange: Exchange, space: str, decisions: Sequence[Decision]) -> Exchange:
    """Return what a search of this space can start from; PrincipleError names the first principle that does not fit.

    The whole file is refused for one that does not fit: a set that is silently smaller is not what somebody shared.
    What was retired where it is from stays out, and so does what an earlier entry says already.
    """
    kept, notes = list[Shared](), list(exchange.notes)
    known: dict[Constraint, int] = {}
    ruling: dict[int, Constraint] = {}  # what will constrain at once, by its number
    other = exchange.space and exchange.space != space
    foreign = f"; the file was written for space '{exchange.space}', not '{space}'" if other else ""
    for number, shared in enumerate(exchange.shared, start=1):
        constraint = shared.principle.constraint
        try:
            constraint.check(decisions)
            _check_worth(constraint, list(ruling.items()), decisions, rules=_rules(shared))
        except PrincipleError as error:
            raise PrincipleError(f"principle {number}: {_short(error)}{foreign}") from error
        if constraint in known:
            notes.append(f"principle {number}: left out, since principle {known[constraint]} demands the same")
            continue
        known[constraint] = number
        if shared.principle.status == "retired":
            notes.append(f"principle {number}: left out, since it was retired where it is from")
            continue
        if _rules(shared):
            ruling[number] = constraint
        kept.append(shared)
    return replace(exchange, shared=tuple(kept), notes=tuple(notes))


def _rules(shared: Shared) -> bool:
    retired = shared.principle.status == "retired"
    return not retired and not needs_support(shared.principle, shared.provenance)


def _check_worth(
    constraint: Constraint, ruling: Sequence[tuple[int, Constraint]], decisions: Sequence[Decision], *, rules: bool
) -> None:
    if not satisfiable(decisions, [constraint]):
        raise PrincipleError(f"no architecture obeys '{constraint}'; allow more")
    if not forbids(constraint, decisions):
        raise PrincipleError(f"'{constraint}' forbids nothing; leave it out or allow less")
    if rules and not satisfiable(decisions, [*(other for _, other in ruling), constraint]):
        single = [number for number, other in ruling if not satisfiable(decisions, [other, constraint])]
        names = ", ".join(str(number) for number in single or [number for number, _ in ruling])
        raise PrincipleError(
            f"it contradicts principle {names}: no architecture obeys '{constraint}' as well; remove or change one"
        )


def from_run(
    principles: Iterable[Principle], run: str, task: str, space: str, provenance: Provenance, title: str
) -> Exchange:
    """Gather the principles of a run, each with that run as its origin."""
    return Exchange(title, space, tuple(Shared(p.taken_over(run, task), provenance) for p in principles))


def to_log(shared: Shared) -> Json:
    """As plain JSON types for the event log, which needs no notation."""
    return {"principle": shared.principle.to_dict(), "provenance": shared.provenance}


def from_log(data: Mapping[str, Any]) -> Shared:
    """The inverse of `to_log`."""
    return Shared(Principle.from_dict(data["principle"]), data["provenance"])
