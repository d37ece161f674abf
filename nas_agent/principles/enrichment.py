"""Principles from the best architectures of another task, of which nothing else is known (ours).

What the best have in common is only worth saying where architectures at large lack it: each candidate is weighed by
the share of the best that obey against the share of random architectures that do. `most_frequent` is the control
that counting sets: the most frequent operations of each edge, two of five or three of four as in LAPT's code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from nas_agent.principles.coding import Bools, Coding
from nas_agent.principles.constraint import Allowed, Constraint, Count
from nas_agent.principles.principle import Draft
from nas_agent.principles.statistics import sentence
from nas_agent.spaces.base import Choices, Decision

COVER = 0.9  # share of the best that must obey
NARROWS = 0.8  # a principle must leave at most this share of what those before it leave
CLEAR = 4.0  # standard deviations between the two shares
MOST = 6


def common_ground(
    best: Sequence[Choices], at_large: Sequence[Choices], decisions: Sequence[Decision], *, author: str
) -> list[Draft]:
    """Return what nearly all of the best obey and few random architectures do, the sharpest first.

    `best` and `at_large` hold the options of each architecture. At most MOST drafts; none where nothing stands out.
    """
    coding = Coding(decisions)
    top, random = coding.encode(best), coding.encode(at_large)
    left: Bools = np.ones(len(random), dtype=bool)
    chosen: list[Draft] = []
    candidates = list(_candidates(coding, top, decisions))
    shares = {c: (float(coding.holds(c, top).mean()), coding.holds(c, random)) for c in candidates}
    while len(chosen) < MOST and left.any():
        gains = []
        for place, (constraint, (cover, obeys)) in enumerate(shares.items()):
            kept = float((obeys & left).sum() / left.sum())
            spread = math.sqrt(max(kept * (1.0 - kept), 1.0 / len(top)) / len(top))
            if cover >= COVER and kept <= NARROWS and (cover - kept) / spread >= CLEAR:
                gains.append((math.log(cover / max(kept, 1.0 / len(random))), -place, constraint))
        if not gains:
            break
        constraint = max(gains, key=lambda gain: gain[:2])[2]
        cover, obeys = shares.pop(constraint)
        left &= obeys
        chosen.append(Draft(sentence(constraint, decisions), constraint, author))
    return chosen


def most_frequent(best: Sequence[Choices], decisions: Sequence[Decision], keep: int, *, author: str) -> list[Draft]:
    """Return for each decision its `keep` most frequent options among the best: the counting control."""
    drafts = []
    for decision in decisions:
        counted = Counter(choices[decision.name] for choices in best)
        order = sorted(decision.options, key=lambda option: (-counted[option], decision.options.index(option)))
        if keep < len(order):
            constraint = Allowed(decision.name, tuple(order[:keep]))
            drafts.append(Draft(sentence(constraint, decisions), constraint, author))
    return drafts


def _candidates(coding: Coding, top: np.ndarray, decisions: Sequence[Decision]) -> Iterator[Constraint]:
    """For each decision the fewest options that cover the best; for options and pairs of them, how many times."""
    for column, decision in enumerate(decisions):
        counted = np.bincount(top[:, column], minlength=len(decision.options))
        order = np.argsort(-counted, kind="stable")
        covered = np.cumsum(counted[order]) / max(len(top), 1)
        size = int(np.searchsorted(covered, COVER) + 1)
        if size < len(order):
            yield Allowed(decision.name, tuple(decision.options[place] for place in order[:size]))
    names = dict.fromkeys(option for decision in decisions for option in decision.options)
    repeated = [name for name in names if sum(name in decision.options for decision in decisions) > 1]
    for group in [*((name,) for name in repeated), *combinations(repeated, 2)]:
        number = np.sort(coding.count(group, top))
        least = int(number[int((1.0 - COVER) * len(number))])
        most = int(number[min(int(COVER * len(number)), len(number) - 1)])
        if least > 0:
            yield Count(group, at_least=least)
        if most < len(decisions):
            yield Count(group, at_most=most)
