"""The inspection of one text, in its own confined process: build, trace, count, train one step, compare.

The sandbox calls `inspect`; nothing here is trusted by who reads the answer. Importing this module warms torch up, so
that processes forked from one that has it begin at once.
"""

from __future__ import annotations

import json
import linecache
import traceback
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_agent.tools.inspection.trace import TooLong, Tracer, Whole
from nas_agent.tools.inspection.watch import FILE, LEAVING, Watch

LEAST_TRAINED = 0.9  # share of the weights that a gradient must reach


class Refused(Exception):
    """The text failed a step."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step, self.reason = step, reason


def inspect(payload: Any, blob: bytes) -> tuple[Any, bytes]:
    """Inspect a text; return its numbers, or the step it failed and why, and as bytes the lists that may be long."""
    warnings.simplefilter("ignore")
    watch = Watch()
    try:
        numbers, lists = _inspected(payload, watch)
    except Refused as refused:
        return {"step": refused.step, "reason": refused.reason, "wishes": watch.wishes[:200]}, b""
    return numbers, json.dumps(lists).encode()


def _inspected(payload: Any, watch: Watch) -> tuple[Any, Any]:
    text, shape = payload["text"], payload["shape"]
    linecache.cache[FILE] = (len(text), None, text.splitlines(True), FILE)
    scope: dict[str, Any] = {"__name__": "candidate"}
    _step("run", lambda: exec(compile(text, FILE, "exec"), scope))
    torch.manual_seed(0)
    network, numbers, lists = _traced(scope["Network"], payload["arguments"], shape, watch)
    _trained(network, shape)
    _evaluated(network, shape)
    return numbers, lists


def _traced(maker: Any, arguments: Any, shape: Any, watch: Watch) -> tuple[nn.Module, Any, Any]:
    """Build and run once, with what it computes and where its layers are."""

    def build() -> nn.Module:
        with watch.making():
            made = maker(**arguments)
        if not isinstance(made, nn.Module):
            raise TypeError("class Network is not derived from nn.Module")
        return made

    network = _step("build", build)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if parameters > shape["parameters"]:
        most = f"{shape['parameters']:,.0f}"
        raise Refused("limits", f"expected at most {most} parameters, got {parameters:,}; make layers narrower")
    images, tracer = _noise(2, shape), Tracer()
    tracer.leaf(images, "images")
    for parameter in network.parameters():
        tracer.leaf(parameter, "parameter")
    for buffer in network.buffers():
        tracer.leaf(buffer, "buffer")

    def run() -> Any:
        with torch.no_grad(), watch.using(), tracer, Whole(tracer):
            return network(images)

    logits = _step("forward", run)
    _check_logits(logits, 2, shape, watch)
    if watch.wishes:
        raise Refused("forward", _misfit(watch.wishes[0]))
    flops = tracer.flops // 2  # of one image of the two
    if flops > shape["flops"]:
        told = f"expected at most {shape['flops']:,.0f} multiply-adds an image, got {flops:,}"
        raise Refused("limits", f"{told}; make layers narrower, or pool earlier")
    lists = {
        "nodes": [*tracer.nodes, {"op": "logits", "attrs": [], "inputs": [tracer.node_of(logits)], "shape": []}],
        "layers": watch.layers(network),
        "points": {str(line): found for line, found in watch.points.items()},
    }
    return network, {"parameters": parameters, "flops": flops}, lists


def _trained(network: nn.Module, shape: Any) -> None:
    """Take the gradients of one step on noise."""
    images = _noise(4, shape)
    logits = _step("forward", lambda: network(images))
    _check_logits(logits, 4, shape, None)
    loss = functional.cross_entropy(logits, torch.arange(4) % shape["classes"])
    if not torch.isfinite(loss):
        raise Refused("finite", "its logits are not finite on the first batch; normalise, or scale sums down")
    _step("gradients", loss.backward)
    _check_gradients(network)


def _evaluated(network: nn.Module, shape: Any) -> None:
    """See that an image's logits are its own, and always the same, in evaluation mode."""
    network.eval()
    images = _noise(2, shape)
    with torch.no_grad():
        two, again = (_step("forward", lambda: network(images)) for _ in range(2))
        one = _step("forward", lambda: network(images[1:]))
    _check_logits(one, 1, shape, None)
    if not _close(two, again):
        raise Refused("evaluation", "in evaluation mode it gives other logits each time; make dropout an nn.Dropout")
    if not _close(two[1:], one):
        told = "the logits of an image change with the other images of its batch; keep the first axis apart"
        raise Refused("evaluation", f"{told}: give recurrent layers batch_first=True, take no mean or softmax over it")


