"""The protocol of COLE over text x embedder x pooling x head x blocks (Somu et al., 2026, arXiv 2605.15649).

Blocks are computed in this process, once for all folds; fits run in workers. All configurations share folds and
training samples, so that their differences are paired; no figure depends on the number of workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from nas_agent.bench.surrogate_blocks import Block, Store, Told, code_blocks, structure_blocks
from nas_agent.bench.surrogate_fits import Fit, Head, fit_all
from nas_agent.bench.surrogate_plan import REFERENCE, Configuration, Plan, crossing
from nas_agent.bench.surrogate_splits import folds_of, split_rng
from nas_agent.bench.surrogate_statistics import MEASURES
from nas_agent.bench.workers import available_cores
from nas_agent.errors import ConfigError, DataError
from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces import Floats, Space, load_space
from nas_agent.tools.embeddings import Embedder

Maker = Callable[[Architecture], str]  # writes the text of an architecture


@dataclass(frozen=True, slots=True)
class Problem:
    """One task: every row of its table, isomorphic ones too."""

    space: Space
    task: Task
    architectures: tuple[Architecture, ...]
    scores: Floats  # (rows,); more is better
    note: str
    provenance: str
    fidelity: str


@dataclass(frozen=True, slots=True)
class Parts:
    """What the crossing is made of, by name; tests pass in their own."""

    text: Callable[[str, Space, Task], Maker]
    embedder: Callable[[str, str], Embedder]  # name and pooling
    head: Callable[..., Head]  # (name, *, target, components); a function of a module, since workers call it


def product_parts(options: Mapping[str, Any], cache: Path) -> Parts:
    """Return the program's own texts, embedders (with a cache on disk) and heads.

    `options` are fields of `EmbeddingOptions`, without the pooling.
    """
    from nas_agent.tools.embeddings import EmbeddingOptions, make_embedder
    from nas_agent.tools.heads import make_head
    from nas_agent.tools.texts import make_text

    def embedder(name: str, pooling: str) -> Embedder:
        return make_embedder(name, EmbeddingOptions(pooling=pooling, **options), cache=cache)

    return Parts(make_text, embedder, make_head)


@dataclass(frozen=True, slots=True)
class Study:
    """What was measured for one task."""

    problem: Problem
    classes: int
    training: int  # rows in the smallest training part
    sizes: tuple[int, ...]
    results: Mapping[Configuration, Floats]  # (MEASURES, sizes, repeats, folds held out)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured for all tasks."""

    plan: Plan
    reference: Configuration
    studies: tuple[Study, ...]
    embedded: tuple[Json, ...]  # of each text and embedder: how many texts, dimension, seconds
    jobs: int
    seconds: float


def load_problems(space: str, tasks: Sequence[str], *, data: Path | None, epochs: int | None = None) -> list[Problem]:
    """Read the table of each task; ConfigError where there is none, DataError where it ranks nothing."""
    from nas_agent.tools.evaluators.resolve import load_evaluation
    from nas_agent.tools.evaluators.table import TableEvaluator
    from nas_agent.tools.images.digits import TASK as DIGITS

    made, problems = load_space(space), []
    for name in tasks:
        if name.lower() == DIGITS.name:
            raise ConfigError(f"--task {name} has no table, it is trained; choose another, or table:FILE.npz|csv")
        evaluation = load_evaluation(name, made, "table", data=data, epochs=epochs, reference=space)
        assert isinstance(evaluation.evaluator, TableEvaluator)
        cells, task = evaluation.evaluator.cells(), evaluation.task
        scores = np.array([task.score(value) for _, value in cells])
        if np.ptp(scores) == 0.0:
            raise DataError(f"--task {name}: all {len(scores):,} values are equal, so there is nothing to rank")
        problems.append(
            Problem(
                made, task, tuple(architecture for architecture, _ in cells), scores,
                evaluation.note, evaluation.evaluator.provenance, evaluation.evaluator.fidelity,
            )
        )  # fmt: skip
    return problems


def evaluate(
    plan: Plan, problems: Sequence[Problem], parts: Parts, *, jobs: int | None = None, told: Told | None = None
) -> Outcome:
    """Fit every configuration on every sample of every split; the figures do not depend on `jobs`."""
    begun = time.perf_counter()
    jobs = available_cores() if jobs is None else jobs
    if jobs < 1:
        raise ConfigError(f"--jobs: expected at least 1 worker, got {jobs}")
    for name in {REFERENCE.head, *plan.heads}:
        parts.head(name, target=plan.target, components=plan.components)  # an unknown one is told now
    embedders, makers = _make_embedders(plan, parts), _make_texts(plan, problems, parts)
    configurations, reference = crossing(plan, embedders)
    splits = [_split(plan, problem) for problem in problems]
    with TemporaryDirectory(prefix="nas-agent-surrogate-") as folder:
        store = Store(Path(folder))
        blocks, embedded = _describe(configurations, embedders, problems, makers, store, told)
        work: list[Fit] = []
        for index, (problem, split) in enumerate(zip(problems, splits, strict=True)):
            scores, folds = store.put(problem.scores), store.put(split.folds)
            for repeat, fold, configuration in product(range(plan.repeats), range(plan.held_out), configurations):
                counted = (
                    bool(configuration.embedder) and embedders[configuration.embedder, configuration.pooling].counts
                )
                work.append(
                    Fit(index, configuration, blocks[configuration][index], scores, folds, repeat, fold,
                         split.sizes, counted, plan.target, plan.components, plan.seed, parts.head)
                )  # fmt: skip
        results = [
            {c: np.zeros((len(MEASURES), len(split.sizes), plan.repeats, plan.held_out)) for c in configurations}
            for split in splits
        ]

        def done(job: Fit, measured: Floats) -> None:
            results[job.problem][job.configuration][:, :, job.repeat, job.fold] = measured

        fit_all(work, jobs, done, told)
    studies = tuple(
        Study(problem, split.classes, split.training, split.sizes, found)
        for problem, split, found in zip(problems, splits, results, strict=True)
    )
    return Outcome(plan, reference, studies, tuple(embedded), jobs, time.perf_counter() - begun)


