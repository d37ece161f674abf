"""The network in which NAS-Bench-101 trains a cell (Ying et al., ICML 2019, section 2).

Stem, three cells at C channels, a pooling of stride 2, three cells at 2C, another, three at 4C, global pooling,
a linear layer. With C = 128 its parameter counts are the benchmark's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_agent.spaces import nasbench101 as space
from nas_agent.spaces.nasbench101_graph import Cell


def conv_bn_relu(channels_in: int, channels_out: int, kernel: int) -> nn.Sequential:
    """A convolution that keeps the size, batch normalisation, then ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


def vertex_layer(operation: str, channels: int) -> nn.Module:
    """Build the layer of one vertex."""
    match operation:
        case space.CONV3:
            return conv_bn_relu(channels, channels, 3)
        case space.CONV1:
            return conv_bn_relu(channels, channels, 1)
        case space.POOL:
            return nn.MaxPool2d(3, stride=1, padding=1)
    raise ValueError(f"no layer for operation {operation!r}")


class CellModule(nn.Module):
    """(B, arriving, H, W) -> (B, leaving, H, W)."""

    def __init__(self, cell: Cell, arriving: int, leaving: int) -> None:
        super().__init__()
        self.sources = cell.sources
        self.channels = cell.channels(arriving, leaving)
        if min(self.channels) < 1:
            raise ValueError(f"{leaving} channels are too few to be divided among {cell.sources[-1]}")
        self.layers = nn.ModuleList(
            vertex_layer(space.LABELS[label], channels)
            for label, channels in zip(cell.labels, self.channels[1:-1], strict=True)
        )
        self.projections = nn.ModuleDict(
            {
                str(end): conv_bn_relu(arriving, self.channels[end], 1)
                for end, sources in enumerate(cell.sources, 1)
                if 0 in sources
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Sum what arrives at a vertex; concatenate what arrives at the output, and add the projected input."""
        vertices = [x]
        for vertex, layer in enumerate(self.layers, 1):
            # Channels that do not divide evenly leave sources with one more than their reader takes.
            terms = [vertices[start][:, : self.channels[vertex]] for start in self.sources[vertex - 1] if start]
            vertices.append(layer(self._sum(terms, vertex, x)))
        final = [vertices[start] for start in self.sources[-1] if start]
        return self._sum([torch.cat(final, dim=1)] if final else [], len(self.sources), x)

    def _sum(self, terms: list[Tensor], end: int, x: Tensor) -> Tensor:
        if 0 in self.sources[end - 1]:
            terms = [*terms, self.projections[str(end)](x)]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes)."""

    def __init__(self, cell: Cell, *, classes: int, in_channels: int = 3, width: int = 128) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_bn_relu(in_channels, width, 3)]
        arriving = width
        for stack in range(space.STACKS):
            channels = width * 2**stack
            if stack:
                layers.append(nn.MaxPool2d(2, stride=2))
            for _ in range(space.CELLS_PER_STACK):
                layers.append(CellModule(cell, arriving, channels))
                arriving = channels
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(arriving, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify a batch."""
        logits: Tensor = self.head(self.body(images))
        return logits
