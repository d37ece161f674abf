"""Measure by training: each candidate in a limited process that does not know the labels it is scored by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nas_agent.errors import DataError, InvalidArchitecture
from nas_agent.records import Architecture, Failed, Fidelity, Heritage, Json, Measured, Outcome, Provenance
from nas_agent.tools.curves import FIRST, Bar
from nas_agent.tools.evaluators.base import ImageShape, TestResult
from nas_agent.tools.evaluators.candidate import LEFT
from nas_agent.tools.evaluators.confined import Confined
from nas_agent.tools.evaluators.handed import Handed
from nas_agent.tools.evaluators.isolation import Trains, Worker, machine_memory
from nas_agent.tools.evaluators.scoring import NoPredictions, accuracy
from nas_agent.tools.images import ImageTask
from nas_agent.tools.sandbox import open_sandbox
from nas_agent.tools.weights import WeightStore
from nas_agent.wording import plural

SCORED = 64  # training images on which proxies score an untrained network


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
    sandbox: str = "auto"  # what confines code that nobody trusts, as `open_sandbox` names it
    inherit: str = "none"  # by what a child's weights are found among its parents': names, or order besides


Source = Callable[[Architecture, int], str]


class ImageTrainer:
    """Trains on a task's training part and scores on the part that is asked for, whose labels stay in this process.

    `source` writes the file of an architecture for so many classes, where its code is trusted by nobody; without one,
    the space builds the network.
    """

    def __init__(
        self,
        training: Training,
        load: Callable[[], ImageTask],
        *,
        worker: Callable[[], Trains] | None = None,
        source: Source | None = None,
    ) -> None:
        self.training = training
        self._load = load
        self._worker = worker
        self._source = source

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
    def worker(self) -> Trains:
        """The process that trains, started on first use."""
        if self._worker is not None:
            return self._worker()
        return self._trusting() if self._source is None else self._confining()

    def _trusting(self) -> Worker:
        return Worker(threads=self.training.threads)

    def _confining(self) -> Confined:
        start = partial(open_sandbox, name=self.training.sandbox)
        return Confined(self._files.folder, threads=self.training.threads, start=start)

    def beside(self, device: str | None, threads: int | None = None) -> ImageTrainer:
        """Return a trainer with a process of its own, for the same images and files.

        On this device, by so many threads; None: as this one.
        """
        known = self.training
        training = replace(known, device=device or known.device, threads=threads or known.threads)
        other = ImageTrainer(training, lambda: self.images, worker=self._worker, source=self._source)
        other.__dict__["_files"] = self._files  # written once for all
        return other

    def __reduce__(self) -> tuple[Callable[..., ImageTrainer], tuple[Training, ImageTask, Source | None]]:
        """Pickle it with its images, without those of the test part: for workers on other machines."""
        return _with_images, (self.training, replace(self.images, open_test=None), self._source)

    def stop(self) -> None:
        """End the process, and what it does for another thread."""
        if "worker" in self.__dict__:
            self.worker.stop()

    def settle(self) -> Training:
        """Find out where and in which number format is trained, and keep to it; ConfigError for an absent device.

        SandboxError where code that is trusted by nobody cannot be confined.
        """
        training = self.training
        known = training.device == "cpu" and training.precision != "auto" and self._source is None
        if not known:
            found = self.worker.probe(self._question(training.fidelity))
            self.training = replace(training, device=found["device"], precision=found["precision"])
        return self.training

    def run(
        self,
        architecture: Architecture,
        score: str,
        seed: int,
        fidelity: Fidelity,
        *,
        save: Path | None = None,
        inherit: Json | None = None,
        bar: Bar | None = None,
    ) -> tuple[Json, str]:
        """Train and score on "validation" or "test"; return the reply, and a note on how it came about.

        `save` is a folder with a `model.py`, in which weights and ONNX are left (see `artefacts`). `inherit` has the
        `files` of weights that it begins with, and whether it `leaves` its own: only for code that is confined. With a
        bar, the reply has the `curve` of losses, which is shorter than the training where the bar has stopped it.

        Where the memory does not suffice it is tried once more with half the batch and half the learning rate; its
        curve then is another training's, which is compared with nothing.
        """
        training, images = self.training, self.images
        recipe: Json = {
            "epochs": fidelity.epochs, "batch": training.batch, "mirror": images.flip, **training.recipe,
        }  # fmt: skip
        asked = self._files.validation if score == "validation" else self._files.test
        try:
            network = self._network(architecture)
        except InvalidArchitecture as error:
            return {"status": "failed", "reason": str(error), "cause": "network", "seconds": 0.0}, ""
        request = {
            **self._question(fidelity),
            **network,
            "classes": len(images.classes),
            "channels": images.channels,
            "width": fidelity.width,
            "share": fidelity.share,
            "resolution": fidelity.resolution,
            "seed": seed,
            "mean": images.mean,
            "spread": images.spread,
            "train": self._files.train,
            "score": {"pixels": asked.file},
            "recipe": recipe,
            "save": None if save is None else str(save),
            "inherit": None if inherit is None else {**inherit, "by": training.inherit},
            "bar": None if bar is None else bar.to_dict(),
        }
        reply = self.worker.train(request)
        if reply.get("cause") != "memory" or training.batch < 2:
            return _scored(reply, asked.labels), ""
        smaller = {**recipe, "batch": training.batch // 2, "peak_rate": recipe.get("peak_rate", 0.1) / 2}
        again = self.worker.train({**request, "recipe": smaller, "bar": None})
        again["seconds"] += reply["seconds"]
        if again["status"] == "failed":
            again["reason"] += f" (tried with batches of {training.batch} and of {training.batch // 2})"
        return _scored(again, asked.labels), f", batches of {training.batch // 2} for lack of memory"

    @property
    def confined(self) -> bool:
        """Whether what is trained is trusted by nobody."""
        return self._source is not None

    def proxies(self, architecture: Architecture, names: Sequence[str], seed: int) -> dict[str, float | None]:
        """Score the untrained network by proxies, in a child as if it were trained; nothing where that fails."""
        assert not self.confined
        images, fidelity = self.images, self.training.fidelity
        request = {
            **self._question(fidelity),
            **self._network(architecture),
            "classes": len(images.classes),
            "channels": images.channels,
            "width": fidelity.width,
            "resolution": fidelity.resolution,
            "seed": seed,
            "mean": images.mean,
            "spread": images.spread,
            "train": self._files.train,
            "images": SCORED,
            "proxies": list(names),
        }
        reply = self.worker.train(request)
        return dict(reply["scores"]) if reply["status"] == "scored" else {}

    def _network(self, architecture: Architecture) -> Json:
        """Say what is to be built: an architecture of a space, or a text of which no space is asked any more."""
        if self._source is None:
            return {"architecture": architecture.text}
        return {"source": self._source(architecture, len(self.images.classes))}

    def _question(self, fidelity: Fidelity) -> Json:
        training = self.training
        return {
            "space": training.space if self._source is None else None,
            "device": training.device,
            "precision": training.precision,
            "side": fidelity.resolution or self.images.train.pixels.shape[1],
            "threads": training.threads,
            "limit": training.limit,
            "memory": training.memory or (machine_memory() if training.device == "cpu" else None),
        }

    @cached_property
    def _files(self) -> Handed:
        """What the process that trains finds on disk."""
        return Handed(self.images, shuffle=self._source is not None)


def _with_images(training: Training, images: ImageTask, source: Source | None) -> ImageTrainer:
    return ImageTrainer(training, lambda: images, source=source)


def _scored(reply: Json, labels: NDArray[np.int64]) -> Json:
    """Compare the predictions with the labels: `measured`, with the `value`, or `failed`."""
    if reply["status"] == "failed":
        return reply
    told = {key: value for key, value in reply.items() if key != "classes"}
    try:
        return {**told, "status": "measured", "value": accuracy(reply["classes"], labels)}
    except NoPredictions as error:
        return {**told, "status": "failed", "reason": str(error), "cause": "crash"}


class TrainEvaluator:
    """Measures validation accuracy by training; a candidate that crashes, diverges or takes too long is a Failed."""

    name = "train"
    provenance: Provenance = "measured"

    def __init__(self, trainer: ImageTrainer, weights: WeightStore | None = None) -> None:
        self.trainer = trainer
        self._weights = weights or WeightStore()

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

    def beside(self, device: str | None, threads: int | None = None) -> TrainEvaluator:
        """Return one with a process of its own, on this device, by so many threads (None: as this one)."""
        return TrainEvaluator(self.trainer.beside(device, threads), self._weights)

    def keep_in(self, folder: Path) -> None:
        """Keep weights that children inherit in this folder; those beside this one do so too."""
        self._weights.folder = folder

    def stop(self) -> None:
        """End the process, and what it does for another thread."""
        self.trainer.stop()

    def why_no_curves(self) -> str:
        """Say why the curves of its trainings can decide nothing; "" where they can."""
        if self.trainer.confined:
            return "what code that nobody vouches for says of its training losses is no evidence"
        epochs = self.trainer.training.fidelity.epochs
        return "" if epochs > FIRST else f"a training of {plural(epochs, 'epoch')} is over before a curve says anything"

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int,
        fidelity: Fidelity | None = None,
        heritage: Heritage | None = None,
        bar: Bar | None = None,
    ) -> Outcome:
        """Train with this seed and score on the validation part; the same seed gives the same value on one device.

        With a `heritage`, what is at hand of it is where training begins; StorageError where no weights can be kept.
        What the bar stops is scored as it is then.
        """
        at = fidelity or self.trainer.training.fidelity
        given = None if heritage is None else self._weights.given(heritage)
        asked = None if given is None else {"files": given.files, "leaves": given.leaves}
        reply, note = self.trainer.run(architecture, "validation", seed, at, inherit=asked, bar=bar)
        if reply["status"] == "failed":
            return Failed(
                architecture,
                reason=reply["reason"],
                seconds=reply["seconds"],
                seed=seed,
                evaluator=self.name,
                at=at,
                sandbox=reply.get("sandbox"),
            )
        inherited = None
        if given is not None:
            left = reply.get(LEFT, b"")
            inherited = self._weights.taken_in(given, reply["taken"], reply["of"], left, at.epochs)
            note += f", begun with weights of {plural(inherited.epochs, 'epoch')}" if inherited.taken else ""
        curve, expected = tuple(map(float, reply.get("curve", ()))), None
        if bar is not None and 0 < len(curve) < at.epochs:
            note, expected = f"{note}: its learning curve stopped it", bar.expected(curve, float(reply["value"]))
        return Measured(
            architecture,
            value=float(reply["value"]),
            fidelity=f"{at}{note}" if expected is None else f"{len(curve)} of {at}{note}",
            seconds=reply["seconds"],
            seed=seed,
            evaluator=self.name,
            at=at,
            sandbox=reply.get("sandbox"),
            inherited=inherited,
            curve=curve,
            expected=expected,
        )


class TrainTestSplit:
    """Trains the winner once more with the same seed, which gives the same network, and scores it on the test part.

    A winner that inherited weights is trained from scratch, as its user would train it.
    """

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
        how = "the same network" if self._trainer.training.inherit == "none" else "from scratch"
        told = f"trained again with seed {seed}, {how}, on the test part of {images.task.name}{note}"
        return TestResult(float(reply["value"]), "measured", told)
