"""A proxy as a stage before the surrogate's choice: of what may be measured, the half with the better scores stays.

Where a table knows the scores, all proposals are screened; where networks must be built, the first ones by the
surrogate. Scores that were computed stand in the log, so that a resumed search computes none of them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from nas_agent.graphs.services import Services
from nas_agent.records import Architecture

KEPT = 0.5  # of the proposals
AT_ONCE = 16  # proposals of a round that are built to be scored

T = TypeVar("T")


def better_part(
    use: Services, number: int, items: Sequence[T], of: Callable[[T], Architecture], keep: int
) -> Sequence[T]:
    """Return the items with the better scores, in their order: half of them, and no fewer than `keep`."""
    if use.screen is None or len(items) <= keep:
        return items
    scores = known_scores(use, number, [of(item) for item in items])
    order = sorted(range(len(items)), key=lambda place: -scores[place])
    wanted = max(keep, math.ceil(KEPT * len(items)))
    return [items[place] for place in sorted(order[:wanted])]


def known_scores(use: Services, number: int, architectures: Sequence[Architecture]) -> list[float]:
    """Return scores, minus infinity where there is none; what had to be computed is logged."""
    assert use.screen is not None
    if use.screen.listed:
        return [-math.inf if score is None else score for score in use.screen(architectures)]
    journal = use.journal
    ahead = journal.log.ahead("screened")
    before = journal.scores if ahead is None else {**journal.scores, **ahead["scores"]}
    new = list({each.id: each for each in architectures if each.id not in journal.scores}.values())
    fresh = [each for each in new if each.id not in before]
    scores = before | dict(zip((each.id for each in fresh), use.screen(fresh), strict=True))
    if new:
        found = {each.id: scores[each.id] for each in new}
        journal.emit("screened", round=number, proxy=use.screen.name, scores=found)
    known = (scores[each.id] for each in architectures)
    return [-math.inf if score is None else score for score in known]
