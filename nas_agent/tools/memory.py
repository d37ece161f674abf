"""Memory: what survives runs, and what a new task gets back of it.

The store is an index of the run folders: it can be thrown away and made again by `rebuild`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from nas_agent.errors import ConfigError, MemoryStoreError
from nas_agent.records import Json, Task
from nas_agent.tools.embeddings import Embedder, Vectors
from nas_agent.tools.memory_answers import Hit, Rebuilt, Remembered, Stats
from nas_agent.tools.memory_folder import MemoryFolder
from nas_agent.tools.memory_store import session
from nas_agent.tools.recall import (
    alike_tasks,
    best_architectures,
    best_principles,
    embed_notation,
    nearest_tasks,
    same_architecture,
    same_principle,
    share,
    source_of,
)
from nas_agent.tools.remembered import Elite, Lesson, Recalled, RunRecord, Scope

COMPARED = 6  # tasks, the most alike by description, whose ranks are compared
LATEST = 10  # runs of a task that are read whole: reading an outcome takes 0.1 ms
_COUNTED = ("measured", "predicted", "principles", "active")


class Memory:
    """Runs, architectures and principles of the past, and the choice of what a new task may use."""

    def __init__(self, folder: Path, embedder: Embedder, *, wait: float = 60.0) -> None:
        self.folder = folder
        self._embedder = embedder  # of task descriptions and principles
        self._folder = MemoryFolder(folder, embedder, wait)

    # -- writing ---------------------------------------------------------------------------------------

    def remember(self, record: RunRecord) -> Remembered:
        """Write a run in one go; the same record again changes nothing, a changed one replaces what was known."""
        digest = _digest(record)
        if self._folder.stores():
            with self._folder.open() as store:
                if store.digest(record.run_id) == digest:
                    return Remembered.KNOWN
        vectors = self._embed(record)  # before the lock is taken: it may load a model
        with self._folder.open(create=True) as store:
            store.sweep()
            before = store.digest(record.run_id)
            if before == digest:
                return Remembered.KNOWN
            store.write(record, digest, *vectors)
        return Remembered.NEW if before is None else Remembered.UPDATED

    def forget(self, *, run: str | None = None, task: str | None = None, everything: bool = False) -> int:
        """Remove one run, a task's runs or all of them (even a broken store); return how many runs went.

        Run folders stay: a rebuild brings their contents back.
        """
        if sum((run is not None, task is not None, everything)) != 1:
            raise ConfigError("memory forget: expected exactly one of a run, a task, or everything")
        if not self._folder.stores():
            return 0
        if everything:
            count = 0
            with contextlib.suppress(MemoryStoreError):  # a broken store is forgotten all the same
                count = self.stats().runs
            with self._folder.locked(), self._folder.writing():
                for folder in self._folder.stores():
                    shutil.rmtree(folder)
            return count
        with self._folder.open() as store:
            store.sweep()
            gone = [key for key, about in store.runs().items() if key == run or about["task_name"] == task]
            store.delete(gone)
        return len(gone)

    def rebuild(self, records: Iterable[RunRecord]) -> Rebuilt:
        """Make a new store from the run folders' records and put it in the old one's place, which moves aside.

        Until the last moment the old store is untouched; a run that occurs twice is taken as it occurs last.
        """
        with self._folder.locked():
            fresh = self._folder.create()
            with session(fresh, self._embedder) as store:
                for record in records:
                    store.write(record, _digest(record), *self._embed(record))
                made = store.runs().values()
            previous = self._folder.install(fresh)
        architectures = sum(about["measured"] + about["predicted"] for about in made)
        return Rebuilt(len(made), architectures, sum(about["principles"] for about in made), previous)

    def _embed(self, record: RunRecord) -> tuple[Vectors, Vectors]:
        """Return the task description's vector (dimension,) and the principles' (principles, dimension)."""
        both = self._embedder.embed([record.task.description, *(principle.text for principle in record.principles)])
        return both[0], both[1:]

    # -- reading ---------------------------------------------------------------------------------------

    def recall(
        self,
        task: Task,
        space: str,
        k_architectures: int,
        k_principles: int,
        scope: Scope = "others",
        *,
        k_rows: int = 0,
        judge_by_own: bool = False,
    ) -> list[Recalled]:
        """Return what the nearest tasks of the same space have to offer: sources, architectures, principles.

        A source is at most `k_rows` outcomes of one task, good and bad, for the surrogate to learn from.

        `others` leaves out everything that was learned on a task of the same name, also a principle that has
        evidence from it or was once taken over from it; under it, earlier outcomes of this task say which tasks are
        near only where `judge_by_own`. The embedder is asked for one text, and for none where there is nothing to
        recall.
        """
        if scope == "none" or not self._folder.stores():
            return []
        with self._folder.open() as store:
            runs, vectors = store.runs(), store.descriptions()
        here = {run: about for run, about in sorted(runs.items()) if about["complete"] and about["space"] == space}
        own = {run: about for run, about in here.items() if about["task_name"] == task.name}
        known = here if scope == "all" else {run: about for run, about in here.items() if run not in own}
        if not known:
            return []
        tasks = [(Task.from_dict(json.loads(about["task"])), vectors[run]) for run, about in known.items()]
        alike = alike_tasks(self._embedder.embed([task.description])[0], tasks)[:COMPARED]
        candidates = _latest({item.task.name for item in alike}, known)
        if scope == "all" or judge_by_own:
            candidates |= _latest({task.name}, own)
        with self._folder.open() as store:
            outcomes = _by_task(store.elites(candidates))
            near = nearest_tasks(alike, task.name, outcomes)
            names = {item.task.name for item in near}
            chosen = {run: about for run, about in known.items() if about["task_name"] in names}
            best = _by_task(store.elites(chosen, k_architectures))
            lessons = store.lessons(chosen) if k_principles else []
        if scope == "others":
            lessons = [lesson for lesson in lessons if task.name not in lesson.principle.tasks]
        architectures = [best_architectures(item, best.get(item.task.name, ()), task.name) for item in near]
        principles = [
            best_principles(item, [e for e in lessons if e.task == item.task.name], task.name) for item in near
        ]
        sources = [
            source_of(item, space, found, k_rows, f"{item.phrase(task.name)}: ")
            for item in near
            if k_rows and (found := best_architectures(item, outcomes.get(item.task.name, ()), task.name))
        ]
        return [
            *sources,
            *share(architectures, k_architectures, same_architecture),
            *share(principles, k_principles, same_principle),
        ]

    def search(self, query: str, count: int = 10) -> list[Hit]:
        """Return the principles nearest in meaning and the architectures nearest in notation, best first."""
        if not self._folder.stores():
            return []
        with self._folder.open() as store:
            principles = sum(about["principles"] for about in store.runs().values())
        # Without a principle the model is not asked, so it need not be loaded.
        meaning = self._embedder.embed([query])[0] if principles else None
        with self._folder.open() as store:
            lessons = [] if meaning is None else store.nearest("principles", meaning, count)
            elites = store.nearest("architectures", embed_notation([query])[0], count)
        return [
            *(_lesson_hit(Lesson.from_metadata(data), similarity) for data, similarity in lessons),
            *(_elite_hit(Elite.from_metadata(data), similarity) for data, similarity in elites if similarity > 0),
        ]

    def stats(self) -> Stats:
        """Count what memory holds; an empty memory is not created by asking."""
        runs: dict[str, Json] = {}
        if self._folder.stores():
            with self._folder.open() as store:
                runs = {key: about for key, about in store.runs().items() if about["complete"]}
        tasks: dict[str, int] = {}
        spaces: dict[str, int] = {}
        for _, about in sorted(runs.items()):
            tasks[about["task_name"]] = tasks.get(about["task_name"], 0) + 1
            spaces[about["space"]] = spaces.get(about["space"], 0) + 1
        total = {key: sum(about[key] for about in runs.values()) for key in _COUNTED}
        return Stats(
            folder=self.folder,
            embedder=self._embedder.name,
            runs=len(runs),
            architectures=total["measured"] + total["predicted"],
            tasks=tasks,
            spaces=spaces,
            **total,
        )


def _latest(tasks: Set[str], runs: Mapping[str, Json]) -> dict[str, Json]:
    """Return the newest few runs of each of these tasks: names of run folders begin with the time."""
    chosen: dict[str, Json] = {}
    for task in tasks:
        of_task = sorted(run for run, about in runs.items() if about["task_name"] == task)
        chosen |= {run: runs[run] for run in of_task[-LATEST:]}
    return dict(sorted(chosen.items()))


def _by_task(elites: Iterable[Elite]) -> dict[str, list[Elite]]:
    found: dict[str, list[Elite]] = {}
    for elite in elites:
        found.setdefault(elite.task, []).append(elite)
    return found


def _digest(record: RunRecord) -> str:
    return hashlib.sha256(json.dumps(record.to_dict(), sort_keys=True).encode()).hexdigest()


def _elite_hit(elite: Elite, similarity: float) -> Hit:
    about = f"{elite.value:.2f}, {elite.provenance}, rank {elite.rank} of {elite.of}"
    return Hit(
        "architecture", elite.architecture.text, elite.task, elite.architecture.space, elite.run, about, similarity
    )


def _lesson_hit(lesson: Lesson, similarity: float) -> Hit:
    effect = lesson.principle.evidence.effect
    about = lesson.principle.status + ("" if effect is None else f", effect {effect:+.2f} ({lesson.provenance})")
    return Hit("principle", lesson.principle.text, lesson.task, lesson.space, lesson.run, about, similarity)
