"""What a network is, apart from how it is written: the traced operators as one hash, and as counts.

Nodes are those of `nas_agent.tools.inspection.trace`: {"op", "attrs", "inputs", "shape"}, the last one the logits. Two
texts have one hash where the operators that the logits depend on are the same, with their attributes, shapes and
wiring, and which of them share weights. The order within sums and products does not matter, nor does computing a thing
twice. What the hash does not see: how weights are initialised, and the numbers in constant tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nas_agent.records import Json

LEAVES = ("images", "parameter", "buffer", "constant")
RANDOM = ("aten.bernoulli", "aten.native_dropout", "aten.rand", "aten.randn", "aten.rand_like", "aten.randn_like")
COMMUTATIVE = ("aten.add", "aten.mul", "aten.maximum", "aten.minimum")
SAME_AS = {"aten._unsafe_view": "aten.view", "aten.reshape": "aten.view"}
KINDS = {
    "convolution": ("aten.convolution",),
    "linear": ("aten.addmm", "aten.mm"),
    "recurrent": ("lstm", "gru", "rnn_tanh", "rnn_relu"),
    "pooling": (
        "aten.max_pool2d_with_indices", "aten.avg_pool2d", "aten._adaptive_avg_pool2d", "aten.adaptive_max_pool2d",
        "aten.mean", "aten.amax",
    ),
    "normalisation": ("aten.native_batch_norm", "aten.native_layer_norm", "aten.native_group_norm"),
    "activation": (
        "aten.relu", "aten.gelu", "aten.silu", "aten.hardswish", "aten.leaky_relu", "aten.elu", "aten.tanh",
        "aten.mish", "aten.sigmoid", "aten.hardtanh", "aten.softplus", "aten._prelu_kernel", "aten.hardsigmoid",
    ),
    "dropout": ("aten.bernoulli", "aten.native_dropout"),
    "attention": ("aten._softmax", "aten._scaled_dot_product_flash_attention_for_cpu"),
}  # fmt: skip
_KIND = {op: kind for kind, ops in KINDS.items() for op in ops}
WEIGHTED = ("convolution", "linear", "recurrent")


@dataclass(frozen=True, slots=True)
class Profile:
    """A network in numbers."""

    identity: str  # ten hexadecimal digits
    counts: Counter[str]  # operators by kind, see KINDS; `skip`: sums and joins of two paths
    kernels: Counter[int]  # convolutions by the side of their kernel
    grouped: int  # convolutions in groups
    depth: int  # layers with weights on the longest path
    layers: int  # layers with weights in all
    width: int  # most channels or features that a layer gives
    activations: frozenset[str]  # kinds of them, e.g. "relu"
    places: int  # of the last feature map: its pixels, or steps
    operators: int


@dataclass(frozen=True, slots=True)
class _Node:
    op: str
    attrs: str
    inputs: tuple[int, ...]
    shape: tuple[int, ...]


def profile(nodes: Sequence[Json]) -> Profile:
    """Reduce a trace to its hash and numbers."""
    live = _live(nodes)
    counts: Counter[str] = Counter()
    kernels: Counter[int] = Counter()
    activations, grouped, width, places = set[str](), 0, 0, 1
    depths: list[int] = []  # -1: does not depend on the images
    for node in live:
        kind = _kind(node, live)
        below = max((depths[i] for i in node.inputs), default=-1)
        depth = 0 if node.op == "images" else below + (kind in WEIGHTED and below >= 0)
        depths.append(depth)
        if kind is None or depth < 0:
            continue
        counts[kind] += 1
        if kind == "convolution":
            attrs = json.loads(node.attrs)
            weight = live[node.inputs[1]].shape
            kernels[max(weight[2:], default=1)] += 1
            grouped += attrs[8] > 1
        if kind in WEIGHTED:
            width = max(width, node.shape[1] if kind == "convolution" else node.shape[-1])
        if kind == "activation":
            activations.add(node.op.removeprefix("aten.").removeprefix("_"))
        if kind in ("convolution", "recurrent"):
            places = _product(node.shape[2:] if kind == "convolution" else node.shape[1:2])
    for node in live:
        paths = {i for i in node.inputs if depths[i] >= 0}
        counts["skip"] += len(paths) > 1 and node.op in ("aten.add", "aten.cat", "aten.maximum")
    layers = sum(counts[kind] for kind in WEIGHTED)
    return Profile(
        _hash(live), counts, kernels, grouped, max(depths), layers, width, frozenset(activations), places, len(live)
    )


def _kind(node: _Node, live: Sequence[_Node]) -> str | None:
    kind = _KIND.get(node.op)
    if kind == "linear":  # a product of two activations is none
        weights = (live[i] for i in node.inputs)
        return kind if any(_is_weight(weight, live) for weight in weights) else None
    if node.op in ("aten.mean", "aten.amax"):  # over places, not over features or the batch
        return kind if len(node.shape) < len(live[node.inputs[0]].shape) or node.shape[2:] == (1, 1) else None
    return kind


def _is_weight(node: _Node, live: Sequence[_Node]) -> bool:
    while node.op in ("aten.t", "aten.transpose", "aten.view", "aten.permute", "aten.expand"):
        node = live[node.inputs[0]]
    return node.op == "parameter" and len(node.shape) >= 2


def _product(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total


def _live(nodes: Sequence[Json]) -> list[_Node]:
    """Return the nodes that the logits depend on, each value once, in an order in which inputs come first."""
    wanted, left = set[int](), [len(nodes) - 1]
    while left:
        number = left.pop()
        if number not in wanted:
            wanted.add(number)
            left.extend(nodes[number]["inputs"])
    found: list[_Node] = []
    place: dict[int, int] = {}
    known: dict[tuple[object, ...], int] = {}
    for number in sorted(wanted):
        data = nodes[number]
        op = SAME_AS.get(data["op"], str(data["op"]))
        inputs = tuple(place[i] for i in data["inputs"])
        shape = tuple(data["shape"])
        if op in ("aten.clone", "logits") or (op == "aten.view" and found[inputs[0]].shape == shape):
            place[number] = inputs[0]
            continue
        attrs = json.dumps([list(shape), 0] if op == "aten.view" else data["attrs"])
        node = _Node(op, attrs, _sorted(op, attrs, inputs), shape)
        key: tuple[object, ...] = (op, attrs, node.inputs)
        if op in LEAVES or op in RANDOM or key not in known:
            known[key] = len(found)
            found.append(node)
        place[number] = known[key]
    return found


def _sorted(op: str, attrs: str, inputs: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(inputs)) if _commutes(op, attrs, inputs) else inputs


def _commutes(op: str, attrs: str, inputs: Sequence[int]) -> bool:
    return op in COMMUTATIVE and len(inputs) == 2 and "alpha" not in attrs


def _hash(live: Sequence[_Node]) -> str:
    """Hash the graph: each node by what goes in, weights besides by what uses them, so that shared ones show."""
    used: list[list[str]] = [[] for _ in live]
    marks = [""] * len(live)
    for _ in range(2):
        for number, node in enumerate(live):
            ins = [marks[i] for i in node.inputs]
            ins = sorted(ins) if _commutes(node.op, node.attrs, node.inputs) else ins
            about = sorted(used[number]) if node.op in LEAVES else []
            marks[number] = _digest([node.op, node.attrs, list(node.shape), ins, about])
        used = [[] for _ in live]
        for number, node in enumerate(live):
            for argument, i in enumerate(node.inputs):
                used[i].append(f"{marks[number]}{0 if _commutes(node.op, node.attrs, node.inputs) else argument}")
    return _digest([marks[-1], sorted(marks)])[:10]


def _digest(thing: object) -> str:
    return hashlib.sha256(json.dumps(thing).encode()).hexdigest()
