"""What ranks proposals before any is measured: one Protocol, made by name."""

from __future__ import annotations

from collections.abc import Sequence

from nas_agent.records import Architecture
from nas_agent.spaces.base import Space
from nas_agent.tools.surrogates.base import Ranked, Surrogate

AUTO = "structure"  # the measured winner; docs/results.md has both

__all__ = ["AUTO", "Ranked", "Surrogate", "make_surrogate"]


def make_surrogate(kind: str, space: Space, pool: Sequence[Architecture] | None, *, seed: int) -> Surrogate | None:
    """Return the surrogate called `auto`, `structure` or `joint`; None for `none`."""
    if kind == "none":
        return None
    from nas_agent.tools.surrogates.structure import CellSurrogate

    if (AUTO if kind == "auto" else kind) == "structure":
        return CellSurrogate(space, pool, seed=seed)
    from nas_agent.tools.embeddings import MiniLM, PackagedCode

    return CellSurrogate(space, pool, embedder=PackagedCode(MiniLM()), seed=seed)
