"""`data status` and `data import`: benchmark tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = dict[str, Any]
data_app = typer.Typer(help="Benchmark tables: what is found, and the import of official files.", no_args_is_help=True)


@data_app.command("status")
def status(
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Look here first.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say where tables are looked for, what is there, and whether it holds up."""
    from nas_agent.tools.data_status import data_status

    found = data_status(data)
    output.document(found) if as_json else output.answer(*_told(found))


@data_app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="NAS-Bench-201-v1_1-*.pth, NATS-tss-*.pickle.pbz2 or its folder.")
    ],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="What to write (default: the data folder).")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn an official NAS-Bench-201 or NATS-Bench file into the compact table."""
    from nas_agent.tools.data_import import import_official

    with output.quiet_stdout():
        done = import_official(path, out)
    if as_json:
        output.document(done.to_dict())
        return
    lines = [
        f"wrote {done.path}: {plural(done.rows, 'row')}, {plural(len(done.arrays), 'array')}",
        f"sha256 {done.sha256}",
    ]
    lines += [f"{name}: {plural(count, 'row')} without a value" for name, count in done.missing.items()]
    output.answer("\n".join(lines))


def _told(found: Json) -> list[RenderableType]:
    from rich.text import Text

    from nas_agent.cli.layout import plain_table, sections

    places = plain_table("looked in", "named by", "tables", wide=["looked in"])
    for place in found["places"]:
        places.add_row(place["folder"], place["named_by"], str(len(place["files"]) or "-"))
    parts: list[RenderableType] = [places]
    for table in found["tables"]:
        word = "in use" if table["in_use"] else "hidden by the one above"
        parts.append(Text(f"\n{table['benchmark']}, space {table['space']}: {table['path']} ({word})", style="bold"))
        counts = ["rows", "different", "left out"]
        rows = plain_table("task", "epochs", *counts, "", right=["epochs", *counts], wide=[""])
        for task in table["tasks"]:
            numbers = [f"{task[key]:,}" if key in task else "-" for key in ("rows", "different", "left_out")]
            rows.add_row(task["task"], str(task["epochs"] or "-"), *numbers, Text(task.get("problem", "")))
        parts.append(rows)
        parts += [
            Text(f"{'ok ' if check['ok'] else 'BAD'} {check['check']}: {check['detail']}".rstrip(": "))
            for check in table["checks"]
        ]
    for lacking in found["missing"]:
        instead = "its values are predicted instead" if lacking["embedded"] else "its tasks cannot be run"
        parts.append(Text(f"\n{lacking['benchmark']}, space {lacking['space']}: no {lacking['file']}; {instead}"))
    if found["missing"]:
        parts.append(
            Text(
                "\nFor measured values set NAS_AGENT_DATA or --data to a folder that holds the files; "
                "nb201.npz is also made by: nas-agent data import OFFICIAL_FILE"
            )
        )
    embedded = found["embedded"]
    scores = [
        (f"{task} {split}", Text(f"Kendall tau {of['kendall_tau']:.3f}, error {of['rmse']:.2f} %"))
        for task, splits in embedded["scores"].items()
        for split, of in splits.items()
        if isinstance(of, dict) and "kendall_tau" in of
    ]
    parts += [Text("\nEmbedded benchmark, on cells held out from its fit", style="bold"), sections(scores)]
    return parts
