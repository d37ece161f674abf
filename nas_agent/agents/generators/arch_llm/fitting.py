"""The training of graph auto-encoders: one loop for every bottleneck, and a kill changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nas_agent.agents.generators.arch_llm.autoencoder import AutoEncoder, Batch
from nas_agent.agents.generators.arch_llm.model_files import TRAINING, read_training, write_training
from nas_agent.errors import ConfigError

Progress = Callable[[int, int, float], None]  # passes done, passes in all, nats a graph lost in the last one
WARM = 100  # steps until the full rate
LAST = 0.02  # of the rate, in the end


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How an auto-encoder is trained."""

    epochs: int
    batch: int = 1024
    rate: float = 3e-3
    decay: float = 1e-4  # of the weights (AdamW)

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or self.rate <= 0.0 or self.decay < 0.0:
            raise ConfigError(f"expected epochs and batch of at least 1, a positive rate and a decay >= 0, got {self}")


def fit(
    model: AutoEncoder,
    graphs: Batch,
    settings: FitSettings,
    *,
    seed: int,
    progress: Progress | None = None,
    folder: Path | None = None,
    plan: str = "",
) -> None:
    """Train the model in place; with a folder, go on where an earlier call with the same plan stopped.

    The loss is the cross-entropy of open edges and operations, and what the bottleneck asks for. The plan is a text
    that is equal exactly for the same training; raise ConfigError where the folder holds another one.
    """
    model.bottleneck.prepare_training()
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.decay)
    done = 0 if folder is None else _restore(folder, plan, model, optimiser)
    steps = math.ceil(len(graphs) / settings.batch)
    model.train()
    for epoch in range(done, settings.epochs):
        with torch.random.fork_rng(devices=[]):  # a bottleneck may draw; each pass has its own chance
            torch.manual_seed((seed + 1) * 1_000_003 + epoch)
            order = torch.randperm(len(graphs))
            total = 0.0
            for step in range(steps):
                for group in optimiser.param_groups:
                    group["lr"] = settings.rate * _share(epoch * steps + step, settings.epochs * steps)
                batch = graphs[order[step * settings.batch : (step + 1) * settings.batch]]
                total += _step(model, batch, optimiser) * len(batch)
        if not math.isfinite(total):
            raise ConfigError(f"the loss became {total} in pass {epoch + 1}; lower the rate ({settings.rate})")
        if folder is not None and epoch + 1 < settings.epochs:
            write_training(folder, _standing(model, optimiser), {"plan": plan, "epoch": str(epoch + 1)})
        if progress is not None:
            progress(epoch + 1, settings.epochs, total / len(graphs))
    model.eval()


def _step(model: AutoEncoder, batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    lost, asked = model(batch)
    optimiser.zero_grad()
    (lost + asked).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(lost.detach())


def _share(step: int, steps: int) -> float:
    """Return the share of the full rate: up in a line, down in half a cosine."""
    return min(1.0, (step + 1) / WARM) * (LAST + (1 - LAST) * (1 + math.cos(math.pi * step / steps)) / 2)


def _standing(model: AutoEncoder, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    moments = {
        f"optimiser.{place}.{name}": value
        for place, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
    }
    return {**{f"model.{name}": value for name, value in model.state_dict().items()}, **moments}


def _restore(folder: Path, plan: str, model: AutoEncoder, optimiser: torch.optim.Optimizer) -> int:
    """Return how many passes were done."""
    found = read_training(folder)
    if found is None:
        return 0
    tensors, about = found
    if about.get("plan") != plan:
        raise ConfigError(
            f"{folder / TRAINING}: expected the training that is asked for, got one of other graphs, settings or seed; "
            "delete the file, or choose another folder"
        )
    model.load_state_dict(
        {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    )
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, place, name = key.split(".")
            state.setdefault(int(place), {})[name] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
    return int(about["epoch"])
