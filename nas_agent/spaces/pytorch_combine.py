"""Networks made of two or three: the first statements of one and the last of another, or all side by side (ours)."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from random import Random

from nas_agent.errors import InvalidArchitecture
from nas_agent.spaces.inspection import Inspection, Sizes
from nas_agent.spaces.pytorch_text import NETWORK, read

Parent = tuple[str, Inspection]  # a plain text and what its inspection said


def spliced(first: Parent, second: Parent, rng: Random) -> str:
    """Write a network that begins as the first and ends as the second; sizes in between are to be mended.

    InvalidArchitecture where no variable of the one can stand for a variable of the other.
    """
    mother, father = ast.parse(first[0]), ast.parse(second[0])
    heads, tails = _cuts(mother, first[1], tail=False), _cuts(father, second[1], tail=True)
    # At the very beginning or end there would be nothing of one of the two.
    found = [(h, t) for h in heads for t in tails if len(h[2]) == len(t[2])]
    if not found:
        raise InvalidArchitecture("combine: no feature map of the one network can be handed to the other")
    head, tail = rng.choice(found)
    _add_classes(mother, father)
    ours, theirs = _class(mother), _class(father)
    _renamed_attributes(theirs, _attributes(ours))
    forward, other = _method(ours, "forward"), _method(theirs, "forward")
    images = forward.args.args[1].arg
    variables = {node.id for node in ast.walk(forward) if isinstance(node, ast.Name)} | {images}
    rest = [_Local(tail[1], head[1], variables).visit(statement) for statement in other.body[tail[0] :]]
    forward.body = [*forward.body[: head[0]], *rest]
    _take_arguments(_method(ours, "__init__").args, _method(theirs, "__init__").args)
    _method(ours, "__init__").body += [s for s in _method(theirs, "__init__").body if not _calls_super(s)]
    _drop_idle(ours)
    return ast.unparse(ast.fix_missing_locations(mother)) + "\n"


def side_by_side(parents: Sequence[Parent]) -> str:
    """Write a network whose logits are the mean of those of the others."""
    tree = ast.parse(parents[0][0])
    names, calls, wanted = [], [], dict[str, None]()
    for number, (text, _) in enumerate(parents):
        other = tree if number == 0 else ast.parse(text)
        taken = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        name = _free("Branch", taken)
        for node in ast.walk(other):
            if isinstance(node, ast.ClassDef) and node.name == NETWORK:
                node.name = name
            elif isinstance(node, ast.Name) and node.id == NETWORK:
                node.id = name
        names.append(name)
        given = read(text).given
        calls.append(f"{name}({', '.join(f'{argument}={meaning}' for argument, meaning in given)})")
        wanted |= dict.fromkeys(meaning for _, meaning in given)
        if number:
            _add_classes(tree, other)
            tree.body.append(next(part for part in other.body if isinstance(part, ast.ClassDef) and part.name == name))
    makers = "\n".join(f"        self.branch{i} = {call}" for i, call in enumerate(calls, 1))
    total = " + ".join(f"self.branch{i}(x)" for i in range(1, len(names) + 1))
    arguments = ", ".join(["self", *wanted])
    whole = (
        f"class {NETWORK}(nn.Module):\n\n    def __init__({arguments}):\n        super().__init__()\n{makers}\n\n"
        f"    def forward(self, x):\n        return ({total}) / {len(names)}\n"
    )
    return f"{ast.unparse(tree)}\n\n{whole}"


def _take_arguments(ours: ast.arguments, theirs: ast.arguments) -> None:
    """Let our constructor take what theirs takes besides."""
    known = {argument.arg for argument in (*ours.posonlyargs, *ours.args, *ours.kwonlyargs)}
    positional = [*theirs.posonlyargs, *theirs.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(theirs.defaults))
    defaults += theirs.defaults
    pairs = [*zip(positional, defaults, strict=True), *zip(theirs.kwonlyargs, theirs.kw_defaults, strict=True)]
    for argument, default in pairs:
        if argument.arg not in known:
            ours.kwonlyargs.append(argument)
            ours.kw_defaults.append(default)


def _cuts(tree: ast.Module, inspection: Inspection, *, tail: bool) -> list[tuple[int, str, Sizes]]:
    """List where forward can be cut: (statement, the one variable that is handed over, its shape)."""
    forward = _method(_class(tree), "forward")
    found = []
    for number, statement in enumerate(forward.body):
        if number == 0 and not tail:
            continue
        later = {
            node.id for part in forward.body[number:] for node in ast.walk(part)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }  # fmt: skip
        known = inspection.points.get(statement.lineno, {})
        handed = [name for name in known if name in later]
        if tail and len(handed) != 1:
            continue
        if tail and _earlier(forward, number) & later - set(handed):
            continue  # it needs what is no tensor, too
        found += [(number, name, known[name]) for name in handed]
    return found


def _earlier(forward: ast.FunctionDef, number: int) -> set[str]:
    return {
        node.id for part in forward.body[:number] for node in ast.walk(part)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)
    }  # fmt: skip


class _Local(ast.NodeTransformer):
    """Renames the local variables of statements that go into another method."""

    def __init__(self, old: str, new: str, taken: set[str]) -> None:
        self._names, self._taken = {old: new}, taken

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self._names:
            node.id = self._names[node.id]
        elif isinstance(node.ctx, ast.Store):
            self._names[node.id] = node.id = _free(node.id, self._taken) if node.id in self._taken else node.id
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        node.value = self.visit(node.value)  # what is read is read before it is set
        node.targets = [self.visit(target) for target in node.targets]
        return node


def _class(tree: ast.Module) -> ast.ClassDef:
    return next(part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == NETWORK)


def _method(owner: ast.ClassDef, name: str) -> ast.FunctionDef:
    for part in owner.body:
        if isinstance(part, ast.FunctionDef) and part.name == name:
            return part
    raise InvalidArchitecture(f"combine: class {owner.name} has no method {name} of its own")


def _add_classes(tree: ast.Module, other: ast.Module) -> None:
    """Put the other text's imports, functions and classes, but its network, before ours; clashing ones are renamed."""
    taken = {part.name: ast.unparse(part) for part in tree.body if isinstance(part, ast.ClassDef | ast.FunctionDef)}
    lines = {ast.unparse(part) for part in tree.body}
    new: list[ast.stmt] = []
    for part in other.body:
        if isinstance(part, ast.ClassDef | ast.FunctionDef) and part.name != NETWORK:
            text = ast.unparse(part)
            if taken.get(part.name, text) != text:
                _rename(other, part.name, _free(part.name, set(taken)))
        if not _is_network(part) and ast.unparse(part) not in lines:
            new.append(part)
    first = next(number for number, part in enumerate(tree.body) if isinstance(part, ast.ClassDef))
    imports = [part for part in new if isinstance(part, ast.Import | ast.ImportFrom)]
    tree.body = [*imports, *tree.body[:first], *(part for part in new if part not in imports), *tree.body[first:]]


