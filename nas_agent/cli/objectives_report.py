"""How reports speak of limits and of fronts."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from rich.text import Text

from nas_agent.cli.layout import plain_table, sections
from nas_agent.cli.wording import number, plural
from nas_agent.objectives import quantity

if TYPE_CHECKING:
    from rich.table import Table

    from nas_agent.cli.layout import Rows
    from nas_agent.cli.story import Story
    from nas_agent.records import Architecture
    from nas_agent.tools.fronts import Front

Json = dict[str, Any]


def shown(name: str, value: float | None) -> str:
    """Write a cost by the name of its quantity."""
    return "not known" if value is None else quantity(name, "costs").show(value)


def limits_told(started: Json) -> list[str]:
    """Say at the start of a run what it is limited to, and where costs are known from."""
    lines = []
    within = started.get("within_limits")
    if started.get("limits"):
        left = "" if within is None else f": {within['within']:,} of {plural(within['candidates'], 'candidate')} left"
        lines.append(f"limits {', '.join(started['limits'])}{left}")
    if started.get("objectives"):
        lines.append(f"objectives {' and '.join(started['objectives'])}: a search for the front of both")
    return lines + [f"{name}: {cost['origin']}" for name, cost in started.get("costs", {}).items()]


def objective_rows(story: Story) -> Rows:
    """Return what a report says of limits, costs and the front's area."""
    rows: Rows = []
    lines = limits_told(story.started)
    if story.started.get("limits"):
        within = story.started.get("within_limits")
        refused = len(story.refused)
        if within is None or refused:
            lines.insert(1, f"{plural(refused, 'proposal')} refused before measuring, for breaking a limit")
        lines += _spreads(story)
    if lines:
        rows.append(("limits" if story.started.get("limits") else "objectives", Text("\n".join(lines))))
    best = story.best
    if best is not None and (costs := story.costs.get(best.architecture.id)):
        rows.append(("costs", Text("; ".join(f"{name} {shown(name, value)}" for name, value in costs.items()))))
    front = story.front
    if front is not None:
        rows.append(("front", Text(_area(front))))
    return rows


def _area(front: Front) -> str:
    worst, unit = front.reference, front.task.unit
    value = number(front.task.score(worst.score), unit)
    area = front.quantity.show(front.area).split()
    times = " ".join([area[0], "x".join(part for part in (unit, " ".join(area[1:])) if part)])
    return (
        f"{plural(len(front.members), 'architecture')} that no other beats in both; hypervolume {times} "
        f"from {front.task.metric} {value}, {front.quantity.name} {front.quantity.show(worst.cost)}"
    )


def _spreads(story: Story) -> list[str]:
    """Say how far the timed runs of one architecture lie apart."""
    told = []
    for name in story.started.get("costs", {}):
        parts = [
            (high - low) / story.costs[key][name]
            for key, spread in story.spreads.items()
            if name in spread and story.costs[key].get(name)
            for low, high in [spread[name]]
        ]
        if parts:
            told.append(
                f"{name}: half of an architecture's runs lie within {100 * median(parts):.0f} % of its median "
                f"(the middle one of {plural(len(parts), 'architecture')})"
            )
    return told


def front_table(story: Story, front: Front, *, narrow: bool = False) -> Table:
    """List the front, cheapest first; with the test values where these are open."""
    name, unit = front.quantity.name, story.task.unit
    tests = (story.finished or {}).get("front_tests") or {}
    table = plain_table(
        name, "validation", "test", "eval", "id", "architecture",
        right=[name, "validation", "test", "eval"], wide=["architecture"],
    )  # fmt: skip
    listed: Rows = []
    for outcome, cost in front.members:
        architecture: Architecture = outcome.architecture
        cells = (
            shown(name, cost),
            number(outcome.value, unit),
            number(tests.get(architecture.id), unit),
            str(story.places[architecture.id]),
            architecture.id,
        )
        table.add_row(*cells, Text(architecture.text))
        told = "{1} (test {2}), evaluation {3}, id {4}\n".format(*cells) + architecture.text
        listed.append((cells[0], Text(told)))
    return sections(listed) if narrow else table
