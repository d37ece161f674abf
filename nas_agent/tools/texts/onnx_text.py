"""An architecture as the ONNX graph that torch.onnx exports, written as text.

    Cell(x0[1,8,8,8]):
      x1 = Relu(x0)
      x2 = Conv(x1, [8,8,3,3], [8], pads=[1,1,1,1])
      return x2

Weights are their shapes; attributes at their defaults are left out; values are numbered in the order of the graph.
Where the space names the cells that its networks repeat, these are exported, at a small width; else the network.
The exporter folds batch normalisation into convolutions and drops what does not reach the output.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas_agent.errors import InvalidArchitecture, MissingExtra
from nas_agent.records import Architecture
from nas_agent.spaces.base import Space
from nas_agent.spaces.class_text import BuildsCells

if TYPE_CHECKING:
    from torch import Tensor, nn

WIDTH = 8  # channels: enough to be divided among the vertices of any cell
SIDE, CLASSES = 32, 10  # of images, where a whole network is exported
LONGEST = 8  # numbers of a constant that are written; of a longer one its shape


def check_installed() -> None:
    """Raise MissingExtra where the exporter's package is missing."""
    if importlib.util.find_spec("onnx") is None:
        raise MissingExtra("onnx", "onnx", "the text 'onnx'")


@dataclass(frozen=True, slots=True)
class OnnxText:
    """The cells of an architecture, or its network, as exported."""

    name: str
    space: Space
    network: bool = False

    def __call__(self, architecture: Architecture) -> str:
        """Export and write; 20 ms a cell (benchmarks/texts.py). The state of torch's random numbers is left alone."""
        import torch

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            modules = self._modules(architecture)
            return "\n\n".join(
                "\n".join(_lines(name, _exported(module, inputs, architecture)))
                for name, (module, inputs) in modules.items()
            )

    def _modules(self, architecture: Architecture) -> Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        import torch

        if isinstance(self.space, BuildsCells) and not self.network:
            return self.space.cell_modules(architecture, width=WIDTH)
        network = self.space.network(architecture, classes=CLASSES, in_channels=3, width=WIDTH)
        return {"Network": (network, (torch.zeros(1, 3, SIDE, SIDE),))}


def _exported(module: nn.Module, inputs: tuple[Tensor, ...], architecture: Architecture) -> Any:
    """Return the graph. The exporter that traces takes 20 ms for a cell; that of torch.export takes seconds."""
    import onnx
    import torch

    file: Any = io.BytesIO()  # taken as any file is, though only paths are declared
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is not the default exporter, and it reports what it traces
            torch.onnx.export(module.eval(), inputs, file, dynamo=False)
    except Exception as error:  # the exporter passes on whatever the layers of any space, or torch itself, raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidArchitecture(
            f"{architecture.text[:200]!r} cannot be exported to ONNX ({reason}); embed another text than 'onnx'"
        ) from error
    return onnx.load_from_string(file.getvalue()).graph


def _lines(name: str, graph: Any) -> Iterator[str]:
    """Write a graph; an input that the network does not read is left out."""
    text = {weight.name: _shape(weight.dims) for weight in graph.initializer}
    inputs = [value for value in graph.input if value.name not in text]
    text.update({value.name: f"x{place}" for place, value in enumerate(inputs)})
    named = len(inputs)
    heads = (text[v.name] + _shape([d.dim_value for d in v.type.tensor_type.shape.dim]) for v in inputs)
    yield f"{name}({', '.join(heads)}):"
    for node in graph.node:
        if node.op_type == "Identity":  # the exporter's way to have equal weights once
            text[node.output[0]] = text[node.input[0]]
            continue
        if node.op_type == "Constant":
            text[node.output[0]] = _value(node.attribute[0])
            continue
        outputs = [output for output in node.output if output]
        for output in outputs:
            text[output] = f"x{named}"
            named += 1
        arguments = [text[given] if given else "None" for given in node.input] + list(_attributes(node))
        yield f"  {', '.join(text[output] for output in outputs)} = {node.op_type}({', '.join(arguments)})"
    yield f"  return {', '.join(text[value.name] for value in graph.output)}"


def _attributes(node: Any) -> Iterator[str]:
    """Write what differs from its default, in alphabetical order."""
    import onnx

    known = onnx.defs.get_schema(node.op_type, domain=node.domain).attributes
    for attribute in sorted(node.attribute, key=lambda attribute: str(attribute.name)):
        name, value = attribute.name, onnx.helper.get_attribute_value(attribute)
        default = known[name].default_value if name in known else None
        if default is not None and default.type and onnx.helper.get_attribute_value(default) == value:
            continue
        # Defaults that the standard has in words only; a convolution's kernel is the shape of its weights.
        if (name in ("dilations", "strides") and set(value) == {1}) or (name == "pads" and set(value) == {0}):
            continue
        if not (name == "kernel_shape" and node.op_type == "Conv"):
            yield f"{name}={_value(attribute)}"


def _value(attribute: Any) -> str:
    """Write an attribute; of a large tensor only the shape."""
    import onnx

    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, onnx.TensorProto):
        array = onnx.numpy_helper.to_array(value)
        value = array.tolist() if array.size <= LONGEST else _shape(array.shape)
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    return str(value).replace(" ", "") if not isinstance(value, float) else f"{value:g}"


def _shape(sides: Any) -> str:
    return f"[{','.join(map(str, sides))}]"
