"""All figures of the protocol as JSON, with tests between configurations and verdicts in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nas_agent.bench.surrogate_eval import Outcome, Study
from nas_agent.bench.surrogate_plan import Configuration, Plan
from nas_agent.bench.surrogate_splits import STRATA
from nas_agent.bench.surrogate_statistics import (
    LEVEL,
    MEASURES,
    SIGNIFICANT,
    TOP,
    Contrast,
    corrected_t_test,
    holm,
)
from nas_agent.records import Json
from nas_agent.spaces import Floats

CONTROLS = ("tfidf", "char-ngrams")
RANDOM = "random:"  # before the name of the model whose weights are drawn by chance

RULES = {
    "split": f"folds stratified by value ({STRATA} strata), anew in each repeat; what is alike lies in one",
    "sample": "the first N of one random order of the other folds: nested, and the same for every configuration",
    "spread": "± is the deviation of the means of the repeats",
    "differences": "corrected paired t-test over all folds (Nadeau and Bengio, 2003), Holm-adjusted over all "
    f"comparisons of a task; * means p < {SIGNIFICANT:g}",
    "constants": "equal predictions for a whole fold count as a rank correlation of zero",
}


def document(outcome: Outcome, *, command: str) -> Json:
    """Compute every figure."""
    plan = outcome.plan
    found: Json = {
        "command": command,
        "space": outcome.studies[0].problem.space.name,
        "sizes": list(plan.sizes),
        "repeats": plan.repeats,
        "folds": plan.folds,
        "test_folds": plan.held_out,
        "together": plan.together,
        "target": plan.target,
        "components": plan.components,
        "seed": plan.seed,
        "level": LEVEL,
        "top": TOP,
        "reference": outcome.reference.name,
        "configurations": {c.name: _parts(c) for c in outcome.studies[0].results},
        "embedded": list(outcome.embedded),
        "tasks": {study.problem.task.name: _study(plan, study, outcome.reference) for study in outcome.studies},
        "rules": RULES,
        "jobs": outcome.jobs,
        "seconds": outcome.seconds,
    }
    return {**found, "verdicts": verdicts(found)}


def _parts(c: Configuration) -> Json:
    return {"head": c.head, "blocks": c.blocks, "text": c.text, "embedder": c.embedder, "pooling": c.pooling}


def _study(plan: Plan, study: Study, reference: Configuration) -> Json:
    problem = study.problem
    return {
        "metric": problem.task.metric,
        "unit": problem.task.unit,
        "note": problem.note,
        "provenance": problem.provenance,
        "fidelity": problem.fidelity,
        "rows": len(problem.architectures),
        "classes": study.classes,
        "training": study.training,
        "sizes": list(study.sizes),
        "left_out": [size for size in plan.sizes if size not in study.sizes],
        "results": {c.name: _figures(study.sizes, measured) for c, measured in study.results.items()},
        "contrasts": _contrasts(study, reference, 1.0 / (plan.folds - 1)),
    }


# The first fit of a worker loads libraries, and where a sample is small some folds' intervals have an open end: a
# mean would tell of these alone.
MIDDLE = ("seconds", "width")


def _figures(sizes: Sequence[int], measured: Floats) -> Json:
    """Return size -> measure -> mean and spread, of (MEASURES, sizes, repeats, folds)."""
    return {
        str(size): {name: _figure(measured[row, column], middle=name in MIDDLE) for row, name in enumerate(MEASURES)}
        for column, size in enumerate(sizes)
    }


def _figure(values: Floats, *, middle: bool) -> Json:
    if middle:
        return {"median": float(np.median(values))}
    repeats = values.mean(axis=1)
    return {"mean": float(values.mean()), "spread": float(repeats.std(ddof=1)) if len(repeats) > 1 else None}


# -- comparisons ---------------------------------------------------------------------------------------


def is_control(embedder: str) -> bool:
    """Tell whether an embedder is there to show what a trained language model adds."""
    return embedder in CONTROLS or embedder.startswith(RANDOM)


def controls(control: str, embedder: str) -> bool:
    """Tell whether one shows what the other adds: counts do for all, random weights for the model of their shape."""
    return control in CONTROLS or control == f"{RANDOM}{embedder}"


def _pairs(
    configurations: Sequence[Configuration], reference: Configuration
) -> Iterator[tuple[str, Configuration, Configuration]]:
    """Yield which configurations are compared, and what that tells."""
    listed = set(configurations)
    for c in configurations:
        if c.blocks == "joint" and (alone := Configuration(c.head, "structure")) in listed:
            yield "embeddings", c, alone
    for c in configurations:
        if c.embedder and not is_control(c.embedder):
            for other in configurations:
                same = (other.head, other.blocks, other.text) == (c.head, c.blocks, c.text)
                if same and controls(other.embedder, c.embedder) and other.pooling in ("", c.pooling):
                    yield "language model", c, other
    for c in configurations:
        if c != reference:
            yield "reference", c, reference


def _contrasts(study: Study, reference: Configuration, test_to_training: float) -> list[Json]:
    """Test all pairs at all sizes, on Kendall's tau; one family for Holm's adjustment."""
    tau, seen = MEASURES.index("tau"), set()
    rows: list[tuple[Json, Contrast]] = []
    for kind, first, second in _pairs(list(study.results), reference):
        if (first, second) in seen:
            continue
        seen.add((first, second))
        differences = study.results[first][tau] - study.results[second][tau]
        for size, of_size in zip(study.sizes, differences, strict=True):
            tested = corrected_t_test(of_size.ravel(), test_to_training)
            if tested is not None:
                rows.append(({"kind": kind, "first": first.name, "second": second.name, "n": size}, tested))
    adjusted = holm([tested.p for _, tested in rows])
    return [
        {**row, **tested.to_dict(), "holm": p, "decided": p < SIGNIFICANT}
        for (row, tested), p in zip(rows, adjusted, strict=True)
    ]


# -- in words ------------------------------------------------------------------------------------------


def labels(doc: Json) -> dict[str, str]:
    """Name configurations by what differs among them."""
    rows = doc["configurations"]
    shared = {
        part: len({of[part] for of in rows.values() if of[part]}) <= 1 for part in ("text", "embedder", "pooling")
    }
    return {
        name: " ".join(filter(None, (of["head"], of["blocks"], *(of[part] for part in shared if not shared[part]))))
        for name, of in rows.items()
    }


def shared_parts(doc: Json) -> str:
    """Name what the labels leave out, since it is the same everywhere."""
    rows = doc["configurations"].values()
    values = {part: {of[part] for of in rows if of[part]} for part in ("text", "embedder", "pooling")}
    return ", ".join(f"{part} {found.copy().pop()}" for part, found in values.items() if len(found) == 1)


def verdicts(doc: Json) -> list[str]:
    """Say in a line each what is best, what embeddings and the language model add, and what beats the reference."""
    lines = [_best(name, task, labels(doc)) for name, task in doc["tasks"].items()]
    pairs: dict[tuple[str, str, str], dict[str, list[Json]]] = {}
    for name, task in doc["tasks"].items():
        for row in task["contrasts"]:
            pairs.setdefault((row["kind"], row["first"], row["second"]), {}).setdefault(name, []).append(row)
    if not pairs:
        return [*lines, "no test: a single configuration, or a single fold"]
    shown = labels(doc)
    for (kind, first, second), tasks in pairs.items():
        if kind == "reference":  # the table has them all; below is what was decided
            continue
        told = "; ".join(f"{name}: {_told(rows)}" if len(tasks) > 1 else _told(rows) for name, rows in tasks.items())
        what = "embeddings add" if kind == "embeddings" else "the language model adds"
        lines.append(f"{what} {_gain(tasks)}: {shown[first]} against {shown[second]}: {told}")
    return [*lines, *(_decided(doc, name, shown) for name in doc["tasks"])]


def _gain(tasks: Mapping[str, Sequence[Json]]) -> str:
    """Say on which tasks something is gained: ahead at one size at least, and behind at none."""
    signs = [{row["mean"] > 0 for row in rows if row["decided"]} for rows in tasks.values()]
    gained = signs.count({True})
    if not gained:
        return "nothing"
    return "something" if gained == len(tasks) else f"something on {gained} of {len(tasks)} tasks"


def _decided(doc: Json, name: str, shown: dict[str, str]) -> str:
    """Say what is ahead of the reference, and what is behind it."""
    found: dict[str, dict[str, list[str]]] = {"ahead": {}, "BEHIND": {}}
    for row in doc["tasks"][name]["contrasts"]:
        if row["decided"] and row["second"] == doc["reference"]:
            of = found["ahead" if row["mean"] > 0 else "BEHIND"]
            of.setdefault(shown[row["first"]], []).append(str(row["n"]))
    told = []
    for what, of in found.items():
        rows = "; ".join(f"{c} at N = {', '.join(sizes)}" for c, sizes in of.items())
        told.append(f"{what}: {rows or 'none'}")
    return f"{name}, against {shown[doc['reference']]}: {'. '.join(told)}"


def _best(name: str, task: Json, shown: dict[str, str]) -> str:
    winners: dict[str, list[str]] = {}
    for size in map(str, task["sizes"]):
        means = {c: at[size]["tau"]["mean"] for c, at in task["results"].items()}
        best = max(means, key=lambda c: means[c])
        winners.setdefault(best, []).append(f"{size} ({number(means[best])})")
    told = "; ".join(f"{shown[c]} at N = {', '.join(sizes)}" for c, sizes in winners.items())
    return f"{name}, highest mean tau: {told}"


def _told(rows: Sequence[Json]) -> str:
    kinds: dict[str, list[str]] = {"ahead": [], "BEHIND": [], "no measurable difference": []}
    for row in rows:
        what = "no measurable difference" if not row["decided"] else "ahead" if row["mean"] > 0 else "BEHIND"
        kinds[what].append(f"{row['n']} ({number(row['mean'], sign=True)})")
    return ", ".join(f"{what} at N = {', '.join(sizes)}" for what, sizes in kinds.items() if sizes)


def number(value: float, digits: int = 3, *, sign: bool = False) -> str:
    """Write a correlation without its leading zero."""
    if not math.isfinite(value):
        return "open"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1.0 and "0." in text[:3] else text
