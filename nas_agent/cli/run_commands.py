"""`run` and `resume`: the thin part between the flags and the engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from nas_agent.cli.watch import Watch
    from nas_agent.result import Result
    from nas_agent.tools.run_folder import RunFolder

Json = dict[str, Any]
ExecutorOption = Annotated[
    str | None, typer.Option("--executor", help="inline (the default), pool (with --workers) or ray.")
]
Workers = Annotated[
    str | None, typer.Option(metavar="N|auto", help="Evaluations made side by side; no result depends on it.")
]
RayAddress = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Of ray: auto, local, HOST:PORT or ray://HOST:PORT.")
]


def run(
    task: Annotated[
        str | None,
        typer.Option(
            help="cifar100 (the default), another benchmark's, digits, table:FILE.npz|csv, or your images: "
            "folder:PATH, npz:PATH, hf:REPO."
        ),
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="auto (the default), a built-in one, FILE.py:CLASS, or a package's.")
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(help="Evaluations to spend (default 100); with --fidelities, full trainings' worth of them."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Fixes every random choice (default 0), but not what a language model says.")
    ] = None,
    llm: Annotated[
        str | None,
        typer.Option(
            help="none (the default), openai:MODEL, PROVIDER:MODEL, http://HOST/v1#MODEL, hf:REPO_OR_PATH, replay:RUN."
        ),
    ] = None,
    llm_learner: Annotated[str | None, typer.Option("--llm.learner", help="Another model for the principles.")] = None,
    llm_generator: Annotated[
        str | None, typer.Option("--llm.generator", help="Another model for the proposals (--generator llm, code).")
    ] = None,
    max_calls: Annotated[
        int | None, typer.Option(help="Calls after which the search goes on without the model.")
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="US dollars after which the search goes on without the model.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="hf: models come from the Hugging Face cache, never from the network.")
    ] = False,
    generator: Annotated[
        str | None, typer.Option(help="evolve (the default), random, vq, code, or llm (with --llm).")
    ] = None,
    edits: Annotated[
        str | None,
        typer.Option(help="code: programs of a model as whole, as SEARCH/REPLACE blocks, or auto (by the model)."),
    ] = None,
    generator_model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="vq: a trained generator (default: the one that is shipped).")
    ] = None,
    anonymise: Annotated[
        bool, typer.Option("--anonymise", help="Show the language model neutral labels instead of names.")
    ] = False,
    surrogate: Annotated[str | None, typer.Option(help="auto (the default), structure, joint or none.")] = None,
    embedder: Annotated[
        str | None,
        typer.Option(help="What reads code for joint: all-minilm (the default), hf:REPO_OR_PATH or openai:MODEL."),
    ] = None,
    evaluator: Annotated[str | None, typer.Option(help="auto (the default), table, embedded or train.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Training epochs: of the table's column, or of a training.")
    ] = None,
    fidelities: Annotated[
        str | None,
        typer.Option(
            metavar="1,3,9|auto", help="Train all for few epochs and the best for more, by successive halving (ASHA)."
        ),
    ] = None,
    stop_curves: Annotated[
        bool, typer.Option("--stop-curves", help="End a training early whose losses fall behind those of the best.")
    ] = False,
    screen: Annotated[
        str | None,
        typer.Option(metavar="PROXY", help="Drop half of the proposals by a score of untrained networks, e.g. naswot."),
    ] = None,
    width: Annotated[int | None, typer.Option(help="Of a training: channels of the first stage (default 16).")] = None,
    resolution: Annotated[
        int | None, typer.Option(metavar="N", help="Of a training: scale images to NxN pixels.")
    ] = None,
    inherit: Annotated[
        bool, typer.Option("--inherit", help="pytorch: a child's training begins with its parents' trained weights.")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="Of a training: auto (the default), cpu, cuda, cuda:1, ..., mps.")
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Let code that a model wrote run unconfined, where no sandbox holds.")
    ] = False,
    sandbox: Annotated[
        str | None,
        typer.Option(help="What confines it: auto (the default), unshare, bubblewrap, landlock, docker or podman."),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit", metavar="COST<=NUMBER", help="Measure only what keeps it, e.g. params<=0.8M; repeatable."
        ),
    ] = None,
    objectives: Annotated[
        str | None, typer.Option(metavar="accuracy,COST", help="Search for the front of accuracy and a cost.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Where the front's area begins, e.g. accuracy=65,params=0.3M.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="TASK_OR_RUN", help="Transfer from this task, run, or `memory`; repeatable."),
    ] = None,
    recall: Annotated[
        str | None, typer.Option(help="Whose experience: others (other tasks; the default), all, none.")
    ] = None,
    principles_file: Annotated[
        Path | None,
        typer.Option("--principles", metavar="FILE", help="Start from this file of principles (.md, .json)."),
    ] = None,
    review: Annotated[bool, typer.Option("--review", help="Ask a person before a principle takes effect.")] = False,
    no_principles: Annotated[bool, typer.Option("--no-principles", help="Learn no principles.")] = False,
    no_memory: Annotated[bool, typer.Option("--no-memory", help="Neither recall from memory nor write to it.")] = False,
    batch: Annotated[int | None, typer.Option(help="Architectures measured in one round (default 1).")] = None,
    initial: Annotated[int | None, typer.Option(help="Measured before the surrogate is asked.")] = None,
    executor: ExecutorOption = None,
    workers: Workers = None,
    ahead: Annotated[
        int | None, typer.Option(metavar="K", help="Evaluations under way at once (default 1, with workers 8).")
    ] = None,
    ray_address: RayAddress = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with benchmark tables.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where run folders are made (default runs/).")] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Settings; flags override them.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable.")
    ] = None,
    as_json: AsJson = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, do and write nothing.")] = False,
) -> None:
    """Search for an architecture and report the best one found."""
    from nas_agent.config import load_config

    if no_memory and recall is None:
        recall = "none"
    flags: Json = {
        "task": task, "space": space, "budget": budget, "seed": seed, "llm": llm, "max_calls": max_calls,
        "llm_learner": llm_learner, "llm_generator": llm_generator, "max_cost": max_cost,
        "offline": True if offline else None,
        "generator": generator, "generator_model": generator_model, "edits": edits,
        "surrogate": surrogate, "embedder": embedder, "evaluator": evaluator, "epochs": epochs,
        "width": width, "resolution": resolution, "device": device, "unsafe": unsafe or None,
        "sandbox": sandbox, "fidelities": fidelities, "stop_curves": stop_curves or None, "screen": screen,
        "inherit": "order" if inherit else None,
        "limits": tuple(limit) if limit else None, "objectives": objectives, "reference": reference,
        "source": tuple(source) if source else None, "recall": recall, "batch": batch, "initial": initial,
        "executor": executor, "workers": workers, "ahead": ahead, "ray_address": ray_address,
        "data": data, "out": out,
        "principles_file": principles_file, "review": review or None,
        "principles": False if no_principles else None, "memory": False if no_memory else None,
        "anonymise": True if anonymise else None,
    }  # fmt: skip
    chosen = load_config(config, flags, tuple(settings or ()))
    if dry_run:
        from nas_agent.cli import plan

        with output.quiet_stdout():
            planned = plan.make(chosen)
        output.document(planned) if as_json else output.answer(*plan.tell(planned))
        return

    from nas_agent.run import start

    search(lambda watch: start(chosen, [watch], made=watch.made, ask=watch.ask), None, as_json=as_json)


def resume(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, its name, the end of its name, or last.")],
    executor: ExecutorOption = None,
    workers: Workers = None,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a run that was stopped, by other workers where they are named; of a finished one, print the result."""
    from nas_agent.run import resume as go_on
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import find

    folder = find(home(), run)
    given = {"executor": executor, "workers": workers, "ray_address": ray_address}
    by = {name: value for name, value in given.items() if value is not None}
    search(lambda watch: go_on(folder, [watch], ask=watch.ask, by=by), folder, as_json=as_json)


