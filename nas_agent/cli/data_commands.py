"""`data status` and `data import`: benchmark tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson

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
    lines = [f"wrote {done.path}: {done.rows:,} rows, {len(done.arrays)} arrays", f"sha256 {done.sha256}"]
    lines += [f"{name}: {count:,} rows without a value" for name, count in done.missing.items()]
    output.answer("\n".join(lines))


def _told(found: Json) -> list[RenderableType]:
    from rich.text import Text

    from nas_agent.cli.layout import plain_table, sections

    places = plain_table("looked in", "named by", "table", wide=["looked in"])
    for place in found["places"]:
        places.add_row(place["folder"], place["named_by"], "found" if place["has_table"] else "-")
    parts: list[RenderableType] = [places]
    for table in found["tables"]:
        word = "in use" if table["in_use"] else "hidden by the one above"
        parts.append(Text(f"\n{table['path']} ({word})", style="bold"))
        rows = plain_table("task", "epochs", "rows", "left out", "", right=["epochs", "rows", "left out"], wide=[""])
        for task in table["tasks"]:
            numbers = [f"{task[key]:,}" if key in task else "-" for key in ("rows", "left_out")]
            rows.add_row(task["task"], str(task["epochs"]), *numbers, Text(task.get("problem", "")))
        parts.append(rows)
        parts += [
            Text(f"{'ok ' if check['ok'] else 'BAD'} {check['check']}: {check['detail']}".rstrip(": "))
            for check in table["checks"]
        ]
    if not found["tables"]:
        parts.append(
            Text(
                "\nNo table: runs use the embedded benchmark, and every value is predicted. For measured values set "
                "NAS_AGENT_DATA or --data to a folder with nb201.npz, or: nas-agent data import OFFICIAL_FILE"
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
