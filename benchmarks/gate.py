"""Whether the gate leaves a good surrogate alone and stops a wrong one, on NAS-Bench-201 (needs NAS_AGENT_DATA).

    python benchmarks/gate.py --seeds 50 --alarms-only         # false alarms of the product's surrogate: three tasks
    python benchmarks/gate.py --seeds 20 --arms shuffled,reversed,blind --budget 100

Every arm is searched with and without the gate (`--set gate=false --set rejected_share=0`), by the same seeds:

good       the product's surrogate
shuffled   sure and wrong: predicts for each cell what it expects of another one, drawn once
reversed   sure and the wrong way round: predicts the opposite
blind      unsure and useless: is told outcomes under the ids of other cells, so that there is nothing to learn
healed     shuffled until it has been told of 30 outcomes, and the product's from then on: it should come back
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from statistics import mean, median

from nas_agent.bench.statistics import paired
from nas_agent.config import make_config
from nas_agent.engine import Engine
from nas_agent.records import Architecture, Json
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.told import NoTestSplit
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.event_log import EventLog
from nas_agent.tools.surrogates import Ranked, Surrogate
from nas_agent.tools.surrogates.structure import OPTIMISM
from nas_agent.tools.surrogates.transfer import Source

TASKS = ("cifar100", "cifar10", "ImageNet16-120")
ARMS = ("good", "shuffled", "reversed", "blind", "healed")
HEALED = 30  # outcomes until then
SOON = 30  # evaluations within which a wrong surrogate should have stepped back


class Wrong:
    """A surrogate that is asked and told through a permutation of the pool, and may turn its predictions round."""

    def __init__(self, inner: Surrogate, pool: Sequence[Architecture], arm: str, seed: int) -> None:
        self._inner, self._arm, self._told = inner, arm, 0
        others = list(pool)
        Random(f"{arm}/{seed}").shuffle(others)
        self._other = {member.id: other for member, other in zip(pool, others, strict=True)}

    @property
    def name(self) -> str:
        """Which fault it has."""
        return self._arm

    @property
    def agreement(self) -> dict[str, float]:
        """Of the surrogate inside."""
        return self._inner.agreement

    def inform(self, sources: Sequence[Source]) -> None:
        """Pass on."""
        self._inner.inform(sources)

    def observe(self, architecture: Architecture, score: float) -> None:
        """Learn the truth, or under the name of another cell."""
        self._told += 1
        self._inner.observe(self._other[architecture.id] if self._arm == "blind" else architecture, score)

    def predict(self, proposals: Sequence[Architecture]) -> list[Ranked]:
        """Expect what is true of other cells, or the opposite."""
        if self._arm == "reversed":
            expected = self._inner.predict(proposals)
            return [Ranked(item.index, -(item.mean or 0.0), item.deviation) for item in expected]
        return self._inner.predict(self._seen(proposals))

    def rank(
        self, proposals: Sequence[Architecture], keep: int, under_way: Sequence[Architecture] = ()
    ) -> list[Ranked]:
        """Choose by that, as optimistically as the product's surrogate."""
        if self._arm != "reversed":
            return self._inner.rank(self._seen(proposals), keep)
        bounds = [
            Ranked(item.index, item.mean, item.deviation, (item.mean or 0.0) + OPTIMISM * (item.deviation or 0.0))
            for item in self.predict(proposals)
        ]
        return sorted(bounds, key=lambda item: -(item.gain or 0.0))[:keep]

    def _seen(self, proposals: Sequence[Architecture]) -> list[Architecture]:
        healed = self._arm == "healed" and self._told >= HEALED
        return list(proposals) if healed else [self._other[architecture.id] for architecture in proposals]


@lru_cache(maxsize=4)
def loaded(task: str) -> tuple[NasBench201, Evaluation]:
    """Read the table once a process."""
    space = NasBench201()
    return space, load_evaluation(task, space, "table", data=None, epochs=None)


@dataclass(frozen=True)
class Searched:
    """One search."""

    curve: list[float]  # the best so far
    changes: list[Json]  # when the surrogate stepped back or came back
    rejected: Json  # false rejections


