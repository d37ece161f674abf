"""What a language model that gives wrong principles at every call costs a search of NAS-Bench-201.

    python benchmarks/wrong_principles.py --task cifar100 --seeds 50

The models are scripts that know the whole table and answer every prompt with eight constraints:

lying       drawn anew at each call from those that shut out the best cell and lower the mean of the table
misleading  likewise from those that shut out the best cell but raise the mean: the hardest to find out
oracle      those that leave the best cell and raise the mean most

Runs end at the best cell by validation. Needs NAS_AGENT_DATA.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import lru_cache
from random import Random

import numpy as np
from pydantic import BaseModel

from nas_agent import Search
from nas_agent.agents.chat import PLAIN, Manner, Reply, structured
from nas_agent.bench.methods import BudgetSpent, Meter, Problem, Trace
from nas_agent.bench.statistics import evaluations_to, paired, reached, threshold_of
from nas_agent.errors import PrincipleError
from nas_agent.principles.coding import Coding
from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.refinement import satisfiable
from nas_agent.records import Json, Measured
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.told import NoTestSplit
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation

ARMS = ("no model", "lying", "misleading", "oracle")
MOST = 8  # principles in a reply
DECISIONS = NasBench201.decisions


class Knowing:
    """A chat model that answers from the table instead of the prompt."""

    def __init__(self, arm: str, constraints: list[Constraint], seed: int) -> None:
        self.name = arm
        self._constraints, self._rng = constraints, Random(f"{arm}/{seed}")

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        """Give eight constraints that some architecture obeys: the first ones of an oracle, others by chance."""
        known, chosen = list(self._constraints), list[Constraint]()
        if self.name != "oracle":
            self._rng.shuffle(known)
        for constraint in known:  # a reply that contradicts itself would be sent back
            if len(chosen) < MOST and satisfiable(DECISIONS, [*chosen, constraint]):
                chosen.append(constraint)
        principles = [{"text": f"Trust me: {c}.", "constraint": as_asked(c)} for c in chosen]
        answer = {"information_flow": "It flows.", "patterns": "Some.", "principles": principles}
        return structured(Reply(json.dumps(answer)), schema)


def as_asked(constraint: Constraint) -> Json:
    """Write a constraint as the prompt wants it."""
    data = constraint.to_dict()
    if isinstance(constraint, When):
        del data["then"]["kind"]
    return data


def candidates(space: NasBench201) -> Iterator[Constraint]:
    """Yield what can be said in one sentence: allowed options, counts, and single conditions."""
    options = space.decisions[0].options
    for decision, size in itertools.product(space.decisions, (1, 2, 3, 4)):
        yield from (Allowed(decision.name, kept) for kept in itertools.combinations(options, size))
    for size, number in itertools.product((1, 2), range(1, len(space.decisions))):
        for group in itertools.combinations(options, size):
            yield Count(group, at_least=number)
            yield Count(group, at_most=number - 1)
    for first, second in itertools.permutations(space.decisions, 2):
        for option, kept in itertools.product(options, options):
            yield When(first.name, (option,), Allowed(second.name, (kept,)))


@lru_cache(maxsize=4)
def loaded(task: str) -> tuple[NasBench201, Evaluation, dict[str, list[Constraint]]]:
    """Read the table and sort the candidates by what they are, once a process."""
    space = NasBench201()
    evaluation = load_evaluation(task, space, "table", data=None, epochs=None)
    pool = evaluation.evaluator.pool()
    assert pool is not None
    measured = [o for o in (evaluation.evaluator.evaluate(cell, seed=0) for cell in pool) if isinstance(o, Measured)]
    values = np.array([outcome.value for outcome in measured])
    coding = Coding(space.decisions)
    codes = coding.encode([space.choices(outcome.architecture) for outcome in measured])
    best = int(values.argmax())
    found: dict[str, list[tuple[float, Constraint]]] = {"lying": [], "misleading": [], "oracle": []}
    for constraint in candidates(space):
        with suppress(PrincipleError):
            constraint.check(space.decisions)
            obeys = coding.holds(constraint, codes)
            if obeys.all() or not obeys.any():
                continue
            effect = float(values[obeys].mean() - values[~obeys].mean())
            kind = ("misleading" if effect > 0 else "lying") if not obeys[best] else "oracle" if effect > 0 else ""
            if kind:
                found[kind].append((effect, constraint))
    order = {kind: [c for _, c in sorted(of, key=lambda pair: -pair[0])] for kind, of in found.items()}
    return space, evaluation, order


def search(job: tuple[str, str, int, int, int]) -> Trace:
    """Search once, as `nas-agent bench` does, with the arm's model."""
    arm, task, seed, budget, every = job
    space, evaluation, known = loaded(task)
    meter = Meter(Problem(space, evaluation.task, evaluation.evaluator, evaluation.optimum), seed, budget)
    model = Knowing(arm, known[arm], seed) if arm in known else None
    through = Evaluation(evaluation.task, meter, NoTestSplit(), "bench")
    settings = {"budget": budget, "seed": seed, "adapt_every": every}
    run = Search(evaluation.task, space=space, evaluation=through, model=model, **settings)
    with suppress(BudgetSpent):
        run.run()
    problems = [event["why"] for event in run.journal.log.events if event["type"] == "model_failure"]
    assert not problems, problems  # what was not understood would not have been tested
    return meter.trace(model_calls=run.journal.model_use.calls)


