"""From what the user typed, `--task` and `--evaluator`, to everything that a task brings along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Task
from nas_agent.spaces import CategoricalSpace, Space, is_untrusted
from nas_agent.spaces.inspection import Inspected
from nas_agent.tools.benchmarks.base import Benchmark
from nas_agent.tools.benchmarks.registry import benchmark_of, measured_in, task_names, tasks_in
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.table import TableEvaluator, TableTestSplit
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, TrainTestSplit
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.fidelities import FACTOR, FLAG, rungs_of_columns
from nas_agent.tools.images import image_task_names, load_images, means_images
from nas_agent.tools.tables import BenchmarkTable, data_folders, find_table, load_user_table

Kind = Literal["auto", "table", "embedded", "train"]
_TABLE_PREFIX = "table:"


def load_evaluation(
    task: str,
    space: Space,
    kind: Kind,
    *,
    data: Path | None,
    epochs: int | None,
    reference: str | None = None,
    training: TrainSettings | None = None,
    fidelities: Sequence[str] = (),
    factor: int = FACTOR,
) -> Evaluation:
    """Find what measures the task; `reference` is the space as typed, e.g. FILE.py:CLASS (default: its name).

    `fidelities` are rungs as typed, and `factor` is what `auto` divides by.
    """
    settings = replace(training or TrainSettings(), epochs=epochs)
    settings = replace(settings, fidelities=tuple(fidelities), factor=factor)
    if settings.sandbox != "auto" and not is_untrusted(space):
        unconfined = settings.sandbox == "off"
        flag = "--unsafe lets" if unconfined else f"--sandbox {settings.sandbox} confines"
        raise ConfigError(
            f"{flag} code that nobody vouches for{' run unconfined' if unconfined else ''}; space '{space.name}' has "
            "none, leave it out"
        )
    if task.startswith(_TABLE_PREFIX):
        if fidelities:
            raise ConfigError(f"{FLAG}: a table of your own holds one value a row; leave {FLAG} out")
        settings.refuse_without_training(task, "leave them out: a table of your own has no images")
        return _user_table(Path(task.removeprefix(_TABLE_PREFIX)).expanduser(), space, kind, epochs)
    if means_images(task):
        if kind not in ("auto", "train"):
            raise ConfigError(f"--evaluator {kind}: task {task} is trained for real; leave --evaluator out")
        return _trained(task, space, data, settings, reference or space.name)
    known = measured_in(task)
    if not known:
        raise ConfigError(
            f"unknown task '{task}'; choose from {', '.join(dict.fromkeys((*task_names(), *image_task_names())))}, "
            "or give your own as table:FILE.npz|csv, folder:PATH, npz:PATH or hf:REPO"
        )
    if kind == "train":
        return _trained(task, space, data, settings, reference or space.name)
    settings.refuse_without_training(task, "add --evaluator train, or leave them out")
    name = known[0][1].name
    found = benchmark_of(task, space)
    if found is None:
        raise ConfigError(_wrong_space(name, tuple(dict.fromkeys(b.space for b, _ in known)), space))
    return _published(*found, space, kind, data, epochs, fidelities)


def _wrong_space(task: str, measured: tuple[str, ...], space: Space) -> str:
    here = tasks_in(space)
    instead = f"choose --task {', '.join(here)} or digits" if here else "choose --task digits"
    return (
        f"{task} was measured in space {', '.join(measured)}, not in '{space.name}'; leave --space out, {instead}, "
        "or give a table of its own: --task table:FILE.npz|csv"
    )


def _published(
    benchmark: Benchmark,
    task: Task,
    space: Space,
    kind: Kind,
    data: Path | None,
    epochs: int | None,
    fidelities: Sequence[str],
) -> Evaluation:
    """Take the table; where there is none, what is embedded; else say where was looked and what to do."""
    if kind == "embedded" and benchmark.embedded is None:
        raise ConfigError(
            f"--evaluator embedded: none was fitted for {benchmark.title}; leave --evaluator out, "
            f"which reads {benchmark.file}"
        )
    path = None if kind == "embedded" else find_table(data, benchmark.file)
    if path is not None:
        _check_epochs(benchmark, epochs)
        if fidelities:
            return _from_columns(benchmark, task, space, path, epochs, fidelities)
        return _from_table(benchmark.load(path, task, space, epochs), "evaluator table: ")
    looked = f"no {benchmark.file} in " + ", ".join(f"{p.folder} ({p.named_by})" for p in data_folders(data))
    if kind == "table" or benchmark.embedded is None:
        asked = "--evaluator table" if kind == "table" else f"--task {task.name} in space {benchmark.space}"
        raise ConfigError(f"{asked}: {looked}; {_how_to_get(benchmark)}")
    if fidelities:
        raise ConfigError(
            f"{FLAG}: the embedded benchmark predicts one fidelity only; leave {FLAG} out, or {_how_to_get(benchmark)}"
        )
    if epochs is not None and epochs not in benchmark.epochs[:1]:
        why = "" if kind == "embedded" else f" ({looked})"
        only = f"{benchmark.epochs[0]} epochs only" if benchmark.epochs else "one value an architecture"
        raise ConfigError(f"--epochs {epochs}: the embedded benchmark predicts {only}; leave --epochs out{why}")
    return benchmark.embedded(space, task, "as asked" if kind == "embedded" else looked)


def _how_to_get(benchmark: Benchmark) -> str:
    importable = ", or run: nas-agent data import OFFICIAL_FILE" if benchmark.space == "nb201" else ""
    return f"give --data DIR or set NAS_AGENT_DATA to the folder that holds it{importable}"


def _from_columns(
    benchmark: Benchmark, task: Task, space: Space, path: Path, epochs: int | None, fidelities: Sequence[str]
) -> Evaluation:
    """Take several columns of a table, one a fidelity; the test split is of the full one."""
    full = epochs or (benchmark.epochs[0] if benchmark.epochs else 1)
    rungs = rungs_of_columns(fidelities, full, benchmark.epochs, benchmark.title)
    tables = {at: benchmark.load(path, task, space, at.epochs) for at in rungs.levels}
    table = tables[rungs.full]
    evaluator = TableEvaluator(table, tables)
    return replace(_from_table(table, "evaluator table: "), evaluator=evaluator, rungs=rungs)


def _check_epochs(benchmark: Benchmark, epochs: int | None) -> None:
    if epochs is None or epochs in benchmark.epochs:
        return
    if not benchmark.epochs:
        raise ConfigError(
            f"--epochs {epochs}: the {benchmark.title} table holds one value an architecture; leave --epochs out"
        )
    held = " and ".join(map(str, benchmark.epochs))
    raise ConfigError(f"--epochs {epochs}: the {benchmark.title} table holds {held} epochs; choose one of them")


def _user_table(path: Path, space: Space, kind: Kind, epochs: int | None) -> Evaluation:
    if kind not in ("auto", "table"):
        raise ConfigError(f"--evaluator {kind}: task table:{path} is answered by its table; leave --evaluator out")
    if epochs is not None:
        raise ConfigError(f"--epochs {epochs}: a table of your own holds one value a row; leave --epochs out")
    return _from_table(load_user_table(path, space), "evaluator table: ")


def _from_table(table: BenchmarkTable, why: str) -> Evaluation:
    return Evaluation(table.task, TableEvaluator(table), TableTestSplit(table), why + table.note, table.optimum())


def _trained(task: str, space: Space, data: Path | None, settings: TrainSettings, reference: str) -> Evaluation:
    """Train for real, on the images of the task."""
    source = partial(_text, space) if is_untrusted(space) else None  # a worker elsewhere gets it pickled
    if source is None and isinstance(space, CategoricalSpace) and type(space).network is CategoricalSpace.network:
        raise ConfigError(
            f"--task {task}: space '{space.name}' has no network to train; give its class a method 'network', "
            "or a table: --task table:FILE.npz|csv"
        )
    if isinstance(space, Inspected) and settings.width is not None:
        raise ConfigError(
            f"--width {settings.width}: in space '{space.name}' a network's own text says how wide it is; leave it out"
        )
    images = load_images(task, data=data, resolution=settings.resolution)
    training = settings.training(images, reference)
    rungs = settings.rungs(images, training.fidelity)
    if rungs is not None and isinstance(space, Inspected):
        full = rungs.full
        if any((at.width, at.resolution) != (full.width, full.resolution) for at in rungs.levels):
            raise ConfigError(
                f"{FLAG}: in space '{space.name}' a network's own text says how wide it is and for which images; "
                "leave width and resolution out"
            )
    trainer = ImageTrainer(training, lambda: images, source=source)
    confined = "UNCONFINED" if settings.sandbox == "off" else "in a sandbox"
    where = "in a process of its own" if source is None else confined
    note = (
        f"evaluator train: each candidate is trained {where}, {training.fidelity}, at most {training.limit:g} s; "
        f"{images.split}"
    )
    return Evaluation(images.task, TrainEvaluator(trainer), TrainTestSplit(trainer), note, rungs=rungs)


def _text(space: Space, architecture: Architecture, classes: int) -> str:
    return space.module_source(architecture, classes=classes)
