"""How often a planted principle survives, false or true, in a real search on NAS-Bench-201 (needs NAS_AGENT_DATA).

    python benchmarks/planted_principles.py --seeds 50

A principle is active from the start, as if a person or another task had brought it. False ones should be gone
(retired, or revised into something else) by evaluation 30, true ones should still be there at evaluation 60.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache

from nas_agent import Search
from nas_agent.principles.constraint import Allowed, Constraint, Count
from nas_agent.principles.principle import Principle
from nas_agent.records import Json
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.journal import Journal

TASKS = ("cifar100", "cifar10", "ImageNet16-120")
PLANTED: dict[str, tuple[Constraint, int]] = {
    "false: edge_2_3 none or pooling": (Allowed("edge_2_3", ("none", "avg_pool_3x3")), 30),
    "false: edge_0_1 none or skip": (Allowed("edge_0_1", ("none", "skip_connect")), 30),
    "false: at most one convolution": (Count(("nor_conv_1x1", "nor_conv_3x3"), at_most=1), 30),
    "true: edge_2_3 a convolution": (Allowed("edge_2_3", ("nor_conv_1x1", "nor_conv_3x3")), 60),
    "true: at least three convolutions": (Count(("nor_conv_1x1", "nor_conv_3x3"), at_least=3), 60),
}


class Planted:
    """A memory that recalls one principle."""

    def __init__(self, constraint: Constraint) -> None:
        self.principle = Principle("X", 1, "Planted.", constraint, "person", "active")

    def recall(self) -> list[Json]:
        """Return the planted principle."""
        return [
            {
                "kind": "principle",
                "principle": self.principle.to_dict(),
                "task": "none",
                "why": "planted",
                "provenance": "measured",
            }
        ]

    def remember(self, journal: Journal) -> str:
        """Keep nothing."""
        return ""


@lru_cache(maxsize=4)
def loaded(task: str) -> tuple[NasBench201, Evaluation]:
    """Read the table once a process."""
    space = NasBench201()
    return space, load_evaluation(task, space, "table", data=None, epochs=None)


def gone(job: tuple[str, str, int]) -> tuple[str, str, bool]:
    """Search under the planted principle; tell whether it was retired or revised."""
    name, task, seed = job
    constraint, budget = PLANTED[name]
    space, evaluation = loaded(task)
    found = evaluation.task
    search = Search(found, space=space, evaluation=evaluation, budget=budget, seed=seed, memory=Planted(constraint))
    search.run()
    (planted,) = [p for p in search.journal.library.principles if p.author == "person"]
    return name, task, planted.status == "retired" or planted.version > 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    jobs = [(name, task, seed) for name in PLANTED for task in TASKS for seed in range(arguments.seeds)]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(gone, jobs, chunksize=5))
    print(f"| planted principle, gone after so many evaluations | {' | '.join(TASKS)} |\n|---|---|---|---|")
    for name, (_, budget) in PLANTED.items():
        shares = [[g for n, t, g in results if (n, t) == (name, task)] for task in TASKS]
        print(f"| {name}, {budget} | {' | '.join(f'{100 * sum(s) / len(s):.0f} %' for s in shares)} |")


if __name__ == "__main__":
    main()
