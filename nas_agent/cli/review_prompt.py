"""Asking a person about principles before they take effect: in a terminal, by flags, or as a list for later."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from nas_agent.cli.layout import Rows, counts, effect, heading, sections
from nas_agent.cli.wording import plural
from nas_agent.errors import ConfigError, PrincipleError
from nas_agent.principles.principle import Change
from nas_agent.principles.review import Answer, decide, read_edit

if TYPE_CHECKING:
    from nas_agent.tools.journal import Journal

Json = dict[str, Any]
KEYS = "a accept, e edit, r refuse, A accept all the rest, q stop and resume later"


class Desk:
    """Puts the principles that wait before a person, one after the other; `q` leaves the rest for later."""

    def __init__(self, console: Console, read: Callable[[str], str]) -> None:
        self._console = console
        self._read = read  # asks for one line; EOFError at the end of the input

    def __call__(self, journal: Journal) -> Mapping[str, Answer]:
        """Return the answers that the journal can carry out."""
        answers: dict[str, Answer] = {}
        pending = list(journal.pending.items())
        self._console.print(heading(f"Review: {plural(len(pending), 'principle')} would take effect now"))
        for place, (reference, change) in enumerate(pending, start=1):
            self._console.print()
            head = Text(f"{place} of {len(pending)}  ", style="dim").append(f"{reference}  ", style="bold")
            self._console.print(head.append(change.principle.text, style="bold"))
            self._console.print(Padding(about(change, journal.task.unit), (0, 0, 0, 2)))
            try:
                answer, all_of_them = self._ask(journal, answers, reference)
            except EOFError:
                return answers
            if answer is None:
                return answers
            answers[reference] = answer
            if all_of_them:
                return self._accept_all(journal, answers)
        return answers

    def _ask(self, journal: Journal, before: Mapping[str, Answer], reference: str) -> tuple[Answer | None, bool]:
        """Ask until the answer can be carried out together with those before it; None stops."""
        while True:
            key = self._read(f"  {KEYS}: ").strip()
            if key == "q":
                return None, False
            try:
                answer = self._answer(key)
                if answer is None:
                    continue
                check(journal, {**before, reference: answer})
            except PrincipleError as error:
                self._console.print(Text(f"  not possible: {error}", style="yellow"))
                continue
            return answer, key == "A"

    def _answer(self, key: str) -> Answer | None:
        match key:
            case "a" | "A" | "y":
                return Answer("accept")
            case "r":
                return Answer("refuse", why=self._read("  why? (Enter: no reason) ").strip())
            case "e":
                return read_edit(self._read("  new sentence, or constraint as above or as JSON: "))
        self._console.print(Text(f"  expected one of a, e, r, A, q; got {key!r}", style="yellow"))
        return None

    def _accept_all(self, journal: Journal, answers: dict[str, Answer]) -> dict[str, Answer]:
        for reference in journal.pending:
            if reference in answers:
                continue
            try:
                check(journal, {**answers, reference: Answer("accept")})
            except PrincipleError as error:
                self._console.print(Text(f"{reference} is left for later: {error}", style="yellow"))
                continue
            answers[reference] = Answer("accept")
        return answers


def check(journal: Journal, answers: Mapping[str, Answer]) -> None:
    """Raise PrincipleError where the answers cannot be carried out."""
    decide(journal.library, journal.pending, answers, journal.observations, len(journal.archive))


def about(change: Change, unit: str) -> RenderableType:
    """Lay out what a person needs to know to decide."""
    principle = change.principle
    rows: Rows = [
        ("constraint", Text(str(principle.constraint))),
        ("evidence", Text(f"{effect(principle.evidence, unit)}; {counts(principle.evidence)}")),
        ("author", Text(principle.author)),
        ("why now", Text(change.why)),
    ]
    if principle.origin is not None:
        rows.append(("origin", Text(str(principle.origin))))
    return sections(rows)


def waiting(changes: Sequence[Change], unit: str, run: str) -> list[RenderableType]:
    """List what waits, and how to answer."""
    parts: list[RenderableType] = [heading(f"Waiting for review: {plural(len(changes), 'principle')}")]
    for change in changes:
        told = Text(f"{change.principle.reference}  ", style="bold").append(change.principle.text)
        parts += ["", told, Padding(about(change, unit), (0, 0, 0, 2))]
    first, last = changes[0].principle.id, changes[-1].principle.id
    one_each = [f"--accept {first} --refuse '{last}=why not'"] if first != last else [f"--refuse '{first}=why not'"]
    parts += [
        "",
        heading("Next"),
        f"  nas-agent principles review {run} --accept all",
        *(f"  nas-agent principles review {run} {flags}" for flags in one_each),
        f"  nas-agent principles review {run} --edit '{first}=A new sentence, or a constraint.'",
        f"  nas-agent resume {run}",
    ]
    return parts


def read_flags(
    pending: Sequence[str], accept: Sequence[str], refuse: Sequence[str], edit: Sequence[str]
) -> dict[str, Answer]:
    """Turn flags into answers by full reference; ConfigError where one is unknown or answered twice."""
    answers: dict[str, Answer] = {}

    def put(name: str, answer: Answer) -> None:
        names = [each for each in pending if name in (each, each.partition("@")[0])]
        if not names:
            raise ConfigError(f"'{name}' does not wait for an answer; these do: {', '.join(pending) or 'none'}")
        if names[0] in answers:
            raise ConfigError(f"{names[0]} is answered twice; say one thing to each")
        answers[names[0]] = answer

    for text in refuse:
        name, _, why = text.partition("=")
        put(name.strip(), Answer("refuse", why=why.strip()))
    for text in edit:
        name, equals, change = text.partition("=")
        if not equals:
            raise ConfigError(f"--edit {text}: expected ID=NEW, e.g. --edit 'P5=A new sentence.'")
        try:
            put(name.strip(), read_edit(change))
        except PrincipleError as error:
            raise ConfigError(f"--edit {name}: {error}") from error
    for name in accept:
        if name != "all":
            put(name, Answer("accept"))
    if "all" in accept:
        answers |= {reference: Answer("accept") for reference in pending if reference not in answers}
    return answers
