"""Kendall tau against the number of training rows as a picture, one panel a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nas_agent.bench.plot import COLOURS, STYLES
from nas_agent.bench.surrogate_document import labels, number
from nas_agent.errors import StorageError
from nas_agent.records import Json
from nas_agent.wording import plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 3  # panels in a row, and most columns of the legend
PANEL = (4.4, 4.2)  # inches
NARROWEST = 8.4  # of the figure
LINE, LETTER, SAMPLE = 0.23, 0.09, 0.9  # inches: height of a legend's line, width of a letter and of a sample line


def plot(doc: Json, path: Path) -> None:
    """Write a PNG from the document; a band is one deviation of the repeats' means to either side."""
    try:
        drawn(doc).savefig(path, format="png", dpi=160, facecolor="white")
    except OSError as error:
        raise StorageError(f"--plot {path}: cannot be written ({error.strerror}); choose another file") from error


def drawn(doc: Json) -> Figure:
    """Draw the panels, and below them the legend with as much room as its names need."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(doc["tasks"])
    columns = min(len(tasks), COLUMNS)
    rows = -(-len(tasks) // columns)
    name = SAMPLE + LETTER * (max(map(len, labels(doc).values())) + len(" (.000)"))
    wide = max(PANEL[0] * columns, NARROWEST, name)
    side_by_side = min(int(wide / name), COLUMNS)
    lines = 1 - (-len(doc["configurations"]) // side_by_side)
    figure = Figure(figsize=(wide, PANEL[1] * rows + LINE * lines), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    for axes, task in zip(panels, tasks, strict=False):
        for place, configuration in enumerate(doc["configurations"]):
            _draw(axes, doc, task, configuration, place)
        _frame(axes, doc, task)
    for axes in panels[len(tasks) :]:
        axes.remove()
    for axes in panels[::columns]:
        axes.set_ylabel("Kendall tau on the fold held out")
    _legend(figure, panels[0], doc, side_by_side)
    return figure


def _draw(axes: Any, doc: Json, task: str, name: str, place: int) -> None:
    at = doc["tasks"][task]["results"][name]
    sizes = np.array(doc["tasks"][task]["sizes"])
    mean = np.array([at[str(size)]["tau"]["mean"] for size in sizes])
    spread = np.array([at[str(size)]["tau"]["spread"] or 0.0 for size in sizes])
    colour, style = COLOURS[place % len(COLOURS)], STYLES[place % len(STYLES)]
    ours = name == doc["reference"]
    axes.fill_between(sizes, mean - spread, mean + spread, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        sizes, mean, color=colour, linestyle=style, label=labels(doc)[name], marker="o", markersize=3.5,
        linewidth=2.6 if ours else 1.6, zorder=4 if ours else 3,
    )  # fmt: skip


def _frame(axes: Any, doc: Json, task: str) -> None:
    sizes = doc["tasks"][task]["sizes"]
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()
    axes.set_xlabel(f"training rows (of {doc['tasks'][task]['training']:,})")
    axes.set_title(f"{task} on {doc['space']}", loc="left", fontsize=12, fontweight="bold")
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Any, axes: Any, doc: Json, columns: int) -> None:
    """Name the curves below the panels, best at the largest sample first; they lie too near for labels."""
    task = next(iter(doc["tasks"].values()))
    largest = str(task["sizes"][-1])
    handles, names = axes.get_legend_handles_labels()
    heights = [task["results"][name][largest]["tau"]["mean"] for name in doc["configurations"]]
    order = sorted(range(len(names)), key=lambda place: -heights[place])
    figure.legend(
        [handles[place] for place in order], [f"{names[place]} ({number(heights[place])})" for place in order],
        loc="outside lower left", ncols=columns, frameon=False, handlelength=3.2,
        title=f"tau at N = {int(largest):,} in brackets; thick: the reference; bands: ± one deviation over "
        f"{plural(doc['repeats'], 'repeat')}", title_fontsize=9, alignment="left",
    )  # fmt: skip
