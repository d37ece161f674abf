"""Arch-LLM's figures: the metrics against the temperature, and how often each code stands at each position."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.agents.generators.arch_llm.metrics import METRICS
from nas_agent.bench.generator_report import TITLES, spread
from nas_agent.bench.plot import COLOURS
from nas_agent.errors import StorageError
from nas_agent.records import Json

MARKS = 16  # most numbers on an axis of codes
WIDEST = 3.6  # points, of a line
THINNER = 0.5  # points, each next one


def plot_metrics(doc: Json, path: Path) -> None:
    """Write a PNG with one panel a method that has temperatures; the grammar's marks stand in the first one."""
    methods = {name: of for name, of in doc["methods"].items() if len(of["temperatures"]) > 1} or doc["methods"]
    figure = _figure(max(7.0, 5.2 * len(methods)), 5.0)
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    for axes, (name, method) in zip(panels, methods.items(), strict=True):
        at = [one["temperature"] for one in method["temperatures"]]
        for place, metric in enumerate(METRICS):
            mean = np.array([100 * one[metric]["mean"] for one in method["temperatures"]])
            width = np.array([100 * (one[metric]["deviation"] or 0.0) for one in method["temperatures"]])
            # Often two are the same: the later ones are thinner, and the earlier ones are seen behind them.
            style = {"color": COLOURS[place], "linewidth": WIDEST - THINNER * place, "label": TITLES[metric]}
            axes.fill_between(at, mean - width, mean + width, color=COLOURS[place], alpha=0.15, linewidth=0)
            axes.plot(at, mean, marker="o" if len(at) == 1 else None, solid_capstyle="butt", **style)
            if doc["ceiling"] is not None and metric in doc["ceiling"]:
                axes.axhline(100 * doc["ceiling"][metric], color=COLOURS[place], linewidth=1.0, linestyle=(0, (2, 3)))
        axes.set_xlabel("temperature")
        axes.set_ylim(_floor(methods), 101)
        axes.set_title(name, loc="left", fontsize=12, fontweight="bold")
        axes.grid(color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"% ({doc['drawn']:,} draws, {doc['space']})")
    handles, names = panels[0].get_legend_handles_labels()
    dotted = "" if doc["ceiling"] is None else "; dotted: uniform draws from all classes"
    columns = 5 if len(methods) > 1 else 3
    figure.legend(
        handles, names, loc="outside lower left", ncols=columns, frameon=False, title_fontsize=9, alignment="left",
        title=f"bands: ± one deviation over {spread(doc)}{dotted}",
    )  # fmt: skip
    _write(figure, "--plot", path)


def plot_codes(doc: Json, path: Path) -> None:
    """Write a PNG: positions across, the codes in use up, the share of a code at a position as colour."""
    from matplotlib.colors import LogNorm

    shares = np.array(doc["codes"]["shares"]).T  # (codes, positions)
    used = np.flatnonzero(shares.any(axis=1))
    shares = shares[used]
    figure = _figure(max(5.0, 0.35 * shares.shape[1] + 2.5), 5.2)
    axes = figure.add_subplot()
    axes.set_facecolor("#E4E4E4")  # what was never drawn
    image = axes.imshow(
        np.ma.masked_equal(shares, 0.0), aspect="auto", origin="lower", cmap="YlGnBu", interpolation="nearest",
        norm=LogNorm(shares[shares > 0].min(), shares.max()),
    )  # fmt: skip
    axes.set_xlabel("position in the sequence")
    axes.set_ylabel(f"code ({len(used)} of {doc['codes']['codes']} in use)")
    axes.set_xticks(range(shares.shape[1]))
    marked = range(0, len(used), -(-len(used) // MARKS))
    axes.set_yticks(marked, [str(used[row]) for row in marked])
    bar = figure.colorbar(image, label="share of the draws (grey: none)", format=lambda share, _: f"{100 * share:g} %")
    bar.minorticks_off()
    axes.set_title(
        f"{doc['generator']} on {doc['space']}, temperature {doc['codes']['temperature']:g}", loc="left", fontsize=11
    )
    _write(figure, "--heat-map", path)


def _floor(methods: Json) -> float:
    """Return where the axis begins: ten percent or a multiple below what is shown, so that lines do not touch it."""
    lowest: float = min(
        one[metric]["mean"] - (one[metric]["deviation"] or 0.0)
        for method in methods.values() for one in method["temperatures"] for metric in METRICS
    )  # fmt: skip
    return max(0.0, 10.0 * math.floor((100 * lowest - 2) / 10))


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _write(figure: Any, flag: str, path: Path) -> None:
    try:
        figure.savefig(path, format="png", dpi=160, facecolor="white")
    except OSError as error:
        raise StorageError(f"{flag} {path}: cannot be written ({error.strerror}); choose another file") from error
