"""`models probe`: what a language model knows of a benchmark before it has seen anything of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nas_agent.bench.probe import Probe


def probe(
    llm: Annotated[
        str,
        typer.Option(
            help="The model, as for run: openai:MODEL, PROVIDER:MODEL, http://HOST/v1#MODEL, hf:REPO_OR_PATH."
        ),
    ],
    space: Annotated[str, typer.Option(help="nb201, FILE.py:CLASS, or an installed space.")] = "nb201",
    task: Annotated[str, typer.Option(help="cifar100, cifar10, ImageNet16-120, or table:FILE.npz|csv.")] = "cifar100",
    samples: Annotated[int, typer.Option(min=1, max=1000, help="Questions, each in another order.")] = 1,
    anonymise: Annotated[bool, typer.Option("--anonymise", help="Show neutral labels instead of names.")] = False,
    evaluator: Annotated[str, typer.Option(help="What knows the values: auto, table or embedded.")] = "auto",
    epochs: Annotated[int | None, typer.Option(help="Training epochs of the table's column.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with benchmark tables.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="hf: models come from the cache.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for run, e.g. hf_dtype=bfloat16.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model for the best architecture with no evidence, and rank its answer to see what it knows by heart.

    Example: nas-agent models probe --llm openai:gpt-4o-mini --task cifar100 --samples 5
    """
    from nas_agent import roles
    from nas_agent.agents.models import resolve
    from nas_agent.bench.probe import probe as ask
    from nas_agent.config import load_config
    from nas_agent.errors import ConfigError
    from nas_agent.spaces import load_space
    from nas_agent.tools.evaluators.resolve import load_evaluation

    with output.quiet_stdout():
        flags = {"evaluator": evaluator, "epochs": epochs, "offline": True if offline else None}
        config = load_config(None, flags, tuple(settings or ()))
        roles.go_offline(config)
        model = resolve(roles.absolute(llm), config)
        if model is None:
            raise ConfigError("--llm none: there is nobody to ask; name a model, e.g. --llm openai:gpt-4o-mini")
        built = load_space(space)
        found = load_evaluation(task, built, config.evaluator, data=data, epochs=epochs, reference=space)
        result = ask(model, built, found, samples=samples, anonymise=anonymise)
    output.document(result.to_dict()) if as_json else output.answer(*tell(result))


def tell(result: Probe) -> list[RenderableType]:
    """Lay the result out for a terminal."""
    from rich.text import Text

    from nas_agent.cli.layout import Rows, heading, plain_table, sections
    from nas_agent.cli.wording import number, plural

    names = ", under neutral labels" if result.anonymised else ""
    among = f"{plural(result.architectures, 'architecture')} with {result.provenance} values"
    best = number(result.optimum, result.task.unit)
    rows: Rows = [
        ("asked", Text(f"{result.model}, {result.prompt}, {plural(len(result.samples), 'time')}{names}")),
        ("among", Text(f"{among}; the best has {best}")),
        ("valid", Text(f"{len(result.valid)} of {plural(len(result.samples), 'answer')}")),
    ]
    if result.rank is not None and result.percentile is not None:
        median = "median rank" if len(result.valid) > 1 else "rank"
        rows.append((median, Text(f"{result.rank:,} of {result.architectures:,}, percentile {result.percentile:.2f}")))
    rows.append(("reading", Text(result.reading)))
    table = plain_table("answer", "rank", "value", "architecture", right=("rank", "value"), wide=("architecture",))
    for place, sample in enumerate(result.samples, start=1):
        rank = "-" if sample.rank is None else f"{sample.rank:,}"
        shown = sample.problem if sample.architecture is None else sample.architecture.text
        table.add_row(str(place), rank, number(sample.value, result.task.unit), Text(shown))
    return [heading(f"Probe: {result.task.name} on {result.space}"), "", sections(rows), "", table]