def _noise(count: int, shape: Any) -> Tensor:
    return torch.randn(count, shape["channels"], shape["side"], shape["side"])


def _close(first: Tensor, second: Tensor) -> bool:
    return bool(torch.allclose(first, second, rtol=1e-2, atol=1e-3, equal_nan=True))


def _check_logits(logits: Any, count: int, shape: Any, watch: Watch | None) -> None:
    wanted = (count, shape["classes"])
    if not isinstance(logits, Tensor):
        raise Refused("shape", f"expected forward to return one tensor of logits, got {type(logits).__name__}")
    if tuple(logits.shape) == wanted:
        return
    if watch is not None and watch.last is not None and logits.dim() == 2 and logits.shape[0] == count:
        argument = LEAVING[type(watch.last)]
        if getattr(watch.last, argument) == logits.shape[1] and not hasattr(watch.last, "hidden_size"):
            watch.wish(watch.last, argument, shape["classes"])
    got = _shape(logits, count)
    images = f"(batch, {shape['channels']}, {shape['side']}, {shape['side']})"
    raise Refused(
        "shape",
        f"expected logits of the shape (batch, {shape['classes']}), got {got} for images of {images}; end in a linear "
        f"layer of {shape['classes']} outputs",
    )


def _shape(tensor: Tensor, count: int) -> str:
    first = "batch" if tensor.dim() and tensor.shape[0] == count else str(tensor.shape[0]) if tensor.dim() else ""
    return f"({', '.join([first, *map(str, tensor.shape[1:])])})"


def _check_gradients(network: nn.Module) -> None:
    weights = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    total = sum(weight.numel() for _, weight in weights)
    if not total:
        raise Refused("gradients", "it has no weights that can be trained; add a convolution or a linear layer")
    idle = [name for name, weight in weights if weight.grad is None]
    reached = sum(weight.numel() for _, weight in weights if weight.grad is not None)
    if reached < LEAST_TRAINED * total:
        told = ", ".join(idle[:4]) + (" ..." if len(idle) > 4 else "")
        raise Refused("gradients", f"no gradient reaches {told}; use these layers in forward, or leave them out")
    grads = [weight.grad for _, weight in weights if weight.grad is not None]
    if not all(bool(torch.isfinite(grad).all()) for grad in grads):
        raise Refused("finite", "a gradient is not finite on the first batch; normalise, or scale sums down")
    if not any(bool(grad.any()) for grad in grads):
        raise Refused("gradients", "all gradients are zero; let the logits depend on the weights")


def _misfit(wish: Any) -> str:
    line, kind = wish["span"][0], wish["kind"]
    return (
        f"line {line}: {_source(line)!r}: {kind} has {wish['argument']}={wish['had']}, and would fit with "
        f"{wish['argument']}={wish['value']}; change it"
    )


def _step(step: str, call: Any) -> Any:
    try:
        return call()
    except Refused:
        raise
    except TooLong as error:
        raise Refused("limits", str(error)) from error
    except Exception as error:  # a candidate's code may raise anything
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
        where = f"line {frames[-1].lineno}: {_source(frames[-1].lineno or 0)!r}: " if frames else ""
        told = " ".join(str(error).split())[:300]
        raise Refused(step, f"{where}{_PHASES[step]} raises {type(error).__name__}: {told}") from error


_PHASES = {
    "run": "the text itself", "build": "the constructor", "forward": "forward", "gradients": "the backward pass",
}  # fmt: skip


def _source(line: int) -> str:
    return linecache.getline(FILE, line).strip()[:120]


_EXAMPLE = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.rows = nn.LSTM(16, 4, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(4, 10)

    def forward(self, x):
        x = self.stem(x)
        x, _ = self.rows(x.permute(0, 2, 3, 1).flatten(2))
        return self.head(self.drop(x.mean(1)))
"""


def _warm() -> None:
    """Let torch load what it loads on first use; no gradient, since its engine does not survive a fork."""
    shape = {"classes": 10, "channels": 1, "side": 8, "parameters": 1e6, "flops": 1e6}
    scope: dict[str, Any] = {"__name__": "candidate"}
    exec(compile(_EXAMPLE, FILE, "exec"), scope)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _traced(scope["Network"], {}, shape, Watch())


_warm()
