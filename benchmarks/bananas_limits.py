"""How much an encoding can save BANANAS at all: a predictor that knows every accuracy, and one that knows nothing.

    python benchmarks/bananas_limits.py --seeds 50

COLE's settings (20 initial draws, 10 evaluations for each refit, 32 mutants of the best 16; needs NAS_AGENT_DATA) with
walks of one, two and three mutations (the release: three). No encoding can make the mean curve cross 99 % of the
best before `knows all` does, and one that crosses after `knows nothing` misleads.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_agent.bench.bananas import Bananas, in_cole
from nas_agent.bench.compare import Setting, compare
from nas_agent.bench.document import document
from nas_agent.bench.encodings import Blocks, Encoding
from nas_agent.bench.methods import Problem
from nas_agent.bench.predictors import Belief
from nas_agent.records import Architecture, Measured
from nas_agent.spaces import Floats


@dataclass(frozen=True)
class Informed(Bananas):
    """Describes an architecture by its validation score."""

    def encoder(self, problem: Problem) -> Encoding:
        """Ask the evaluator behind the meter's back."""

        def scores(side: Sequence[Architecture]) -> Blocks:
            outcomes = [problem.evaluator.evaluate(one, seed=0) for one in side]
            values = [problem.task.score(one.value) if isinstance(one, Measured) else -np.inf for one in outcomes]
            return {"score": np.array(values)}

        return lambda known, queries: (scores(known), scores(queries))


class All:
    """Knows every score."""

    def __call__(self, known: Blocks, scores: Floats, queries: Blocks, noise: np.random.Generator) -> Belief:
        """Return the truth."""
        return queries["score"], np.zeros(len(queries["score"]))


class Nothing:
    """Knows none."""

    def __call__(self, known: Blocks, scores: Floats, queries: Blocks, noise: np.random.Generator) -> Belief:
        """Return the same for all."""
        return np.zeros(len(queries["score"])), np.ones(len(queries["score"]))


@dataclass(frozen=True)
class Make:
    """Makes one of them in a worker."""

    mutations: int
    predictor: All | Nothing

    def __call__(self) -> Bananas:
        """COLE's settings but for these two."""
        cole = in_cole(["path"])["bananas-path"]()
        settings = {name: getattr(cole, name) for name in ("initial", "refit", "parents", "candidates")}
        return Informed(**settings, mutations=self.mutations, predictor=self.predictor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--tasks", default="cifar100")
    parser.add_argument("--jobs", type=int)
    args = parser.parse_args()
    for task in args.tasks.split(","):
        print(f"\n**{task}**, {args.seeds} seeds\n")
        print("| mutations | by | knows nothing | knows all | fewer |\n| --- | --- | --- | --- | --- |")
        for mutations in (1, 2, 3):
            methods = {"nothing": Make(mutations, Nothing()), "all": Make(mutations, All())}
            compared = compare(
                methods, Setting(task), seeds=range(args.seeds), budget=500, jobs=args.jobs, stop_at_optimum=True,
                test_curves=True,
            )  # fmt: skip
            for crossing in document(compared, command="")["crossings"]:
                nothing, known = (crossing["methods"][name] for name in ("nothing", "all"))
                fewer = known["fewer"]
                print(
                    f"| {mutations} | {crossing['split']} | {nothing['evaluations']['value']} | "
                    f"{known['evaluations']['value']} | "
                    f"{fewer['value']:.0f} % ({fewer['low']:.0f} to {fewer['high']:.0f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
