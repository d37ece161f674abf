"""The intent that exchanges activations, made as layers or called as functions."""

from __future__ import annotations

from random import Random

import libcst as cst

from nas_agent.spaces.pytorch_additions import insert
from nas_agent.spaces.pytorch_calls import NotHere, code, kind_of
from nas_agent.spaces.pytorch_changes import Changes
from nas_agent.spaces.pytorch_draft import Draft

ACTIVATIONS = ("ReLU", "GELU", "SiLU", "LeakyReLU", "ELU", "Hardswish", "Tanh", "Mish")
_FUNCTIONS = {
    "relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "leaky_relu": "LeakyReLU", "elu": "ELU", "tanh": "Tanh",
    "hardswish": "Hardswish", "mish": "Mish", "relu6": "ReLU6", "sigmoid": "Sigmoid",
}  # fmt: skip
_ACTING = {*ACTIVATIONS, "ReLU6", "Sigmoid", "PReLU", "CELU", "SELU", "Softplus"}


def activation(draft: Draft, rng: Random) -> Draft:
    """Exchange one activation or all of them for another kind; where there is none, add one."""
    found: list[tuple[cst.Call, str]] = []
    for call in draft.calls.values():
        kind = kind_of(call)
        if kind in _ACTING and not _names_self(call):
            found.append((call, kind))
        elif kind in _FUNCTIONS and not _names_self(call):
            found.append((call, _FUNCTIONS[kind]))
    if not found:
        return insert(draft, rng, lambda shape, rng: f"nn.{rng.choice(ACTIVATIONS)}()", "an activation")
    chosen = found if rng.random() < 0.5 else [rng.choice(found)]
    new = rng.choice([kind for kind in ACTIVATIONS if any(kind != old for _, old in chosen)])
    return draft.changed(Changes(replaced={call: _acting(call, new) for call, _ in chosen}))


def _acting(call: cst.Call, new: str) -> cst.BaseExpression:
    if kind_of(call) in _ACTING:
        return cst.parse_expression(f"nn.{new}()")
    function = next(name for name, kind in _FUNCTIONS.items() if kind == new)
    owner = call.func.value if isinstance(call.func, cst.Attribute) else None
    module = (isinstance(owner, cst.Name) and owner.value in ("F", "torch", "functional")) or (
        owner is not None and code(owner) == "nn.functional"
    )
    argument = code(call.args[0].value) if module and call.args else None if owner is None else code(owner)
    if argument is None:
        raise NotHere("an activation is called in a way that cannot be read")
    return cst.parse_expression(f"nn.functional.{function}({argument})")


def _names_self(call: cst.Call) -> bool:
    return isinstance(call.func, cst.Attribute) and code(call.func.value) == "self"