def search(job: tuple[str, str, int, int, bool, float]) -> Searched:
    """Search once."""
    arm, task, seed, budget, gate, share = job
    space, evaluation = loaded(task)
    settings = {"gate": gate, "rejected_share": share if gate else 0.0}
    config = make_config({"task": task, "space": "nb201", "budget": budget, "seed": seed, **settings})
    through = Evaluation(evaluation.task, evaluation.evaluator, NoTestSplit(), "bench")
    engine = Engine(config, space, through, EventLog())
    use = engine.services
    if arm != "good":
        assert use.surrogate is not None
        assert use.pool is not None
        use.surrogate = Wrong(use.surrogate, use.pool, arm, seed)
    result = engine.run()
    told = engine.journal.gate.to_dict()
    return Searched([float(value or 0.0) for value in result.curve], told["changes"], told["rejected"])


def reached(curve: Sequence[float], target: float) -> float:
    """Return after how many evaluations the best was at least the target."""
    return next((place for place, best in enumerate(curve, start=1) if best >= target - 1e-9), math.inf)


def evaluations(values: Sequence[float], budget: int) -> str:
    """Write a median; more than the budget where most runs did not get there."""
    middle = median(values)
    return f">{budget}" if math.isinf(middle) else f"{middle:g}"


def alarms(runs: dict[tuple[str, str, bool], list[Searched]], arms: Sequence[str], tasks: Sequence[str]) -> None:
    """Print when surrogates stepped back and came back, and what became of rejected proposals."""
    print(f"| surrogate | task | stepped back | by evaluation {SOON} | median at | came back | rejected | false |")
    print("|---|---|---|---|---|---|---|---|")
    for arm in arms:
        for task in tasks:
            found = runs[arm, task, True]
            first = [run.changes[0]["evaluations"] if run.changes else math.inf for run in found]
            of, stepped = len(found), sum(map(math.isfinite, first))
            soon = sum(place <= SOON for place in first)
            back = sum(len(run.changes) > 1 for run in found)
            rejected = [sum(run.rejected[key] for run in found) for key in ("measured", "false")]
            at = f"{median(first):g}" if stepped * 2 > of else "-"
            print(f"| {arm} | {task} | {stepped}/{of} | {soon}/{of} | {at} | {back} | {rejected[0]} | {rejected[1]} |")


def ends(
    runs: dict[tuple[str, str, bool], list[Searched]], arms: Sequence[str], tasks: Sequence[str], budget: int
) -> None:
    """Print what searches found with and without the gate."""
    print("\n| surrogate | task | to the best cell: gate, none | best at the end: gate, none | difference (95 %) |")
    print("|---|---|---|---|---|")
    for arm in arms:
        for task in tasks:
            with_gate, without = runs[arm, task, True], runs[arm, task, False]
            optimum = loaded(task)[1].optimum
            assert optimum is not None
            at = [evaluations([reached(run.curve, optimum) for run in of], budget) for of in (with_gate, without)]
            last = [[run.curve[-1] for run in of] for of in (with_gate, without)]
            difference = paired("best", last[0], last[1], maximise=True)
            assert difference is not None
            gain = difference.mean
            print(
                f"| {arm} | {task} | {at[0]}, {at[1]} | {mean(last[0]):.2f}, {mean(last[1]):.2f} | "
                f"{gain.value:+.2f} ({gain.low:+.2f} to {gain.high:+.2f}); better on {difference.better}, "
                f"worse on {difference.worse} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", default="good")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.05, help="of rejected proposals that are measured")
    parser.add_argument("--alarms-only", action="store_true", help="leave out the searches without the gate")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    arms, tasks = arguments.arms.split(","), arguments.tasks.split(",")
    if not set(arms) <= set(ARMS):
        parser.error(f"--arms: expected some of {', '.join(ARMS)}, got {arguments.arms}")
    keys = [
        (arm, task, gate)
        for task in tasks
        for arm in arms
        for gate in ((True,) if arguments.alarms_only else (True, False))
    ]
    jobs = [
        (arm, task, seed, arguments.budget, gate, arguments.share)
        for arm, task, gate in keys
        for seed in range(arguments.seeds)
    ]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        done = list(pool.map(search, jobs, chunksize=arguments.seeds))
    runs = {key: done[place * arguments.seeds :][: arguments.seeds] for place, key in enumerate(keys)}
    print(f"{arguments.seeds} seeds, {arguments.budget} evaluations\n")
    alarms(runs, arms, tasks)
    if not arguments.alarms_only:
        ends(runs, arms, tasks, arguments.budget)


if __name__ == "__main__":
    main()
