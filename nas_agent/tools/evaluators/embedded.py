"""The embedded benchmark: a regressor of NAS-Bench-201's results, for machines that have no table.

An ensemble of small perceptrons in plain numpy, fitted by `scripts/fit_embedded.py` on four fifths of the
isomorphism classes; `weights/embedded_nb201.json` states its error on the held-out fifth. The idea is that of
NAS-Bench-301 (Siems et al., 2020); features, network and split are ours. Every value from here is *predicted*.
What embedded benchmarks of other spaces share is here too: ensemble, split by id, evaluator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas_agent.records import Architecture, Json, Measured, Outcome, Provenance, Task
from nas_agent.spaces.base import Floats
from nas_agent.spaces.cell_graph import CellGraph
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import TestResult

WEIGHTS = "embedded_nb201.npz"
CARD = "embedded_nb201.json"
# The order of the network's outputs: (task, split).
OUTPUTS = tuple((task, split) for task in ("cifar10", "cifar100", "ImageNet16-120") for split in ("val", "test"))
HELD_OUT_IN = 5  # one class in five is held out


def held_out(architecture: Architecture) -> bool:
    """Tell whether the architecture's isomorphism class was kept from the fit: its id modulo 5 is 0."""
    return int(architecture.id, 16) % HELD_OUT_IN == 0


class Regressor(Protocol):
    """A packaged regressor of one space's results."""

    @property
    def fidelity(self) -> str:
        """What it predicts the result of, e.g. "200 epochs"."""
        ...

    def pool(self) -> Sequence[Architecture] | None:
        """Return the architectures to search among, or None for the whole space."""
        ...

    def value(self, architecture: Architecture, task: Task, split: str) -> float:
        """Predict the metric on the split `val`, or `test` where it was fitted on one."""
        ...


class CellEncoder:
    """Turns many cells of one skeleton into numbers at once: live operations, and what lies along the paths.

    For each edge, a one-hot of its operation (all zero where the edge lies on no live path). For each sequence of
    operations, with identities left out, the number of live paths from input to output that apply it.
    """

    def __init__(self, skeleton: CellGraph) -> None:
        self._kinds = [operation.kind for operation in skeleton.operations]
        self._edges = len(skeleton.edges)
        self._paths = _all_paths(skeleton)
        # Operations that do something, numbered from 1; a path's sequence is then a number in base `self._base`.
        acting = [index for index, kind in enumerate(self._kinds) if kind not in ("zero", "identity")]
        self._digit = np.zeros(len(self._kinds), dtype=np.int64)
        self._digit[acting] = np.arange(1, len(acting) + 1)
        self._base = len(acting) + 1
        self._codes = self._sequence_codes(len(acting))

    def _sequence_codes(self, acting: int) -> dict[int, int]:
        """Map the code of every sequence up to the longest path to its column."""
        codes, longest = [0], [0]
        for _ in range(max(len(path) for path in self._paths)):
            longest = [code * self._base + digit for code in longest for digit in range(1, acting + 1)]
            codes += longest
        return {code: column for column, code in enumerate(codes)}

    def encode(self, options: NDArray[np.int64]) -> Floats:
        """Indices into the operations, (cells, edges) -> features (cells, columns)."""
        cells = len(options)
        open_ = np.array([kind != "zero" for kind in self._kinds])[options]
        live = np.zeros_like(open_)
        counts = np.zeros((cells, len(self._codes)))
        column = np.zeros(self._base ** max(len(path) for path in self._paths), dtype=np.int64)
        column[list(self._codes)] = list(self._codes.values())
        for path in self._paths:
            through = np.all(open_[:, path], axis=1)
            live[:, path] |= through[:, None]
            code = np.zeros(cells, dtype=np.int64)
            for edge in path:
                digit = self._digit[options[:, edge]]
                code = np.where(digit > 0, code * self._base + digit, code)
            np.add.at(counts, (np.flatnonzero(through), column[code[through]]), 1.0)
        acting = [index for index, kind in enumerate(self._kinds) if kind != "zero"]
        hot = (options[:, :, None] == np.array(acting)) & live[:, :, None]
        return np.concatenate([hot.reshape(cells, -1).astype(np.float64), counts], axis=1)


def _all_paths(skeleton: CellGraph) -> list[list[int]]:
    """List the paths from input to output over all edges, whatever their operations, as edge indices."""
    found: list[list[int]] = []

    def walk(node: int, path: list[int]) -> None:
        if node == skeleton.nodes - 1:
            found.append(path)
        for index, edge in enumerate(skeleton.edges):
            if edge.start == node:
                walk(edge.end, [*path, index])

    walk(0, [])
    return found


