"""`--from`: what a search reads of another task's table, of another run, or of the same in another space.

Of a table only its best rows are read, at most `Config.source_rows`; their number stands in the item's `why`.
Rows of another space cannot be measured here: then only what they have in common is taken along, translated.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nas_agent.config import Config
from nas_agent.errors import ConfigError, RunFolderError
from nas_agent.principles.enrichment import common_ground
from nas_agent.principles.principle import Draft, Evidence, Principle
from nas_agent.principles.translation import translate
from nas_agent.records import Architecture, Json, Measured, Task
from nas_agent.spaces import Space, load_space
from nas_agent.tools.benchmarks.registry import measured_in
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.evaluators.table import TableEvaluator
from nas_agent.tools.home import home
from nas_agent.tools.recall import best_architectures, best_principles, rank_outcomes, source_of
from nas_agent.tools.remembered import (
    Lesson,
    NearTask,
    RecalledArchitecture,
    RecalledPrinciple,
    RecalledSource,
    RunRecord,
    SourceRow,
)
from nas_agent.tools.run_folder import RunFolder, find, known_folders
from nas_agent.tools.run_records import all_records, record_of
from nas_agent.tools.surrogates.blocks import Scaler, stack
from nas_agent.tools.surrogates.transfer import alike, stacked
from nas_agent.wording import plural

MEMORY = "memory"  # `--from memory`: the nearest tasks, which RunMemory asks for
SHOWN = 10  # best architectures of a source that prompts and reports show
AT_LARGE = 1000  # random architectures that the best are compared with


@dataclass(frozen=True, slots=True)
class Target:
    """The search that asks."""

    task: Task
    space: Space
    run: Path | None  # its own folder, which is never its source
    data: Path | None
    rows: int


def target_of(config: Config, task: Task, space: Space, run: Path | None) -> Target:
    """Take from the configuration what reading a source needs."""
    return Target(task, space, run, config.data, config.source_rows)


def read_sources(names: Sequence[str], target: Target) -> list[Json]:
    """Return the items of every source: sources, architectures and principles, each with why."""
    items: list[Json] = []
    for name in dict.fromkeys(names):
        found = _from_run(name, target) or _from_table(name, target) or _from_own_runs(name, target)
        if not found:
            raise ConfigError(
                f"--from {name}: expected a task that was measured, a run folder or `memory`, found none of that name "
                f"for space '{target.space.name}'; `nas-agent runs` and `nas-agent data status` list them"
            )
        items += found
    return items


# -- tables ---------------------------------------------------------------------------------------------


def _from_table(name: str, target: Target) -> list[Json]:
    space_name, colon, task_name = name.partition(":")
    if not colon or space_name == "table":
        space_name, task_name = "", name
    known = measured_in(task_name)
    spaces = [load_space(benchmark.space) for benchmark, _ in known if space_name in ("", benchmark.space)]
    if not spaces:
        return []
    # A user's variant of a space is answered by that space's table, so the table is the variant's own too.
    here = [space for space in spaces if isinstance(target.space, type(space))]
    if here and known[0][1].name == target.task.name:
        elsewhere = [f"{benchmark.space}:{task_name}" for benchmark, _ in known if benchmark.space != here[0].name]
        instead = f"; another space measured it too: --from {elsewhere[0]}" if elsewhere else ""
        raise ConfigError(
            f"--from {name}: this is the task itself; a search would look its answer up, not find it{instead}"
        )
    space = (here or spaces)[0]
    try:
        evaluation = load_evaluation(task_name, space, "auto", data=target.data, epochs=None)
    except ConfigError as error:
        raise ConfigError(f"--from {name}: its table cannot be read: {error}") from error
    items = table_items(evaluation, space, target)
    if space.name != target.space.name and [item["kind"] for item in items if not item.get("refused")] == ["source"]:
        raise ConfigError(
            f"--from {name}: nothing that its best in space '{space.name}' have in common can be said in space "
            f"'{target.space.name}'; leave it out"
        )
    return items


def table_items(evaluation: Evaluation, space: Space, target: Target) -> list[Json]:
    """Return what the best rows of one task's table teach; a source of another space only tells what was read."""
    best, of = best_of(evaluation, target.rows)
    task, evaluator = evaluation.task, evaluation.evaluator
    same_space = space.name == target.space.name
    label = task.name if same_space else f"{space.name}:{task.name}"
    way = f"{evaluator.name}, {evaluator.fidelity}"
    read = f"from {label}: the best {len(best)} of {plural(of, 'row')} ({way}), no other row read"
    refused = _sense(space, evaluator.pool(), [measured.architecture for measured in best])
    source = RecalledSource(
        name=label,
        task=task.name,
        space=space.name,
        metric=task.metric,
        unit=task.unit,
        maximise=task.maximise,
        provenance=evaluator.provenance,
        evaluator=evaluator.name,
        fidelity=evaluator.fidelity,
        of=of,
        best_only=True,
        rows=tuple(SourceRow(m.architecture, m.value, rank) for rank, m in enumerate(best, start=1)),
        why=read,
        refused=refused,
    )
    if refused:
        return [source.to_dict()]
    shown = [_shown(source, row).to_dict() for row in source.rows[:SHOWN] if same_space]
    principles = _common_principles(evaluation, space, best, target, label)
    return [source.to_dict(), *shown, *(principle.to_dict() for principle in principles)]


