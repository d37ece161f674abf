"""Several fidelities on NAS-Bench-201's 12- and 200-epoch columns, at equal simulated cost.

    NAS_AGENT_DATA=... python benchmarks/fidelity.py --task cifar10 --seeds 20
    NAS_AGENT_DATA=... python benchmarks/fidelity.py --task cifar10 --facts
    NAS_AGENT_DATA=... python benchmarks/fidelity.py --task cifar100 --variants full,asha,lowest --seeds 20

A run may spend as many simulated seconds as `--budget` full trainings take on average over the table; what counts is
the best validation accuracy at 200 epochs that it knows then, and its distance to the table's optimum (regret).
Variants: `full` is the agent with every evaluation at 200 epochs; `asha` the agent with `--fidelities 12,200`, whose
surrogate learns from both columns by a line between them; `lowest` and `highest` tell its surrogate of the 12-epoch or
the 200-epoch column alone; `eta3` and `eta8` promote one in 3 or 8 instead of one in 16.7; `random` and `random-asha`
have no surrogate, principles or generator. Test accuracies are opened after all runs.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from nas_agent.bench.statistics import estimate, mean_of, paired
from nas_agent.graphs import rounds
from nas_agent.records import Architecture, Outcome
from nas_agent.run import Search
from nas_agent.spaces import load_space
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.surrogates.levels import Levels

POINTS = (1, 2, 3, 5, 8, 12, 20)  # full trainings' worth of simulated seconds
PLAIN = {"generator": "random", "surrogate": "none", "principles": False}


class Lowest(Levels):
    """The surrogate is told of the cheapest fidelity alone."""

    def follow(self, outcome: Outcome, level: int) -> list[tuple[Architecture, float]]:
        """Pass only those on."""
        return super().follow(outcome, 0) if level == 0 else []


class Highest(Levels):
    """The surrogate is told of the full fidelity alone."""

    def follow(self, outcome: Outcome, level: int) -> list[tuple[Architecture, float]]:
        """Pass only those on."""
        return super().follow(outcome, level) if level else []


@dataclass(frozen=True)
class Variant:
    """A way to search."""

    settings: dict[str, Any]
    levels: type[Levels] = Levels
    several: bool = True


VARIANTS = {
    "full": Variant({}, several=False),
    "asha": Variant({}),
    "lowest": Variant({}, Lowest),
    "highest": Variant({}, Highest),
    "eta3": Variant({"eta": 3}),
    "eta8": Variant({"eta": 8}),
    "asha-no-principles": Variant({"principles": False}),
    "full-no-principles": Variant({"principles": False}, several=False),
    "random": Variant(PLAIN, several=False),
    "random-asha": Variant(PLAIN),
}


def run(variant: Variant, evaluation: Evaluation, seed: int, budget: int) -> list[tuple[float, float | None, str]]:
    """Search once; return simulated seconds, best value and its id after each evaluation."""
    rounds.Levels = variant.levels  # type: ignore[misc]
    if not variant.several:
        evaluation = replace(evaluation, rungs=None)
    search = Search(
        evaluation.task, space=load_space("nb201"), evaluation=evaluation, budget=budget, seed=seed, **variant.settings
    )
    search.run()
    spent, curve = 0.0, list[tuple[float, float | None, str]]()
    archive = search.journal.archive
    best: str = ""
    for outcome, value in zip(archive, archive.curve, strict=True):
        spent += outcome.seconds
        if value is not None and (not curve or value != curve[-1][1]):
            best = outcome.architecture.id
        curve.append((spent, value, best))
    return curve


def at(curve: Sequence[tuple[float, float | None, str]], seconds: float) -> tuple[float | None, str]:
    """Return what a run knows after so many simulated seconds."""
    known = [(value, key) for spent, value, key in curve if spent <= seconds]
    return known[-1] if known else (None, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cifar10")
    parser.add_argument("--variants", default="full,asha")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=20)
    parser.add_argument("--facts", action="store_true", help="only how the two columns agree")
    asked = parser.parse_args()
    space, folder = load_space("nb201"), Path(os.environ["NAS_AGENT_DATA"])
    evaluation = load_evaluation(asked.task, space, "table", data=folder, epochs=None, fidelities=("12", "200"))
    table = evaluation.evaluator.table  # type: ignore[attr-defined]
    rows = {row.architecture.id: row for row in table.representatives()}
    if asked.facts:
        facts(evaluation)
        return
    whole, optimum = fmean(row.seconds for row in rows.values()), max(row.value for row in rows.values())
    floor = median(row.value for row in rows.values())  # what a run knows that has measured nothing fully
    found: dict[str, list[list[float]]] = {}
    tests: dict[str, list[float]] = {}
    hits: dict[str, list[float]] = {}
    points = [point for point in POINTS if point <= asked.budget]
    print("| variant | " + " | ".join(f"regret at {p}" for p in points) + " | median to optimum | test |")
    print("| --- |" + " --- |" * (len(points) + 2))
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    for name in asked.variants.split(","):
        begun = time.process_time()
        curves = [run(VARIANTS[name], evaluation, seed, asked.budget) for seed in seeds]
        values = [[at(curve, point * whole)[0] for point in points] for curve in curves]
        found[name] = [[optimum - (floor if value is None else value) for value in line] for line in values]
        winners = [at(curve, asked.budget * whole)[1] for curve in curves]
        tests[name] = [rows[key].test or math.nan for key in winners if key]
        hits[name] = [
            next((s / whole for s, value, _ in curve if value is not None and value >= optimum - 1e-9), math.inf)
            for curve in curves
        ]
        seconds = (time.process_time() - begun) / len(curves)
        print(f"{name}: {len(curves)} runs, {seconds:.1f} CPU s a run", file=sys.stderr, flush=True)
        report(name, points, found, hits, tests, first=asked.variants.split(",")[0])


def facts(evaluation: Evaluation) -> None:
    """Say how the order at 12 epochs agrees with that at 200."""
    from scipy.stats import kendalltau

    assert evaluation.rungs is not None
    evaluator: Any = evaluation.evaluator
    pairs = [
        tuple(evaluator.evaluate(architecture, seed=0, fidelity=at).value for at in evaluation.rungs.levels)
        for architecture in evaluator.pool()
    ]
    pairs.sort(key=lambda pair: -pair[1])
    best = pairs[: len(pairs) // 10]
    rank = 1 + sum(low > pairs[0][0] for low, _ in pairs)
    told = [f"{float(kendalltau(*zip(*some, strict=True))[0]):.3f}" for some in (pairs, best)]
    print(
        f"{evaluation.task.name}: Kendall tau of the columns {told[0]}, in the best tenth {told[1]}; the best by 200 "
        f"epochs is number {rank} of {len(pairs):,} at 12"
    )


def report(
    name: str,
    points: Sequence[int],
    found: dict[str, list[list[float]]],
    hits: dict[str, list[float]],
    tests: dict[str, list[float]],
    *,
    first: str,
) -> None:
    told = []
    for place in range(len(points)):
        column = [line[place] for line in found[name]]
        cell = f"{estimate(column, mean_of).value:.3f}"
        if name != first:
            difference = paired("regret", column, [line[place] for line in found[first]], maximise=False)
            assert difference is not None
            cell += f" ({difference.mean.value:+.3f}, {difference.mean.low:+.3f} to {difference.mean.high:+.3f})"
        told.append(cell)
    print(f"| {name} | " + " | ".join(told) + f" | {median(hits[name]):.1f} | {fmean(tests[name]):.2f} |", flush=True)


if __name__ == "__main__":
    main()
