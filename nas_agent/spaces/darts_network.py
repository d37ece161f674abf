"""The network in which DARTS trains a pair of cells (Liu et al., ICLR 2019, section 3), with fewer cells by default.

A stem of three times the width, normal cells with reduction cells at one third and two thirds of the depth, global
pooling, a linear layer. With 20 cells and 36 channels its parameter counts are those of DARTS' code; the auxiliary
classifier and the dropped paths of its training schedule are not part of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_agent.spaces.darts_cells import NODES, NONE, SEPARABLE, Cell, cell_inputs, is_reduction

NETWORK_CELLS = 5  # cells of a network for a search by training; the published 20 take a GPU


def relu_conv_bn(channels_in: int, channels_out: int) -> nn.Sequential:
    """ReLU, 1x1 convolution, batch normalisation."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))


class FactorizedReduce(nn.Module):
    """(B, C, H, W) -> (B, C', H/2, W/2) by two 1x1 convolutions, the second one pixel further along the diagonal."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution."""
        x = self.relu(x)
        # The shifted image is padded, so that an odd side leads to as many pixels in both halves.
        shifted = nn.functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        halved: Tensor = self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return halved


def depthwise_pointwise(channels: int, kernel: int, stride: int, dilation: int) -> nn.Sequential:
    """ReLU, depthwise convolution, pointwise convolution, batch normalisation."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation=dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    )


def edge_layer(operation: str, channels: int, stride: int) -> nn.Module:
    """Build the layer of one edge that is not `none`."""
    if operation in SEPARABLE:
        times, kernel = SEPARABLE[operation]
        if times == 1:
            return depthwise_pointwise(channels, kernel, stride, dilation=2)
        return nn.Sequential(*(depthwise_pointwise(channels, kernel, step, dilation=1) for step in (stride, 1)))
    match operation:
        case "max_pool_3x3":
            return nn.MaxPool2d(3, stride=stride, padding=1)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
        case "skip_connect":
            return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)
    raise ValueError(f"no layer for operation {operation!r}")


class DartsCell(nn.Module):
    """(B, C0, H, W) or twice the side, and (B, C1, H, W) -> (B, 4 channels, H, W), or half the side."""

    def __init__(
        self, cell: Cell, channels_in: tuple[int, int], channels: int, *, reduces: bool, reduced: bool
    ) -> None:
        super().__init__()
        self.channels, self.stride = channels, 2 if reduces else 1
        self.fit = nn.ModuleDict()  # an input that nothing reads is not fitted
        for start in sorted(cell_inputs(cell)):
            halve = start == 0 and reduced
            make = FactorizedReduce if halve else relu_conv_bn
            self.fit[str(start)] = make(channels_in[start], channels)
        self.layers = nn.ModuleList()
        self.wiring: list[tuple[int, int]] = []
        for node, pairs in zip(NODES, cell, strict=True):
            for start, operation in pairs:
                if operation != NONE:
                    stride = self.stride if start < NODES[0] else 1
                    self.wiring.append((start, node))
                    self.layers.append(edge_layer(operation, channels, stride))

    def forward(self, before_last: Tensor, last: Tensor) -> Tensor:
        """Sum what arrives at each node, and put the nodes side by side; a node that nothing reaches is zero."""
        given = (before_last, last)
        value = {int(start): layer(given[int(start)]) for start, layer in self.fit.items()}
        for (start, node), layer in zip(self.wiring, self.layers, strict=True):
            term = layer(value[start])
            value[node] = value[node] + term if node in value else term
        sides = [(side + self.stride - 1) // self.stride for side in last.shape[2:]]
        zero = last.new_zeros(len(last), self.channels, *sides)
        return torch.cat([value.get(node, zero) for node in NODES], dim=1)


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes), from the canonical normal and reduction cell."""

    def __init__(
        self,
        cells: tuple[Cell, Cell],
        *,
        classes: int,
        in_channels: int = 3,
        width: int,
        depth: int = NETWORK_CELLS,
    ) -> None:
        super().__init__()
        normal, reduction = cells
        before_last = last = 3 * width
        self.stem = nn.Sequential(nn.Conv2d(in_channels, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        channels, reduced = width, False
        for index in range(depth):
            reduces = is_reduction(index, depth)
            channels *= 2 if reduces else 1
            cell = reduction if reduces else normal
            self.cells.append(DartsCell(cell, (before_last, last), channels, reduces=reduces, reduced=reduced))
            before_last, last, reduced = last, len(NODES) * channels, reduces
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify a batch."""
        before_last = last = self.stem(images)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last)
        logits: Tensor = self.head(last)
        return logits
