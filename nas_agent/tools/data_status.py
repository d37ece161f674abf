"""What `nas-agent data status` tells: where tables are looked for, what is there, and whether it holds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_agent.errors import NasAgentError
from nas_agent.records import Json
from nas_agent.spaces import Space, load_space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.benchmarks import nb201
from nas_agent.tools.benchmarks.base import Benchmark
from nas_agent.tools.benchmarks.registry import BENCHMARKS
from nas_agent.tools.data_import import sha256
from nas_agent.tools.evaluators.embedded import EmbeddedBenchmark
from nas_agent.tools.table_files import read_arrays
from nas_agent.tools.tables import data_folders


def data_status(data: Path | None) -> Json:
    """Look for every benchmark's file in every place; of each, the first found is in use. A broken one is reported."""
    places = data_folders(data)
    names = tuple(dict.fromkeys(benchmark.file for benchmark in BENCHMARKS))
    held = {place: [name for name in names if (place.folder / name).is_file()] for place in places}
    tables: list[Json] = []
    for benchmark in BENCHMARKS:
        files = [place.folder / benchmark.file for place in places if benchmark.file in held[place]]
        tables += [_table_status(benchmark, file, in_use=file == files[0]) for file in files]
    found = {table["file"] for table in tables}
    card = EmbeddedBenchmark(NasBench201()).card
    return {
        "places": [
            {"folder": str(place.folder), "named_by": place.named_by, "files": files} for place, files in held.items()
        ],
        "tables": tables,
        "missing": [_about(benchmark) for benchmark in BENCHMARKS if benchmark.file not in found],
        "embedded": {"fitted_on": card["fitted_on"], "held_out": card["held_out"], "scores": card["scores"]},
    }


def _about(benchmark: Benchmark) -> Json:
    return {
        "benchmark": benchmark.title,
        "file": benchmark.file,
        "space": benchmark.space,
        "embedded": benchmark.embedded is not None,
    }


def _table_status(benchmark: Benchmark, path: Path, *, in_use: bool) -> Json:
    status: Json = {**_about(benchmark), "path": str(path), "in_use": in_use, "sha256": sha256(path)}
    space = load_space(benchmark.space)
    tasks = []
    for task in benchmark.tasks:
        for epochs in benchmark.epochs or (None,):
            entry: Json = {"task": task.name, "epochs": epochs}
            try:
                table = benchmark.load(path, task, space, epochs)
            except NasAgentError as error:
                tasks.append({**entry, "problem": str(error)})
                continue
            best = table.optimum()
            tasks.append(
                {
                    **entry,
                    "rows": table.rows,
                    "different": len(table.pool()),
                    "left_out": table.left_out,
                    "best_validation": best,
                }
            )
    return {**status, "tasks": tasks, "checks": _checks(path, space) if benchmark in nb201.BENCHMARKS else []}


def _checks(path: Path, space: Space) -> list[Json]:
    """Compare the file with what NAS-Bench-201 is known to be."""
    try:
        arrays = read_arrays(path, ("ops", "op_names", "iso"))
        names = [str(name) for name in arrays["op_names"].tolist()]
        decisions = [decision.name for decision in space.decisions]
        chosen = [dict(zip(decisions, (names[k] for k in row), strict=True)) for row in arrays["ops"].tolist()]
        ids = [space.build(choices).id for choices in chosen]
    except (NasAgentError, KeyError, IndexError, ValueError, TypeError) as error:
        return [{"check": "the cells can be read", "ok": False, "detail": f"{type(error).__name__}: {error}"}]
    checks = [
        _equal("cells", len({tuple(choices.values()) for choices in chosen}), 15_625),
        _equal("isomorphism classes", len(set(ids)), 6_466),
    ]
    if "iso" in arrays:
        first: dict[str, int] = {}
        ours = [first.setdefault(id_, row) for row, id_ in enumerate(ids)]
        same = len(ours) == len(arrays["iso"]) and _same_partition(np.array(ours), arrays["iso"])
        checks.append(
            {"check": "its isomorphism classes are ours", "ok": same, "detail": "" if same else "they differ"}
        )
    return checks


def _same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = len(set(zip(first.tolist(), second.tolist(), strict=True)))
    return pairs == len(set(first.tolist())) == len(set(second.tolist()))


def _equal(check: str, got: int, expected: int) -> Json:
    return {"check": check, "ok": got == expected, "detail": f"{got:,} of {expected:,}"}
