"""`memory`: what survives runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from nas_agent.tools.memory import Memory

Json = dict[str, Any]
memory_app = typer.Typer(help="What survives runs: architectures and principles of the past.", no_args_is_help=True)


def open_memory() -> Memory:
    """Open the memory folder of this user."""
    from nas_agent.tools.recollection import open_memory as opened

    return opened()


@memory_app.command("stats")
def stats(as_json: AsJson = False) -> None:
    """Count what memory holds."""
    with output.quiet_stdout():
        found = open_memory().stats().to_dict()
    if as_json:
        output.document(found)
        return
    from rich.text import Text

    from nas_agent.cli.layout import sections

    by_task = ", ".join(f"{task} ({count})" for task, count in found["tasks"].items()) or "none"
    by_space = ", ".join(f"{space} ({count})" for space, count in found["spaces"].items()) or "none"
    rows = {
        "folder": str(found["folder"]),
        "runs": f"{found['runs']:,}",
        "tasks": by_task,
        "spaces": by_space,
        "architectures": f"{found['architectures']:,} ({found['measured']:,} measured, rest predicted)",
        "principles": f"{found['principles']:,} ({found['active']:,} active)",
        "embedder": found["embedder"],
    }
    output.answer(sections([(name, Text(text)) for name, text in rows.items()]))


@memory_app.command("search")
def search(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Words, or an architecture's notation.")],
    count: Annotated[int, typer.Option(min=1, help="How many of each kind.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Find principles by meaning and architectures by notation."""
    with output.quiet_stdout():
        hits = [hit.to_dict() for hit in open_memory().search(query, count)]
    if as_json:
        output.document({"query": query, "hits": hits})
        return
    if not hits:
        output.say("memory is empty; it fills as runs finish, or from their folders: nas-agent memory rebuild")
        return
    from rich.text import Text

    from nas_agent.cli.layout import plain_table

    table = plain_table("like", "kind", "task", "what", right=["like"], wide=["what"])
    for hit in hits:
        what = Text(hit["text"])
        what.append(f"\n{hit['about']}; run {hit['run']}", style="dim")
        table.add_row(f"{hit['similarity']:.2f}", hit["kind"], hit["task"], what)
    output.answer(table)


@memory_app.command("rebuild")
def rebuild(as_json: AsJson = False) -> None:
    """Make memory anew from the run folders; the store before it is kept aside."""
    from nas_agent.tools.run_records import all_records

    with output.quiet_stdout():
        skipped: list[str] = []
        built = {**open_memory().rebuild(all_records(skipped)).to_dict(), "skipped": skipped}
    if as_json:
        output.document(built)
        return
    output.answer(
        f"memory holds {plural(built['runs'], 'run')}, {plural(built['architectures'], 'architecture')}, "
        f"{plural(built['principles'], 'principle')}"
    )
    for problem in skipped:
        output.say(f"left out: {problem}")
    if built["previous"]:
        output.say(f"the store before it: {built['previous']}")


@memory_app.command("forget")
def forget(
    run: Annotated[str | None, typer.Option(metavar="NAME", help="The name of a run folder.")] = None,
    task: Annotated[str | None, typer.Option(help="All runs of this task.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove runs from memory; their folders stay, and `memory rebuild` brings them back."""
    from nas_agent.errors import ConfigError

    with output.quiet_stdout():
        gone = open_memory().forget(run=run, task=task, everything=everything)
    if gone == 0 and not everything:
        named = f"run '{run}'" if run is not None else f"task '{task}'"
        raise ConfigError(f"memory knows no {named}, so nothing was forgotten; `nas-agent memory stats` counts it")
    if as_json:
        output.document({"forgotten": gone})
    else:
        output.answer(f"forgot {plural(gone, 'run')}; run folders stay")
