"""A network's text as a syntax tree (LibCST) that can be changed: where its layers are made and used, and how.

The text is plain (one statement a line), so that lines and columns of the inspection are places in the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

from nas_agent.spaces.inspection import Inspection, Layer, Sizes, Span, Wish

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


@dataclass(frozen=True, slots=True)
class Slot:
    """A place where one more layer can stand."""

    shape: Sizes  # of what would go through it
    put: Callable[[Draft, str], Draft]  # given the call that makes the layer
    line: int  # of the text


@dataclass
class Draft:
    """A text, and what its inspection said."""

    text: str
    inspection: Inspection

    @cached_property
    def _wrapper(self) -> MetadataWrapper:
        return MetadataWrapper(cst.parse_module(self.text), unsafe_skip_copy=True)

    @cached_property
    def tree(self) -> cst.Module:
        """The syntax tree."""
        return self._wrapper.module

    @cached_property
    def _places(self) -> dict[cst.CSTNode, Span]:
        found = self._wrapper.resolve(PositionProvider)
        return {
            node: (at.start.line, at.start.column, at.end.line, at.end.column) for node, at in found.items()
        }  # fmt: skip

    @cached_property
    def _parents(self) -> dict[cst.CSTNode, cst.CSTNode]:
        return dict(self._wrapper.resolve(ParentNodeProvider))

    @cached_property
    def calls(self) -> dict[Span, cst.Call]:
        """Every call by its place."""
        return {span: node for node, span in self._places.items() if isinstance(node, cst.Call)}

    @cached_property
    def layers(self) -> dict[Span, list[Layer]]:
        """The layers by the calls that make them: more than one where a class or a loop makes several."""
        found: dict[Span, list[Layer]] = {}
        for layer in self.inspection.layers:
            if layer.span in self.calls:
                found.setdefault(layer.span, []).append(layer)
        return found

    @cached_property
    def head(self) -> Span | None:
        """The call that makes the last layer, as far as one can see: the last that gives what the logits are."""
        nodes = self.inspection.nodes
        logits = tuple(nodes[nodes[-1]["inputs"][0]]["shape"][1:])
        return max((span for span in self.layers if self.shape_at(span)[1] == logits), default=None)

    @cached_property
    def methods(self) -> list[tuple[cst.ClassDef, cst.FunctionDef]]:
        """Every method but constructors."""
        return [
            (owner, part)
            for owner in self.tree.body
            if isinstance(owner, cst.ClassDef)
            for part in owner.body.body
            if isinstance(part, cst.FunctionDef) and part.name.value != "__init__"
        ]

    def line(self, node: cst.CSTNode) -> int:
        """Return the line of a node."""
        return self._places[node][0]

    def parent(self, node: cst.CSTNode) -> cst.CSTNode:
        """Return what a node is a part of."""
        return self._parents[node]

    def shape_at(self, span: Span) -> tuple[Sizes | None, Sizes | None]:
        """Return what goes into and comes out of the layers of a call, where it is the same for all of them."""
        seen = {(layer.entering, layer.leaving) for layer in self.layers.get(span, [])}
        return next(iter(seen)) if len(seen) == 1 else (None, None)

    def owner(self, node: cst.CSTNode) -> cst.ClassDef | None:
        """Return the class in which a node stands."""
        while not isinstance(node, cst.ClassDef | cst.Module):
            node = self._parents[node]
        return node if isinstance(node, cst.ClassDef) else None

    def attribute(self, call: cst.Call) -> str | None:
        """Return the name of `self` under which the constructor keeps what a call makes."""
        above = self._parents[call]
        if isinstance(above, cst.Assign) and len(above.targets) == 1:
            return _of_self(above.targets[0].target)
        return None

    def uses(self, owner: cst.ClassDef, attribute: str) -> list[cst.Call]:
        """Return the calls self.attribute(one thing) in the methods of a class."""
        found = []
        for span, call in self.calls.items():
            inside = self.owner(call) is owner and _of_self(call.func) == attribute and len(call.args) == 1
            if inside and call.args[0].star == "" and call.args[0].keyword is None:
                found.append((span, call))
        return [call for _, call in sorted(found, key=lambda item: item[0])]

    def free_name(self, base: str) -> str:
        """Return a name that the text does not have yet."""
        number = 1
        while f"{base}{number}" in self.text:
            number += 1
        return f"{base}{number}"

    def changed(self, changes: Changes) -> Draft:
        """Return the text with changes; its inspection is still the one from before."""
        return Draft(self.tree.visit(_Apply(changes)).code, self.inspection)

    def slots(self) -> list[Slot]:
        """Return every place for one more layer whose input has one known shape."""
        return [*self._between_statements(), *self._around_calls(), *self._in_sequences()]

    def _between_statements(self) -> Iterator[Slot]:
        for owner, method in self.methods:
            for statement in method.body.body:
                line = self._places[statement][0]
                for name, shape in self.inspection.points.get(line, {}).items():
                    if (line, name) in self._read:
                        yield Slot(shape, _before(owner, statement, name), line)

    @cached_property
    def _read(self) -> set[tuple[int, str]]:
        """Lines and the variables that they read: only before these does one more layer make a difference for sure."""
        names = ((node, span[0]) for node, span in self._places.items() if isinstance(node, cst.Name))
        return {(line, node.value) for node, line in names if not isinstance(self._parents[node], cst.AssignTarget)}

    def _around_calls(self) -> Iterator[Slot]:
        for span, made in self.layers.items():
            call, (entering, shape) = self.calls[span], self.shape_at(span)
            owner, attribute = self.owner(call), self.attribute(call)
            if owner is None or attribute is None or shape is None or made[0].kind in ("LSTM", "GRU", "RNN"):
                continue
            for use in self.uses(owner, attribute):
                if span == self.head and entering is not None:
                    yield Slot(entering, _wrap(owner, use.args[0].value), self._places[use][0])
                if made[0].calls == 1 and span != self.head:
                    yield Slot(shape, _wrap(owner, use), self._places[use][0])

    def _in_sequences(self) -> Iterator[Slot]:
        for span in self.layers:
            call, shape = self.calls[span], self.shape_at(span)[1]
            if shape is not None and self.in_sequence(call) and span != self.head:
                yield Slot(shape, _after(self._parents[call]), span[0])

    def in_sequence(self, call: cst.Call) -> bool:
        """Tell whether a call stands in a list of layers, one after the other."""
        above = self._parents[call]
        if isinstance(above, cst.Element):
            return isinstance(self._parents[above], cst.List)
        if isinstance(above, cst.Arg):
            outer = self._parents[above]
            return isinstance(outer, cst.Call) and kind_of(outer) == "Sequential"
        return False

    def granted(self, wishes: Sequence[Wish]) -> Draft:
        """Give layers the sizes that make the network fit together; NotHere where one call makes unlike ones."""
        wanted: dict[tuple[Span, str], set[int]] = {}
        for wish in wishes:
            wanted.setdefault((wish.span, wish.argument), set()).add(wish.value)
        replaced: dict[cst.CSTNode, cst.BaseExpression] = {}
        for span, argument in wanted:
            values = wanted[span, argument]
            call = self.calls.get(span)
            if call is None or len(values) > 1:
                raise NotHere("layers that one call makes would need different sizes")
            replaced[call] = with_argument(replaced.get(call, call), argument, str(values.pop()))
        return self.changed(Changes(replaced=replaced))


@dataclass
class Changes:
    """What is to be changed in a tree, by its nodes."""

    before: dict[cst.CSTNode, list[str]] = field(default_factory=dict)  # statements to put before a statement
    made: dict[cst.ClassDef, list[str]] = field(default_factory=dict)  # statements at the end of a constructor
    replaced: dict[cst.CSTNode, cst.BaseExpression] = field(default_factory=dict)
    after: dict[cst.CSTNode, str] = field(default_factory=dict)  # expression to put after an argument or element
    dropped: set[cst.CSTNode] = field(default_factory=set)  # statements, arguments and elements
    classes: list[str] = field(default_factory=list)  # texts of classes to put before the others


class _Apply(cst.CSTTransformer):
    def __init__(self, changes: Changes) -> None:
        self._do = changes

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> object:  # type: ignore[override]
        do = self._do
        if original_node in do.dropped:
            return cst.RemoveFromParent()
        if original_node in do.replaced:
            return do.replaced[original_node]
        if original_node in do.before:
            return cst.FlattenSentinel([*map(cst.parse_statement, do.before[original_node]), updated_node])
        if original_node in do.after:
            assert isinstance(updated_node, cst.Arg | cst.Element)
            new = updated_node.with_changes(value=cst.parse_expression(do.after[original_node]))
            first = updated_node.with_changes(comma=cst.Comma(cst.SimpleWhitespace(""), cst.SimpleWhitespace(" ")))
            return cst.FlattenSentinel([first, new])
        if isinstance(original_node, cst.ClassDef) and original_node in do.made:
            assert isinstance(updated_node, cst.ClassDef)
            return _with_layers(updated_node, do.made[original_node])
        if isinstance(updated_node, cst.Module) and do.classes:
            return _with_classes(updated_node, do.classes)
        return updated_node


def _with_layers(owner: cst.ClassDef, lines: Sequence[str]) -> cst.ClassDef:
    parts = list(owner.body.body)
    for number, part in enumerate(parts):
        if isinstance(part, cst.FunctionDef) and part.name.value == "__init__":
            body = [*part.body.body, *map(cst.parse_statement, lines)]
            parts[number] = part.with_changes(body=part.body.with_changes(body=body))
            return owner.with_changes(body=owner.body.with_changes(body=parts))
    raise NotHere(f"class {owner.name.value} has no constructor to make a layer in")


def _with_classes(tree: cst.Module, texts: Sequence[str]) -> cst.Module:
    body = list(tree.body)
    first = next(number for number, part in enumerate(body) if isinstance(part, cst.ClassDef))
    new = [cst.ensure_type(cst.parse_statement(text), cst.ClassDef) for text in texts]
    return tree.with_changes(body=[*body[:first], *new, *body[first:]])


def _before(owner: cst.ClassDef, statement: cst.CSTNode, name: str) -> Callable[[Draft, str], Draft]:
    def put(draft: Draft, layer: str) -> Draft:
        attribute = draft.free_name(base_name(layer))
        return draft.changed(
            Changes(
                before={statement: [f"{name} = self.{attribute}({name})"]},
                made={owner: [f"self.{attribute} = {layer}"]},
                classes=needed(draft, layer),
            )
        )

    return put


def _wrap(owner: cst.ClassDef, use: cst.BaseExpression) -> Callable[[Draft, str], Draft]:
    def put(draft: Draft, layer: str) -> Draft:
        attribute = draft.free_name(base_name(layer))
        new = cst.parse_expression(f"self.{attribute}({code(use)})")
        return draft.changed(
            Changes(replaced={use: new}, made={owner: [f"self.{attribute} = {layer}"]}, classes=needed(draft, layer))
        )

    return put


def _after(node: cst.CSTNode) -> Callable[[Draft, str], Draft]:
    def put(draft: Draft, layer: str) -> Draft:
        return draft.changed(Changes(after={node: layer}, classes=needed(draft, layer)))

    return put


RESIDUAL = """class Residual(nn.Module):

    def __init__(self, inner, around):
        super().__init__()
        self.inner = inner
        self.around = around

    def forward(self, x):
        return self.around(x) + self.inner(x)
"""
ROWS = """class Rows(nn.Module):

    def __init__(self, cells):
        super().__init__()
        self.cells = cells

    def forward(self, x):
        rows, _ = self.cells(x.permute(0, 2, 3, 1).flatten(0, 1))
        return rows.unflatten(0, (x.shape[0], x.shape[2])).permute(0, 3, 1, 2)
"""
STEPS = """class Steps(nn.Module):

    def __init__(self, cells):
        super().__init__()
        self.cells = cells

    def forward(self, x):
        return self.cells(x)[0]
"""
OURS = {"Residual": RESIDUAL, "Rows": ROWS, "Steps": STEPS}


def needed(draft: Draft, layer: str) -> list[str]:
    """Return the texts of our classes that a layer uses and the text lacks."""
    found = []
    for name, text in OURS.items():
        if f"{name}(" in layer and text not in draft.text:
            if f"class {name}(" in draft.text:
                raise NotHere(f"the text has a class {name} of its own")
            found.append(text)
    return found


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


def _of_self(node: cst.CSTNode) -> str | None:
    if isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == "self":
        return node.attr.value
    return None