def best_of(evaluation: Evaluation, number: int) -> tuple[list[Measured], int]:
    """Return the best architectures of a table, best first, and how many there are; of a regressor the same."""
    evaluator, score = evaluation.evaluator, evaluation.task.score
    pool = evaluator.pool()
    if pool is None:
        raise ConfigError(f"--from {evaluation.task.name}: its architectures cannot be listed; name a run instead")
    if isinstance(evaluator, TableEvaluator):
        return evaluator.best(number), len(pool)
    outcomes = (evaluator.evaluate(architecture, seed=0) for architecture in pool)
    ranked = sorted((o for o in outcomes if isinstance(o, Measured)), key=lambda outcome: -score(outcome.value))
    return ranked[:number], len(pool)


def _sense(space: Space, listed: Sequence[Architecture] | None, best: Sequence[Architecture]) -> str:
    """Say why nothing can be learned from these, or nothing: the best are compared with all that are listed."""
    pool, rng = space.enumerate(), Random("reference")
    if listed is not None:  # a table may hold a part of the space that is alike in itself
        known = {architecture.id for architecture in listed}
        pool = listed if pool is None else [architecture for architecture in pool if architecture.id in known]
    at_large = (
        rng.sample(list(pool), min(300, len(pool))) if pool is not None else [space.sample(rng) for _ in range(300)]
    )
    reference, rows = (stack([space.features(a) for a in group]) for group in (at_large, best))
    scaler = Scaler(reference)
    if alike(stacked(scaler.scale(rows)), stacked(scaler.scale(reference))):
        return ""
    return "its best architectures have no more in common than random ones: there is nothing to learn from them"


def _shown(source: RecalledSource, row: SourceRow) -> RecalledArchitecture:
    return RecalledArchitecture(
        architecture=row.architecture,
        task=source.task,
        run="",
        value=row.value,
        metric=source.metric,
        unit=source.unit,
        maximise=source.maximise,
        rank=row.rank,
        of=source.of,
        provenance=source.provenance,
        evaluator=source.evaluator,
        fidelity=source.fidelity,
        similarity=1.0,
        why=f"{source.why}; this is its rank {row.rank}",
    )


