"""Who follows a search at the terminal: display, questions to a person, and what an interrupt leaves."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from nas_agent.cli import output

if TYPE_CHECKING:
    from nas_agent.cli.progress import Progress
    from nas_agent.principles.review import Answer
    from nas_agent.tools.journal import Journal
    from nas_agent.tools.run_folder import RunFolder

Json = dict[str, Any]
INTERRUPTED = 130  # exit code


class Watch:
    """The listener between engine and display; it knows where the search runs and whether it was interrupted."""

    def __init__(self, progress: Progress, folder: RunFolder | None, *, asks: bool = False) -> None:
        self.progress = progress
        self.folder = folder
        self.ask = self._question if asks else None  # None: there is nobody to ask
        self._interrupted = False

    def __call__(self, event: Json) -> None:
        """Pass an event on; an interrupt that somebody's `except` has swallowed is raised again here."""
        self.progress(event)
        if self._interrupted:
            raise KeyboardInterrupt

    def _question(self, journal: Journal) -> Mapping[str, Answer]:
        """Ask the person at the terminal about the principles that wait."""
        from nas_agent.cli.review_prompt import Desk

        with self.progress.paused():
            return Desk(output.stderr(), input)(journal)

    def made(self, folder: RunFolder) -> None:
        """Hear of the folder of a new run."""
        self.folder = folder

    def catch_up(self) -> None:
        """Show the display what an earlier process did; a spoiled log is told before anything is loaded."""
        from nas_agent.cli.story import Story

        assert self.folder is not None
        self.progress.catch_up(Story.read(self.folder).events)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Take SIGTERM as Ctrl-C; a second one ends the process at once, since the log is on the disk already."""

        def interrupt(_signal: int, _frame: object) -> None:
            if self._interrupted:
                os._exit(INTERRUPTED)
            self._interrupted = True
            raise KeyboardInterrupt

        before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def farewell(self, what: str = "interrupted") -> str:
        """Say what a search that was stopped leaves, and the exact command that goes on with it."""
        if self.folder is None:
            return "interrupted before the first evaluation; nothing is lost, start again"
        from nas_agent.cli.fidelity_report import spent_words

        seen = self.progress
        done = spent_words(seen.done, seen.budget, seen.spent, several=bool(seen.started.get("fidelities")))
        begun = len(seen.under_way)
        again = f"; {begun} more were under way and will be queued again" if begun > 1 else ""
        return (
            f"{what} after {done}{again}; nothing measured is lost. Go on with:\n"
            f"nas-agent resume {output.short(self.folder.path)}"
        )
