"""Cells and networks of NAS-Bench-101 as PyTorch text: what models read and embed, and `best.py` of a run folder."""

from __future__ import annotations

from nas_agent.spaces.class_text import ClassText, program
from nas_agent.spaces.nasbench101_graph import Cell

SKELETON = (
    "a stem of one 3x3 convolution, three stacks of three cells with 128, 256 and 512 channels, a max pooling of "
    "stride 2 before the second and the third stack, global average pooling and a linear classifier"
)
RECIPE = (
    "108 epochs of RMSProp with momentum 0.9, weight decay 0.0001, batches of 256, a learning rate of 0.2 that falls "
    "to 0 along a cosine"
)
HEADER = '''"""A NAS-Bench-101 network found by nas-agent.

Cell: {text}

    from best import Network
    logits = Network(classes=10)(torch.randn(1, 3, 32, 32))
"""'''
HELPER = """class ConvBNReLU(nn.Sequential):
    def __init__(self, channels_in, channels_out, kernel_size):
        super().__init__(
            nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(),
        )"""
NETWORK = '''class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes): a stem and three stacks of three cells."""

    def __init__(self, classes={classes}, in_channels=3, width=128):
        super().__init__()
        layers = [{stem}]
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
        return self.head(self.body(images))'''
_POOL = "nn.MaxPool2d(kernel_size=3, stride=1, padding=1)"
_KERNEL = {"conv3x3-bn-relu": 3, "conv1x1-bn-relu": 1}


def module_source(text: str, cell: str, classes: int) -> str:
    """Write the file of a network: the cell's notation, its class text, the default number of classes."""
    return program(HEADER.format(text=text), (HELPER, cell, _network(inline=False, classes=classes)))


def class_text(cell: Cell, labels: tuple[str, ...], *, inline: bool) -> ClassText:
    """Write the pruned cell in its own labelling, with what stands around it."""
    written = cell_source(cell, labels, inline=inline)
    return ClassText(() if inline else (HELPER,), written, _network(inline=inline))


def _network(*, inline: bool, classes: int = 10) -> str:
    return NETWORK.format(stem=_convolution("in_channels", "width", 3, inline=inline), classes=classes)


def _convolution(channels_in: str, channels_out: str, kernel: int, *, inline: bool) -> str:
    if not inline:
        return f"ConvBNReLU({channels_in}, {channels_out}, kernel_size={kernel})"
    padding = f", padding={kernel // 2}" if kernel > 1 else ""
    convolution = f"nn.Conv2d({channels_in}, {channels_out}, {kernel}{padding}, bias=False)"
    return f"nn.Sequential({convolution}, nn.BatchNorm2d({channels_out}), nn.ReLU())"


def _layer(operation: str, channels: str, *, inline: bool) -> str:
    return _convolution(channels, channels, _KERNEL[operation], inline=inline) if operation in _KERNEL else _POOL


def cell_source(cell: Cell, labels: tuple[str, ...], *, inline: bool = False) -> str:
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
            layers.append(f"self.project_{vertex} = {_convolution('C_in', width[vertex], 1, inline=inline)}")
            terms.append(f"self.project_{vertex}(x0)")
        layers.append(f"self.op_{vertex} = {_layer(labels[cell.labels[vertex - 1]], width[vertex], inline=inline)}")
        body.append(f"x{vertex} = self.op_{vertex}({' + '.join(terms)})")
    results = []
    if len(final) > 1:
        results.append(f"torch.cat([{', '.join(f'x{vertex}' for vertex in final)}], dim=1)")
    elif final:
        results.append(f"x{final[0]}")
    if 0 in cell.sources[-1]:
        leaving = "sum(C)" if len(final) > 1 else "C"
        layers.append(f"self.project_{last} = {_convolution('C_in', leaving, 1, inline=inline)}")
        results.append(f"self.project_{last}(x0)")
    if len(final) > 1:
        split = f"C = self.C = [C // {len(final)} + (i < C % {len(final)}) for i in range({len(final)})]"
        layers.insert(0, split)
    lines = ["class Cell(nn.Module):", "    def __init__(self, C_in, C):", "        super().__init__()"]
    lines += [f"        {layer}" for layer in layers]
    lines += ["", "    def forward(self, x0):", *(f"        {line}" for line in body)]
    return "\n".join([*lines, f"        return {' + '.join(results)}"])
