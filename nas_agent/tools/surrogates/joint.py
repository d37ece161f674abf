"""The surrogate on structure and code where reading code is dear: structure alone decides what is read (ours).

A text costs a language model on a CPU some tenths of a second, so of the hundreds of proposals of a round only those
that structure promises most of are embedded, and of the reference a few. Both stages are told the same, in the same
order, so what is predicted is a function of that alone; what was embedded before makes it faster and no different.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from nas_agent.records import Architecture
from nas_agent.spaces.base import Space
from nas_agent.tools.embeddings.base import Embedder
from nas_agent.tools.linear_algebra import on_one_thread
from nas_agent.tools.surrogates.base import Ranked
from nas_agent.tools.surrogates.structure import CellSurrogate
from nas_agent.tools.surrogates.transfer import Source

SHORTLIST = 48  # proposals of a round whose code is read


class JointSurrogate:
    """Structure alone makes a shortlist, structure and code choose from it.

    Nothing is embedded before the first question, and any may fail as the embedder does; then this object is spent.
    """

    name = "joint"

    def __init__(self, space: Space, pool: Sequence[Architecture] | None, embedder: Embedder, *, seed: int = 0) -> None:
        self._space, self._embedder, self._seed = space, embedder, seed
        self._structure = CellSurrogate(space, pool, seed=seed)

    def inform(self, sources: Sequence[Source]) -> None:
        """Learn of other tasks, before the first outcome."""
        self._structure.inform(sources)
        self._joint.inform(sources)

    @property
    def agreement(self) -> dict[str, float]:
        """How much each source that is still used agrees with the outcomes, by structure and code."""
        return self._joint.agreement

    def observe(self, architecture: Architecture, score: float) -> None:
        """Learn of a measured architecture, or that one is worth something else than was told; more is better."""
        self._structure.observe(architecture, score)
        self._joint.observe(architecture, score)

    @on_one_thread
    def rank(
        self, proposals: Sequence[Architecture], keep: int, under_way: Sequence[Architecture] = ()
    ) -> list[Ranked]:
        """Return the `keep` most promising of the shortlist, best first."""
        places = self._structure.promising(proposals, max(SHORTLIST, keep))
        ranked = self._joint.rank([proposals[place] for place in places], keep, under_way)
        return [replace(item, index=places[item.index]) for item in ranked]

    def predict(self, proposals: Sequence[Architecture]) -> list[Ranked]:
        """Return what is expected of each proposal: of the shortlist by both, of the others by structure alone."""
        expected = self._structure.predict(proposals)
        places = self._structure.promising(proposals, SHORTLIST)
        for item in self._joint.predict([proposals[place] for place in places]):
            expected[places[item.index]] = replace(item, index=places[item.index])
        return expected

    @cached_property
    def _joint(self) -> CellSurrogate:
        return CellSurrogate(self._space, None, embedder=self._embedder, seed=self._seed)
