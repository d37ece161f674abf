"""The Chroma store behind memory. The only file that imports chromadb.

Collections `runs` (embedded by the task's description), `architectures` (by their notation, so that no model and no
space is needed) and `principles` (by their text). A run's entry says "incomplete" until all its items are written;
what a killed process left behind is invisible, and the next writer removes it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.errors import MemoryStoreError, StorageError
from nas_agent.records import Json
from nas_agent.tools.embeddings import Embedder, Vectors
from nas_agent.tools.recall import NOTATION_DIMENSION, embed_notation, rank_outcomes
from nas_agent.tools.remembered import Elite, Lesson, RunRecord

FORMAT = 1  # of the metadata; another number means: rebuild
NOTATION = f"notation-hash/{NOTATION_DIMENSION}"
ADVICE = "run: nas-agent memory rebuild"


class Store:
    """An open store. Every method leaves it consistent or recognisably incomplete."""

    def __init__(self, client: Any, collections: dict[str, Any]) -> None:
        self._client = client
        self._collections = collections

    def runs(self) -> dict[str, Json]:
        """Return what is known about each run, by its id."""
        found = self._collections["runs"].get(include=["metadatas"])
        return {key: dict(about) for key, about in zip(found["ids"], found["metadatas"], strict=True)}

    def descriptions(self) -> dict[str, Vectors]:
        """Return the embedded task description of each run."""
        found = self._collections["runs"].get(include=["embeddings"])
        return {key: np.asarray(v, np.float32) for key, v in zip(found["ids"], found["embeddings"], strict=True)}

    def digest(self, run: str) -> str | None:
        """Return the digest of what is known of a run; None where it is unknown or incomplete."""
        found = self._collections["runs"].get(ids=[run], include=["metadatas"])["metadatas"]
        return str(found[0]["digest"]) if found and found[0]["complete"] else None

    def write(self, record: RunRecord, digest: str, description: Vectors, meanings: Vectors) -> None:
        """Write a run in the place of what is known of it: one batch a collection (34 ms each item if alone).

        An item's id is its place in the run, the best and the active first, so that recall knows the ids it wants.
        """
        self.delete([record.run_id])
        elites = sorted(rank_outcomes(record), key=lambda elite: elite.rank)
        task, from_values = record.task.name, record.provenance
        lessons = [Lesson(record.run_id, task, record.space, each, from_values) for each in record.principles]
        order = sorted(range(len(lessons)), key=lambda place: lessons[place].principle.status != "active")
        about = {
            "task": json.dumps(record.task.to_dict(), sort_keys=True),
            "task_name": task,
            "space": record.space,
            "finished": record.finished,
            "digest": digest,
            "measured": sum(elite.provenance == "measured" for elite in elites),
            "groups": sum(elite.rank == 1 for elite in elites),  # ways in which values were obtained
            "predicted": sum(elite.provenance == "predicted" for elite in elites),
            "principles": len(lessons),
            "active": sum(lesson.principle.status == "active" for lesson in lessons),
        }
        runs = self._collections["runs"]
        runs.upsert(ids=[record.run_id], embeddings=description[None], metadatas=[{**about, "complete": False}])
        self._add("architectures", elites, embed_notation([elite.architecture.text for elite in elites]))
        self._add("principles", [lessons[place] for place in order], meanings[order])
        runs.update(ids=[record.run_id], metadatas=[{**about, "complete": True}])

    def _add(self, name: str, items: Sequence[Elite | Lesson], vectors: Vectors) -> None:
        most = self._client.get_max_batch_size()
        for start in range(0, len(items), most):
            part = items[start : start + most]
            self._collections[name].add(
                ids=[f"{item.run}/{name[0]}{place}" for place, item in enumerate(part, start)],
                embeddings=vectors[start : start + most],
                metadatas=[item.to_metadata() for item in part],
            )

    def delete(self, runs: Sequence[str]) -> None:
        """Remove runs and their items; one that is interrupted leaves an incomplete run."""
        known = self._collections["runs"].get(ids=list(runs), include=[])["ids"] if runs else []
        for run in known:
            self._collections["runs"].update(ids=[run], metadatas=[{"complete": False}])
            self._collections["architectures"].delete(where={"run": run})
            self._collections["principles"].delete(where={"run": run})
            self._collections["runs"].delete(ids=[run])

    def sweep(self) -> None:
        """Remove what a killed process has left incomplete."""
        self.delete([run for run, about in self.runs().items() if not about["complete"]])

    def elites(self, runs: Mapping[str, Json], most: int | None = None) -> list[Elite]:
        """Return the `most` best of each of these runs, for each way of obtaining values; None: all of them."""
        held = {run: about["measured"] + about["predicted"] for run, about in runs.items()}
        wanted = {run: held[run] if most is None else most * about["groups"] for run, about in runs.items()}
        ids = [f"{run}/a{place}" for run, number in wanted.items() for place in range(number)]
        found = map(Elite.from_metadata, self._items("architectures", ids))
        return [elite for elite in found if most is None or elite.rank <= most]

    def lessons(self, runs: Mapping[str, Json]) -> list[Lesson]:
        """Return the active principles of these runs."""
        ids = [f"{run}/p{place}" for run, about in runs.items() for place in range(about["active"])]
        return [Lesson.from_metadata(data) for data in self._items("principles", ids)]

    def _items(self, name: str, ids: list[str]) -> list[Json]:
        """Look items up by their ids: the cost does not grow with what else is remembered, as that of a filter does."""
        found: list[Json] = []
        for start in range(0, len(ids), 5000):  # SQLite takes 32,766 values
            part = self._collections[name].get(ids=ids[start : start + 5000], include=["metadatas"])["metadatas"]
            found += [dict(data) for data in part]
        return found

    def nearest(self, name: str, vector: Vectors, most: int) -> list[tuple[Json, float]]:
        """Return the metadata of the nearest items and their cosine similarity, one for each text."""
        runs = self.runs()
        wanted = 5 * most  # several runs hold the same architecture
        found = self._collections[name].query(
            query_embeddings=vector[None], n_results=wanted, include=["metadatas", "distances"]
        )
        pairs = [
            (dict(data), 1.0 - float(distance))
            for data, distance in zip(found["metadatas"][0], found["distances"][0], strict=True)
            if runs.get(data["run"], {}).get("complete")
        ]
        pairs.sort(key=lambda pair: (-round(pair[1], 4), pair[0]["text"], pair[0]["run"]))
        first: dict[str, tuple[Json, float]] = {}
        for data, similarity in pairs:
            first.setdefault(data["text"], (data, similarity))
        return list(first.values())[:most]


@contextlib.contextmanager
def session(path: Path, embedder: Embedder, *, create: bool = False) -> Iterator[Store]:
    """Open a store, check whose vectors it holds, and close it; whatever Chroma raises becomes one clear line."""
    with _chroma_errors(path):
        client = _client(path)
        try:
            yield Store(client, _collections(client, path, embedder, create))
        finally:
            client.close()


def _client(path: Path) -> Any:
    import chromadb

    try:
        return chromadb.PersistentClient(path=path, settings=_settings().model_copy())
    except (ValueError, AttributeError) as error:  # what Chroma raises the second time it opens a broken store
        raise MemoryStoreError(f"memory {path}: the store cannot be opened ({error}); {ADVICE}") from error


@functools.cache
def _settings() -> Any:
    from chromadb.config import Settings

    # What is not given here Chroma reads from the environment and from `.env` in the current folder.
    return Settings(
        _env_file=None,
        anonymized_telemetry=False,
        chroma_otel_collection_endpoint="",
        chroma_api_impl="chromadb.api.rust.RustBindingsAPI",
        migrations="apply",
    )


def _collections(client: Any, path: Path, embedder: Embedder, create: bool) -> dict[str, Any]:
    text = {"format": FORMAT, "embedder": embedder.name, "dimension": embedder.dimension}
    expected = {
        "runs": text,
        "architectures": {**text, "embedder": NOTATION, "dimension": NOTATION_DIMENSION},
        "principles": text,
    }
    collections = {}
    for name, metadata in expected.items():
        if create:
            cosine = {"hnsw": {"space": "cosine"}}
            client.create_collection(name, metadata=metadata, configuration=cosine, embedding_function=None)
        collections[name] = client.get_collection(name, embedding_function=None)
        held = collections[name].metadata or {}
        if any(held.get(key) != value for key, value in metadata.items()):
            raise MemoryStoreError(
                f"memory {path}: its {name} were made by {_maker(held)}, this program uses {_maker(metadata)}; {ADVICE}"
            )
    return collections


def _maker(metadata: Json) -> str:
    return f"{metadata.get('embedder')} ({metadata.get('dimension')} numbers, format {metadata.get('format')})"


@contextlib.contextmanager
def _chroma_errors(path: Path) -> Iterator[None]:
    from chromadb.errors import ChromaError

    try:
        yield
    except ChromaError as error:
        if re.search("disk is full|read-?only|permission denied", str(error), re.IGNORECASE):
            raise StorageError(f"memory {path}: cannot be written ({error})") from error
        raise MemoryStoreError(f"memory {path}: the store is broken ({error}); {ADVICE}") from error
    # A panic of Chroma's Rust core derives from BaseException and has no importable type.
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise MemoryStoreError(f"memory {path}: the store is broken ({error}); {ADVICE}") from error
