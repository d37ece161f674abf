"""Our zero-cost proxies against published scores of the same cells, and against accuracy.

    NAS_AGENT_DATA=... python benchmarks/proxies.py                  # 100 cells each of three benchmarks
    NAS_AGENT_DATA=... python benchmarks/proxies.py --columns        # the published scores and accuracy, all rows

Cells are drawn uniformly from the rows of a table. The batch holds CIFAR-10 training images, whatever the benchmark's
task was: TransNAS-Bench-101's images are not here. Weights are those of `--seed`. Spearman's correlation of our score
with the published one says whether it is the same proxy; that of each with the table's accuracy what it is worth. A
score that is None (a cell without a path) ranks below all others, as the table's minus infinity does.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch

from nas_agent.spaces import load_space
from nas_agent.tools.benchmarks.registry import benchmark_of
from nas_agent.tools.evaluators.trainer import Part
from nas_agent.tools.images import load_images
from nas_agent.tools.proxies import PROXIES
from nas_agent.tools.proxies.measures import measure
from nas_agent.tools.tables import BenchmarkTable


@dataclass(frozen=True)
class Bench:
    """One table with published scores."""

    space: str
    task: str
    file: str
    width: int  # channels of the first stage that we build
    scores: dict[str, str] | str  # proxy -> column, or the matrix whose columns `proxies` names
    counts: tuple[str, str]  # columns of parameters and FLOPs


BENCHES = {
    "nb201": Bench("nb201", "cifar10", "nb201.npz", 16, {"naswot": "nwot_c10"}, ("params_M", "flops_M")),
    "trans101": Bench(
        "trans101-micro", "class_object", "trans101_micro_711.npz", 16, "zc_class_object",
        ("params_M_class_object", "flops_M_class_object"),
    ),
    "nb301": Bench(
        "darts", "darts-nb301", "nb301_zc_725.npz", 8, "zc_cifar10", ("params_M_cifar10", "flops_M_cifar10")
    ),
}  # fmt: skip
NAMES = {"nwot": "naswot"}


def spearman(first: list[float], second: list[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(first, second)[0])


def table_of(bench: Bench, folder: Path) -> BenchmarkTable:
    space = load_space(bench.space)
    found = benchmark_of(bench.task, space)
    assert found is not None
    return found[0].load(folder / bench.file, found[1], space, None)


def published(bench: Bench, folder: Path) -> dict[str, np.ndarray]:
    """Return the published scores by our names, a number a row; minus infinity where it is not finite."""
    arrays = np.load(folder / bench.file)
    if isinstance(bench.scores, dict):
        found = {name: arrays[column] for name, column in bench.scores.items()}
    else:
        matrix = arrays[bench.scores]
        names = [NAMES.get(str(name), str(name)) for name in arrays["proxies"]]
        found = {name: matrix[:, k] for k, name in enumerate(names) if name in PROXIES}
    found |= dict(zip(("params", "flops"), (arrays[name] for name in bench.counts), strict=True))
    return {name: np.where(np.isfinite(column), column, -np.inf) for name, column in found.items()}


def batch(folder: Path, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    images = load_images("cifar10", data=folder, resolution=None)
    rows = sorted(Random(seed).sample(range(len(images.train)), size))
    part = Part(images.train.pixels[rows], images.train.labels[rows], images.mean, images.spread, "cpu")
    return part.scaled(part.pixels), part.labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--benches", default=",".join(BENCHES))
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", action="store_true", help="only the published scores, over all rows")
    asked = parser.parse_args()
    folder = Path(os.environ["NAS_AGENT_DATA"])
    images, labels = (torch.zeros(0), torch.zeros(0)) if asked.columns else batch(folder, asked.images, asked.seed)
    heads = ["benchmark", "proxy", "cells", "ours ~ published", "ours ~ accuracy", "published ~ accuracy", "None"]
    heads = [*heads[:3], heads[5], "in the best tenth", "None"] if asked.columns else [*heads, "CPU s a cell"]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    for name in asked.benches.split(","):
        compare(name, BENCHES[name], folder, images, labels, asked)


def compare(
    name: str, bench: Bench, folder: Path, images: torch.Tensor, labels: torch.Tensor, asked: argparse.Namespace
) -> None:
    table, known = table_of(bench, folder), published(bench, folder)
    members = list(table.pool())
    rows = [table.places[member.id] for member in members]
    values = [row.value for row in table.representatives()]
    if asked.columns:
        for proxy, column in known.items():
            told, none = spearman(column[rows].tolist(), values), np.isinf(column[rows]).sum()
            best = sorted(range(len(rows)), key=lambda place: -values[place])[: len(rows) // 10]
            top = spearman([float(column[rows[place]]) for place in best], [values[place] for place in best])
            print(f"| {name} | {proxy} | {len(rows):,} | {told:.3f} | {top:.3f} | {none} |")
        return
    space = load_space(bench.space)
    drawn = sorted(Random(asked.seed).sample(range(len(members)), min(asked.cells, len(members))))
    scores: dict[str, list[float]] = {proxy: [] for proxy in PROXIES}
    seconds = dict.fromkeys(PROXIES, 0.0)
    for place in drawn:
        torch.manual_seed(asked.seed)
        network = space.network(members[place], classes=10, in_channels=3, width=bench.width)
        for proxy in PROXIES:
            begun = time.process_time()
            found = measure(network, images, labels, [proxy])[proxy]
            seconds[proxy] += time.process_time() - begun
            scores[proxy].append(-math.inf if found is None else found)
    accuracy = [values[place] for place in drawn]
    for proxy, ours in scores.items():
        told = [f"{spearman(ours, accuracy):.3f}", ""]
        same = ""
        if proxy in known:
            theirs = known[proxy][[rows[place] for place in drawn]].tolist()
            same, told[1] = f"{spearman(ours, theirs):.3f}", f"{spearman(theirs, accuracy):.3f}"
        none = sum(math.isinf(score) for score in ours)
        print(
            f"| {name} | {proxy} | {len(drawn)} | {same} | {told[0]} | {told[1]} | {none} | "
            f"{seconds[proxy] / len(drawn):.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
