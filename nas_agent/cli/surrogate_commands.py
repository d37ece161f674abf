"""`surrogate`: how well architectures can be ranked before they are measured, and what that costs on disk."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from nas_agent.cli import output
from nas_agent.cli.bench_commands import check_target, write_text
from nas_agent.cli.output import AsJson
from nas_agent.cli.step_progress import step_progress
from nas_agent.cli.wording import plural

surrogate_app = typer.Typer(
    help="Predictors of scores: how well they rank, by COLE's protocol.", no_args_is_help=True, rich_markup_mode=None
)
cache_app = typer.Typer(help="The embeddings kept on disk.", no_args_is_help=True)
surrogate_app.add_typer(cache_app, name="cache")

EXAMPLES = """Compare predictors on a table: split first, subsample later, isomorphic architectures never apart.

Every list is crossed with every other one; heads on structure alone read no text.

\b
The joint process against the same one without embeddings, on one task:
  nas-agent surrogate eval --space nb201 --task cifar10
What a language model adds to word counts and to random weights:
  nas-agent surrogate eval --embedder all-minilm,tfidf,random:all-minilm \\
      --blocks code
Every head on structure alone, quickly, on three tasks:
  nas-agent surrogate eval --task all --blocks structure --head \\
      gp,ridge,mlp,lightgbm --n 14,55,220 --repeats 5 --test-folds 2
The paper's texts, with a picture and a page:
  nas-agent surrogate eval --text inline,helper,exclude-helper,canonical \\
      --plot tau.png --markdown tau.md
"""


def listed(flag: str, text: str) -> tuple[str, ...]:
    """Read names with commas between them."""
    from nas_agent.errors import ConfigError

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise ConfigError(f"--{flag}: expected names with commas between them, got {text!r}")
    return names


def _sizes(text: str) -> tuple[int, ...]:
    from nas_agent.errors import ConfigError

    try:
        return tuple(sorted(int(name) for name in listed("n", text)))
    except ValueError as error:
        raise ConfigError(f"--n {text}: expected whole numbers with commas between them, e.g. 14,55,220") from error


@surrogate_app.command("eval", help=EXAMPLES)
def evaluate(
    task: Annotated[
        str, typer.Option(metavar="A,B,...", help="Tasks of one space, all of them (all), or table:FILE.")
    ] = "cifar10",
    space: Annotated[
        str, typer.Option(help="auto (where the task was measured), a built-in one, or FILE.py:CLASS.")
    ] = "auto",
    text: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help="canonical, inline, helper, exclude-helper (each also +network, +docstring), onnx, string, or a "
            "space's own; a wrong name lists them.",
        ),
    ] = "canonical",
    embedder: Annotated[
        str, typer.Option(metavar="A,B,...", help="all-minilm, tfidf, char-ngrams, hf:REPO, openai:MODEL, random:NAME.")
    ] = "all-minilm",
    pooling: Annotated[
        str,
        typer.Option(
            metavar="A,B,...", help="auto (the model's own), mean, last-token, cls, mean-layers, every-K, echo."
        ),
    ] = "auto",
    head: Annotated[str, typer.Option(metavar="A,B,...", help="gp, ridge, mlp, lightgbm.")] = "gp",
    blocks: Annotated[
        str, typer.Option(metavar="A,B,...", help="What a head sees: structure, code, joint (both).")
    ] = "structure,code,joint",
    sizes: Annotated[
        str, typer.Option("--n", metavar="N,M,...", help="Sizes of the training sample.")
    ] = "14,55,220,879,3516",
    repeats: Annotated[int, typer.Option(min=1, help="How often the folds are drawn.")] = 20,
    folds: Annotated[int, typer.Option(min=2, help="Folds of each repeat.")] = 10,
    test_folds: Annotated[
        int | None,
        typer.Option("--test-folds", min=1, help="Folds held out in each repeat (default: all, one by one)."),
    ] = None,
    together: Annotated[
        str,
        typer.Option(help="What is never on both sides of a split: classes (isomorphic) or texts (canonical ones)."),
    ] = "classes",
    target: Annotated[str, typer.Option(help="Transform of values: power (Yeo-Johnson) or rank.")] = "power",
    components: Annotated[int, typer.Option(min=1, help="Most principal components of an embedding.")] = 128,
    reference: Annotated[
        str | None, typer.Option(metavar="NAME", help="What others are tested against (default: gp structure).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the splits, the samples, and random weights.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes (default: one for each core).")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with benchmark tables.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Training epochs of the table, as for run.")] = None,
    device: Annotated[str, typer.Option(help="Where a language model runs, e.g. cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16 or int8.")] = "auto",
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=1, help="Of a text (default: the model's limit).")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Texts that a model reads at once.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a model on Hugging Face.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw tau against N.")] = None,
    markdown: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the tables as Markdown.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare predictors of scores on a table."""
    from nas_agent.bench import surrogate_report as report
    from nas_agent.bench.surrogate_document import document as make_document
    from nas_agent.bench.surrogate_eval import evaluate as run
    from nas_agent.bench.surrogate_eval import load_problems, product_parts
    from nas_agent.bench.surrogate_plan import Plan
    from nas_agent.spaces import load_space
    from nas_agent.tools.benchmarks.registry import named_space, tasks_in

    for flag, file in (("--plot", plot), ("--markdown", markdown)):
        if file is not None:
            check_target(flag, file)
    plan = Plan(
        texts=listed("text", text), embedders=listed("embedder", embedder), poolings=listed("pooling", pooling),
        heads=listed("head", head), blocks=listed("blocks", blocks), sizes=_sizes(sizes), repeats=repeats, folds=folds,
        test_folds=test_folds,
        together=together, target=target, components=components, seed=seed, reference=reference,
    )  # fmt: skip
    given = {"device": device, "dtype": dtype, "max_tokens": max_tokens, "batch": batch, "revision": revision}
    options = {name: value for name, value in given.items() if value is not None}
    options |= {"offline": offline, "seed": seed}
    with output.quiet_stdout(), step_progress("reading tables") as told:
        space = named_space(space, listed("task", task)[0])
        tasks = tasks_in(load_space(space)) if task == "all" else listed("task", task)
        problems = load_problems(space, tasks, data=data, epochs=epochs)
        outcome = run(plan, problems, product_parts(options, _cache()), jobs=jobs, told=told)
    doc = make_document(outcome, command=shlex.join(["nas-agent", *sys.argv[1:]]))
    if plot is not None:
        from nas_agent.bench.surrogate_plot import plot as draw

        draw(doc, plot)
    if markdown is not None:
        write_text("--markdown", markdown, report.markdown(doc))
    output.document(doc) if as_json else output.answer(report.rich_report(doc))


