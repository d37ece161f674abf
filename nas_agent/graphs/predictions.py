"""Asking the surrogate: what it is told first, and what becomes of a search in which its embedder fails.

A failed embedder costs the search the code, never the search: structure alone goes on, told of everything from the
first outcome. The log says when, so that a resumed search does the same even where the embedder answers again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

from nas_agent.errors import DataError, MissingExtra, ModelError
from nas_agent.graphs.services import Services
from nas_agent.records import Measured
from nas_agent.tools.remembered import RecalledSource
from nas_agent.tools.surrogates.base import Ranked, Surrogate
from nas_agent.tools.surrogates.transfer import Source, normal_scores

FAILED = "embedder_failure"  # the event's type


def ask(use: Services, question: Callable[[Surrogate], list[Ranked]]) -> list[Ranked]:
    """Return what the surrogate answers, told of all sources and outcomes; once its embedder fails, structure alone."""
    known = use.journal.log.ahead(FAILED)  # by a process that was killed: not to be tried again
    if known is not None:
        _go_without(use, known["why"])
    if use.embedder is None:
        return question(_told(use))
    try:
        answer = question(_told(use))
    except (ModelError, DataError, MissingExtra) as error:
        _go_without(use, str(error))
        return question(_told(use))
    _note_truncation(use)
    return answer


def inform(use: Services) -> None:
    """Tell the surrogate what other tasks found: once in each process, before the first outcome."""
    if use.surrogate is None or use.informed is not None:
        return
    sources = recalled_sources(use)
    use.surrogate.inform([Source(s.name, tuple(row.architecture for row in s.rows), targets(s)) for s in sources])
    use.informed = tuple(use.surrogate.agreement)


def recalled_sources(use: Services) -> list[RecalledSource]:
    """Return what other tasks found in this space and is not refused; a predicted one only to predicted values."""
    found = map(RecalledSource.from_dict, use.journal.sources)
    here = (s for s in found if s.space == use.space.name and not s.refused)
    return [s for s in here if s.provenance == "measured" or use.evaluator.provenance == "predicted"]


def targets(source: RecalledSource) -> tuple[float, ...]:
    """Return normal scores of the rows' ranks among all that the source knows the ranks of."""
    return normal_scores([row.rank for row in source.rows], source.of)


def _told(use: Services) -> Surrogate:
    assert use.surrogate is not None
    inform(use)
    for outcome in islice(use.journal.archive, use.observed, None):
        score = use.task.score(outcome.value) if isinstance(outcome, Measured) else -math.inf
        use.surrogate.observe(outcome.architecture, score)
    use.observed = len(use.journal.archive)
    return use.surrogate


def _go_without(use: Services, why: str) -> None:
    assert use.substitute is not None
    use.journal.emit(FAILED, why=why, evaluations=len(use.journal.archive))
    use.surrogate, use.embedder = use.substitute(), None
    use.informed, use.observed = None, 0


def _note_truncation(use: Services) -> None:
    """Log once that texts are too long for the embedder: when the first of them was read."""
    assert use.embedder is not None
    if use.embedder.truncated and not use.journal.truncated:
        cut, name = len(use.embedder.truncated), use.embedder.name
        use.journal.emit("truncated", texts=cut, embedder=name, evaluations=len(use.journal.archive))
