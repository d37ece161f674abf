"""How good a generator's draws are, counted on canonical graphs (arXiv 2503.22063, its metrics)."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

from nas_agent.records import Architecture, Json


@dataclass(frozen=True, slots=True)
class Metrics:
    """Counts of one sample; every metric is a share between 0 and 1, NaN where there is nothing to count."""

    drawn: int
    valid: int
    distinct: int  # valid ones that are not isomorphic to each other
    novel: int  # of these, those that are not isomorphic to any of the training set

    def __post_init__(self) -> None:
        if not 0 <= self.novel <= self.distinct <= self.valid <= self.drawn:
            raise ValueError(f"expected novel <= distinct <= valid <= drawn, got {self}")

    @property
    def validity(self) -> float:
        """Valid ones among those drawn."""
        return _share(self.valid, self.drawn)

    @property
    def uniqueness(self) -> float:
        """Distinct ones among the valid."""
        return _share(self.distinct, self.valid)

    @property
    def novelty(self) -> float:
        """Novel ones among the distinct."""
        return _share(self.novel, self.distinct)

    @property
    def absolute_uniqueness(self) -> float:
        """Distinct valid ones among those drawn."""
        return _share(self.distinct, self.drawn)

    @property
    def absolute_novelty(self) -> float:
        """Novel distinct valid ones among those drawn."""
        return _share(self.novel, self.drawn)

    def to_dict(self) -> Json:
        """As plain JSON types: the counts and the five metrics."""
        counts = {"drawn": self.drawn, "valid": self.valid, "distinct": self.distinct, "novel": self.novel}
        return counts | {name: getattr(self, name) for name in METRICS}


METRICS = ("validity", "uniqueness", "novelty", "absolute_uniqueness", "absolute_novelty")


def measure(drawn: Sequence[Architecture | None], training: Container[str]) -> Metrics:
    """Count a sample, None standing for what is no architecture; `training` holds the canonical ids trained on."""
    valid = [one.id for one in drawn if one is not None]
    distinct = set(valid)
    return Metrics(len(drawn), len(valid), len(distinct), sum(name not in training for name in distinct))


def ceiling(classes: int, trained: int, drawn: int) -> tuple[float, float]:
    """Return the absolute uniqueness and novelty to expect of uniform draws from all classes of a space.

    Each class is missed by all draws with probability (1 - 1/classes)^drawn; a share `trained`/`classes` is not novel.
    """
    distinct = -classes * math.expm1(drawn * math.log1p(-1 / classes)) if classes > 1 else 1.0
    return distinct / drawn, distinct / drawn * (1 - trained / classes)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
