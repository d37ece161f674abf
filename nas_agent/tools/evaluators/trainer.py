"""Train one network on labelled images that lie on its device, and score it: read from the top.

The images stay on the device as bytes. A batch is one gather that picks rows, shifts and mirrors at once and comes
out channels-last; nothing is done for a batch on the host, and no process loads data. CPU, CUDA and MPS run the same
lines; what differs by device is the number format.

Recipe: SGD with Nesterov momentum, a learning rate that rises linearly and falls along a cosine (one cycle: Smith and
Topin, 2018), label smoothing (Szegedy et al., 2016), random shifts and mirror images, cutout (DeVries and Taylor,
2017), clipped gradients, and where asked a moving average of the weights (Polyak averaging).

Measured against a plain loop (`benchmarks/trainer.py --slots 2 --threads 2`, in turns, two idle cores, AVX512 with
bfloat16, torch 2.13; n=6 and 8 cells): 2.39 times as many NB201 candidates an hour at 32x32 pixels in bfloat16 (rounds
1.91 to 2.87), 1.93 times on the digits in float32 (1.79 to 2.54). Not yet measured: anything on a GPU. Commands and the
rest: docs/results/trainer.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from nas_agent.errors import ConfigError

LARGE = 16  # pixels of a side from which 16-bit arithmetic pays on a CPU that has it (benchmarks/trainer_steps.py)
SCORED = 512  # images of a batch that is only scored
CHECKED_EVERY = 25  # steps between looks at the loss on a device that would have to be waited for


class NonFiniteLoss(ArithmeticError):
    """The loss became infinite or no number."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained, whatever it is trained on."""

    epochs: int
    batch: int = 128
    peak_rate: float = 0.1  # of the learning rate, for this batch
    rising: float = 0.2  # share of the steps in which the learning rate rises
    momentum: float = 0.9
    decay: float = 5e-4
    smoothing: float = 0.1
    shift: int = 4  # pixels at most
    mirror: bool = True
    cutout: int = 0  # pixels of a side of the square that is blanked; 0 is off
    clip: float = 5.0  # norm of the gradient at most
    average: float | None = None  # share that the moving average keeps at each step; None is off


@dataclass(frozen=True, slots=True)
class Place:
    """Where and in which number format it is computed."""

    device: str  # as torch writes it, e.g. "cuda:0"
    precision: str  # "float32", "bfloat16" or "float16"

    def autocast(self) -> AbstractContextManager[object]:
        """Compute what may be in the number format of this place; weights stay float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], getattr(torch, self.precision))


def find_place(device: str, precision: str, side: int) -> Place:
    """Choose what is `auto`, for images with sides of so many pixels; ConfigError where a device is absent."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = device.partition(":")
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    there += ["mps"] if torch.backends.mps.is_available() else []
    if (device if number or kind != "cuda" else "cuda:0") not in there:
        raise ConfigError(
            f"--device {device}: torch {torch.__version__} finds no such device here; choose from {', '.join(there)}, "
            "or leave --device out"
        )
    if precision == "auto":
        precision = _fast_format(kind, side)
    return Place(device, precision)


def _fast_format(kind: str, side: int) -> str:
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    fast = kind == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return "bfloat16" if fast and side >= LARGE else "float32"


# -- images --------------------------------------------------------------------------------------------------------


class Part:
    """Images and labels on the device, and the numbers that scale them."""

    def __init__(
        self,
        pixels: np.ndarray,  # (N, H, W, C) bytes
        labels: np.ndarray,  # (N,)
        mean: tuple[float, ...],
        spread: tuple[float, ...],
        device: str,
        *,
        resolution: int | None = None,
        margin: int = 0,
    ) -> None:
        """Move them; scaled to the resolution, with a margin of the training part's mean colour to shift into."""
        images = torch.from_numpy(pixels).to(device)
        if resolution is not None and resolution != images.shape[1]:
            images = _resized(images, resolution)
        colour = torch.tensor(mean, device=device).round().to(torch.uint8)
        self.pixels = colour.expand(len(images), images.shape[1] + 2 * margin, images.shape[2] + 2 * margin, -1).clone()
        self.pixels[:, margin : margin + images.shape[1], margin : margin + images.shape[2]] = images
        self.labels = torch.from_numpy(labels).to(device)
        self.height, self.width, self.margin = images.shape[1], images.shape[2], margin
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.scale = 1.0 / torch.tensor(spread, device=device).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def scaled(self, pixels: Tensor) -> Tensor:
        """(B, H, W, C) bytes -> (B, C, H, W) numbers, channels-last, with mean 0 and spread 1."""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) * self.scale