def _make_embedders(plan: Plan, parts: Parts) -> dict[tuple[str, str], Embedder]:
    """Make each embedder with each pooling; one that counts terms has none, and stands once."""
    if set(plan.blocks) == {"structure"}:
        return {}
    made = {(name, pooling): parts.embedder(name, pooling) for name, pooling in product(plan.embedders, plan.poolings)}
    for found in made.values():
        _ = found.name  # reads a model's small files: one that is not there is told now
    return {(name, "" if found.counts else pooling): found for (name, pooling), found in made.items()}


def _make_texts(plan: Plan, problems: Sequence[Problem], parts: Parts) -> dict[str, list[Maker]]:
    """Make the writers of each text, one a task: a text that a space lacks is told before any is written."""
    if set(plan.blocks) == {"structure"}:
        return {}
    return {name: [parts.text(name, problem.space, problem.task) for problem in problems] for name in plan.texts}


@dataclass(frozen=True, slots=True)
class _Split:
    folds: Any  # (repeats, rows): the fold of each row
    classes: int
    training: int
    sizes: tuple[int, ...]


def _split(plan: Plan, problem: Problem) -> _Split:
    """Split one table, the same way for every configuration."""
    alike = [a.id for a in problem.architectures]
    if plan.together == "texts":
        first = {a.id: a for a in problem.architectures}
        text = {id_: problem.space.source(architecture) for id_, architecture in first.items()}
        alike = [text[id_] for id_ in alike]
    number = {key: place for place, key in enumerate(dict.fromkeys(alike))}
    classes = np.array([number[key] for key in alike])
    folds = np.stack([
        folds_of(classes, problem.scores, plan.folds, split_rng(plan.seed, repeat)) for repeat in range(plan.repeats)
    ])  # fmt: skip
    largest = max(int((row == fold).sum()) for row in folds for fold in range(plan.held_out))
    training = len(classes) - largest
    sizes = tuple(size for size in plan.sizes if size <= training)
    if not sizes:
        raise ConfigError(
            f"--n {min(plan.sizes)}: the training part of {problem.task.name} holds {training:,} of "
            f"{len(classes):,} rows; choose fewer"
        )
    return _Split(folds, len(number), training, sizes)


def _written(name: str, problems: Sequence[Problem], makers: Sequence[Maker], told: Told | None) -> list[list[str]]:
    """Write the text of every row of each table; tasks whose texts are the same share the work."""
    known: list[dict[str, str]] = [{} for _ in makers]  # of each maker: by the architecture as written
    tables = []
    for problem, make in zip(problems, makers, strict=True):
        texts, rows = known[makers.index(make)], problem.architectures
        fresh = [row for row in rows if row.text not in texts]
        for count, row in enumerate(fresh, start=1):
            texts[row.text] = make(row)
            if told is not None:
                told(count, len(fresh), f"writing {name} texts")
        tables.append([texts[row.text] for row in rows])
    return tables


def _describe(
    configurations: Sequence[Configuration],
    embedders: Mapping[tuple[str, str], Embedder],
    problems: Sequence[Problem],
    makers: Mapping[str, Sequence[Maker]],
    store: Store,
    told: Told | None,
) -> tuple[dict[Configuration, list[tuple[Block, ...]]], list[Json]]:
    """Compute all blocks; return those of each configuration and task, and what was embedded."""
    space = problems[0].space
    tables = [problem.architectures for problem in problems]
    nothing: list[tuple[Block, ...]] = [() for _ in problems]
    structure = nothing
    if any(configuration.blocks != "code" for configuration in configurations):
        structure = structure_blocks(space, tables, store)
    written: dict[str, list[list[str]]] = {}
    for text in dict.fromkeys(c.text for c in configurations if c.text):
        written[text] = _written(text, problems, makers[text], told)
    wanted = dict.fromkeys((c.text, c.embedder, c.pooling) for c in configurations if c.text)
    code, embedded = {("", "", ""): nothing}, []
    for text, embedder, pooling in wanted:
        total = len({line for table in written[text] for line in table})
        seen, begun = 0, time.perf_counter()

        def step(count: int, what: str = f"embedding {text} texts by {embedder}", total: int = total) -> None:
            nonlocal seen
            seen += count
            if told is not None:
                told(seen, total, what)

        code[text, embedder, pooling], about = code_blocks(embedders[embedder, pooling], written[text], store, step)
        embedded.append({"text": text, "spec": embedder, "pooling": pooling, **about})
        embedded[-1]["seconds"] = time.perf_counter() - begun
    joined = {}
    for c in configurations:
        pairs = zip(structure if c.blocks != "code" else nothing, code[c.text, c.embedder, c.pooling], strict=True)
        joined[c] = [first + second for first, second in pairs]
    return joined, embedded
