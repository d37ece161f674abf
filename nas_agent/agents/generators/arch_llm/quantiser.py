"""Architectures as index sequences: the VQ-VAE of Arch-LLM (arXiv 2503.22063), trained, saved and used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nas_agent.agents.generators.arch_llm.autoencoder import Batch
from nas_agent.agents.generators.arch_llm.bottleneck import SignBottleneck
from nas_agent.agents.generators.arch_llm.cells import codec_of
from nas_agent.agents.generators.arch_llm.fitting import FitSettings, Progress
from nas_agent.agents.generators.arch_llm.graph_model import GraphModel
from nas_agent.agents.generators.arch_llm.sequences import Bools, Domains, Indices, admitted_codes
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Json


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
class Quantiser(GraphModel[QuantiserSettings]):
    """A trained auto-encoder of one space whose bottleneck is made of codes."""

    KIND = "quantiser"
    VERSION = 1

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return int(2**self.settings.bits)

    @property
    def length(self) -> int:
        """How many indices stand for an architecture."""
        return len(self.codec.layout.coded)

    @staticmethod
    def read_settings(written: Json, fit: FitSettings) -> QuantiserSettings:
        """Make the settings from a card."""
        return QuantiserSettings(fit=fit, **written)

    @staticmethod
    def bottleneck(length: int, settings: QuantiserSettings) -> SignBottleneck:
        """Make an untrained bottleneck, the same for any length."""
        return SignBottleneck(settings.width, settings.bits)

    def measured(self, architectures: Sequence[Architecture], held_out: Sequence[Architecture]) -> Json:
        """Say what comes back, and which codes are used."""
        use = CodeUse.of(self.encode(architectures), self.codes)
        return {
            "codes": self.codes,
            "length": self.length,
            "reconstruction": self.reconstruction(architectures),
            "held out": len(held_out),
            "held-out reconstruction": self.reconstruction(held_out) if held_out else None,
            "codes used": use.used,
            "perplexity": use.perplexity,
        }

    def encode(self, architectures: Sequence[Architecture]) -> Indices:
        """Return the index sequences (n, length)."""
        found: Indices = self.model.indices(Batch.of(self.codec.encode(architectures))).numpy()
        return found

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
    """Train one, by default with the settings of the space; see `GraphModel.train`."""
    settings = DEFAULTS[codec_of(space).space.name] if settings is None else settings
    return Quantiser.train(
        space, architectures, settings, seed=seed, held_out=held_out, progress=progress, folder=folder
    )
