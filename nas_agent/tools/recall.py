"""What a new task gets back from memory: the choice among remembered items, no Chroma.

The choice is ours: the nearest tasks by their descriptions (three at most), half of the places to the nearest, half
of the rest to the next and so on, so that one misleading description does not decide alone; within a task the best
by rank, since values of different tasks, fidelities or evaluators do not compare.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from nas_agent.records import Measured, Provenance, Task
from nas_agent.tools.embeddings import Vectors
from nas_agent.tools.remembered import (
    Agreement,
    Elite,
    Lesson,
    NearTask,
    RecalledArchitecture,
    RecalledPrinciple,
    RecalledSource,
    RunRecord,
    SourceRow,
)
from nas_agent.wording import plural

T = TypeVar("T")
NEAREST = 3  # tasks that are recalled from
SHARED = 5  # architectures without which two tasks' ranks are not compared
DESCRIBED = 10  # shared architectures that the likeness of two descriptions counts for
NOTATION_DIMENSION = 128


# -- taking in -------------------------------------------------------------------------------------


def rank_outcomes(record: RunRecord) -> list[Elite]:
    """Rank a run's measured architectures, apart for each way of obtaining values; failures have no value."""
    values: dict[tuple[Provenance, str, str], dict[str, list[Measured]]] = {}
    for outcome in record.outcomes:
        if isinstance(outcome, Measured):
            group = values.setdefault((outcome.provenance, outcome.evaluator, outcome.fidelity), {})
            group.setdefault(outcome.architecture.id, []).append(outcome)
    elites = []
    for (provenance, evaluator, fidelity), group in values.items():
        means = {key: float(np.mean([outcome.value for outcome in same])) for key, same in group.items()}
        order = sorted(means, key=lambda key: (-record.task.score(means[key]), key))
        elites += [
            Elite(
                run=record.run_id,
                task=record.task.name,
                architecture=group[key][0].architecture,
                value=means[key],
                score=record.task.score(means[key]),
                rank=place,
                of=len(order),
                provenance=provenance,
                evaluator=evaluator,
                fidelity=fidelity,
            )
            for place, key in enumerate(order, start=1)
        ]
    return elites


def embed_notation(texts: Sequence[str]) -> Vectors:
    """Return (texts, 128): the words of an architecture's notation, and each word at its place, hashed; length 1.

    Works for every space without a model and without the space at hand. Cells that share many choices are near,
    and a query such as "avg_pool_3x3" finds cells with many of them.
    """
    vectors = np.zeros((len(texts), NOTATION_DIMENSION), dtype=np.float32)
    for row, text in zip(vectors, texts, strict=True):
        for place, word in enumerate(re.findall(r"[\w.]+", text)):
            for feature in (word, f"{place}:{word}"):
                code = zlib.crc32(feature.encode())
                row[code % NOTATION_DIMENSION] += 1.0 if code & 0x80000000 else -1.0
        norm = float(np.linalg.norm(row))
        if norm > 0:
            row /= norm
        else:
            row[0] = 1.0  # no direction is no vector for a cosine
    return vectors


# -- giving back -------------------------------------------------------------------------------------


def alike_tasks(wanted: Vectors, known: Sequence[tuple[Task, Vectors]]) -> list[NearTask]:
    """Order remembered tasks by the likeness of their descriptions; `known` holds one entry per run."""
    best: dict[str, tuple[float, Task]] = {}
    for task, vector in known:
        length = float(np.linalg.norm(wanted) * np.linalg.norm(vector))
        similarity = float(wanted @ vector) / length if length else 0.0
        if task.name not in best or similarity > best[task.name][0]:
            best[task.name] = (similarity, task)
    order = sorted(best.values(), key=lambda item: (-round(item[0], 6), item[1].name))
    return [NearTask(task, similarity, place) for place, (similarity, task) in enumerate(order, start=1)]


