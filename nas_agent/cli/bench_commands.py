"""`bench`: methods at equal budget over seeds."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from nas_agent.cli import output
from nas_agent.cli.lapt_commands import lapt
from nas_agent.cli.output import AsJson


def check_target(flag: str, file: Path) -> None:
    """Refuse a file that cannot be written: now, not after an hour of runs."""
    from nas_agent.errors import StorageError

    try:
        if not file.parent.is_dir():
            raise StorageError(f"{flag} {file}: there is no folder {file.parent}; make it, or choose another file")
        if file.is_dir():
            raise StorageError(f"{flag} {file}: expected a file, got a folder; name a file in it")
        writable = os.access(file if file.exists() else file.parent, os.W_OK)
    except (OSError, ValueError) as error:  # out of reach, too long for a path, or with a NUL in it
        raise StorageError(f"{flag} {str(file)[:200]!r}: cannot be written ({error}); choose another file") from error
    if not writable:
        raise StorageError(f"{flag} {file}: cannot be written (no permission); choose another file")


def write_text(flag: str, file: Path, text: str) -> None:
    """Write a report, or say in one line why not."""
    from nas_agent.errors import StorageError

    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{flag} {file}: cannot be written ({error.strerror}); choose another file") from error


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


bench_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
bench_app.command("lapt")(lapt)


@bench_app.callback()
def bench(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="A benchmark's, such as cifar100, or table:FILE.npz|csv.")] = "cifar100",
    space: Annotated[
        str, typer.Option(help="auto (where the task was measured), a built-in one, or FILE.py:CLASS.")
    ] = "auto",
    methods: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="Which methods (default: those of any space); a wrong name lists all."),
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Evaluations of each run.")] = 200,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each method: seeds 0, 1, ...")] = 10,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes (default: one for each core).")] = None,
    evaluator: Annotated[str, typer.Option(help="auto, table, embedded or train.")] = "auto",
    epochs: Annotated[int | None, typer.Option(help="Training epochs, as for run.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with benchmark tables.")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="COST<=NUMBER", help="As for run, for all methods alike; repeatable."),
    ] = None,
    objectives: Annotated[
        str | None, typer.Option(metavar="accuracy,COST", help="Compare by the area (hypervolume) of the fronts found.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(help="Where that area begins, e.g. accuracy=65,params=0.3M (default: the table's medians)."),
    ] = None,
    stop_at_optimum: Annotated[
        bool, typer.Option("--stop-at-optimum", help="End a run at the known optimum: the same counts, sooner.")
    ] = False,
    encoding: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help="path, cole, structure, joint: bananas with each, by COLE's settings."),
    ] = None,
    predictor: Annotated[
        str | None, typer.Option(help="With --encoding: mlp (default), gp, or paper (COLE's own network; slow).")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for run, for the agents; repeatable.")
    ] = None,
    test_curves: Annotated[
        bool, typer.Option("--test-curves", help="Tell where mean curves cross 99 %, by validation and by test.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the curves.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare search methods at equal budget, with intervals over seeds."""
    if context.invoked_subcommand is not None:
        return
    from nas_agent.bench import report, wishes
    from nas_agent.bench.agent import agent_settings
    from nas_agent.bench.compare import FRONT_METHODS, USUAL, Progress, Setting, compare, find_methods
    from nas_agent.config import make_config

    names = list(USUAL) if methods is None else _listed(methods)
    own = agent_settings(settings or [])
    checked = make_config(
        {
            "task": task, "space": space, "evaluator": evaluator, "epochs": epochs, "data": data,
            "limits": tuple(limit or ()), "objectives": objectives or (), "reference": reference,
        }
    )  # fmt: skip
    objective = wishes.check(checked, test_curves=test_curves, stop_at_optimum=stop_at_optimum)
    if objective is not None and methods is None:
        names = list(FRONT_METHODS)
    encodings = [] if encoding is None else _listed(encoding)
    chosen = find_methods(names, encodings, predictor, own, fronts=objective is not None)
    for flag, file in (("--plot", plot), ("--markdown", markdown)):
        if file is not None:
            check_target(flag, file)
    setting = Setting(task, space, checked.evaluator, data, epochs, checked.limits, objective)
    console = output.stderr()
    status = console.status("starting the workers") if console.is_terminal else None

    def progress(step: Progress) -> None:
        if status is not None:
            status.update(f"{step.done}/{step.total} runs done ({step.method}, seed {step.seed})")
        elif 10 * step.done // step.total > 10 * (step.done - 1) // step.total:
            output.say(f"{step.done}/{step.total} runs done")

    with output.quiet_stdout(), status or contextlib.nullcontext():
        if objective is not None:  # what is wrong with the reference is told before an hour of runs
            wishes.plane_of(setting()[1], objective, reference)
        comparison = compare(
            chosen, setting, seeds=range(seeds), budget=budget, jobs=jobs,
            stop_at_optimum=stop_at_optimum, test_curves=test_curves, progress=progress,
        )  # fmt: skip
    document = wishes.document(comparison, objective, reference, shlex.join(["nas-agent", *sys.argv[1:]]))
    if plot is not None:
        from nas_agent.bench.plot import plot as draw

        draw(document, plot)
    if markdown is not None:
        write_text("--markdown", markdown, report.markdown(document))
    output.document(document) if as_json else output.answer(report.rich_report(document))
