"""What the search itself costs per evaluation, with and without a run folder, and how that grows.

    python benchmarks/overhead.py                 # 200 evaluations each way, then 1,000 for the growth
    python benchmarks/overhead.py --profile       # and where the time goes

The evaluator is a table (NAS_AGENT_DATA) or the embedded benchmark: it answers in microseconds. The clock runs
from the first outcome to the end of the search, the write to memory included. A first short run pays for imports
and for loading the memory's embedding model. Milliseconds; medians over the repeats.
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import os
import pstats
import statistics
import tempfile
import time
from pathlib import Path

from nas_agent.config import Config
from nas_agent.records import Json
from nas_agent.run import Search, start


def measure(folder: Path | None, budget: int, seed: int) -> tuple[float, float, list[float]]:
    """Return wall and CPU seconds from the first outcome to the end, and when each outcome was logged."""
    marks: list[float] = []
    begun: list[tuple[float, float]] = []

    def listen(event: Json) -> None:
        if event["type"] == "outcome":
            begun.append((time.perf_counter(), time.process_time()))
            marks.append(time.perf_counter())

    if folder is None:
        Search("cifar100", budget=budget, seed=seed, listeners=[listen]).run()
    else:
        start(Config(task="cifar100", budget=budget, seed=seed, out=folder, recall="all"), [listen])
    wall, cpu = begun[0]
    return time.perf_counter() - wall, time.process_time() - cpu, marks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--long", type=int, default=1000, help="evaluations of the run that shows the growth")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NAS_AGENT_HOME"] = f"{scratch}/home"
        runs = Path(scratch, "runs")
        for place in (runs, None):
            measure(place, 30, 99)
        for name, place in (("run folder, checkpoints, memory, event log", runs), ("in memory, as in bench", None)):
            results = [measure(place, arguments.budget, seed) for seed in range(arguments.repeats)]
            wall, cpu = (statistics.median(r[i] for r in results) * 1e3 / arguments.budget for i in (0, 1))
            print(f"{name}: {wall:.1f} ms wall, {cpu:.1f} ms CPU per evaluation ({arguments.budget} evaluations)")
        for name, place in (("run folder", runs), ("in memory", None)):
            _, _, marks = measure(place, arguments.long, 0)
            steps = [1e3 * (b - a) for a, b in itertools.pairwise(marks)]
            early, late = statistics.mean(steps[75:125]), statistics.mean(steps[-50:])
            print(
                f"growth, {name}: {early:.1f} ms around the 100th, {late:.1f} ms around the {arguments.long}th, "
                f"ratio {late / early:.2f}"
            )
        if arguments.profile:
            for name, place in (("run folder", runs), ("in memory", None)):
                print(f"\n== profile, {name}")
                with cProfile.Profile() as profile:
                    measure(place, arguments.budget, 0)
                pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
