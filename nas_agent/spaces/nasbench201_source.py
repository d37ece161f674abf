"""Cells and networks of NAS-Bench-201 as PyTorch text: what models read and embed, and `best.py` of a run folder."""

from __future__ import annotations

from nas_agent.spaces.cell_graph import CellGraph
from nas_agent.spaces.class_text import ClassText, program

SKELETON = (
    "a stem of one 3x3 convolution, three stages of five cells with 16, 32 and 64 channels, a residual block of "
    "stride 2 before the second and the third stage, global average pooling and a linear classifier"
)
RECIPE = (
    "200 epochs of SGD with Nesterov momentum 0.9, weight decay 0.0005, batches of 256, a learning rate of 0.1 that "
    "falls to 0 along a cosine, random crops and horizontal flips"
)
HEADER = '''"""A NAS-Bench-201 network found by nas-agent.

Cell: {text}

    from best import Network
    logits = Network(classes=10)(torch.randn(1, 3, 32, 32))
"""'''
HELPER = """class ReLUConvBN(nn.Sequential):
    def __init__(self, channels_in, channels_out, kernel_size, padding, stride=1):
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(channels_in, channels_out, kernel_size, stride=stride, padding=padding, bias=False),
            nn.BatchNorm2d(channels_out),
        )"""
NETWORK = '''class ResidualBlock(nn.Module):
    """Halve the resolution, double the channels."""

    def __init__(self, channels_in, channels_out):
        super().__init__()
        self.body = nn.Sequential(
            {halving},
            {keeping},
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
        return self.head(self.stages(self.stem(images)))'''
_POOL = "nn.AvgPool2d(kernel_size=3, stride=1, padding=1, count_include_pad=False)"
_KERNEL = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}


def module_source(text: str, cell: str, classes: int) -> str:
    """Write the file of a network: the cell's string, its class text, the default number of classes."""
    return program(HEADER.format(text=text), (HELPER, cell, _network(inline=False, classes=classes)))


def class_text(graph: CellGraph, *, inline: bool) -> ClassText:
    """Write the cell as it is, with what stands around it."""
    cell = cell_source(graph, live=False, inline=inline)
    return ClassText(() if inline else (HELPER,), cell, _network(inline=inline))


def cell_source(graph: CellGraph, *, live: bool = True, inline: bool = False) -> str:
    """Write the cell as a class: its live edges, or all but `none`, with zeros for nodes that nothing reaches."""
    kept = graph.live() if live else tuple(edge.operation != "none" for edge in graph.edges)
    terms: dict[int, list[str]] = {1: [], 2: [], 3: []}
    layers = []
    for edge, used in zip(graph.edges, kept, strict=True):
        if not used:
            continue
        if edge.operation == "skip_connect":
            terms[edge.end].append(f"x{edge.start}")
            continue
        layer = f"op_{edge.start}_{edge.end}"
        layers.append(f"        self.{layer} = {_layer(edge.operation, inline=inline)}")
        terms[edge.end].append(f"self.{layer}(x{edge.start})")
    nodes = (node for node in (1, 2) if terms[node] or not live)
    sums = {node: " + ".join(terms[node]) or "torch.zeros_like(x0)" for node in terms}
    lines = ["class Cell(nn.Module):", "    def __init__(self, C):", "        super().__init__()", *layers]
    body = [f"        x{node} = {sums[node]}" for node in nodes]
    return "\n".join([*lines, "", "    def forward(self, x0):", *body, f"        return {sums[3]}"])


def _layer(operation: str, *, inline: bool) -> str:
    return _POOL if operation == "avg_pool_3x3" else _convolution("C", "C", _KERNEL[operation], inline=inline)


def _convolution(channels_in: str, channels_out: str, kernel: int, *, inline: bool, stride: int = 1) -> str:
    step = f", stride={stride}" if stride > 1 else ""
    if not inline:
        return f"ReLUConvBN({channels_in}, {channels_out}, kernel_size={kernel}, padding={kernel // 2}{step})"
    convolution = f"nn.Conv2d({channels_in}, {channels_out}, {kernel}{step}, padding={kernel // 2}, bias=False)"
    return f"nn.Sequential(nn.ReLU(), {convolution}, nn.BatchNorm2d({channels_out}))"


def _network(*, inline: bool, classes: int = 10) -> str:
    return NETWORK.format(
        halving=_convolution("channels_in", "channels_out", 3, inline=inline, stride=2),
        keeping=_convolution("channels_out", "channels_out", 3, inline=inline),
        classes=classes,
    )
