"""Embeddings on disk: what was embedded once, by any process, is read and not computed."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from nas_agent.tools.embeddings.base import Embedder, Vectors

log = logging.getLogger(__name__)


class CachedEmbedder:
    """An embedder that remembers on disk what it has embedded; safe for several processes.

    A cache that cannot be used costs time and never a result: it is set aside or left alone, and `notes` says so.
    """

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self._embedder = embedder
        self._file = folder / "embeddings.sqlite"
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

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, dimension), reading from the cache what it holds."""
        keys = {text: hashlib.sha256(f"{self.name}\0{text}".encode()).digest() for text in texts}
        found = self._read(list(keys.values()))
        missing = [text for text, key in keys.items() if key not in found]
        if missing:
            self.computed += len(missing)
            fresh = self._embedder.embed(missing)
            rows = {keys[text]: vector for text, vector in zip(missing, fresh, strict=True)}
            self._write(rows)
            found.update(rows)
        return np.stack([found[keys[text]] for text in texts]) if texts else np.zeros((0, self.dimension), np.float32)

    def _read(self, keys: list[bytes]) -> dict[bytes, Vectors]:
        found: dict[bytes, Vectors] = {}
        if not self._file.exists():
            return found
        try:
            with closing(self._connect()) as connection:
                for start in range(0, len(keys), 500):  # SQLite takes at most 999 values in old builds
                    part = keys[start : start + 500]
                    places = ",".join("?" * len(part))
                    rows = connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({places})", part)
                    for key, blob in rows:
                        if isinstance(blob, bytes) and len(blob) == 4 * self.dimension:  # else: embed it again
                            found[key] = np.frombuffer(blob, dtype="<f4").astype(np.float32)
        except sqlite3.DatabaseError as error:
            if "no such table" not in str(error):  # another process is about to make it
                self._give_up(error)
        return found

    def _write(self, rows: dict[bytes, Vectors]) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as connection:
                connection.execute("BEGIN IMMEDIATE")  # a lock taken later would not wait for another writer
                connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
                connection.executemany(
                    "INSERT OR REPLACE INTO vectors (key, vector) VALUES (?, ?)",
                    [(key, vector.astype("<f4").tobytes()) for key, vector in rows.items()],
                )
                connection.execute("COMMIT")
        except (OSError, sqlite3.DatabaseError) as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        # No write-ahead log: switching it on fails at once where another process is doing the same.
        return sqlite3.connect(self._file, timeout=30, isolation_level=None)

    def _give_up(self, error: Exception) -> None:
        """Set a broken file aside; one that is locked, read-only or out of space is left where it is."""
        if isinstance(error, OSError | sqlite3.OperationalError) and "column" not in str(error):
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
