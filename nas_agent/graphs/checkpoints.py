"""Where a search stands: LangGraph's checkpoints, in a file or in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas_agent.errors import StorageError
from nas_agent.graphs.search import build

if TYPE_CHECKING:
    from nas_agent.graphs.search import Graph

THREAD: Any = {"configurable": {"thread_id": "search"}}  # the only conversation in a run's checkpoints


@contextmanager
def graph_in(path: Path) -> Iterator[Graph]:
    """Give the graph of a search whose checkpoints are in this file."""
    from langgraph.checkpoint.sqlite import SqliteSaver

    try:
        with closing(sqlite3.connect(path, check_same_thread=False)) as connection:
            # The log can rebuild what a power cut takes from the checkpoints; it need not be waited for.
            connection.execute("PRAGMA synchronous = OFF")
            yield build(SqliteSaver(connection))
    except sqlite3.OperationalError as error:
        raise StorageError(
            f"{path}: cannot be used ({error}); free some space, then `nas-agent resume` goes on from here"
        ) from error


def pausing_graph() -> Graph:
    """Give a graph that keeps its checkpoints in memory and stops before `evaluate`: for ask and tell."""
    from langgraph.checkpoint.memory import InMemorySaver

    return build(InMemorySaver(), pause=True)


def waits_for_review(path: Path) -> bool:
    """Tell whether the last checkpoint is one before `review`: then nothing but an answer can follow in the log."""
    if not path.exists():
        return False
    try:
        with graph_in(path) as graph:
            return graph.get_state(THREAD).next == ("review",)
    except sqlite3.DatabaseError:
        return False


def events_seen(path: Path) -> int | None:
    """Return how many events the last checkpoint has seen; None where the file is no file of checkpoints."""
    if not path.exists():
        return 0
    try:
        with graph_in(path) as graph:
            return int(graph.get_state(THREAD).values.get("events", 0))
    except StorageError:
        raise
    except sqlite3.DatabaseError:  # not a database, or a torn one: worth no more than none
        return None
