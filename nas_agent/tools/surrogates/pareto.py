"""What ranks proposals where a search has two objectives: a metric that must be measured, and a cost that is known.

Only the metric is uncertain, so the gain of a proposal has one dimension less than in general: it is the area that the
front of what was measured would win if the proposal came out as well as the surrogate holds possible, its mean and two
standard deviations (the optimistic hypervolume of Emmerich et al., CEC 2011, and Ponweiser et al., PPSN 2008, there
for two uncertain objectives). The metric counts on the rank scale on which the surrogate predicts, and the cost by its
logarithm, or the few largest architectures would outweigh all others. What else was tried stands in docs/log.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random

import numpy as np

from nas_agent.objectives import front
from nas_agent.records import Architecture
from nas_agent.spaces.base import Floats
from nas_agent.tools.costs.base import Cost
from nas_agent.tools.surrogates.base import Ranked, Surrogate
from nas_agent.tools.surrogates.blocks import rank_gauss
from nas_agent.tools.surrogates.transfer import Source

OPTIMISM = 2.0  # standard deviations above the mean
MARGIN = 0.01  # of the logarithm of the cost: the dearest architecture wins some area too
TIE = 1e-9


class ParetoSurrogate:
    """A surrogate of the metric, and a cost that is known: ranks by what the front may win."""

    def __init__(self, metric: Surrogate, cost: Cost, *, seed: int, most: float | None = None) -> None:
        """`most`: what costs more is worth nothing; None: the largest cost of proposals and outcomes."""
        self._metric, self._cost, self._seed, self._most = metric, cost, seed, most
        self.name = metric.name
        self._logs: dict[str, float] = {}
        self._observed: dict[str, tuple[Architecture, float]] = {}

    def inform(self, sources: Sequence[Source]) -> None:
        """Learn of other tasks, before the first outcome."""
        self._metric.inform(sources)

    @property
    def agreement(self) -> dict[str, float]:
        """How much each source that is still used agrees with the outcomes, from 0 to 1."""
        return self._metric.agreement

    def observe(self, architecture: Architecture, score: float) -> None:
        """Learn of a measured architecture, or that one is worth something else than was told; more is better."""
        self._metric.observe(architecture, score)
        self._observed[architecture.id] = architecture, score

    def predict(self, proposals: Sequence[Architecture]) -> list[Ranked]:
        """Return what metric is expected of each proposal, in their order and without a gain."""
        return self._metric.predict(proposals)

    def rank(
        self, proposals: Sequence[Architecture], keep: int, under_way: Sequence[Architecture] = ()
    ) -> list[Ranked]:
        """Return the proposals that may win most area, best first.

        Each pick, and what is under way, counts as if it came out as well as is hoped.
        """
        if not proposals:
            return []
        expected = self._metric.predict(proposals)
        mean = np.array([item.mean or 0.0 for item in expected])
        deviation = np.array([item.deviation or 0.0 for item in expected])
        hoped, costs = mean + OPTIMISM * deviation, self._log_costs(proposals)
        known = [(value, cost) for value, cost in self._targets() if math.isfinite(cost)]
        hopes = [(item.mean or 0.0) + OPTIMISM * (item.deviation or 0.0) for item in self._metric.predict(under_way)]
        known += [
            pair for pair in zip(hopes, self._log_costs(under_way).tolist(), strict=True) if math.isfinite(pair[1])
        ]
        floor = min([value for value, _ in known] + [float(np.median(mean))])
        dear = [cost for cost in (*costs.tolist(), *(cost for _, cost in known)) if math.isfinite(cost)]
        most = max(dear, default=0.0) + MARGIN if self._most is None else math.log(self._most)
        ranked: list[Ranked] = []
        for _ in range(min(keep, len(proposals))):
            gain = area_won(hoped, costs, known, floor, most)
            gain[[item.index for item in ranked]] = -np.inf
            index = self._best(gain, hoped, proposals, {item.index for item in ranked})
            ranked.append(Ranked(index, float(mean[index]), float(deviation[index]), max(float(gain[index]), 0.0)))
            known.append((float(hoped[index]), float(costs[index])))
        return ranked

    def _best(self, gain: Floats, hoped: Floats, proposals: Sequence[Architecture], taken: set[int]) -> int:
        """Return the place of the largest gain; where nothing may win, of the highest hope; chance among equals."""
        worth = gain if gain.max() > TIE else np.array([-np.inf if i in taken else h for i, h in enumerate(hoped)])
        equal: list[int] = np.flatnonzero(worth >= worth.max() - TIE).tolist()
        return min(equal, key=lambda place: Random(f"{self._seed}/{proposals[place].id}").random())

    def _targets(self) -> list[tuple[float, float]]:
        """Return what was measured, on the rank scale of the surrogate, with the logarithm of its cost."""
        if not self._observed:
            return []
        architectures, scores = zip(*self._observed.values(), strict=True)
        return list(zip(rank_gauss(np.array(scores)).tolist(), self._log_costs(architectures).tolist(), strict=True))

    def _log_costs(self, architectures: Sequence[Architecture]) -> Floats:
        """Return logarithms of costs; what is not known costs infinitely much, so that it wins nothing."""
        for architecture in architectures:
            if architecture.id not in self._logs:
                value = self._cost(architecture)
                self._logs[architecture.id] = math.inf if value is None else math.log(max(value, 1e-12))
        return np.array([self._logs[architecture.id] for architecture in architectures])


def area_won(values: Floats, costs: Floats, known: Sequence[tuple[float, float]], floor: float, most: float) -> Floats:
    """Return by how much each point (value, cost) alone would raise the area between the front and (floor, most)."""
    inside = [(value, cost, None) for value, cost in known if cost < most and value > floor]
    steps = front(inside)
    edges = [-math.inf, *(cost for _, cost, _ in steps), most]
    levels = [floor, *(value for value, _, _ in steps)]
    won = np.zeros_like(values)
    for level, begin, end in zip(levels, edges, edges[1:], strict=False):
        width = np.maximum(end - np.maximum(costs, begin), 0.0)
        won += width * np.maximum(values - level, 0.0)
    return won
