"""A file of principles as Markdown: a heading with the sentence, a fenced constraint, and a list of the evidence.

    ## Put a convolution on the last edge.

    ```constraint
    edge_2_3 in {nor_conv_1x1, nor_conv_3x3}
    ```

    - author: person

The heading and the fence are all that a person has to write. Other prose is allowed and not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from nas_agent.errors import PrincipleError
from nas_agent.principles.exchange import Exchange, Shared, read_entries
from nas_agent.principles.notation import write_constraint
from nas_agent.principles.principle import Evidence, Origin, one_line
from nas_agent.records import Json

EVIDENCE = ("effect", "low", "high", "others", "tasks", "supporting", "opposing")
PLAIN = ("author", "status", "provenance", "origin")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ENTRY = re.compile(r"\s{0,3}[-*+]\s+([A-Za-z ]+?)\s*:\s*(.*)")
_STEP = re.compile(r"(\S+@\d+) of (\S+) on (\S+)")


def write(exchange: Exchange) -> str:
    """Write the Markdown file."""
    parts = [f"# {exchange.title or 'Principles'}", ""]
    parts += [f"Space: {exchange.space}", ""] if exchange.space else []
    parts += [
        "A heading is a principle's sentence, the block below it its constraint; both may be changed, and principles",
        "added or removed. The list may be left out: what a person says needs no evidence. Where you change what a",
        "learner has found, write `author: person`, since its evidence is for what it found. To start a search from",
        "this file: `nas-agent run --principles FILE.md`.",
    ]
    for shared in exchange.shared:
        parts += ["", *_section(shared)]
    return "\n".join(parts) + "\n"


def _section(shared: Shared) -> list[str]:
    principle = shared.principle
    lines = [f"## {one_line(principle.text)}", "", "```constraint", write_constraint(principle.constraint), "```", ""]
    lines += [f"- author: {one_line(principle.author)}", f"- status: {principle.status}"]
    if principle.evidence != Evidence():
        lines += [f"- provenance: {shared.provenance}"]
    if principle.origin is not None:
        lines.append(f"- origin: {_write(principle.origin.to_dict(), _origin, _read_origin)}")
    for name in EVIDENCE:
        value = getattr(principle.evidence, name)
        if value in (None, ()) or (name == "others" and principle.evidence == Evidence()):
            continue
        text = _write(list(value), ", ".join, _names) if isinstance(value, tuple) else json.dumps(value)
        lines.append(f"- {name}: {text}")
    return lines


def _write(value: Any, plain: Callable[[Any], str], read: Callable[[str], Any]) -> str:
    """Write plainly what reads back, else as JSON."""
    text = plain(value)
    try:
        same = text.isprintable() and read(text) == value
    except ValueError:
        same = False
    return text if same else json.dumps(value)


def _origin(data: Json) -> str:
    step = f"{data['principle']} of {data['run']} on {data['task']}"
    return step if data["earlier"] is None else f"{step}, before that {_origin(data['earlier'])}"


# -- reading --------------------------------------------------------------------------------------------


def read(text: str) -> Exchange:
    """Read the Markdown file; PrincipleError names the principle that is wrong, counted from 1."""
    title, space, entries = "", "", list[Json]()
    lines = text.splitlines()
    place = 0
    while place < len(lines):
        line, fence = lines[place], _FENCE.fullmatch(lines[place])
        place += 1
        if fence is not None:
            block, place = _block(lines, place, fence[1])
            if entries:
                _take(entries, "constraint", "\n".join(block))
        elif line.startswith("## "):
            entries.append({"text": line[3:].strip(), "evidence": {}})
        elif entries:
            item = _ENTRY.fullmatch(line)
            if item is not None:
                _take(entries, item[1].lower(), item[2].strip())
        elif line.startswith("# "):
            title = line[2:].strip()
        elif line.lower().startswith("space:"):
            space = line.partition(":")[2].strip()
    if not entries:
        raise PrincipleError(
            "there is no principle in it: expected headings '## A sentence.', each with a constraint in a fenced block"
        )
    for number, entry in enumerate(entries, start=1):
        if "constraint" not in entry:
            raise PrincipleError(
                f"principle {number}: it has no constraint; put one in a fenced block below its heading"
            )
    return read_entries(entries, title=title, space=space)


def _block(lines: Sequence[str], place: int, fence: str) -> tuple[list[str], int]:
    """Return the lines of a fenced block that begins at `place`, and the place behind it; it may lack its end."""
    for end in range(place, len(lines)):
        closing = lines[end].strip()
        if closing and set(closing) == {fence[0]} and len(closing) >= len(fence):
            return list(lines[place:end]), end + 1
    return list(lines[place:]), len(lines)


def _take(entries: list[Json], key: str, value: str) -> None:
    entry, where = entries[-1], f"principle {len(entries)}"
    target = entry["evidence"] if key in EVIDENCE else entry
    if key not in (*EVIDENCE, *PLAIN, "constraint"):
        known = ", ".join((*PLAIN, *EVIDENCE))
        raise PrincipleError(f"{where}: unknown entry '{key}'; choose from {known}, or write it without the bullet")
    if key in target:
        raise PrincipleError(f"{where}: it has two entries '{key}'; keep one, or begin a new heading '## '")
    try:
        target[key] = _value(key, value)
    except (ValueError, RecursionError) as error:
        raise PrincipleError(f"{where}: '{key}' cannot be read ({error}), got {value[:80]!r}") from error


def _value(key: str, text: str) -> object:
    if key in {"supporting", "opposing", "tasks"}:
        return _names(text)
    if key == "origin":
        return _read_origin(text)
    return json.loads(text) if key in EVIDENCE else text


def _names(text: str) -> object:
    if text.startswith("["):
        return json.loads(text)
    return [name.strip() for name in text.split(",") if name.strip()]


def _read_origin(text: str) -> object:
    if text.startswith("{"):
        return json.loads(text)
    earlier: Origin | None = None
    for step in reversed(text.split(", before that ")):
        found = _STEP.fullmatch(step.strip())
        if found is None:
            raise ValueError("expected 'P3@1 of RUN on TASK'")
        earlier = Origin(found[2], found[1], found[3], earlier)
    assert earlier is not None
    return earlier.to_dict()