def nearest_tasks(alike: Sequence[NearTask], wanted: str, elites: Mapping[str, Sequence[Elite]]) -> list[NearTask]:
    """Choose the nearest by description and by rank agreement of shared architectures (ours).

    `elites` are of each task that may be judged by. Where earlier outcomes of the wanted task are among them, tasks
    are compared with it; else with the one that is most alike, which stays the first: what agrees with it counts as
    near the wanted task as the product of the two.
    """
    if not alike:
        return []
    reference, likeness = (wanted, 1.0) if elites.get(wanted) else (alike[0].task.name, alike[0].similarity)
    found = []
    for near in alike:
        agreement = None
        if near.task.name != reference:
            agreement = agreement_of(reference, elites.get(reference, ()), elites.get(near.task.name, ()))
        nearness = near.similarity
        if agreement is not None:
            by_ranks = agreement.shared * agreement.tau * likeness
            nearness = (DESCRIBED * near.similarity + by_ranks) / (DESCRIBED + agreement.shared)
        found.append((nearness, replace(near, agreement=agreement)))
    found.sort(key=lambda item: (-round(item[0], 6), item[1].place))
    return [replace(near, place=place) for place, (_, near) in enumerate(found[:NEAREST], start=1)]


def agreement_of(task: str, here: Sequence[Elite], there: Sequence[Elite]) -> Agreement | None:
    """Compare how two tasks rank what both have; None where that is too little to tell."""
    from scipy.stats import kendalltau

    first, second = _scores(here), _scores(there)
    shared = sorted(first.keys() & second.keys())
    if len(shared) < SHARED:
        return None
    tau = float(kendalltau([first[key] for key in shared], [second[key] for key in shared]).statistic)
    return None if math.isnan(tau) else Agreement(task, tau, len(shared))  # nan: one of them ranks all alike


def _scores(elites: Sequence[Elite]) -> dict[str, float]:
    """Return the mean score of each architecture, of the one way of obtaining values that tells most."""
    groups: dict[tuple[Provenance, str, str], dict[str, list[float]]] = {}
    for elite in elites:
        group = groups.setdefault((elite.provenance, elite.evaluator, elite.fidelity), {})
        group.setdefault(elite.architecture.id, []).append(elite.score)
    if not groups:
        return {}
    way = min(groups, key=lambda way: (way[0] != "measured", -len(groups[way]), way))
    return {key: float(np.mean(scores)) for key, scores in groups[way].items()}


def best_architectures(near: NearTask, elites: Iterable[Elite], wanted: str) -> list[RecalledArchitecture]:
    """Pool the elites of a task's runs and order them: measured before predicted, then by normalised rank."""
    groups: dict[tuple[Provenance, str, str], list[Elite]] = {}
    for elite in elites:
        groups.setdefault((elite.provenance, elite.evaluator, elite.fidelity), []).append(elite)
    found: list[tuple[tuple[bool, float, str], RecalledArchitecture]] = []
    for (provenance, evaluator, fidelity), group in groups.items():
        sizes = {elite.run: elite.of for elite in group}
        of, runs = sum(sizes.values()), len(sizes)
        same: dict[str, list[Elite]] = {}
        for elite in sorted(group, key=lambda elite: elite.run):
            same.setdefault(elite.architecture.id, []).append(elite)
        order = sorted(same, key=lambda key: (-np.mean([elite.score for elite in same[key]]), key))
        how = f"{provenance} there" + (f" in {runs} runs" if runs > 1 else "") + f" ({evaluator}, {fidelity})"
        for rank, key in enumerate(order, start=1):
            first = same[key][0]
            recalled = RecalledArchitecture(
                architecture=first.architecture,
                task=near.task.name,
                run=first.run,
                value=float(np.mean([elite.value for elite in same[key]])),
                metric=near.task.metric,
                unit=near.task.unit,
                maximise=near.task.maximise,
                rank=rank,
                of=of,
                provenance=provenance,
                evaluator=evaluator,
                fidelity=fidelity,
                similarity=near.similarity,
                why=f"{near.phrase(wanted)}: rank {rank} of {of} {how}",
            )
            found.append(((provenance != "measured", (rank - 0.5) / of, key), recalled))
    return [recalled for _, recalled in sorted(found, key=lambda item: item[0])]


