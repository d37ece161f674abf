"""The network in which NAS-Bench-201 trains a cell (Dong and Yang, ICLR 2020, section 2.1).

Stem, five cells at C channels, a residual block of stride 2, five cells at 2C, another, five cells at 4C,
global pooling, a linear layer. With C = 16 its parameter counts are the benchmark's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_agent.spaces.cell_graph import CellGraph
from nas_agent.spaces.cell_network import EdgeCell
from nas_agent.spaces.nasbench201 import CELLS_PER_STAGE


def relu_conv_bn(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """ReLU, then a convolution that keeps the size (at stride 1), then batch normalisation."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
    )


def edge_layer(operation: str, channels: int) -> nn.Module:
    """Build the layer of one live edge."""
    match operation:
        case "skip_connect":
            return nn.Identity()
        case "nor_conv_1x1":
            return relu_conv_bn(channels, channels, 1)
        case "nor_conv_3x3":
            return relu_conv_bn(channels, channels, 3)
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    raise ValueError(f"no layer for operation {operation!r}")


def cell(graph: CellGraph, channels: int) -> EdgeCell:
    """Build a cell: (B, C, H, W) -> (B, C, H, W)."""
    return EdgeCell(graph, lambda edge: edge_layer(edge.operation, channels), torch.zeros_like)


class ResidualBlock(nn.Module):
    """(B, C, H, W) -> (B, 2C, H/2, W/2)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            relu_conv_bn(channels_in, channels_out, 3, stride=2), relu_conv_bn(channels_out, channels_out, 3)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(channels_in, channels_out, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Halve the resolution and double the channels."""
        body: Tensor = self.body(x)
        shortcut: Tensor = self.shortcut(x)
        return body + shortcut


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes)."""

    def __init__(self, graph: CellGraph, *, classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                stages.append(ResidualBlock(channels // 2, channels))
            stages.extend(cell(graph, channels) for _ in range(CELLS_PER_STAGE))
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Classify a batch."""
        logits: Tensor = self.head(self.stages(self.stem(images)))
        return logits
