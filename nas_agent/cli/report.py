"""What a run has to say for itself, finished or not: for the end of `run` and `resume`, and for `show`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nas_agent.cli.drawing import draw
from nas_agent.cli.output import short
from nas_agent.cli.wording import duration, number, plural, signed, sparkline

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.principles.principle import Evidence, Principle
    from nas_agent.records import Architecture, Measured
    from nas_agent.spaces.base import Space

Json = dict[str, Any]
TOP = 10  # architectures in a list
ROWS = list[tuple[str, RenderableType]]


def end_of_run(story: Story, space: Space | None, console: Console) -> RenderableType:
    """Build the report that follows a search: the best cell, what led to it, where it lies, what to do next."""
    parts: list[RenderableType] = [Text(_headline(story), style="bold"), Text()]
    if story.best is not None:
        parts += [picture(space, story.best.architecture, console), Text()]
    rows = _best_rows(story)
    rows += [("principles", _principle_lines(story))]
    rows += [("cost", Text(_cost(story))), ("files", _files(story)), ("next", _next(story))]
    return Group(*parts, sections(rows))


def whole_run(story: Story, space: Space | None, console: Console, *, running: bool, unicode: bool) -> RenderableType:
    """Build the report of `show RUN`."""
    parts: list[RenderableType] = [Text(_headline(story), style="bold")]
    if story.finished is None:
        parts.append(Text(_unfinished(story, running), style="yellow"))
    parts.append(Text())
    if story.best is not None:
        parts += [picture(space, story.best.architecture, console), Text()]
    rows = _best_rows(story)
    rows.append(("curve", _curve(story, min(60, console.width - 14), unicode)))
    if story.recalled:
        rows.append(("recalled", _recalled(story)))
    parts += [sections(rows), Text()]
    if story.archive.measured:
        parts += [Text("Best architectures", style="bold"), top_table(story), Text()]
    failures = story.failures()
    if failures:
        parts.append(Text(f"Failed: {plural(len(failures), 'evaluation')}", style="bold"))
        parts += [_wrapped(f"{story.places[f.architecture.id]}: {f.architecture.text}: {f.reason}") for f in failures[:TOP]]
        parts.append(Text(f"  and {len(failures) - TOP} more" if len(failures) > TOP else ""))
    if story.principles:
        parts += [Text("Principles", style="bold"), principle_table(story, story.principles.values()), Text()]
    last: ROWS = [("cost", Text(_cost(story)))]
    if story.model_failures:
        last.append(("model", _model_failures(story)))
    last += [("files", _files(story)), ("next", _next(story))]
    return Group(*parts, sections(last))


def as_document(story: Story, *, running: bool) -> Json:
    """Build the JSON of `show RUN`: unrounded, and the same keys whether the run is finished or not."""
    best = story.best
    return {
        "run": str(story.folder.path),
        "status": status(story, running=running),
        "resume": None if story.finished is not None or running else resume_command(story),
        "task": story.task.name,
        "space": story.config.space,
        "evaluator": story.started.get("evaluator", story.config.evaluator),
        "provenance": story.started.get("provenance"),
        "fidelity": story.started.get("fidelity"),
        "note": story.started.get("note"),
        "seed": story.config.seed,
        "budget": story.config.budget,
        "evaluations": len(story.archive),
        "best": None if best is None else _best_document(story, best),
        "curve": story.archive.curve,
        "top": [{**_outcome(story, outcome), "rank": i} for i, outcome in enumerate(story.ranked()[:TOP], start=1)],
        "failures": [
            {"evaluation": story.places[f.architecture.id], **f.architecture.to_dict(), "reason": f.reason}
            for f in story.failures()
        ],
        "principles": [principle.to_dict() for principle in story.principles.values()],
        "recalled": story.recalled,
        "llm": {**story.model_use.to_dict(), "failures": story.model_failures},
        "simulated_seconds": story.simulated_seconds,
        "seconds": story.active_seconds,
        "why": None if story.finished is None else story.finished["why"],
    }


def status(story: Story, *, running: bool) -> str:
    """Say where a run stands: finished, running, or stopped (then it can be resumed)."""
    return "finished" if story.finished is not None else "running" if running else "stopped"


def resume_command(story: Story) -> str:
    """Return the exact command that goes on with a run."""
    return f"nas-agent resume {short(story.folder.path)}"


# -- parts, also used by the stories of candidates and principles -----------------------------------------


def sections(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Lay out named blocks: the names in a narrow column, the contents wrapped beside them."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, content in rows:
        grid.add_row(name, content)
    return grid


def plain_table(*columns: str, right: Sequence[str] = (), wide: Sequence[str] = ()) -> Table:
    """Make a table without frames; `wide` columns wrap, the others keep their lines."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1), pad_edge=False)
    for name in columns:
        table.add_column(
            name, justify="right" if name in right else "left", no_wrap=name not in wide, overflow="fold", min_width=4
        )
    return table


