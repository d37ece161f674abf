"""Measure by training: each candidate in a child process with a limit of time and memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.errors import DataError, StorageError
from nas_agent.records import Architecture, Failed, Fidelity, Json, Measured, Outcome, Provenance
from nas_agent.tools.evaluators.base import ImageShape, TestResult
from nas_agent.tools.evaluators.isolation import Worker
from nas_agent.tools.images import Images, ImageTask

MEMORY_SHARE = 0.8  # of the machine's memory, that one candidate may take where nothing is said


@dataclass(frozen=True, slots=True)
class Training:
    """How candidates are trained."""

    space: str  # as on the command line, so that the child process can load the user's own
    fidelity: Fidelity
    batch: int = 128
    recipe: Json = field(default_factory=dict)  # other fields of `trainer.Recipe`
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1  # a CPU's sums depend on how many share them, so that this is part of the question
    limit: float = 1800.0  # wall-clock seconds for one candidate
    memory: float | None = None  # GiB for one candidate; None: a share of the machine's


class ImageTrainer:
    """Trains on a task's training part and scores on the part that is asked for."""

    def __init__(
        self, training: Training, load: Callable[[], ImageTask], *, worker: Callable[[], Worker] | None = None
    ) -> None:
        self.training = training
        self._load = load
        self._worker = worker or (lambda: Worker(threads=training.threads))

    @cached_property
    def images(self) -> ImageTask:
        """The images, read on first use."""
        images, batch = self._load(), self.training.batch
        used = round(self.training.fidelity.share * len(images.train))
        if used < batch:
            raise DataError(
                f"{images.task.name}: expected at least one batch of {batch} training images, got {used}; "
                f"add images, or make batches smaller: --set train_batch={max(1, used // 4)}"
            )
        return images

    @cached_property
    def worker(self) -> Worker:
        """The process that trains, started on first use."""
        return self._worker()

    def settle(self) -> Training:
        """Find out where and in which number format is trained, and keep to it; ConfigError for an absent device."""
        if "auto" in (self.training.device, self.training.precision) or self.training.device != "cpu":
            found = self.worker.probe(self._question(self.training.fidelity))
            self.training = replace(self.training, device=found["device"], precision=found["precision"])
        return self.training

    def run(
        self, architecture: Architecture, score: str, seed: int, fidelity: Fidelity, *, save: Path | None = None
    ) -> tuple[Json, str]:
        """Train and score on "validation" or "test"; return the reply, and a note on how it came about.

        `save` is a folder with a `model.py`, in which weights and ONNX are left (see `artefacts`).

        Where the memory does not suffice it is tried once more with half the batch and half the learning rate.
        """
        training, images = self.training, self.images
        recipe: Json = {
            "epochs": fidelity.epochs, "batch": training.batch, "mirror": images.flip, **training.recipe,
        }  # fmt: skip
        request = {
            **self._question(fidelity),
            "architecture": architecture.text,
            "classes": len(images.classes),
            "channels": images.channels,
            "width": fidelity.width,
            "share": fidelity.share,
            "resolution": fidelity.resolution,
            "seed": seed,
            "mean": images.mean,
            "spread": images.spread,
            "train": self._files["train"],
            "score": self._files["validation"] if score == "validation" else self._test_files,
            "recipe": recipe,
            "save": None if save is None else str(save),
        }
        reply = self.worker.train(request)
        if reply.get("cause") != "memory" or training.batch < 2:
            return reply, ""
        smaller = {**recipe, "batch": training.batch // 2, "peak_rate": recipe.get("peak_rate", 0.1) / 2}
        again = self.worker.train({**request, "recipe": smaller})
        again["seconds"] += reply["seconds"]
        if again["status"] == "failed":
            again["reason"] += f" (tried with batches of {training.batch} and of {training.batch // 2})"
        return again, f", batches of {training.batch // 2} for lack of memory"

    def _question(self, fidelity: Fidelity) -> Json:
        training = self.training
        return {
            "space": training.space,
            "device": training.device,
            "precision": training.precision,
            "side": fidelity.resolution or self.images.train.pixels.shape[1],
            "threads": training.threads,
            "limit": training.limit,
            "memory": training.memory or (_machine_memory() if training.device == "cpu" else None),
        }

    @cached_property
    def _folder(self) -> Path:
        folder = tempfile.mkdtemp(prefix="nas-agent-images-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    @cached_property
    def _files(self) -> dict[str, Json]:
        """Where the worker finds the images that a search may see."""
        parts = {"train": self.images.train, "validation": self.images.validation}
        return {name: self._written(name, part) for name, part in parts.items()}

    @cached_property
    def _test_files(self) -> Json:
        assert self.images.open_test is not None
        return self._written("test", self.images.open_test())

    def _written(self, name: str, part: Images) -> Json:
        files: dict[str, Any] = {"pixels": part.pixels, "labels": part.labels}
        try:
            folder = self._folder
            for what, array in files.items():
                np.save(folder / f"{name}-{what}.npy", array)
        except OSError as error:
            raise StorageError(
                f"{tempfile.gettempdir()}: the images cannot be written for the training process ({error.strerror}); "
                "free some space, or set TMPDIR to another folder"
            ) from error
        return {what: str(folder / f"{name}-{what}.npy") for what in files}


def _machine_memory() -> float | None:
    """Return a share of the machine's memory in GiB, or of what a container may take; None where it is unknown."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    with contextlib.suppress(OSError, ValueError):  # no such limit
        whole = min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return MEMORY_SHARE * whole / 2**30


class TrainEvaluator:
    """Measures validation accuracy by training; a candidate that crashes, diverges or takes too long is a Failed."""

    name = "train"
    provenance: Provenance = "measured"

    def __init__(self, trainer: ImageTrainer) -> None:
        self.trainer = trainer

    @property
    def fidelity(self) -> str:
        """How much is trained, where nothing else is asked."""
        return str(self.trainer.training.fidelity)

    @property
    def shape(self) -> ImageShape:
        """What the trained networks are built for: it decides what they cost."""
        images, fidelity = self.trainer.images, self.trainer.training.fidelity
        side = fidelity.resolution or images.train.pixels.shape[1]
        return ImageShape(len(images.classes), channels=images.channels, side=side, width=fidelity.width)

    def pool(self) -> None:
        """Return None: any architecture of the space can be trained."""
        return None

    def evaluate(self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None) -> Outcome:
        """Train with this seed and score on the validation part; the same seed gives the same value on one device."""
        at = fidelity or self.trainer.training.fidelity
        reply, note = self.trainer.run(architecture, "validation", seed, at)
        if reply["status"] == "failed":
            reason, seconds = reply["reason"], reply["seconds"]
            return Failed(architecture, reason=reason, seconds=seconds, seed=seed, evaluator=self.name, at=at)
        return Measured(
            architecture,
            value=float(reply["value"]),
            fidelity=f"{at}{note}",
            seconds=reply["seconds"],
            seed=seed,
            evaluator=self.name,
            at=at,
        )


class TrainTestSplit:
    """Trains the winner once more with the same seed, which gives the same network, and scores it on the test part."""

    def __init__(self, trainer: ImageTrainer) -> None:
        self._trainer = trainer

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Return the test accuracy of the network that validation chose."""
        images = self._trainer.images
        if images.open_test is None:
            return TestResult(None, "measured", "the task has no test part")
        reply, note = self._trainer.run(architecture, "test", seed, self._trainer.training.fidelity)
        if reply["status"] == "failed":
            return TestResult(None, "measured", f"the winner could not be trained again: {reply['reason']}")
        told = f"trained again with seed {seed}, the same network, on the test part of {images.task.name}{note}"
        return TestResult(float(reply["value"]), "measured", told)
