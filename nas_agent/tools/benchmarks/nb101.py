"""NAS-Bench-101 (Ying et al., ICML 2019): 20,001 of its 423,624 cells on CIFAR-10, at 108, 36, 12 and 4 epochs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nas_agent.errors import DataError
from nas_agent.records import Task
from nas_agent.spaces.base import Space
from nas_agent.spaces.nasbench101 import ABSENT, EDGES, PRESENT, VERTICES, NasBench101
from nas_agent.tools.benchmarks import nb201
from nas_agent.tools.benchmarks.arrays import in_percent, names_in, one_number_a_row, read_needed, texts_of_indices
from nas_agent.tools.benchmarks.base import Benchmark
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.embedded import EmbeddedEvaluator, predicted_note
from nas_agent.tools.evaluators.embedded_nb101 import Nb101Regressor, NoTestAccuracy
from nas_agent.tools.tables import BenchmarkTable

FILE = "nb101_20k.npz"
EPOCHS = (108, 36, 12, 4)
# The same task as elsewhere, so that memory and transfer know it again.
CIFAR10 = next(task for benchmark in nb201.BENCHMARKS for task in benchmark.tasks if task.name == "cifar10")
_ADVICE = "copy the file again"


def needs(task: Task, epochs: int | None = None) -> tuple[str, ...]:
    """Name the arrays without which nothing can be looked up."""
    return "n_vertices", "edges", "ops", "op_names", f"val_{epochs or EPOCHS[0]}"


def load_nb101(path: Path, task: Task, space: Space, epochs: int | None = None) -> BenchmarkTable:
    """Read the measured cells: one training run each; seconds are known for 108 epochs only, no test accuracy.

    Accuracies become percent; DataError where an array lacks or a row is no cell of the space.
    """
    epochs = epochs or EPOCHS[0]
    needed, seconds = needs(task, epochs), f"train_time_{epochs}"
    value = needed[-1]
    arrays = read_needed(path, needed, (seconds, "params"), advice=_ADVICE)
    numbers = {"val": arrays[value]}
    if seconds in arrays:
        numbers["seconds"] = arrays[seconds]
    if "params" in arrays:
        numbers["params"] = arrays["params"]
    names = [ABSENT, PRESENT, "none", *names_in(path, arrays, "op_names", advice=_ADVICE)]
    texts = texts_of_indices(path, space, "ops", _indices(path, arrays), names)
    # In the labelling that stands for the class, so that principles compare like with like.
    texts = [space.canonical(space.parse(text)).text for text in texts]
    columns = one_number_a_row(path, texts, numbers, advice=_ADVICE)
    percent = {
        **columns.numbers,
        "val": in_percent(path, value, columns.numbers["val"], fractions=True, advice=_ADVICE),
    }
    return BenchmarkTable(task, space, path, replace(columns, numbers=percent), fidelity=f"{epochs} epochs")


def _indices(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Turn bits and operations into option indices (cells, decisions); the output of a smaller cell becomes vertex 6.

    Indices count ABSENT, PRESENT, "none" and the file's operations.
    """
    counts, bits, ops = arrays["n_vertices"], arrays["edges"], arrays["ops"]
    rows, inner = counts.size, VERTICES - 2
    if any(array.dtype.kind not in "iu" for array in (counts, bits, ops)) or (
        (counts.shape, bits.shape, ops.shape) != ((rows,), (rows,), (rows, inner))
    ):
        raise DataError(
            f"{path}: expected one whole number a row in 'n_vertices' and 'edges' and {inner} in 'ops', got shapes "
            f"{counts.shape}, {bits.shape} and {ops.shape} of {counts.dtype}, {bits.dtype} and {ops.dtype}; {_ADVICE}"
        )
    outputs = counts.astype(np.int64) - 1
    present = (bits.astype(np.int64)[:, None] >> np.arange(len(EDGES))) & 1
    ends = np.array([end for _, end in EDGES])
    wrong = (outputs < 1) | (outputs >= VERTICES) | np.any(present * ends > outputs[:, None], axis=1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{path}: row {row} expects 2 to {VERTICES} vertices and edges among them, got {counts[row]} vertices and "
            f"the edges {bits[row]:#x}; {_ADVICE}"
        )
    matrix = np.zeros((rows, VERTICES, VERTICES), dtype=np.int64)
    for place, (start, end) in enumerate(EDGES):
        matrix[np.arange(rows), start, np.where(outputs == end, VERTICES - 1, end)] += present[:, place]
    edges = np.stack([matrix[:, start, end] for start, end in EDGES], axis=1)
    used = np.arange(1, VERTICES - 1) < outputs[:, None]
    return np.concatenate([edges, np.where(used, ops.astype(np.int64) + 3, 2)], axis=1)


def embedded_nb101(space: Space, task: Task, why: str) -> Evaluation:
    """Answer with the packaged regressor, for every cell of the space."""
    assert isinstance(space, NasBench101)
    benchmark = Nb101Regressor(space)
    note = predicted_note(why, benchmark.card["scores"][task.name]["val"], task.unit)
    return Evaluation(task, EmbeddedEvaluator(benchmark, task), NoTestAccuracy(), note)


BENCHMARKS = (
    Benchmark(
        title="NAS-Bench-101",
        file=FILE,
        space="nb101",
        tasks=(CIFAR10,),
        epochs=EPOCHS,
        needs=needs,
        load=load_nb101,
        embedded=embedded_nb101,
    ),
)
