"""Networks of TransNAS-Bench-101 as PyTorch text: what models read and embed, and `best.py` of a run folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from nas_agent.spaces.cell_graph import CellGraph
from nas_agent.spaces.class_text import ClassText, program

Stage = tuple[int, int, int]  # channels before and after, as multiples of the first, and the stride
_STEM = "a stem of two 3x3 convolutions of stride 2"
_HEAD = "then what the task needs, for a classification global average pooling and a linear layer"
MICRO_SKELETON = f"{_STEM}, five modules of two cells, the 1st, 3rd and 5th wider and smaller, {_HEAD}"
MACRO_SKELETON = f"{_STEM}, four to six modules of two residual blocks, {_HEAD}"
# configs/train_from_scratch of the benchmark's code.
RECIPE = (
    "batches of 128; classification and regression by SGD with Nesterov momentum 0.9, weight decay 0.0005 and a "
    "learning rate of 0.1 that falls along a cosine after a warm-up, for 25 epochs (jigsaw 10, segmentation 30); "
    "autoencoder and surface normals by Adam with an adversarial loss, for 30 epochs"
)
_SIDE = {"conv1x1": 1, "conv3x3": 3}
_NETWORK = '''class Network(Classifier):
    """Images (B, in_channels, H, W) -> logits (B, classes)."""

    def __init__(self, classes={classes}, in_channels=3, width=64):
        super().__init__(Encoder(width), {features} * width, classes, in_channels, width)'''


def micro_text(graph: CellGraph, stages: Sequence[Stage], *, inline: bool, live: bool, classes: int = 10) -> ClassText:
    """Write the cell, its live edges only or all but `none`; the row of modules belongs to the network."""
    cell = cell_source(graph, live=live, inline=inline)
    layers = ("Skip", "Zero") if inline else ("ReLUConvBN", "Skip", "Zero")
    helpers = tuple(_shared()[name] for name in layers if not inline or f"{name}(" in cell)
    return ClassText(helpers, cell, _network(stages, inline, classes, encoder_source(stages, "Cell")))


def macro_text(stages: Sequence[Stage], *, inline: bool, classes: int = 10) -> ClassText:
    """Write the row of modules."""
    encoder = _inline_encoder(stages) if inline else encoder_source(stages, "BasicBlock")
    helpers = () if inline else (_shared()["ReLUConvBN"], _shared()["BasicBlock"])
    return ClassText(helpers, encoder, _network(stages, inline, classes))


def cell_source(graph: CellGraph, *, live: bool = True, inline: bool = False) -> str:
    """Write a cell as a class; a block's input has its own channels and stride, all else is inside."""
    kept = graph.live() if live else tuple(edge.operation != "none" for edge in graph.edges)
    terms: dict[int, list[str]] = {1: [], 2: [], 3: []}
    layers = []
    for edge, used in zip(graph.edges, kept, strict=True):
        if not used:
            continue
        if edge.operation == "skip" and edge.start > 0:
            terms[edge.end].append(f"x{edge.start}")
            continue
        layer = f"op_{edge.start}_{edge.end}"
        layers.append(f"        self.{layer} = {_layer(edge.operation, edge.start == 0, inline)}")
        terms[edge.end].append(f"self.{layer}(x{edge.start})")
    sums = {node: " + ".join(terms[node]) or "self.zero(x0)" for node in terms if terms[node] or not live or node == 3}
    if "self.zero(x0)" in sums.values():
        layers.append("        self.zero = Zero(C, stride)")
    result = sums.pop(3)
    head = ["class Cell(nn.Module):", "    def __init__(self, C_in, C, stride):", "        super().__init__()"]
    body = [f"        x{node} = {added}" for node, added in sums.items()]
    return "\n".join([*head, *layers, "", "    def forward(self, x0):", *body, f"        return {result}"])


def encoder_source(stages: Sequence[Stage], block: str) -> str:
    """Write the row of modules, two blocks each, as a class."""
    lines = ["class Encoder(nn.Sequential):", "    def __init__(self, C):", "        super().__init__("]
    for inputs, outputs, stride in _blocks(stages):
        lines.append(f"            {block}({inputs}, {outputs}, stride={stride}),")
    return "\n".join([*lines, "        )"])


def module_source(text: str, found: ClassText) -> str:
    """Write the file of a network."""
    usage = "    from best import Network\n    logits = Network(classes=10)(torch.randn(2, 3, 32, 32))"
    header = f'"""A TransNAS-Bench-101 network found by nas-agent: {text}\n\n{usage}\n"""'
    return program(header, found.parts)


def _blocks(stages: Sequence[Stage]) -> list[tuple[str, str, int]]:
    """Return the channels of each block, in and out, as text, and its stride."""
    found = []
    for before, after, stride in stages:
        inputs, outputs = (f"{times} * C" if times > 1 else "C" for times in (before, after))
        found += [(inputs, outputs, stride), (outputs, outputs, 1)]
    return found


def _inline_encoder(stages: Sequence[Stage]) -> str:
    layers, body = [], []
    for place, (inputs, outputs, stride) in enumerate(_blocks(stages), 1):
        both = f"{_chain(inputs, outputs, 3, str(stride))}, {_chain(outputs, outputs, 3, '1')}"
        layers.append(f"        self.body_{place} = nn.Sequential({both})")
        shortcut = "x"
        if stride > 1 or inputs != outputs:
            projection = f"nn.Conv2d({inputs}, {outputs}, 1, {stride}, bias=False), nn.BatchNorm2d({outputs})"
            layers.append(f"        self.shortcut_{place} = nn.Sequential({projection})")
            shortcut = f"self.shortcut_{place}(x)"
        body.append(f"        x = self.body_{place}(x) + {shortcut}")
    lines = ["class Encoder(nn.Module):", "    def __init__(self, C):", "        super().__init__()", *layers]
    return "\n".join([*lines, "", "    def forward(self, x):", *body, "        return x"])


def _layer(operation: str, from_input: bool, inline: bool) -> str:
    channels, stride = ("C_in", "stride") if from_input else ("C", "1")
    if operation == "skip":
        return f"Skip({channels}, C, stride={stride})"
    if inline:
        return f"nn.Sequential({_chain(channels, 'C', _SIDE[operation], stride)})"
    return f"ReLUConvBN({channels}, C, kernel_size={_SIDE[operation]}, stride={stride})"


def _chain(inputs: str, outputs: str, kernel: int, stride: str) -> str:
    convolution = f"nn.Conv2d({inputs}, {outputs}, {kernel}, {stride}, padding={kernel // 2}, bias=False)"
    return f"nn.ReLU(), {convolution}, nn.BatchNorm2d({outputs})"


def _network(stages: Sequence[Stage], inline: bool, classes: int, *before: str) -> str:
    """Write the stem and the head around an encoder, and the encoder itself where it is given."""
    classifier = _shared()["Classifier"]
    if inline:
        stem = f"nn.Sequential({_chain('width // 2', 'width', 3, '2')})"
        classifier = classifier.replace("ReLUConvBN(width // 2, width, 3, 2)", stem)
    network = _NETWORK.format(classes=classes, features=stages[-1][1])
    return "\n\n\n".join([*before, classifier, network])


@lru_cache(maxsize=1)
def _shared() -> dict[str, str]:
    """Read the classes that the networks are built from, by name."""
    text = (files("nas_agent.spaces") / "trans101_parts.py").read_text(encoding="utf-8")
    _, *classes = text.strip().split("\n\n\nclass ")
    return {part.split("(")[0]: f"class {part}" for part in classes}
