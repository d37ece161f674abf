"""What each choice in the default surrogate is worth, on NAS-Bench-201 (needs NAS_AGENT_DATA).

    python benchmarks/surrogate_variants.py --seeds 50            # all variants, about ten minutes on two cores
    python benchmarks/surrogate_variants.py --only default,ei     # some of them

Prints, for each variant and task, the evaluations to the best validation accuracy: median, mean and worst
over the seeds, and the median to 99 % of it. One start cell unless the variant says otherwise.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Literal

import numpy as np

from nas_agent.records import Architecture, Measured
from nas_agent.spaces.base import Floats
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.spaces.path_features import path_features
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.surrogates.kernel import Settings
from nas_agent.tools.surrogates.structure import CellSurrogate

TASKS = ("cifar100", "cifar10", "ImageNet16-120")
BUDGET = 200
DEFAULT = Settings()


@dataclass(frozen=True)
class Variant:
    """One way to make the surrogate."""

    settings: Settings = DEFAULT
    acquisition: Literal["ucb", "ei"] = "ucb"
    initial: int = 1
    without: str = ""  # a block of features that is left out
    extended: bool = False  # with the blocks that heads have: path, pairs, signal


VARIANTS = {
    "default": Variant(),
    "expected improvement": Variant(acquisition="ei"),
    "no trend with size": Variant(replace(DEFAULT, slope=0.0)),
    "steeper trend": Variant(replace(DEFAULT, slope=0.6)),
    "3 start cells": Variant(initial=3),
    "5 start cells": Variant(initial=5),
    "less noise": Variant(replace(DEFAULT, noise=0.02)),
    "wider priors": Variant(replace(DEFAULT, log_deviation=1.0)),
    "never fitted": Variant(replace(DEFAULT, refit_from=10_000)),
    "fitted every time": Variant(replace(DEFAULT, refit_growth=1.0)),
    "no edge block": Variant(without="edge"),
    "no count block": Variant(without="count"),
    "no depth block": Variant(without="depth"),
    "no size block": Variant(without="size"),
    "5 start cells + EI + no trend": Variant(replace(DEFAULT, slope=0.0), "ei", 5),
    "blocks of the heads too": Variant(extended=True),
    "blocks of the heads but no edge": Variant(extended=True, without="edge"),
    "blocks of the heads and no trend": Variant(replace(DEFAULT, slope=0.0), extended=True),
    "blocks of the heads and less noise": Variant(replace(DEFAULT, noise=0.02), extended=True),
}


class Described(NasBench201):
    """The space with other blocks of features."""

    def __init__(self, without: str, extended: bool) -> None:
        super().__init__()
        self._without, self._extended = without, extended

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        """Structure, less one block or with those of the heads."""
        blocks = super().features(architecture)
        if self._extended:
            blocks |= path_features(self.graph(self.canonical(architecture)))
        return {name: block for name, block in blocks.items() if name != self._without}


@lru_cache(maxsize=2)
def described(without: str, extended: bool) -> Described:
    """Make the space once a process: describing 6,466 cells takes longer than a search."""
    return Described(without, extended)


@lru_cache(maxsize=4)
def loaded(task: str) -> Evaluation:
    """Read the table once a process."""
    return load_evaluation(task, NasBench201(), "table", data=None, epochs=None)


def search(job: tuple[str, str, int]) -> tuple[str, str, int, int]:
    """Return evaluations to the optimum and to 99 % of it; one more than the budget where it is not reached."""
    name, task, seed = job
    variant, evaluation = VARIANTS[name], loaded(task)
    space = described(variant.without, variant.extended)
    pool = list(evaluation.evaluator.pool() or ())
    surrogate = CellSurrogate(space, pool, acquisition=variant.acquisition, settings=variant.settings, seed=seed)
    waiting = Random(f"{seed}/seed/0").sample(pool, variant.initial)
    assert evaluation.optimum is not None
    near, left = BUDGET + 1, {architecture.id: architecture for architecture in pool}
    for number in range(1, BUDGET + 1):
        candidates = list(left.values())
        chosen = waiting.pop(0) if waiting else candidates[surrogate.rank(candidates, 1)[0].index]
        outcome = evaluation.evaluator.evaluate(chosen, seed=seed)
        assert isinstance(outcome, Measured)
        surrogate.observe(chosen, outcome.value)
        del left[chosen.id]
        if outcome.value >= 0.99 * evaluation.optimum:
            near = min(near, number)
        if outcome.value >= evaluation.optimum - 1e-9:
            return name, task, number, near
    return name, task, BUDGET + 1, near


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    jobs = [(name, task, seed) for name in names for task in TASKS for seed in range(arguments.seeds)]
    print(f"| variant | {' | '.join(TASKS)} | geometric mean |\n|---|---|---|---|---|")
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(search, jobs, chunksize=10))
    for name in names:
        cells, logs = [], []
        for task in TASKS:
            whole = np.array([r[2] for r in results if r[:2] == (name, task)])
            near = np.array([r[3] for r in results if r[:2] == (name, task)])
            worst = f">{BUDGET}" if whole.max() > BUDGET else str(whole.max())
            cells.append(f"{np.median(whole):g} / {whole.mean():.1f} / {worst}; {np.median(near):g}")
            logs.append(np.log(whole).mean())
        print(f"| {name} | {' | '.join(cells)} | {np.exp(np.mean(logs)):.1f} |", flush=True)


if __name__ == "__main__":
    main()
