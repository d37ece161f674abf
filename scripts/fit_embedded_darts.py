"""Fit the embedded benchmarks of the two tables of DARTS cells and write their cards.

    NAS_AGENT_DATA=DIR python scripts/fit_embedded_darts.py            # a minute on one core
    NAS_AGENT_DATA=DIR python scripts/fit_embedded_darts.py --check    # recompute the cards of the shipped weights

Fitted on the rows whose id modulo 5 is not 0, scored on the others. The ensemble, its loss and its scale are those of
fit_embedded.py, the features those of the space (see `encode`). The plan was chosen by three-fold cross-validation
inside the fitted four fifths; docs/log.md has what else was tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from fit_embedded import FOLDER, SEED, Piece, Plan, fit, fit_or_check, score

from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces.base import Floats
from nas_agent.spaces.darts import Darts
from nas_agent.tools.benchmarks.darts import BENCHMARKS
from nas_agent.tools.evaluators.embedded import held_out
from nas_agent.tools.evaluators.embedded_darts import (
    FIDELITY,
    SCOPE,
    DartsRegressor,
    card_file,
    encode,
    weights_file,
)
from nas_agent.tools.tables import BenchmarkTable, find_table

PLAN = Plan(members=12, width=32, epochs=80, batch=64, decay=3.0)
# Percent between the best fitted value and the ceiling of the log scale.
HEADROOM = {"darts-nb301": 1.0, "darts-reduced": 2.0}
TRUTH = {
    "darts-nb301": "accuracies that the surrogate of NAS-Bench-301 predicts: the errors are against predictions",
    "darts-reduced": "one training run of each cell in a reduced network, the cell being normal and reduction cell",
}


def load(space: Darts) -> dict[Task, BenchmarkTable]:
    """Read both tables."""
    tables = {}
    for benchmark in BENCHMARKS:
        path = find_table(None, benchmark.file)
        if path is None:
            raise SystemExit(f"no {benchmark.file} found; set NAS_AGENT_DATA to the folder that holds it")
        for task in benchmark.tasks:
            tables[task] = benchmark.load(path, task, space, None)
    return tables


def values(table: BenchmarkTable, cells: list[Architecture]) -> Floats:
    """Validation accuracy in percent as the table has it, (cells,)."""
    return np.array([row.value for row in map(table.row, cells) if row is not None])


def fit_cells(space: Darts, table: BenchmarkTable) -> dict[str, np.ndarray]:
    """Fit on the features that vary among the fitted cells."""
    task = table.task.name
    cells = [cell for cell in table.pool() if not held_out(cell)]
    features = np.concatenate([encode(space, cell, task) for cell in cells])
    columns = np.flatnonzero(np.ptp(features, axis=0) > 0)
    headroom = np.array([HEADROOM[task]])
    weights = fit(features[:, columns], values(table, cells)[:, None], np.ones(len(cells)), headroom, PLAN)
    return weights | {"columns": columns.astype(np.int16)}


def make_card(space: Darts, table: BenchmarkTable) -> Json:
    """Score the shipped weights on the held-out cells."""
    task = table.task
    regressor = DartsRegressor(space, task.name)
    kept = [cell for cell in table.pool() if held_out(cell)]
    truth = values(table, kept)
    guess = np.array([regressor.value(cell, task, "val") for cell in kept])
    card = {
        "name": f"embedded benchmark of {task.name}",
        "predicts": f"validation accuracy (percent): {FIDELITY[task.name]}; nothing it says is a measurement",
        "scope": SCOPE[task.name],
        "model": f"{PLAN.members} perceptrons, hidden layers {PLAN.width} and {PLAN.width}, on the space's features",
        "fitted_on": {"cells": len(table.pool()) - len(kept), "rule": "cells of the table whose id modulo 5 is not 0"},
        "held_out": {"cells": len(kept), "rule": "cells of the table whose id modulo 5 is 0"},
        "truth": TRUTH[task.name],
        "scores": {**score(guess, truth), "median_error": round(float(np.median(np.abs(guess - truth))), 4)},
        "seed": SEED,
        "command": "NAS_AGENT_DATA=DIR python scripts/fit_embedded_darts.py",
        "weights_bytes": (FOLDER / weights_file(task.name)).stat().st_size,
    }
    return {**card, "markdown": markdown(card)}


def markdown(card: Json) -> str:
    """Say the same for people."""
    found = card["scores"]
    return (
        f"The {card['name']} was fitted on {card['fitted_on']['cells']:,} pairs of cells and scored on "
        f"{card['held_out']['cells']:,} others: Kendall tau {found['kendall_tau']:.3f} (top 10 % "
        f"{found['kendall_tau_top_10_percent']:.3f}), RMSE {found['rmse']:.2f}, median error "
        f"{found['median_error']:.2f} percent. Truth: {card['truth']}. Scope: {card['scope']}. "
        "Its figures are predictions and no basis for claims about methods."
    )


def pieces() -> Iterator[Piece]:
    """One embedded benchmark for each of the two tasks."""
    space = Darts()
    for task, table in load(space).items():
        yield Piece(
            weights_file(task.name),
            card_file(task.name),
            partial(fit_cells, space, table),
            partial(make_card, space, table),
        )


if __name__ == "__main__":
    fit_or_check(__doc__, pieces)
