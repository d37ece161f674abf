"""The document of the protocol as tables for a terminal and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from nas_agent.bench.report import Sheet
from nas_agent.bench.surrogate_document import labels, number, shared_parts
from nas_agent.records import Json
from nas_agent.wording import plural

if TYPE_CHECKING:
    from rich.console import Group


def sheets(doc: Json, name: str, *, wide: bool = False) -> list[Sheet]:
    """Lay out one task; `wide` gives the intervals of differences, and Spearman's correlation too."""
    task, shown = doc["tasks"][name], labels(doc)
    header = ("N", *(f"{size:,}" for size in task["sizes"]))

    def of(title: str, cell: Callable[[Json], str]) -> Sheet:
        rows = ((shown[c], *(cell(at[str(n)]) for n in task["sizes"])) for c, at in task["results"].items())
        return Sheet(title, header, tuple(rows))

    found = [of(f"{name}: Kendall tau on the fold held out", lambda at: _spread(at["tau"]))]
    found += _contrast_sheets(doc, name, wide)
    level, top = f"{100 * doc['level']:g} %", f"{100 * doc['top']:g} %"
    found.append(
        of(f"{name}: share of the best {top} among the predicted best {top}", lambda at: number(at["top"]["mean"]))
    )
    if wide:
        found.append(of(f"{name}: Spearman correlation", lambda at: number(at["spearman"]["mean"])))
    found.append(
        of(
            f"{name}: % of values inside their {level} intervals / median width [{task['unit']}]",
            lambda at: f"{100 * at['coverage']['mean']:.1f} / {_width(at['width']['median'])}",
        )
    )
    found.append(
        of(f"{name}: median ms to fit and predict a fold", lambda at: f"{1000 * at['seconds']['median']:,.0f}")
    )
    return found


def _contrast_sheets(doc: Json, name: str, wide: bool) -> list[Sheet]:
    """One table of differences for each kind of comparison."""
    shown, task = labels(doc), doc["tasks"][name]
    titles = {
        "embeddings": f"{name}: what embeddings add: tau, joint minus the same head on structure",
        "language model": f"{name}: what the language model adds: tau minus that of a control",
        "reference": f"{name}: tau minus that of {shown[doc['reference']]}",
    }
    found = []
    for kind, title in titles.items():
        rows: dict[str, dict[int, Json]] = {}
        for row in (row for row in task["contrasts"] if row["kind"] == kind):
            other = f" - {doc['configurations'][row['second']]['embedder']}" if kind == "language model" else ""
            rows.setdefault(f"{shown[row['first']]}{other}", {})[row["n"]] = row
        if rows:
            header = ("N", *(f"{size:,}" for size in task["sizes"]))
            cells = ((label, *(_difference(at[n], wide) for n in task["sizes"])) for label, at in rows.items())
            found.append(Sheet(title, header, tuple(cells)))
    return found


def _difference(row: Json, wide: bool) -> str:
    star = "*" if row["decided"] else ("" if wide else " ")
    if not wide:
        return f"{number(row['mean'], sign=True)}{star}"
    ends = f"{number(row['low'], sign=True)} to {number(row['high'], sign=True)}"
    return f"{number(row['mean'], sign=True)}{star} ({ends}, p {row['holm']:.2g})"


def _spread(figure: Json) -> str:
    return number(figure["mean"]) + ("" if figure["spread"] is None else f" ±{number(figure['spread'])}")


def _width(value: float | None) -> str:
    return "open" if value is None or not math.isfinite(value) else f"{value:.3g}"


def heading(doc: Json) -> list[str]:
    """Say what was done, in lines."""
    fits = f"{plural(doc['repeats'], 'repeat')} x {doc['test_folds']} of {doc['folds']} folds"
    lines = [
        f"{doc['space']}: {plural(len(doc['configurations']), 'configuration')}, {fits}; targets by {doc['target']}, "
        f"at most {doc['components']} principal components of an embedding; seed {doc['seed']}."
    ]
    if shared_parts(doc):
        lines.append(f"Wherever a text is read: {shared_parts(doc)}.")
    alike = "isomorphism classes" if doc["together"] == "classes" else "canonical texts"
    for name, task in doc["tasks"].items():
        left = f"; N = {', '.join(map(str, task['left_out']))} left out: too many" if task["left_out"] else ""
        lines.append(
            f"{name}: {task['rows']:,} rows, {task['classes']:,} {alike}, none of them in two folds, "
            f"{task['provenance']}, {task['fidelity']}; training part {task['training']:,} rows or more{left}."
        )
    lines += [
        f"{row['text']} by {row['embedder']}: {row['truncated']:,} of {row['distinct']:,} texts were longer than the "
        "model reads, their ends are not embedded."
        for row in doc["embedded"]
        if row["truncated"]
    ]
    return lines


def rich_report(doc: Json) -> Group:
    """Build what a terminal shows."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = [Text("\n".join(heading(doc)))]
    for sheet in (sheet for name in doc["tasks"] for sheet in sheets(doc, name)):
        parts.append(Text(f"\n{sheet.title}", style="bold"))
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
        for place, name in enumerate(sheet.header):
            table.add_column(name, justify="right" if place else "left", no_wrap=bool(place), overflow="fold")
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))  # as Text: a bracket is no markup
        parts.append(table)
    parts.append(Text("\nVerdict", style="bold"))
    parts += [Text(line) for line in doc["verdicts"]]
    parts.append(Text(f"\n{doc['rules']['spread']}. Differences: {doc['rules']['differences']}.", style="dim"))
    return Group(*parts)


def markdown(doc: Json) -> str:
    """Write the section of a results page: the command, the rules, the tables, the verdicts."""

    def row(cells: tuple[str, ...]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = ["```", doc["command"], "```", ""]
    lines += [f"- {line}" for line in heading(doc)]
    lines += [f"- {name}: {rule}" for name, rule in doc["rules"].items()]
    for name in doc["tasks"]:
        for sheet in sheets(doc, name, wide=True):
            lines += ["", f"**{sheet.title}**", "", row(sheet.header), row(("---",) * len(sheet.header))]
            lines += [row(cells) for cells in sheet.rows]
    return "\n".join([*lines, "", "**Verdict**", "", *(f"- {line}" for line in doc["verdicts"])]) + "\n"
