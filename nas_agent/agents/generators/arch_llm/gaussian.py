"""A variational auto-encoder of the same encoder and decoder: what codes and a language model are compared with.

Kingma and Welling (arXiv 1312.6114); its weight and warm-up as in Higgins et al. (beta-VAE) and Sønderby et al. (arXiv
1602.02282), free bits as in Kingma et al. (arXiv 1606.04934). Drawn from N(0, I) and decoded, as D-VAE and its like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nas_agent.agents.generators.arch_llm.autoencoder import Bottleneck
from nas_agent.agents.generators.arch_llm.cells import codec_of
from nas_agent.agents.generators.arch_llm.fitting import FitSettings, Progress
from nas_agent.agents.generators.arch_llm.graph_model import GraphModel
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Json


@dataclass(frozen=True, slots=True)
class GaussianSettings:
    """The size of the auto-encoder and how it is trained."""

    fit: FitSettings
    latent: int  # numbers of a latent vector
    whole: bool = True  # one latent vector for the graph; otherwise one for each coded vertex
    beta: float = 1.0  # weight of the divergence from N(0, I); 1 is the bound on the likelihood
    warm: int = 0  # steps until the divergence has its whole weight
    free: float = 0.0  # nats of each latent number that cost nothing
    width: int = 64
    rounds: int = 1
    hidden: int = 256  # of the layer between latent vector and decoder

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.hidden) < 1 or min(self.warm, self.free, self.beta, self.rounds) < 0:
            raise ConfigError(f"expected sizes of at least 1 and no weight below 0, got {self}")


# Tuned for valid and distinct draws (docs/log.md).
DEFAULTS = {
    "nb201": GaussianSettings(FitSettings(epochs=40, batch=256, rate=2e-3), latent=16, beta=0.5),
    "nb101": GaussianSettings(FitSettings(epochs=20, batch=512, rate=2e-3), latent=32, beta=0.1),
    "darts": GaussianSettings(FitSettings(epochs=12, batch=512, rate=2e-3), latent=64, beta=0.1, rounds=0),
}


class GaussianBottleneck(Bottleneck):
    """Vectors (B, L, W) to latent vectors (B, S, latent), where S is 1 for a whole graph and L otherwise."""

    steps: Tensor

    def __init__(self, length: int, settings: GaussianSettings) -> None:
        super().__init__()
        self.settings = settings
        self.shape = (length, settings.width)
        self.slots = 1 if settings.whole else length
        wide = length * settings.width // self.slots  # of what one latent vector stands for
        self.into = nn.Linear(wide, 2 * settings.latent)
        self.out = nn.Sequential(
            nn.Linear(settings.latent, settings.hidden), nn.GELU(),
            nn.Linear(settings.hidden, settings.hidden), nn.GELU(),
            nn.Linear(settings.hidden, wide),
        )  # fmt: skip
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))  # saved: a resumed training needs it

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, L, W), the means (B, S, latent), and the weighted divergence in nats a graph."""
        mean, spread = self.into(vectors.reshape(len(vectors), self.slots, -1)).chunk(2, dim=-1)
        if not self.training:
            return self.lookup(mean), mean, vectors.new_zeros(())
        spread = spread.clamp(-12.0, 6.0)  # logarithm of the variance
        latent = mean + torch.randn_like(mean) * (spread / 2).exp()
        nats = ((mean.square() + spread.exp() - spread - 1) / 2).mean(dim=0)
        self.steps += 1
        share = min(1.0, float(self.steps) / max(self.settings.warm, 1))
        return self.lookup(latent), mean, self.settings.beta * share * nats.clamp(min=self.settings.free).sum()

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what the decoder is given for these latent vectors."""
        vectors: Tensor = self.out(indices).reshape(-1, *self.shape)
        return vectors


@dataclass(slots=True)
class GaussianGenerator(GraphModel[GaussianSettings]):
    """A trained variational auto-encoder of one space; draws come from N(0, I)."""

    KIND = "Gaussian auto-encoder"
    VERSION = 1

    @staticmethod
    def read_settings(written: Json, fit: FitSettings) -> GaussianSettings:
        """Make the settings from a card."""
        return GaussianSettings(fit, **written)

    @staticmethod
    def bottleneck(length: int, settings: GaussianSettings) -> GaussianBottleneck:
        """Make an untrained bottleneck."""
        return GaussianBottleneck(length, settings)

    def measured(self, architectures: Sequence[Architecture], held_out: Sequence[Architecture]) -> Json:
        """Say how much of what it was not trained on comes back."""
        return {"held-out reconstruction": self.reconstruction(held_out) if held_out else None}

    def sample(
        self, n: int, *, temperature: float = 1.0, seed: int, likeliest: bool = True
    ) -> list[Architecture | None]:
        """Draw latent vectors, `temperature` times as wide as N(0, I), and decode them; None: no architecture.

        Where exactly one edge of several is there, `likeliest` takes the likeliest; otherwise each edge is there by
        itself, if it is more likely than not. ConfigError where the temperature is not above 0.
        """
        if not 0.0 < temperature < math.inf:
            raise ConfigError(f"--temperature {temperature}: expected a number above 0, e.g. 0.7; the lower, the surer")
        slots = 1 if self.settings.whole else len(self.codec.layout.coded)
        chance = torch.Generator().manual_seed(seed)
        latent = torch.randn((n, slots, self.settings.latent), generator=chance) * temperature
        return self.codec.decode(self.model.graphs(latent, self.codec.layout.choices if likeliest else ()))


def train_gaussian(
    space: str,
    architectures: Sequence[Architecture],
    *,
    settings: GaussianSettings | None = None,
    seed: int = 0,
    held_out: Sequence[Architecture] = (),
    progress: Progress | None = None,
    folder: Path | None = None,
) -> GaussianGenerator:
    """Train one, by default with the settings of the space; see `GraphModel.train`."""
    settings = DEFAULTS[codec_of(space).space.name] if settings is None else settings
    return GaussianGenerator.train(
        space, architectures, settings, seed=seed, held_out=held_out, progress=progress, folder=folder
    )
