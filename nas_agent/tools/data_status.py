"""What `nas-agent data status` tells: where tables are looked for, what is there, and whether it holds up."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas_agent.errors import NasAgentError
from nas_agent.records import Json
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.data_import import sha256
from nas_agent.tools.evaluators.embedded import EmbeddedBenchmark
from nas_agent.tools.table_files import read_arrays
from nas_agent.tools.tables import NB201_EPOCHS, NB201_FILE, NB201_TASKS, data_folders, load_nb201, nb201_task


def data_status(data: Path | None) -> Json:
    """Look in every place; the first table found is the one in use. A broken table is reported, not raised."""
    places: list[Json] = []
    tables: list[Json] = []
    for place in data_folders(data):
        file = place.folder / NB201_FILE
        found = file.is_file()
        places.append({"folder": str(place.folder), "named_by": place.named_by, "has_table": found})
        if found:
            tables.append(_nb201_status(file, in_use=not tables))
    card = EmbeddedBenchmark(NasBench201()).card
    embedded = {"fitted_on": card["fitted_on"], "held_out": card["held_out"], "scores": card["scores"]}
    return {"places": places, "tables": tables, "embedded": embedded}


def _nb201_status(path: Path, *, in_use: bool) -> Json:
    status: Json = {"path": str(path), "space": "nb201", "in_use": in_use, "sha256": sha256(path)}
    space = NasBench201()
    tasks = []
    for task in filter(None, map(nb201_task, NB201_TASKS)):
        for epochs in NB201_EPOCHS:
            entry: Json = {"task": task.name, "epochs": epochs}
            try:
                table = load_nb201(path, task, space, epochs=epochs)
            except NasAgentError as error:
                tasks.append({**entry, "problem": str(error)})
                continue
            best = table.optimum()
            tasks.append({**entry, "rows": table.rows, "left_out": table.left_out, "best_validation": best})
    return {**status, "tasks": tasks, "checks": _checks(path, space)}


def _checks(path: Path, space: NasBench201) -> list[Json]:
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
