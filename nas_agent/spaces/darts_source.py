"""DARTS cells and networks as PyTorch text: what models read and embed, and `best.py` of a run folder."""

from __future__ import annotations

from nas_agent.spaces.class_text import ClassText, program
from nas_agent.spaces.darts_cells import NODES, NONE, PUBLISHED_CELLS, PUBLISHED_WIDTH, SEPARABLE, Cell, cell_inputs

SKELETON = (
    "a stem of one 3x3 convolution, 20 cells with 36 channels at first, all of them normal cells but two reduction "
    "cells at one and two thirds of the depth, which double the channels and halve the resolution, global average "
    "pooling and a linear classifier; each cell reads the outputs of the two cells before it"
)
RECIPE = (
    "600 epochs of SGD with momentum 0.9, weight decay 0.0003, batches of 96, a learning rate of 0.025 that falls to 0 "
    "along a cosine, cutout, path dropout of 0.2 and an auxiliary classifier"
)
HEADER = '''"""A DARTS network found by nas-agent.

Cells: {text}

    from best import Network
    logits = Network(classes=10)(torch.randn(1, 3, 32, 32))
"""'''
RELU_CONV_BN = '''class ReLUConvBN(nn.Sequential):
    """ReLU, 1x1 convolution, batch normalisation."""

    def __init__(self, channels_in, channels_out):
        super().__init__(
            nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out)
        )'''
FACTORIZED_REDUCE = '''class FactorizedReduce(nn.Module):
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
        return self.norm(torch.cat([self.even(x), self.odd(shifted)], dim=1))'''
DIL_CONV = '''class DilConv(nn.Sequential):
    """ReLU, depthwise convolution, pointwise convolution, batch normalisation."""

    def __init__(self, C, kernel_size, stride, dilation=2):
        padding = dilation * (kernel_size - 1) // 2
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(C, C, kernel_size, stride, padding, dilation=dilation, groups=C, bias=False),
            nn.Conv2d(C, C, 1, bias=False),
            nn.BatchNorm2d(C),
        )'''
SEP_CONV = '''class SepConv(nn.Sequential):
    """The same twice, without dilation; the first one strides."""

    def __init__(self, C, kernel_size, stride):
        super().__init__(DilConv(C, kernel_size, stride, dilation=1), DilConv(C, kernel_size, 1, dilation=1))'''
HELPERS = (RELU_CONV_BN, FACTORIZED_REDUCE, DIL_CONV, SEP_CONV)
NETWORK = '''class Network(nn.Module):
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
        return self.head(s1)'''


def module_source(text: str, cells: tuple[Cell, Cell], classes: int) -> str:
    """Write the file of a network: the notation, both cells, the default number of classes."""
    return program(HEADER.format(text=text), (*HELPERS, cells_source(cells), _network(classes)))


def class_text(cells: tuple[Cell, Cell], *, inline: bool) -> ClassText:
    """Write both cells as they are; `inline` spells out all layers but the one that is no chain of others."""
    written = cells_source(cells, inline=inline)
    helpers = tuple(h for h in (FACTORIZED_REDUCE,) if "FactorizedReduce(" in written) if inline else HELPERS
    return ClassText(helpers, written, _network())


def cells_source(cells: tuple[Cell, Cell], *, inline: bool = False) -> str:
    """Write the classes of the normal and of the reduction cell."""
    normal, reduction = cells
    return f"{_source('NormalCell', normal, False, inline)}\n\n\n{_source('ReductionCell', reduction, True, inline)}"


def _network(classes: int = 10) -> str:
    return NETWORK.format(classes=classes, width=PUBLISHED_WIDTH, depth=PUBLISHED_CELLS)


def _source(name: str, cell: Cell, reduces: bool, inline: bool) -> str:
    """Write a cell as a class; `C0`, `C1` and `C` are the channels of its inputs and of each node."""
    used = sorted(cell_inputs(cell))
    layers, sums = [f"self.fit{start} = {_fit(start, inline)}" for start in used], []
    sides = "*((side + 1) // 2 for side in s1.shape[2:])" if reduces else "*s1.shape[2:]"
    for node, pairs in zip(NODES, cell, strict=True):
        terms = []
        for letter, (start, operation) in zip("ab", pairs, strict=True):
            stride = 2 if reduces and start < NODES[0] else 1
            if operation == NONE:
                continue
            if operation == "skip_connect" and stride == 1:
                terms.append(f"x{start}")
                continue
            layers.append(f"self.op_{node}_{letter} = {_layer(operation, stride, inline)}")
            terms.append(f"self.op_{node}_{letter}(x{start})")
        sums.append(f"x{node} = {' + '.join(terms) or f's1.new_zeros(len(s1), self.C, {sides})'}")
    if any("self.C" in line for line in sums):
        layers.append("self.C = C")
    body = [f"x{start} = self.fit{start}(s{start})" for start in used] + sums
    body.append(f"return torch.cat([{', '.join(f'x{node}' for node in NODES)}], dim=1)")
    lines = [f"class {name}(nn.Module):", "    def __init__(self, C0, C1, C, reduced):", "        super().__init__()"]
    lines += [f"        {line}" for line in layers]
    return "\n".join([*lines, "", "    def forward(self, s0, s1):", *(f"        {line}" for line in body)])


def _fit(start: int, inline: bool) -> str:
    """Bring an input to the channels of the nodes; the cell before last may be twice as large as the last one."""
    fitted = f"ReLUConvBN(C{start}, C)"
    if inline:
        fitted = f"nn.Sequential(nn.ReLU(), nn.Conv2d(C{start}, C, 1, bias=False), nn.BatchNorm2d(C))"
    return f"FactorizedReduce(C0, C) if reduced else {fitted}" if start == 0 else fitted


def _layer(operation: str, stride: int, inline: bool) -> str:
    if operation in SEPARABLE:
        times, kernel = SEPARABLE[operation]
        if inline:
            steps = (_separable(kernel, step, 2 if times == 1 else 1) for step in (stride, 1)[:times])
            return f"nn.Sequential({', '.join(steps)})"
        return f"{'SepConv' if times == 2 else 'DilConv'}(C, kernel_size={kernel}, stride={stride})"
    return {
        "max_pool_3x3": f"nn.MaxPool2d(3, stride={stride}, padding=1)",
        "avg_pool_3x3": f"nn.AvgPool2d(3, stride={stride}, padding=1, count_include_pad=False)",
        "skip_connect": "FactorizedReduce(C, C)",  # only where it halves the resolution
    }[operation]


def _separable(kernel: int, stride: int, dilation: int) -> str:
    where = f"stride={stride}, padding={dilation * (kernel - 1) // 2}"
    where += f", dilation={dilation}" if dilation > 1 else ""
    depthwise = f"nn.Conv2d(C, C, {kernel}, {where}, groups=C, bias=False)"
    return f"nn.ReLU(), {depthwise}, nn.Conv2d(C, C, 1, bias=False), nn.BatchNorm2d(C)"
