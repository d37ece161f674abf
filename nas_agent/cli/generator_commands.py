"""`generator`: train Arch-LLM's generator, draw from it, and measure what it draws."""

from __future__ import annotations

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.bench_commands import check_target, write_text
from nas_agent.cli.output import AsJson
from nas_agent.cli.step_progress import step_progress

if TYPE_CHECKING:
    from nas_agent.agents.generators.arch_llm.generator import ArchLLM, Draws
    from nas_agent.agents.generators.arch_llm.training import LanguageSettings

Json = dict[str, Any]
generator_app = typer.Typer(
    help="A language model that writes architectures (Arch-LLM): train it, draw from it, measure it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
GRAMMAR = "grammar"  # the space's own uniform draws, as something to compare with

SpaceName = Annotated[str, typer.Option("--space", help="nb201, nb101 or darts.")]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="DIR", help="A generator that was trained (default: the one that comes with nas-agent)."
    ),
]


@generator_app.command("train")
def train(
    space: SpaceName = "nb201",
    base: Annotated[
        str | None,
        typer.Option(metavar="hf:REPO_OR_PATH", help="A causal or seq2seq model to begin with (default: a small one)."),
    ] = None,
    lora: Annotated[
        bool, typer.Option("--lora", help="With --base: train low-rank updates, not all weights (needs peft).")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where it goes (default: the home folder).")
    ] = None,
    kind: Annotated[
        str, typer.Option("--codes", help="vq, or without a codebook: tokens (each decision), vertices (each vertex).")
    ] = "vq",
    architectures: Annotated[
        int | None, typer.Option("-n", min=1, help="Architectures to learn from (default: by space).")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes of the language model.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Sequences of a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Its peak.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the architectures drawn, and of the training.")] = 0,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a generator; the same command goes on where a killed one stopped."""
    from nas_agent.agents.generators.arch_llm import generator

    generator.check_space(space)
    settings = _settings(
        space,
        base,
        lora=lora,
        offline=offline,
        given={"epochs": epochs, "batch": batch, "learning_rate": learning_rate},
    )
    folder = (_home(space) if out is None else out).absolute()
    start = time.monotonic()
    with output.quiet_stdout(), step_progress("drawing architectures") as told:
        made = generator.train(
            space, folder, kind=_kind(kind), count=architectures, settings=settings, seed=seed,
            told=lambda what, done, total, loss: told(done, total, what, loss),
        )  # fmt: skip
    seconds, language = time.monotonic() - start, made.language
    learned = language.about["architectures"]
    document = {
        "folder": str(folder), "space": space, "codes": language.codes, "length": language.length, "kind": made.kind,
        "architectures": learned, "parameters": language.parameters, "seconds": seconds,
    }  # fmt: skip
    if as_json:
        output.document(document)
        return
    output.answer(
        f"{output.short(folder)}: a generator of {space}, trained on {learned:,} architectures in {seconds:.0f} s",
        f"  sequences of {language.length} codes out of {language.codes}; {language.parameters:,} weights",
        f"draw from it: nas-agent generator sample --space {space} -n 10 --temperature 0.7"
        f" --model {output.short(folder)}",
    )


@generator_app.command("sample")
def sample(
    space: SpaceName = "nb201",
    count: Annotated[int, typer.Option("-n", min=1, help="How many sequences to draw.")] = 10,
    temperature: Annotated[float, typer.Option(help="Above 0; the lower, the surer and the less varied.")] = 1.0,
    top_p: Annotated[float, typer.Option("--top-p", help="Draw from the likeliest codes that have this share.")] = 1.0,
    fill: Annotated[
        str | None, typer.Option(metavar="'3 _ 17'", help="Complete this sequence: codes, and _ for what is open.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same draws.")] = 0,
    draw: Annotated[bool, typer.Option("--draw", help="Draw each architecture.")] = False,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Draw architectures; one that is none is shown as its codes."""
    from nas_agent.agents.generators.arch_llm.language import check_sampling
    from nas_agent.agents.generators.arch_llm.prompts import read_partial, written

    check_sampling(temperature, top_p)  # before any weights are read
    with output.quiet_stdout():
        made = _load(space, model)
        known = None if fill is None else read_partial(fill, codes=made.language.codes, length=made.language.length)
        found = made.sample(count, temperature=temperature, top_p=top_p, seed=seed, fill=known)
    if as_json:
        rows = [
            {"codes": row, "architecture": None if one is None else one.to_dict()}
            for row, one in zip(found.sequences.tolist(), found.architectures, strict=True)
        ]
        output.document({"space": space, "temperature": temperature, "seed": seed, "draws": rows})
        return
    gap = "\n    " if output.stdout().is_terminal else "  "  # both are too long for one line of most terminals
    for row, one in zip(found.sequences.tolist(), found.architectures, strict=True):
        output.answer(f"{written(row)}{gap}{'is no architecture' if one is None else one.text}")
        if draw and one is not None:
            _draw(space, one)
    output.say(_counted(found))


@generator_app.command("eval")
def evaluate(
    space: SpaceName = "nb201",
    count: Annotated[int, typer.Option("-n", min=1, help="Draws at each temperature and seed.")] = 10_000,
    temperatures: Annotated[
        str, typer.Option(metavar="FROM..TO[:STEP]", help="Or numbers with commas between them.")
    ] = "0.3..2.0",
    seeds: Annotated[int, typer.Option(min=1, help="Samples: seeds 0, 1, ...")] = 3,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="DIR", help=f"Another generator, or {GRAMMAR} (uniform draws); repeatable."),
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option("--model", metavar="DIR", help="A trained generator (default: nas-agent's own); several: spread."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the metrics by temperature.")] = None,
    heat_map: Annotated[
        Path | None, typer.Option("--heat-map", metavar="FILE.png", help="Draw how often a code stands where.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure validity, uniqueness and novelty on canonical graphs, by temperature."""
    from nas_agent.bench import generator_eval as bench
    from nas_agent.bench import generator_report as report
    from nas_agent.spaces import load_space

    wanted = bench.temperatures_of(temperatures)
    for flag, file in (("--plot", plot), ("--heat-map", heat_map), ("--markdown", markdown)):
        if file is not None:
            check_target(flag, file)
    with output.quiet_stdout(), step_progress("drawing architectures") as told:
        folders: list[Path | None] = [*model] if model else [None]
        made, *more = [_load(space, folder) for folder in folders]
        others = {name: None if name == GRAMMAR else _load(space, Path(name)) for name in against or ()}
        found = bench.evaluate(
            made, load_space(space), drawn=count, temperatures=wanted, seeds=seeds, others=others, more=more,
            told=told,
        )  # fmt: skip
    document = bench.document(found, name=made.kind, command=shlex.join(["nas-agent", *sys.argv[1:]]))
    if plot is not None or heat_map is not None:
        from nas_agent.bench import generator_plot

        if plot is not None:
            generator_plot.plot_metrics(document, plot)
        if heat_map is not None:
            generator_plot.plot_codes(document, heat_map)
    if markdown is not None:
        write_text("--markdown", markdown, report.markdown(document))
    output.document(document) if as_json else output.answer(report.rich_report(document))


def _kind(name: str) -> Any:
    from nas_agent.agents.generators.arch_llm.generator import BY_HAND
    from nas_agent.errors import ConfigError

    if name not in ("vq", *BY_HAND):
        raise ConfigError(f"--codes {name}: expected {' or '.join(('vq', *BY_HAND))}")
    return name


def _settings(space: str, base: str | None, *, lora: bool, offline: bool, given: Json) -> LanguageSettings:
    from dataclasses import replace

    from nas_agent.agents.generators.arch_llm.bases import Base
    from nas_agent.agents.generators.arch_llm.generator import SETTINGS
    from nas_agent.errors import ConfigError

    changed = {name: value for name, value in given.items() if value is not None}
    if base is None:
        if lora:
            raise ConfigError("--lora: expected --base hf:REPO_OR_PATH with it; the default model is trained whole")
        return replace(SETTINGS[space], **changed)
    if not base.startswith("hf:"):
        raise ConfigError(f"--base {base}: expected hf:FOLDER or hf:NAME/REPOSITORY")
    source = base.removeprefix("hf:")
    source = str(Path(source).absolute()) if Path(source).is_dir() else source
    begun = Base(source, lora=lora, offline=offline)
    return replace(SETTINGS[space], base=begun, **changed)


def _home(space: str) -> Path:
    from nas_agent.tools.home import home

    return home() / "generators" / space


def _load(space: str, model: Path | None) -> ArchLLM:
    from nas_agent.agents.generators.arch_llm.generator import check_space, load, shipped
    from nas_agent.errors import DataError

    check_space(space)
    folder = shipped(space) if model is None else model
    if not folder.is_dir():
        shown = output.short(folder)
        raise DataError(f"{shown}: there is no generator; run: nas-agent generator train --space {space} --out {shown}")
    return load(folder, space)


def _draw(space: str, one: Any) -> None:
    from nas_agent.cli.drawing import draw
    from nas_agent.cli.layout import speaks_unicode
    from nas_agent.spaces import load_space

    console = output.stdout()
    lines = draw(load_space(space), one, width=console.width, unicode=speaks_unicode(console))
    output.answer("", *lines, "")


def _counted(found: Draws) -> str:
    valid = [one.id for one in found.architectures if one is not None]
    return f"{len(found.architectures):,} drawn, {len(valid):,} valid, {len(set(valid)):,} distinct"
