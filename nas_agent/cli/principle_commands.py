"""`principles`: what runs have learned, across tasks; files of principles; and a person's word on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.inspect_commands import Run, read_story, space_of
from nas_agent.cli.output import AsJson
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.spaces.base import Space

Json = dict[str, Any]
OfRun = Annotated[str, typer.Option("--run", metavar="RUN", help="Which run (default: the last one).")]
Id = Annotated[str, typer.Argument(metavar="ID", help="For example P1.")]
Many = list[str]

principles_app = typer.Typer(
    help="What runs have learned: list, show, trace, compare, share and review principles.", no_args_is_help=True
)


@principles_app.command("list")
def list_principles(
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Which run (default: the last one).")] = "last",
    as_json: AsJson = False,
) -> None:
    """List the principles of a run with their evidence."""
    story = read_story(run)
    if as_json:
        principles = [
            {**principle.to_dict(), "constraint_text": str(principle.constraint)}
            for principle in story.principles.values()
        ]
        output.document({"run": str(story.folder.path), "task": story.task.name, "principles": principles})
        return
    from rich.text import Text

    from nas_agent.cli.layout import heading
    from nas_agent.cli.report import principle_list

    head = f"{story.folder.path.name}: {story.statuses('active')} active, {story.statuses('retired')} retired"
    if not story.principles:
        output.answer(f"{story.folder.path.name} has no principles")
        return
    effects = f"Effects are differences in {story.task.metric} [{story.task.unit}]: those that obey minus the others."
    output.answer(heading(head), "", principle_list(story, story.principles.values()), "", Text(effects, style="dim"))


@principles_app.command("show")
def show_principle(identity: Id, run: OfRun = "last", as_json: AsJson = False) -> None:
    """Show a principle: what it demands, on what evidence, where it is from and where it stands."""
    from nas_agent.cli.lineage import lineage

    story = read_story(run)
    principle = story.principle(identity)
    family = lineage(story, principle)
    if as_json:
        same = principle.id, principle.version
        last = [change for change in story.changes if (change.principle.id, change.principle.version) == same][-1]
        output.document(
            {
                "run": str(story.folder.path),
                **principle.to_dict(),
                "constraint_text": str(principle.constraint),
                "last_change": {"action": last.action, "why": last.why, "evaluations": last.evaluations},
                **family.to_dict(),
            }
        )
        return
    from nas_agent.cli.principle_report import glance

    output.answer(*glance(story, principle, family))


@principles_app.command("trace")
def trace_principle(identity: Id, run: OfRun = "last", as_json: AsJson = False) -> None:
    """Tell a principle's whole story: where it is from, its evidence, its changes, what it did here and elsewhere."""
    from nas_agent.cli.lineage import lineage
    from nas_agent.cli.trace import trace

    story = read_story(run)
    found = trace(story.events, identity)
    family = lineage(story, story.principle(identity))  # refuses a version that there is not
    if as_json:
        told = {**found.to_dict(), **family.to_dict()}
        output.document({"run": str(story.folder.path), "task": story.task.name, **told})
        return
    from nas_agent.cli.principle_report import whole_story

    output.answer(*whole_story(story, found, family))


@principles_app.command("diff")
def diff(
    first: Run,
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare it with.")],
    as_json: AsJson = False,
) -> None:
    """Compare the principles of two runs by what they demand; the tasks, and even the spaces, may differ."""
    from nas_agent.cli.principle_diff import compare, tell

    stories = read_story(first), read_story(second)
    found = compare(*stories, (space_of(stories[0]), space_of(stories[1])))
    output.document(found) if as_json else output.answer(*tell(found, *stories))


# -- files -----------------------------------------------------------------------------------------------


