"""The surrogate of a search: a Gaussian process on structure, and on the code's embedding if one is given.

The embedding joins as one more block of features, with a length scale of its own that the fit decides on
(COLE's first form: canonical PyTorch text, a frozen language model, a light head; arXiv 2605.15649).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

import numpy as np

from nas_agent.records import Architecture
from nas_agent.spaces.base import Floats, Space
from nas_agent.tools.embeddings.base import Embedder
from nas_agent.tools.linear_algebra import on_one_thread
from nas_agent.tools.surrogates.acquisition import expected_improvement, upper_confidence_bound
from nas_agent.tools.surrogates.base import Ranked
from nas_agent.tools.surrogates.blocks import Places, Scaler, stack
from nas_agent.tools.surrogates.gaussian_process import Posterior
from nas_agent.tools.surrogates.kernel import Settings
from nas_agent.tools.surrogates.transfer import DROPPED, Source

OPTIMISM = 2.0  # weight of the standard deviation in the upper confidence bound
REFERENCE = 300  # architectures that set the scale of features in a space that cannot be listed
READ = 64  # of them, whose code is read as well, for the scale of the embedding
TIE = 1e-7  # acquisition values this near are equal: cells that the features cannot tell apart


class CellSurrogate:
    """Ranks proposals; where the candidates are listed, all of them are kept up to date at once."""

    def __init__(
        self,
        space: Space,
        pool: Sequence[Architecture] | None,
        *,
        embedder: Embedder | None = None,
        acquisition: Literal["ucb", "ei"] = "ucb",
        settings: Settings | None = None,
        seed: int = 0,
    ) -> None:
        self.name = "structure" if embedder is None else "joint"
        self._space, self._embedder, self._acquisition = space, embedder, acquisition
        self._listed = pool is not None
        if pool is None:
            rng = Random(f"{seed}/reference")
            drawn = [space.sample(rng) for _ in range(REFERENCE)]
            reference = {**self._structure(drawn), **self._code(drawn[:READ])}
            members = {name: block[:0] for name, block in reference.items()}
        else:
            reference = members = self._describe(pool)
        self._posterior = Posterior(Scaler(reference), members, settings)
        self._sources: list[Source] = []
        self._place = {} if pool is None else {member.id: place for place, member in enumerate(pool)}
        self._observed: dict[str, int] = {}  # id -> place, where the pool is not listed
        order = list(range(len(pool or ())))
        Random(f"{seed}/ties").shuffle(order)
        self._lot = np.argsort(np.asarray(order, dtype=np.intp))  # decides among equals, by chance but once

    def inform(self, sources: Sequence[Source]) -> None:
        """Learn of other tasks, before the first outcome; what cannot be measured here is passed over."""
        kept: list[tuple[list[int], list[float]]] = []
        for source in sources:
            pairs = zip(source.architectures, source.targets, strict=True)
            known = [pair for pair in pairs if not self._listed or pair[0].id in self._place]
            if not known:
                continue
            if self._listed:
                members = [self._place[architecture.id] for architecture, _ in known]
            else:
                first = self._posterior.admit(self._describe([architecture for architecture, _ in known]))
                members = list(range(first, first + len(known)))
            kept.append((members, [target for _, target in known]))
            self._sources.append(source)
        if kept:
            self._posterior.inform(kept)

    @property
    def agreement(self) -> dict[str, float]:
        """How much each source that is still used agrees with the outcomes, from 0 to 1."""
        return {source.name: value for source, value in zip(self._sources, self._posterior.agreement, strict=True)}

    def observe(self, architecture: Architecture, score: float) -> None:
        """Learn of a measured architecture, or that one is worth something else than was told; more is better."""
        place = (self._place if self._listed else self._observed).get(architecture.id)
        if place is None:
            place = self._observed[architecture.id] = self._posterior.admit(self._describe([architecture]))
        self._posterior.observe(place, score)
        for number in reversed(range(len(self._sources))):
            if self._posterior.agreement[number] < DROPPED:
                self._posterior.without(number)
                del self._sources[number]

    @on_one_thread
    def rank(
        self, proposals: Sequence[Architecture], keep: int, under_way: Sequence[Architecture] = ()
    ) -> list[Ranked]:
        """Return the most promising proposals; after each one, as if its expected value had been measured.

        That leaves the means as they are and narrows the deviations (Ginsbourger et al. 2010). What is under way comes
        before the first one (Desautels et al. 2014).
        """
        if not proposals:
            return []
        places = self._places([*proposals, *under_way])
        mean, deviation, best = self._posterior.predict()
        mean, deviation = mean[places], deviation[places]
        lot = self._lot[places] if self._listed else np.arange(len(places))
        ranked: list[Ranked] = []
        believed = np.zeros((0, len(places)))  # what each pick explains of each proposal, given the earlier picks
        taken = list(range(len(proposals), len(places)))
        for index in taken:
            explained = self._explained(places, index, believed)
            believed = np.concatenate([believed, explained[None]])
            deviation = np.sqrt(np.maximum(deviation**2 - explained**2, 1e-12))
        for _ in range(min(keep, len(proposals))):
            gain = self._gain(mean, deviation, best)
            gain[[*taken, *(item.index for item in ranked)]] = -np.inf
            equal = np.flatnonzero(gain >= gain.max() - TIE)
            index = int(equal[np.argmin(lot[equal])])
            ranked.append(Ranked(index, float(mean[index]), float(deviation[index]), float(gain[index])))
            if len(ranked) < keep:
                explained = self._explained(places, index, believed)
                believed = np.concatenate([believed, explained[None]])
                deviation = np.sqrt(np.maximum(deviation**2 - explained**2, 1e-12))
        return ranked

    def promising(self, proposals: Sequence[Architecture], size: int) -> list[int]:
        """Return the places of the `size` proposals with the highest gain, one by one, in their order."""
        if len(proposals) <= size:
            return list(range(len(proposals)))
        places = self._places(proposals)
        mean, deviation, best = self._posterior.predict()
        gain = np.round(self._gain(mean[places], deviation[places], best) / TIE)
        lot = self._lot[places] if self._listed else np.arange(len(places))
        return sorted(np.lexsort((lot, -gain))[:size].tolist())

    def predict(self, proposals: Sequence[Architecture]) -> list[Ranked]:
        """Return what is expected of each proposal, in their order and without a gain."""
        if not proposals:
            return []
        places = self._places(proposals)
        mean, deviation, _ = self._posterior.predict()
        expected = zip(mean[places].tolist(), deviation[places].tolist(), strict=True)
        return [Ranked(index, *pair) for index, pair in enumerate(expected)]

    def _gain(self, mean: Floats, deviation: Floats, best: float) -> Floats:
        if self._acquisition == "ei":
            return expected_improvement(mean, deviation, best)
        return upper_confidence_bound(mean, deviation, OPTIMISM)

    def _explained(self, places: Places, index: int, believed: Floats) -> Floats:
        """Return the next row of the factor by which picks explain the proposals' posterior covariance."""
        covariance = self._posterior.covariance(int(places[index]))[places] - believed[:, index] @ believed
        return np.asarray(covariance / np.sqrt(max(covariance[index], 0.0) + self._posterior.noise))

    def _places(self, proposals: Sequence[Architecture]) -> Places:
        if self._listed:
            return np.asarray([self._place[proposal.id] for proposal in proposals], dtype=np.intp)
        first = self._posterior.offer(self._describe(proposals))
        return np.arange(first, first + len(proposals))

    def _describe(self, architectures: Sequence[Architecture]) -> dict[str, Floats]:
        return {**self._structure(architectures), **self._code(architectures)}

    def _structure(self, architectures: Sequence[Architecture]) -> dict[str, Floats]:
        return stack([self._space.features(architecture) for architecture in architectures])

    def _code(self, architectures: Sequence[Architecture]) -> dict[str, Floats]:
        if self._embedder is None:
            return {}
        texts = [self._space.source(architecture) for architecture in architectures]
        return {"code": self._embedder.embed(texts).astype(np.float64)}
