"""The sixteen intents carried out on a syntax tree. Each takes a draft and gives a changed one, or says why it cannot.

What an intent gives need not fit together yet: sizes of the layers behind are mended from what the inspection wishes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

import libcst as cst

from nas_agent.spaces.inspection import Sizes
from nas_agent.spaces.pytorch_draft import (
    ARGUMENTS,
    LEAVING,
    SIZES,
    Changes,
    Draft,
    NotHere,
    argument_of,
    code,
    kind_of,
    needed,
    with_argument,
)

Change = Callable[[Draft, Random], Draft]
ACTIVATIONS = ("ReLU", "GELU", "SiLU", "LeakyReLU", "ELU", "Hardswish", "Tanh", "Mish")
_FUNCTIONS = {
    "relu": "ReLU", "gelu": "GELU", "silu": "SiLU", "leaky_relu": "LeakyReLU", "elu": "ELU", "tanh": "Tanh",
    "hardswish": "Hardswish", "mish": "Mish", "relu6": "ReLU6", "sigmoid": "Sigmoid",
}  # fmt: skip
_ACTING = {*ACTIVATIONS, "ReLU6", "Sigmoid", "PReLU", "CELU", "SELU", "Softplus"}
_UNSIZED = ("Pool2d", "Dropout", "Dropout2d", "Flatten", "Unflatten", "Upsample", "range")
KEPT = ("Sequential", "ModuleList", "ModuleDict")  # what holds layers is none itself
NARROWEST, WIDEST = 4, 512


def _insert(draft: Draft, rng: Random, make: Callable[[Sizes, Random], str | None], what: str) -> Draft:
    """Put a layer at a place drawn by chance among those that can take it."""
    found = [(slot, layer) for slot in draft.slots() if (layer := make(slot.shape, rng)) is not None]
    if not found:
        raise NotHere(f"there is no place for {what} whose input has one known shape")
    slot, layer = rng.choice(found)
    return slot.put(draft, layer)


def convolution(draft: Draft, rng: Random) -> Draft:
    """Add a convolution to a feature map, with or without normalisation and activation."""
    return _insert(draft, rng, _convolution, "a convolution: no feature map of several pixels")


def _convolution(shape: Sizes, rng: Random) -> str | None:
    if len(shape) != 3 or min(shape[1:]) < 1:
        return None
    channels = shape[0]
    leaving = rng.choice((8, 16, 24, 32)) if channels <= 4 else rng.choice((channels, channels, 2 * channels))
    leaving = min(leaving, 256)
    kernel = rng.choice((1, 3, 3, 3, 5) if min(shape[1:]) >= 5 else (1, 3) if min(shape[1:]) >= 2 else (1,))
    padding = f", padding={kernel // 2}" if kernel > 1 else ""
    layer = f"nn.Conv2d({channels}, {leaving}, {kernel}{padding})"
    return rng.choice(
        (
            layer,
            f"nn.Sequential({layer}, nn.ReLU())",
            f"nn.Sequential({layer}, nn.BatchNorm2d({leaving}), nn.ReLU())",
        )
    )


def fully_connected(draft: Draft, rng: Random) -> Draft:
    """Add a linear layer to a vector, or to each step of a sequence; the logits stay what they are."""
    return _insert(draft, rng, _linear, "a fully connected layer: no vector of features")


def _linear(shape: Sizes, rng: Random) -> str | None:
    if len(shape) not in (1, 2):
        return None
    leaving = rng.choice((16, 32, 64, 128))
    layer = f"nn.Linear({shape[-1]}, {leaving})"
    return rng.choice((layer, f"nn.Sequential({layer}, nn.ReLU())", f"nn.Sequential({layer}, nn.ReLU())"))


def pooling(draft: Draft, rng: Random) -> Draft:
    """Add a pooling of 2 x 2, or where maps are small one of 3 x 3 that keeps the size."""
    return _insert(draft, rng, _pooling, "a pooling layer: no feature map of several pixels")


def _pooling(shape: Sizes, rng: Random) -> str | None:
    if len(shape) != 3 or min(shape[1:]) < 2:
        return None
    same = ("nn.MaxPool2d(3, stride=1, padding=1)", "nn.AvgPool2d(3, stride=1, padding=1)")
    return rng.choice(same if min(shape[1:]) < 4 else ("nn.MaxPool2d(2)", "nn.AvgPool2d(2)", *same))


def dropout(draft: Draft, rng: Random) -> Draft:
    """Add dropout anywhere but to the logits."""

    def make(shape: Sizes, rng: Random) -> str:
        kind = "Dropout2d" if len(shape) == 3 and rng.random() < 0.3 else "Dropout"
        return f"nn.{kind}({rng.choice((0.05, 0.1, 0.2, 0.3))})"

    return _insert(draft, rng, make, "dropout")


def normalisation(draft: Draft, rng: Random) -> Draft:
    """Add the normalisation that suits the shape."""
    return _insert(draft, rng, _norm, "a normalisation layer")


def _norm(shape: Sizes, rng: Random) -> str | None:
    if len(shape) == 3:
        groups = next(g for g in (8, 4, 2, 1) if shape[0] % g == 0)
        return rng.choice((f"nn.BatchNorm2d({shape[0]})",) * 3 + (f"nn.GroupNorm({groups}, {shape[0]})",))
    if len(shape) == 1 and rng.random() < 0.5:
        return f"nn.BatchNorm1d({shape[0]})"
    return f"nn.LayerNorm({shape[-1]})" if len(shape) in (1, 2) and shape[-1] > 1 else None


def recurrent(draft: Draft, rng: Random) -> Draft:
    """Add an LSTM or GRU along each row of a feature map (as ReNet does), or the steps of a sequence."""
    return _insert(draft, rng, _recurrent, "a recurrent layer: no feature map and no sequence")


def _recurrent(shape: Sizes, rng: Random) -> str | None:
    cells, hidden = rng.choice(("nn.LSTM", "nn.GRU")), rng.choice((16, 32, 64))
    if len(shape) == 3 and shape[2] > 1:
        return f"Rows({cells}({shape[0]}, {hidden}, batch_first=True))"
    if len(shape) == 2 and shape[0] > 1:
        return f"Steps({cells}({shape[1]}, {hidden}, batch_first=True))"
    return None


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
        return _insert(draft, rng, lambda shape, rng: f"nn.{rng.choice(ACTIVATIONS)}()", "an activation")
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


def smaller(draft: Draft, rng: Random) -> Draft:
    """Divide all widths by two or four; where none can be, pool, or take a layer out."""
    narrower = [lambda draft, rng: _all_scaled(draft, rng.choice((0.5, 0.5, 0.25)))]
    others: list[Change] = [pooling, delete]
    return _first_of([*(narrower if rng.random() < 0.8 else []), *rng.sample(others, 2)], draft, rng)


def larger(draft: Draft, rng: Random) -> Draft:
    """Multiply all widths by two or three; where none can be, add a convolution or a fully connected layer."""
    wider = [lambda draft, rng: _all_scaled(draft, rng.choice((2.0, 2.0, 3.0)))]
    others: list[Change] = [convolution, fully_connected]
    return _first_of([*(wider if rng.random() < 0.8 else []), *rng.sample(others, 2)], draft, rng)


def _all_scaled(draft: Draft, factor: float) -> Draft:
    sizes = {size for size in _own_sizes(draft).values() if _scaled(size, factor) != size}
    if not sizes:
        raise NotHere("no layer but the last has a number of channels or features that can change so")
    return _renumbered(draft, {size: _scaled(size, factor) for size in sizes})


def _scaled(size: int, factor: float) -> int:
    if factor > 1:
        return max(size, min(WIDEST, max(8, 4 * round(size * factor / 4))))
    new = max(NARROWEST, 4 * round(size * factor / 4))
    return min(size, new)


def _own_sizes(draft: Draft) -> dict[tuple[int, int, int, int], int]:
    """Return the widths of layers whose own width it is to choose: not of the one that gives the logits."""
    found = {}
    for span, made in draft.layers.items():
        argument = LEAVING.get(made[0].kind)
        if argument is not None and span != draft.head:
            found[span] = made[0].given[argument]
    return found


def _resized(draft: Draft, sizes: dict[tuple[int, int, int, int], int]) -> Draft:
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


def residual(draft: Draft, rng: Random) -> Draft:
    """Add what goes into one layer, or into several statements in a row, to what comes out."""
    found = [*_around_statements(draft), *_around_layers(draft)]
    if not found:
        raise NotHere("no layer has a shape before and after it between which a shortcut could lead")
    return rng.choice(found)()


def _around_statements(draft: Draft) -> list[Callable[[], Draft]]:
    found: list[Callable[[], Draft]] = []
    for owner, method in draft.methods:
        lines = [(part, draft.inspection.points.get(draft.line(part), {})) for part in method.body.body]
        for i, (first, before) in enumerate(lines):
            for last, after in lines[i + 1 : i + 8]:
                for name, shape in before.items():
                    if name in after and (way := _way(shape, after[name])) is not None:
                        found.append(
                            lambda owner=owner, first=first, last=last, name=name, way=way: _shortcut(  # type: ignore[misc]
                                draft, owner, first, last, name, way
                            )
                        )
    return found


def _shortcut(draft: Draft, owner: cst.ClassDef, first: cst.CSTNode, last: cst.CSTNode, name: str, way: str) -> Draft:
    kept = draft.free_name("skip")
    made = {} if not way else {owner: [f"self.{draft.free_name('project')} = {way}"]}
    value = name if not way else f"self.{draft.free_name('project')}({name})"
    return draft.changed(Changes(before={first: [f"{kept} = {value}"], last: [f"{name} = {name} + {kept}"]}, made=made))


def _around_layers(draft: Draft) -> list[Callable[[], Draft]]:
    found: list[Callable[[], Draft]] = []
    for span, made in draft.layers.items():
        call, (entering, leaving) = draft.calls[span], draft.shape_at(span)
        if made[0].kind not in (*LEAVING, "Sequential") or entering is None or leaving is None or len(made) > 1:
            continue
        way = _way(entering, leaving)
        if way is None or made[0].kind in ("LSTM", "GRU", "RNN"):
            continue
        wrapped = f"Residual({code(call)}, {way or 'nn.Identity()'})"
        found.append(
            lambda call=call, wrapped=wrapped: draft.changed(  # type: ignore[misc]
                Changes(replaced={call: cst.parse_expression(wrapped)}, classes=needed(draft, wrapped))
            )
        )
    return found


def _way(before: Sizes, after: Sizes) -> str | None:
    """Return the layer that a shortcut needs: "" for none; None where it cannot lead there."""
    if len(before) != len(after):
        return None
    if before == after:
        return ""
    if len(before) == 1:
        return f"nn.Linear({before[0]}, {after[0]})" if after[0] <= WIDEST else None
    if len(before) != 3:
        return None
    stride = -(-before[1] // after[1])
    if any((size - 1) // stride + 1 != new for size, new in zip(before[1:], after[1:], strict=True)):
        return None
    strided = f", stride={stride}" if stride > 1 else ""
    return f"nn.Conv2d({before[0]}, {after[0]}, 1{strided})"


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
