"""How one search remembers: what it asks memory for at its start, and what it hands over at its end.

Run folders are the truth. Memory is an index of them; `--from` reads them, and tables, directly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nas_agent.config import Config
from nas_agent.errors import ConfigError, MemoryStoreError, StorageError
from nas_agent.records import Json, Task
from nas_agent.spaces.base import Space
from nas_agent.tools.home import home
from nas_agent.tools.journal import Journal
from nas_agent.tools.memory import Memory
from nas_agent.tools.run_records import record_from
from nas_agent.tools.sources import MEMORY, read_sources, target_of

ARCHITECTURES = 5  # recalled for a new task
PRINCIPLES = 8


def open_memory() -> Memory:
    """Return the memory of this user; nothing is opened or loaded before it is used."""
    from nas_agent.tools.embeddings import CachedEmbedder, MiniLM

    folder = home()
    return Memory(folder / "memory", CachedEmbedder(MiniLM(), folder / "cache"))


def check_source(config: Config, task: Task, space: Space) -> list[Json]:
    """Read the named sources; ConfigError where this search cannot recall from one, before a folder is made."""
    named = [name for name in config.source if name != MEMORY]
    if MEMORY in config.source and config.recall == "none":
        raise ConfigError("--from memory: memory is switched off; leave out --no-memory or --recall none")
    return named_apart(read_sources(named, target_of(config, task, space, None)))


class Frozen:
    """A memory that says one thing and keeps nothing."""

    def __init__(self, items: list[Json]) -> None:
        self._items = items

    def recall(self) -> list[Json]:
        """Return the items."""
        return self._items

    def remember(self, journal: Journal) -> str:
        """Forget."""
        return ""


def without_memory(config: Config, task: Task, space: Space) -> Frozen | None:
    """Return what the named sources tell a search that has no memory; None where none is named."""
    if MEMORY in config.source:
        raise ConfigError("source 'memory': this search has none; pass `memory`, or name tasks and runs")
    return Frozen(check_source(config, task, space)) if config.source else None


def named_apart(items: Sequence[Json]) -> list[Json]:
    """Number sources of one name, as two runs on a task are: a trace tells them apart by their names alone."""
    seen: Counter[str] = Counter()
    named = []
    for item in items:
        if item["kind"] == "source":
            name = item["name"]
            seen[name] += 1
            item = item if seen[name] == 1 else {**item, "name": f"{name} ({seen[name]})"}
        named.append(item)
    return named


class RunMemory:
    """The memory of one search; with `keep` off, the search reads it and leaves nothing in it."""

    def __init__(
        self, config: Config, task: Task, space: Space, run: Path, memory: Memory, *, keep: bool = True
    ) -> None:
        self._config, self._task, self._space, self._run, self._memory = config, task, space, run, memory
        self._keep = keep

    def recall(self) -> list[Json]:
        """Return recalled sources, architectures and principles, each with why, as plain JSON."""
        config = self._config
        named = [name for name in config.source if name != MEMORY]
        items = read_sources(named, target_of(config, self._task, self._space, self._run))
        if config.recall == "none" or (config.source and MEMORY not in config.source):
            return named_apart(items)
        recalled = self._memory.recall(
            self._task,
            self._space.name,
            ARCHITECTURES,
            PRINCIPLES,
            config.recall,
            k_rows=config.source_rows,
            judge_by_own=MEMORY in config.source,  # who asks for memory by name does not search cold
        )
        return named_apart([*items, *(item.to_dict() for item in recalled)])

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
