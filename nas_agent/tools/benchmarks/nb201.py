"""NAS-Bench-201 (Dong and Yang, ICLR 2020): all 15,625 cells on three data sets, at 200 and at 12 epochs."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from nas_agent.errors import DataError
from nas_agent.records import Task
from nas_agent.spaces.base import Space
from nas_agent.spaces.nasbench201 import NasBench201
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
from nas_agent.tools.evaluators.embedded import EmbeddedBenchmark, EmbeddedEvaluator, EmbeddedTestSplit, predicted_note
from nas_agent.tools.table_files import read_arrays
from nas_agent.tools.tables import BenchmarkTable

FILE = "nb201.npz"
LATENCIES = "nb201_latency.npz"  # of the same rows; beside it
# Task name -> the data set's short name in the arrays of the file.
SHORT = {"cifar10": "c10", "cifar100": "c100", "ImageNet16-120": "in16"}
_DESCRIPTIONS = {
    "cifar10": "image classification on CIFAR-10: 32x32 colour photographs of 10 classes of objects and animals",
    "cifar100": "image classification on CIFAR-100: 32x32 colour photographs of 100 classes of objects and animals",
    "ImageNet16-120": "image classification on ImageNet16-120: photographs of 120 ImageNet classes at 16x16 pixels",
}
# Simulated seconds as multiples of the measured 12-epoch run on CIFAR-10's training half (`time_c10valid_12`).
_SECONDS = {"c10": 2.0 / 12, "c100": 2.0 / 12, "in16": 6.068 / 12}  # per epoch
_ADVICE = "make the file again with: nas-agent data import OFFICIAL_FILE"


def needs(task: Task, epochs: int | None = None) -> tuple[str, ...]:
    """Name the arrays without which nothing can be looked up."""
    return "ops", "op_names", f"val_{SHORT[task.name]}_{epochs or 200}"


def load_nb201(path: Path, task: Task, space: Space, epochs: int | None = None) -> BenchmarkTable:
    """Read the compact NAS-Bench-201 table for one task; 200 epochs is the mean over seeds, 12 one seed.

    Accuracies in percent; seconds are scaled from 12 epochs on CIFAR-10. DataError where an array does not fit.
    """
    epochs = epochs or 200
    short = SHORT[task.name]
    # The validation values match the test values of the same release and seeds, which is v1.1 where the file has it.
    tests = [f"test_v11_{short}_200", f"test_{short}_200"] if epochs == 200 else [f"test_{short}_12"]
    needed = needs(task, epochs)
    value = needed[-1]
    arrays = read_needed(path, needed, (*tests, "time_c10valid_12", "params_M", "flops_M"), advice=_ADVICE)
    numbers = {"val": arrays[value]}
    test = next((name for name in tests if name in arrays), None)
    if test is not None:
        numbers["test"] = arrays[test]
    if "time_c10valid_12" in arrays:
        numbers["seconds"] = arrays["time_c10valid_12"]
    for name, array in (("params", "params_M"), ("flops", "flops_M")):
        if array in arrays:
            numbers[name] = in_ones(path, arrays, array, advice=_ADVICE)
    names = names_in(path, arrays, "op_names", advice=_ADVICE)
    texts = texts_of_indices(path, space, "ops", arrays["ops"], names)
    columns = one_number_a_row(path, texts, numbers, advice=_ADVICE)
    in_percent(path, value, columns.numbers["val"], advice=_ADVICE)
    if test is not None:
        in_percent(path, test, columns.numbers["test"], advice=_ADVICE)
    if "seconds" in columns.numbers:
        seconds = columns.numbers["seconds"] * (_SECONDS[short] * epochs)
        columns = replace(columns, numbers={**columns.numbers, "seconds": seconds})
    return BenchmarkTable(task, space, path, columns, fidelity=f"{epochs} epochs")


def is_published(table: BenchmarkTable) -> bool:
    """Tell whether a table is the published one, whose rows the file of latencies shares."""
    return table.source.name == FILE and table.task.name in SHORT


@lru_cache(maxsize=4)
def naswot(table: BenchmarkTable) -> dict[str, float]:
    """Read the NASWOT scores of the published table by canonical id; nothing where the file has none."""
    name = f"nwot_{SHORT[table.task.name]}"
    found = read_arrays(table.source, (name,)).get(name)
    if found is None:
        return {}
    if found.shape != (table.length,) or found.dtype.kind not in "fiu":
        raise DataError(f"{table.source}: expected a number a cell in '{name}', got {found.dtype} of {found.shape}")
    return {key: float(found[row]) for key, row in table.places.items()}


@lru_cache(maxsize=4)
def latencies(table: BenchmarkTable) -> dict[str, dict[str, float]]:
    """Read milliseconds by device and canonical id, from the file beside the table; nothing where it lacks.

    What is no positive number is left out. Lee et al., HELP, NeurIPS 2021; DataError where the file does not fit.
    """
    path = table.source.parent / LATENCIES
    if not path.is_file():
        return {}
    advice = "copy the file again"
    arrays = read_needed(path, ("devices", "latency"), advice=advice)
    names = names_in(path, arrays, "devices", advice=advice)
    found, rows = arrays["latency"], table.length
    if found.shape != (len(names), rows) or found.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: expected latencies of {len(names)} devices x {rows:,} cells, got {found.dtype} of shape "
            f"{found.shape}; {advice}"
        )
    usable = np.isfinite(found) & (found > 0)
    return {
        name: {key: float(line[row]) for key, row in table.places.items() if known[row]}
        for name, line, known in zip(names, found.astype(np.float64), usable, strict=True)
    }


def embedded_nb201(space: Space, task: Task, why: str) -> Evaluation:
    """Answer with the packaged regressor."""
    assert isinstance(space, NasBench201)
    benchmark = EmbeddedBenchmark(space)
    note = predicted_note(why, benchmark.card["scores"][task.name]["val"], task.unit)
    evaluator, test_split = EmbeddedEvaluator(benchmark, task), EmbeddedTestSplit(benchmark, task)
    return Evaluation(task, evaluator, test_split, note, optimum=benchmark.optimum(task))


BENCHMARKS = (
    Benchmark(
        title="NAS-Bench-201",
        file=FILE,
        space="nb201",
        tasks=tuple(Task(name=name, description=text) for name, text in _DESCRIPTIONS.items()),
        epochs=(200, 12),
        needs=needs,
        load=load_nb201,
        embedded=embedded_nb201,
    ),
)