def picture(space: Space | None, architecture: Architecture, console: Console) -> RenderableType:
    """Draw an architecture; its text alone where its space cannot be loaded."""
    unicode = console.encoding.lower().startswith("utf")
    lines = [architecture.text] if space is None else draw(space, architecture, width=console.width - 4, unicode=unicode)
    return Padding(Text("\n".join(lines), no_wrap=True), (0, 2))


def effect(evidence: Evidence, unit: str) -> str:
    """Write an effect with its interval."""
    if evidence.effect is None:
        return "not known yet"
    if evidence.low is None or evidence.high is None:
        return signed(evidence.effect, unit)
    return f"{signed(evidence.effect)} ({signed(evidence.low)} to {signed(evidence.high)}) {unit}".rstrip()


def counts(evidence: Evidence) -> str:
    """Write how many architectures speak for a principle, and how many against it."""
    return f"{len(evidence.supporting)} for, {len(evidence.opposing)} against, {evidence.others} others"


def principle_table(story: Story, principles: Iterable[Principle]) -> Table:
    """List principles: active ones first."""
    order = {"active": 0, "candidate": 1, "retired": 2}
    table = plain_table("id", "status", "effect (95 %)", "for", "against", "principle", wide=["effect (95 %)", "principle"])
    for principle in sorted(principles, key=lambda p: (order[p.status], int(p.id[1:]) if p.id[1:].isdecimal() else 0)):
        evidence = principle.evidence
        table.add_row(
            principle.id,
            Text(principle.status, style={"active": "green", "retired": "dim"}.get(principle.status, "")),
            effect(evidence, story.task.unit),
            f"{len(evidence.supporting)}",
            f"{len(evidence.opposing)}",
            Text(principle.text),
        )
    return table


def top_table(story: Story) -> Table:
    """List the best architectures."""
    table = plain_table("rank", "value", "eval", "id", "proposed by", "architecture", right=["rank", "value", "eval"], wide=["architecture"])
    for place, outcome in enumerate(story.ranked()[:TOP], start=1):
        event = story.proposal(outcome.architecture.id)
        table.add_row(
            str(place),
            number(outcome.value, story.task.unit),
            str(story.places[outcome.architecture.id]),
            outcome.architecture.id,
            "-" if event is None else event["proposal"]["author"],
            Text(outcome.architecture.text),
        )
    return table


# -- the lines of a report ------------------------------------------------------------------------------


def _headline(story: Story) -> str:
    provenance = story.started.get("provenance")
    word = "" if provenance is None else f", {provenance}"
    evaluator = story.started.get("evaluator", story.config.evaluator)
    spent = f"{len(story.archive)} of {plural(story.config.budget, 'evaluation')}"
    return f"{story.task.name} on {story.config.space}: {spent}, evaluator {evaluator}{word}, seed {story.config.seed}"


def _unfinished(story: Story, running: bool) -> str:
    if running:
        return "It is running now, in another process."
    return f"It was stopped before its end. Go on with: {resume_command(story)}"


def _best_rows(story: Story) -> ROWS:
    best, unit = story.best, story.task.unit
    if best is None:
        return [("best", Text("nothing has been measured yet"))]
    place = story.places[best.architecture.id]
    rows: ROWS = [
        ("best", Text(f"{best.architecture.text}\nid {best.architecture.id}, found at evaluation {place}")),
        ("validation", Text(f"{number(best.value, unit)}  {best.provenance}, {best.fidelity}")),
    ]
    if story.test is not None:
        value = "none" if story.test["value"] is None else number(story.test["value"], unit)
        word = "" if story.test["value"] is None else f"{story.test['provenance']}; opened once, for this architecture; "
        rows.append(("test", Text(f"{value}  {word}{story.test['note']}")))
    return rows


def _principle_lines(story: Story) -> Text:
    """Count the principles, and name those that led to the winner, with their evidence."""
    kinds = [f"{story.statuses(status)} {status}" for status in ("active", "candidate", "retired")]
    text = Text(", ".join(kinds) if story.principles else "none were learned")
    obeyed = obeyed_by_best(story)
    if obeyed:
        text.append("; the best was proposed under:")
    for reference in obeyed:
        principle = story.version(reference)
        text.append(f"\n{reference} ", style="bold")
        text.append(f"{principle.text}\n    {effect(principle.evidence, story.task.unit)}; {counts(principle.evidence)}")
    if story.principles and not obeyed and story.best is not None:
        text.append("; the best was found before any of them was active, or obeys none")
    return text


