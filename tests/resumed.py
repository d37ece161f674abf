"""Searches that are killed: at an event, or in a process of their own.

python -m tests.resumed start|resume OUT DIARY [SETTINGS]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from nas_agent.records import Json
from nas_agent.run import resume, start
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.run_folder import RunFolder, open_folder
from tests.searching import Diary, config, evaluation


class Killed(BaseException):
    """Stands in for a kill: nothing may catch it."""


def killed_at(point: int, when: Callable[[Json], bool] = lambda event: True) -> Callable[[Json], None]:
    """Return a listener that kills the search at its event of this number, the first being 1, of those that count."""
    seen = 0

    def kill(event: Json) -> None:
        nonlocal seen
        seen += when(event)
        if seen == point:
            raise Killed

    return kill


def the_folder(out: Path) -> RunFolder:
    """Return the only run of a folder."""
    (path,) = out.iterdir()
    return open_folder(path)


def events_of(folder: RunFolder) -> list[Json]:
    """Return what a run's log holds, times left out."""
    return [deterministic(event) for event in read_events(folder.events)[0]]


def main() -> None:
    what, out, diary = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    measured = evaluation(Diary(diary, seconds=0.02))
    if what == "start":
        settings = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
        start(config(out, **settings), evaluation=measured)
    else:
        (folder,) = out.iterdir()
        resume(open_folder(folder), evaluation=measured)


if __name__ == "__main__":
    main()