def _resized(images: Tensor, resolution: int) -> Tensor:
    """Scale by anti-aliased bilinear interpolation, some images at a time: (N, H, W, C) -> (N, R, R, C)."""
    done = []
    for some in torch.split(images, 4096):
        numbers = some.permute(0, 3, 1, 2).float()
        small = interpolate(numbers, (resolution, resolution), mode="bilinear", antialias=True, align_corners=False)
        done.append(small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(done)


def batches(part: Part, recipe: Recipe, chance: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one epoch: whole batches in a new order, shifted, mirrored and blanked at random."""
    device = part.labels.device
    down, right = torch.arange(part.height, device=device), torch.arange(part.width, device=device)
    whole = len(part) // recipe.batch * recipe.batch
    order = torch.randperm(len(part), generator=chance, device=device)[:whole]
    for rows in torch.split(order, recipe.batch):
        count = (len(rows), 1)
        top, left = (
            torch.randint(2 * part.margin + 1, count, generator=chance, device=device) for _ in range(2)
        )  # (B, 1)
        columns = right.expand(len(rows), -1)
        if recipe.mirror:
            mirrored = torch.rand(count, generator=chance, device=device) < 0.5
            columns = torch.where(mirrored, part.width - 1 - columns, columns)
        pixels = part.pixels[rows[:, None, None], (top + down)[:, :, None], (left + columns)[:, None, :]]
        images = part.scaled(pixels)
        if recipe.cutout:
            images = images * _holes(part, recipe, len(rows), chance)
        yield images, part.labels[rows]


def _holes(part: Part, recipe: Recipe, count: int, chance: torch.Generator) -> Tensor:
    """Return (B, 1, H, W) ones with a square of zeros in each image."""
    device = part.labels.device

    def outside(length: int) -> Tensor:
        middle = torch.randint(length, (count, 1), generator=chance, device=device)
        return (torch.arange(length, device=device) - middle).abs() * 2 > recipe.cutout  # (B, length)

    return (outside(part.height)[:, None, :, None] | outside(part.width)[:, None, None, :]).float()


# -- training ------------------------------------------------------------------------------------------------------


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a step: up along a line, down along a cosine, to zero."""
    top = max(1.0, recipe.rising * steps)
    if step < top:
        return recipe.peak_rate * (step + 1) / (top + 1)
    return recipe.peak_rate * (1 + math.cos(math.pi * (step - top + 1) / (steps - top + 1))) / 2


# Hears of the mean training loss of each epoch as it ends; True ends the training there.
Watch = Callable[[float], bool]


def train(
    network: nn.Module, part: Part, recipe: Recipe, place: Place, seed: int, watch: Watch | None = None
) -> nn.Module:
    """Train in place and return what is to be scored: the network, or the moving average of it.

    A watch changes nothing but when it ends: its losses are those of the training batches, so they cost no pass.
    """
    chance = torch.Generator(place.device).manual_seed(seed)
    network.to(place.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(
        parameters, lr=0.0, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.decay, fused=_fuses(place)
    )
    scaler = torch.amp.GradScaler(place.device.partition(":")[0], enabled=place.precision == "float16")
    averaged = _average(network, recipe)
    waits = 1 if place.device == "cpu" else CHECKED_EVERY
    steps, step = recipe.epochs * (len(part) // recipe.batch), 0
    for epoch in range(recipe.epochs):
        losses = []  # of its batches
        for images, labels in batches(part, recipe, chance):  # (B, C, H, W), (B,)
            for group in optimiser.param_groups:
                group["lr"] = rate(recipe, step, steps)
            with place.autocast():
                logits = network(images)  # (B, classes)
            loss = cross_entropy(logits.float(), labels, label_smoothing=recipe.smoothing)
            optimiser.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.unscale_(optimiser)
            nn.utils.clip_grad_norm_(parameters, recipe.clip)
            scaler.step(optimiser)
            scaler.update()
            if averaged is not None:
                averaged.update_parameters(network)
            step += 1
            # Weights that are no numbers stay so: a look now and then finds what happened in between.
            if (step % waits == 0 or step == steps) and not torch.isfinite(loss):
                raise NonFiniteLoss(f"its training loss became {loss.item()} in epoch {epoch + 1}")
            if watch is not None:
                losses.append(loss.detach())
        if watch is not None and _ended(watch, losses, epoch):
            break
    return network if averaged is None else averaged.module


def _ended(watch: Watch, losses: list[Tensor], epoch: int) -> bool:
    """Tell the watch of an epoch, whose losses a device may have computed unseen; return whether it ends there."""
    mean = float(torch.stack(losses).double().mean())
    if not math.isfinite(mean):
        raise NonFiniteLoss(f"its training loss became {mean} in epoch {epoch + 1}")
    return watch(mean)


def _fuses(place: Place) -> bool:
    return place.device.partition(":")[0] in ("cpu", "cuda")


def _average(network: nn.Module, recipe: Recipe) -> torch.optim.swa_utils.AveragedModel | None:
    if recipe.average is None:
        return None
    keeping = torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average)  # type: ignore[no-untyped-call]
    return torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=keeping, use_buffers=True)


def predicted(network: nn.Module, part: Part, place: Place) -> Tensor:
    """Return the logits (N, classes) of a part without a margin."""
    network.eval()
    with torch.inference_mode(), place.autocast():
        return torch.cat([network(part.scaled(pixels)).float() for pixels in torch.split(part.pixels, SCORED)])


def classified(network: nn.Module, part: Part, place: Place) -> Tensor:
    """Return the class (N,) that each image is given; NonFiniteLoss where an output is no number."""
    logits = predicted(network, part, place)
    if not torch.isfinite(logits).all():
        raise NonFiniteLoss("its outputs became infinite after training")
    return logits.argmax(dim=1)


def accuracy(network: nn.Module, part: Part, place: Place) -> float:
    """Return the percentage of a labelled part that is classified rightly."""
    return 100.0 * float((classified(network, part, place) == part.labels).double().mean())
