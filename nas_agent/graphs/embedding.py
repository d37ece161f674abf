"""What becomes of a search in which the embedder fails, or does not read texts to their end.

A failure costs the search the code, never the search: structure alone goes on, told of everything from the first
outcome. The log says when, so that a resumed search does the same even where the embedder answers again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nas_agent.errors import DataError, MissingExtra, ModelError
from nas_agent.graphs.services import Services

FAILED = "embedder_failure"  # the event's type

T = TypeVar("T")


def guarded(use: Services, choose: Callable[[], T]) -> T:
    """Return what `choose` does, all of it with the embedder or, where that fails anywhere in it, all of it without.

    `choose` asks the surrogate and writes no events. One call a node: taken again, it finds the failure in the log.
    """
    if use.embedder is None:
        return choose()
    known = use.journal.log.ahead(FAILED)  # by a process that was killed: not to be tried again
    if known is not None:
        _go_without(use, known["why"])
        return choose()
    try:
        chosen = choose()
    except (ModelError, DataError, MissingExtra) as error:
        _go_without(use, str(error))
        return choose()
    _note_truncation(use)
    return chosen


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
