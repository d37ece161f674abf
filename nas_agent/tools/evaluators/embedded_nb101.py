"""The embedded benchmark of NAS-Bench-101: a regressor of its validation accuracy after 108 epochs.

The table at hand holds one cell in twenty of the space; this answers for all. Fitted by `scripts/fit_embedded_nb101.py`
on four fifths of the measured cells, one training run each; `weights/embedded_nb101.json` states its error on the
held-out fifth. Every value from here is *predicted*.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces.base import Floats
from nas_agent.spaces.nasbench101 import NasBench101
from nas_agent.tools.evaluators.base import TestResult
from nas_agent.tools.evaluators.embedded import apply_network, read_card, read_weights

WEIGHTS = "embedded_nb101.npz"
CARD = "embedded_nb101.json"


def encode(space: NasBench101, architectures: Sequence[Architecture]) -> Floats:
    """Features (cells, columns): the space's own, all blocks in their order."""
    return np.stack([np.concatenate(list(space.features(architecture).values())) for architecture in architectures])


class Nb101Regressor:
    """The packaged regressor; predicts the validation accuracy on CIFAR-10 of any cell of the space."""

    fidelity = "108 epochs"

    def __init__(self, space: NasBench101) -> None:
        self._space = space

    @cached_property
    def card(self) -> Json:
        """Held-out error, rank correlation, split, seed and command of the shipped weights."""
        return read_card(CARD)

    def pool(self) -> None:
        """The whole space: 423,624 cells, too many to list."""
        return None

    def value(self, architecture: Architecture, task: Task, split: str) -> float:
        """Return the prediction in percent; isomorphic cells get equal values, whatever else was asked."""
        assert split == "val"  # the table holds no test accuracy
        features = encode(self._space, [architecture])
        return float(apply_network(self._weights, features[:, self._columns])[0, 0])

    @cached_property
    def _weights(self) -> dict[str, Any]:
        return read_weights(WEIGHTS)

    @cached_property
    def _columns(self) -> Any:
        """The features that vary among the fitted cells."""
        return self._weights["columns"].astype(np.intp)


class NoTestAccuracy:
    """Says that there is nothing to predict the test accuracy from."""

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Return no value."""
        return TestResult(None, "predicted", "the table of NAS-Bench-101 holds no test accuracy to fit on")
