"""NAS-Bench-101: what its features are worth to the surrogate, and what a search and a round cost.

    NAS_AGENT_DATA=DIR python benchmarks/nb101.py --seeds 12

Prints, for choices of feature blocks, Kendall's tau between the Gaussian process's posterior mean and the validation
accuracy of 2,500 random rows of the table less those observed, after 50 and after 200 random observations, and the
mean accuracy of the ten rows that it likes best; then the seconds to load the table, the milliseconds that an
architecture costs, and searches with the embedded benchmark.
"""

from __future__ import annotations

import argparse
import time
from random import Random

import numpy as np
from scipy.stats import kendalltau

from nas_agent import Search
from nas_agent.spaces import Floats
from nas_agent.spaces.nasbench101 import NasBench101
from nas_agent.tools.benchmarks.nb101 import CIFAR10, FILE, embedded_nb101, load_nb101
from nas_agent.tools.surrogates.blocks import Scaler, stack
from nas_agent.tools.surrogates.gaussian_process import Posterior
from nas_agent.tools.tables import BenchmarkTable, find_table

GRAPH = ("edge", "count", "depth", "size")
CHOICES = {
    "structure of the graph": GRAPH,
    "+ pairs": (*GRAPH, "pairs"),
    "+ pairs and triples (used)": (*GRAPH, "pairs", "triples"),
    "the same without edges": ("count", "depth", "size", "pairs", "triples"),
    "the same without size": ("edge", "count", "depth", "pairs", "triples"),
    "size, pairs and triples": ("size", "pairs", "triples"),
}
ROWS = 2500


def quality(blocks: dict[str, Floats], values: Floats, observed: int, seeds: int) -> tuple[float, float]:
    """Return the mean tau on the rows that were not observed, and the mean value of the ten liked best."""
    found = []
    for seed in range(seeds):
        order = np.random.default_rng(seed).permutation(len(values))
        posterior = Posterior(Scaler(blocks), blocks)
        for row in order[:observed].tolist():
            posterior.observe(row, float(values[row]))
        mean, rest = posterior.predict()[0], order[observed:]
        liked = rest[np.argsort(-mean[rest], kind="stable")[:10]]
        found.append((kendalltau(mean[rest], values[rest]).statistic, values[liked].mean()))
    tau, best = np.mean(found, axis=0)
    return float(tau), float(best)


def compare(space: NasBench101, table: BenchmarkTable, seeds: int) -> None:
    """Print one line for each choice of blocks."""
    cells = Random(0).sample(list(table.pool()), ROWS)
    values = np.array([row.value for row in map(table.row, cells) if row is not None])
    everything = stack([space.features(cell) for cell in cells])
    print(f"{'features':28} {'tau at 50':>9} {'top ten':>8} {'tau at 200':>10} {'top ten':>8}")
    for name, wanted in CHOICES.items():
        blocks = {block: everything[block] for block in wanted}
        few, many = quality(blocks, values, 50, seeds), quality(blocks, values, 200, seeds)
        print(f"{name:28} {few[0]:9.3f} {few[1]:8.2f} {many[0]:10.3f} {many[1]:8.2f}")


def costs() -> None:
    """Print what a sample, its neighbours and its features cost, in milliseconds of this process."""
    space, rng = NasBench101(), Random(0)
    start = time.process_time()
    cells = [space.sample(rng) for _ in range(500)]
    sampled = time.process_time()
    around = sum(len(list(space.neighbours(cell))) for cell in cells)
    stepped = time.process_time()
    for cell in cells:
        space.features(cell)
    described = time.process_time()
    print(f"sample {(sampled - start) * 2:.2f} ms, neighbours {(stepped - sampled) * 2:.2f} ms for {around / 500:.1f}")
    print(f"features {(described - stepped) * 2:.2f} ms")


def searches(seeds: int, budget: int = 100) -> None:
    """Print what searches with the embedded benchmark reach and cost."""
    curves, seconds = [], 0.0
    for seed in range(seeds):
        space = NasBench101()
        evaluation = embedded_nb101(space, CIFAR10, "as asked")
        start = time.process_time()
        curves.append(Search(CIFAR10, space=space, evaluation=evaluation, budget=budget, seed=seed).run().curve)
        seconds += time.process_time() - start
    space, rng = NasBench101(), Random(0)
    evaluator = embedded_nb101(space, CIFAR10, "as asked").evaluator
    drawn = [evaluator.evaluate(space.sample(rng), seed=0) for _ in range(2000)]
    limit = np.quantile([getattr(outcome, "value", np.nan) for outcome in drawn], 0.999)
    means = ", ".join(f"{np.mean([curve[at - 1] for curve in curves]):.2f} at {at}" for at in (20, 50, budget))
    print(f"searches with the embedded benchmark, mean best predicted of {seeds} seeds: {means}")
    print(f"99.9 % of random draws are below {limit:.2f}; {seconds / seeds / budget * 1000:.0f} ms an evaluation")


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    seeds = parser.parse_args().seeds
    path = find_table(None, FILE)
    if path is None:
        raise SystemExit(f"no {FILE} found; set NAS_AGENT_DATA to the folder that holds it")
    space = NasBench101()
    start = time.process_time()
    table = load_nb101(path, CIFAR10, space)
    print(f"{table.note}\nloaded in {time.process_time() - start:.1f} s of this process")
    costs()
    compare(space, table, seeds)
    searches(seeds)


if __name__ == "__main__":
    main()
