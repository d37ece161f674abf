"""The proxies themselves: of a fresh network and one batch, as their papers define them.

The network must have its initial weights; it is left as it was, but for nothing that training would notice: each
proxy works on a copy in training mode, where batch normalisation uses the batch (Abdelfattah et al., ICLR 2021,
whose code is the common reference). Layers are convolutions and linear layers. What a network of this kind does not
have is None, like every number that is infinite or no number: a cell without a path from input to output has one
ReLU pattern for all images, so its determinant is zero.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

SMALLEST = 1e-5  # added to eigenvalues in `jacov`
RELU = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)


def measure(network: nn.Module, images: Tensor, labels: Tensor, names: Sequence[str]) -> dict[str, float | None]:
    """Score a network with these proxies; images (B, C, H, W) are scaled as for training, labels (B,)."""
    with torch.enable_grad():
        return {name: _finite(_MEASURES[name](copy.deepcopy(network).train(), images, labels)) for name in names}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class _Patterns(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up, over all ReLUs, in how many units each two images agree (B, B)."""

    def __init__(self, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.agreeing = torch.zeros(size, size, dtype=torch.float64)
        self.size = size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in RELU and args[0].dim() > 1 and len(args[0]) == self.size:
            active = (args[0].detach().flatten(1) > 0).float()
            both = active @ active.T + (1.0 - active) @ (1.0 - active).T
            self.agreeing += both.cpu().double()
        return func(*args, **(kwargs or {}))


def _naswot(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Mellor et al., ICML 2021, equation 2: log |K|, K = units in which two images' ReLUs agree, over all layers."""
    patterns = _Patterns(len(images))
    with torch.no_grad(), patterns:
        network(images)
    sign, log = torch.linalg.slogdet(patterns.agreeing)
    return float(log) if sign > 0 else None


def _synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Tanaka et al., NeurIPS 2020, equation 2: no data; normalisation is left out, and numbers are 64 bits wide."""
    _without_normalisation(network)
    network = network.double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    network(torch.ones_like(images[:1], dtype=torch.float64)).sum().backward()
    return _saliency(network)


def _snip(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Lee et al., ICLR 2019, equation 4, summed over connections."""
    _loss(network, images, labels).backward()  # type: ignore[no-untyped-call]
    return _saliency(network)


def _grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Sum over layers of the gradient's Euclidean norm."""
    _loss(network, images, labels).backward()  # type: ignore[no-untyped-call]
    return sum(float(weight.grad.norm()) for weight in _weights(network) if weight.grad is not None)


def _l2_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Sum over layers of the weights' Euclidean norm."""
    return sum(float(weight.detach().norm()) for weight in _weights(network))


def _jacov(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    """Mellor et al., 2020 (arXiv 2006.04647v1), equation 3: eigenvalues of the input gradients' correlations."""
    inputs = images.clone().requires_grad_(True)
    network(inputs).sum().backward()
    if inputs.grad is None:
        return None
    rows = inputs.grad.flatten(1).cpu().double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        return None  # an image without a gradient correlates with nothing
    rows = rows / norms
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0.0) + SMALLEST
    return -float((values.log() + 1.0 / values).sum())


def _params(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    return float(sum(parameter.numel() for parameter in network.parameters()))


def _flops(network: nn.Module, images: Tensor, labels: Tensor) -> float | None:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(images[:1])
    return counter.get_total_flops() / 2.0


_MEASURES: dict[str, Callable[[nn.Module, Tensor, Tensor], float | None]] = {
    "naswot": _naswot,
    "synflow": _synflow,
    "jacov": _jacov,
    "snip": _snip,
    "grad_norm": _grad_norm,
    "l2_norm": _l2_norm,
    "params": _params,
    "flops": _flops,
}


def _loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return cross_entropy(network(images).float(), labels)


def _weights(network: nn.Module) -> list[Tensor]:
    layers = (layer for layer in network.modules() if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear))
    return [layer.weight for layer in layers]


def _saliency(network: nn.Module) -> float:
    """Sum |weight x gradient| over the layers' weights."""
    pairs = ((weight.detach(), weight.grad) for weight in _weights(network))
    return sum(float((weight * gradient).abs().sum()) for weight, gradient in pairs if gradient is not None)


def _without_normalisation(network: nn.Module) -> None:
    """Put the identity in the place of each normalisation: with a batch of one image it would make all alike."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    for layer in network.modules():
        for name, child in list(layer.named_children()):
            if isinstance(child, kinds):
                setattr(layer, name, nn.Identity())
