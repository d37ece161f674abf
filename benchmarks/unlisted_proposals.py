"""What the agent proposes in a space too large to list, against fewer, more and BANANAS' candidates.

    python benchmarks/unlisted_proposals.py --seeds 10
    python benchmarks/unlisted_proposals.py --seeds 10 --spaces darts --variants evolve,bananas

Embedded benchmarks of `nb101` and `darts`, which answer for the whole space: every value is predicted. `evolve` is
the product: the neighbourhoods of the best 4 and, up to 400 in all, mutations and crossovers of the best 16 and
draws, ranked by the upper confidence bound. `mutants` keeps 32 mutations, crossovers and draws of these, as many as
BANANAS ranks in COLE's settings; `near` keeps the neighbourhoods only; `wide` takes up to 1,600. `bananas` is COLE's
BANANAS with the space's features and a Gaussian process. Differences are evolve's less the other's, paired over
seeds, with a 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nas_agent.agents.generators import evolve
from nas_agent.bench.agent import Agent
from nas_agent.bench.bananas import in_cole
from nas_agent.bench.compare import Setting
from nas_agent.bench.methods import Method, Problem, Trace
from nas_agent.bench.statistics import best_so_far, estimate, mean_of, paired

TASKS = {"nb101": "cifar10", "darts": "darts-nb301"}
CONSTANTS = {
    "evolve": {},
    "mutants": {"CLOSEST": 0, "LOCAL": 32, "BRED": 32},
    "near": {"LOCAL": 1, "BRED": 1},
    "wide": {"LOCAL": 1600, "BRED": 400},
}


@contextmanager
def constants(values: dict[str, int]) -> Iterator[None]:
    """Give the generator other constants for a while."""
    before = {name: getattr(evolve, name) for name in values}
    try:
        for name, value in values.items():
            setattr(evolve, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(evolve, name, value)


@dataclass(frozen=True)
class Variant:
    """The agent with other constants."""

    name: str

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        """Search once."""
        with constants(CONSTANTS[self.name]):
            return Agent().run(problem, seed, budget)


def method(name: str) -> Method:
    """Return what `--variants` names."""
    return in_cole(["structure"], "gp")["bananas-structure"]() if name == "bananas" else Variant(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--spaces", default=",".join(TASKS))
    parser.add_argument("--variants", default="evolve,mutants,near,wide,bananas")
    args = parser.parse_args()
    points = [point for point in (20, 50, 100) if point < args.budget] + [args.budget]
    names = args.variants.split(",")
    for space_name in args.spaces.split(","):
        space, evaluation = Setting(TASKS[space_name], space_name, "embedded")()
        problem = Problem(space, evaluation.task, evaluation.evaluator)
        print(f"\n**{TASKS[space_name]} on {space_name}** (predicted), {args.seeds} seeds\n")
        print("| proposals | " + " | ".join(f"at {p} | {names[0]} less this" for p in points) + " | own CPU ms |")
        print("| --- |" + " --- |" * (2 * len(points) + 1), flush=True)
        first: list[list[float]] = []
        for name in names:
            runs = [method(name).run(problem, args.first_seed + seed, args.budget) for seed in range(args.seeds)]
            best = [[float(best_so_far(evaluation.task, run, p)[-1]) for run in runs] for p in points]
            first = first or best
            cells = []
            for ours, theirs in zip(first, best, strict=True):
                mean = estimate(theirs, mean_of)
                apart = paired("", ours, theirs, maximise=evaluation.task.maximise)
                assert apart is not None
                interval = f"{apart.mean.value:+.3f} ({apart.mean.low:+.3f} to {apart.mean.high:+.3f})"
                cells.append(f"{mean.value:.3f} | {'-' if name == names[0] else interval}")
            spent = 1000.0 * sum(run.cpu_seconds for run in runs) / sum(len(run.values) for run in runs)
            print(f"| {name} | {' | '.join(cells)} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