def best_principles(near: NearTask, lessons: Iterable[Lesson], wanted: str) -> list[RecalledPrinciple]:
    """Order a task's principles: those on measured values first, then the strongest evidence."""

    def order(lesson: Lesson) -> tuple[Any, ...]:
        return lesson.provenance != "measured", *(-part for part in lesson.strength), lesson.run, lesson.principle.id

    found = []
    for lesson in sorted(lessons, key=order):
        evidence = lesson.principle.evidence
        told = "no effect on record"
        if evidence.effect is not None:
            told = f"effect {evidence.effect:+.2f} {near.task.unit}".rstrip()
            if evidence.low is not None and evidence.high is not None:
                told += f" (95 % interval {evidence.low:+.2f} to {evidence.high:+.2f})"
        seen = len(evidence.supporting) + len(evidence.opposing) + evidence.others
        why = f"{near.phrase(wanted)}: {told} over {plural(seen, 'architecture')} {lesson.provenance} there"
        found.append(
            RecalledPrinciple(lesson.principle, near.task.name, lesson.run, lesson.provenance, near.similarity, why)
        )
    return found


def source_of(
    near: NearTask, space: str, recalled: Sequence[RecalledArchitecture], rows: int, origin: str = ""
) -> RecalledSource:
    """Gather what was obtained in one way on a task, measured before predicted, into a source.

    `origin` says why this task, where memory chose it.
    """
    first = recalled[0]
    way = first.provenance, first.evaluator, first.fidelity
    same = [item for item in recalled if (item.provenance, item.evaluator, item.fidelity) == way]
    # As many good as bad ones: a search measures mostly good ones, and the surrogate learns from the contrast.
    kept = same if len(same) <= rows else [*same[: rows // 2], *_spread(same[rows // 2 :], rows - rows // 2)]
    return RecalledSource(
        name=near.task.name,
        task=near.task.name,
        space=space,
        metric=near.task.metric,
        unit=near.task.unit,
        maximise=near.task.maximise,
        provenance=first.provenance,
        evaluator=first.evaluator,
        fidelity=first.fidelity,
        of=first.of,
        best_only=False,
        rows=tuple(SourceRow(item.architecture, item.value, item.rank) for item in kept),
        why=f"{origin}{len(kept)} of {plural(first.of, 'architecture')} {first.provenance} on {near.task.name}",
    )


def _spread(items: Sequence[RecalledArchitecture], number: int) -> list[RecalledArchitecture]:
    """Take items at even distances, the last one included."""
    return [items[round(place * (len(items) - 1) / max(number - 1, 1))] for place in range(number)]


def share(ranked: Sequence[Sequence[T]], places: int, key: Callable[[T], str]) -> list[T]:
    """Give half of the places to the first list, half of the rest to the next, ...; what is left over to the first.

    Items with a key that has been taken already are passed over.
    """
    taken: list[list[T]] = [[] for _ in ranked]
    seen: set[str] = set()
    left = places
    for last_chance in (False, True):
        for index, items in enumerate(ranked):
            quota = left if last_chance or index == len(ranked) - 1 else -(-left // 2)
            for item in items:
                if quota == 0:
                    break
                if key(item) not in seen:
                    seen.add(key(item))
                    taken[index].append(item)
                    quota, left = quota - 1, left - 1
    return [item for items in taken for item in items]


def same_architecture(item: RecalledArchitecture) -> str:
    """The key by which an architecture is recalled once."""
    return item.architecture.id


def same_principle(item: RecalledPrinciple) -> str:
    """The key by which a principle is recalled once: what it demands, however it is worded."""
    return json.dumps(item.principle.constraint.to_dict(), sort_keys=True)
