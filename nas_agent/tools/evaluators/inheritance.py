"""A network begins with weights that its parents' trainings have left. Runs where the network is trained.

Inherited is what training changes: parameters with a gradient, and the running statistics of normalisation layers. What
a program computes for itself (other buffers, frozen parameters) is part of the program, and stays the child's own.

Matching (ours, after "weights are inherited wherever shapes match", Real et al., 2017), each parent in turn. By
`names`: tensors of one name and shape. By `order`: whole layers, those of one name first, then those that are left of
the same parameters and shapes, in the order in which both networks have them; at last single tensors by name. A layer
put into an nn.Sequential renames all behind it: by name, they would find the weights of others or none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nas_agent.records import Json

if TYPE_CHECKING:
    from torch import Tensor, nn

Shape = tuple[str, ...]  # number format and sizes, as texts
Source = tuple[int, str]  # which parent, and the name that the tensor has there
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def matched(own: Mapping[str, Shape], parents: Sequence[Mapping[str, Shape]], *, by_order: bool) -> dict[str, Source]:
    """Say where each tensor of a child begins; what is left out begins afresh. Both in the networks' order."""
    found: dict[str, Source] = {}
    if by_order:
        for named in (True, False):
            for number, parent in enumerate(parents):
                _whole_layers(found, own, number, parent, named=named)
    used = set(found.values())
    for number, parent in enumerate(parents):
        for name, shape in own.items():
            if name not in found and parent.get(name) == shape and (number, name) not in used:
                found[name] = number, name
    return found


def _whole_layers(
    found: dict[str, Source], own: Mapping[str, Shape], number: int, parent: Mapping[str, Shape], *, named: bool
) -> None:
    """Add layers of which nothing is found yet, from those of a parent of which nothing is used."""
    used = {name for which, name in found.values() if which == number}
    waiting: dict[object, list[str]] = {}
    for layer, inside in _layers(parent).items():
        if not any(_joined(layer, leaf) in used for leaf in inside):
            waiting.setdefault((layer if named else "", *inside.items()), []).append(layer)
    for layer, inside in _layers(own).items():
        alike = waiting.get((layer if named else "", *inside.items()))
        if alike and not any(_joined(layer, leaf) in found for leaf in inside):
            source = alike.pop(0)
            found |= {_joined(layer, leaf): (number, _joined(source, leaf)) for leaf in inside}


def _layers(tensors: Mapping[str, Shape]) -> dict[str, dict[str, Shape]]:
    """Group tensors by the layer that holds them, each layer's in the order of their names."""
    layers: dict[str, dict[str, Shape]] = {}
    for name, shape in tensors.items():
        layer, _, leaf = name.rpartition(".")
        layers.setdefault(layer, {})[leaf] = shape
    return {layer: dict(sorted(inside.items())) for layer, inside in layers.items()}


def _joined(layer: str, leaf: str) -> str:
    return f"{layer}.{leaf}" if layer else leaf


def take_over(network: nn.Module, files: Sequence[bytes], *, by_order: bool) -> Json:
    """Give a new network what its parents have left (files of `left`); return how many numbers it `taken` `of` all."""
    import torch
    from safetensors.torch import load

    own = _inheritable(network)
    parents = [{_name(key): tensor for key, tensor in sorted(load(file).items())} for file in files]
    found = matched(_shapes(own), [_shapes(parent) for parent in parents], by_order=by_order)
    with torch.no_grad():
        for name, (number, source) in found.items():
            own[name].copy_(parents[number][source])
    return {
        "taken": sum(own[name].numel() for name in found),
        "of": sum(tensor.numel() for tensor in own.values()),
    }


def left(network: nn.Module) -> bytes:
    """Return a network's trained weights as a safetensors file, whose names begin with their places."""
    from safetensors.torch import save

    tensors = enumerate(_inheritable(network).items())
    return save(
        {f"{place:06d} {name}": tensor.detach().cpu().clone().contiguous() for place, (name, tensor) in tensors}
    )


def _name(key: str) -> str:
    return key.partition(" ")[2]


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: (str(tensor.dtype), *map(str, tensor.shape)) for name, tensor in tensors.items()}


def _inheritable(network: nn.Module) -> dict[str, Tensor]:
    """Return what training changes, in the order of the network; shared tensors once."""
    from torch.nn.parameter import is_lazy

    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in network.state_dict(keep_vars=True).items():
        changes = tensor.requires_grad or name.rpartition(".")[2] in STATISTICS
        if changes and id(tensor) not in seen and not is_lazy(tensor):
            seen.add(id(tensor))
            found[name] = tensor
    return found
