"""How reports speak of several fidelities: what was spent at each, and that values of different ones are not alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from nas_agent.cli.layout import Rows
from nas_agent.cli.wording import number, plural

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.records import Outcome

Json = dict[str, Any]


def spent_words(evaluations: int, budget: int, spent: float, *, several: bool) -> str:
    """Say how much of a budget is spent; it counts full trainings where there are several fidelities."""
    if not several:
        return f"{evaluations} of {plural(budget, 'evaluation')}"
    return f"{plural(evaluations, 'evaluation')} worth {spent:.1f} of {plural(budget, 'full training')}"


def fidelity_rows(story: Story) -> Rows:
    """Say what was measured at each fidelity; nothing where there is one."""
    lines = []
    for rung in story.archive.told():
        best = "" if rung["best"] is None else f", best {number(rung['best'], story.task.unit)}"
        failed = f", {rung['failed']} failed" if rung["failed"] else ""
        lines.append(
            f"{rung['told']}: {plural(rung['evaluations'], 'evaluation')} at {rung['cost']:.2g} of a full training"
            f"{failed}{best}"
        )
    if not lines:
        return []
    lines.append("the best and the curve are of the last one alone")
    return [("fidelities", Text("\n".join(lines)))]


def fidelities_document(story: Story) -> Json:
    """Build what several fidelities add to the JSON of a run; nothing where there is one."""
    told = story.archive.told()
    return {"fidelities": told, "spent": story.archive.spent} if told else {}


def announced(started: Json) -> list[str]:
    """Say at the start of a search which fidelities it has; no line where there is one."""
    from nas_agent.records import Fidelity

    rungs = started.get("fidelities") or []
    if not rungs:
        return []
    told = "; ".join(f"{Fidelity.from_dict(rung['at'])} ({rung['cost']:.2g})" for rung in rungs)
    return [f"fidelities and their shares of a full training, which the budget counts: {told}"]


def other_outcomes(story: Story, outcome: Outcome) -> str:
    """Say what the same architecture was worth at other fidelities; "" where it has one outcome."""
    key = outcome.architecture.id
    same = [
        (place, other)
        for place, other in enumerate(story.archive, start=1)
        if other.architecture.id == key and other is not outcome
    ]
    return "; ".join(
        f"{number(getattr(other, 'value', None), story.task.unit)} at {other.at} (evaluation {place})"
        for place, other in same
    )
