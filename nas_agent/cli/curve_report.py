"""How reports speak of trainings that were stopped by their learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from nas_agent.cli.layout import Rows
from nas_agent.cli.wording import number, plural
from nas_agent.tools.curves import ENOUGH, saved

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.records import Measured

Json = dict[str, Any]


def announced(started: Json) -> list[str]:
    """Say at the start of a search that curves may stop trainings; no line where they do not."""
    if not started.get("stop_curves"):
        return []
    return [
        f"learning curves stop trainings that fall behind the best, once {ENOUGH} have ended; none of those is best"
    ]


def curve_rows(story: Story) -> Rows:
    """Say how many trainings were stopped and what that saved; nothing where curves decide nothing."""
    document = curves_document(story)
    if not document:
        return []
    told = document["stopped"]
    share = told["epochs_saved"] / told["epochs_planned"] if told["epochs_planned"] else 0.0
    words = (
        f"{plural(told['trainings'], 'training')} by their learning curves; {told['epochs_saved']} of "
        f"{plural(told['epochs_planned'], 'epoch')} saved ({share:.0%})"
    )
    return [("stopped", Text(words))]


def curves_document(story: Story) -> Json:
    """Build what curves add to the JSON of a run; nothing where they decide nothing."""
    return {"stopped": saved(story.archive)} if story.started.get("stop_curves") else {}


def curve_lines(outcome: Measured, bar: Json | None, unit: str) -> list[str]:
    """Tell the losses of one training, and why it was stopped where it was; no line where none were noted."""
    if not outcome.curve:
        return []
    lines = ["training loss by epoch: " + " ".join(f"{loss:.3f}" for loss in outcome.curve)]
    if outcome.stopped and bar:
        epoch = len(outcome.curve)
        limit = f"{bar['limits'][epoch - 1]:.3f}"
        lines.append(
            f"stopped after epoch {epoch}: with a loss of at most {limit} it would have gone on; expected to end at "
            f"{number(outcome.expected, unit)}, the best then had {number(bar['best'], unit)}"
        )
    return lines
