"""A cell of NAS-Bench-101 as a PyTorch class, and the winner as a file that needs nothing but torch."""

from __future__ import annotations

from nas_agent.spaces.nasbench101_graph import Cell

TEMPLATE = '''"""A NAS-Bench-101 network found by nas-agent.

Cell: {text}

    from best import Network
    logits = Network(classes=10)(torch.randn(1, 3, 32, 32))
"""

import torch
from torch import nn


class ConvBNReLU(nn.Sequential):
    def __init__(self, channels_in, channels_out, kernel_size):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )


{cell}


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes): a stem and three stacks of three cells."""

    def __init__(self, classes={classes}, in_channels=3, width=128):
        super().__init__()
        layers = [ConvBNReLU(in_channels, width, kernel_size=3)]
        arriving = width
        for stack in range(3):
            channels = width * 2**stack
            if stack:
                layers.append(nn.MaxPool2d(2, stride=2))
            for _ in range(3):
                layers.append(Cell(arriving, channels))
                arriving = channels
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(arriving, classes))

    def forward(self, images):
        return self.head(self.body(images))
'''
LAYER = {
    "conv3x3-bn-relu": "ConvBNReLU({0}, {0}, kernel_size=3)",
    "conv1x1-bn-relu": "ConvBNReLU({0}, {0}, kernel_size=1)",
    "maxpool3x3": "nn.MaxPool2d(kernel_size=3, stride=1, padding=1)",
}


def module_source(text: str, cell: str, classes: int) -> str:
    """Fill the template: the cell's notation, its class text, the default number of classes."""
    return TEMPLATE.format(text=text, cell=cell, classes=classes)


def cell_source(cell: Cell, labels: tuple[str, ...]) -> str:
    """Write the class: C_in channels arrive, C leave, divided among the vertices that the output concatenates."""
    final = [vertex for vertex in cell.sources[-1] if vertex]
    last, shares = cell.vertices - 1, cell.shares()
    width = ["C_in", *(f"C[{place}]" if len(final) > 1 else "C" for place in shares), "C"]
    layers, body = [], []
    for vertex in range(1, last):
        terms = [
            f"x{start}" if shares[start - 1] == shares[vertex - 1] else f"x{start}[:, : self.{width[vertex]}]"
            for start in cell.sources[vertex - 1]
            if start
        ]
        if 0 in cell.sources[vertex - 1]:
            layers.append(f"self.project_{vertex} = ConvBNReLU(C_in, {width[vertex]}, kernel_size=1)")
            terms.append(f"self.project_{vertex}(x0)")
        layers.append(f"self.op_{vertex} = {LAYER[labels[cell.labels[vertex - 1]]].format(width[vertex])}")
        body.append(f"x{vertex} = self.op_{vertex}({' + '.join(terms)})")
    results = []
    if len(final) > 1:
        results.append(f"torch.cat([{', '.join(f'x{vertex}' for vertex in final)}], dim=1)")
    elif final:
        results.append(f"x{final[0]}")
    if 0 in cell.sources[-1]:
        layers.append(f"self.project_{last} = ConvBNReLU(C_in, {'sum(C)' if len(final) > 1 else 'C'}, kernel_size=1)")
        results.append(f"self.project_{last}(x0)")
    if len(final) > 1:
        split = f"C = self.C = [C // {len(final)} + (i < C % {len(final)}) for i in range({len(final)})]"
        layers.insert(0, split)
    lines = ["class Cell(nn.Module):", "    def __init__(self, C_in, C):", "        super().__init__()"]
    lines += [f"        {layer}" for layer in layers]
    lines += ["", "    def forward(self, x0):", *(f"        {line}" for line in body)]
    return "\n".join([*lines, f"        return {' + '.join(results)}"])
