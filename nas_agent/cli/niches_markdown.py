"""The report of an archive as Markdown: tables that link to the code below them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from nas_agent.cli.niches_html import COUNTS, REASONS, short
from nas_agent.cli.wording import number

Json = dict[str, Any]


def text(data: Json) -> str:
    """Write the whole report."""
    qd = "" if data["qd_score"] is None else f", QD score {data['qd_score']:,.1f}"
    axes = [axis["name"] for axis in data["axes"]]
    elites = sorted(data["elites"], key=lambda elite: elite["place"])
    parts = [
        f"# {data['task']} on {data['space']}: the best network of each kind",
        f"{data['filled']} of {data['niches']} niches ({data['kind']}) filled{qd}; evaluations: {data['evaluations']}.",
        "## Niches",
        _table(
            ("value", *axes, "made by", "network"),
            (
                [number(e["value"], data["unit"]), *map(short, e["measures"]), e["intent"] or e["author"], _link(e)]
                for e in elites
            ),
        ),
        "## By prompt",
        _counts("intent", data["operators"]),
        "## By operator",
        _counts("operator", data["kinds"]),
    ]
    if data["failures"]:
        columns = ("failed", "by", "count", "why")
        rows = ([str(row[column]) for column in columns] for row in data["failures"][:REASONS])
        parts += ["## What failed", _table(columns, rows)]
    parts.append("## How the best came about")
    for step in data["lineage"]:
        made = step["author"] if step["intent"] is None else f"“{step['intent']}” by {step['by']}"
        parts.append(f"Evaluation {step['evaluation']}, {number(step['value'], data['unit'])}: {made}")
        parts.append(_fenced(step["code"], "python") if step["diff"] is None else _fenced(step["diff"], "diff"))
    parts.append("## Networks")
    for elite in elites:
        parts += [f"### {elite['id']}", _fenced(elite["code"], "python")]
    return "\n\n".join(parts) + "\n"


def _counts(name: str, rows: Sequence[Json]) -> str:
    columns = (name, "by", *COUNTS)
    return _table(columns, ([str(row[column]) for column in columns] for row in rows))


def _link(elite: Json) -> str:
    return f"[{elite['id']}](#{elite['id']})"


def _fenced(code: str, language: str) -> str:
    fence = "```"
    while fence in code:  # what a model wrote may hold one
        fence += "`"
    return f"{fence}{language}\n{code}\n{fence}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return "\n".join([*head, *(f"| {line} |" for line in lines)])
