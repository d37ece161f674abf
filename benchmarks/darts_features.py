"""Which features of DARTS cells the surrogate learns most from (needs NAS_AGENT_DATA).

    python benchmarks/darts_features.py --seeds 8        # some minutes on one core

Prints, for each set of features and both tables, Kendall's tau between the surrogate's posterior mean and the table on
rows that it was not shown, after 50 and after 200 random rows: the mean over the seeds. All sets hold the size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy.stats import kendalltau

from nas_agent.records import Architecture
from nas_agent.spaces.base import Floats
from nas_agent.spaces.darts import CELLS, Darts
from nas_agent.spaces.features import structure_features
from nas_agent.tools.benchmarks.darts import BENCHMARKS
from nas_agent.tools.surrogates.blocks import Scaler, stack
from nas_agent.tools.surrogates.gaussian_process import Posterior
from nas_agent.tools.tables import find_table

SPACE = Darts()
SHOWN = (50, 200)
Blocks = dict[str, Floats]


def of_the_graph(architecture: Architecture) -> Blocks:
    """Describe the two cells as one graph, as any other cell space does."""
    return structure_features(SPACE.graph(architecture), SPACE.sizes(architecture))


def blocks(*names: str, joined: bool = False) -> Callable[[Architecture], Blocks]:
    """Choose among the space's blocks; joined: those of both cells as one."""

    def describe(architecture: Architecture) -> Blocks:
        own = SPACE.features(architecture)
        chosen = {f"{cell} {name}": own[f"{cell} {name}"] for cell in CELLS for name in names}
        if joined:
            chosen = {name: np.concatenate([own[f"{cell} {name}"] for cell in CELLS]) for name in names}
        return {**chosen, "size": own["size"]}

    return describe


VARIANTS = {
    "one graph of both cells": of_the_graph,
    "count": blocks("count"),
    "count, depth": blocks("count", "depth"),
    "count, from, depth": blocks("count", "from", "depth"),
    "count, chain, depth": blocks("count", "chain", "depth"),
    "count, from, chain, depth, cells joined": blocks("count", "from", "chain", "depth", joined=True),
    "count, from, chain, depth (the space's)": blocks("count", "from", "chain", "depth"),
}


def taus(described: Blocks, values: Floats, seed: int) -> list[float]:
    """Show rows in a random order; Kendall's tau on those that are shown last of all."""
    order = np.random.default_rng(seed).permutation(len(values))
    hidden, found = order[max(SHOWN) :], []
    posterior = Posterior(Scaler(described), described)
    for shown, row in enumerate(order[: max(SHOWN)], start=1):
        posterior.observe(int(row), float(values[row]))
        if shown in SHOWN:
            mean, _, _ = posterior.predict()
            found.append(float(kendalltau(mean[hidden], values[hidden]).statistic))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    seeds = range(parser.parse_args().seeds)
    rows = {}
    for benchmark in BENCHMARKS:
        path = find_table(None, benchmark.file)
        if path is None:
            raise SystemExit(f"no {benchmark.file} found; set NAS_AGENT_DATA to the folder that holds it")
        table = benchmark.load(path, benchmark.tasks[0], SPACE, None)
        cells = [SPACE.canonical(cell) for cell in table.pool()]
        rows[benchmark.tasks[0].name] = cells, np.array([row.value for row in map(table.row, cells) if row])
    print(f"| features | {' | '.join(f'{task}, {shown} shown' for task in rows for shown in SHOWN)} |")
    print("|---|" + "---|" * (len(rows) * len(SHOWN)))
    for name, describe in VARIANTS.items():
        figures: list[str] = []
        for cells, values in rows.values():
            described = stack([describe(cell) for cell in cells])
            figures += [f"{tau:.3f}" for tau in np.mean([taus(described, values, seed) for seed in seeds], axis=0)]
        print(f"| {name} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
