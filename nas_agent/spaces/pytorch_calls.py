"""Calls that make layers, as LibCST reads them: their names and their arguments."""

from __future__ import annotations

import libcst as cst

# Arguments of constructors in their order, as far as sizes of layers are set.
ARGUMENTS = {
    "Conv2d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "Conv1d": ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    "ConvTranspose2d": ("in_channels", "out_channels"),
    "Linear": ("in_features", "out_features"),
    "BatchNorm2d": ("num_features",),
    "BatchNorm1d": ("num_features",),
    "InstanceNorm2d": ("num_features",),
    "GroupNorm": ("num_groups", "num_channels"),
    "LayerNorm": ("normalized_shape",),
    "LSTM": ("input_size", "hidden_size"),
    "GRU": ("input_size", "hidden_size"),
    "RNN": ("input_size", "hidden_size"),
    "PReLU": ("num_parameters",),
}
SIZES = (
    "in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels", "normalized_shape",
    "input_size", "hidden_size",
)  # fmt: skip
LEAVING = {
    "Conv2d": "out_channels", "Conv1d": "out_channels", "Linear": "out_features", "LSTM": "hidden_size",
    "GRU": "hidden_size", "RNN": "hidden_size",
}  # fmt: skip


class NotHere(Exception):
    """A change that cannot be made to this text; the message says why."""


def base_name(layer: str) -> str:
    """Name an attribute after the layer that it holds."""
    kind = layer.partition("(")[0].rpartition(".")[2].lower()
    names = {"conv2d": "conv", "batchnorm2d": "norm", "batchnorm1d": "norm", "layernorm": "norm", "groupnorm": "norm",
             "maxpool2d": "pool", "avgpool2d": "pool", "dropout2d": "dropout", "sequential": "block"}  # fmt: skip
    return names.get(kind, kind)


def kind_of(call: cst.Call) -> str:
    """Return the last part of the name of what is called, e.g. "Conv2d"."""
    match call.func:
        case cst.Attribute(attr=name) | (cst.Name() as name):
            return name.value
    return ""


def code(node: cst.CSTNode) -> str:
    """Write a node as text."""
    return cst.Module([]).code_for_node(node)


def argument_of(call: cst.Call, argument: str) -> cst.Arg | None:
    """Return an argument of the call that makes a layer, by keyword or place; None where it is left to its default."""
    for given in call.args:
        if given.keyword is not None and given.keyword.value == argument:
            return given
    order = ARGUMENTS.get(kind_of(call), ())
    if argument not in order:
        raise NotHere(f"a layer is made by '{kind_of(call)}', whose arguments are not known")
    place = order.index(argument)
    plain = [given for given in call.args if given.keyword is None]
    return plain[place] if place < len(plain) and not any(given.star for given in plain) else None


def with_argument(call: cst.CSTNode, argument: str, value: str) -> cst.Call:
    """Return the call with one argument set."""
    assert isinstance(call, cst.Call)
    given, new = argument_of(call, argument), cst.parse_expression(value)
    if given is not None:
        return call.with_changes(args=[a.with_changes(value=new) if a is given else a for a in call.args])
    return call.with_changes(args=[*call.args, cst.Arg(new, keyword=cst.Name(argument), equal=_EQUAL)])


_EQUAL = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))
