"""Where the words go: the answer to stdout, everything else to stderr, and errors as one line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else there.")]


def answer(*parts: RenderableType) -> None:
    """Print what was asked for; a plain string is a line that is never wrapped, so that it can be copied."""
    console = stdout()
    for part in parts:
        if isinstance(part, str):
            sys.stdout.write(part + "\n")
        elif console.is_terminal:
            console.print(part)
        else:  # files and pipes get no blanks at the ends of lines
            with console.capture() as captured:
                console.print(part)
            sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def document(data: dict[str, Any]) -> None:
    """Print the one JSON document, in ASCII, which every output can take; a number that JSON lacks is null."""
    sys.stdout.write(json.dumps(_finite(data), allow_nan=False) + "\n")


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def prepare() -> None:
    """Make the streams able to take every text; who closes one asks for nothing to be written there."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
    reconfigure = getattr(sys.stdout, "reconfigure", None)  # stderr writes what it cannot encode as escapes anyway
    if reconfigure is not None:
        reconfigure(errors="replace")


def drop_stdout() -> None:
    """Throw away what is still buffered: it would raise once more when the interpreter flushes at its end."""
    with contextlib.suppress(OSError, ValueError):  # a stream of a test has no number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Tell the user something that is not the answer."""
    with contextlib.suppress(OSError):  # there is nowhere left to complain
        sys.stderr.write(text + "\n")


def complain(error: object) -> None:
    """Print the one line of a mistake that the user can mend."""
    say("error: " + " ".join(str(error).split()))


def stdout() -> Console:
    """Make the console of answers; on a terminal it has colours and the terminal's width."""
    from rich.console import Console

    class Piped(Console):
        """Leaves a reader that went away to the caller; rich itself would end the process with 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Piped(highlight=False, soft_wrap=False, emoji=False, markup=False)


def stderr() -> Console:
    """Make the console of progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, emoji=False, markup=False)


@contextlib.contextmanager
def quiet_stdout() -> Iterator[None]:
    """Send to stderr what libraries print while they work, so that stdout holds the answer alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def short(path: Path | str) -> str:
    """Write a path as it would be typed here: relative where it lies below this folder, quoted where it must be."""
    path = Path(path)
    with contextlib.suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return shlex.quote(str(path))
