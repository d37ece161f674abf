"""How one search remembers: what it asks memory for at its start, and what it hands over at its end.

Run folders are the truth. Memory is an index of them; `--from` reads them directly.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from nas_agent.config import Config
from nas_agent.errors import ConfigError, MemoryStoreError, RunFolderError, StorageError
from nas_agent.principles.principle import Principle
from nas_agent.records import Json, Outcome, Task, outcome_from_dict
from nas_agent.spaces.base import Space
from nas_agent.tools.event_log import read_events
from nas_agent.tools.home import home
from nas_agent.tools.journal import Journal
from nas_agent.tools.memory import Memory
from nas_agent.tools.recall import best_architectures, best_principles, rank_outcomes
from nas_agent.tools.remembered import Lesson, NearTask, RunRecord
from nas_agent.tools.run_folder import RunFolder, find, known_folders

ARCHITECTURES = 5  # recalled for a new task: they are the first to be measured
PRINCIPLES = 8


def open_memory() -> Memory:
    """Return the memory of this user; nothing is opened or loaded before it is used."""
    from nas_agent.tools.embedding import CachedEmbedder, MiniLM

    folder = home()
    return Memory(folder / "memory", CachedEmbedder(MiniLM(), folder / "cache"))


def record_of(folder: RunFolder) -> RunRecord:
    """Read what memory wants to know of a run from its event log."""
    task: Task | None = None
    space, outcomes, finished = "", list[Outcome](), False
    principles: dict[str, Principle] = {}
    for event in read_events(folder.events)[0]:
        match event["type"]:
            case "started":
                task, space = Task.from_dict(event["task"]), str(event["space_name"])
            case "outcome":
                outcomes.append(outcome_from_dict(event["outcome"]))
            case "principle":
                principles[event["principle"]["id"]] = Principle.from_dict(event["principle"])
            case "finished":
                finished = True
    if task is None:
        raise RunFolderError(f"{folder.path}: the event log is empty; nothing was measured in this run")
    return RunRecord(folder.path.name, task, space, outcomes, list(principles.values()), finished)


def all_records() -> Iterator[RunRecord]:
    """Read every known run folder that holds outcomes: what `memory rebuild` rebuilds from."""
    for folder in known_folders(home()):
        try:
            record = record_of(folder)
        except RunFolderError:
            continue  # a run that was cut off before its first event has nothing to remember
        if record.outcomes:
            yield record


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
            return self._from_source(config.source)
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
        record = RunRecord(
            run_id=self._run.name,
            task=journal.task,
            space=self._space.name,
            outcomes=list(journal.archive),
            principles=list(journal.library.principles),
            finished=True,
        )
        try:
            self._memory.remember(record)
        except (MemoryStoreError, StorageError) as error:
            return str(error)
        return ""

    def _from_source(self, source: str) -> list[Json]:
        records = [record for record in self._sources(source) if record.space == self._space.name]
        if not any(record.outcomes for record in records):
            raise ConfigError(
                f"--from {source}: expected a run folder or a task with runs in space '{self._space.name}'; "
                "`nas-agent runs` lists them"
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
            *(item.to_dict() for item in best_architectures(near, elites, self._task.name)[:ARCHITECTURES]),
            *(item.to_dict() for item in best_principles(near, lessons, self._task.name)[:PRINCIPLES]),
        ]

    def _sources(self, source: str) -> list[RunRecord]:
        same_task = [record for record in all_records() if record.task.name.lower() == source.lower()]
        return same_task or [record_of(find(home(), source))]
