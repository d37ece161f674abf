"""The document of a comparison as tables for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas_agent.bench.document import RULES
from nas_agent.records import Json
from nas_agent.wording import plural

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table as text."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(doc: Json, *, wide: bool = False) -> list[Sheet]:
    """Lay the document out as a few tables; `wide` gives both ends of every interval."""
    found = [_target_sheet(doc, target) for target in next(iter(doc["methods"].values()))["targets"]]
    found += [_crossing_sheet(doc, crossing) for crossing in doc["crossings"]]
    for split in ("validation", "test"):
        found += _checkpoint_sheet(doc, split, wide)
    found.append(_cost_sheet(doc))
    if doc["differences"]:
        found += _difference_sheets(doc, wide)
    return found


def _unit(doc: Json) -> str:
    word = "" if doc["provenance"] == "measured" else f" ({doc['provenance']})"
    return f"{doc['task']['metric']}{word} [{doc['task']['unit']}]"


def _target_sheet(doc: Json, target: str) -> Sheet:
    rows = []
    for name, of in doc["methods"].items():
        hit, budget = of["targets"][target], doc["budget"]
        median = hit["median"]
        interval = f"{_count(median['low'], budget)} to {_count(median['high'], budget)}"
        mean = f"{'>=' if hit['mean_is_lower_bound'] else ''}{hit['mean']['value']:.1f}"
        found = f"{hit['found']}/{hit['runs']}"
        rows.append((name, _count(median["value"], budget), interval, mean, _count(hit["mean_curve"], budget), found))
    of_what = "the optimum" if target == "optimum" else f"{target} of the optimum"
    title = f"Evaluations to {of_what} by validation ({hit['threshold']:.3f} {doc['task']['unit']})"
    return Sheet(title, ("method", "median", "95 % interval", "mean", "mean curve", "found"), tuple(rows))


def _crossing_sheet(doc: Json, crossing: Json) -> Sheet:
    rows, budget = [], doc["budget"]
    for name, of in crossing["methods"].items():
        count, fewer = of["evaluations"], of["fewer"]
        interval = f"{_count(count['low'], budget)} to {_count(count['high'], budget)}"
        less = ("-", "-")
        if fewer is not None:
            less = (f"{fewer['value']:.1f} %", f"{fewer['low']:.1f} to {fewer['high']:.1f}")
        rows.append((name, _count(count["value"], budget), interval, *less))
    title = (
        f"Evaluations until the mean curve crosses 99 % of the best by {crossing['split']} "
        f"({crossing['threshold']:.3f} {doc['task']['unit']}), cells chosen by validation"
    )
    return Sheet(
        title, ("method", "crosses at", "95 % interval", f"fewer than {doc['reference']}", "interval"), tuple(rows)
    )


def _checkpoint_sheet(doc: Json, split: str, wide: bool) -> list[Sheet]:
    points = [str(point) for point in doc["checkpoints"]]
    rows = tuple(
        (name, *(_plus_minus(of["checkpoints"][point][split], wide) for point in points))
        for name, of in doc["methods"].items()
    )
    if all(cell == "-" for row in rows for cell in row[1:]):
        return []  # the task has no test split
    chosen = " of the cell chosen by validation" if split == "test" else ""
    return [Sheet(f"Mean {split} {_unit(doc)}{chosen} after so many evaluations", ("method", *points), rows)]


def _cost_sheet(doc: Json) -> Sheet:
    header = ("method", "own ms", "own CPU ms", "failed", "repeats", "model calls", "tokens")
    rows = tuple(
        (
            name,
            f"{of['own_wall_ms']:.2f}",
            f"{of['own_cpu_ms']:.2f}",
            *(f"{of[key]:,}" for key in ("failed", "repeats", "model_calls", "tokens")),
        )
        for name, of in doc["methods"].items()
    )
    return Sheet("Own cost per evaluation, and counts over all runs", header, rows)


def _difference_sheets(doc: Json, wide: bool) -> list[Sheet]:
    """One sheet for each kind of quantity: evaluations to the targets, validation, test."""
    base, found = doc["reference"], []
    kinds = (
        ("evaluations to ", f"{base} minus another method, paired by seed: evaluations (fewer is better)"),
        ("validation at ", f"{base} minus another method, paired by seed: validation {_unit(doc)}"),
        ("test at ", f"{base} minus another method, paired by seed: test {_unit(doc)}"),
    )
    for kind, title in kinds:
        rows: list[tuple[str, ...]] = []
        header: tuple[str, ...] = ()
        for name, differences in doc["differences"].items():
            kept = [row for row in differences if row["quantity"].startswith(kind)]
            header = tuple(f"{'at ' * (' at ' in kind)}{row['quantity'].removeprefix(kind)}" for row in kept)
            rows.append((f"- {name}", *(_difference(row, wide) for row in kept)))
        if header:
            found.append(Sheet(title, ("", *header), tuple(rows)))
    return found


def _difference(row: Json, wide: bool) -> str:
    """Effect, interval, and (wide) on how many seeds the reference is better and worse."""
    star = "*" if row["decided"] else " "
    if wide:
        interval = f"({row['low']:+.2f} to {row['high']:+.2f})"
        return f"{row['value']:+.2f}{star.strip()} {interval} {row['better']}:{row['worse']}"
    return f"{row['value']:+.2f} ±{_half(row)}{star}"


def _count(value: float | None, budget: int) -> str:
    return f">{budget}" if value is None else f"{value:g}"


def _plus_minus(value: Json | None, wide: bool) -> str:
    if value is None:
        return "-"
    return f"{value['value']:.2f} " + (f"({value['low']:.2f} to {value['high']:.2f})" if wide else f"±{_half(value)}")


def _half(value: Json) -> str:
    return f"{(value['high'] - value['low']) / 2:.2f}"


def rich_report(doc: Json) -> Group:
    """Build what a terminal shows."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Table | Text] = [Text(_heading(doc))]
    for sheet in sheets(doc):
        parts.append(Text(f"\n{sheet.title}", style="bold"))
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
        for place, name in enumerate(sheet.header):
            table.add_column(name, justify="left" if place == 0 else "right", no_wrap=place == 0)
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))  # as Text: a bracket is no markup
        parts.append(table)
    parts.append(Text(f"\n± and intervals: {RULES['intervals']}. Differences: {RULES['differences']}.", style="dim"))
    return Group(*parts)


