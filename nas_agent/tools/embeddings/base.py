"""What turns texts into vectors: one Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # (texts, dimension)


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