@cache_app.command("stats")
def stats(as_json: AsJson = False) -> None:
    """Count what the cache of embeddings holds."""
    from nas_agent.tools.embeddings import cache_stats

    found = cache_stats(_cache())
    embedders = {name: {"embeddings": number, "bytes": size} for name, (number, size) in found.embedders.items()}
    if as_json:
        output.document(
            {
                "file": str(found.file), "embeddings": found.entries, "bytes": found.bytes, "embedders": embedders,
                "set_aside": found.set_aside,
            }
        )  # fmt: skip
        return
    output.answer(f"{output.short(found.file)}: {plural(found.entries, 'embedding')}, {_size(found.bytes)}")
    if found.set_aside:
        aside = plural(found.set_aside, "unreadable file")
        output.answer(f"{aside} beside it; to remove all of this: nas-agent surrogate cache clear")
    if embedders:
        from rich.text import Text

        from nas_agent.cli.layout import plain_table

        table = plain_table("embeddings", "size", "embedder", right=["embeddings", "size"], wide=["embedder"])
        for name, (number, size) in found.embedders.items():
            table.add_row(f"{number:,}", _size(size), Text(name))
        output.answer(table)


@cache_app.command("clear")
def clear(
    embedder: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only this one's, as `stats` names it (default: all).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove embeddings from the disk; they are computed again where they are needed."""
    from nas_agent.errors import ConfigError
    from nas_agent.tools.embeddings import cache_stats, clear_cache

    if embedder is not None and embedder not in (held := cache_stats(_cache()).embedders):
        raise ConfigError(f"--embedder {embedder!r}: expected one of {', '.join(held) or 'none (the cache is empty)'}")
    removed = clear_cache(_cache(), embedder)
    if as_json:
        output.document({"removed": removed.entries, "bytes": removed.bytes, "set_aside": removed.set_aside})
    else:
        aside = f", and {plural(removed.set_aside, 'unreadable file')}" if removed.set_aside else ""
        output.answer(f"removed {plural(removed.entries, 'embedding')}, {_size(removed.bytes)}{aside}")


def _cache() -> Path:
    from nas_agent.tools.home import home

    return home() / "cache"


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size / 1e3:.1f} kB"
