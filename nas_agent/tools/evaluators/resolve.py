"""From what the user typed, `--task` and `--evaluator`, to everything that a task brings along."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from nas_agent.errors import ConfigError
from nas_agent.records import Task
from nas_agent.spaces import CategoricalSpace, Space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.digits import TASK as DIGITS
from nas_agent.tools.evaluators.embedded import EmbeddedBenchmark, EmbeddedEvaluator, EmbeddedTestSplit
from nas_agent.tools.evaluators.table import TableEvaluator, TableTestSplit
from nas_agent.tools.evaluators.train import DigitsTrainer, TrainEvaluator, Training, TrainTestSplit
from nas_agent.tools.tables import (
    NB201_FILE,
    NB201_TASKS,
    BenchmarkTable,
    data_folders,
    find_table,
    load_nb201,
    load_user_table,
    nb201_task,
)

Kind = Literal["auto", "table", "embedded", "train"]
TASKS = (*NB201_TASKS, DIGITS.name)
_TABLE_PREFIX = "table:"


def load_evaluation(
    task: str, space: Space, kind: Kind, *, data: Path | None, epochs: int | None, reference: str | None = None
) -> Evaluation:
    """Find what measures the task; `reference` is the space as typed, e.g. FILE.py:CLASS (default: its name)."""
    if task.startswith(_TABLE_PREFIX):
        return _user_table(Path(task.removeprefix(_TABLE_PREFIX)).expanduser(), space, kind, epochs)
    if task.lower() == DIGITS.name:
        return _digits(space, kind, epochs, reference or space.name)
    benchmark = nb201_task(task)
    if benchmark is None:
        raise ConfigError(
            f"unknown task '{task}'; choose from {', '.join(TASKS)}, or give your own as table:FILE.npz|csv"
        )
    if kind == "train":
        raise ConfigError(
            f"--evaluator train: {benchmark.name} has no images to train on here; choose --task {DIGITS.name}, "
            "or leave --evaluator out"
        )
    if not isinstance(space, NasBench201):
        raise ConfigError(
            f"{benchmark.name} is measured for space nb201 only, not for '{space.name}'; "
            f"choose --task {DIGITS.name}, or give a table of its own: --task table:FILE.npz|csv"
        )
    return _nb201(benchmark, space, kind, data, epochs)


def _nb201(task: Task, space: NasBench201, kind: Kind, data: Path | None, epochs: int | None) -> Evaluation:
    path = None if kind == "embedded" else find_table(data)
    if path is not None:
        return _from_table(load_nb201(path, task, space, epochs=epochs or 200), "evaluator table: ")
    looked = f"no {NB201_FILE} in " + ", ".join(f"{p.folder} ({p.named_by})" for p in data_folders(data))
    if kind == "table":
        raise ConfigError(
            f"--evaluator table: {looked}; give --data DIR, set NAS_AGENT_DATA, "
            "or run: nas-agent data import OFFICIAL_FILE"
        )
    if epochs not in (None, 200):
        why = "" if kind == "embedded" else f" ({looked})"
        raise ConfigError(
            f"--epochs {epochs}: the embedded benchmark predicts 200 epochs only; leave --epochs out{why}"
        )
    benchmark = EmbeddedBenchmark(space)
    score = benchmark.card["scores"][task.name]["val"]
    note = (
        f"evaluator embedded: {'as asked' if kind == 'embedded' else looked}; every value is predicted, not measured "
        f"(on held-out cells: Kendall tau {score['kendall_tau']:.2f}, error {score['rmse']:.2f} {task.unit})"
    )
    evaluator, test_split = EmbeddedEvaluator(benchmark, task), EmbeddedTestSplit(benchmark, task)
    return Evaluation(task, evaluator, test_split, note, optimum=benchmark.optimum(task))


def _user_table(path: Path, space: Space, kind: Kind, epochs: int | None) -> Evaluation:
    if kind not in ("auto", "table"):
        raise ConfigError(f"--evaluator {kind}: task table:{path} is answered by its table; leave --evaluator out")
    if epochs is not None:
        raise ConfigError(f"--epochs {epochs}: a table of your own holds one value a row; leave --epochs out")
    return _from_table(load_user_table(path, space), "evaluator table: ")


def _from_table(table: BenchmarkTable, why: str) -> Evaluation:
    return Evaluation(table.task, TableEvaluator(table), TableTestSplit(table), why + table.note, table.optimum())


def _digits(space: Space, kind: Kind, epochs: int | None, reference: str) -> Evaluation:
    if kind not in ("auto", "train"):
        raise ConfigError(f"--evaluator {kind}: task {DIGITS.name} is trained for real; leave --evaluator out")
    if isinstance(space, CategoricalSpace) and type(space).network is CategoricalSpace.network:
        raise ConfigError(
            f"--task {DIGITS.name}: space '{space.name}' has no network to train; give its class a method 'network', "
            "or a table: --task table:FILE.npz|csv"
        )
    training = Training(reference) if epochs is None else Training(reference, epochs=epochs)
    trainer = DigitsTrainer(training)
    note = (
        f"evaluator train: each candidate is trained in a process of its own, {training.epochs} epochs, "
        f"{training.width} channels, at most {training.limit:g} s"
    )
    return Evaluation(DIGITS, TrainEvaluator(trainer), TrainTestSplit(trainer), note)
