"""The curves of a comparison as a picture: best validation value so far, by evaluations spent."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nas_agent.errors import StorageError
from nas_agent.records import Json
from nas_agent.spaces import Floats
from nas_agent.wording import plural

# Okabe and Ito's palette, which colour-blind readers can tell apart; line styles carry it in black and white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#7F7F7F")
STYLES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1.2, 1.6)), (0, (5, 1.5, 1, 1.5)))

Line = Literal["median", "mean"]
Scale = Literal["log", "linear"]


def plot(doc: Json, path: Path, *, line: Line = "median", scale: Scale = "log") -> None:
    """Write a PNG from the document of `document.document`; the band is the middle half of the runs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: it keeps figures alive, and picks a window system where there is one.
    figure = Figure(figsize=(8.4, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    heights = [_draw(axes, doc, name, place, line) for place, name in enumerate(doc["methods"])]
    _frame(axes, doc, line, scale)
    _legend(axes, doc, heights)
    try:
        figure.savefig(path, format="png", dpi=160, facecolor="white")
    except OSError as error:
        raise StorageError(f"--plot {path}: cannot be written ({error.strerror}); choose another file") from error


def _series(values: list[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values])


def _draw(axes: Any, doc: Json, name: str, place: int, line: Line) -> float:
    """Draw one method; return the mean height of its curve."""
    curve, spent = doc["methods"][name]["curve"], np.arange(1, doc["budget"] + 1)
    colour, style = COLOURS[place % len(COLOURS)], STYLES[place % len(STYLES)]
    main, low, high = (_series(curve[key]) for key in (line, "lower_quartile", "upper_quartile"))
    ours = name.startswith("agent")
    # Steps: between two evaluations nothing is known that was not known after the first.
    axes.fill_between(spent, low, high, step="post", color=colour, alpha=0.15 if ours else 0.08, linewidth=0)
    axes.step(
        spent, main, where="post", color=colour, linestyle=style, label=name,
        linewidth=2.8 if ours else 1.6, zorder=4 if ours else 3,
    )  # fmt: skip
    shown = main[np.isfinite(main)]
    return float(shown.mean()) if len(shown) else math.nan


def _frame(axes: Any, doc: Json, line: Line, scale: Scale) -> None:
    task, budget, optimum = doc["task"], doc["budget"], doc["optimum"]
    axes.set_xscale(scale)
    axes.set_xlim(_first(doc), max(budget, 2))
    if scale == "log":
        ticks = [
            tick for tick in (1, 2, 4, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if _first(doc) <= tick <= budget
        ]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    low, high = _limits(doc)
    axes.set_ylim(low, high)
    if optimum is not None:
        axes.axhline(optimum, color="#444444", linewidth=1.0, linestyle=(0, (2, 3)), zorder=1)
        axes.annotate(
            f"optimum {optimum:.2f}", (0.012, optimum), xycoords=("axes fraction", "data"), xytext=(0, 3),
            textcoords="offset points", fontsize=9, color="#444444", va="bottom" if task["maximise"] else "top",
        )  # fmt: skip
    word = "" if doc["provenance"] == "measured" else f" ({doc['provenance']})"
    axes.set_xlabel("evaluations")
    axes.set_ylabel(f"best validation {task['metric']} so far{word} [{task['unit']}]")
    axes.set_title(f"{task['name']} on {doc['space']}", loc="left", fontsize=12, fontweight="bold")
    axes.set_title(
        f"{line} of {plural(len(doc['seeds']), 'seed')}; bands hold the middle half", loc="right", fontsize=9
    )
    axes.grid(color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _first(doc: Json) -> int:
    """Begin where methods begin to differ: the first draws are chance, and would press all curves together."""
    return 4 if doc["budget"] >= 40 else 1


def _limits(doc: Json) -> tuple[float, float]:
    """Hold all lines; of the bands what comes after the first ten evaluations, where they are very wide."""
    start = _first(doc) - 1
    shown = np.concatenate([
        _series(of["curve"][key][since:])
        for of in doc["methods"].values()
        for key, since in (
            ("median", start), ("lower_quartile", max(start, 10 if start else 0)), ("upper_quartile", start)
        )
    ])  # fmt: skip
    known = shown[np.isfinite(shown)]
    ends = [*known, *([] if doc["optimum"] is None else [doc["optimum"]])]
    if not ends:
        return 0.0, 1.0
    low, high = min(ends), max(ends)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + 1.6 * margin


def _legend(axes: Any, doc: Json, heights: list[float]) -> None:
    """Name the curves in the order of their mean heights, best first."""
    sign = -1.0 if doc["task"]["maximise"] else 1.0
    handles, names = axes.get_legend_handles_labels()
    order = sorted(range(len(names)), key=lambda place: (math.isnan(heights[place]), sign * heights[place]))
    axes.legend(
        [handles[place] for place in order], [names[place] for place in order],
        loc="lower right" if doc["task"]["maximise"] else "upper right",
        frameon=True, framealpha=0.9, edgecolor="none", handlelength=3.2,
    )  # fmt: skip
