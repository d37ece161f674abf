"""Facts of tables and spaces that docs/decisions.md and docs/log.md cite (needs NAS_AGENT_DATA; seconds on one core).

NAS_AGENT_DATA=DIR python benchmarks/table_facts.py
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random

import numpy as np

from nas_agent.records import Architecture
from nas_agent.spaces import Floats
from nas_agent.spaces.base import try_build
from nas_agent.spaces.darts import Darts
from nas_agent.spaces.darts_cells import NAMES, NONE, Cell, to_cell
from nas_agent.spaces.nasbench101 import CLASSES, LABELS, VERTICES, NasBench101
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.spaces.trans101 import Trans101Micro
from nas_agent.tools.benchmarks.darts import NB301
from nas_agent.tools.benchmarks.trans101 import MICRO_FILE, TASKS, load_micro
from nas_agent.tools.evaluators.embedded_darts import UNKNOWN_NODE, DartsRegressor, unknown_nodes
from nas_agent.tools.tables import find_table

DARTS_FILE = "darts_1000.npz"
DRAWS = 2000
ZEROED = 0.7  # share of the operations that become `none`
# The operations of TransNAS-Bench-101 by the names that NAS-Bench-201 has for them.
IN_NB201 = {"none": "none", "skip": "skip_connect", "conv1x1": "nor_conv_1x1", "conv3x3": "nor_conv_3x3"}


def file(name: str) -> Path:
    path = find_table(None, name)
    if path is None:
        raise SystemExit(f"no {name} found; set NAS_AGENT_DATA to the folder that holds it")
    return path


def nb101_sizes() -> None:
    """Compare the benchmark's own sampler (uniform 7x7 matrices, pruned afterwards) with the space."""
    space, rng = NasBench101(), Random(0)
    drawn: list[Architecture] = []
    while len(drawn) < DRAWS:
        choices = {
            decision.name: rng.choice(LABELS if decision.role == "operation" else decision.options)
            for decision in space.decisions
        }
        architecture = try_build(space, choices)
        if architecture is not None:
            drawn.append(architecture)
    whole = sum(space.cell(architecture).vertices == VERTICES for architecture in drawn)
    different = len({architecture.id for architecture in drawn})
    print(f"nb101: of {DRAWS:,} draws of the benchmark's sampler {whole} keep all {VERTICES} vertices,")
    print(f"  {different} are different cells; in the space {CLASSES[-1] / sum(CLASSES):.1%} have all {VERTICES}")


def spread(classes: Iterable[Floats]) -> str:
    """Say how far the values of one class lie apart: the pooled standard deviation and the widest class."""
    several = [values for values in classes if len(values) > 1]
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in several)
    freedom = sum(len(values) - 1 for values in several)
    widest = max(float(np.ptp(values)) for values in several)
    return (
        f"{len(several)} classes of several rows, deviation {(squares / freedom) ** 0.5:.2f}, "
        f"widest class {widest:.1f} points"
    )


def trans101_spellings() -> None:
    """Compare the space's classes with those of NAS-Bench-201's rule, on jigsaw."""
    space, other = Trans101Micro(), NasBench201()
    task = next(task for task in TASKS if task.name == "jigsaw")
    table = load_micro(file(MICRO_FILE), task, space)
    own, foreign = defaultdict(list), defaultdict(list)
    for row in table.members():
        options = tuple(IN_NB201[option] for option in space.choices(row.architecture).values())
        own[row.architecture.id].append(row.value)
        foreign[other.canonical_key(options)].append(row.value)
    print(f"trans101-micro, jigsaw: {len(own)} classes for {table.rows} rows")
    print(f"  the space's classes: {spread(np.array(values) for values in own.values())}")
    print(f"  NAS-Bench-201's rule: {spread(np.array(values) for values in foreign.values())}")


def darts_rows() -> None:
    """Count what DARTS itself would not derive among the cells as they were trained."""
    with np.load(file(DARTS_FILE)) as arrays:
        names = [str(name) for name in arrays["op_names"]]
        rows = [
            [
                to_cell([text for start, operation in cell for text in (str(start), names[operation])])
                for cell in (normal, reduction)
            ]
            for normal, reduction in zip(arrays["normal"].tolist(), arrays["reduce"].tolist(), strict=True)
        ]
    assert set(names) == set(NAMES)
    zero = sum(any(holds_none(cell) for cell in row) for row in rows)
    twice = sum(any(reads_twice(cell) for cell in row) for row in rows)
    print(f"darts-reduced: of {len(rows):,} trained rows {zero} have a {NONE!r}, {twice} a node with one input twice")


def holds_none(cell: Cell) -> bool:
    return any(operation == NONE for node in cell for _, operation in node)


def reads_twice(cell: Cell) -> bool:
    return any(first[0] == second[0] for first, second in cell)


def darts_none() -> None:
    """Ask the regressor of darts-nb301 about cells that are mostly zero, with and without what it takes off them."""
    space, rng = Darts(), Random(0)
    regressor = DartsRegressor(space, NB301.name)
    derived = [space.sample(rng) for _ in range(300)]
    operations = [decision.name for decision in space.decisions if decision.role == "operation"]
    zeroed = [
        space.canonical(space.build(space.choices(cell) | {name: NONE for name in operations if rng.random() < ZEROED}))
        for cell in derived
    ]
    print(
        f"darts-nb301, median prediction for {len(derived)} cells as DARTS derives them, then with {ZEROED:.0%} none:"
    )
    for cells in (derived, zeroed):
        values = [regressor.value(cell, NB301, "val") for cell in cells]
        whole = [v + UNKNOWN_NODE * unknown_nodes(space, cell) for v, cell in zip(values, cells, strict=True)]
        print(f"  {np.median(values):.1f} %; {np.median(whole):.1f} % where nothing is taken off")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    nb101_sizes()
    trans101_spellings()
    darts_rows()
    darts_none()


if __name__ == "__main__":
    main()
