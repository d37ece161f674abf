"""How reports speak of inherited weights: who had them, how much, and how many epochs are behind a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from nas_agent.cli.layout import Rows
from nas_agent.cli.wording import plural
from nas_agent.records import Failed, Outcome
from nas_agent.tools.heritage import told_inheritance

if TYPE_CHECKING:
    from nas_agent.cli.story import Story

Json = dict[str, Any]


def heritage_rows(story: Story) -> Rows:
    """Count who began with weights of its parents; nothing in a search that does not inherit."""
    told = told_inheritance(story.archive)
    if told is None:
        return []
    lines = [f"{told['heirs']} of {plural(told['measured'], 'network')} began with weights of their parents"]
    if told["heirs"]:
        lines[0] += (
            f", on average with {told['share']:.0%} of their own, of up to {plural(told['most_epochs'], 'epoch')}"
        )
        lines.append(
            "values of networks with more epochs behind them are not alike; the best was trained from scratch too"
        )
    if told["notes"]:
        lines.append(f"{plural(told['notes'], 'network')} could not take or leave all; `show RUN ID` says why")
    return [("inherited", Text("\n".join(lines)))]


def heritage_document(story: Story) -> Json:
    """Build what inheriting adds to the JSON of a run; nothing where it does not inherit."""
    told = told_inheritance(story.archive)
    return {} if told is None else {"inherited": told}


def inherited_words(outcome: Outcome) -> str:
    """Say what one network has inherited; "" where its search does not inherit."""
    if isinstance(outcome, Failed) or outcome.inherited is None:
        return ""
    found = outcome.inherited
    words = "all weights began afresh"
    if found.taken:
        words = (
            f"{found.taken:,} of {found.of:,} weights are its parents', after up to {plural(found.epochs, 'epoch')} "
            "of training"
        )
    return words + (f"; {found.note}" if found.note else "")
