"""The winner as a file that needs nothing but torch: `best.py` of a run folder."""

from __future__ import annotations

TEMPLATE = '''"""A NAS-Bench-201 network found by nas-agent.

Cell: {text}

    from best import Network
    logits = Network(classes=10)(torch.randn(1, 3, 32, 32))
"""

import torch
from torch import nn


class ReLUConvBN(nn.Sequential):
    def __init__(self, channels_in, channels_out, kernel_size, padding, stride=1):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, kernel_size, stride=stride, padding=padding, bias=False),
            nn.BatchNorm2d(channels_out),
        )


{cell}


class ResidualBlock(nn.Module):
    """Halve the resolution, double the channels."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.body = nn.Sequential(
            ReLUConvBN(channels_in, channels_out, kernel_size=3, padding=1, stride=2),
            ReLUConvBN(channels_out, channels_out, kernel_size=3, padding=1),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True),
            nn.Conv2d(channels_in, channels_out, 1, bias=False),
        )

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes): a stem and three stages of five cells."""

    def __init__(self, classes={classes}, in_channels=3, width=16):
        super().__init__()
        stages = []
        for stage in range(3):
            channels = width * 2**stage
            if stage:
                stages.append(ResidualBlock(channels // 2, channels))
            stages.extend(Cell(channels) for _ in range(5))
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.BatchNorm2d(4 * width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes)
        )

    def forward(self, images):
        return self.head(self.stages(self.stem(images)))
'''


def module_source(text: str, cell: str, classes: int) -> str:
    """Fill the template: the cell's string, its class text, the default number of classes."""
    return TEMPLATE.format(text=text, cell=cell, classes=classes)
