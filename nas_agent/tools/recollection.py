"""How one search remembers: what it asks memory for at its start, and what it hands over at its end.

Run folders are the truth. Memory is an index of them; `--from` reads them directly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nas_agent.config import Config
from nas_agent.errors import ConfigError, MemoryStoreError, PrincipleError, RunFolderError, StorageError
from nas_agent.principles.principle import Principle
from nas_agent.records import Json, Measured, Outcome, Task, outcome_from_dict
from nas_agent.spaces.base import Space
from nas_agent.tools.event_log import read_events
from nas_agent.tools.home import home
from nas_agent.tools.journal import Journal
from nas_agent.tools.memory import Memory
from nas_agent.tools.recall import best_architectures, best_principles, rank_outcomes
from nas_agent.tools.remembered import Lesson, NearTask, RunRecord
from nas_agent.tools.run_folder import RunFolder, find, known_folders, open_folder

ARCHITECTURES = 5  # recalled for a new task: they are the first to be measured
PRINCIPLES = 8


def open_memory() -> Memory:
    """Return the memory of this user; nothing is opened or loaded before it is used."""
    from nas_agent.tools.embedding import CachedEmbedder, MiniLM

    folder = home()
    return Memory(folder / "memory", CachedEmbedder(MiniLM(), folder / "cache"))


def record_from(journal: Journal, run_id: str, space_name: str) -> RunRecord:
    """Return what memory wants to know of a run that is at hand."""
    return RunRecord(
        run_id=run_id,
        task=journal.task,
        space=space_name,
        outcomes=list(journal.archive),
        principles=list(journal.library.principles),
        finished=journal.result is not None,
    )


def record_of(folder: RunFolder) -> RunRecord:
    """Read the same from a run folder; RunFolderError where it is of a newer format or its log is spoiled."""
    open_folder(folder.path)
    events = read_events(folder.events)[0]
    try:
        record = _record(folder.path.name, events)
    except (KeyError, TypeError, ValueError, AttributeError, PrincipleError) as error:
        raise RunFolderError(
            f"{folder.path}: its event log holds an event that this program cannot read ({error!r}); "
            "mend it, or leave this run out by `nas-agent runs rm`"
        ) from error
    if record is None:
        raise RunFolderError(f"{folder.path}: the event log is empty; nothing was measured in this run")
    return record


def _record(run_id: str, events: Sequence[Json]) -> RunRecord | None:
    task: Task | None = None
    space, outcomes, finished = "", list[Outcome](), False
    principles: dict[str, Principle] = {}
    for event in events:
        match event["type"]:
            case "started":
                task, space = Task.from_dict(event["task"]), str(event["space_name"])
            case "outcome":
                outcomes.append(outcome_from_dict(event["outcome"]))
            case "principle":
                principles[event["principle"]["id"]] = Principle.from_dict(event["principle"])
            case "finished":
                finished = True
    return None if task is None else RunRecord(run_id, task, space, outcomes, list(principles.values()), finished)


def all_records(skipped: list[str] | None = None) -> Iterator[RunRecord]:
    """Read every known run folder that holds outcomes: what `memory rebuild` rebuilds from.

    A folder that cannot be read is passed over, and a line about it added to `skipped`. A run that was cut off
    before its first event has nothing to remember, and nothing is said about it.
    """
    for folder in known_folders(home()):
        if not folder.events.is_file() or folder.events.stat().st_size == 0:
            continue
        try:
            record = record_of(folder)
        except RunFolderError as error:
            if skipped is not None:
                skipped.append(str(error))
            continue
        if record.outcomes:
            yield record


def check_source(config: Config, task: Task, space: Space) -> None:
    """Raise ConfigError where `--from` names nothing that this search can recall from; before a folder is made."""
    if config.source is not None:
        _from_source(config.source, task, space, None)


class RunMemory:
    """The memory of one search; with `keep` off, the search reads it and leaves nothing in it."""

    def __init__(
        self, config: Config, task: Task, space: Space, run: Path, memory: Memory, *, keep: bool = True
    ) -> None:
        self._config, self._task, self._space, self._run, self._memory = config, task, space, run, memory
        self._keep = keep

    def recall(self) -> list[Json]:
        """Return recalled architectures and principles, each with why, as plain JSON."""
        config = self._config
        if config.source is not None:
            return _from_source(config.source, self._task, self._space, self._run)
        if config.recall == "none":
            return []
        items = self._memory.recall(self._task, self._space.name, ARCHITECTURES, PRINCIPLES, config.recall)
        return [item.to_dict() for item in items]

    def remember(self, journal: Journal) -> str:
        """Hand the finished search to memory; return what went wrong, if anything did.

        The run folder has everything, so a memory that cannot be written costs nothing but a `memory rebuild`.
        """
        if not self._keep:
            return ""
        try:
            self._memory.remember(record_from(journal, self._run.name, self._space.name))
        except (MemoryStoreError, StorageError) as error:
            return str(error)
        return ""


def _from_source(source: str, task: Task, space: Space, own: Path | None) -> list[Json]:
    records = [record for record in _sources(source, own) if record.space == space.name]
    if not any(isinstance(outcome, Measured) for record in records for outcome in record.outcomes):
        raise ConfigError(
            f"--from {source}: expected a run folder or a task with results in space '{space.name}', "
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
    return [
        *(item.to_dict() for item in best_architectures(near, elites, task.name)[:ARCHITECTURES]),
        *(item.to_dict() for item in best_principles(near, lessons, task.name)[:PRINCIPLES]),
    ]


def _sources(source: str, own: Path | None) -> list[RunRecord]:
    """Read the run folder that is named, and no other; where none is, those of the task of that name.

    `own` is the folder of the search that asks: it is registered before it recalls, and never its own source.
    """
    known = [folder for folder in known_folders(home()) if folder.path != own]
    named = any(folder.path.name == source or folder.path.name.endswith(f"-{source}") for folder in known)
    try:
        if source == "last" and known:
            return [record_of(known[-1])]
        if named or (Path(source) / "run.json").is_file():
            return [record_of(find(home(), source))]
        same_task = [record for record in all_records() if record.task.name.lower() == source.lower()]
        return same_task or [record_of(find(home(), source))]
    except RunFolderError as error:
        raise ConfigError(f"--from {source}: {error}") from error
