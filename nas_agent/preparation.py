"""What a configuration becomes before a search begins: paths that hold anywhere, an evaluation, a file's principles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas_agent.agents.generators import make_generator
from nas_agent.config import Config, make_config
from nas_agent.errors import ConfigError
from nas_agent.spaces import Space, is_untrusted, load_space
from nas_agent.spaces.inspection import Inspected
from nas_agent.tools.benchmarks.registry import named_space
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.fidelities import FACTOR
from nas_agent.tools.inspection import equipped
from nas_agent.tools.principle_files import Imported


def from_anywhere(config: Config) -> Config:
    """Make the paths absolute and name the space, so that the run can be resumed from another folder."""
    changes: dict[str, Any] = {"out": config.out.resolve(), "data": config.data and config.data.resolve()}
    changes["space"] = named_space(config.space, config.task)
    kind, colon, path = config.task.partition(":")
    if kind in ("table", "folder", "npz") and path:
        changes["task"] = f"{kind}:{_absolute(path, '--task')}"
    folder, at, name = path.partition("@")
    if kind == "hf" and folder and Path(folder).expanduser().is_dir():
        changes["task"] = f"hf:{_absolute(folder, '--task')}{at}{name}"
    path, colon, name = config.space.rpartition(":")
    if colon and path.endswith(".py"):
        changes["space"] = f"{_absolute(path, '--space')}:{name}"
    if (spec := config.embedder).removeprefix("random:").startswith("hf:"):
        random, _, path = spec.rpartition("hf:")
        if Path(path).expanduser().is_dir():
            changes["embedder"] = f"{random}hf:{_absolute(path, '--embedder')}"
    if config.source:
        from nas_agent.tools.sources import pinned

        changes["source"] = tuple(pinned(source) for source in config.source)
    if config.generator_model is not None:
        changes["generator_model"] = _absolute(str(config.generator_model), "--generator-model")
    if config.archive_file is not None:
        changes["archive_file"] = _absolute(str(config.archive_file), "archive_file")
    if config.principles_file is not None:
        changes["principles_file"] = _absolute(str(config.principles_file), "--principles")
    return config.model_copy(update=changes)


def _absolute(path: str, flag: str) -> Path:
    try:
        return Path(path).expanduser().resolve()
    except (RuntimeError, ValueError, OSError) as error:  # an unknown ~user, a NUL, a name that is too long
        raise ConfigError(f"{flag} {path[:200]!r}: expected a path, got one that cannot be used ({error})") from error


def frozen(config: Config, evaluation: Evaluation) -> Config:
    """Write down what `auto` found, so that a resumed run measures as it began or not at all."""
    from nas_agent.tools.evaluators.table import TableEvaluator
    from nas_agent.tools.evaluators.train import TrainEvaluator

    evaluator = evaluation.evaluator
    data = config.data
    if isinstance(evaluator, TrainEvaluator):
        training = evaluator.trainer.settle()
        config = config.model_copy(update={"device": training.device, "precision": training.precision})
    if isinstance(evaluator, TableEvaluator) and not config.task.startswith("table:"):
        data = evaluator.source.parent
    return config.model_copy(update={"evaluator": evaluator.name, "data": data})


def carried_out(config: Config, by: Mapping[str, Any] | None = None) -> Config:
    """Write down who carries evaluations out, and how many may be under way: others may go on, in the same order."""
    known: dict[str, Any] = {"executor": config.executor_kind, "ahead": config.most_under_way}
    if by and "executor" not in by and "workers" in by and known["executor"] == "inline":
        known["executor"] = "pool"
    if not by:
        return config.model_copy(update=known)
    if by.get("executor", known["executor"]) != "ray":
        known["ray_address"] = None
    if by.get("executor") == "inline":
        known["workers"] = None
    return make_config({**config.model_dump(), **known, **by})


def packed(config: Config, evaluation: Evaluation, space: Space, *, settled: bool = False) -> tuple[Config, Evaluation]:
    """Try how many trainings side by side are fastest here, where `workers = auto` asks for it, and write it down.

    `settled`: the run has begun, so that the number of threads stays as it is.
    """
    from nas_agent.tools.evaluators.train import TrainEvaluator, TrainTestSplit

    evaluator, most = evaluation.evaluator, max(config.most_under_way, config.batch)
    if isinstance(config.workers, int) and config.workers > most:
        idle = f"{most} of {config.workers} workers are started: no more have work (ahead = {most})"
        return config, replace(evaluation, note=f"{evaluation.note}; {idle}")
    if config.workers != "auto" or config.executor_kind != "pool" or not isinstance(evaluator, TrainEvaluator):
        return config, evaluation
    from nas_agent.tools.executors.packing import pack, told

    tried = pack(config, evaluator, space, settled=settled)
    if not tried:
        return config, evaluation
    best = tried[-1]
    if best.threads != config.train_threads:
        evaluator = evaluator.beside(None, threads=best.threads)
    note = f"{evaluation.note}; {told(tried)}"
    evaluation = replace(evaluation, evaluator=evaluator, test_split=TrainTestSplit(evaluator.trainer), note=note)
    return config.model_copy(update={"workers": best.workers, "train_threads": best.threads}), evaluation


def imported_principles(config: Config, space: Space) -> Imported | None:
    """Read the file that `--principles` names, checked against the space; ConfigError under `--no-principles`."""
    if config.principles_file is None:
        return None
    if not config.principles:
        raise ConfigError(
            "--principles FILE starts from principles and --no-principles has none; leave out one of them"
        )
    from nas_agent.tools.principle_files import read_for

    return read_for(config.principles_file, space)


def check_inheritance(config: Config, space: Space) -> None:
    """Refuse --inherit where no child has weights in common with its parents; ConfigError."""
    if config.inherit == "none":
        return
    trouble = ""
    if not is_untrusted(space):
        trouble = f"a space of programs that are trained, such as pytorch, got '{space.name}'"
    elif config.generator not in ("code", "evolve"):
        trouble = f"a generator whose proposals have parents, code or evolve, got '{config.generator}'"
    elif config.fidelities:
        trouble = "one fidelity, since inherited epochs blur the rungs of several"
    if trouble:
        raise ConfigError(f"--inherit: expected {trouble}; change that, or leave --inherit out")


def check_generator(config: Config, space: Space) -> None:
    """See that the generator of a new search can be made, before there is anything of the search."""
    check_inheritance(config, space)
    if config.generator_model is not None and config.generator != "vq":
        raise ConfigError(
            f"--generator-model is of --generator vq, got --generator {config.generator}; change one of the two"
        )
    if config.generator == "vq":
        make_generator("vq", space.name, seed=config.seed, model=config.generator_model)
    if config.generator == "code":
        from nas_agent.agents.generators.quality_diversity import check_space, first_of, settings_of

        check_space(space)
        if config.fidelities:
            raise ConfigError(
                "--generator code compares networks at one fidelity, niche by niche, got fidelities = "
                f"{', '.join(config.fidelities)}; leave one of the two out"
            )
        settings_of(config).check_archive()
        first_of(config.archive_file, space)


def space_of(config: Config, evaluation: Evaluation | None = None) -> Space:
    """Load the space of a run; one that looks at texts is handed the task's images and a sandbox, opened when asked.

    The images are those of a caller's `evaluation`, where there is one.
    """
    space = load_space(config.space)
    if not isinstance(space, Inspected):
        return space
    return equipped(space, evaluation or evaluation_of(config, space), sandbox=config.confinement)


def evaluation_of(config: Config, space: Space) -> Evaluation:
    """Load what measures the configured task."""
    from nas_agent.tools.evaluators.resolve import load_evaluation
    from nas_agent.tools.evaluators.train_settings import TrainSettings

    return load_evaluation(
        config.task,
        space,
        config.evaluator,
        data=config.data,
        epochs=config.epochs,
        reference=config.space,
        training=TrainSettings.of(config),
        fidelities=config.fidelities,
        factor=config.eta or FACTOR,
    )
