"""Networks of TransNAS-Bench-101 as PyTorch text: what models read, and `best.py`, which needs nothing but torch."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from nas_agent.spaces.cell_graph import CellGraph

_LAYER = {"skip": "Skip({0})", "conv1x1": "ReLUConvBN({0})", "conv3x3": "ReLUConvBN({0})"}
_KERNEL = {"skip": "", "conv1x1": "kernel_size=1, ", "conv3x3": "kernel_size=3, "}
_NETWORK = '''class Network(Classifier):
    """Images (B, in_channels, H, W) -> logits (B, classes)."""

    def __init__(self, classes={classes}, in_channels=3, width=64):
        super().__init__(Encoder(width), {features} * width, classes, in_channels, width)
'''


def cell_source(graph: CellGraph) -> str:
    """Write a cell as a class; a block's input has its own channels and stride, all else is inside."""
    terms: dict[int, list[str]] = {1: [], 2: [], 3: []}
    layers = []
    for edge, alive in zip(graph.edges, graph.live(), strict=True):
        if not alive:
            continue
        if edge.operation == "skip" and edge.start > 0:
            terms[edge.end].append(f"x{edge.start}")
            continue
        shape = "C_in, C, {}stride=stride" if edge.start == 0 else "C, C, {}stride=1"
        arguments = shape.format(_KERNEL[edge.operation])
        layer = f"op_{edge.start}_{edge.end}"
        layers.append(f"        self.{layer} = {_LAYER[edge.operation].format(arguments)}")
        terms[edge.end].append(f"self.{layer}(x{edge.start})")
    if not terms[3]:
        layers = ["        self.zero = Zero(C, stride)"]
        terms = {1: [], 2: [], 3: ["self.zero(x0)"]}
    return "\n".join(
        [
            "class Cell(nn.Module):",
            "    def __init__(self, C_in, C, stride):",
            "        super().__init__()",
            *layers,
            "",
            "    def forward(self, x0):",
            *(f"        x{node} = {' + '.join(terms[node])}" for node in (1, 2) if terms[node]),
            f"        return {' + '.join(terms[3])}",
        ]
    )


def encoder_source(stages: Sequence[tuple[int, int, int]], block: str) -> str:
    """Write the row of modules, two blocks each, as a class."""
    lines = ["class Encoder(nn.Sequential):", "    def __init__(self, C):", "        super().__init__("]
    for before, after, stride in stages:
        inputs, outputs = (f"{times} * C" if times > 1 else "C" for times in (before, after))
        lines.append(f"            {block}({inputs}, {outputs}, stride={stride}),")
        lines.append(f"            {block}({outputs}, {outputs}, stride=1),")
    return "\n".join([*lines, "        )"])


def module_source(text: str, parts: Sequence[str], *, features: int, classes: int) -> str:
    """Write a file: the parts that every network is made of, what was found, and the network."""
    shared = (files("nas_agent.spaces") / "trans101_parts.py").read_text(encoding="utf-8")
    usage = "    from best import Network\n    logits = Network(classes=10)(torch.randn(2, 3, 32, 32))"
    head = f'"""A TransNAS-Bench-101 network found by nas-agent: {text}\n\n{usage}\n"""\n'
    network = _NETWORK.format(classes=classes, features=features)
    shared = shared[shared.index("import torch") :].strip()
    return "\n\n\n".join([f"{head}\n{shared}", *parts, network])
