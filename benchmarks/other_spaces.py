"""The agent and the baselines on every published benchmark but NAS-Bench-201 (needs NAS_AGENT_DATA).

    python benchmarks/other_spaces.py --seeds 20
    python benchmarks/other_spaces.py --seeds 5 --spaces trans101-micro,trans101-macro --tasks jigsaw

Each search is over the measured rows. A rank is that of the best architecture found, 1 being the best row; where
several rows spell one architecture, one of them answers for it, so rank 1 may be out of reach: "found" counts the
seeds that found the best that can be. Differences are the agent's rank less the other's, paired over seeds, with a
95 % bootstrap interval: ahead or behind where it leaves zero out, else level.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from nas_agent.bench.compare import Comparison, Setting, compare, find_methods
from nas_agent.bench.statistics import best_so_far, paired
from nas_agent.records import Task
from nas_agent.spaces import Floats, load_space
from nas_agent.tools.benchmarks.base import Benchmark
from nas_agent.tools.benchmarks.registry import BENCHMARKS, benchmark_of
from nas_agent.tools.tables import find_table

METHODS = ("agent", "random", "evolution", "local-search", "tpe")
POINTS = (20, 50, 100)
COMPARED = (50, 100)


def chosen(spaces: Sequence[str], tasks: Sequence[str]) -> Iterator[tuple[Benchmark, Task]]:
    """Yield what is to be measured, and say on stderr which files are not there."""
    missing = set()
    for benchmark in BENCHMARKS:
        if benchmark.space == "nb201" or (spaces and benchmark.space not in spaces):
            continue
        for task in benchmark.tasks:
            if tasks and task.name not in tasks:
                continue
            if benchmark_of(task.name, load_space(benchmark.space)) != (benchmark, task):
                continue  # another benchmark answers for this task in this space
            if find_table(None, benchmark.file) is not None:
                yield benchmark, task
            elif benchmark.file not in missing:
                missing.add(benchmark.file)
                print(f"left out: {benchmark.space}, no {benchmark.file}", file=sys.stderr)


def measured_scores(benchmark: Benchmark, task: Task) -> Floats:
    """Return the score of every measured row, ascending."""
    path = find_table(None, benchmark.file)
    assert path is not None
    table = benchmark.load(path, task, load_space(benchmark.space), None)
    return np.sort([task.score(row.value) for row in table.members()])


def ranks(comparison: Comparison, method: str, scores: Floats) -> Floats:
    """Rank of the best found at each point, (seeds, points); one worse than the last row while all have failed."""
    task = comparison.evaluation.task
    found = []
    for trace in comparison.traces[method]:
        curve = [task.score(value) for value in best_so_far(task, trace, max(POINTS))[np.array(POINTS) - 1]]
        found.append([1 + len(scores) - np.searchsorted(scores, v, side="right") if v == v else np.inf for v in curve])
    return np.minimum(np.array(found, dtype=np.float64), len(scores) + 1)


def verdict(agent: Floats, other: Floats) -> str:
    """Write the paired difference of ranks and what it means."""
    difference = paired("rank", agent.tolist(), other.tolist(), maximise=False)
    assert difference is not None
    mean = difference.mean
    word = "level" if not difference.decided else "ahead" if mean.value < 0 else "behind"
    return f"{mean.value:+.1f} [{mean.low:+.1f}, {mean.high:+.1f}] {word}"


def report(benchmark: Benchmark, comparison: Comparison, scores: Floats) -> None:
    """Print a line for each method."""
    evaluation = comparison.evaluation
    assert evaluation.optimum is not None
    best = evaluation.task.score(evaluation.optimum)
    rank = 1 + len(scores) - int(np.searchsorted(scores, best, side="right"))
    found = {method: ranks(comparison, method, scores) for method in comparison.traces}
    name = f"{benchmark.space} {evaluation.task.name}"
    for method, of_seeds in found.items():
        means = " | ".join(f"{mean:.1f}" for mean in of_seeds.mean(axis=0))
        hits = f"{sum(of_seeds[:, -1] <= rank)}/{len(of_seeds)}"
        compared = ["" for _ in COMPARED]
        if method != "agent" and "agent" in found:
            columns = [POINTS.index(point) for point in COMPARED]
            compared = [verdict(found["agent"][:, column], of_seeds[:, column]) for column in columns]
        print(f"| {name} | {len(scores)} | {rank} | {method} | {means} | {hits} | {' | '.join(compared)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--spaces", default="", help="some of them, with commas between (default: all)")
    parser.add_argument("--tasks", default="", help="some of them, with commas between (default: all)")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--jobs", type=int, default=None, help="processes (default: one for each core)")
    arguments = parser.parse_args()
    methods = find_methods(arguments.methods.split(","))
    work = list(chosen(*([name for name in text.split(",") if name] for text in (arguments.spaces, arguments.tasks))))
    if not work:
        parser.error("nothing to measure: no benchmark of these names whose file is in the data folder")
    at = " | ".join(f"at {point}" for point in POINTS)
    against = " | ".join(f"agent less this at {point}" for point in COMPARED)
    print(f"| space and task | rows | best rank | method | {at} | found | {against} |")
    print("|---|" + "---|" * (4 + len(POINTS) + len(COMPARED)))
    for benchmark, task in work:
        setting = Setting(task.name, benchmark.space, "table")
        seeds = range(arguments.seeds)
        comparison = compare(methods, setting, seeds=seeds, budget=max(POINTS), jobs=arguments.jobs)
        report(benchmark, comparison, measured_scores(benchmark, task))


if __name__ == "__main__":
    main()
