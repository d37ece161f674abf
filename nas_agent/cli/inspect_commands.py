"""`runs` and `show`: what is known about runs, read from their folders alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.spaces.base import Space
    from nas_agent.tools.run_folder import RunFolder

Json = dict[str, Any]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, its name, the end of its name, or last.")]

runs_app = typer.Typer(help="List the runs, or remove one.", invoke_without_command=True)


def read_story(name: str) -> Story:
    """Find a run by what the user typed and read its log."""
    from nas_agent.cli.story import Story
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import find

    return Story.read(find(home(), name))


def space_of(story: Story) -> Space | None:
    """Load the space of a run; None, with a word on stderr, where a user's file has gone."""
    from nas_agent.errors import ConfigError
    from nas_agent.spaces import load_space

    try:
        return load_space(story.config.space)
    except ConfigError as error:
        output.say(f"note: no drawing: {error}")
        return None


def is_running(folder: RunFolder) -> bool:
    """Tell whether a process holds the folder."""
    from nas_agent.errors import RunFolderError
    from nas_agent.tools.run_folder import UnlockableFolder

    try:
        with folder.locked():
            return False
    except UnlockableFolder:
        return False  # a folder that cannot be written is run by nobody
    except RunFolderError:
        return True


# -- runs -------------------------------------------------------------------------------------------------


@runs_app.callback()
def runs(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the runs that this user has made, oldest first."""
    if ctx.invoked_subcommand is not None:
        return
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import known_folders

    rows = [_summary(folder) for folder in known_folders(home())]
    if as_json:
        output.document({"runs": rows})
    elif not rows:
        output.say("there are no runs yet; make one with: nas-agent run --task cifar100")
    else:
        _print_runs(rows)


def _summary(folder: RunFolder) -> Json:
    """Sum a run up in one row; a broken one gets its reason instead."""
    from nas_agent.cli.run_document import status
    from nas_agent.cli.story import Story
    from nas_agent.errors import NasAgentError
    from nas_agent.tools.run_folder import open_folder

    try:
        story = Story.read(open_folder(folder.path))
    except NasAgentError as error:
        return {"run": str(folder.path), "status": "broken", "problem": str(error)}
    return {
        "run": str(folder.path),
        "status": status(story, running=story.finished is None and is_running(folder)),
        "task": story.task.name,
        "space": story.config.space,
        "evaluator": story.started.get("evaluator", story.config.evaluator),
        "provenance": story.started.get("provenance"),
        "seed": story.config.seed,
        "evaluations": len(story.archive),
        "budget": story.config.budget,
        **({} if story.archive.rungs is None else {"spent": story.archive.spent}),
        "best": None if story.best is None else story.best.value,
        "unit": story.task.unit,
    }


def _print_runs(rows: list[Json]) -> None:
    from pathlib import Path

    from nas_agent.cli.layout import plain_table
    from nas_agent.cli.wording import number

    table = plain_table("run", "status", "evaluations", "best", "", right=["evaluations", "best"], wide=["run", ""])
    for row in rows:
        name = Path(row["run"]).name
        if row["status"] == "broken":
            table.add_row(name, "broken", "", "", row["problem"])
            continue
        spent = f"{row['spent']:.1f}/{row['budget']}" if "spent" in row else f"{row['evaluations']}/{row['budget']}"
        table.add_row(name, row["status"], spent, number(row["best"], row["unit"]), row["provenance"] or "")
    output.answer(table)
    example = Path(rows[-1]["run"]).name.rpartition("-")[2]
    output.say(f"A run goes by its folder or by the end of its name: nas-agent show {example}")


@runs_app.command("rm")
def remove_run(
    run: Run,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a run folder with all that is in it."""
    from nas_agent.errors import ConfigError
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import find, remove

    folder = find(home(), run)
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise ConfigError(f"runs rm would delete {folder.path}; nobody can be asked here, so add --yes to do it")
        if not typer.confirm(f"Delete {folder.path} with all that is in it?", err=True):
            output.say("nothing was deleted")
            return
    remove(home(), folder)
    if as_json:
        output.document({"removed": str(folder.path)})
    else:
        output.answer(f"removed {folder.path}; memory still knows it: nas-agent memory forget --run {folder.path.name}")


# -- show -------------------------------------------------------------------------------------------------


def show(
    run: Run,
    candidate: Annotated[
        str | None,
        typer.Argument(metavar="[CANDIDATE]", help="best, an evaluation number, or the beginning of an id."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell a run's story, finished or not, or that of one of its candidates."""
    story = read_story(run)
    if candidate is not None:
        from nas_agent.cli import candidate as stories

        outcome, space = story.candidate(candidate), space_of(story)
        if as_json:
            output.document(stories.as_document(story, outcome, space))
        else:
            output.answer(*stories.tell(story, outcome, space, output.stdout()))
        return
    running = story.finished is None and is_running(story.folder)
    if as_json:
        from nas_agent.cli.run_document import as_document

        output.document(as_document(story, running=running))
        return
    from nas_agent.cli.report import whole_run

    output.answer(*whole_run(story, space_of(story), output.stdout(), running=running))
