"""The sixteen intents carried out on a syntax tree. Each takes a draft and gives a changed one, or says why it cannot.

What an intent gives need not fit together yet: sizes of the layers behind are mended from what the inspection wishes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import libcst as cst

from nas_agent.spaces.pytorch_activations import activation
from nas_agent.spaces.pytorch_additions import convolution, dropout, fully_connected, normalisation, pooling, recurrent
from nas_agent.spaces.pytorch_calls import NotHere, code
from nas_agent.spaces.pytorch_changes import Changes
from nas_agent.spaces.pytorch_draft import Draft
from nas_agent.spaces.pytorch_shortcuts import residual
from nas_agent.spaces.pytorch_widths import all_scaled, width

Change = Callable[[Draft, Random], Draft]
KEPT = ("Sequential", "ModuleList", "ModuleDict")  # what holds layers is none itself


def add_layer(draft: Draft, rng: Random) -> Draft:
    """Add a layer of any kind."""
    kinds = [convolution, convolution, fully_connected, pooling, dropout, normalisation, recurrent]
    return _first_of(rng.sample(kinds, len(kinds)), draft, rng)


def improve(draft: Draft, rng: Random) -> Draft:
    """Do what makes networks better more often than not (ours): deeper, wider, normalised, with a shortcut."""
    kinds = [convolution, normalisation, residual, activation, width]
    return _first_of(rng.sample(kinds, len(kinds)), draft, rng)


def _first_of(kinds: list[Change], draft: Draft, rng: Random) -> Draft:
    for kind in kinds:
        try:
            return kind(draft, rng)
        except NotHere as refused:
            last = refused
    raise last


def delete(draft: Draft, rng: Random) -> Draft:
    """Take one layer out, where it stands in a sequence or is called with one thing."""
    found: list[Callable[[], Draft]] = []
    for span, made in draft.layers.items():
        call, owner, attribute = draft.calls[span], draft.owner(draft.calls[span]), draft.attribute(draft.calls[span])
        if made[0].kind in KEPT or span == draft.head:
            continue
        if draft.in_sequence(call):
            found.append(lambda call=call: _dropped_in_sequence(draft, call))  # type: ignore[misc]
        elif attribute is not None and owner is not None and draft.uses(owner, attribute):
            found.append(lambda owner=owner, name=attribute: _dropped_attribute(draft, owner, name))  # type: ignore[misc]
    if not found:
        raise NotHere("no layer can be taken out: none is in a sequence or called as self.layer(x)")
    return rng.choice(found)()


def _dropped_in_sequence(draft: Draft, call: cst.Call) -> Draft:
    holder = draft.parent(call)
    outer = draft.parent(holder)
    assert isinstance(outer, cst.Call | cst.List)
    if len(outer.args if isinstance(outer, cst.Call) else outer.elements) < 2:
        return draft.changed(Changes(replaced={call: cst.parse_expression("nn.Identity()")}))
    return draft.changed(Changes(dropped={holder}))


def _dropped_attribute(draft: Draft, owner: cst.ClassDef, attribute: str) -> Draft:
    replaced: dict[cst.CSTNode, cst.BaseExpression] = {use: use.args[0].value for use in draft.uses(owner, attribute)}
    return without_idle(draft.changed(Changes(replaced=replaced)))


def without_idle(draft: Draft) -> Draft:
    """Drop layers that a constructor makes and no method names any more."""
    for _ in range(8):
        dropped: set[cst.CSTNode] = set()
        for owner in draft.tree.body:
            if isinstance(owner, cst.ClassDef):
                dropped |= _idle(owner)
        if not dropped:
            return draft
        draft = draft.changed(Changes(dropped=dropped))
    return draft


def _idle(owner: cst.ClassDef) -> set[cst.CSTNode]:
    text, found = code(owner), set[cst.CSTNode]()
    for part in owner.body.body:
        if not isinstance(part, cst.FunctionDef) or part.name.value != "__init__":
            continue
        for line in part.body.body:
            match = re.fullmatch(r"\s*self\.(\w+) = [^=].*\s*", code(line))
            if match and len(re.findall(rf"\bself\.{match[1]}\b", text)) == 1:
                found.add(line)
    return found


def smaller(draft: Draft, rng: Random) -> Draft:
    """Divide all widths by two or four; where none can be, pool, or take a layer out."""
    narrower = [lambda draft, rng: all_scaled(draft, rng.choice((0.5, 0.5, 0.25)))]
    others: list[Change] = [pooling, delete]
    return _first_of([*(narrower if rng.random() < 0.8 else []), *rng.sample(others, 2)], draft, rng)


def larger(draft: Draft, rng: Random) -> Draft:
    """Multiply all widths by two or three; where none can be, add a convolution or a fully connected layer."""
    wider = [lambda draft, rng: all_scaled(draft, rng.choice((2.0, 2.0, 3.0)))]
    others: list[Change] = [convolution, fully_connected]
    return _first_of([*(wider if rng.random() < 0.8 else []), *rng.sample(others, 2)], draft, rng)


SINGLE: dict[str, Change] = {
    "add layer": add_layer,
    "delete layer": delete,
    "improve": improve,
    "smaller": smaller,
    "larger": larger,
    "fully connected": fully_connected,
    "convolution": convolution,
    "pooling": pooling,
    "residual": residual,
    "dropout": dropout,
    "normalisation": normalisation,
    "recurrent": recurrent,
    "width": width,
    "activation": activation,
}
SEVERAL = {"multi-residual": (residual, 2)}  # how often it is carried out in a row
