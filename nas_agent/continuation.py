"""What `resume` reads from a run folder: how far the run got, and on which terms it began."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nas_agent.config import Config
from nas_agent.engine import Engine
from nas_agent.errors import ConfigError, RunFolderError
from nas_agent.records import Task
from nas_agent.result import Result, gather
from nas_agent.spaces import Space
from nas_agent.tools.event_log import EventLog, read_events
from nas_agent.tools.journal import Journal
from nas_agent.tools.run_folder import RunFolder


@contextmanager
def readable(folder: RunFolder) -> Iterator[None]:
    """Turn what a spoiled log does to the code that reads it into one line."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunFolderError(
            f"{folder.events}: an event is not as this version writes it ({type(error).__name__}: {error}); "
            "mend the log, or start a new run"
        ) from error


def finished_result(folder: RunFolder, config: Config, space: Space) -> Result | None:
    """Return the result of a finished run from its log alone: the table may be gone by now."""
    events = read_events(folder.events)[0] if folder.events.exists() else []
    if not any(event["type"] == "finished" for event in events):
        return None
    log = EventLog()
    log.events = events
    journal = Journal.begin(Task.from_dict(events[0]["task"]), space, log)
    return gather(journal, str(folder.path), config.space, events[0]["evaluator"], 0.0)


def events_in_checkpoint(folder: RunFolder) -> int:
    """Return how many events the last checkpoint has seen.

    A log that is shorter than that has lost lines (a power cut): the checkpoints are removed, and the
    search is taken from its beginning, with every outcome that the log still has.
    """
    from nas_agent.graphs.checkpoints import events_seen

    logged = len(read_events(folder.events)[0]) if folder.events.exists() else 0
    seen = events_seen(folder.checkpoints)
    if seen is not None and seen <= logged:
        return seen
    for path in folder.path.glob(f"{folder.checkpoints.name}*"):
        path.unlink()
    return 0


def refuse_other_terms(folder: RunFolder, engine: Engine) -> None:
    """Refuse to go on under other terms: values could not be compared with those in the log."""
    events = read_events(folder.events)[0] if folder.events.exists() else []
    for event in events[:1]:
        now = {"ahead": 1, **engine.terms()}
        if "embedder" not in event:  # logs of earlier versions do not name it
            now.pop("embedder", None)
        begun = {"limits": [], "objectives": [], "ahead": 1, **event}  # logs of earlier versions do not name them
        for name in ("fidelities", "eta", "screen", "inherit", "stop_curves"):  # named by searches only that have them
            if name in {**begun, **now}:
                begun, now = {name: None, **begun}, {name: None, **now}
        other = [f"{key} was {begun[key]}, is {now[key]}" for key in now if begun[key] != now[key]]
        if other:
            raise ConfigError(f"{folder.path.name} began under other terms: {'; '.join(other)}; restore them to resume")
