"""`bench lapt`: what transfer is worth."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from nas_agent.bench.lapt import Pair
    from nas_agent.bench.methods import Method
    from nas_agent.config import Config

SPACES_APART = ("trans101-micro:class_scene", "trans101-micro:class_object", "trans101-micro:jigsaw", "nb101:cifar10")
SCENES = ("class_scene", "class_object", "room_layout", "segmentsemantic", "normal", "autoencoder")
SUITES = {
    "nb201": tuple(
        f"nb201:{source}->nb201:{target}"
        for target in ("cifar100", "cifar10", "ImageNet16-120")
        for source in ("cifar10", "cifar100", "ImageNet16-120")
        if source != target
    ),
    "trans101": tuple(f"trans101-micro:jigsaw->trans101-micro:{target}" for target in SCENES),
    "spaces": tuple(f"nb201:cifar100->{target}" for target in SPACES_APART),
}


def lapt(
    suite: Annotated[
        str, typer.Option(help="nb201, trans101 (from jigsaw) or spaces (from nb201 to others).")
    ] = "nb201",
    transfer: Annotated[
        list[str] | None,
        typer.Option(
            "--transfer", metavar="SPACE:TASK->SPACE:TASK", help="One transfer instead of a suite; repeatable."
        ),
    ] = None,
    arms: Annotated[
        str | None, typer.Option(metavar="A;B;...", help="Which arms (default: all); a wrong name lists them.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, max=50, help="Rows that any arm reads of a source's table.")] = 50,
    llm: Annotated[
        str,
        typer.Option(metavar="SPEC", help="Adds arms that ask this model, named as for run; a hf: one on each core."),
    ] = "none",
    max_calls: Annotated[int | None, typer.Option(help="Calls after which a run goes on without the model.")] = None,
    max_cost: Annotated[
        float | None, typer.Option(help="US dollars after which a run goes on without the model.")
    ] = None,
    budget: Annotated[int, typer.Option(min=1, help="Evaluations of each run.")] = 100,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each arm: seeds 0, 1, ...")] = 50,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes (default: one for each core).")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with benchmark tables.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare transfer from another task with its controls: replay, counting, shuffled evidence, none."""
    from nas_agent import roles
    from nas_agent.bench import lapt_report as report
    from nas_agent.bench.compare import Progress, compare
    from nas_agent.bench.lapt import arms as make_arms
    from nas_agent.bench.lapt_document import pair_document
    from nas_agent.cli.bench_commands import check_target, write_text
    from nas_agent.config import make_config
    from nas_agent.idle import refuse_idle

    if markdown is not None:
        check_target("--markdown", markdown)
    wanted = None if arms is None else [name.strip() for name in arms.split(";") if name.strip()]
    documents = []
    config = make_config({"llm": roles.absolute(llm), "budget": budget, "max_calls": max_calls, "max_cost": max_cost})
    refuse_idle(config)
    with output.quiet_stdout():
        pairs = _pairs(suite, transfer, data)
        _check(pairs, rows, wanted, llm)
        _ready(config, [make_arms(pair, rows, wanted, llm) for pair in pairs], seeds)
        llm, caps = config.llm, (("max_calls", max_calls), ("max_cost", max_cost))
        for pair in pairs:

            def progress(step: Progress, name: str = pair.name) -> None:
                if 4 * step.done // step.total > 4 * (step.done - 1) // step.total:
                    output.say(f"{name}: {step.done}/{step.total} runs done")

            made = make_arms(pair, rows, wanted, llm, caps)
            comparison = compare(
                made, pair.target, seeds=range(seeds), budget=budget, jobs=jobs, stop_at_optimum=True, progress=progress
            )
            documents.append(pair_document(pair, comparison, rows, llm))
    command = shlex.join(["nas-agent", *sys.argv[1:]])
    if markdown is not None:
        write_text("--markdown", markdown, report.markdown(documents, command))
    if as_json:
        output.document({"command": command, "transfers": documents, "verdicts": report.verdicts(documents)})
    else:
        output.answer(report.rich_report(documents))


def _ready(config: Config, made: list[dict[str, Callable[..., Method]]], seeds: int) -> None:
    """See that the model can answer before hours of runs, and say about how often it will be asked."""
    from nas_agent import roles
    from nas_agent.bench.lapt import MODEL_ARMS

    asking = seeds * sum(name in MODEL_ARMS for arms in made for name in arms)
    if config.llm == "none" or not asking:
        return
    roles.models(config, prepared=True)
    each = 1 + (config.budget - 1) // config.adapt_every
    calls = asking * (each if config.max_calls is None else min(each, config.max_calls))
    output.say(
        f"{config.llm}: asked about {plural(calls, 'time')} in {plural(asking, 'run')}, "
        "more where replies need repair, less where the optimum is found"
    )


def _check(pairs: list[Pair], rows: int, wanted: list[str] | None, llm: str) -> None:
    """Refuse a transfer that cannot be run: now, not after hours of the others."""
    from nas_agent.bench.lapt import arms as make_arms
    from nas_agent.errors import ConfigError

    if wanted == []:
        raise ConfigError("--arms: expected names of arms with ';' between them, got none; leave it out for all")
    ends = {setting: setting()[1] for pair in pairs for setting in (pair.source, pair.target)}
    for pair in pairs:
        if not make_arms(pair, rows, wanted, llm):
            raise ConfigError(f"--arms: none of them is for {pair.name}, which is from space to space; name others")
        source, target = ends[pair.source], ends[pair.target]
        if source.evaluator.pool() is None:
            raise ConfigError(
                f"--transfer {pair.name}: the architectures of the source cannot be listed ({source.note}); "
                "give the folder of its table by --data DIR"
            )
        if target.optimum is None:
            raise ConfigError(
                f"--transfer {pair.name}: the best of the target must be known ({target.note}); "
                "give the folder of its table by --data DIR"
            )


def _pairs(suite: str, transfers: list[str] | None, data: Path | None) -> list[Pair]:
    from nas_agent.bench.compare import Setting
    from nas_agent.bench.lapt import Pair
    from nas_agent.errors import ConfigError
    from nas_agent.tools.benchmarks.registry import named_space

    if not transfers and suite not in SUITES:
        raise ConfigError(f"--suite {suite}: expected one of {', '.join(SUITES)}")
    pairs = []
    for text in transfers or SUITES[suite]:
        ends = [end.strip() for end in text.split("->")]
        if len(ends) != 2 or not all(ends):
            raise ConfigError(f"--transfer {text}: expected SPACE:TASK->SPACE:TASK, e.g. nb201:cifar10->nb201:cifar100")
        settings = []
        for end in ends:
            space, colon, task = end.rpartition(":")
            settings.append(Setting(task, space if colon else named_space("auto", task), "auto", data))
        if settings[0] == settings[1]:
            raise ConfigError(f"--transfer {text}: source and target are the same task; name two")
        pairs.append(Pair(*settings))
    return pairs
