"""How far a long computation is: one bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from nas_agent.cli import output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import ProgressColumn

SECONDS = 10.0  # between two lines where there is no terminal


class Told(Protocol):
    """Takes in how far it is."""

    def __call__(self, done: int, total: int, what: str, loss: float | None = None) -> None:
        """Take in that `done` of `total` steps of `what` are done."""
        ...


@contextmanager
def step_progress(waiting: str, console: Console | None = None) -> Iterator[Told]:
    """Show it until the block is left; `waiting` is shown before the first step. By default on stderr."""
    console = output.stderr() if console is None else console
    if not console.is_terminal:
        yield Lines(output.say)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    ]  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        only = bar.add_task(waiting, total=None)

        def told(done: int, total: int, what: str, loss: float | None = None) -> None:
            at = bar.tasks[0]
            if total != at.total or done < at.completed:  # another part of the work, with a speed of its own
                bar.reset(only, total=total)
            bar.update(only, completed=done, description=what + _lost(loss))

        yield told


class Lines:
    """Says at once what is begun, then now and then how far it is, and when a part of the work is done."""

    def __init__(self, say: Callable[[str], None], now: Callable[[], float] = time.monotonic) -> None:
        self._say, self._now = say, now
        self._next = -float("inf")

    def __call__(self, done: int, total: int, what: str, loss: float | None = None) -> None:
        """Take in how far it is."""
        now = self._now()
        if done == total or now >= self._next:
            self._next = now + SECONDS
            self._say(f"{what}: {done:,}/{total:,}{_lost(loss)}")


def _lost(loss: float | None) -> str:
    return "" if loss is None else f", loss {loss:.3f}"
