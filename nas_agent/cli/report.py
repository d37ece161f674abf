"""What a run has to say for itself, finished or not: for the end of `run` and `resume`, and for `show`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import ndiff
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nas_agent.cli.curve_report import curve_rows
from nas_agent.cli.fidelity_report import fidelity_rows, spent_words
from nas_agent.cli.gate_report import gate_text
from nas_agent.cli.heritage_report import heritage_rows
from nas_agent.cli.layout import Rows, counts, effect, heading, picture, plain_table, sections, speaks_unicode
from nas_agent.cli.next_steps import next_steps, obeyed_by_best
from nas_agent.cli.objectives_report import front_table, objective_rows
from nas_agent.cli.output import short
from nas_agent.cli.run_document import TOP
from nas_agent.cli.transfer_report import recalled_text, sources_text
from nas_agent.cli.wording import duration, number, plural, sparkline
from nas_agent.principles.library import SO_IT_WAITS

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.principles.principle import Principle
    from nas_agent.records import Architecture
    from nas_agent.spaces.base import Space

Parts = list[RenderableType]  # a plain string is a line to be copied: it is never wrapped
OBEYED = 4  # principles whose evidence the end of a run spells out, the strongest first
NARROW = 60  # columns of a terminal below which tables become lists
DIFFERENCES = 3  # decisions in which an architecture may differ from the best and still be told by them


def end_of_run(story: Story, space: Space | None, console: Console) -> Parts:
    """Return the report that follows a search: the best cell, what led to it, where it lies, what to do next."""
    rows: Rows = [("sources", sources_text(list(story.sources.values())))] if story.sources else []
    if story.recall_problem:
        rows.append(("recalled", recalled_text([], story.recall_problem)))
    rows += _surrogate_rows(story)
    if failed := story.failures():
        rows.append(("failed", Text(f"{plural(len(failed), 'evaluation')}; the last: {failed[-1].reason}")))
    rows += [("principles", _obeyed(story)), ("cost", Text(_cost(story)))]
    return [
        heading(_headline(story)),
        "",
        *_best(story, space, console),
        sections([*_best_rows(story), *_own_rows(story), *rows]),
        *_front(story, console),
        *_files(story),
        *next_steps(story),
    ]


def whole_run(story: Story, space: Space | None, console: Console, *, running: bool) -> Parts:
    """Return the report of `show RUN`."""
    parts: Parts = [heading(_headline(story))]
    if story.finished is None:
        words = "is running now, in another process" if running else "was stopped before its end and can be resumed"
        if story.pending and not running:
            words = f"waits for review of {plural(len(story.pending), 'principle')}: {', '.join(story.pending)}"
        if (under_way := len(story.proposals) - story.outcomes) > 1:
            words += f"; {under_way} evaluations {'are' if running else 'were'} under way"
        parts.append(Text(f"It {words}.", style="yellow"))
    parts += ["", *_best(story, space, console)]
    rows = [*_best_rows(story), *_own_rows(story)]
    rows.append(("curve", _curve(story, min(60, console.width - 14), speaks_unicode(console))))
    if story.sources:
        rows.append(("sources", sources_text(list(story.sources.values()))))
    rows += _surrogate_rows(story)
    if story.recalled or story.recall_problem:
        rows.append(("recalled", recalled_text(story.recalled, story.recall_problem)))
    parts += [sections(rows), *_front(story, console)]
    if story.archive.measured:
        parts += ["", heading("Best architectures"), top_table(story, space, narrow=console.width < NARROW)]
    if story.failures():
        parts += ["", *_failures(story)]
    if story.principles:
        parts += ["", heading("Principles"), principle_list(story, story.principles.values())]
    last: Rows = [("cost", Text(_cost(story)))]
    if story.offered:
        counted = ", ".join(f"{count} {what}" for what, count in story.offered.items())
        last.append(("proposals", Text(f"by the language model: {counted}")))
    if story.tallies:
        every = story.tallies["all"]
        counted = f"{every.asked} asked, {every.came_back} with a class, {every.valid} networks, "
        last.append(("programs", Text(f"{counted}{every.valid_after_repair} after repair (by intent: --json)")))
    if story.model_failures:
        last.append(("model", _model_failures(story)))
    return [*parts, "", sections(last), *_files(story), *next_steps(story)]


def principle_list(story: Story, principles: Iterable[Principle]) -> Table:
    """List principles, active ones first: where each stands, on what evidence, and its sentence."""
    order = {"active": 0, "candidate": 1, "retired": 2}
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for principle in sorted(principles, key=lambda p: (order[p.status], len(p.id), p.id)):
        style = {"active": "green", "retired": "dim"}.get(principle.status, "")
        grid.add_row(principle.reference, Text(principle.status, style=style), Text(principle.text))
        evidence = f"{effect(principle.evidence, story.task.unit)}; {counts(principle.evidence)}"
        waits = _waits(story, principle)
        grid.add_row("", "", Text(evidence + (f"\nwaits: {waits}" if waits else ""), style="dim"))
    return grid


def _waits(story: Story, principle: Principle) -> str:
    """Say why a principle that was taken over waits as a candidate; "" where none does."""
    created = next((c for c in story.changes if c.principle.id == principle.id and c.action == "created"), None)
    if principle.status != "candidate" or created is None or not created.why.endswith(SO_IT_WAITS):
        return ""
    return created.why.removesuffix(SO_IT_WAITS).rpartition("; ")[2]


def top_table(story: Story, space: Space | None, *, narrow: bool = False) -> Table:
    """List the best architectures; the others by what sets them apart from the best. `narrow`: below each other."""
    columns = ("rank", "value", "eval", "id", "proposed by", "architecture")
    table = plain_table(*columns, right=["rank", "value", "eval"], wide=["proposed by", "architecture"])
    listed: Rows = []
    best = story.best
    for place, outcome in enumerate(story.ranked()[:TOP], start=1):
        event = story.proposal(outcome.architecture.id)
        what = outcome.architecture.text
        if best is not None and space is not None:
            what = "drawn above" if place == 1 else _apart(space, best.architecture, outcome.architecture)
        cells = (
            number(outcome.value, story.task.unit),
            str(story.places[outcome.architecture.id]),
            outcome.architecture.id,
            "-" if event is None else event["proposal"]["author"],
        )
        table.add_row(str(place), *cells, Text(what))
        listed.append((str(place), Text("{}, evaluation {}, id {}, by {}\n".format(*cells) + what)))
    return sections(listed) if narrow else table


def _headline(story: Story) -> str:
    provenance = story.started.get("provenance")
    word = "" if provenance is None else f" ({provenance})"
    evaluator = story.started.get("evaluator", story.config.evaluator)
    several, archive = story.archive.rungs is not None, story.archive
    spent = spent_words(len(archive), story.config.budget, archive.spent, several=several)
    return f"{story.task.name} on {story.space_name}: {spent}, {evaluator}{word}, seed {story.config.seed}"


def _best(story: Story, space: Space | None, console: Console) -> Parts:
    if story.best is None:
        return []
    drawn, text = picture(space, story.best.architecture, console), story.best.architecture.text
    return [drawn, ""] if "\n" in text else [drawn, "", text, ""]


def _own_rows(story: Story) -> Rows:
    """Say what only searches have that were asked for it."""
    return [*fidelity_rows(story), *curve_rows(story), *heritage_rows(story), *objective_rows(story)]


def _best_rows(story: Story) -> Rows:
    best, unit = story.best, story.task.unit
    if best is None:
        return [("best", Text("nothing has been measured yet"))]
    how = best.fidelity if best.provenance in best.fidelity else f"{best.provenance}, {best.fidelity}"
    twice = f"; the lower of {plural(len(best.repeats), 'seed')}" if best.repeats else ""
    twice += ", the second one from scratch" if best.repeats and best.inherited and best.inherited.taken else ""
    rows: Rows = [
        ("best", Text(f"id {best.architecture.id}, found at evaluation {story.places[best.architecture.id]}")),
        ("validation", Text(f"{number(best.value, unit)}  {how}{twice}")),
    ]
    if best.sandbox is not None:
        rows.append(("sandbox", Text(", or ".join(story.sandboxes))))
    if story.test is not None:
        value, provenance, note = (story.test[key] for key in ("value", "provenance", "note"))
        how = note if provenance in note else f"{provenance}, {note}"
        shown = f"none  {note}" if value is None else f"{number(value, unit)}  {how}; opened once, at the end"
        rows.append(("test", Text(shown)))
    return rows


def _front(story: Story, console: Console) -> Parts:
    front = story.front
    if front is None or not front.members:
        return []
    return ["", heading("Front"), front_table(story, front, narrow=console.width < NARROW)]


def _surrogate_rows(story: Story) -> Rows:
    told = story.gate.predicted or story.embedding
    return [("surrogate", gate_text(story.gate, story.embedding))] if told else []


def _obeyed(story: Story) -> Text:
    """Count the principles, and name those that led to the winner, with their evidence."""
    if not story.principles:
        return Text("none were learned")
    kinds = ", ".join(f"{story.statuses(status)} {status}" for status in ("active", "candidate", "retired"))
    obeyed = obeyed_by_best(story)
    if not obeyed:
        why = "" if story.best is None else "; the best was found before any was active, or obeys none"
        return Text(kinds + why)
    text = Text(f"{kinds}; the best was proposed under")
    strongest = sorted(obeyed, key=lambda reference: _strength(story.version(reference)), reverse=True)
    for reference in strongest[:OBEYED]:
        principle = story.version(reference)
        text.append(f"\n{reference} ", style="bold")
        text.append(principle.text)
        now = story.principles[principle.id]
        if now.reference != reference or now.status != "active":
            version = "" if now.reference == reference else f"{now.reference}, "
            text.append(f" (since then {version}{now.status})")
        evidence = f"{effect(principle.evidence, story.task.unit)}; {counts(principle.evidence)}"
        text.append(f"\n   {evidence}", style="dim")
    if len(obeyed) > OBEYED:
        text.append(f"\nand {', '.join(strongest[OBEYED:])}")
    return text


def _strength(principle: Principle) -> float:
    return float("-inf") if principle.evidence.low is None else principle.evidence.low


def _cost(story: Story) -> str:
    parts = [f"{duration(story.active_seconds)} of search"]
    if story.simulated_seconds:
        parts.append(f"{duration(story.simulated_seconds)} of training simulated, read from the table")
    use = story.model_use
    if use.calls:
        price = "price not known" if use.cost_usd is None else f"{use.cost_usd:.4f} USD"
        tokens = f"{use.input_tokens:,} tokens in, {use.output_tokens:,} out"
        by_role = ", ".join(f"{role} {part.calls}" for role, part in sorted(use.roles.items()))
        calls = plural(use.calls, "model call") + (f" ({by_role})" if len(use.roles) > 1 else "")
        parts.append(f"{calls}, {tokens}, {price}")
    else:
        parts.append("no model was called")
    return "; ".join(parts)


def _files(story: Story) -> Parts:
    folder = story.folder
    known = {"best.py": "the best as a stand-alone PyTorch module", "best.json": "the result"}
    known |= {"weights": "trained weights that children inherit; of a finished run they may be removed"}
    known |= {"archive.json": "the best of each kind", "archive.csv": "the same as a table"}
    known |= {"events.jsonl": "all that happened", "config.toml": "the settings"}
    there = Table.grid(padding=(0, 2, 0, 0))
    there.add_column(no_wrap=True)
    there.add_column(overflow="fold")
    for name, what in known.items():
        if (folder.path / name).exists():
            there.add_row(name, what)
    return ["", heading("Files"), f"  {short(folder.path)}{os.sep}", Padding(there, (0, 0, 0, 4))]


def _curve(story: Story, width: int, unicode: bool) -> Text:
    curve = story.archive.curve
    if not curve:
        return Text("empty")
    drawn = sparkline(list(curve), width, rising=story.task.maximise, unicode=unicode)
    steps = [i for i, value in enumerate(curve) if value is not None and (i == 0 or value != curve[i - 1])]
    shown = steps if len(steps) <= 6 else [steps[0], *steps[-5:]]
    reached = ", ".join(f"{number(curve[i], story.task.unit)} at {i + 1}" for i in shown)
    return Text(f"{drawn}\n{reached}")


def _failures(story: Story) -> Parts:
    failed = story.failures()
    parts: Parts = [heading(f"Failed: {plural(len(failed), 'evaluation')}")]
    for failure in failed[:TOP]:
        text = f"{story.places[failure.architecture.id]}: {failure.reason} ({failure.architecture.id})"
        parts.append(Padding(Text(text, overflow="fold"), (0, 0, 0, 2)))
    if len(failed) > TOP:
        parts.append(Text(f"  and {len(failed) - TOP} more; --json has all of them"))
    return parts


def _model_failures(story: Story) -> Text:
    head = f"{plural(len(story.model_failures), 'failure')}; the search went on without the answer"
    return Text("\n".join([head, *(f"- {why}" for why in story.model_failures[:5])]))


def _apart(space: Space, best: Architecture, other: Architecture) -> str:
    """Say in which decisions an architecture differs from the best one; of a program, in how many lines."""
    if "\n" in other.text:
        marks = [line[:1] for line in ndiff(best.text.splitlines(), other.text.splitlines())]
        return f"{plural(marks.count('+'), 'line')} of its own, {marks.count('-')} of the best one not"
    ours, theirs = space.choices(best), space.choices(other)
    if not ours:
        return other.text
    changed = [name for name in ours if ours[name] != theirs[name]]
    if len(changed) > DIFFERENCES:
        return f"differs in {len(changed)} of {len(ours)} decisions"
    return "but " + ", ".join(f"{name} {theirs[name]}" for name in changed)
