"""DARTS cells, and the network in which DARTS trains them, as text that needs nothing but torch."""

from __future__ import annotations

from nas_agent.spaces.darts_cells import NODES, NONE, PUBLISHED_CELLS, PUBLISHED_WIDTH, SEPARABLE, Cell, cell_inputs

TEMPLATE = '''"""A DARTS network found by nas-agent.

Cells: {text}

    from best import Network
    logits = Network(classes=10)(torch.randn(1, 3, 32, 32))
"""

import torch
from torch import nn


class ReLUConvBN(nn.Sequential):
    """ReLU, 1x1 convolution, batch normalisation."""

    def __init__(self, channels_in, channels_out):
        super().__init__(
            nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
        )


class FactorizedReduce(nn.Module):
    """Halve the resolution by two 1x1 convolutions, the second one pixel further along the diagonal."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x):
        x = self.relu(x)
        # The shifted image is padded, so that an odd side leads to as many pixels in both halves.
        shifted = nn.functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))


class DilConv(nn.Sequential):
    """ReLU, depthwise convolution, pointwise convolution, batch normalisation."""

    def __init__(self, C, kernel_size, stride, dilation=2):
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(C, C, kernel_size, stride, padding, dilation=dilation, groups=C, bias=False),
            nn.Conv2d(C, C, 1, bias=False),
            nn.BatchNorm2d(C),
        )


class SepConv(nn.Sequential):
    """The same twice, without dilation; the first one strides."""

    def __init__(self, C, kernel_size, stride):
        super().__init__(DilConv(C, kernel_size, stride, dilation=1), DilConv(C, kernel_size, 1, dilation=1))


{cells}


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes): reduction cells at one and two thirds of the depth."""

    def __init__(self, classes={classes}, in_channels=3, width={width}, cells={depth}):
        super().__init__()
        before_last = last = 3 * width
        self.stem = nn.Sequential(nn.Conv2d(in_channels, last, 3, padding=1, bias=False), nn.BatchNorm2d(last))
        self.cells = nn.ModuleList()
        reduced = False
        for index in range(cells):
            reduces = index in (cells // 3, 2 * cells // 3)
            width = 2 * width if reduces else width
            self.cells.append((ReductionCell if reduces else NormalCell)(before_last, last, width, reduced))
            before_last, last, reduced = last, 4 * width, reduces
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(last, classes))

    def forward(self, images):
        s0 = s1 = self.stem(images)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.head(s1)
'''


def module_source(text: str, cells: str, classes: int) -> str:
    """Fill the template: the notation, the class text of both cells, the default number of classes."""
    return TEMPLATE.format(text=text, cells=cells, classes=classes, width=PUBLISHED_WIDTH, depth=PUBLISHED_CELLS)


def cell_source(name: str, cell: Cell, *, reduces: bool) -> str:
    """Write a canonical cell as a class; `C0`, `C1` and `C` are the channels of its inputs and of each node."""
    layers, sums = [], []
    used = cell_inputs(cell)
    for start in sorted(used):
        fitted = f"ReLUConvBN(C{start}, C)"
        if start == 0:  # the cell before last is twice as large where the last cell has halved its input
            fitted = f"FactorizedReduce(C0, C) if reduced else {fitted}"
        layers.append(f"self.fit{start} = {fitted}")
    for node, pairs in zip(NODES, cell, strict=True):
        terms = []
        for letter, (start, operation) in zip("ab", pairs, strict=True):
            stride = 2 if reduces and start < NODES[0] else 1
            if operation == NONE:
                continue
            if operation == "skip_connect" and stride == 1:
                terms.append(f"x{start}")
                continue
            layers.append(f"self.op_{node}_{letter} = {_layer(operation, stride)}")
            terms.append(f"self.op_{node}_{letter}(x{start})")
        if terms:
            sums.append(f"x{node} = {' + '.join(terms)}")
    body = [f"x{start} = self.fit{start}(s{start})" for start in sorted(used)] + sums
    return "\n".join(
        [
            f"class {name}(nn.Module):",
            "    def __init__(self, C0, C1, C, reduced):",
            "        super().__init__()",
            *(f"        {line}" for line in [*layers, *_size_of_zero(cell)]),
            "",
            "    def forward(self, s0, s1):",
            *(f"        {line}" for line in body),
            *(f"        {line}" for line in _result(cell, reduces=reduces)),
        ]
    )


def _layer(operation: str, stride: int) -> str:
    if operation in SEPARABLE:
        kind = "SepConv" if operation.startswith("sep") else "DilConv"
        return f"{kind}(C, kernel_size={SEPARABLE[operation][1]}, stride={stride})"
    return {
        "max_pool_3x3": f"nn.MaxPool2d(3, stride={stride}, padding=1)",
        "avg_pool_3x3": f"nn.AvgPool2d(3, stride={stride}, padding=1, count_include_pad=False)",
        "skip_connect": "FactorizedReduce(C, C)",  # only where it halves the resolution
    }[operation]


def _zero_nodes(cell: Cell) -> set[int]:
    return {node for node, pairs in zip(NODES, cell, strict=True) if all(operation == NONE for _, operation in pairs)}


def _size_of_zero(cell: Cell) -> list[str]:
    return ["self.C = C"] if len(_zero_nodes(cell)) == len(NODES) else []


def _result(cell: Cell, *, reduces: bool) -> list[str]:
    """Put the nodes side by side; a zero node is as large as any other."""
    zero = _zero_nodes(cell)
    if len(zero) == len(NODES):
        sides = ("(side + 1) // 2 for side in s1.shape[2:]") if reduces else "s1.shape[2:]"
        return [f"return s1.new_zeros(len(s1), 4 * self.C, *({sides}))"]
    living = next(node for node in NODES if node not in zero)
    lines = [f"zero = torch.zeros_like(x{living})"] if zero else []
    parts = ", ".join("zero" if node in zero else f"x{node}" for node in NODES)
    return [*lines, f"return torch.cat([{parts}], dim=1)"]
