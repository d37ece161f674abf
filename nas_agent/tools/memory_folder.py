"""The folder of memory: which store counts, and who may touch it.

    FOLDER/lock            held for every access: Chroma is not safe for several processes
    FOLDER/chroma-NUMBER/  the store (see `memory_store`); the highest number counts
    FOLDER/previous/       the store before the last rebuild, whole or broken

A store is opened for one access and closed (20 ms), so that no process ever looks at what another one has changed under
its feet.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas_agent.errors import MemoryStoreError, StorageError
from nas_agent.tools.embeddings import Embedder
from nas_agent.tools.memory_store import Store, session


@dataclass(frozen=True, slots=True)
class MemoryFolder:
    """Opens, makes and replaces stores, one process at a time."""

    path: Path
    embedder: Embedder
    wait: float  # seconds to wait for another process before giving up

    def stores(self) -> list[Path]:
        """List the stores, the newest last; a rebuild killed at the last moment leaves two."""
        return sorted(self.path.glob("chroma-" + "[0-9]" * 20)) if self.path.is_dir() else []

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out; MemoryStoreError where one stays too long."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / "lock", timeout=self.wait)
        with self.writing():
            self.path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise MemoryStoreError(
                f"memory {self.path}: another process has used it for {self.wait:.0f} s; try again when it is done, "
                "or search without it by --set memory=false"
            ) from None
        except OSError as error:
            raise StorageError(f"memory {self.path}: cannot be locked ({error.strerror or error})") from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def open(self, *, create: bool = False) -> Iterator[Store]:
        """Lock the folder and open the newest store."""
        with self.locked():
            stores = self.stores()
            if not stores:
                if not create:
                    raise MemoryStoreError(f"memory {self.path}: another process has just removed it; try again")
                self.install(self.create())
                stores = self.stores()
            with session(stores[-1], self.embedder) as store:
                yield store

    def create(self) -> Path:
        """Make an empty store beside the present one; leftovers of killed processes go."""
        with self.writing():
            for leftover in self.path.glob("new-*"):
                shutil.rmtree(leftover)
        # Never the same path twice: for the life of a process, Chroma remembers one that failed to open.
        newest = max((int(path.name.removeprefix("chroma-")) for path in self.stores()), default=0)
        path = self.path / f"new-{max(time.time_ns(), newest + 1):020d}"
        with session(path, self.embedder, create=True):
            pass
        return path

    def install(self, fresh: Path) -> Path | None:
        """Put a store in the present one's place; that moves aside, and what was aside goes."""
        older, previous = self.stores(), self.path / "previous"
        with self.writing():
            fresh.rename(self.path / fresh.name.replace("new-", "chroma-"))
            for store in older:
                if previous.exists():
                    shutil.rmtree(previous)
                store.rename(previous)
        return previous if older else None

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn what the file system refuses into a StorageError."""
        try:
            yield
        except OSError as error:
            raise StorageError(f"memory {self.path}: cannot be written ({error.strerror or error})") from error
