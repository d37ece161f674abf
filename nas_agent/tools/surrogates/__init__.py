"""What ranks proposals before any is measured: one Protocol, made by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas_agent.records import Architecture
from nas_agent.spaces.base import Space
from nas_agent.tools.surrogates.base import Ranked, Surrogate

if TYPE_CHECKING:
    from nas_agent.tools.embeddings import Embedder

AUTO = "structure"  # the measured winner; docs/results.md has both

__all__ = ["AUTO", "Ranked", "Surrogate", "make_surrogate"]


def make_surrogate(
    kind: str,
    space: Space,
    pool: Sequence[Architecture] | None,
    *,
    seed: int,
    embedder: Embedder | None = None,
) -> Surrogate | None:
    """Return the surrogate called `auto`, `structure` or `joint`; None for `none`.

    `joint` needs an embedder. Where the vectors of all candidates are packaged, all are ranked by both at once.
    """
    if kind == "none":
        return None
    from nas_agent.tools.surrogates.structure import CellSurrogate

    if (AUTO if kind == "auto" else kind) == "structure":
        return CellSurrogate(space, pool, seed=seed)
    assert embedder is not None
    from nas_agent.tools.embeddings import PackagedCode
    from nas_agent.tools.surrogates.joint import JointSurrogate

    if pool is not None and isinstance(embedder, PackagedCode):
        return CellSurrogate(space, pool, embedder=embedder, seed=seed)
    return JointSurrogate(space, pool, embedder, seed=seed)
