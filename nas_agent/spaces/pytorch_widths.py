"""Intents that change how wide layers are: one of them, all of one size, or all."""

from __future__ import annotations

from random import Random

import libcst as cst

from nas_agent.spaces.inspection import Span
from nas_agent.spaces.pytorch_calls import ARGUMENTS, LEAVING, SIZES, NotHere, argument_of, kind_of, with_argument
from nas_agent.spaces.pytorch_changes import Changes
from nas_agent.spaces.pytorch_draft import Draft

_UNSIZED = ("Pool2d", "Dropout", "Dropout2d", "Flatten", "Unflatten", "Upsample", "range")
NARROWEST, WIDEST = 4, 512


def width(draft: Draft, rng: Random) -> Draft:
    """Give one layer, or all layers of one size, another number of channels or features."""
    factor = rng.choice((0.5, 0.75, 1.5, 2.0))
    sizes = _own_sizes(draft)
    if not sizes:
        raise NotHere("no layer but the last has a number of channels or features that is written out")
    span, size = rng.choice(sorted(sizes.items()))
    if rng.random() < 0.5:
        return _resized(draft, {span: _scaled(size, factor)})
    return _renumbered(draft, {size: _scaled(size, factor)})


def all_scaled(draft: Draft, factor: float) -> Draft:
    """Multiply every width, by the numbers that say them."""
    sizes = {size for size in _own_sizes(draft).values() if _scaled(size, factor) != size}
    if not sizes:
        raise NotHere("no layer but the last has a number of channels or features that can change so")
    return _renumbered(draft, {size: _scaled(size, factor) for size in sizes})


def _scaled(size: int, factor: float) -> int:
    if factor > 1:
        return max(size, min(WIDEST, max(8, 4 * round(size * factor / 4))))
    new = max(NARROWEST, 4 * round(size * factor / 4))
    return min(size, new)


def _own_sizes(draft: Draft) -> dict[Span, int]:
    """Return the widths of layers whose own width it is to choose: not of the one that gives the logits."""
    found = {}
    for span, made in draft.layers.items():
        argument = LEAVING.get(made[0].kind)
        if argument is not None and span != draft.head:
            found[span] = made[0].given[argument]
    return found


def _resized(draft: Draft, sizes: dict[Span, int]) -> Draft:
    replaced: dict[cst.CSTNode, cst.BaseExpression] = {}
    for span, size in sizes.items():
        call = draft.calls[span]
        given = argument_of(call, LEAVING[kind_of(call)]) if kind_of(call) in LEAVING else None
        if given is None or not isinstance(given.value, cst.Integer):
            raise NotHere("the width of this layer is not written as a number where it is made")
        replaced[call] = with_argument(call, LEAVING[kind_of(call)], str(size))
    return draft.changed(Changes(replaced=replaced))


def _renumbered(draft: Draft, sizes: dict[int, int]) -> Draft:
    """Replace numbers wherever layers are made: what depends on a width mostly does so by the same number."""
    tree = draft.tree.visit(_Renumbered({str(old): str(new) for old, new in sizes.items()}))
    assert isinstance(tree, cst.Module)
    return Draft(tree.code, draft.inspection)


class _Renumbered(cst.CSTTransformer):
    """Replaces whole numbers outside of `forward` that may be widths; of layers, only those that are."""

    def __init__(self, numbers: dict[str, str]) -> None:
        self._numbers = numbers

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:
        return node.name.value != "forward"

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        """Of a layer, only widths may change: the rest is put back."""
        kind = kind_of(original_node)
        if kind.endswith(_UNSIZED):
            return original_node
        if kind not in ARGUMENTS:
            return updated_node
        sized = [argument_of(original_node, name) for name in ARGUMENTS[kind] if name in SIZES]
        pairs = zip(original_node.args, updated_node.args, strict=True)
        return updated_node.with_changes(args=[new if old in sized else old for old, new in pairs])

    def leave_Integer(self, original_node: cst.Integer, updated_node: cst.Integer) -> cst.Integer:
        if original_node.value in self._numbers:
            return updated_node.with_changes(value=self._numbers[original_node.value])
        return updated_node
