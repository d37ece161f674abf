"""What turns texts into vectors: one Protocol, and the choices that the user has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import ConfigError, ModelError

Vectors = NDArray[np.float32]  # (texts, dimension)
Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]
Device = Literal["auto", "cpu", "cuda", "mps"]
POOLINGS = "auto, mean, last-token, cls, mean-layers, every-K (K = 2, 3, ...) or echo"


class Embedder(Protocol):
    """Turns texts into vectors. Vectors of different names are never comparable."""

    @property
    def name(self) -> str:
        """Model, pooling, limit and number format: whatever changes the vectors changes the name."""
        ...

    @property
    def dimension(self) -> int:
        """Numbers in a vector; known before the weights are loaded."""
        ...

    @property
    def counts(self) -> bool:
        """True where a vector counts terms (the head weighs them by rarity), False where it is dense."""
        ...

    @property
    def truncated(self) -> Collection[str]:
        """The texts so far of which the end was not read, being longer than the limit."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, dimension); on a CPU equal texts have equal vectors whatever else is asked for."""
        ...


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """How a language model is run and read. The defaults are what the model was made for, as fast as possible."""

    pooling: str = "auto"  # the model's own (modules.json of sentence-transformers), else mean
    dtype: Dtype = "auto"  # bfloat16 where the processor computes in it, else float32
    device: Device = "auto"
    max_tokens: int | None = None  # None: the model's own limit
    batch: int | None = None  # texts at a time; None: 1 on a CPU, 32 elsewhere
    revision: str | None = None  # of a Hugging Face repository: a branch, a tag or a commit
    offline: bool = False
    seed: int = 0  # of random weights

    def __post_init__(self) -> None:
        for name, value, allowed in (("dtype", self.dtype, Dtype), ("device", self.device, Device)):
            if value not in get_args(allowed):
                raise ConfigError(f"embedding {name} '{value}': expected {', '.join(get_args(allowed))}")
        for name, number in (("max_tokens", self.max_tokens), ("batch", self.batch)):
            if number is not None and number < 1:
                raise ConfigError(f"embedding {name} {number}: expected 1 or more")
        plain = ("auto", "mean", "last-token", "cls", "mean-layers", "echo")
        step = self.pooling.removeprefix("every-")
        if self.pooling in plain or (step != self.pooling and step.isascii() and step.isdigit() and int(step) > 1):
            return
        raise ConfigError(f"pooling '{self.pooling}': expected {POOLINGS}")


def check_finite(vectors: Vectors, texts: Sequence[str], name: str) -> None:
    """Raise ModelError where a vector holds what is no number: it would spoil every fit, and the cache for good."""
    if not np.isfinite(vectors).all():
        text = texts[int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])]
        raise ModelError(
            f"{name} gave an embedding with NaN or infinity for the text that begins with {text[:60]!r}; "
            "use dtype float32, or another model"
        )
