"""`archive RUN`: what a run of quality diversity keeps, for a terminal, as Markdown or as a page to click through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.bench_commands import check_target, write_text
from nas_agent.cli.inspect_commands import Run, read_story, space_of
from nas_agent.cli.output import AsJson

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas_agent.records import Architecture

Json = dict[str, Any]
SHOWN = 10  # niches, and reasons, in a terminal


def archive(
    run: Run,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a page with the heat map.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write tables and code as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the best network of each kind that a run with --generator code has found, finished or not."""
    from nas_agent.cli.niches_document import as_document

    for flag, file in (("--html", html), ("--markdown", markdown)):
        if file is not None:
            check_target(flag, file)
    story = read_story(run)
    space = space_of(story)

    def source(architecture: Architecture) -> str:
        return architecture.text if space is None else space.source(architecture)

    data = as_document(story, source)
    if html is not None:
        from nas_agent.cli.niches_html import page

        write_text("--html", html, page(data))
    if markdown is not None:
        from nas_agent.cli.niches_markdown import text

        write_text("--markdown", markdown, text(data))
    if as_json:
        output.document(data)
    else:
        output.answer(*_parts(data))


def _parts(data: Json) -> list[RenderableType]:
    from rich.text import Text

    from nas_agent.cli.layout import Rows, heading, plain_table, sections
    from nas_agent.cli.niches_html import COUNTS, short
    from nas_agent.cli.wording import number, plural

    rows: Rows = [
        (
            "niches",
            Text(f"{data['filled']} of {data['niches']} filled ({100 * data['coverage']:.0f} %), {data['kind']}"),
        )
    ]
    if data["qd_score"] is not None:
        rows.append(("QD score", Text(f"{data['qd_score']:,.1f}, the sum over the niches")))
    if data["outside"]:
        rows.append(("outside", Text(f"{plural(data['outside'], 'network')} beyond the ranges, put at the border")))
    found = plain_table("value", "eval", "id", *(axis["name"] for axis in data["axes"]), "made by", right=["value"])
    for elite in sorted(data["elites"], key=lambda elite: elite["evaluation"])[::-1][:SHOWN]:
        made = elite["intent"] or elite["author"]
        measures = (short(value) for value in elite["measures"])
        value = number(elite["value"], data["unit"])
        found.add_row(value, str(elite["evaluation"]), elite["id"], *measures, made)
    counted = []
    for name, rows_of in (("intent", data["operators"]), ("operator", data["kinds"])):
        counted.append(plain_table(name, "by", *COUNTS, right=list(COUNTS)))
        for row in rows_of:
            counted[-1].add_row(row[name], row["by"], *(str(row[count]) for count in COUNTS))
    spent = plural(data["evaluations"], "evaluation")
    title = f"{data['task']} on {data['space']}: the best of each kind after {spent}"
    failures: list[RenderableType] = [
        Text(f"{row['count']:,} {row['failed']} by {row['by']}: {row['why']}") for row in data["failures"][:SHOWN]
    ]
    return [
        heading(title), sections(rows), "", heading("Latest holders"), found, "", heading("By prompt"), counted[0],
        "", heading("By operator"), counted[1], *(["", heading("What failed"), *failures] if failures else []),
    ]  # fmt: skip
