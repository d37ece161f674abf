"""SEARCH/REPLACE blocks, the form of edits that aider made common (aider.chat/docs/more/edit-formats.html).

<<<<<<< SEARCH
lines of the program
=======
the lines that replace them
>>>>>>> REPLACE
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from nas_agent.errors import InvalidArchitecture

QUOTED = 80  # characters of a line that is quoted
MOST_EDITS, MOST_LINES = 50, 1000  # of a reply and of a program: looking for lines takes the product of both sides

_SEARCH = re.compile(r"\s*<{5,9}\s?SEARCH\b")
_DIVIDER = re.compile(r"\s*={5,9}\s*$")
_REPLACE = re.compile(r"\s*>{5,9}\s?REPLACE\b")


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines to be found, and those that take their place."""

    search: tuple[str, ...]
    replace: tuple[str, ...]


def has_edits(text: str) -> bool:
    """Tell whether a reply holds the beginning of a block."""
    return any(_SEARCH.match(line) for line in text.split("\n"))


def find_edits(text: str) -> list[Edit]:
    """Read the blocks of a reply, whatever stands around them; InvalidArchitecture where one is not whole."""
    edits: list[Edit] = []
    search: list[str] = []
    replace: list[str] = []
    part: list[str] | None = None  # the one that is being read; None between blocks
    for line in text.split("\n"):
        if _SEARCH.match(line):
            if part is not None:
                raise InvalidArchitecture(f"edit {len(edits) + 1} has no line '>>>>>>> REPLACE' before the next one")
            search, replace = [], []
            part = search
        elif part is search and part is not None and _DIVIDER.match(line):
            part = replace
        elif part is not None and _REPLACE.match(line):
            if part is search:
                raise InvalidArchitecture(f"edit {len(edits) + 1} has no line '=======' between its two parts")
            edits.append(Edit(_trimmed(search), tuple(replace)))
            part = None
        elif part is not None:
            part.append(line)
    if len(edits) > MOST_EDITS:
        raise InvalidArchitecture(f"{len(edits)} edits are too many, {MOST_EDITS} are read; answer with fewer")
    if part is not None:
        raise InvalidArchitecture(f"edit {len(edits) + 1} is not finished: the line '>>>>>>> REPLACE' is missing")
    return edits


def apply_edits(program: str, edits: Sequence[Edit]) -> str:
    """Carry edits out, one after another; InvalidArchitecture where one does not say what it replaces."""
    lines = program.rstrip("\n").split("\n")
    if len(edits) == 1 and not edits[0].search:  # the form by which a whole file is written
        return "\n".join(edits[0].replace) + "\n"
    for number, edit in enumerate(edits, start=1):
        if not edit.search:
            raise InvalidArchitecture(f"edit {number} has no lines under SEARCH; repeat the line that stands before")
        found = _places(lines, edit.search)
        if not found:
            raise InvalidArchitecture(f"edit {number}: {_missing(lines, edit.search)}")
        if len(found) > 1:
            raise InvalidArchitecture(
                f"edit {number}: its lines under SEARCH occur {len(found)} times in the program; "
                "take more of the lines around them, so that they occur once"
            )
        start, shift = found[0]
        lines[start : start + len(edit.search)] = [_shifted(line, shift) for line in edit.replace]
        if len(lines) > MOST_LINES:
            raise InvalidArchitecture(f"edit {number} makes the program longer than {MOST_LINES:,} lines; write less")
    return "\n".join(lines) + "\n"


def _trimmed(lines: Sequence[str]) -> tuple[str, ...]:
    """Leave out blank lines at both ends."""
    kept = [number for number, line in enumerate(lines) if line.strip()]
    return tuple(lines[kept[0] : kept[-1] + 1]) if kept else ()


def _places(lines: Sequence[str], search: Sequence[str]) -> list[tuple[int, int]]:
    """Return where lines occur and by how much further in; exactly, else with another indentation of them all."""
    size = len(search)
    starts = range(len(lines) - size + 1)
    found = [(start, shift) for start in starts if (shift := _shift(lines[start : start + size], search)) is not None]
    exact = [place for place in found if place[1] == 0]
    return exact or found


def _shift(lines: Sequence[str], search: Sequence[str]) -> int | None:
    """Return by how many blanks `lines` begin further in than what is searched; None where they differ otherwise."""
    shifts = set()
    for line, wanted in zip(lines, search, strict=True):
        if line.strip() != wanted.strip():
            return None
        if wanted.strip():
            shifts.add(_indentation(line) - _indentation(wanted))
    return shifts.pop() if len(shifts) == 1 else None


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _shifted(line: str, shift: int) -> str:
    if not line.strip():
        return ""
    return " " * shift + line if shift >= 0 else line[min(-shift, _indentation(line)) :]


def _missing(lines: Sequence[str], search: Sequence[str]) -> str:
    """Say which line of a search is not there, and the one that it may have meant."""
    there = {line.strip() for line in lines}
    absent = next((line for line in search if line.strip() and line.strip() not in there), None)
    if absent is None:
        return "its lines under SEARCH do not stand together like this in the program; copy them as they stand there"
    quoted = absent.strip()[:QUOTED]
    near = difflib.get_close_matches(quoted, [line.strip()[:QUOTED] for line in lines if line.strip()], n=1)
    hint = f"; did you mean '{near[0]}'?" if near else "; copy lines as they stand there"
    return f"the line '{quoted}' under SEARCH does not occur in the program{hint}"
