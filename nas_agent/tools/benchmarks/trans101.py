"""TransNAS-Bench-101 (Duan et al., CVPR 2021): validation results of seven vision tasks in two spaces.

The files hold a part of the benchmark: 711 of 4,096 cells, 725 of 3,256 macro networks, each trained once. The
different spellings of one cell were trained separately and differ by noise; as for NAS-Bench-201, the cheapest
measured one answers for all. Values are as the benchmark has them (percent, minus loss, SSIM): more is better. There
are no test values. DataError where an array lacks or does not fit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_agent.errors import DataError
from nas_agent.records import Task
from nas_agent.spaces.base import Space
from nas_agent.spaces.trans101 import OPERATIONS
from nas_agent.tools.benchmarks.arrays import in_ones, in_percent, one_number_a_row, read_needed, texts_of_indices
from nas_agent.tools.benchmarks.base import Benchmark
from nas_agent.tools.tables import BenchmarkTable

MICRO_FILE, MACRO_FILE = "trans101_micro_711.npz", "trans101_macro_725.npz"
MICRO_SIZE, MACRO_SIZE = 4096, 3256  # architectures of the whole benchmark
_ADVICE = "copy the file again"
_PHOTOGRAPHS = "photographs of the insides of buildings (Taskonomy, 256x256 pixels)"
TASKS = (
    Task("class_scene", f"image classification: the kind of room, of 47, in {_PHOTOGRAPHS}", "top-1 accuracy"),
    Task("class_object", f"image classification: the main object, of 75, in {_PHOTOGRAPHS}", "top-1 accuracy"),
    Task("room_layout", f"regression of the position and size of the room in {_PHOTOGRAPHS}", "minus loss", ""),
    Task(
        "jigsaw",
        f"self-supervised classification: in which of 1,000 orders nine tiles lie, cut from {_PHOTOGRAPHS}",
        "top-1 accuracy",
    ),
    Task("segmentsemantic", f"semantic segmentation into 17 classes of {_PHOTOGRAPHS}", "pixel accuracy"),
    Task("normal", f"prediction of the surface normal of each pixel of {_PHOTOGRAPHS}", "SSIM", ""),
    Task("autoencoder", f"reconstruction by an autoencoder of {_PHOTOGRAPHS}", "SSIM", ""),
)


def load_micro(path: Path, task: Task, space: Space, epochs: int | None = None) -> BenchmarkTable:
    """Read the measured cells."""
    arch, numbers = _read(path, task)
    texts = texts_of_indices(path, space, "arch", arch, [operation.name for operation in OPERATIONS])
    about = f"{len(texts):,} of {MICRO_SIZE:,} cells were measured; the search is over these"
    return _table(path, task, space, texts, numbers, about)


def load_macro(path: Path, task: Task, space: Space, epochs: int | None = None) -> BenchmarkTable:
    """Read the measured networks: a row of module codes 1-4, padded with 0 at its end."""
    arch, numbers = _read(path, task)
    if arch.ndim != 2 or arch.dtype.kind not in "iu" or (arch.size and not 0 <= arch.min() <= arch.max() <= 4):
        raise DataError(f"{path}: 'arch' must hold module codes 0-4, got {arch.dtype} of shape {arch.shape}")
    texts = [f"64-{''.join(map(str, row)).rstrip('0')}-basic" for row in arch.tolist()]
    about = f"{len(texts):,} of {MACRO_SIZE:,} networks were measured; the search is over these"
    return _table(path, task, space, texts, numbers, about)


def needs(task: Task, epochs: int | None = None) -> tuple[str, ...]:
    """Name the arrays without which nothing can be looked up."""
    return "arch", f"val_{task.name}"


def _read(path: Path, task: Task) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    needed, sizes = needs(task), {"params": f"params_M_{task.name}", "flops": f"flops_M_{task.name}"}
    arrays = read_needed(path, needed, tuple(sizes.values()), advice=_ADVICE)
    numbers = {"val": arrays[needed[-1]]}
    numbers |= {name: in_ones(path, arrays, array, advice=_ADVICE) for name, array in sizes.items() if array in arrays}
    return arrays["arch"], numbers


def _table(
    path: Path, task: Task, space: Space, texts: list[str], numbers: dict[str, np.ndarray], about: str
) -> BenchmarkTable:
    columns = one_number_a_row(path, texts, numbers, advice=_ADVICE)
    in_percent(path, needs(task)[-1], columns.numbers["val"], unit=task.unit, advice=_ADVICE)
    return BenchmarkTable(task, space, path, columns, fidelity="the benchmark's own training", about=about)


BENCHMARKS = (
    Benchmark("TransNAS-Bench-101 (cells)", MICRO_FILE, "trans101-micro", TASKS, (), needs, load_micro),
    Benchmark("TransNAS-Bench-101 (macro)", MACRO_FILE, "trans101-macro", TASKS, (), needs, load_macro),
)
