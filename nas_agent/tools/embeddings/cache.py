"""Embeddings on disk: what was embedded once, by any process, is read and not computed."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas_agent.errors import StorageError
from nas_agent.tools.embeddings.base import Embedder, Vectors

FILE = "embeddings.sqlite"
FORMAT = 2  # kept in the file as SQLite's user_version; files of the first format had none
CHUNK = 512  # texts that are embedded before they are written: what an interrupted run can lose
PART = 500  # keys in one query; SQLite takes at most 999 values in old builds

log = logging.getLogger(__name__)


class CachedEmbedder:
    """An embedder that remembers on disk what it has embedded; safe for several processes.

    A cache that cannot be used costs time and never a result: it is set aside or left alone, and `notes` says so.
    """

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self._embedder = embedder
        self._file = folder / FILE
        self._read_as_cut: set[str] = set()
        self.notes: list[str] = []  # what went wrong with the cache, for the user
        self.computed = 0  # texts that the model had to read

    @property
    def name(self) -> str:
        """The embedder's: a cache changes no vector."""
        return self._embedder.name

    @property
    def dimension(self) -> int:
        """The embedder's."""
        return self._embedder.dimension

    @property
    def counts(self) -> bool:
        """The embedder's."""
        return self._embedder.counts

    @property
    def truncated(self) -> set[str]:
        """The texts so far of which the end was not read, now or when the cached vector was made."""
        return self._read_as_cut | set(self._embedder.truncated)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, dimension), reading from the cache what it holds."""
        if not texts:
            return np.zeros((0, self.dimension), np.float32)
        name = self.name
        keys = {text: hashlib.sha256(f"{name}\0{text}".encode()).digest() for text in texts}
        known = self._read(list(keys.values()))
        self._read_as_cut |= {text for text, key in keys.items() if key in known and known[key][1]}
        found = {key: vector for key, (vector, _) in known.items()}
        missing = [text for text, key in keys.items() if key not in found]
        for start in range(0, len(missing), CHUNK):
            part = missing[start : start + CHUNK]
            self.computed += len(part)
            fresh = self._embedder.embed(part)
            cut = self._embedder.truncated
            rows = [(keys[text], text in cut, vector) for text, vector in zip(part, fresh, strict=True)]
            self._write(name, rows)
            found.update((key, vector) for key, _, vector in rows)
        return np.stack([found[keys[text]] for text in texts])

    def _read(self, keys: list[bytes]) -> dict[bytes, tuple[Vectors, bool]]:
        """Return vector, and whether its text was cut, by key."""
        found: dict[bytes, tuple[Vectors, bool]] = {}
        if not self._file.exists():
            return found
        try:
            with closing(_connect(self._file)) as connection:
                if not _is_ours(connection):
                    return found  # another process is about to make it
                for start in range(0, len(keys), PART):
                    part = keys[start : start + PART]
                    rows = connection.execute(
                        "SELECT key, vector, cut, dimension FROM vectors JOIN embedders ON embedder = embedders.id "
                        f"WHERE key IN ({','.join('?' * len(part))})",
                        part,
                    )
                    for key, blob, cut, dimension in rows:
                        if isinstance(blob, bytes) and len(blob) == 4 * dimension:  # else: embed it again
                            found[key] = np.frombuffer(blob, dtype="<f4").astype(np.float32), bool(cut)
        except sqlite3.DatabaseError as error:
            self._give_up(error)
        return found

    def _write(self, name: str, rows: list[tuple[bytes, bool, Vectors]]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(_connect(self._file)) as connection:
                connection.execute("BEGIN IMMEDIATE")  # a lock taken later would not wait for another writer
                if not _is_ours(connection):
                    _create(connection)
                connection.execute(
                    "INSERT OR IGNORE INTO embedders (name, dimension) VALUES (?, ?)", (name, rows[0][2].shape[0])
                )
                (number,) = connection.execute("SELECT id FROM embedders WHERE name = ?", (name,)).fetchone()
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors (key, embedder, cut, vector) VALUES (?, ?, ?, ?)",
                    [(key, number, cut, vector.astype("<f4").tobytes()) for key, cut, vector in rows],
                )
                connection.execute("COMMIT")
        except (OSError, sqlite3.DatabaseError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Set a broken file aside; one that is locked, read-only or out of space is left where it is."""
        if not _is_broken(error):
            self._note(f"embedding cache {self._file} cannot be used ({error}); texts are embedded without it")
            return
        aside = self._file.with_name(f"{self._file.name}.broken-{time.time_ns()}")
        for suffix in ("", "-journal"):  # a journal left behind would be applied to the next file
            part = self._file.with_name(self._file.name + suffix)
            try:
                part.rename(aside.with_name(aside.name + suffix))
            except FileNotFoundError:
                continue  # no journal, or another process has just done the same
            except OSError as problem:
                self._note(f"embedding cache {self._file} is broken and cannot be moved ({problem.strerror})")
                return
        self._note(f"embedding cache {self._file} was broken ({error}); moved to {aside.name} and started afresh")

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            log.warning(text)


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What an embedding cache holds."""

    file: Path
    entries: int
    bytes: int  # of the vectors; the file is somewhat larger
    embedders: dict[str, tuple[int, int]]  # name -> entries and bytes
    set_aside: int  # broken or outdated files beside it


def cache_stats(folder: Path) -> CacheStats:
    """Look into the cache of a folder; StorageError where its file cannot be read. No file: nothing in it."""
    file = folder / FILE
    held: dict[str, tuple[int, int]] = {}
    if file.exists():
        try:
            with closing(_connect(file)) as connection:
                if _is_ours(connection):
                    rows = connection.execute(
                        "SELECT name, COUNT(key), COALESCE(SUM(LENGTH(vector)), 0) FROM embedders "
                        "LEFT JOIN vectors ON embedder = embedders.id GROUP BY embedders.id ORDER BY name"
                    )
                    held = {str(name): (int(entries), int(size)) for name, entries, size in rows if entries}
        except sqlite3.DatabaseError as error:
            raise StorageError(
                f"embedding cache {file} cannot be read ({error}); the next search that needs it makes a new one"
            ) from error
    entries, size = (sum(value[part] for value in held.values()) for part in (0, 1))
    return CacheStats(file, entries, size, held, len(_set_aside(folder)))


def clear_cache(folder: Path, embedder: str | None = None) -> CacheStats:
    """Forget all vectors, or those of one embedder; return what was removed. StorageError where that fails.

    Without an embedder a broken file goes too, and what was set aside. Processes that use the cache are not disturbed.
    """
    file = folder / FILE
    try:
        removed = cache_stats(folder)
    except StorageError:
        if embedder is not None:
            raise
        removed = CacheStats(file, 0, 0, {}, len(_set_aside(folder)))
    try:
        if embedder is not None:
            held = {name: value for name, value in removed.embedders.items() if name == embedder}
            removed = CacheStats(file, *held.get(embedder, (0, 0)), held, 0)
        else:
            for path in _set_aside(folder):
                path.unlink(missing_ok=True)
        if file.exists():
            _delete(file, embedder)
    except (OSError, sqlite3.DatabaseError) as error:
        if embedder is not None or not _is_broken(error):
            raise StorageError(f"embedding cache {file} cannot be cleared ({error})") from error
        for suffix in ("", "-journal"):
            file.with_name(file.name + suffix).unlink(missing_ok=True)
    return removed


def _delete(file: Path, embedder: str | None) -> None:
    # Rows, not the file: a process that is writing would leave a journal that the next file must not inherit.
    with closing(_connect(file)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if _is_ours(connection):
            which = "" if embedder is None else "WHERE embedder IN (SELECT id FROM embedders WHERE name = ?)"
            connection.execute(f"DELETE FROM vectors {which}", () if embedder is None else (embedder,))
        connection.execute("COMMIT")
        connection.execute("VACUUM")


def _set_aside(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{FILE}.broken-*"))


def _connect(file: Path) -> sqlite3.Connection:
    # No write-ahead log: switching it on fails at once where another process is doing the same.
    return sqlite3.connect(file, timeout=30, isolation_level=None)


def _is_ours(connection: sqlite3.Connection) -> bool:
    """Say whether the file holds our tables; False where it is new. DatabaseError where another version wrote it."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == FORMAT:
        return True
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    if version or tables:
        raise sqlite3.DatabaseError(f"format {version}, this version of nas-agent reads {FORMAT}")
    return False


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE embedders (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, dimension INTEGER NOT NULL)"
    )
    connection.execute(
        "CREATE TABLE vectors (key BLOB PRIMARY KEY, embedder INTEGER NOT NULL, cut INTEGER NOT NULL, "
        "vector BLOB NOT NULL)"
    )
    connection.execute(f"PRAGMA user_version = {FORMAT}")


def _is_broken(error: Exception) -> bool:
    """Tell a file that nobody can use from one that is locked, read-only or on a full disk."""
    if not isinstance(error, sqlite3.OperationalError):
        return isinstance(error, sqlite3.DatabaseError)
    return "column" in str(error) or "no such table" in str(error)