def search(engine: Callable[[Watch], Result], folder: RunFolder | None, *, as_json: bool) -> None:
    """Drive a search under a progress display, then report; Ctrl-C says how to go on and ends with 130."""
    from nas_agent.cli.progress import Progress
    from nas_agent.cli.watch import INTERRUPTED, Watch
    from nas_agent.errors import ExecutorError, StorageError

    watch = Watch(Progress(output.stderr()), folder, asks=not as_json and sys.stdin.isatty() and sys.stderr.isatty())
    if folder is not None:
        watch.catch_up()
    try:
        with output.quiet_stdout(), watch.interruptible(), watch.progress:
            result = engine(watch)
    except KeyboardInterrupt:
        output.say(watch.farewell())
        raise typer.Exit(INTERRUPTED) from None
    except (StorageError, ExecutorError) as error:
        if watch.folder is None:
            raise
        raise type(error)(f"{error}: nas-agent resume {output.short(watch.folder.path)}") from error
    if as_json:
        output.document(result.to_dict())
    elif not result.pending:
        report(result)
    elif watch.ask is not None:
        output.say(watch.farewell(f"stopped with {plural(len(result.pending), 'principle')} still to review,"))
    else:
        wait(result)
    if result.pending:
        raise typer.Exit(INTERRUPTED)


def wait(result: Result) -> None:
    """Print the principles that wait for a person, and how to answer."""
    from nas_agent.cli.review_prompt import waiting
    from nas_agent.cli.run_document import handle
    from nas_agent.principles.principle import Change
    from nas_agent.tools.run_folder import RunFolder

    assert result.run is not None
    changes = [Change.from_dict(data) for data in result.pending]
    output.answer(*waiting(changes, result.task.unit, handle(RunFolder(Path(result.run)))))


def report(result: Result) -> None:
    """Print the report of a run from its folder, as `show` would."""
    from nas_agent.cli.inspect_commands import space_of
    from nas_agent.cli.report import end_of_run
    from nas_agent.cli.story import Story
    from nas_agent.tools.run_folder import RunFolder

    assert result.run is not None
    story = Story.read(RunFolder(Path(result.run)))
    output.answer(*end_of_run(story, space_of(story), output.stdout()))