def report(task: str, arms: list[str], traces: dict[str, list[Trace]], budget: int, every: int) -> None:
    """Print medians, ratios to the arm without a model, and paired differences."""
    _, evaluation, _ = loaded(task)
    optimum = evaluation.optimum
    assert optimum is not None
    print(f"\n{task}, {len(traces[arms[0]])} seeds, budget {budget}, a call every {every} evaluations")
    print("| to | model | median evaluations (95 %) | mean | ratio of means | paired mean difference (95 %) | calls |")
    print("|---|---|---|---|---|---|---|")
    for label, tolerance in (("the optimum", 0.0), ("99 % of it", 0.01)):
        threshold = threshold_of(evaluation.task, optimum, tolerance)
        needed = {
            arm: [min(evaluations_to(evaluation.task, t, threshold), float(budget)) for t in traces[arm]]
            for arm in arms
        }
        for arm in arms:
            of = reached(evaluation.task, traces[arm], threshold, budget)
            low, high = (f"{x:g}" if math.isfinite(x) else f">{budget}" for x in (of.median.low, of.median.high))
            ratio = of.mean.value / (sum(needed[arms[0]]) / len(needed[arms[0]]))
            difference = paired("evaluations", needed[arm], needed[arms[0]], maximise=False)
            assert difference is not None
            mean = difference.mean
            calls = sum(trace.model_calls for trace in traces[arm])
            print(
                f"| {label} | {arm} | {of.median.value:g} ({low} to {high}) | {of.mean.value:.2f} | {ratio:.3f} | "
                f"{mean.value:+.2f} ({mean.low:+.2f} to {mean.high:+.2f}); better on {difference.better}, "
                f"worse on {difference.worse} | {calls} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="cifar100")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--adapt-every", type=int, default=10, help="evaluations between two lies")
    parser.add_argument("--arms", default=",".join(ARMS), help="the first one is what the others are compared with")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    arms = [arm.strip() for arm in arguments.arms.split(",")]
    common = arguments.budget, arguments.adapt_every
    jobs = [(arm, arguments.task, seed, *common) for seed in range(arguments.seeds) for arm in arms]
    if arguments.jobs == 1:
        done = [search(job) for job in jobs]
    else:
        with ProcessPoolExecutor(arguments.jobs) as pool:
            done = list(pool.map(search, jobs, chunksize=len(arms)))
    traces = {arm: [t for (a, *_), t in zip(jobs, done, strict=True) if a == arm] for arm in arms}
    report(arguments.task, arms, traces, *common)


if __name__ == "__main__":
    main()