def _heading(doc: Json) -> str:
    runs = f"{plural(len(doc['methods']), 'method')} x {plural(len(doc['seeds']), 'seed')}"
    return (
        f"{doc['task']['name']} on {doc['space']}: {runs}, {plural(doc['budget'], 'evaluation')} each; "
        f"{doc['evaluator']} ({doc['provenance']}, {doc['fidelity']}). {doc['note']}"
    )


def markdown(doc: Json) -> str:
    """Write the section of `docs/results.md`: the command, the rules, the tables."""
    show: Callable[[Sequence[str]], str] = lambda cells: "| " + " | ".join(cells) + " |"  # noqa: E731
    lines = [f"### {doc['task']['name']}", "", "```", doc["command"], "```", "", _heading(doc), ""]
    lines.append(f"- seeds: {_ranges(doc['seeds'])}; language-model calls: {_calls(doc)}")
    lines += [f"- {name}: {rule}" for name, rule in doc["rules"].items()]
    for sheet in sheets(doc, wide=True):
        lines += ["", f"**{sheet.title}**", "", show(sheet.header), show(["---"] * len(sheet.header))]
        lines += [show(row) for row in sheet.rows]
    return "\n".join(lines) + "\n"


def _calls(doc: Json) -> str:
    calls = sum(of["model_calls"] for of in doc["methods"].values())
    tokens = sum(of["tokens"] for of in doc["methods"].values())
    return f"{calls:,} ({tokens:,} tokens)" if calls else "0"


def _ranges(seeds: Sequence[int]) -> str:
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ", ".join(map(str, seeds))
