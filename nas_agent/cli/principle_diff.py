"""`principles diff`: which principles two runs share, told by what they demand, and where they stand apart."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nas_agent.cli.layout import counts, effect, heading
from nas_agent.cli.run_document import handle
from nas_agent.cli.story import Story
from nas_agent.errors import PrincipleError
from nas_agent.principles.principle import Principle
from nas_agent.spaces.base import Space

Json = dict[str, Any]


def compare(first: Story, second: Story, spaces: tuple[Space | None, Space | None]) -> Json:
    """Pair the principles of two runs by their constraints.

    A principle of one run alone also says whether the other's space could hold it at all; null where its space
    cannot be loaded.
    """
    ours = {principle.constraint: principle for principle in _latest(first)}
    theirs = {principle.constraint: principle for principle in _latest(second)}
    both = [constraint for constraint in ours if constraint in theirs]
    return {
        "first": _about(first),
        "second": _about(second),
        "same_space": first.space_name == second.space_name,
        "both": [
            {
                "constraint": constraint.to_dict(),
                "constraint_text": str(constraint),
                "same_status": ours[constraint].status == theirs[constraint].status,
                "same_sign": _sign(ours[constraint]) == _sign(theirs[constraint]),
                "first": _entry(first, ours[constraint]),
                "second": _entry(second, theirs[constraint]),
            }
            for constraint in both
        ],
        "only_first": [_alone(first, p, spaces[1]) for c, p in ours.items() if c not in theirs],
        "only_second": [_alone(second, p, spaces[0]) for c, p in theirs.items() if c not in ours],
    }


def _latest(story: Story) -> list[Principle]:
    order = {"active": 0, "candidate": 1, "retired": 2}
    return sorted(story.principles.values(), key=lambda principle: order[principle.status])


def _about(story: Story) -> Json:
    return {"run": str(story.folder.path), "task": story.task.name, "space": story.space_name, "unit": story.task.unit}


def _sign(principle: Principle) -> int | None:
    value = principle.evidence.effect
    return None if value is None else (value > 0) - (value < 0)


def _entry(story: Story, principle: Principle) -> Json:
    last = [change for change in story.changes if change.principle.id == principle.id][-1]
    return {**principle.to_dict(), "constraint_text": str(principle.constraint), "why": last.why}


def _alone(story: Story, principle: Principle, other: Space | None) -> Json:
    known: bool | None = None
    if other is not None:
        try:
            principle.constraint.check(other.decisions)
            known = True
        except PrincipleError:
            known = False
    return {**_entry(story, principle), "known_there": known}


# -- for people ------------------------------------------------------------------------------------------


def tell(found: Json, first: Story, second: Story) -> list[RenderableType]:
    """Lay the comparison out for a terminal."""
    names = handle(first.folder), handle(second.folder)
    parts: list[RenderableType] = [heading("Principles of two runs, paired by what they demand"), ""]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, story in zip(names, (first, second), strict=True):
        kinds = ", ".join(f"{story.statuses(status)} {status}" for status in ("active", "candidate", "retired"))
        grid.add_row(name, f"{story.task.name} on {story.space_name}: {kinds}")
    parts.append(grid)
    if not found["same_space"]:
        told = "The spaces differ: a principle is compared only where both have its decisions and options."
        parts.append(Text(told, style="yellow"))
    shared = found["both"]
    parts += ["", heading(f"In both: {len(shared)}")]
    if shared:
        parts.append(_pairs(shared, names, (first.task.unit, second.task.unit)))
    for key, name, story in (("only_first", names[0], first), ("only_second", names[1], second)):
        alone = found[key]
        parts += ["", heading(f"Only in {name}: {len(alone)}")]
        if alone:
            parts.append(_list(alone, story.task.unit))
    return parts


def _pairs(shared: list[Json], names: tuple[str, str], units: tuple[str, str]) -> Table:
    grid = _grid()
    for pair in shared:
        grid.add_row("", "", Text(pair["constraint_text"], style="bold"))
        for side, name, unit in zip(("first", "second"), names, units, strict=True):
            grid.add_row(Text(name, style="cyan"), _status(pair[side]), _evidence(pair[side], unit))
        apart = [
            word
            for word, same in (("status", pair["same_status"]), ("direction of the effect", pair["same_sign"]))
            if not same
        ]
        if apart:
            grid.add_row("", "", Text(f"differ in {' and '.join(apart)}", style="yellow"))
    return grid


def _list(alone: list[Json], unit: str) -> Table:
    grid = _grid()
    for entry in alone:
        told = Text(entry["constraint_text"], style="bold")
        if entry["known_there"] is False:
            told.append("  (not in the other's space)", style="yellow")
        grid.add_row("", _status(entry), told)
        grid.add_row("", "", _evidence(entry, unit))
    return grid


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _status(entry: Json) -> Text:
    style = {"active": "green", "retired": "dim"}.get(entry["status"], "")
    return Text(f"{entry['id']}@{entry['version']} {entry['status']}", style=style)


def _evidence(entry: Json, unit: str) -> Text:
    evidence = Principle.from_dict(entry).evidence
    return Text(f"{effect(evidence, unit)}; {counts(evidence)}", style="dim")
