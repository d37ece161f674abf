"""The pieces that reports are laid out from: blocks, tables, pictures, and how evidence is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nas_agent.cli.drawing import draw
from nas_agent.cli.wording import plural, signed

if TYPE_CHECKING:
    from nas_agent.principles.principle import Evidence
    from nas_agent.records import Architecture
    from nas_agent.spaces.base import Space

Rows = list[tuple[str, RenderableType]]


def sections(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Lay out named blocks: the names in a narrow column, the contents wrapped beside them."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, content in rows:
        grid.add_row(name, content)
    return grid


def plain_table(*columns: str, right: Sequence[str] = (), wide: Sequence[str] = ()) -> Table:
    """Make a table without frames; `wide` columns wrap, the others keep their lines."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for name in columns:
        justify = "right" if name in right else "left"
        table.add_column(name, justify=justify, no_wrap=name not in wide, overflow="fold")  # type: ignore[arg-type]
    return table


def heading(text: str) -> Text:
    """Write the title of a part."""
    return Text(text, style="bold")


def picture(space: Space | None, architecture: Architecture, console: Console) -> RenderableType:
    """Draw an architecture; its text alone where its space cannot be loaded."""
    lines, width = [architecture.text], console.width - 4
    if space is not None:
        lines = draw(space, architecture, width=width, unicode=speaks_unicode(console))
    fits = all(cell_len(line) <= width for line in lines)  # else these are words, and must not be cut off
    return Padding(Text("\n".join(lines), no_wrap=fits, overflow="fold"), (0, 2))


def speaks_unicode(console: Console) -> bool:
    """Tell whether a console can show box-drawing characters."""
    return console.encoding.lower().startswith("utf")


def effect(evidence: Evidence, unit: str) -> str:
    """Write an effect with its interval."""
    if evidence.effect is None:
        return "effect not known yet"
    if evidence.low is None or evidence.high is None:
        return signed(evidence.effect, unit)
    return f"{signed(evidence.effect)} ({signed(evidence.low)} to {signed(evidence.high)}) {unit}".rstrip()


def counts(evidence: Evidence) -> str:
    """Write how many architectures speak for a principle, and how many against it."""
    return f"{len(evidence.supporting)} for, {len(evidence.opposing)} against, {plural(evidence.others, 'other')}"
