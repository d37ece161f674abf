"""What memory and `--from` want to know of a run, from its journal or read from its folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nas_agent.errors import PrincipleError, RunFolderError
from nas_agent.principles.principle import Principle
from nas_agent.records import Failed, Json, Outcome, Task, outcome_from_dict
from nas_agent.tools.event_log import read_events
from nas_agent.tools.home import home
from nas_agent.tools.journal import Journal
from nas_agent.tools.remembered import RunRecord
from nas_agent.tools.run_folder import RunFolder, known_folders, open_folder


def record_from(journal: Journal, run_id: str, space_name: str) -> RunRecord:
    """Return what memory wants to know of a run that is at hand."""
    return RunRecord(
        run_id=run_id,
        task=journal.task,
        space=space_name,
        outcomes=journal.archive.lasting(),
        principles=list(journal.library.principles),
        finished=journal.result is not None,
    )


def record_of(folder: RunFolder) -> RunRecord:
    """Read the same from a run folder; RunFolderError where it is of a newer format or its log is spoiled."""
    open_folder(folder.path)
    events = read_events(folder.events)[0]
    try:
        record = _record(folder.path.name, events)
    except (KeyError, TypeError, ValueError, AttributeError, PrincipleError) as error:
        raise RunFolderError(
            f"{folder.path}: its event log holds an event that this program cannot read ({error!r}); "
            "mend it, or leave this run out by `nas-agent runs rm`"
        ) from error
    if record is None:
        raise RunFolderError(f"{folder.path}: the event log is empty; nothing was measured in this run")
    return record


def _record(run_id: str, events: Sequence[Json]) -> RunRecord | None:
    task: Task | None = None
    full: Json | None = None  # of several fidelities
    space, outcomes, finished = "", list[Outcome](), False
    principles: dict[str, Principle] = {}
    for event in events:
        match event["type"]:
            case "started":
                task, space = Task.from_dict(event["task"]), str(event["space_name"])
                full = event["fidelities"][-1]["at"] if event.get("fidelities") else None
            case "outcome":
                outcome = event["outcome"]
                if full is None or outcome["kind"] == "failed" or outcome.get("at") == full:
                    made = outcome_from_dict(outcome)
                    outcomes += [made] if isinstance(made, Failed) or made.stands_alone else []
            case "principle":
                principles[event["principle"]["id"]] = Principle.from_dict(event["principle"])
            case "finished":
                finished = True
    return None if task is None else RunRecord(run_id, task, space, outcomes, list(principles.values()), finished)


def all_records(skipped: list[str] | None = None) -> Iterator[RunRecord]:
    """Read every known run folder that holds outcomes: what `memory rebuild` rebuilds from.

    A folder that cannot be read is passed over, and a line about it added to `skipped`. A run that was cut off
    before its first event has nothing to remember, and nothing is said about it.
    """
    for folder in known_folders(home()):
        if not folder.events.is_file() or folder.events.stat().st_size == 0:
            continue
        try:
            record = record_of(folder)
        except RunFolderError as error:
            if skipped is not None:
                skipped.append(str(error))
            continue
        if record.outcomes:
            yield record
