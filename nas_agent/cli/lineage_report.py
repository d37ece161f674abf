"""A principle's way through several runs, for people."""

from __future__ import annotations

from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nas_agent.cli.layout import counts, effect, heading
from nas_agent.cli.lineage import Lineage
from nas_agent.cli.wording import plural
from nas_agent.principles.constraint import constraint_from_dict
from nas_agent.principles.principle import Evidence

Json = dict[str, Any]


def origin_line(found: Lineage) -> Text:
    """Name in one line where a principle is from."""
    if not found.origin:
        return Text("this run")
    return Text(" <- ".join(step["told"] for step in found.origin))


def elsewhere_line(found: Lineage) -> Text:
    """Count in one line what became of it in other runs."""
    if not found.elsewhere:
        return Text("no other run has taken it over")
    statuses = [step.get("status", "not taken over") for step in found.elsewhere]
    kinds = ", ".join(f"{statuses.count(kind)} {kind}" for kind in dict.fromkeys(statuses))
    return Text(f"{plural(len(statuses), 'run')}: {kinds}")


def origin_story(found: Lineage, text: str) -> list[RenderableType]:
    """Tell where it was learned, by whom, on what evidence, and what became of it there; the nearest run first.

    Its sentence there is told where it is not `text`.
    """
    if not found.origin:
        return []
    grid = _grid()
    for step in found.origin:
        step = step if step.get("text") != text else {**step, "text": ""}
        where = f"{step['run']} on {step['task']}" if step["run"] else step["told"]
        grid.add_row(Text(step["principle"], style="bold"), Text(where, style="bold"))
        for line in _origin_lines(step):
            grid.add_row("", line)
    return [heading("Where it is from"), grid, ""]


def _origin_lines(step: Json) -> list[Text]:
    lines = []
    if "author" in step:
        lines.append(Text(f"by {step['author']}" + (f": {step['text']}" if step["text"] else "")))
        lines.append(_evidence(step["evidence"], step["unit"]))
    learned = step["learned"] or []
    lines += [Text(f"{made['action']} at evaluation {made['evaluations']}: {made['why']}") for made in learned]
    if step["now"] is not None:
        now = step["now"]
        lines.append(Text(f"in the end {now['principle']}, {now['status']}: {now['why']}"))
    if step["missing"] is not None:
        lines.append(Text(f"its run cannot be read here: {step['missing']}", style="yellow"))
    return lines


def elsewhere_story(found: Lineage) -> list[RenderableType]:
    """Tell what became of it in the runs that took it over."""
    if not found.elsewhere:
        return ["", heading("In other runs"), Text("  no other run has taken it over")]
    grid = _grid()
    for step in found.elsewhere:
        if not step["taken_over"]:
            grid.add_row("-", Text(f"{step['run']} on {step['task']}", style="bold"))
            grid.add_row("", Text("recalled there, but not taken over: it was known, or does not fit"))
            continue
        style = {"active": "green", "retired": "red"}.get(step["status"], "")
        head = Text(f"{step['run']} on {step['task']}: ", style="bold")
        grid.add_row(Text(step["principle"], style="bold"), head.append(step["status"], style=style))
        for line in _elsewhere_lines(step):
            grid.add_row("", line)
    return ["", heading("In other runs"), grid]


def _elsewhere_lines(step: Json) -> list[Text]:
    began = "active at once" if step["active_at_once"] else "waited for support"
    told = f"{began}; credited {plural(step['credited'], 'time')}, revised {plural(step['revised'], 'time')}"
    if step["through"]:
        told += f"; by way of {', '.join(step['through'])}"
    lines = [Text(told)]
    if step["revised"]:
        lines.append(Text(f"now {constraint_from_dict(step['constraint'])}"))
    last = step["last"]
    lines.append(Text(f"{last['action']} at evaluation {last['evaluations']}: {last['why']}"))
    lines.append(_evidence(step["evidence"], step["unit"]))
    followed, other = step["proposals"]["followed"], step["proposals"]["not_followed"]
    if followed["count"] + other["count"]:
        lines.append(
            Text(f"{_side(followed, step['unit'])} followed it, {_side(other, step['unit'])} did not", style="dim")
        )
    return lines


def _side(row: Json, unit: str) -> str:
    mean = "" if row["mean"] is None else f" (mean {row['mean']:.2f} {unit})".replace(" )", ")")
    return f"{plural(row['count'], 'proposal')}{mean}"


def _evidence(data: Json, unit: str) -> Text:
    evidence = Evidence(**data)
    return Text(f"{effect(evidence, unit)}; {counts(evidence)}", style="dim")


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
