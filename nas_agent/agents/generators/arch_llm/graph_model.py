"""A graph auto-encoder of one space: made, trained, saved and loaded in one way, whatever its bottleneck."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import torch

from nas_agent.agents.generators.arch_llm.autoencoder import AutoEncoder, Batch, Bottleneck
from nas_agent.agents.generators.arch_llm.cells import Codec, codec_of
from nas_agent.agents.generators.arch_llm.fitting import FitSettings, Progress, fit
from nas_agent.agents.generators.arch_llm.model_files import (
    CARD,
    check_plan,
    fitting_together,
    plan_of,
    read_model,
    write_model,
)
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Json


class GraphSettings(Protocol):
    """A frozen dataclass with what every graph auto-encoder has."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def fit(self) -> FitSettings:
        """How it is trained."""
        ...

    @property
    def width(self) -> int:
        """Numbers of a vertex."""
        ...

    @property
    def rounds(self) -> int:
        """Rounds of messages in the encoder."""
        ...


Settings = TypeVar("Settings", bound=GraphSettings)


@dataclass(slots=True)
class GraphModel(ABC, Generic[Settings]):
    """An auto-encoder of one space."""

    KIND: ClassVar[str]  # of its folder
    VERSION: ClassVar[int]  # raised when an older program could not read the folder

    space: str
    settings: Settings
    model: AutoEncoder
    codec: Codec
    about: Json = field(default_factory=dict)  # what its training measured

    @staticmethod
    @abstractmethod
    def read_settings(written: Json, fit: FitSettings) -> Settings:
        """Make the settings from a card."""

    @staticmethod
    @abstractmethod
    def bottleneck(length: int, settings: Settings) -> Bottleneck:
        """Make an untrained bottleneck for `length` coded vertices."""

    @abstractmethod
    def measured(self, architectures: Sequence[Architecture], held_out: Sequence[Architecture]) -> Json:
        """Say what it does with what it was trained on, and with what it was not."""

    @torch.inference_mode()
    def reconstruction(self, architectures: Sequence[Architecture]) -> float:
        """Return the share of architectures whose canonical graph comes back as it was, every edge and operation."""
        graphs = self.codec.encode(architectures)
        return float(graphs.same(self.model.graphs(self.model.indices(Batch.of(graphs)))).mean())

    def save(self, folder: Path) -> None:
        """Write model.safetensors and card.json."""
        card: Json = {"kind": self.KIND, "version": self.VERSION, "space": self.space}
        write_model(folder, self.model.state_dict(), {**card, "settings": asdict(self.settings), "about": self.about})

    @classmethod
    def load(cls, folder: Path, *, space: str | None = None) -> Self:
        """Read what `save` wrote; raise DataError where it is damaged, of another version, or not of this space."""
        card, weights = read_model(folder, kind=cls.KIND, version=cls.VERSION, space=space)
        with fitting_together(folder):
            written = dict(card["settings"])
            trained_as = FitSettings(**written.pop("fit"))
            made = cls.untrained(str(card["space"]), cls.read_settings(written, trained_as))
            made.model.load_state_dict(weights)
            made.about = dict(card["about"])
        made.model.eval()
        return made

    @classmethod
    def untrained(cls, space: str, settings: Settings) -> Self:
        """Make one with random weights."""
        codec = codec_of(space)
        bottleneck = cls.bottleneck(len(codec.layout.coded), settings)
        return cls(space, settings, AutoEncoder(codec.layout, bottleneck, settings.width, settings.rounds), codec)

    @classmethod
    def train(
        cls,
        space: str,
        architectures: Sequence[Architecture],
        settings: Settings,
        *,
        seed: int = 0,
        held_out: Sequence[Architecture] = (),
        progress: Progress | None = None,
        folder: Path | None = None,
    ) -> Self:
        """Train one and measure it; with a folder, save it there, or go on where a killed training stopped.

        A folder in which this very training was finished gives its result at once. Held-out architectures are only
        measured. Raise ConfigError where there is nothing to train on, or the folder holds something else.
        """
        if not architectures:
            raise ConfigError(f"training in space '{space}' needs at least one architecture to learn from, got none")
        plan = plan_of(cls.VERSION, space, asdict(settings), seed, architectures)
        if folder is not None and (folder / CARD).exists():
            found = cls.load(folder, space=space)
            check_plan(folder, found.about, plan)
            return found
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = cls.untrained(space, settings)
        graphs = Batch.of(made.codec.encode(architectures))
        fit(made.model, graphs, settings.fit, seed=seed, progress=progress, folder=folder, plan=plan)
        made.about = {
            "plan": plan,
            "seed": seed,
            "trained on": len(architectures),
            **made.measured(architectures, held_out),
            "weights": sum(weight.numel() for weight in made.model.parameters()),
        }
        if folder is not None:
            made.save(folder)
        return made
