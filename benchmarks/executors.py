"""What executors cost and bring: per evaluation, on digits with more workers, and by how many are under way.

    python benchmarks/executors.py --cost                      # an evaluator that does nothing: inline, pool, ray
    python benchmarks/executors.py --digits --workers 1,2      # the same search by one and by two workers
    NAS_AGENT_DATA=DIR python benchmarks/executors.py --ahead  # what it costs to know outcomes later, on a table

`--cost` hands over work and takes the outcomes, without a search around it. `--digits` prints evaluations an hour from
the first to the last outcome, the start of workers left out, and whether the searches were the same. `--ahead` prints
the mean best validation accuracy after some evaluations; evaluations are counted, not time.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from random import Random

from nas_agent.config import Config
from nas_agent.records import Architecture, Measured, Outcome, Provenance
from nas_agent.run import Search, start
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.event_log import read_events
from nas_agent.tools.executors.arrivals import Arrivals
from nas_agent.tools.executors.base import Executor, Work
from nas_agent.tools.executors.inline import InlineExecutor
from nas_agent.tools.executors.pool import PoolExecutor
from nas_agent.tools.executors.ray_cluster import RayExecutor

SPACE = NasBench201()


class Nothing:
    """Answers at once."""

    name = "nothing"
    provenance: Provenance = "measured"
    fidelity = "none"

    def pool(self) -> None:
        """Leave the space as it is."""
        return None

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Measure nothing."""
        return Measured(architecture, 50.0, self.fidelity, 0.0, seed, self.name)


def cost(asked: argparse.Namespace) -> None:
    """Time works through each executor, so many under way."""
    # Workers of the cluster find the class by its module, which is not this script.
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])
    nothing = importlib.import_module(Path(__file__).stem).Nothing()
    kinds = {"inline": 1, "pool of 1": 1, "pool of 2": 2} | ({} if asked.no_ray else {"ray, 2 workers here": 2})
    print(f"{asked.works} evaluations that do nothing, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| executor | start, s | ms each, 1 under way | 8 under way | and written to `arrivals.jsonl` |")
    print("|---|---|---|---|---|")
    for name, workers in kinds.items():
        begun = time.perf_counter()
        executor: Executor = InlineExecutor(nothing)
        if name.startswith("pool"):
            executor = PoolExecutor([nothing] * workers)
        elif name.startswith("ray"):
            executor = RayExecutor(nothing, "local", workers, most=8, local_cpus=workers)
        started = time.perf_counter() - begun
        with closing(executor), tempfile.TemporaryDirectory() as folder:
            cells = [each(executor, asked.works, 1), each(executor, asked.works, 8)]
            executor.begin(Arrivals(Path(folder, "arrivals.jsonl")).add)
            cells.append(each(executor, asked.works, 8))
        print(f"| {name} | {started:.1f} | " + " | ".join(f"{1e3 * cell:.2f}" for cell in cells) + " |", flush=True)


def each(executor: Executor, count: int, under_way: int) -> float:
    """Return seconds an evaluation."""
    rng = Random(0)
    works = [Work(SPACE.sample(rng), number) for number in range(count)]
    begun = time.perf_counter()
    for number, work in enumerate(works):
        executor.submit(work)
        if number >= under_way - 1:
            executor.take(works[number - under_way + 1])
    for work in works[max(0, count - under_way + 1) :]:
        executor.take(work)
    return (time.perf_counter() - begun) / count


def digits(asked: argparse.Namespace) -> None:
    """Run the same search by each number of workers."""
    first: list[tuple[str, float | None]] = []
    hourly: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NAS_AGENT_HOME"] = f"{scratch}/home"
        for workers in asked.workers:
            out = Path(scratch, f"{workers}")
            config = Config(
                task="digits", budget=asked.budget, epochs=asked.epochs, workers=workers, ahead=max(asked.workers),
                out=out, memory=False, recall="none",
            )  # fmt: skip
            load, cpu = os.getloadavg()[0], sum(os.times()[:4])
            result = start(config)
            arrived = read_events(Path(result.run or "") / "arrivals.jsonl")[0]
            times = sorted(event["wall"]["time"] for event in arrived)
            skipped = max(asked.workers)  # the first ones wait for their worker to load torch
            hourly[workers] = 3600 * (len(times) - skipped) / (times[-1] - times[skipped - 1])
            used = (sum(os.times()[:4]) - cpu) / asked.budget
            found = [(outcome.architecture.id, getattr(outcome, "value", None)) for outcome in result.outcomes]
            first = first or found
            print(
                f"{workers} workers: {hourly[workers]:.0f} evaluations an hour, {used:.1f} CPU s each, load before "
                f"{load:.1f}; {'the same search' if found == first else 'ANOTHER SEARCH'}",
                flush=True,
            )
    base = asked.workers[0]
    for workers in asked.workers[1:]:
        print(f"{workers} workers: {hourly[workers] / hourly[base]:.2f} times as many as {base}")


def ahead(asked: argparse.Namespace) -> None:
    """Search a table with more and more under way."""
    after = (10, 20, 40)
    print(
        f"{asked.task}, {asked.seeds} seeds: mean best validation accuracy (standard error) after so many evaluations"
    )
    print("| under way | " + " | ".join(map(str, after)) + " |")
    print("|---|" + "---|" * len(after))
    for under_way in (1, 2, 4, 8, 16):
        curves = [
            Search(asked.task, budget=max(after), seed=seed, ahead=under_way, recall="none").run().curve
            for seed in range(asked.seeds)
        ]
        cells = []
        for count in after:
            values = [curve[count - 1] or 0.0 for curve in curves]
            error = statistics.stdev(values) / len(values) ** 0.5
            cells.append(f"{statistics.mean(values):.2f} ({error:.2f})")
        print(f"| {under_way} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--works", type=int, default=500)
    parser.add_argument("--no-ray", action="store_true")
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--workers", type=lambda text: [int(part) for part in text.split(",")], default=[1, 2])
    parser.add_argument("--budget", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--ahead", action="store_true")
    parser.add_argument("--task", default="cifar100")
    parser.add_argument("--seeds", type=int, default=20)
    asked = parser.parse_args()
    for name, do in (("cost", cost), ("digits", digits), ("ahead", ahead)):
        if getattr(asked, name):
            do(asked)


if __name__ == "__main__":
    main()
