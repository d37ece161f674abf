"""Outcomes of several fidelities on the scale of the full one, so that one surrogate learns from all of them (ours).

What an architecture would be worth at the next rung is a straight line in what it was worth at this one, fitted by
least squares to those that were measured at both; over several rungs the lines are chained. That only the best of a
rung were promoted does not bend such a line: it was fitted to what was chosen by its own regressor (Pearson, 1903).
An outcome at the full fidelity counts as it is. Estimates of all lower ones move when a line does.
"""

from __future__ import annotations

import math

from nas_agent.records import Architecture, Measured, Outcome, Task

PAIRS = 3  # architectures measured at two rungs from which a slope is fitted; with fewer it is 1
LEAST = 0.05  # slope: more at one rung is never less at the next


class Levels:
    """Follows outcomes; says of which architectures another worth is expected now."""

    def __init__(self, task: Task, levels: int) -> None:
        self._task = task
        self._scores: list[dict[str, float]] = [{} for _ in range(levels)]
        self._lines = [(0.0, 1.0)] * (levels - 1)  # intercept and slope
        self._architectures: dict[str, Architecture] = {}

    def follow(self, outcome: Outcome, level: int) -> list[tuple[Architecture, float]]:
        """Take in one outcome; return what is new or has changed by it, with scores at the full fidelity."""
        key = outcome.architecture.id
        score = self._task.score(outcome.worth) if isinstance(outcome, Measured) else -math.inf
        self._scores[level][key] = score
        self._architectures.setdefault(key, outcome.architecture)
        moved = level > 0 and key in self._scores[level - 1] and self._fit(level - 1)
        changed = self._architectures.values() if moved else (outcome.architecture,)
        return [(architecture, self._worth(architecture.id)) for architecture in changed]

    def _worth(self, key: str) -> float:
        level = next(number for number in reversed(range(len(self._scores))) if key in self._scores[number])
        score = self._scores[level][key]
        for intercept, slope in self._lines[level:]:
            score = intercept + slope * score
        return score

    def _fit(self, level: int) -> bool:
        """Fit the line from a rung to the next one; tell whether there is anything to fit."""
        below, above = self._scores[level], self._scores[level + 1]
        pairs = [(below[key], score) for key, score in above.items() if key in below]
        pairs = [pair for pair in pairs if math.isfinite(pair[0]) and math.isfinite(pair[1])]
        if not pairs:
            return False
        middle, centre = (math.fsum(values) / len(pairs) for values in zip(*pairs, strict=True))
        spread = math.fsum((x - middle) ** 2 for x, _ in pairs)
        both = math.fsum((x - middle) * (y - centre) for x, y in pairs)
        slope = max(both / spread, LEAST) if len(pairs) >= PAIRS and spread > 0.0 else 1.0
        self._lines[level] = centre - slope * middle, slope
        return True
