"""The document of a generator's evaluation as tables for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas_agent.agents.generators.arch_llm.metrics import METRICS
from nas_agent.bench.report import Sheet
from nas_agent.records import Json
from nas_agent.wording import plural

if TYPE_CHECKING:
    from rich.console import Group

TITLES = {
    "validity": "valid", "uniqueness": "unique", "novelty": "novel",
    "absolute_uniqueness": "abs. unique", "absolute_novelty": "abs. novel",
}  # fmt: skip


def sheets(doc: Json) -> list[Sheet]:
    """Lay out one table a method, then the best temperatures and the differences."""
    header = ("temperature", *TITLES.values())
    found = [
        Sheet(
            f"{name} [%]", header,
            tuple((f"{at['temperature']:g}", *(share(at[m]) for m in METRICS)) for at in method["temperatures"]),
        )
        for name, method in doc["methods"].items()
        if len(method["temperatures"]) > 1
    ]  # fmt: skip
    found.append(_best_sheet(doc))
    if doc["differences"]:
        found.append(
            Sheet(
                "valid and unique, each at its best temperature, minus that of [points]",
                ("", "difference", f"{100 * doc['level']:g} % interval"),
                tuple((row["against"], f"{100 * row['mean']:+.2f}", interval(row)) for row in doc["differences"]),
            )
        )
    return found


def _best_sheet(doc: Json) -> Sheet:
    """Lay out a column a method: the best mean of each metric, with its temperature."""
    limits = doc["ceiling"]
    rows = [(TITLES[metric], *(_best(method, metric) for method in doc["methods"].values())) for metric in METRICS]
    header: tuple[str, ...] = ("", *doc["methods"])
    if limits is not None:
        header = (*header, "uniform over classes")
        ends = [f"{100 * limits[metric]:.1f}" if metric in limits else "-" for metric in METRICS]
        rows = [(*row, end) for row, end in zip(rows, ends, strict=True)]
    return Sheet("the best of each [%] (at its temperature)", header, tuple(rows))


def heading(doc: Json) -> list[str]:
    """Say what was drawn, and what the model learned from."""
    codes = doc["codes"]
    several = "" if doc["generators"] == 1 else f", {doc['generators']} trained generators"
    known = "" if doc["classes"] is None else f" of {doc['classes']:,} classes"
    return [
        f"{doc['generator']} on {doc['space']}: {doc['drawn']:,} draws, {plural(doc['seeds'], 'seed')}{several}; "
        f"trained on {doc['trained']:,}{known}",
        f"± is the standard deviation over {spread(doc)}",
        f"codes at temperature {codes['temperature']:g}: {codes['used']} of {codes['codes']} in use, perplexity "
        f"{codes['perplexity']:.1f}",
    ]


def spread(doc: Json) -> str:
    """Say what varies between the values whose deviation is shown."""
    return f"{doc['generators']} trained generators" if doc["generators"] > 1 else plural(doc["seeds"], "sample")


def rich_report(doc: Json) -> Group:
    """Build what a terminal shows."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Text | Table] = [Text("\n".join(heading(doc)))]
    for sheet in sheets(doc):
        table = Table(box=None, padding=(0, 2, 0, 0))
        for place, name in enumerate(sheet.header):
            table.add_column(Text(name), justify="left" if place == 0 else "right", no_wrap=place == 0)
        for row in sheet.rows:
            table.add_row(*map(Text, row))
        parts += [Text(), Text(sheet.title, style="bold"), table]  # a table's own title is broken to its width
    return Group(*parts)


def markdown(doc: Json) -> str:
    """Write the tables, and the command that makes them."""
    parts = ["  \n".join(heading(doc))]
    for sheet in sheets(doc):
        rows: Sequence[Sequence[str]] = (sheet.header, ["---"] * len(sheet.header), *sheet.rows)
        parts.append(f"**{sheet.title}**\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows))
    parts.append(f"`{doc['command']}`")
    return "\n\n".join(parts) + "\n"


def share(value: Json) -> str:
    """Write a mean and its deviation in percent."""
    spread = "" if value["deviation"] is None else f" ±{100 * value['deviation']:.1f}"
    return f"{100 * value['mean']:.1f}{spread}"


def _best(method: Json, metric: str) -> str:
    best = method["best"][metric]
    value = next(at[metric] for at in method["temperatures"] if at["temperature"] == best)
    return share(value) + ("" if len(method["temperatures"]) == 1 else f" ({best:g})")


def interval(row: Json) -> str:
    """Write the interval of a difference in points; of a single value there is none."""
    return "-" if row["low"] is None else f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}"
