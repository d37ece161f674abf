"""Two tables of DARTS cells on CIFAR-10, of different worth, hence two tasks.

`darts-nb301`: 725 pairs of cells with the accuracies that NAS-Bench-301's surrogate gives them (Siems et al., 2020; the
cells of NAS-Bench-Suite-Zero): predictions. `darts-reduced`: 1,000 cells that were really trained, each as normal and
as reduction cell of one small network. Accuracies are in percent; neither file holds any of a test split. DataError
where an array lacks or does not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nas_agent.errors import DataError
from nas_agent.records import Task
from nas_agent.spaces.base import Space
from nas_agent.spaces.darts import HALF, Darts
from nas_agent.spaces.darts_cells import NAMES, NODES, NONE
from nas_agent.tools.benchmarks.arrays import (
    in_ones,
    in_percent,
    names_in,
    one_number_a_row,
    read_needed,
    texts_of_indices,
)
from nas_agent.tools.benchmarks.base import Benchmark
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.embedded import EmbeddedEvaluator, predicted_note
from nas_agent.tools.evaluators.embedded_darts import SCOPE, DartsRegressor, NoTestSplit
from nas_agent.tools.tables import BenchmarkTable

NB301 = Task(
    name="darts-nb301",
    description="image classification on CIFAR-10: 32x32 colour photographs of 10 classes of objects and animals, "
    "with accuracies that the surrogate of NAS-Bench-301 predicts, not measured ones",
)
REDUCED = Task(
    name="darts-reduced",
    description="image classification on CIFAR-10: 32x32 colour photographs of 10 classes of objects and animals, "
    "by a reduced network with one cell in the place of the normal and of the reduction cell",
)
_ADVICE = "copy the file again"
_INPUTS = tuple(str(start) for start in range(NODES[-1]))
# NAS-Bench-301 numbers the operations in DARTS' order, without `none`.
_NB301_NAMES = tuple(name for name in NAMES if name != NONE)


def needs(task: Task, epochs: int | None = None) -> tuple[str, ...]:
    """Name the arrays without which nothing can be looked up."""
    return ("arch", "val_cifar10") if task == NB301 else ("normal", "reduce", "op_names", "val_acc")


def load_nb301(path: Path, task: Task, space: Space, epochs: int | None = None) -> BenchmarkTable:
    """Read the surrogate's accuracies; every value is marked as predicted."""
    sizes = {"params": "params_M_cifar10", "flops": "flops_M_cifar10"}
    arrays = read_needed(path, needs(task), tuple(sizes.values()), advice=_ADVICE)
    numbers = {"val": arrays["val_cifar10"]}
    numbers |= {name: in_ones(path, arrays, array, advice=_ADVICE) for name, array in sizes.items() if array in arrays}
    texts = _texts(path, space, "arch", arrays["arch"], _NB301_NAMES)
    columns = one_number_a_row(path, texts, numbers, advice=_ADVICE)
    in_percent(path, "val_cifar10", columns.numbers["val"], advice=_ADVICE)
    return BenchmarkTable(task, space, path, columns, fidelity="NAS-Bench-301's surrogate", provenance="predicted")


def load_reduced(path: Path, task: Task, space: Space, epochs: int | None = None) -> BenchmarkTable:
    """Read the trained cells, one run each."""
    arrays = read_needed(path, needs(task), advice=_ADVICE)
    normal, reduction = arrays["normal"], arrays["reduce"]
    if normal.shape != reduction.shape or not normal.ndim:
        raise DataError(
            f"{path}: expected as many rows in 'normal' as in 'reduce', got the shapes {normal.shape} and "
            f"{reduction.shape}; {_ADVICE}"
        )
    names = names_in(path, arrays, "op_names", advice=_ADVICE)
    texts = _texts(path, space, "normal' and 'reduce", np.stack([normal, reduction], axis=1), names)
    columns = one_number_a_row(path, texts, {"val": arrays["val_acc"]}, advice=_ADVICE)
    in_percent(path, "val_acc", columns.numbers["val"], advice=_ADVICE)
    return BenchmarkTable(task, space, path, columns, fidelity="one training of a reduced network")


def _texts(path: Path, space: Space, array: str, pairs: np.ndarray, names: Sequence[str]) -> list[str]:
    """Write pairs (rows, 2 cells, 8 pairs, input and operation), in the spelling that stands for the class.

    Principles then compare like with like. A second row of a class keeps its own spelling: it was measured too.
    """
    shape = (2, HALF // 2, 2)
    if pairs.shape[1:] != shape or pairs.dtype.kind not in "iu":
        raise DataError(
            f"{path}: expected whole numbers of shape (rows, {', '.join(map(str, shape))}) in '{array}', "
            f"got {pairs.dtype} of shape {pairs.shape}; {_ADVICE}"
        )
    options = pairs.astype(np.int64) + np.array([0, len(_INPUTS)])  # one list of names serves both kinds of decisions
    texts = texts_of_indices(path, space, array, options.reshape(len(pairs), 2 * HALF), (*_INPUTS, *names))
    seen: set[str] = set()
    spelled = []
    for text in texts:
        canonical = space.canonical(space.parse(text)).text
        spelled.append(text if canonical in seen else canonical)
        seen.add(canonical)
    return spelled


def embedded_darts(space: Space, task: Task, why: str) -> Evaluation:
    """Answer for every pair of cells with the packaged regressor of the task's table."""
    assert isinstance(space, Darts)
    regressor = DartsRegressor(space, task.name)
    note = f"{predicted_note(why, regressor.card['scores'], task.unit)}; {SCOPE[task.name]}"
    return Evaluation(task, EmbeddedEvaluator(regressor, task), NoTestSplit(), note)


BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        title="NAS-Bench-301 surrogate",
        file="nb301_zc_725.npz",
        space="darts",
        tasks=(NB301,),
        epochs=(),
        needs=needs,
        load=load_nb301,
        embedded=embedded_darts,
    ),
    Benchmark(
        title="DARTS (reduced network)",
        file="darts_1000.npz",
        space="darts",
        tasks=(REDUCED,),
        epochs=(),
        needs=needs,
        load=load_reduced,
        embedded=embedded_darts,
    ),
)
