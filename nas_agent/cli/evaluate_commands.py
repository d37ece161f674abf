"""`evaluate` and `export`: one architecture trained, and the winner of a run as a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from nas_agent.export import Exported

Json = dict[str, Any]
Epochs = Annotated[int | None, typer.Option(help="Training epochs (default 12; digits 8, in space pytorch 16).")]
Width = Annotated[int | None, typer.Option(help="Channels of the first stage (default 16).")]
Resolution = Annotated[int | None, typer.Option(metavar="N", help="Scale images to NxN pixels.")]
Device = Annotated[str | None, typer.Option(help="auto (the default), cpu, cuda, cuda:1, ..., mps.")]
Data = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder with the images of published tasks.")]
Unsafe = Annotated[
    bool, typer.Option("--unsafe", help="Let code that a model wrote run unconfined, where no sandbox holds.")
]
Confined = Annotated[
    str | None,
    typer.Option(
        "--sandbox", help="What confines it: auto (the default), unshare, bubblewrap, landlock, docker or podman."
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable.")
]


def evaluate(
    architecture: Annotated[
        str, typer.Argument(metavar="ARCH", help="In the notation of its space; FILE.py for space pytorch.")
    ],
    task: Annotated[
        str, typer.Option(help="digits, cifar10, cifar100, ImageNet16-120, folder:PATH, npz:PATH or hf:REPO.")
    ],
    space: Annotated[str, typer.Option(help="The space of the architecture.")] = "nb201",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings, with this many seeds.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="The first seed.")] = 0,
    epochs: Epochs = None,
    width: Width = None,
    resolution: Resolution = None,
    device: Device = None,
    data: Data = None,
    settings: Settings = None,
    test: Annotated[
        bool, typer.Option("--test", help="Open the test part, too: for the one that you have chosen.")
    ] = False,
    unsafe: Unsafe = False,
    sandbox: Confined = None,
    as_json: AsJson = False,
) -> None:
    """Train one architecture with several seeds and print its accuracies."""
    from nas_agent.config import load_config
    from nas_agent.preparation import evaluation_of, from_anywhere
    from nas_agent.records import Failed
    from nas_agent.spaces import load_space
    from nas_agent.tools.evaluators.train import TrainEvaluator
    from nas_agent.tools.inspection import equipped

    flags: Json = {
        "task": task, "space": space, "seed": seed, "epochs": epochs, "width": width, "resolution": resolution,
        "device": device, "data": data, "evaluator": "train", "unsafe": unsafe or None,
        "sandbox": sandbox,
    }  # fmt: skip
    config = from_anywhere(load_config(None, flags, tuple(settings or ())))
    found = load_space(config.space)
    evaluation = evaluation_of(config, found)
    found = equipped(found, evaluation, sandbox=config.confinement)
    asked = found.parse(_read(architecture))
    assert isinstance(evaluation.evaluator, TrainEvaluator)
    training = evaluation.evaluator.trainer.settle()
    rows: list[Json] = []
    levels: list[str] = []
    for number in range(seed, seed + seeds):
        outcome = evaluation.evaluator.evaluate(asked, seed=number)
        row: Json = {"seed": number, "seconds": outcome.seconds}
        row |= {"failed": outcome.reason} if isinstance(outcome, Failed) else {"val": outcome.value}
        levels += [] if outcome.sandbox is None else [outcome.sandbox]
        if test and "val" in row:
            row["test"] = evaluation.test_split.open(asked, seed=number).value
        rows.append(row)
        output.say(_told(row))
    document: Json = {
        "task": evaluation.task.name,
        "space": found.name,
        "arch": asked.text,
        "id": asked.id,
        "fidelity": evaluation.evaluator.fidelity,
        "device": training.device,
        "precision": training.precision,
        "split": evaluation.evaluator.trainer.images.split,
        **({"sandbox": levels[-1]} if levels else {}),
        "seeds": rows,
        **{name: _summary([row[name] for row in rows if row.get(name) is not None]) for name in ("val", "test")},
    }
    output.document(document) if as_json else output.answer(*_lines(document))


def _read(architecture: str) -> str:
    """Return the text of FILE.py, or the notation that was given."""
    from nas_agent.errors import ConfigError

    if "\n" in architecture or not architecture.endswith(".py"):
        return architecture
    try:
        return Path(architecture).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:  # not there, no UTF-8, an unknown ~user
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{architecture[:200]}: the file of a network's class cannot be read ({why}); give its path, or the text"
        ) from error


def _summary(values: list[float]) -> Json | None:
    from statistics import fmean, stdev

    if not values:
        return None
    return {"mean": fmean(values), "spread": stdev(values) if len(values) > 1 else None, "n": len(values)}


def _told(row: Json) -> str:
    if "failed" in row:
        return f"seed {row['seed']}: failed, {row['failed']}"
    test = "" if row.get("test") is None else f", test {row['test']:.2f} %"
    return f"seed {row['seed']}: validation {row['val']:.2f} %{test}, {row['seconds']:.1f} s"


def _lines(document: Json) -> list[str]:
    what = document["id"] if "\n" in document["arch"] else document["arch"]  # a program has many lines
    lines = [
        f"{what} on {document['task']}: {document['fidelity']}, {document['device']}, {document['precision']}",
        document["split"],
    ]
    if "sandbox" in document:
        lines.append(f"its code ran in the sandbox {document['sandbox']}")
    for name, told in (("val", "validation"), ("test", "test")):
        found = document[name]
        if found is not None:
            spread = "" if found["spread"] is None else f" ± {found['spread']:.2f} (standard deviation)"
            lines.append(f"{told} accuracy {found['mean']:.2f}{spread} %, {plural(found['n'], 'seed')}")
    if document["val"] is None:
        lines.append("no training ended: " + document["seeds"][0]["failed"])
    return lines


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, its name, the end of its name, or last.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A new folder for the model (default: export in the run's).")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Images to train on, where the run has looked its values up in a table.")
    ] = None,
    epochs: Epochs = None,
    width: Width = None,
    resolution: Resolution = None,
    device: Device = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Train the winner of a run and write model.py, weights, ONNX and a model card."""
    from nas_agent.config import make_config
    from nas_agent.export import export as write
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import find

    folder = find(home(), run)
    given: Json = {
        "task": task, "epochs": epochs, "width": width, "resolution": resolution, "device": device, "data": data,
    }  # fmt: skip
    changes = {name: value for name, value in given.items() if value is not None}
    make_config(changes)  # what is wrong with a flag is told as by `run`
    with output.quiet_stdout():
        done = write(folder, (out or folder.path / "export").resolve(), changes)
    output.document(done.to_dict()) if as_json else output.answer(*_written(done))


def _written(done: Exported) -> list[str]:
    onnx = "model.onnx" if done.onnx["written"] else f"no model.onnx: {done.onnx['why']}"
    same = "the same network as in the search" if done.same_network else "not the network that the search measured"
    test = "" if done.test is None else f", test {done.test:.2f} %"
    return [
        f"{output.short(done.folder)}: model.py, model.safetensors, README.md, {onnx}",
        f"validation {done.value:.2f} % ({same}){test}; {done.parameters:,} parameters, {done.seconds:.1f} s",
        f"model.py with these weights gives {'the same' if done.same_logits else 'OTHER'} logits",
    ]
