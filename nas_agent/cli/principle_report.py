"""Principles for people: one version at a glance, and the whole story that `trace` computes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from nas_agent.cli.layout import Rows, counts, effect, heading, plain_table, sections
from nas_agent.cli.lineage_report import elsewhere_line, elsewhere_story, origin_line, origin_story
from nas_agent.cli.run_document import handle
from nas_agent.cli.wording import number, plural
from nas_agent.principles.constraint import constraint_from_dict
from nas_agent.principles.principle import Evidence

if TYPE_CHECKING:
    from nas_agent.cli.lineage import Lineage
    from nas_agent.cli.story import Story
    from nas_agent.cli.trace import Trace
    from nas_agent.principles.principle import Principle

Json = dict[str, Any]
AGAINST = {"rejected": ", rejected by the surrogate", "order": ", the surrogate stood back"}
SHOWN = 12  # proposals in the list of a trace


def glance(story: Story, principle: Principle, family: Lineage) -> list[RenderableType]:
    """Return what `principles show` prints."""
    last = [change for change in story.changes if change.principle.id == principle.id][-1]
    evidence = principle.evidence
    rows: Rows = [
        ("constraint", Text(str(principle.constraint))),
        ("status", Text(f"{principle.status}, version {principle.version}")),
        ("author", Text(principle.author)),
        ("evidence", Text(f"{effect(evidence, story.task.unit)}\n{counts(evidence)}")),
        ("tasks", Text(", ".join(evidence.tasks) or "none yet")),
        ("origin", origin_line(family)),
        ("elsewhere", elsewhere_line(family)),
        ("last change", Text(f"{last.action} at evaluation {last.evaluations}: {last.why}")),
    ]
    command = f"  nas-agent principles trace {principle.id} --run {handle(story.folder)}"
    return [heading(f"{principle.id}  {principle.text}"), "", sections(rows), "", heading("Next"), command]


def whole_story(story: Story, trace: Trace, family: Lineage) -> list[RenderableType]:
    """Return what `principles trace` prints: how it came about, what followed it, what that scored."""
    unit = story.task.unit
    first = trace.history[0]
    head: Rows = [
        ("constraint", Text(str(constraint_from_dict(trace.constraint)))),
        ("status", Text(f"{trace.status}, version {trace.version}, after {plural(len(trace.history), 'change')}")),
        ("made from", Text(_origin(first, unit))),
        ("evidence", Text(_evidence(trace.evidence, unit))),
    ]
    parts: list[RenderableType] = [heading(f"{trace.id}  {trace.text}"), "", sections(head), ""]
    parts += origin_story(family, trace.text)
    parts += [heading("History"), _history(trace), ""]
    parts.append(heading("What was proposed while it was active"))
    if not trace.proposals:
        parts.append(Text("  nothing: it never constrained a proposal"))
    else:
        parts += [_scores(trace, unit), "", Text(_reading(trace, unit)), "", _proposals(trace, unit)]
    return [*parts, *elsewhere_story(family)]


def _origin(first: Json, unit: str) -> str:
    when = (
        "before the first evaluation"
        if first["evaluations"] == 0
        else f"after {plural(first['evaluations'], 'evaluation')}"
    )
    return f"{first['author']}, {when}: {first['why']}\n{_evidence(first['evidence'], unit)}"


def _evidence(data: Json, unit: str) -> str:
    evidence = Evidence(**data)
    return f"{effect(evidence, unit)}; {counts(evidence)}"


def _history(trace: Trace) -> Table:
    table = plain_table("at", "time", "change", "version", "why", right=["at", "version"], wide=["why"])
    for step in trace.history:
        clock = "" if step["time"] is None else time.strftime("%H:%M:%S", time.localtime(step["time"]))
        style = {"activated": "green", "retired": "red", "revised": "yellow", "refused": "red", "held": "cyan"}.get(
            step["action"], ""
        )
        why = Text(step["why"])
        if step["action"] == "revised":
            why.append(f"\nnow {constraint_from_dict(step['constraint'])}")
        table.add_row(str(step["evaluations"]), clock, Text(step["action"], style=style), str(step["version"]), why)
    return table


def _scores(trace: Trace, unit: str) -> Table:
    table = plain_table(
        "", "measured", "failed", f"mean [{unit}]", "95 %", "range", right=["measured", "failed", f"mean [{unit}]"]
    )
    names = {"all": "", "inside": "  guided", "outside": "  outside share"}
    for side, title in (("followed", "followed it"), ("not_followed", "did not")):
        for share, name in names.items():
            row = trace.scores[side][share]
            if share != "all" and not row["count"]:
                continue
            table.add_row(
                Text(name or title, style="" if name else "bold"),
                str(row["count"] - row["failed"]),
                str(row["failed"]),
                _plain(row["mean"]),
                "-" if row["low"] is None else f"{_plain(row['low'])} to {_plain(row['high'])}",
                "-" if row["min"] is None else f"{_plain(row['min'])} to {_plain(row['max'])}",
            )
    return table


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) < 1e5 else f"{value:.5g}"


def _reading(trace: Trace, unit: str) -> str:
    """Say in a sentence what the table shows, with its caution."""
    yes, no = trace.scores["followed"]["all"]["mean"], trace.scores["not_followed"]["all"]["mean"]
    if yes is None or no is None:
        return "There is nothing to compare: all measured proposals are on one side."
    return (
        f"Those that followed it differ by {yes - no:+.2f} {unit} in the mean. The surrogate chose on both sides, and "
        "later proposals are better anyway: the evidence above compares near rounds only."
    )


def _proposals(trace: Trace, unit: str) -> Table:
    table = plain_table("eval", "value", "followed", "share", "id", "by", right=["eval", "value"], wide=["by"])
    shown = trace.proposals if len(trace.proposals) <= SHOWN else trace.proposals[-SHOWN:]
    for proposal in shown:
        value = "failed" if proposal["failed"] is not None else number(proposal["value"], unit)
        table.add_row(
            str(proposal["evaluation"]),
            value,
            f"version {proposal['version']}" if proposal["followed"] else "no",
            "outside" if proposal["outside"] else "guided",
            proposal["id"],
            proposal["author"] + AGAINST.get(proposal["choice"], ""),
        )
    if len(shown) < len(trace.proposals):
        table.caption = f"the last {len(shown)} of {len(trace.proposals)}; --json has all of them"
        table.caption_justify = "left"
    return table
