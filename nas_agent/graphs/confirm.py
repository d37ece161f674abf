"""A score of code that nobody vouches for stands once it has been reached twice.

Suspicious is what would be the new best: a lucky guess and a trick that works once are chosen by the very search that
looks for the highest score. It is measured again under another seed before it may become best, and the lower value
counts. The second training begins from scratch also where the first had inherited weights (tools/heritage.py): a best
value is one that whoever trains the network anew can expect. Over a search of n evaluations that is about log n
trainings more, where candidates come in no order.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from nas_agent.records import Failed, Measured, Outcome
from nas_agent.tools.journal import Journal


class Measures(Protocol):
    """Measures one architecture, in one way, under the seed that it is given."""

    def __call__(self, *, seed: int) -> Outcome:
        """Return the outcome."""
        ...


def confirmed(journal: Journal, measure: Measures, seed: int) -> Outcome:
    """Measure, and once more what would be the best so far; return what is to be recorded."""
    outcome = measure(seed=seed)
    if not isinstance(outcome, Measured) or outcome.sandbox is None or not journal.archive.is_full(outcome):
        return outcome
    best, score = journal.archive.best, journal.task.score
    if best is not None and score(outcome.value) <= score(best.value):
        return outcome
    second = measure(seed=seed + 1)
    seconds = outcome.seconds + second.seconds
    if isinstance(second, Failed):
        why = f"it scored {outcome.value:g} and then, under another seed, failed: {second.reason}"
        return replace(second, reason=why, seconds=seconds, seed=seed)
    values = (outcome.value, second.value)
    return replace(outcome, value=min(values, key=score), repeats=values, seconds=seconds)
