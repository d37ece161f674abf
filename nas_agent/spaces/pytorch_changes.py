"""What is to be changed in a network's syntax tree (LibCST), and the classes of ours that a change may bring along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import libcst as cst

from nas_agent.spaces.pytorch_calls import NotHere


@dataclass
class Changes:
    """What is to be changed in a tree, by its nodes."""

    before: dict[cst.CSTNode, list[str]] = field(default_factory=dict)  # statements to put before a statement
    made: dict[cst.ClassDef, list[str]] = field(default_factory=dict)  # statements at the end of a constructor
    replaced: dict[cst.CSTNode, cst.BaseExpression] = field(default_factory=dict)
    after: dict[cst.CSTNode, str] = field(default_factory=dict)  # expression to put after an argument or element
    dropped: set[cst.CSTNode] = field(default_factory=set)  # statements, arguments and elements
    classes: list[str] = field(default_factory=list)  # texts of classes to put before the others


class Apply(cst.CSTTransformer):
    """Carries changes out, node by node."""

    def __init__(self, changes: Changes) -> None:
        self._do = changes

    def on_leave(self, original_node: cst.CSTNode, updated_node: cst.CSTNode) -> object:  # type: ignore[override]
        """Return what stands in the place of a node."""
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


def needed(program: str, layer: str) -> list[str]:
    """Return the texts of our classes that a layer uses and a program lacks."""
    found = []
    for name, text in OURS.items():
        if f"{name}(" in layer and text not in program:
            if f"class {name}(" in program:
                raise NotHere(f"the text has a class {name} of its own")
            found.append(text)
    return found
