"""The one way in which long commands show how far they are."""

from __future__ import annotations

import io

from rich.console import Console

from nas_agent.cli.step_progress import SECONDS, Lines, step_progress


def test_lines_come_at_once_then_now_and_then_and_at_the_end_of_each_part() -> None:
    said: list[str] = []
    clock = iter([0.0, SECONDS / 2, SECONDS, SECONDS])
    lines = Lines(said.append, lambda: next(clock))
    lines(1, 1_000, "fits")
    lines(2, 1_000, "fits")  # too soon
    lines(3, 1_000, "fits", 0.5)
    lines(1_000, 1_000, "fits")
    assert said == ["fits: 1/1,000", "fits: 3/1,000, loss 0.500", "fits: 1,000/1,000"]


def test_a_terminal_gets_a_bar_with_the_loss_that_goes_away() -> None:
    screen = io.StringIO()
    with step_progress("reading", Console(file=screen, force_terminal=True, width=100)) as told:
        told(3, 9, "language model", 1.25)
    shown = screen.getvalue()
    assert "language model, loss 1.250" in shown
    assert "3/9" in shown
    assert shown.endswith("\x1b[2K")  # the line is cleared


def test_another_part_of_the_work_starts_the_bar_anew() -> None:
    screen = io.StringIO()
    with step_progress("reading", Console(file=screen, force_terminal=True, width=100)) as told:
        told(9, 9, "texts")
        told(1, 40, "fits")
    assert "1/40" in screen.getvalue()


def test_without_a_terminal_there_are_lines(capsys) -> None:
    with step_progress("reading", Console(file=io.StringIO())) as told:
        told(2, 2, "texts")
    assert capsys.readouterr().err == "texts: 2/2\n"
