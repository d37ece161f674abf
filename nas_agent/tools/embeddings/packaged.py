"""The packaged vectors of the nb201 cells' code."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import DataError
from nas_agent.tools.embeddings.base import Embedder, Vectors

WEIGHTS = Path(__file__).parents[1] / "weights"


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

    counts = False

    @property
    def truncated(self) -> Collection[str]:
        """Those that the fallback could not read whole; of the packaged texts none."""
        return self._fallback.truncated

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
