"""What was tried for transfer inside NAS-Bench-201: how a source is used, on the six pairs (needs NAS_AGENT_DATA).

    NAS_AGENT_DATA=DIR python benchmarks/transfer_variants.py            # two minutes on one core

The surrogate alone, without graph and principles: it is told of the 50 best rows of the source, some architectures of
it are measured first, then the one it likes best. Prints evaluations to the target's best cell (and to the first cell
of the top 0.1 %) for each pair; then the same "thinned": the median of six searches with a random tenth of the source's
table left out. Last, how far apart the best 50 cells of each task are, and random ones.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from random import Random
from typing import Literal

import numpy as np

from nas_agent.records import Architecture
from nas_agent.spaces import Floats
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.benchmarks.nb201 import BENCHMARKS
from nas_agent.tools.surrogates.blocks import Scaler, stack
from nas_agent.tools.surrogates.kernel import Settings
from nas_agent.tools.surrogates.structure import CellSurrogate
from nas_agent.tools.surrogates.transfer import Source, normal_scores
from nas_agent.tools.tables import find_table

SHORT = {"cifar10": "C10", "cifar100": "C100", "ImageNet16-120": "IN16"}
PAIRS = tuple(
    (source, target) for target in ("cifar100", "cifar10", "ImageNet16-120") for source in SHORT if source != target
)
BUDGET = 100
THINNED = 6
ROWS = 50
SETS = 200


@dataclass(frozen=True)
class Variant:
    """One way to use a source."""

    name: str
    first: Literal["ranked", "expected", "mixed"] = "mixed"  # mixed: all but the last by what is expected
    number: int = 3  # measured before the surrogate is asked
    rows: int = ROWS
    labels: Literal["true", "shuffled", "reversed"] = "true"
    settings: Settings | None = None


VARIANTS = (
    Variant("no source", rows=0, number=0),
    Variant("kept"),
    *(Variant(f"{n} first as ranked", "ranked", n) for n in (1, 2, 3, 4, 5)),
    *(Variant(f"{n} first as expected", "expected", n) for n in (2, 3, 4, 5)),
    *(Variant(f"{rows} rows", rows=rows) for rows in (20, 30, 40)),
    Variant("level .3", settings=Settings(constant=0.3)),
    Variant("level 3", settings=Settings(constant=3.0)),
    Variant("no size trend", settings=Settings(slope=0.0)),
    Variant("noise .1", settings=Settings(noise=0.1)),
    Variant("noise .4", settings=Settings(noise=0.4)),
    Variant("reversed labels", labels="reversed"),
    Variant("shuffled labels, not refused", labels="shuffled"),
)


class Tables:
    """The cells and their values on each task."""

    def __init__(self) -> None:
        space, benchmark = NasBench201(), BENCHMARKS[0]
        path = find_table(None, benchmark.file)
        if path is None:
            raise SystemExit(f"no {benchmark.file} found; set NAS_AGENT_DATA to the folder that holds it")
        self.space = space
        self.values: dict[str, Floats] = {}
        self.top: dict[str, float] = {}  # value of the top 0.1 % of all cells
        for task in benchmark.tasks:
            table = benchmark.load(path, task, space, None)
            self.cells = list(table.pool())
            self.values[task.name] = np.array([row.value for row in table.representatives()])
            every = sorted((row.value for row in table.members()), reverse=True)
            self.top[task.name] = every[len(every) // 1000 - 1]


def ranking(tables: Tables, variant: Variant, source: str, seed: int | None) -> list[int]:
    """Return the places of the source's best cells, best first; with a seed, after a tenth was left out."""
    values = tables.values[source]
    if variant.labels == "reversed":
        values = -values
    elif variant.labels == "shuffled":
        values = np.random.default_rng(0 if seed is None else seed).permutation(values)
    order = [int(place) for place in np.argsort(-values, kind="stable")]
    if seed is not None:
        left_out = set(Random(seed).sample(range(len(order)), len(order) // 10))
        order = [place for place in order if place not in left_out]
    return order[: variant.rows]


def search(tables: Tables, variant: Variant, source: str, target: str, seed: int | None) -> tuple[int, int]:
    """Return the evaluations to the target's best cell and to the first of the top 0.1 %; BUDGET + 1: never."""
    order, values, cells = ranking(tables, variant, source, seed), tables.values[target], tables.cells
    surrogate = CellSurrogate(tables.space, cells, settings=variant.settings)
    rows = tuple(cells[place] for place in order)
    if rows:
        surrogate.inform([Source(source, rows, normal_scores(range(1, len(rows) + 1), len(cells)))])
    waiting = beginning(variant, surrogate, order, cells) if rows else []
    left = dict(enumerate(cells))
    top = BUDGET + 1
    for evaluation in range(1, BUDGET + 1):
        if waiting:
            place = waiting.pop(0)
        else:
            places = list(left)
            place = places[surrogate.rank(list(left.values()), 1)[0].index]
        surrogate.observe(left.pop(place), float(values[place]))
        if values[place] >= tables.top[target]:
            top = min(top, evaluation)
        if values[place] == values.max():
            return evaluation, top
    return BUDGET + 1, top


def beginning(variant: Variant, surrogate: CellSurrogate, order: list[int], cells: list[Architecture]) -> list[int]:
    """Return the places of what is measured first."""
    ranked = surrogate.rank([cells[place] for place in order], len(order))
    expected = [order[item.index] for item in sorted(ranked, key=lambda item: -(item.mean or 0.0))]
    by_mean = {"ranked": 0, "expected": variant.number, "mixed": variant.number - 1}[variant.first]
    return list(dict.fromkeys([*expected[:by_mean], *order]))[: variant.number]


def replay(tables: Tables, source: str, target: str) -> tuple[int, int]:
    """Return the same for measuring the source's cells in their order there, to the end of the table."""
    order, values = np.argsort(-tables.values[source], kind="stable"), tables.values[target]
    found = (values[order] == values.max(), values[order] >= tables.top[target])
    return int(np.argmax(found[0])) + 1, int(np.argmax(found[1])) + 1


def distances(tables: Tables) -> None:
    """Print the mean distance among the best cells of each task, and among as many random ones."""
    blocks = stack([tables.space.features(cell) for cell in tables.cells])
    rows = np.concatenate(Scaler(blocks).scale(blocks), axis=1)

    def mean(places: list[int]) -> float:
        return float(np.mean([np.abs(rows[places] - rows[place]).sum(axis=1).mean() for place in places]))

    random = [mean(Random(seed).sample(range(len(rows)), ROWS)) for seed in range(SETS)]
    best = {task: mean(np.argsort(-values, kind="stable")[:ROWS].tolist()) for task, values in tables.values.items()}
    print(f"\nMean distance among the {ROWS} best cells: {', '.join(f'{SHORT[t]} {d:.2f}' for t, d in best.items())}")
    print(f"among {ROWS} random cells: {np.mean(random):.2f} +- {np.std(random):.2f} ({SETS} sets)")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    tables = Tables()
    names = [f"{SHORT[source]}->{SHORT[target]}" for source, target in PAIRS]
    head = "| variant | " + " | ".join(names) + " |\n|---|" + "---|" * len(names)
    print(f"{head}\n| replay | " + " | ".join("{} ({})".format(*replay(tables, *pair)) for pair in PAIRS) + " |")
    for variant in VARIANTS:
        found = [search(tables, variant, *pair, None) for pair in PAIRS]
        print(f"| {variant.name} | " + " | ".join(f"{best} ({top})" for best, top in found) + " |", flush=True)
    print(f"\nThinned:\n\n{head}")
    for variant in VARIANTS[1:]:
        runs = [[search(tables, variant, *pair, seed) for seed in range(THINNED)] for pair in PAIRS]
        medians = [np.median(np.array(of_pair), axis=0) for of_pair in runs]
        print(f"| {variant.name} | " + " | ".join(f"{best:g} ({top:g})" for best, top in medians) + " |", flush=True)
    distances(tables)


if __name__ == "__main__":
    main()