def obeyed_by_best(story: Story) -> list[str]:
    """Return the references of the principles that the winner obeyed when it was proposed."""
    event = None if story.best is None else story.proposal(story.best.architecture.id)
    return [] if event is None else list(event["proposal"]["principles"])


def _cost(story: Story) -> str:
    parts = [f"{duration(story.active_seconds)} here"]
    if story.simulated_seconds:
        parts.append(f"{duration(story.simulated_seconds)} of training simulated (read from the table, not spent)")
    use = story.model_use
    if use.calls:
        price = f"{use.cost_usd:.4f} USD" if use.cost_usd else "price not known"
        parts.append(f"{plural(use.calls, 'model call')}, {use.input_tokens:,} tokens in, {use.output_tokens:,} out, {price}")
    else:
        parts.append("no language model was called")
    return "; ".join(parts)


def _files(story: Story) -> Text:
    folder = story.folder
    lines = [short(folder.path) + os.sep]
    known = {"best.py": "the best as a stand-alone PyTorch module", "best.json": "the result"}
    known |= {"events.jsonl": "all that happened", "config.toml": "the settings"}
    lines += [f"  {name:<13} {what}" for name, what in known.items() if (folder.path / name).exists()]
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _next(story: Story) -> Text:
    commands = []
    run = short(story.folder.path)
    if story.finished is None:
        commands.append(f"nas-agent resume {run}")
    if story.best is not None:
        commands.append(f"nas-agent show {run} best")
    told = [reference.partition("@")[0] for reference in obeyed_by_best(story)]
    told += [p.id for p in story.principles.values() if p.status == "active"] + list(story.principles)
    if told:
        commands.append(f"nas-agent principles trace {told[0]} --run {run}")
    if story.finished is not None and story.config.space == "nb201":
        others = [name for name in ("cifar10", "cifar100", "ImageNet16-120") if name != story.task.name]
        data = "" if story.config.data is None else f" --data {short(story.config.data)}"
        if len(others) == 2:
            commands.append(f"nas-agent run --task {others[0]}{data}   (recalls what this run has taught)")
        if story.config.llm == "none":
            task = shlex.quote(story.config.task)
            needs = "" if os.environ.get("OPENAI_API_KEY") else "   (needs OPENAI_API_KEY)"
            commands.append(f"nas-agent run --task {task}{data} --llm openai:gpt-4o-mini{needs}")
    return Text("\n".join(commands))


def _curve(story: Story, width: int, unicode: bool) -> Text:
    curve = story.archive.curve
    if not curve:
        return Text("empty")
    text = Text(sparkline(list(curve), width, rising=story.task.maximise, unicode=unicode), no_wrap=True)
    steps = [i for i, value in enumerate(curve) if i == 0 or value != curve[i - 1]]
    shown = steps if len(steps) <= 6 else [steps[0], *steps[-5:]]
    reached = ", ".join(f"{number(curve[i], story.task.unit)} at {i + 1}" for i in shown)
    text.append(f"\n{reached}" + (f"; then level to {len(curve)}" if shown[-1] + 1 < len(curve) else ""))
    return text


def _recalled(story: Story) -> Text:
    kinds = [item["kind"] for item in story.recalled]
    head = f"{plural(kinds.count('architecture'), 'architecture')}, {plural(kinds.count('principle'), 'principle')}"
    return Text("\n".join([head, *(f"- {item['why']}" for item in story.recalled[:5])]))


def _model_failures(story: Story) -> Text:
    shown = [f"- {why}" for why in story.model_failures[:5]]
    return Text("\n".join([f"{plural(len(story.model_failures), 'failure')}; the search went on without the answer", *shown]))


def _wrapped(text: str) -> RenderableType:
    return Padding(Text(text, overflow="fold"), (0, 0, 0, 2))


def _best_document(story: Story, best: Measured) -> Json:
    return {
        "id": best.architecture.id,
        "arch": best.architecture.text,
        "val": best.value,
        "test": None if story.test is None else story.test["value"],
        "evaluation": story.places[best.architecture.id],
        "provenance": best.provenance,
    }


def _outcome(story: Story, outcome: Measured) -> Json:
    event = story.proposal(outcome.architecture.id)
    return {
        "id": outcome.architecture.id,
        "arch": outcome.architecture.text,
        "val": outcome.value,
        "evaluation": story.places[outcome.architecture.id],
        "author": None if event is None else event["proposal"]["author"],
    }
