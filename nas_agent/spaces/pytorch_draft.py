"""A network's text as a syntax tree (LibCST) that can be changed: where its layers are made and used, and how.

The text is plain (one statement a line), so that lines and columns of the inspection are places in the tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider

from nas_agent.spaces.inspection import Inspection, Layer, Sizes, Span, Wish
from nas_agent.spaces.pytorch_calls import NotHere, base_name, code, kind_of, with_argument
from nas_agent.spaces.pytorch_changes import Apply, Changes, needed


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
        return Draft(self.tree.visit(Apply(changes)).code, self.inspection)

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


def _before(owner: cst.ClassDef, statement: cst.CSTNode, name: str) -> Callable[[Draft, str], Draft]:
    def put(draft: Draft, layer: str) -> Draft:
        attribute = draft.free_name(base_name(layer))
        return draft.changed(
            Changes(
                before={statement: [f"{name} = self.{attribute}({name})"]},
                made={owner: [f"self.{attribute} = {layer}"]},
                classes=needed(draft.text, layer),
            )
        )

    return put


def _wrap(owner: cst.ClassDef, use: cst.BaseExpression) -> Callable[[Draft, str], Draft]:
    def put(draft: Draft, layer: str) -> Draft:
        attribute = draft.free_name(base_name(layer))
        new = cst.parse_expression(f"self.{attribute}({code(use)})")
        return draft.changed(
            Changes(
                replaced={use: new}, made={owner: [f"self.{attribute} = {layer}"]}, classes=needed(draft.text, layer)
            )
        )

    return put


def _after(node: cst.CSTNode) -> Callable[[Draft, str], Draft]:
    def put(draft: Draft, layer: str) -> Draft:
        return draft.changed(Changes(after={node: layer}, classes=needed(draft.text, layer)))

    return put


def _of_self(node: cst.CSTNode) -> str | None:
    if isinstance(node, cst.Attribute) and isinstance(node.value, cst.Name) and node.value.value == "self":
        return node.attr.value
    return None
