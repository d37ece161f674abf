"""The paper's head: a perceptron that learns to order pairs (COLE, Somu et al. 2026; settings of its release).

Three layers of 128, LeakyReLU, dropout 0.1, Adam at 0.001, 100 epochs, batches of 32, hinge loss over all pairs of a
batch with a margin of 0.1. Members of the ensemble are trained side by side in one product of matrices a layer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas_agent.spaces.base import Floats
from nas_agent.tools.heads.base import Blocks, FittedHead, check_sample
from nas_agent.tools.heads.cross_fitting import cross_fitted, folds
from nas_agent.tools.heads.reduction import Table
from nas_agent.tools.heads.targets import TargetName, make_target

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, LAYERS, DROPOUT = 128, 3, 0.1
EPOCHS, BATCH, RATE, MARGIN = 100, 32, 1e-3, 0.1


class Perceptron:
    """The head `mlp`."""

    name = "mlp"

    def __init__(self, target: TargetName, components: int) -> None:
        self._target, self._components = target, components

    def fit(self, blocks: Blocks, values: Floats, *, counts: bool = False, seed: int = 0) -> FittedHead:
        """Train all members."""
        check_sample(blocks, values)
        target = make_target(self._target, values)
        table = Table(blocks, self._components, counts=counts)
        fold = folds(len(values), seed)
        layers = train(table(blocks), target.sample, fold, seed)

        def members(rows: Floats) -> Floats:
            return apply(layers, rows)

        return cross_fitted(blocks, table, target, fold, members)


def train(rows: Floats, targets: Floats, fold: NDArray[np.intp], seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return weights (members, in, out) and biases (members, 1, out) of each layer."""
    import torch

    members = int(fold.max()) + 1
    chance = torch.Generator().manual_seed(seed)
    features = torch.from_numpy(rows.astype(np.float32))
    wanted = torch.from_numpy(targets.astype(np.float32))
    widths = [rows.shape[1], *[WIDTH] * LAYERS, 1]
    layers: list[tuple[Tensor, Tensor]] = []
    for inputs, outputs in pairwise(widths):
        bound = 1.0 / max(inputs, 1) ** 0.5  # torch's own initial range of a linear layer
        weight = (torch.rand(members, inputs, outputs, generator=chance) * 2 - 1) * bound
        bias = (torch.rand(members, 1, outputs, generator=chance) * 2 - 1) * bound
        layers.append((weight.requires_grad_(), bias.requires_grad_()))
    optimiser = torch.optim.Adam([part for layer in layers for part in layer], lr=RATE, fused=True)
    kept = [torch.from_numpy(np.flatnonzero(fold != member)) for member in range(members)]
    shortest = min(len(places) for places in kept)  # folds differ by one point at most: it waits for another epoch
    for _ in range(EPOCHS):
        orders = torch.stack([p[torch.randperm(len(p), generator=chance)[:shortest]] for p in kept])
        for start in range(0, shortest, BATCH):
            batch = orders[:, start : start + BATCH]  # (members, batch)
            scores = _forward(layers, features[batch], chance)
            loss = _hinge(scores, wanted[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return [(weight.detach(), bias.detach()) for weight, bias in layers]


def apply(layers: list[tuple[Tensor, Tensor]], rows: Floats) -> Floats:
    """Score rows (n, columns) by each member: (members, n)."""
    import torch

    features = torch.from_numpy(rows.astype(np.float32)).expand(len(layers[0][0]), *rows.shape)
    with torch.inference_mode():
        result: Floats = _forward(layers, features, None).double().numpy()
    return result


def _forward(layers: list[tuple[Tensor, Tensor]], states: Tensor, chance: Any) -> Tensor:
    """Return scores (members, n); `chance` drops units out, None does not."""
    import torch
    from torch.nn.functional import leaky_relu

    for number, (weight, bias) in enumerate(layers):
        states = torch.baddbmm(bias, states, weight)
        if number < len(layers) - 1:
            states = leaky_relu(states)
            if chance is not None:
                stay = torch.rand(states.shape, generator=chance) >= DROPOUT
                states = states * stay / (1.0 - DROPOUT)
    return states[..., 0]


def _hinge(scores: Tensor, wanted: Tensor) -> Tensor:
    """Mean over the ordered pairs of a batch of how much the better one fails to lead by the margin; sum of members."""
    lead = scores[:, :, None] - scores[:, None, :]
    better = (wanted[:, :, None] > wanted[:, None, :]).to(scores.dtype)
    pairs = better.sum(dim=(1, 2)).clamp(min=1.0)
    return (((MARGIN - lead).clamp(min=0.0) * better).sum(dim=(1, 2)) / pairs).sum()
