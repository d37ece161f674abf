"""How many values 90 % intervals of the head `gp` hold, where points are few (needs NAS_AGENT_DATA).

    python benchmarks/intervals.py --repeats 40      # N = 14, 30, 55 and 100 on three tasks

NAS-Bench-201, structure, COLE's protocol (classes in one fold, split first, sampled later, one of ten folds). `refits`:
residuals of five fits that did not see the point, as the head has them up to 100 points. `closed form`: residuals left
out in closed form, which keep the parameters that all points chose. Mean over the repeats, its standard error, and the
median width.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from nas_agent.bench.surrogate_eval import load_problems
from nas_agent.bench.surrogate_splits import folds_of, split_rng, training_order
from nas_agent.bench.surrogate_statistics import LEVEL, coverage_and_width
from nas_agent.spaces.path_features import extended_features
from nas_agent.tools.heads import make_head
from nas_agent.tools.heads.base import Fitted
from nas_agent.tools.heads.gaussian_process import Posterior
from nas_agent.tools.surrogates.blocks import stack

TASKS = ("cifar10", "cifar100", "ImageNet16-120")
SIZES = (14, 30, 55, 100)
FOLDS = 10


def main() -> None:
    """Print a row for each task, size and kind of residuals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    repeats = parser.parse_args().repeats
    problems = load_problems("nb201", TASKS, data=Path(os.environ["NAS_AGENT_DATA"]))
    space, rows = problems[0].space, problems[0].architectures
    blocks = stack([extended_features(space, architecture) for architecture in rows])
    numbers: dict[str, int] = {}
    classes = np.array([numbers.setdefault(row.id, len(numbers)) for row in rows])
    print("| task | N | residuals | held, % | standard error | median width, % |\n|---|---|---|---|---|---|")
    for problem in problems:
        held: dict[tuple[int, str], list[tuple[float, float]]] = {}
        for repeat in range(repeats):
            folds = folds_of(classes, problem.scores, FOLDS, split_rng(0, repeat))
            order, test = training_order(folds, 0, split_rng(0, repeat, 0)), np.flatnonzero(folds == 0)
            queries = {name: block[test] for name, block in blocks.items()}
            for size in SIZES:
                sample = order[:size]
                fitted = make_head("gp").fit({k: block[sample] for k, block in blocks.items()}, problem.scores[sample])
                assert isinstance(fitted, Fitted)
                assert isinstance(fitted.predictor, Posterior)
                closed = replace(fitted, residuals=fitted.predictor.left_out)
                for kind, head in (("refits", fitted), ("closed form", closed)):
                    low, high = head.interval(queries, LEVEL)
                    found = coverage_and_width(low, high, problem.scores[test])
                    held.setdefault((size, kind), []).append(found)
        for (size, kind), found in held.items():
            share, width = np.array(found).T
            error = share.std(ddof=1) / len(share) ** 0.5
            figures = f"{100 * share.mean():.1f} | {100 * error:.1f} | {np.median(width):.2f}"
            print(f"| {problem.task.name} | {size} | {kind} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
