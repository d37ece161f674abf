"""Architectures as index sequences: the VQ-VAE of Arch-LLM (arXiv 2503.22063), trained, saved and used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from nas_agent.agents.generators.arch_llm.autoencoder import CHUNK, AutoEncoder, Batch
from nas_agent.agents.generators.arch_llm.bottleneck import SignBottleneck
from nas_agent.agents.generators.arch_llm.cells import Codec, Graphs, codec_of
from nas_agent.agents.generators.arch_llm.fitting import FitSettings, Progress, fit
from nas_agent.agents.generators.arch_llm.model_files import (
    CARD,
    check_plan,
    fitting_together,
    plan_of,
    read_model,
    write_model,
)
from nas_agent.agents.generators.arch_llm.sequences import Bools, Domains, Indices, admitted_codes
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Json

KIND = "quantiser"
VERSION = 1  # raised when an older program could not read the folder


@dataclass(frozen=True, slots=True)
class QuantiserSettings:
    """The size of a quantiser and how it is trained."""

    bits: int  # of an index: there are 2 ** bits codes
    fit: FitSettings
    width: int = 64
    rounds: int = 1  # of messages in the encoder

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 16 or self.width < 1 or self.rounds < 0:
            raise ConfigError(f"expected 1 to 16 bits, a width of at least 1 and rounds of at least 0, got {self}")


# Two to three times as many codes as are used: with fewer, some seeds give two meanings to one code (docs/log.md).
DEFAULTS = {
    "nb201": QuantiserSettings(bits=4, fit=FitSettings(epochs=40, batch=256)),
    "nb101": QuantiserSettings(bits=9, fit=FitSettings(epochs=14), rounds=0),
    "darts": QuantiserSettings(bits=7, fit=FitSettings(epochs=6, batch=512), rounds=0),
}


@dataclass(frozen=True, slots=True)
class CodeUse:
    """Which codes the sequences of some architectures are made of."""

    used: int
    perplexity: float  # of the code at a random place of a random sequence

    @classmethod
    def of(cls, sequences: Indices, codes: int) -> CodeUse:
        """Count."""
        shares = np.bincount(sequences.ravel(), minlength=codes) / max(sequences.size, 1)
        used = shares[shares > 0]
        return cls(len(used), float(np.exp(-(used * np.log(used)).sum())))


@dataclass(slots=True)
class Quantiser:
    """A trained auto-encoder of one space."""

    space: str
    settings: QuantiserSettings
    model: AutoEncoder
    codec: Codec
    about: Json = field(default_factory=dict)  # what its training measured

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return int(2**self.settings.bits)

    @property
    def length(self) -> int:
        """How many indices stand for an architecture."""
        return len(self.codec.layout.coded)

    def encode(self, architectures: Sequence[Architecture]) -> Indices:
        """Return the index sequences (n, length)."""
        return self._indices(self.codec.encode(architectures))

    def decode(self, indices: Indices) -> list[Architecture | None]:
        """Return what index sequences (n, length) stand for, canonical; None where that is no architecture."""
        if indices.ndim != 2 or indices.shape[1] != self.length:
            raise ValueError(f"expected sequences of {self.length} indices, got an array {indices.shape}")
        if indices.size and not 0 <= indices.min() <= indices.max() < self.codes:
            raise ValueError(f"expected indices from 0 to {self.codes - 1}, got {indices.min()} to {indices.max()}")
        return self.codec.decode(self.model.graphs(torch.from_numpy(indices)))

    def admitted(self, domains: Domains) -> Bools:
        """Tell which code may stand where: the decoder reads each by itself, so it means the same in any company."""
        each = self.model.graphs(torch.arange(self.codes)[:, None].repeat(1, self.length))
        return admitted_codes(self.codec, each, domains)

    def reconstruction(self, architectures: Sequence[Architecture]) -> float:
        """Return the share of architectures whose canonical graph comes back as it was, every edge and operation."""
        graphs = self.codec.encode(architectures)
        return float(graphs.same(self.model.graphs(torch.from_numpy(self._indices(graphs)))).mean())

    def save(self, folder: Path) -> None:
        """Write model.safetensors and card.json."""
        card: Json = {"kind": KIND, "version": VERSION, "space": self.space, "codes": self.codes, "length": self.length}
        write_model(folder, self.model.state_dict(), {**card, "settings": asdict(self.settings), "about": self.about})

    @classmethod
    def load(cls, folder: Path, *, space: str | None = None) -> Quantiser:
        """Read what `save` wrote; raise DataError where it is damaged, of another version, or not of this space."""
        card, weights = read_model(folder, kind=KIND, version=VERSION, space=space)
        with fitting_together(folder):
            settings = dict(card["settings"])
            settings["fit"] = FitSettings(**settings["fit"])
            made = cls._new(str(card["space"]), QuantiserSettings(**settings))
            made.model.load_state_dict(weights)
            made.about = dict(card["about"])
        made.model.eval()
        return made

    @classmethod
    def _new(cls, space: str, settings: QuantiserSettings) -> Quantiser:
        codec = codec_of(space)
        bottleneck = SignBottleneck(settings.width, settings.bits)
        return cls(space, settings, AutoEncoder(codec.layout, bottleneck, settings.width, settings.rounds), codec)

    @torch.inference_mode()
    def _indices(self, graphs: Graphs) -> Indices:
        batch = Batch.of(graphs)
        parts = [self.model.indices(batch[first : first + CHUNK]) for first in range(0, len(batch), CHUNK)]
        joined = torch.cat(parts) if parts else torch.empty((0, self.length), dtype=torch.int64)
        found: Indices = joined.numpy()
        return found


def train_quantiser(
    space: str,
    architectures: Sequence[Architecture],
    *,
    settings: QuantiserSettings | None = None,
    seed: int = 0,
    held_out: Sequence[Architecture] = (),
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Quantiser:
    """Train a quantiser and measure it; with a folder, save it there, or go on where a killed training stopped.

    A folder in which this very training was finished gives its quantiser at once. Held-out architectures are only
    measured. Raise ConfigError where there is nothing to train on, or the folder holds something else.
    """
    settings = DEFAULTS[codec_of(space).space.name] if settings is None else settings
    if not architectures:
        raise ConfigError(f"a quantiser of space '{space}' needs at least one architecture to train on, got none")
    plan = plan_of(VERSION, space, asdict(settings), seed, architectures)
    if folder is not None and (folder / CARD).exists():
        found = Quantiser.load(folder, space=space)
        check_plan(folder, found.about, plan)
        return found
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Quantiser._new(space, settings)
    graphs = Batch.of(made.codec.encode(architectures))
    fit(made.model, graphs, settings.fit, seed=seed, progress=progress, folder=folder, plan=plan)
    use = CodeUse.of(made.encode(architectures), made.codes)
    made.about = {
        "plan": plan,
        "seed": seed,
        "trained on": len(architectures),
        "reconstruction": made.reconstruction(architectures),
        "held out": len(held_out),
        "held-out reconstruction": made.reconstruction(held_out) if held_out else None,
        "codes used": use.used,
        "perplexity": use.perplexity,
        "weights": sum(weight.numel() for weight in made.model.parameters()),
    }
    if folder is not None:
        made.save(folder)
    return made
