"""How reports speak of the sources that a search transfers from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from nas_agent.cli.wording import number, plural

if TYPE_CHECKING:
    from nas_agent.cli.story import Story

Json = dict[str, Any]
REASONS = 5  # recalled principles of which a report says why
TAKEN = "best of "  # how the author of a proposal names its source


def announced(source: Json) -> str:
    """Say at the start what a source gives, or why it gives nothing."""
    name, why = source["name"], source["why"]
    read = why.removeprefix("from ") if why.startswith(f"from {name}") else f"{name}: {why}"
    if source["refused"]:
        return f"no transfer from {read}; refused: {source['refused']}"
    return f"transfers from {read}" + (f"; {source['unused']}" if source["unused"] else "")


def left(name: str, why: str, evaluations: int) -> str:
    """Say that a source is no longer used."""
    return f"no longer transfers from {name}: after {plural(evaluations, 'evaluation')} it {why}"


def sources_text(sources: Sequence[Json]) -> Text:
    """List sources: what was read of each, how far it agrees, and whether it is used."""
    text = Text()
    for place, source in enumerate(sources):
        text.append(("\n" if place else "") + source["name"], style="bold")
        text.append(f": {_read(source)}; ")
        text.append(*_standing(source))
    return text


def recalled_text(items: Sequence[Json], problem: str = "") -> Text:
    """Count what was recalled, or say why nothing was; and say why of what the sources do not say already."""
    if problem:
        return Text(f"nothing: {problem}", style="yellow")
    kinds = [item["kind"] for item in items]
    head = f"{plural(kinds.count('architecture'), 'architecture')}, {plural(kinds.count('principle'), 'principle')}"
    told = [item for item in items if item["kind"] == "principle" or item.get("run")]
    more = [f"and {len(told) - REASONS} more; --json has all of them"] if len(told) > REASONS else []
    return Text("\n".join([head, *(f"- {_reason(item)}" for item in told[:REASONS]), *more]))


def _reason(item: Json) -> str:
    return f"{item['principle']['text']} {item['why']}" if item["kind"] == "principle" else str(item["why"])


def taken_from(story: Story, author: str | None, identity: str) -> Json | None:
    """Return what the source that a proposal was taken from says of it; None where it came from no source."""
    if author is None or not author.startswith(TAKEN):
        return None
    for item in story.recalled_sources:
        if item["name"] == author.removeprefix(TAKEN):
            rows = (row for row in item["rows"] if row["architecture"]["id"] == identity)
            about = {key: item[key] for key in ("name", "task", "of", "unit", "provenance")}
            return next(({**about, "rank": row["rank"], "value": row["value"]} for row in rows), None)
    return None


def taken_words(taken: Json) -> str:
    """Say where a proposal was taken from."""
    value = number(taken["value"], taken["unit"])
    return (
        f"as one of the best of {taken['name']}: rank {taken['rank']} of {taken['of']:,} there "
        f"({value}, {taken['provenance']}), taken over before the surrogate was asked"
    )


def _read(source: Json) -> str:
    if source["best_only"]:
        return f"the best {source['rows']} of {plural(source['of'], 'row')}, no other row read"
    return f"{source['rows']} of {plural(source['of'], 'architecture')} {source['provenance']} there"


def _standing(source: Json) -> tuple[str, str]:
    """Return where a source stands, and a style."""
    if source["refused"]:
        return f"refused: {source['refused']}", "yellow"
    if source["unused"]:
        return source["unused"], "dim"
    if source["dropped"] is not None:
        dropped = source["dropped"]
        return f"dropped after {plural(dropped['evaluations'], 'evaluation')}: it {dropped['why']}", "yellow"
    if source["agreement"] is None:
        return "its agreement with this task was not compared", "dim"
    return f"agreement {source['agreement']:.2f} of at most 1", "green"