def _common_principles(
    evaluation: Evaluation, space: Space, best: Sequence[Measured], target: Target, label: str
) -> Iterable[RecalledPrinciple]:
    """Say what the best have in common, in the words of the target's space."""
    rng = Random("at large")
    at_large = [space.choices(space.sample(rng)) for _ in range(AT_LARGE)]
    chosen = [space.choices(measured.architecture) for measured in best]
    author = f"statistics (best {len(best)} of {label})"
    for draft in common_ground(chosen, at_large, space.decisions, author=author):
        obeying = [m for m, choices in zip(best, chosen, strict=True) if draft.constraint.holds(choices)]
        share = sum(draft.constraint.holds(choices) for choices in at_large) / len(at_large)
        why = f"{len(obeying)} of the best {len(best)} of {label} obey, {share:.0%} of random architectures do"
        here: Draft | None = draft
        if space.name != target.space.name:
            here = translate(draft, space, target.space)
            why = f"translated from '{draft.constraint}' of space {space.name}: {why}"
        if here is None:
            continue
        evidence = Evidence(supporting=tuple(m.architecture.id for m in obeying), tasks=(evaluation.task.name,))
        principle = Principle("P1", 1, here.text, here.constraint, here.author, "active", evidence)
        provenance = evaluation.evaluator.provenance
        yield RecalledPrinciple(principle, evaluation.task.name, "", provenance, 1.0, why, grounds="shares")


# -- runs -------------------------------------------------------------------------------------------------


def pinned(name: str) -> str:
    """Return the path of the run that a name means now, `last` above all; any other name as it is."""
    folder = _run_named(name, None)
    return name if folder is None else str(folder.path.resolve())


def _run_named(name: str, asking: Path | None) -> RunFolder | None:
    """Find the run of this name, never the one that asks; None where the name is no run's."""
    known = [folder for folder in known_folders(home()) if folder.path != asking]
    named = any(folder.path.name == name or folder.path.name.endswith(f"-{name}") for folder in known)
    try:
        if name == "last" and known:
            return known[-1]
        return find(home(), name) if named or (Path(name) / "run.json").is_file() else None
    except (ConfigError, RunFolderError, OSError, ValueError) as error:
        raise ConfigError(f"--from {name[:200]}: {getattr(error, 'strerror', None) or error}") from error


def _from_run(name: str, target: Target) -> list[Json]:
    """Read the run folder that is named, and no other."""
    folder = _run_named(name, target.run)
    if folder is None:
        return []
    try:
        record = record_of(folder)
    except (RunFolderError, OSError, ValueError) as error:
        raise ConfigError(f"--from {name[:200]}: {getattr(error, 'strerror', None) or error}") from error
    return run_items([record], name, target)


def _from_own_runs(name: str, target: Target) -> list[Json]:
    """Read all runs of the task of that name: the user's own tables and tasks are in no benchmark."""
    own = None if target.run is None else target.run.name
    records = [r for r in all_records() if r.task.name.lower() == name.lower() and r.run_id != own]
    return run_items(records, name, target) if records else []


def run_items(records: Sequence[RunRecord], name: str, target: Target) -> list[Json]:
    """Return what runs found: sources of their outcomes, their best, and their active principles."""
    records = [record for record in records if record.space == target.space.name]
    if not any(isinstance(outcome, Measured) for record in records for outcome in record.outcomes):
        raise ConfigError(
            f"--from {name}: expected a run folder or a task with results in space '{target.space.name}', "
            "found none; `nas-agent runs` lists them"
        )
    near = NearTask(records[0].task, 1.0, 1)
    elites = [elite for record in records for elite in rank_outcomes(record)]
    lessons = [
        Lesson(record.run_id, record.task.name, record.space, principle, record.provenance)
        for record in records
        for principle in record.principles
        if principle.status == "active"
    ]
    recalled = best_architectures(near, elites, target.task.name)
    return [
        source_of(near, target.space.name, recalled, target.rows).to_dict(),
        *(item.to_dict() for item in recalled[:SHOWN]),
        *(item.to_dict() for item in best_principles(near, lessons, target.task.name)[:SHOWN]),
    ]
