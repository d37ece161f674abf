"""What a network computes, as a list of operators: recorded while it runs.

A node is {"op", "attrs", "inputs", "shape"}; `inputs` are places in the list, as often as they are used. Operators are
those of ATen, below functions and modules, so that nn.ReLU, F.relu and x.relu() are one; recurrent layers stay whole.
What changes a tensor in place becomes its new value for all that look at its memory. Runs in the sandbox only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

MOST = 10_000  # nodes of a graph
_RECURRENT = {getattr(torch._VF, name): name for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_SAME = ("aten.detach", "aten.alias", "aten.lift_fresh", "aten.contiguous")  # the value that goes in


class TooLong(ValueError):
    """A network of more operators than anything that is searched for."""


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch
    """Records every operator; use it together with `Whole`, which keeps recurrent layers in one piece."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.nodes: list[dict[str, Any]] = []
        self.flops = 0
        self.paused = False
        self._node: dict[int, int] = {}  # id of a tensor -> its node
        self._kept: list[Tensor] = []  # so that no id is used twice
        self._memory: dict[int, list[Tensor]] = {}  # storage -> tensors that look at it

    def leaf(self, tensor: Tensor, kind: str) -> int:
        """Add a tensor that no operator has made."""
        return self._add({"op": kind, "attrs": [str(tensor.dtype)], "inputs": [], "shape": list(tensor.shape)}, tensor)

    def node_of(self, tensor: Tensor) -> int:
        """Return the node of a tensor; one that is not known is a constant."""
        found = self._node.get(id(tensor))
        return self.leaf(tensor, "constant") if found is None else found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and record it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self.paused:
            return out
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **kwargs, out_val=out)) // 2
        self._record(str(func._overloadpacket), args, kwargs, out)
        return out

    def whole(self, name: str, args: Any, out: Any) -> None:
        """Record a recurrent layer."""
        self._record(name, args, {}, out)
        self.flops += _recurrent_flops(name, args)

    def _record(self, name: str, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        inputs: list[int] = []
        attrs = [self._plain(value, inputs) for value in args]
        attrs += [[key, self._plain(value, inputs)] for key, value in sorted(kwargs.items()) if key not in _UNTOLD]
        outs = [one for one in (out if isinstance(out, tuple | list) else (out,)) if isinstance(one, Tensor)]
        given = [one for one in _tensors(args) if any(one is other for other in outs)]
        if name in _SAME and inputs and len(outs) == 1:
            self._know(outs[0], inputs[0])
            return
        for place, one in enumerate(outs):
            node = {"op": name.removesuffix("_"), "attrs": [*attrs, place], "inputs": inputs, "shape": list(one.shape)}
            if any(one is other for other in given):
                self._overwrite(one, node)
            else:
                self._add(node, one)
        if not outs and name.endswith("_") and _tensors(args):  # copies and fills that return nothing
            self._overwrite(_tensors(args)[0], {"op": name, "attrs": attrs, "inputs": inputs, "shape": []})

    def _overwrite(self, tensor: Tensor, node: dict[str, Any]) -> None:
        """Give the tensor its new value, and every other view of its memory one that follows from it."""
        number = self._add(node, tensor)
        for other in self._memory.get(_storage(tensor), []):
            if other is not tensor and other.numel():
                after = {"op": "after", "attrs": [], "inputs": [self._node[id(other)], number]}
                self._add({**after, "shape": list(other.shape)}, other)

    def _add(self, node: dict[str, Any], tensor: Tensor) -> int:
        if len(self.nodes) >= MOST:
            raise TooLong(f"it computes more than {MOST} operators; use fewer layers and shorter loops")
        self.nodes.append(node)
        self._know(tensor, len(self.nodes) - 1)
        return len(self.nodes) - 1

    def _know(self, tensor: Tensor, number: int) -> None:
        if id(tensor) not in self._node:
            self._kept.append(tensor)
            self._memory.setdefault(_storage(tensor), []).append(tensor)
        self._node[id(tensor)] = number

    def _plain(self, value: Any, inputs: list[int]) -> Any:
        """Write an argument as JSON; a tensor as "x", and its node goes to the inputs."""
        if isinstance(value, Tensor):
            inputs.append(self.node_of(value))
            return "x"
        if isinstance(value, list | tuple):
            return [self._plain(item, inputs) for item in value]
        if value is None or isinstance(value, bool | int | str):
            return value
        return round(value, 9) if isinstance(value, float) and value == value else str(value)


_UNTOLD = ("device", "pin_memory", "layout", "memory_format")  # where and how, not what


class Whole(TorchFunctionMode):
    """Keeps recurrent layers in one piece, which is not one operator everywhere."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the function, quietly where it is a recurrent layer."""
        name = _RECURRENT.get(func)
        if name is None or self._tracer.paused:
            return func(*args, **(kwargs or {}))
        self._tracer.paused = True
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self._tracer.paused = False
        self._tracer.whole(name, args, out)
        return out


def _recurrent_flops(name: str, args: Any) -> int:
    """Count the products with the weight matrices, each once for each step and image."""
    steps = args[0].numel() // args[0].shape[-1]
    return sum(steps * weight.numel() for weight in _tensors(args[2:]) if weight.dim() == 2)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [one for item in value for one in _tensors(item)] if isinstance(value, list | tuple) else []


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
