"""A cell drawn with characters: nodes on one line, edges to the next node between them, longer ones as arches.

( 0 )─ nor_conv_3x3 ─▶( 1 )─ avg_pool_3x3 ─▶( 2 )
   │                                         ▲
   └───────────── skip_connect ──────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas_agent.records import Architecture
    from nas_agent.spaces.base import Space
    from nas_agent.spaces.cell_graph import CellGraph

NODE = 5  # columns of "( 0 )"
IN, OUT = 1, 3  # columns of a node at which arches arrive and leave
UNICODE = {"h": "─", "v": "│", ">": "▶", "down": "▼", "up": "▲", "tl": "┌", "tr": "┐", "bl": "└", "br": "┘"}
UNICODE |= {"left": "├", "right": "┤", "cross": "┼"}
ASCII = {"h": "-", "v": "|", ">": ">", "down": "v", "up": "^", "tl": "+", "tr": "+", "bl": "+", "br": "+"}
ASCII |= {"left": "+", "right": "+", "cross": "|"}


@dataclass(frozen=True, slots=True)
class Arch:
    """A long edge and where it runs."""

    start: int
    end: int
    label: str
    above: bool
    level: int  # 1 is nearest to the nodes


def draw(space: Space, architecture: Architecture, *, width: int, unicode: bool = True) -> list[str]:
    """Draw an architecture: a graph where the space has one, else its choices or notation, in at most `width` columns.

    A line of a program that is too long goes on below, eight columns further in.
    """
    graph = space.graph(architecture)
    if graph is not None:
        return draw_cell(graph, width=width, unicode=unicode)
    if "\n" in architecture.text:  # a program is its own drawing
        return [part for line in architecture.text.rstrip("\n").split("\n") for part in _folded(line, width)]
    choices = space.choices(architecture)
    if not choices:
        return wrap(space.format(architecture), width)
    longest = max(map(len, choices))
    return [f"{name:<{longest}}  {option}"[:width] for name, option in choices.items()]


def _folded(line: str, width: int) -> list[str]:
    further = " " * (len(line) - len(line.lstrip()) + 8)
    return wrap(
        line, max(width, len(further) + 20), subsequent_indent=further, break_long_words=False, break_on_hyphens=False
    ) or [""]


def draw_cell(graph: CellGraph, *, width: int, unicode: bool = True) -> list[str]:
    """Draw the live edges; a graph that is too wide is written as one sum for each node."""
    live = live_edges(graph)
    if not live:
        return ["(no path leads from the input to the output)"]
    arches = arrange({(s, e): label for (s, e), label in live.items() if e > s + 1})
    starts = positions(graph.nodes, live, arches)
    if starts[-1] + NODE > width:
        return written(graph.nodes, live, width)
    return _paint(graph.nodes, live, arches, starts, UNICODE if unicode else ASCII)


def live_edges(graph: CellGraph) -> dict[tuple[int, int], str]:
    """Return (start, end) -> operation for the edges on a path from input to output; parallel ones are joined."""
    found: dict[tuple[int, int], str] = {}
    for edge, alive in zip(graph.edges, graph.live(), strict=True):
        if alive:
            key = (edge.start, edge.end)
            found[key] = f"{found[key]} + {edge.operation}" if key in found else edge.operation
    return found


def arrange(long: dict[tuple[int, int], str]) -> list[Arch]:
    """Give each long edge a side and a level: the shortest innermost, without crossings where that is possible."""
    placed: list[Arch] = []
    for (start, end), label in sorted(long.items(), key=lambda item: (item[0][1] - item[0][0], item[0])):
        options = []
        for above in (True, False):
            inner = [a for a in placed if a.above is above and a.start < end and start < a.end]
            level = 1 + max((a.level for a in inner), default=0)
            crossings = sum(a.start < node < a.end for a in inner for node in (start, end))
            options.append((crossings, level, not above, Arch(start, end, label, above, level)))
        placed.append(min(options, key=lambda option: option[:3])[3])
    return placed


def positions(nodes: int, live: dict[tuple[int, int], str], arches: list[Arch]) -> list[int]:
    """Return the first column of each node, far enough apart for every label."""
    gaps = [len(live[i, i + 1]) + 5 if (i, i + 1) in live else 6 for i in range(nodes - 1)]
    for arch in arches:
        between = range(arch.start, arch.end)
        room = sum(gaps[i] for i in between) + NODE * (len(between) - 1) + (NODE - OUT - 1) + IN
        for missing in range(max(0, len(arch.label) + 4 - room)):
            gaps[arch.start + missing % len(between)] += 1
    starts = [0]
    for gap in gaps:
        starts.append(starts[-1] + NODE + gap)
    return starts


def written(nodes: int, live: dict[tuple[int, int], str], width: int) -> list[str]:
    """Write each node as the sum of what flows into it."""
    lines = []
    for node in range(1, nodes):
        terms = [f"{label}({start})" for (start, end), label in live.items() if end == node]
        if terms:
            lines += wrap(f"node {node} = {' + '.join(terms)}", width, subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _paint(
    nodes: int, live: dict[tuple[int, int], str], arches: list[Arch], starts: list[int], ink: dict[str, str]
) -> list[str]:
    top = max((a.level for a in arches if a.above), default=0)
    bottom = max((a.level for a in arches if not a.above), default=0)
    middle = top + 1 if top else 0  # one row of arrow heads between the arches and the nodes
    height = middle + 1 + (bottom + 1 if bottom else 0)
    canvas = [[" "] * (starts[-1] + NODE) for _ in range(height)]
    used = {node for edge in live for node in edge}
    for node in range(nodes):
        _write(canvas[middle], starts[node], f"( {node} )" if node in used else f"  {node}  ")
    for (start, end), label in live.items():
        if end == start + 1:
            first, last = starts[start] + NODE, starts[end] - 1
            _line(canvas[middle], first, last, label, ink["h"])
            canvas[middle][last] = ink[">"]
    for arch in sorted(arches, key=lambda a: a.level):
        _arch(canvas, arch, starts, middle, ink)
    return ["".join(row).rstrip() for row in canvas]


def _arch(canvas: list[list[str]], arch: Arch, starts: list[int], middle: int, ink: dict[str, str]) -> None:
    toward = -1 if arch.above else 1  # from the nodes outward
    left, right = starts[arch.start] + OUT, starts[arch.end] + IN
    row = middle + toward * (arch.level + 1)
    for column, corners, joint in ((left, ("tl", "bl"), "left"), (right, ("tr", "br"), "right")):
        canvas[row][column] = ink[corners[0 if arch.above else 1]]
        for step in range(1, arch.level + 1):
            here = canvas[middle + toward * step]
            # An inner arch that ends in this column is joined; one that runs through it is crossed.
            meets = here[column] in {ink[corner] for corner in (*corners, joint)} and step > 1
            crosses = here[column] == ink["h"]
            here[column] = ink[joint] if meets else ink["cross"] if crosses else ink["v"]
    canvas[middle + toward][right] = ink["down" if arch.above else "up"]
    _line(canvas[row], left + 1, right - 1, arch.label, ink["h"])


def _line(row: list[str], first: int, last: int, label: str, dash: str) -> None:
    """Fill columns first..last with dashes and put the label into the middle."""
    _write(row, first, dash * (last - first + 1))
    _write(row, first + (last - first + 1 - len(label) - 2) // 2, f" {label} ")


def _write(row: list[str], column: int, text: str) -> None:
    row[column : column + len(text)] = text
