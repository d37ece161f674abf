"""A variational auto-encoder of the same encoder and decoder: what codes and a language model are compared with.

Kingma and Welling (arXiv 1312.6114); its weight and warm-up as in Higgins et al. (beta-VAE) and Sønderby et al. (arXiv
1602.02282), free bits as in Kingma et al. (arXiv 1606.04934). Drawn from N(0, I) and decoded, as D-VAE and its like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

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

KIND = "Gaussian auto-encoder"
VERSION = 1  # raised when an older program could not read the folder


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
class GaussianGenerator:
    """A trained variational auto-encoder of one space; draws come from N(0, I)."""

    space: str
    settings: GaussianSettings
    model: AutoEncoder
    codec: Codec
    about: Json = field(default_factory=dict)  # what its training measured

    def sample(self, n: int, *, temperature: float = 1.0, seed: int) -> list[Architecture | None]:
        """Draw latent vectors, `temperature` times as wide as N(0, I), and decode them; None: no architecture.

        Where exactly one edge of several is there, the likeliest is: without that help, DARTS cells fall to about 30 %.
        ConfigError where the temperature is not above 0.
        """
        if not 0.0 < temperature < math.inf:
            raise ConfigError(f"--temperature {temperature}: expected a number above 0, e.g. 0.7; the lower, the surer")
        slots = 1 if self.settings.whole else len(self.codec.layout.coded)
        chance = torch.Generator().manual_seed(seed)
        latent = torch.randn((n, slots, self.settings.latent), generator=chance) * temperature
        return self.codec.decode(self.model.graphs(latent, self.codec.layout.choices))

    @torch.inference_mode()
    def reconstruction(self, architectures: Sequence[Architecture]) -> float:
        """Return the share of architectures that come back whole from the means of their latent vectors."""
        graphs = self.codec.encode(architectures)
        return float(graphs.same(self.model.graphs(self.model.indices(Batch.of(graphs)))).mean())

    def save(self, folder: Path) -> None:
        """Write model.safetensors and card.json."""
        card: Json = {"kind": KIND, "version": VERSION, "space": self.space}
        write_model(folder, self.model.state_dict(), {**card, "settings": asdict(self.settings), "about": self.about})

    @classmethod
    def load(cls, folder: Path, *, space: str) -> GaussianGenerator:
        """Read what `save` wrote; raise DataError where it is damaged, of another version, or not of this space."""
        card, weights = read_model(folder, kind=KIND, version=VERSION, space=space)
        with fitting_together(folder):
            settings = dict(card["settings"])
            settings["fit"] = FitSettings(**settings["fit"])
            made = cls._new(space, GaussianSettings(**settings))
            made.model.load_state_dict(weights)
            made.about = dict(card["about"])
        made.model.eval()
        return made

    @classmethod
    def _new(cls, space: str, settings: GaussianSettings) -> GaussianGenerator:
        codec = codec_of(space)
        bottleneck = GaussianBottleneck(len(codec.layout.coded), settings)
        return cls(space, settings, AutoEncoder(codec.layout, bottleneck, settings.width, settings.rounds), codec)


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
    """Train, as `train_quantiser` does: into a folder, from where a killed training stopped.

    Raise ConfigError where there is nothing to train on, or the folder holds something else.
    """
    settings = DEFAULTS[codec_of(space).space.name] if settings is None else settings
    if not architectures:
        raise ConfigError(f"an auto-encoder of space '{space}' needs at least one architecture to train on, got none")
    plan = plan_of(VERSION, space, asdict(settings), seed, architectures)
    if folder is not None and (folder / CARD).exists():
        found = GaussianGenerator.load(folder, space=space)
        check_plan(folder, found.about, plan)
        return found
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = GaussianGenerator._new(space, settings)
    graphs = Batch.of(made.codec.encode(architectures))
    fit(made.model, graphs, settings.fit, seed=seed, progress=progress, folder=folder, plan=plan)
    made.about = {
        "plan": plan,
        "seed": seed,
        "trained on": len(architectures),
        "held-out reconstruction": made.reconstruction(held_out) if held_out else None,
        "weights": sum(weight.numel() for weight in made.model.parameters()),
    }
    if folder is not None:
        made.save(folder)
    return made
