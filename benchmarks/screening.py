"""Proxies as a first stage of the agent's search, measured on NAS-Bench-201 with the published NASWOT column.

    NAS_AGENT_DATA=... python benchmarks/screening.py --task cifar100 --seeds 20

`none` is the agent without a proxy. `half` and `quarter` keep that part of each round's proposals with the best
scores, and the surrogate chooses among them; `first` measures first the best of 64 uniform draws by the proxy, and
nothing else is screened; `random` has no surrogate and draws uniformly, `random-half` from the better half. Regret is
the distance of the best validation accuracy so far to the table's optimum; differences are paired by seed with the
first variant, with a 95 % bootstrap interval. The column holds minus infinity for a cell without a path: it is last.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median

import numpy as np

from nas_agent.bench.statistics import estimate, mean_of, paired
from nas_agent.graphs import rounds, search
from nas_agent.graphs.services import Services
from nas_agent.graphs.state import SearchState
from nas_agent.records import Architecture, Proposal
from nas_agent.run import Search
from nas_agent.spaces import load_space
from nas_agent.tools.evaluators.resolve import load_evaluation

POINTS = (1, 2, 3, 5, 8, 12, 20, 30)
SHARES = {"none": 1.0, "half": 0.5, "quarter": 0.25, "first": 1.0, "random": 1.0, "random-half": 0.5}
DRAWN = 64
COLUMNS = {"cifar10": "nwot_c10", "cifar100": "nwot_c100", "ImageNet16-120": "nwot_in16"}


@contextmanager
def screening(scores: dict[str, float], variant: str) -> Iterator[None]:
    """Keep a share of the proposals by the proxy for a while, or choose the first draws by it."""
    best_of, draw = rounds.best_of, search.draw

    def kept(use: Services, state: SearchState, proposals: Sequence[Proposal], keep: int) -> list[rounds.Chosen]:
        wanted = max(keep, math.ceil(SHARES[variant] * len(proposals)))
        order = sorted(range(len(proposals)), key=lambda place: -scores[proposals[place].architecture.id])
        return best_of(use, state, [proposals[place] for place in sorted(order[:wanted])], keep)

    def first(use: Services, rng: Random, wanted: int) -> list[Architecture]:
        found = draw(use, rng, DRAWN * wanted)
        return sorted(found, key=lambda architecture: -scores[architecture.id])[:wanted]

    rounds.best_of = kept
    search.draw = first if variant == "first" else draw
    try:
        yield
    finally:
        rounds.best_of, search.draw = best_of, draw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cifar100")
    parser.add_argument("--variants", default="none,half,quarter,first")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=30)
    asked = parser.parse_args()
    space, folder = load_space("nb201"), Path(os.environ["NAS_AGENT_DATA"])
    evaluation = load_evaluation(asked.task, space, "table", data=folder, epochs=None)
    table = evaluation.evaluator.table  # type: ignore[attr-defined]
    column = np.load(folder / "nb201.npz")[COLUMNS[asked.task]]
    scores = {key: float(column[row]) for key, row in table.places.items()}
    optimum = max(row.value for row in table.representatives())
    points = [point for point in POINTS if point <= asked.budget]
    print("| variant | " + " | ".join(f"regret at {p}" for p in points) + " | median to optimum | found |")
    print("| --- |" + " --- |" * (len(points) + 2))
    base: list[list[float]] = []
    for name in asked.variants.split(","):
        begun, lines, needed = time.process_time(), list[list[float]](), list[float]()
        plain = {"generator": "random", "surrogate": "none", "principles": False} if "random" in name else {}
        with screening(scores, name):
            for seed in range(asked.seeds):
                run = Search(
                    asked.task, space=space, evaluation=evaluation, budget=asked.budget, seed=seed, **plain
                )  # fmt: skip
                curve = [optimum - (value or 0.0) for value in run.run().curve]
                lines.append([curve[point - 1] for point in points])
                needed.append(next((k for k, regret in enumerate(curve, 1) if regret <= 1e-9), math.inf))
        base = base or lines
        told = []
        for place in range(len(points)):
            here, there = [line[place] for line in lines], [line[place] for line in base]
            cell = f"{estimate(here, mean_of).value:.3f}"
            difference = paired("regret", here, there, maximise=False)
            if lines is not base and difference is not None:
                mean = difference.mean
                cell += f" ({mean.value:+.3f}, {mean.low:+.3f} to {mean.high:+.3f})"
            told.append(cell)
        found = sum(math.isfinite(count) for count in needed)
        print(f"| {name} | " + " | ".join(told) + f" | {median(needed):g} | {found}/{len(needed)} |", flush=True)
        seconds = (time.process_time() - begun) / asked.seeds
        print(f"{name}: {seconds:.1f} CPU s a run", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
