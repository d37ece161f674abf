"""The embedded benchmarks of DARTS cells: one regressor for each of the two tables, which hold 725 and 1,000 of them.

Fitted by `scripts/fit_embedded_darts.py` on four fifths of the rows; the cards `weights/embedded_darts-*.json` state
tau and error on the held-out fifth. They answer for every pair of cells of the space. Every value from here is
*predicted*; those of `darts-nb301` predict a prediction.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces.base import Floats
from nas_agent.spaces.darts import CELLS, Darts
from nas_agent.spaces.darts_cells import NONE
from nas_agent.tools.evaluators.base import TestResult
from nas_agent.tools.evaluators.embedded import apply_network, read_card, read_weights

FIDELITY = {"darts-nb301": "NAS-Bench-301's surrogate", "darts-reduced": "one training of a reduced network"}
# What the fitted rows do not cover, for the note.
SCOPE = {
    "darts-nb301": "it imitates the surrogate of NAS-Bench-301, which is a prediction itself; each node with `none` or "
    "a repeated input, of which no fitted cell had any, counts half a percent less by assumption",
    "darts-reduced": "the fitted networks had equal normal and reduction cells; unequal ones count by their mean",
}
# Percent less for each node that DARTS would not derive. NAS-Bench-301 knows none of them, and without this a search
# would move to where nothing was fitted: the perceptrons put cells that are mostly `none` above the average (ours).
UNKNOWN_NODE = 0.5


def encode(space: Darts, architecture: Architecture, task: str) -> Floats:
    """Features (1, columns) for the task's regressor; isomorphic cells have the same.

    For `darts-nb301` all blocks of the space. For `darts-reduced`, fitted where both cells are one, the mean of the
    two cells' blocks, and the size.
    """
    blocks = space.features(architecture)
    if task == "darts-nb301":
        return np.concatenate(list(blocks.values()))[None]
    size = blocks["size"]
    cells = [np.concatenate([block for name, block in blocks.items() if name.startswith(f"{cell} ")]) for cell in CELLS]
    return np.concatenate([(cells[0] + cells[1]) / 2.0, size])[None]


def unknown_nodes(space: Darts, architecture: Architecture) -> int:
    """Count the nodes that DARTS would not derive: with an edge that is `none`, or with one input for both edges."""
    nodes = [node for cell in space.cells(architecture) for node in cell]
    return sum(first[0] == second[0] or NONE in (first[1], second[1]) for first, second in nodes)


class DartsRegressor:
    """A packaged regressor of one of the two tasks; predicts the validation accuracy of any pair of cells."""

    def __init__(self, space: Darts, task: str) -> None:
        self._space, self._task = space, task
        self.fidelity = FIDELITY[task]

    @cached_property
    def card(self) -> Json:
        """Held-out error, rank correlation, split, seed and command of the shipped weights."""
        return read_card(card_file(self._task))

    def pool(self) -> None:
        """The whole space, too large to be listed."""
        return None

    def value(self, architecture: Architecture, task: Task, split: str) -> float:
        """Return the prediction in percent; isomorphic cells get equal values, whatever else was asked."""
        assert split == "val"  # the tables hold no test accuracy
        columns = self._weights["columns"].astype(np.intp)
        features = encode(self._space, architecture, self._task)[:, columns]
        predicted = float(apply_network(self._weights, features)[0, 0])
        if self._task != "darts-nb301":
            return predicted
        return max(round(predicted - UNKNOWN_NODE * unknown_nodes(self._space, architecture), 4), 0.0)

    @cached_property
    def _weights(self) -> dict[str, Any]:
        return read_weights(weights_file(self._task))


def weights_file(task: str) -> str:
    """Name the packaged weights of a task."""
    return f"embedded_{task}.npz"


def card_file(task: str) -> str:
    """Name the packaged card of a task."""
    return f"embedded_{task}.json"


class NoTestSplit:
    """Says that there is nothing to predict the test accuracy from."""

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Return no value."""
        return TestResult(None, "predicted", "the tables of DARTS cells hold no test accuracy to fit on")
