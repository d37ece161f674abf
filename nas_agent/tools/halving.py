"""Asynchronous successive halving (ASHA; Li et al., MLSys 2020, algorithm 2) with a budget, a view of the archive.

A round promotes the best architectures of a rung that have not been promoted yet, if they are among the best
1/factor of it, the highest rung first; else it measures new ones at the lowest rung. Without a factor it is how many
times the next rung costs, which is the paper's factor where rungs are its powers: all rungs cost the same in all. Two
rules are ours: a budget in full trainings always leaves one full training to be paid, and once it pays no more than
that, it goes to the best that got farthest. Nothing but outcomes decides, so a resumed search goes the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas_agent.records import Architecture
from nas_agent.tools.archive import Archive

EXACT = 1e-9  # what sums of costs may be off


@dataclass(frozen=True, slots=True)
class Step:
    """What is measured next."""

    promoted: tuple[tuple[Architecture, int], ...]  # and at which level; empty: new ones
    level: int  # of new ones
    room: int  # how many new ones there may be


def next_step(
    archive: Archive,
    budget: float,
    *,
    batch: int,
    factor: int | None,
    under_way: Mapping[str, int] | None = None,
    first: bool = False,
    exhausted: bool = False,
) -> Step | None:
    """Return what to measure next, at most `batch` at once; None where the budget is spent.

    `under_way`: what has no outcome yet, by id, with its level: it is spent, and not begun a second time. `first`: new
    ones wait already and go before promotions. `exhausted`: there are no new ones any more.
    """
    begun = under_way or {}
    if archive.rungs is None:
        room = min(batch, int(budget) - len(archive) - len(begun))
        return Step((), 0, room) if room > 0 and not exhausted else None
    left = budget - archive.spent - sum(archive.rungs.costs[level] for level in begun.values()) + EXACT
    promoted = () if first else _due(archive, left, batch, factor, begun)
    if promoted:
        return Step(promoted, 0, 0)
    lowest, top = archive.rungs.costs[0], len(archive.rungs) - 1
    room = min(batch, int((left - 1.0) / lowest))
    if room > 0 and not exhausted:
        return Step((), 0, room)
    if left < 1.0:
        return None
    for level in reversed(range(top)):
        waiting = [] if first else [best for best in archive.waiting(level) if best.id not in begun]
        if waiting:
            return Step(((waiting[0], top),), 0, 0)
    return None if exhausted else Step((), top, 1)


def _due(
    archive: Archive, left: float, batch: int, factor: int | None, begun: Mapping[str, int]
) -> tuple[tuple[Architecture, int], ...]:
    """Return what deserves promotion and can be paid for, the highest rung first."""
    assert archive.rungs is not None
    costs, found = archive.rungs.costs, list[tuple[Architecture, int]]()
    for level in reversed(range(len(costs) - 1)):
        reserve = 0.0 if level + 2 == len(costs) else 1.0
        share = costs[level] / costs[level + 1] if factor is None else 1.0 / factor
        for architecture in archive.waiting(level, share):
            new = architecture.id not in begun and len(found) < batch
            if new and costs[level + 1] + reserve <= left:
                found.append((architecture, level + 1))
                left -= costs[level + 1]
    return tuple(found)
