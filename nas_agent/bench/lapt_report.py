"""What `bench lapt` says of its documents: tables, and a plain verdict with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nas_agent.bench.document import RULES
from nas_agent.bench.lapt import ARMS, MODEL_ARMS
from nas_agent.bench.report import Sheet
from nas_agent.records import Json
from nas_agent.wording import plural


def verdicts(documents: Sequence[Json]) -> list[str]:
    """Say in a line for each arm what the reference gains over it: evaluations to the optimum, paired by seed."""
    lines = []
    for arm in dict.fromkeys(arm for doc in documents for arm in doc["differences"]):
        found: dict[str, list[str]] = {"saves": [], "no measurable gain": [], "COSTS": []}
        for doc in documents:
            row = doc["differences"].get(arm, {}).get("evaluations to optimum")
            if row is None:
                continue
            what = "no measurable gain" if not row["decided"] else "saves" if row["value"] < 0 else "COSTS"
            interval = f"{row['value']:+.1f}, 95 % {row['low']:+.1f} to {row['high']:+.1f}"
            found[what].append(f"{doc['pair']} ({interval})")
        told = "; ".join(f"{what} on {len(pairs)}: {', '.join(pairs)}" for what, pairs in found.items() if pairs)
        lines.append(f"{documents[0]['reference']} against {arm}, evaluations to the optimum: {told}")
    for name in dict.fromkeys(name for doc in documents for name in doc["contrasts"]):
        rows = [(doc["pair"], doc["contrasts"][name]["optimum"]) for doc in documents if name in doc["contrasts"]]
        saved = [pair for pair, row in rows if row["decided"] and row["value"] < 0]
        cost = [pair for pair, row in rows if row["decided"] and row["value"] > 0]
        rest = len(rows) - len(saved) - len(cost)
        lines.append(
            f"{name}: saves on {len(saved)}, no measurable gain on {rest}, COSTS on {len(cost)} of {len(rows)}"
        )
    for doc in documents:
        asked = {arm: doc["arms"][arm]["model"] for arm in MODEL_ARMS if arm in doc["arms"]}
        lines += [
            f"{arm} on {doc['pair']}: model calls {model['calls']:,}; "
            f"questions that came to nothing {model['failures']:,}"
            for arm, model in asked.items()
            if model["failures"] or not model["calls"]
        ]
    return lines


def sheets(documents: Sequence[Json], *, wide: bool = False) -> list[Sheet]:
    """One table for each goal and each point: a row an arm, a column a pair; `wide` gives intervals."""
    found = []
    arms = [name for name in (*ARMS, *MODEL_ARMS) if any(name in doc["arms"] for doc in documents)]
    header = ("arm", *(doc["pair"] for doc in documents))
    for goal in dict.fromkeys(goal for doc in documents for goal in doc["goals"]):
        rows = [(arm, *(_needed(doc, arm, goal) for doc in documents)) for arm in arms]
        found.append(Sheet(f"Evaluations to {_named(goal)}: median (found of all runs)", header, tuple(rows)))
    for point in dict.fromkeys(point for doc in documents for point in doc["points"]):
        for what, title in (("value", "Mean best validation value"), ("rank", "Mean rank of the best found")):
            rows = [(arm, *(_number(doc, arm, what, point, wide) for doc in documents)) for arm in arms]
            found.append(Sheet(f"{title} after {plural(point, 'evaluation')}", header, tuple(rows)))
    others = [arm for arm in arms if any(arm in doc["differences"] for doc in documents)]
    for quantity in ("evaluations to best 1 %", "evaluations to optimum", "value at 20", "rank at 50"):
        rows = [(f"- {arm}", *(_difference(doc, arm, quantity, wide) for doc in documents)) for arm in others]
        found.append(Sheet(f"{documents[0]['reference']} minus another arm, paired: {quantity}", header, tuple(rows)))
    named = dict.fromkeys(name for doc in documents for name in doc["contrasts"])
    if named:
        rows = [(name, *(_contrast(doc, name, wide) for doc in documents)) for name in named]
        found.append(Sheet("Other arms, paired: evaluations to the optimum", header, tuple(rows)))
    asking = [arm for arm in arms if arm in MODEL_ARMS]
    if asking:
        rows = [(arm, *(_spent(doc, arm) for doc in documents)) for arm in asking]
        found.append(Sheet("Language model: calls, tokens and US dollars in all runs", header, tuple(rows)))
    return found


def _contrast(doc: Json, name: str, wide: bool) -> str:
    return _effect(doc["contrasts"].get(name, {}).get("optimum"), 1, wide)


def _spent(doc: Json, arm: str) -> str:
    if arm not in doc["arms"]:
        return "-"
    model = doc["arms"][arm]["model"]
    cost = "price not known" if model["cost_usd"] is None else f"{model['cost_usd']:.4f} USD"
    return f"{model['calls']:,}, {model['tokens']:,}, {cost}"


def _named(goal: str) -> str:
    return {"top 0.1 %": "the first cell of the top 0.1 %", "best 1 %": "the best 1 %"}.get(goal, f"the {goal}")


def _needed(doc: Json, arm: str, goal: str) -> str:
    if arm not in doc["arms"] or goal not in doc["goals"]:
        return "-"
    hit: Any = doc["arms"][arm]["goals"][goal]
    median = hit["median"]["value"]
    count = f">{doc['budget']}" if median is None else f"{median:g}"
    return count if hit["found"] == hit["runs"] else f"{count} ({hit['found']}/{hit['runs']})"


def _number(doc: Json, arm: str, what: str, point: int, wide: bool) -> str:
    found = doc["arms"].get(arm, {}).get(what, {}).get(str(point))
    if not found:
        return "-"
    digits = 1 if what == "rank" else 3 if abs(found["value"]) < 10 else 2
    spread = f" ±{(found['high'] - found['low']) / 2:.{digits}f}" if wide else ""
    return f"{found['value']:.{digits}f}{spread}"


def _difference(doc: Json, arm: str, quantity: str, wide: bool) -> str:
    digits = 2 if quantity.startswith("value") else 1
    return _effect(doc["differences"].get(arm, {}).get(quantity), digits, wide)


def _effect(row: Json | None, digits: int, wide: bool) -> str:
    if row is None:
        return "-"
    star = "*" if row["decided"] else ""
    interval = f" ({row['low']:+.{digits}f} to {row['high']:+.{digits}f})" if wide else ""
    return f"{row['value']:+.{digits}f}{star}{interval}"


def markdown(documents: Sequence[Json], command: str) -> str:
    """Write the section of `docs/results.md`."""
    lines = ["```", command, "```", "", _heading(documents), ""]
    about = {**ARMS, **MODEL_ARMS}
    lines += [f"- **{arm}**: {what}" for arm, what in about.items() if any(arm in d["arms"] for d in documents)]
    lines += [f"- {name}: {RULES[name]}" for name in ("duplicates", "censoring", "intervals")]
    for sheet in sheets(documents, wide=True):
        lines += ["", f"**{sheet.title}**", "", _row(sheet.header), _row(["---"] * len(sheet.header))]
        lines += [_row(row) for row in sheet.rows]
    lines += ["", "**Verdict**", "", *(f"- {line}" for line in verdicts(documents))]
    return "\n".join(lines) + "\n"


def _heading(documents: Sequence[Json]) -> str:
    first = documents[0]
    return (
        f"{plural(len(documents), 'transfer')}, {plural(first['seeds'], 'seed')}, "
        f"{plural(first['budget'], 'evaluation')}; "
        f"k = {first['rows']}: no arm reads more than the best {plural(first['rows'], 'row')} of a source; "
        f"{'no language model' if first['llm'] == 'none' else 'language model ' + first['llm']}; "
        f"values are {first['provenance']}."
    )


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def rich_report(documents: Sequence[Json]) -> Any:
    """Build what a terminal shows."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts: list[Any] = [Text(_heading(documents))]
    for number, doc in enumerate(documents, start=1):
        parts.append(Text(f"({number}) {doc['pair']}"))
    for sheet in sheets(documents):
        parts.append(Text(f"\n{sheet.title}", style="bold"))
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
        for place, name in enumerate(sheet.header):
            table.add_column(f"({place})" if place else name, justify="right" if place else "left", no_wrap=True)
        for row in sheet.rows:
            table.add_row(*(Text(cell) for cell in row))
        parts.append(table)
    parts.append(Text("\nVerdict", style="bold"))
    parts += [Text(line) for line in verdicts(documents)]
    parts.append(Text(f"\nDifferences: {RULES['differences']}. Intervals: {RULES['intervals']}.", style="dim"))
    return Group(*parts)