def encode(space: NasBench201, architectures: Sequence[Architecture]) -> Floats:
    """Features (cells, columns) of these very cells; isomorphic ones agree in their paths, but not in their edges."""
    options = {option: index for index, option in enumerate(space.decisions[0].options)}
    chosen = [space.choices(architecture) for architecture in architectures]
    indices = np.array([[options[option] for option in choices.values()] for choices in chosen], dtype=np.int64)
    return CellEncoder(space.graph(architectures[0])).encode(indices)


class EmbeddedBenchmark:
    """The packaged regressor; predicts validation and test of three datasets at 200 epochs."""

    fidelity = "200 epochs"

    def __init__(self, space: NasBench201) -> None:
        self._space = space

    @cached_property
    def card(self) -> Json:
        """Held-out error, rank correlation, split, seed and command of the shipped weights."""
        return read_card(CARD)

    @cached_property
    def classes(self) -> Sequence[Architecture]:
        """All isomorphism classes of the space."""
        return self._space.enumerate() or ()

    def pool(self) -> Sequence[Architecture]:
        """Return every isomorphism class of the space."""
        return self.classes

    @cached_property
    def predictions(self) -> Floats:
        """Percent, (classes, outputs) in the orders of `classes` and OUTPUTS.

        All at once on first use: it takes a fraction of a second, and a value cannot depend on what else was asked,
        as it would where matrix products of different shapes round differently.
        """
        return apply_network(read_weights(WEIGHTS), encode(self._space, self.classes))

    @cached_property
    def _row(self) -> dict[str, int]:
        return {architecture.id: row for row, architecture in enumerate(self.classes)}

    def value(self, architecture: Architecture, task: Task, split: str) -> float:
        """Return one output for one architecture; isomorphic cells get equal values."""
        return float(self.predictions[self._row[architecture.id], OUTPUTS.index((task.name, split))])

    def optimum(self, task: Task) -> float:
        """Return the best predicted validation value."""
        return float(self.predictions[:, OUTPUTS.index((task.name, "val"))].max())


def apply_network(weights: dict[str, Any], features: Floats) -> Floats:
    """Features (cells, columns) -> percent (cells, outputs): the mean of the members, then the inverse of the log.

    The members learn -log(ceiling - value), so that differences among the best cells weigh as much as those
    among the bad ones; the ceiling lies a little above the best value fitted.
    """
    hidden = np.broadcast_to(features, (len(weights["w0"]), *features.shape))
    for layer in range(3):
        hidden = hidden @ weights[f"w{layer}"] + weights[f"b{layer}"]
        if layer < 2:
            hidden = hidden / (1.0 + np.exp(-hidden))  # SiLU
    logs = hidden.mean(axis=0) * weights["scale"] + weights["shift"]
    # Four decimals: more would be noise, and would differ between machines in the last bits.
    result: Floats = np.clip(weights["ceiling"] - np.exp(-logs), 0.0, 100.0).round(4)
    return result


def read_card(name: str) -> Json:
    """Read a packaged card: held-out error, rank correlation, split, seed and command of shipped weights."""
    card: Json = json.loads(_packaged(name).read_text(encoding="utf-8"))
    return card


def read_weights(name: str) -> dict[str, Any]:
    """Read packaged weights in double precision: what `apply_network` takes."""
    with _packaged(name).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float64) for name in arrays.files}


def _packaged(name: str) -> Any:
    return files("nas_agent.tools.evaluators") / "weights" / name


def predicted_note(why: str, score: Json, unit: str) -> str:
    """Say in one line that every value is predicted, why, and how well the card says it is."""
    return (
        f"evaluator embedded: {why}; every value is predicted, not measured "
        f"(on held-out cells: Kendall tau {score['kendall_tau']:.2f}, error {score['rmse']:.2f} {unit})"
    )


class EmbeddedEvaluator:
    """Answers with the regressor's validation accuracy, without pretending that anything was trained."""

    name = "embedded"
    provenance: Provenance = "predicted"

    def __init__(self, benchmark: Regressor, task: Task) -> None:
        self._benchmark, self._task = benchmark, task

    @property
    def fidelity(self) -> str:
        """What the predictions stand for."""
        return self._benchmark.fidelity

    def pool(self) -> Sequence[Architecture] | None:
        """Return the regressor's candidates."""
        return self._benchmark.pool()

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Predict the validation accuracy; no time is claimed, and the seed changes nothing."""
        return Measured(
            architecture,
            value=self._benchmark.value(architecture, self._task, "val"),
            fidelity=self.fidelity,
            seconds=0.0,
            seed=seed,
            evaluator=self.name,
            provenance=self.provenance,
        )


class EmbeddedTestSplit:
    """Predicts the test accuracy of the winner with the same regressor."""

    def __init__(self, benchmark: Regressor, task: Task) -> None:
        self._benchmark, self._task = benchmark, task

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Return the predicted test accuracy."""
        value = self._benchmark.value(architecture, self._task, "test")
        return TestResult(value, "predicted", "predicted by the embedded benchmark, not measured")
