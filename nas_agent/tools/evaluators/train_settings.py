"""What a user may say about a training, and what holds where nothing is said."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from nas_agent.errors import ConfigError
from nas_agent.records import Fidelity, Json
from nas_agent.tools.evaluators.train import Training
from nas_agent.tools.fidelities import Rungs, full_epochs, rungs_of_training
from nas_agent.tools.images import ImageTask

if TYPE_CHECKING:
    from nas_agent.config import Config

# Of an image's side: random shifts of CIFAR's usual 4 pixels in 32, and squares of 8.
SHIFTED, BLANKED = 8, 4
SMALL = 5_000  # training images; with fewer, batches are halved so that there are enough steps
DEFAULT_EPOCHS, DIGITS_EPOCHS = 12, 8
# Of programs, which begin with one convolution and are small: twice as many still take seconds, and the best of 60
# gains up to a point (docs/results/quality_diversity.md).
DIGITS_PROGRAM_EPOCHS = 16
WIDTH = 16
FLAGS = ("width", "resolution", "device", "sandbox", "inherit")  # the other settings are given by `--set`


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """The settings of a training, as in `Config`; None: what suits the task."""

    epochs: int | None = None
    width: int | None = None
    share: float = 1.0
    resolution: int | None = None
    batch: int | None = None
    mirror: bool | None = None
    average: float | None = None
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1
    seconds: float = 1800.0
    memory: float | None = None
    fidelities: tuple[str, ...] = ()  # rungs as typed; empty: one fidelity
    factor: int = 3  # by which `auto` divides epochs
    sandbox: str = "auto"  # or a backend by name, or off
    inherit: str = "none"

    @classmethod
    def of(cls, config: Config) -> TrainSettings:
        """Read them from a configuration."""
        return cls(
            epochs=config.epochs,
            width=config.width,
            share=config.data_share,
            resolution=config.resolution,
            batch=config.train_batch,
            mirror=config.train_mirror,
            average=config.train_average,
            device=config.device,
            precision=config.precision,
            threads=config.train_threads,
            seconds=config.train_seconds,
            memory=config.train_memory,
            sandbox=config.confinement,
            inherit=config.inherit,
        )

    def training(self, images: ImageTask, reference: str) -> Training:
        """Fill in what suits the images; `reference` is the space as typed."""
        side = self.resolution or min(images.train.pixels.shape[1:3])
        few = len(images.train) < SMALL
        epochs = self.epochs or full_epochs(self.fidelities) or default_epochs(images.task.name, reference)
        recipe: Json = {"shift": max(1, side // SHIFTED)}
        if images.flip and side >= 32:  # on smaller ones it was not tried
            recipe["cutout"] = side // BLANKED
        if self.mirror is not None:
            recipe["mirror"] = self.mirror
        if self.average is not None:
            recipe["average"] = self.average
        return Training(
            space=reference,
            fidelity=Fidelity(epochs, self.width or WIDTH, self.share, self.resolution),
            batch=self.batch or (64 if few else 128),
            recipe=recipe,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            limit=self.seconds,
            memory=self.memory,
            sandbox=self.sandbox,
            inherit=self.inherit,
        )

    def rungs(self, images: ImageTask, full: Fidelity) -> Rungs | None:
        """Return the rungs of a search in several fidelities; None where there is one."""
        if not self.fidelities:
            return None
        side = min(images.train.pixels.shape[1:3])
        return rungs_of_training(self.fidelities, full, side=side, factor=self.factor)

    def refuse_without_training(self, task: str, instead: str) -> None:
        """Raise ConfigError where something is said about a training and nothing will be trained."""
        default = asdict(TrainSettings(epochs=self.epochs, fidelities=self.fidelities, factor=self.factor))
        said = [_as_given(name) for name, value in asdict(self).items() if value != default[name]]
        if said:
            raise ConfigError(
                f"{', '.join(said)}: task {task} is answered from a table unless it is trained; {instead}"
            )


def default_epochs(task: str, space: str) -> int:
    """Return for how long a task's images are trained on where nobody says so; `space` as typed."""
    if task != "digits":
        return DEFAULT_EPOCHS
    return DIGITS_PROGRAM_EPOCHS if space == "pytorch" else DIGITS_EPOCHS


def _as_given(name: str) -> str:
    if name in FLAGS:
        return f"--{name}"
    return {"share": "data_share", "precision": "precision"}.get(name, f"train_{name}")