def _is_network(part: ast.stmt) -> bool:
    return isinstance(part, ast.ClassDef) and (part.name == NETWORK or part.name.startswith("Branch"))


def _rename(tree: ast.Module, old: str, new: str) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == old:
            node.name = new
        elif isinstance(node, ast.Name) and node.id == old:
            node.id = new


def _free(base: str, taken: set[str]) -> str:
    stem = base.rstrip("0123456789") or base
    number = 2
    while f"{stem}{number}" in taken:
        number += 1
    taken.add(f"{stem}{number}")
    return f"{stem}{number}"


def _attributes(owner: ast.ClassDef) -> set[str]:
    return {
        node.attr for node in ast.walk(owner)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }  # fmt: skip


def _renamed_attributes(owner: ast.ClassDef, taken: set[str]) -> None:
    names = {name: _free(name, taken) for name in sorted(_attributes(owner)) if name in taken}
    methods = {part.name for part in owner.body if isinstance(part, ast.FunctionDef)} - {"__init__", "forward"}
    if methods:
        raise InvalidArchitecture("combine: a network with methods of its own cannot be taken apart")
    for node in ast.walk(owner):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            node.attr = names.get(node.attr, node.attr)


def _calls_super(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and "super(" in ast.unparse(statement)


def _drop_idle(owner: ast.ClassDef) -> None:
    """Drop layers that the constructor makes and nothing names any more."""
    maker = _method(owner, "__init__")
    while True:
        text = [node.attr for node in ast.walk(owner) if isinstance(node, ast.Attribute)]
        kept = [part for part in maker.body if not (_made(part) and text.count(_made(part)) == 1)]
        if len(kept) == len(maker.body):
            return
        maker.body = kept


def _made(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == "self":
            return target.attr
    return ""
