"""Search by sequence modelling against the other methods, paired by seed, and what its settings are worth.

    python benchmarks/arch_llm_search.py --tasks cifar10,cifar100 --seeds 50
    python benchmarks/arch_llm_search.py --space nb101 --evaluator embedded --budget 150 --tasks cifar10 --seeds 10
    python benchmarks/arch_llm_search.py --cost
    python benchmarks/arch_llm_search.py --methods agent,agent-vq --variants "steps=0;steps=30;draws=1000"

Methods are those of `bench`; a variant is `agent-vq` with other `SearchSettings`. On a complete table (NAS_AGENT_DATA)
a run ends at its best cell: the same figures, sooner. "At 20" is the best by validation of 20 evaluations, in the
mean over seeds; "less agent" the difference from the first method, paired over seeds, with a 95 % bootstrap interval,
* where it leaves zero out; test is that of the cell chosen by validation, opened after the runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from nas_agent.agents.generators import Brief
from nas_agent.agents.generators.arch_llm import proposing
from nas_agent.agents.generators.arch_llm.cells import SPACES
from nas_agent.agents.generators.arch_llm.generator import shipped
from nas_agent.agents.generators.arch_llm.proposing import (
    LISTED,
    UNLISTED,
    SearchSettings,
    SequenceGenerator,
    trained_model,
)
from nas_agent.bench.agent import Agent
from nas_agent.bench.compare import METHODS, Comparison, Setting, compare
from nas_agent.bench.methods import Method, Problem, Trace
from nas_agent.bench.statistics import best_so_far, estimate, evaluations_to, mean_of, median_of, paired
from nas_agent.spaces import load_space

POINTS = (20, 50, 100)
OURS = "agent,agent-vq,arch-llm,arch-llm-untuned,arch-llm-unfilled"


@dataclass(frozen=True)
class Variant:
    """The agent whose generator has other settings."""

    settings: SearchSettings

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        """Search once."""
        before = proposing.LISTED, proposing.UNLISTED
        proposing.LISTED = proposing.UNLISTED = self.settings
        try:
            return Agent((("generator", "vq"),)).run(problem, seed, budget)
        finally:
            proposing.LISTED, proposing.UNLISTED = before


def variant(text: str) -> Callable[[], Method]:
    """Read `steps=30,draws=400`."""
    given = {}
    for item in text.split(","):
        name, _, value = item.partition("=")
        given[name] = int(value) if value.isdigit() else float(value)
    return partial(Variant, SearchSettings(**given))


def table(found: Comparison) -> None:
    """Print one row a method."""
    task, first = found.evaluation.task, next(iter(found.traces))
    points = [point for point in POINTS if point < found.budget] + [found.budget]
    apart = " | ".join(f"at {point} | less {first}" for point in points)
    print(f"\n**{task.name} on {found.space}** ({found.evaluation.evaluator.provenance}), {len(found.seeds)} seeds\n")
    print(f"| method | {apart} | test | best cell found | at evaluation (median) | own CPU ms |")
    print("| --- |" + " --- |" * (2 * len(points) + 4))
    for name, runs in found.traces.items():
        cells = []
        for point in points:
            ours, theirs = (
                [float(best_so_far(task, run, point)[-1]) for run in found.traces[which]] for which in (name, first)
            )
            gap = paired("", ours, theirs, maximise=task.maximise)
            assert gap is not None
            mark = "*" if gap.mean.low > 0.0 or gap.mean.high < 0.0 else ""
            between = f"{gap.mean.value:+.3f} ({gap.mean.low:+.3f} to {gap.mean.high:+.3f}){mark}"
            cells += [f"{estimate(ours, mean_of).value:.3f}", "-" if name == first else between]
        spent = 1000.0 * sum(run.cpu_seconds for run in runs) / sum(len(run.values) for run in runs)
        print(f"| {name} | {' | '.join([*cells, *_ends(found, name)])} | {spent:.0f} |")


def _ends(found: Comparison, name: str) -> list[str]:
    """Test accuracy at the end, and when the best cell was found, where both are known."""
    values = [value for value in found.tests[name][found.budget] if value is not None]
    test = estimate(values, mean_of) if values else None
    shown = "-" if test is None else f"{test.value:.3f} ± {(test.high - test.low) / 2:.3f}"
    optimum = found.evaluation.optimum
    if optimum is None:
        return [shown, "-", "-"]
    needed = [evaluations_to(found.evaluation.task, run, optimum) for run in found.traces[name]]
    reached = sum(count <= found.budget for count in needed)
    middle = estimate(needed, median_of).value
    return [shown, f"{reached}/{len(needed)}", f"{middle:g}" if middle <= found.budget else f">{found.budget}"]


def cost(space_name: str) -> None:
    """Print the CPU time of one asking on one thread, fine-tuning included: the median of nine, after a first one."""
    space = load_space(space_name)
    drawn = list({one.id: one for one in (space.sample(Random(seed)) for seed in range(90))}.values())
    base, spent = trained_model(space_name, None), {}
    pool = space.enumerate()
    usual = UNLISTED if pool is None else LISTED
    for steps in (usual.steps, 0):
        generator, times = SequenceGenerator(base, replace(usual, steps=steps), seed=0), []
        for count in range(5 * usual.every, 15 * usual.every, usual.every):
            ids = tuple(one.id for one in drawn[:count])
            brief = Brief(space, [(one, 0.0) for one in drawn[:count]], ids, pool, None, order=ids)
            begun = time.process_time()
            found = generator.propose(brief, Random(0))
            times.append(1000.0 * (time.process_time() - begun))
        spent[steps] = statistics.median(times[1:])
    whole, asking = spent.values()
    print(
        f"{space_name}: {whole:.0f} ms an asking, {whole - asking:.0f} of them fine-tuning, every {usual.every} "
        f"evaluations; {len(found)} proposals of {usual.draws} draws"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="cifar100")
    parser.add_argument("--space", default="nb201")
    parser.add_argument("--evaluator", choices=("auto", "table", "embedded"), default="auto")
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--methods", default=OURS, help="the first one is what the others are compared with")
    parser.add_argument("--variants", default="", help="several, with ; between them")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cost", action="store_true", help="time the generator alone")
    given = parser.parse_args()
    if given.cost:
        for space in SPACES:
            if shipped(space).is_dir():
                cost(space)
        return
    chosen: dict[str, Callable[..., Method]] = {name: METHODS[name] for name in given.methods.split(",")}
    chosen |= {text: variant(text) for text in given.variants.split(";") if text}
    for task in given.tasks.split(","):
        setting = Setting(task, given.space, given.evaluator)
        known = setting()[1].optimum is not None
        table(
            compare(
                chosen, setting, seeds=range(given.seeds), budget=given.budget, jobs=given.jobs, stop_at_optimum=known,
                progress=lambda step: print(f"{step.done}/{step.total}", end="\r", file=sys.stderr, flush=True),
            )
        )  # fmt: skip


if __name__ == "__main__":
    main()
