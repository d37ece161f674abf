"""The agent on a space that it was not made with: TransNAS-Bench-101 micro (needs NAS_AGENT_DATA).

    python benchmarks/other_spaces.py --seeds 20

The space is written here as a user would write it: decisions, a graph, a size. The search is
over the 711 measured cells of each task. Prints the mean rank (1 is the best cell) of the best cell found by
each method after 20, 50 and 100 evaluations, and how many seeds found the best one within 100.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from nas_agent.bench.compare import METHODS, compare
from nas_agent.records import Architecture, Failed, Measured, Outcome, Provenance, Task
from nas_agent.run import NoTestSplit
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.tools.evaluators.base import Evaluation

OPERATIONS = (
    Operation("none", "zero"),
    Operation("skip", "identity", kernel=1),
    Operation("conv1x1", "conv", kernel=1, cost=1.0),
    Operation("conv3x3", "conv", kernel=3, cost=9.0),
)
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
TASKS = ("class_scene", "class_object", "jigsaw", "room_layout", "segmentsemantic", "normal", "autoencoder")


class Trans101Micro(CategoricalSpace):
    """Cells of four nodes and six edges with four operations."""

    name: ClassVar[str] = "trans101-micro"
    decisions: ClassVar[tuple[Decision, ...]] = tuple(
        Decision(f"edge_{start}_{end}", tuple(operation.name for operation in OPERATIONS)) for start, end in EDGES
    )

    def graph(self, architecture: Architecture) -> CellGraph:
        """Return the cell as a labelled graph."""
        choices = self.choices(architecture).values()
        return CellGraph(4, tuple(Edge(s, e, o) for (s, e), o in zip(EDGES, choices, strict=True)), OPERATIONS)

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        """Return the cell's weights per squared channel count, and one for what every network has."""
        cost = {operation.name: operation.cost for operation in OPERATIONS}
        return (1.0 + sum(cost[option] for option in self.choices(architecture).values()),)


class Rows:
    """Answers for the measured cells."""

    name = "rows"
    provenance: Provenance = "measured"
    fidelity = "as published"

    def __init__(self, space: Trans101Micro, table: Path, task: str) -> None:
        names = [operation.name for operation in OPERATIONS]
        with np.load(table) as file:
            self.values: dict[str, float] = {}
            self._pool = []
            for row, value in zip(file["arch"], file[f"val_{task}"], strict=True):
                cell = space.build({f"edge_{s}_{e}": names[k] for (s, e), k in zip(EDGES, row, strict=True)})
                self.values[cell.id] = float(value)
                self._pool.append(cell)

    def pool(self) -> Sequence[Architecture]:
        """Return the measured cells."""
        return self._pool

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Look a cell up."""
        value = self.values.get(architecture.id)
        if value is None:
            return Failed(architecture, "this cell was not measured; propose another one", 0.0, seed, self.name)
        return Measured(architecture, value, self.fidelity, 0.0, seed, self.name)


@dataclass(frozen=True)
class Load:
    """Loads space and task in each worker."""

    task: str

    def __call__(self) -> tuple[Trans101Micro, Evaluation]:
        """Read the table of the task."""
        space = Trans101Micro()
        rows = Rows(space, Path(os.environ["NAS_AGENT_DATA"]) / "trans101_micro_711.npz", self.task)
        task = Task(self.task, f"TransNAS-Bench-101 {self.task}", metric=self.task, unit="")
        return space, Evaluation(task, rows, NoTestSplit(), "711 measured cells", max(rows.values.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--methods", default="agent,random,evolution,local-search,tpe")
    arguments = parser.parse_args()
    names = arguments.methods.split(",")
    print("| task | method | rank at 20 | at 50 | at 100 | best found |\n|---|---|---|---|---|---|")
    for task in TASKS:
        _, evaluation = Load(task)()
        assert isinstance(evaluation.evaluator, Rows)
        ordered = np.sort(np.array(list(evaluation.evaluator.values.values())))
        found = compare({n: METHODS[n] for n in names}, Load(task), seeds=range(arguments.seeds), budget=100)
        for name in names:
            ranks = []
            for trace in found.traces[name]:
                values = [-np.inf if value is None else value for value in trace.values]
                best = [max(values[:point]) for point in (20, 50, 100)]
                ranks.append([1 + len(ordered) - int(np.searchsorted(ordered, b, side="right")) for b in best])
            mean, hits = np.mean(ranks, axis=0), sum(rank[-1] == 1 for rank in ranks)
            print(
                f"| {task} | {name} | {mean[0]:.1f} | {mean[1]:.1f} | {mean[2]:.1f} | {hits}/{len(ranks)} |", flush=True
            )


if __name__ == "__main__":
    main()