@principles_app.command("export")
def export(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="FILE.md for people, or FILE.json.")],
    run: Annotated[str, typer.Argument(metavar="[RUN]", help="Which run (default: the last one).")] = "last",
    everything: Annotated[bool, typer.Option("--all", help="Also those that wait or were retired.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the active principles of a run to a file that people can read, edit and share."""
    from nas_agent.errors import ConfigError
    from nas_agent.tools.principle_files import write

    story = read_story(run)
    exchange = _exchange(story, everything)
    if not exchange.shared:
        raise ConfigError(
            f"{story.folder.path.name} has no {'' if everything else 'active '}principles to export"
            + ("" if everything or not story.principles else "; --all exports the others")
        )
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already; choose another --out, or replace it by --force")
    write(out, exchange)
    count = len(exchange.shared)
    if as_json:
        output.document({"run": str(story.folder.path), "file": str(out), "principles": count})
        return
    left = len(story.principles) - count
    more = f" (left out: {plural(left, 'other')})" if left else ""
    output.answer(f"wrote {plural(count, 'principle')} to {output.short(out)}{more}")
    output.say(f"Edit it as you like, then start from it: nas-agent run --principles {output.short(out)}")


def _exchange(story: Story, everything: bool) -> Any:
    from nas_agent.principles.exchange import MOST, from_run

    order = {"active": 0, "candidate": 1, "retired": 2}
    chosen = [principle for principle in story.principles.values() if everything or principle.status == "active"]
    chosen.sort(key=lambda principle: order[principle.status])
    predicted = any(outcome.provenance == "predicted" for outcome in story.archive.measured)
    name = story.folder.path.name
    return from_run(
        chosen[:MOST],
        name,
        story.task.name,
        story.space_name,
        "predicted" if predicted else "measured",
        f"Principles of {name}",
    )


@principles_app.command("import")
def import_principles(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="FILE.md or FILE.json.")],
    space: Annotated[str | None, typer.Option(help="Check against this space (default: the file's own).")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a file of principles and say what a run would make of each; nothing is written.

    `nas-agent run --principles FILE` starts a search from it. Memory holds what runs have learned: what a search
    makes of an imported principle is remembered with that search.
    """
    from nas_agent.tools.principle_files import read, read_for

    fitting = _space_for(space, read(file).space)
    imported = read_for(file, fitting)
    from nas_agent.principles.library import needs_support

    rows = [
        {
            "text": shared.principle.text,
            "constraint": shared.principle.constraint.to_dict(),
            "constraint_text": str(shared.principle.constraint),
            "author": shared.principle.author,
            "waits": needs_support(shared.principle, shared.provenance),
        }
        for shared in imported.shared
    ]
    if as_json:
        output.document({"file": str(file), "space": fitting.name, "principles": rows, "notes": list(imported.notes)})
        return
    _tell_import(rows, fitting.name)
    for note in imported.notes:
        output.say(f"note: {note}")
    output.say(f"Start a search from it: nas-agent run --principles {output.short(file)}")


def _space_for(wanted: str | None, named: str) -> Space:
    from nas_agent.errors import ConfigError
    from nas_agent.spaces import load_space

    try:
        return load_space(wanted or named or "nb201")
    except ConfigError as error:
        if wanted is not None:
            raise
        raise ConfigError(f"the file is for space '{named}', which cannot be loaded by name; give --space") from error


def _tell_import(rows: list[Json], space: str) -> None:
    from rich.text import Text

    from nas_agent.cli.layout import heading, sections

    told = []
    for number, row in enumerate(rows, start=1):
        text = Text(row["text"], style="bold").append(f"\n{row['constraint_text']}", style="not bold")
        waits = row["waits"]
        text.append(f"\nby {row['author']}: ", style="not bold")
        text.append(
            f"waits for support, since {waits}" if waits else "rules at once", style="yellow" if waits else "green"
        )
        told.append((str(number), text))
    output.answer(
        heading(f"{plural(len(rows), 'principle that fits', 'principles that fit')} {space}"), "", sections(told)
    )


# -- review ----------------------------------------------------------------------------------------------


@principles_app.command("review")
def review(
    run: Run,
    accept: Annotated[Many | None, typer.Option(metavar="ID", help="Let it take effect; 'all': all the rest.")] = None,
    refuse: Annotated[Many | None, typer.Option(metavar="ID[=WHY]", help="Do not let it take effect.")] = None,
    edit: Annotated[
        Many | None,
        typer.Option(metavar="ID=NEW", help="A new sentence, constraint, or JSON with text and constraint."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the principles that wait for review in a stopped run, or answer; resume then goes on."""
    from nas_agent.cli.review_prompt import read_flags, waiting
    from nas_agent.cli.run_document import handle, resume_command
    from nas_agent.run import answer

    story = read_story(run)
    left = tuple(story.pending.values())
    given = read_flags(list(story.pending), accept or (), refuse or (), edit or ())
    if given:
        left = answer(story.folder, given)
    if as_json:
        pending = [change.to_dict() for change in left]
        told = {reference: said.to_dict() for reference, said in given.items()}
        output.document({"run": str(story.folder.path), "answered": told, "pending": pending})
        return
    for reference, said in given.items():
        output.answer(f"{reference}: {said.verb}")
    if left:
        output.answer(*waiting(left, story.task.unit, handle(story.folder)))
    elif given:
        output.answer(f"nothing waits any more; go on with: {resume_command(story)}")
    else:
        output.answer(f"{story.folder.path.name}: no principle waits for review")
