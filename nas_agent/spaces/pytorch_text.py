"""Texts of networks, read without running them: allowed, of a moderate size, with one network class, written plainly.

What is refused here is refused for the sake of a quick and clear reason; the walls that hold are those of the sandbox.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from nas_agent.errors import InvalidArchitecture

NETWORK = "Network"
LONGEST, MOST_NODES, DEEPEST = 20_000, 6_000, 60  # characters; nodes of the syntax tree; how deep they are nested
MODULES = ("torch", "torch.nn", "torch.nn.functional", "math", "typing", "collections", "functools", "__future__")
BUILTINS = frozenset(
    (
        "abs", "all", "any", "bool", "dict", "enumerate", "filter", "float", "int", "isinstance", "len", "list", "map",
        "max", "min", "object", "pow", "property", "range", "reversed", "round", "set", "slice", "sorted",
        "staticmethod", "str", "sum", "super", "tuple", "zip", "NotImplementedError", "ValueError",
    )
)  # fmt: skip
# Of torch, what no network needs, or what reaches beyond it.
FORBIDDEN = frozenset(
    (
        "autograd", "backends", "classes", "compile", "cuda", "distributed", "enable_grad", "export", "from_file",
        "from_numpy", "frombuffer", "futures", "fx", "get_rng_state", "hub", "inference_mode", "jit", "library", "load",
        "manual_seed", "multiprocessing", "no_grad", "numpy", "onnx", "ops", "overrides", "package", "profiler",
        "random", "save", "seed", "serialization", "set_default_device", "set_default_dtype", "set_grad_enabled",
        "set_num_threads", "set_rng_state", "storage", "testing", "use_deterministic_algorithms", "utils",
    )
)  # fmt: skip
DUNDERS = ("__init__", "__class__", "__name__", "__future__")
# How a constructor may call what it is given; the first is ours.
GIVEN = {
    "classes": ("classes", "num_classes", "n_classes", "number_of_classes", "output_size", "out_features"),
    "in_channels": ("in_channels", "channels", "input_channels", "num_channels", "in_chans"),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A text that may be run in the sandbox, in its plain form."""

    text: str  # no comments, no docstrings, one statement a line; the network's class is called `Network`
    given: tuple[tuple[str, str], ...]  # arguments of its constructor without a default -> what they stand for

    def arguments(self, classes: int, in_channels: int) -> dict[str, int]:
        """Return what the constructor is called with."""
        values = {"classes": classes, "in_channels": in_channels}
        return {argument: values[meaning] for argument, meaning in self.given}


@lru_cache(maxsize=20_000)
def read(text: str) -> Program:
    """Check a text and write it plainly; InvalidArchitecture says what to change."""
    tree = _parsed(text)
    for refusal in _refusals(tree):
        raise InvalidArchitecture(refusal)
    network = _network(tree)
    tree = ast.fix_missing_locations(_Plain(network.name).visit(tree))
    plain = ast.unparse(tree) + "\n"
    return Program(plain, tuple(_given(_network(ast.parse(plain)))))


def stand_alone(text: str, classes: int, in_channels: int) -> str:
    """Write a file whose class `Network` takes (classes, in_channels, width), whatever that of the text takes.

    The text's own sizes stay as they are: the three arguments are there for who builds any network of any space.
    """
    program = read(text)
    tree = ast.parse(program.text)
    taken = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    core = next(name for name in ("Core", *(f"Core{i}" for i in range(99))) if name not in taken)
    body = ast.unparse(ast.fix_missing_locations(_Renamed(NETWORK, core).visit(tree)))
    passed = ", ".join(f"{argument}={meaning}" for argument, meaning in program.given)
    return (
        f"{_spaced(body)}\n\n\nclass {NETWORK}({core}):\n"
        f"    def __init__(self, classes={classes}, in_channels={in_channels}, width=16):\n"
        f"        super().__init__({passed})\n"
    )


def _spaced(body: str) -> str:
    return body.replace("\nclass ", "\n\nclass ")


def _parsed(text: str) -> ast.Module:
    if len(text) > LONGEST:
        raise InvalidArchitecture(
            f"expected at most {LONGEST} characters of code, got {len(text)}; write a shorter class"
        )
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = f" in line {line} ({_line(text, line)!r})" if line else ""
        raise InvalidArchitecture(
            f"expected Python code with a class derived from nn.Module, got a syntax error{where}: "
            f"{getattr(error, 'msg', None) or type(error).__name__}; write code only, without prose"
        ) from error
    count, depth = 0, 0
    below: list[ast.AST] = [tree]
    while below:
        count, depth = count + len(below), depth + 1
        below = [child for node in below for child in ast.iter_child_nodes(node)]
        if depth > DEEPEST or count > MOST_NODES:
            raise InvalidArchitecture(
                f"expected at most {MOST_NODES} parts of code nested at most {DEEPEST} deep, got more; write it simpler"
            )
    return tree


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number - 1].strip()[:100] if 0 < number <= len(lines) else ""


def _refusals(tree: ast.Module) -> Iterator[str]:
    """Yield what is not allowed, with what to do about it."""
    for statement in tree.body:
        plain = isinstance(statement, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef | ast.Assign)
        text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if not plain and not text and not isinstance(statement, ast.AnnAssign):
            yield (
                f"line {statement.lineno}: expected imports, classes and functions outside of classes, got "
                f"'{ast.unparse(statement)[:60]}'; leave it out"
            )
    names = _names(tree)
    for node in ast.walk(tree):
        yield from _refused(node, names)


def _root(node: ast.AST) -> str:
    """Return the name that a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _refused(node: ast.AST, names: _Names) -> Iterator[str]:
    line = f"line {getattr(node, 'lineno', 0)}: "
    match node:
        case ast.Import() | ast.ImportFrom():
            yield from _imports(node, line)
        case ast.Name(id=name) if isinstance(node.ctx, ast.Load) and name not in names.bound:
            known = "is not allowed" if hasattr(builtins, name) else "is not defined"
            yield f"{line}'{name}' {known}; expected torch, nn, F, math and what the text itself imports or defines"
        case ast.Name(id=name) if name.startswith("__") and name not in DUNDERS:
            yield f"{line}the name '{name}' is not allowed; choose another one"
        case ast.Attribute(attr=name) if name.startswith("__") and name not in DUNDERS:
            yield f"{line}the attribute '{name}' is not allowed; leave it out"
        case ast.Attribute(attr=name) if _root(node) in names.imported and (name in FORBIDDEN or name.startswith("_")):
            yield f"{line}'{ast.unparse(node)}' is not allowed; use layers and functions of tensors only"
        case ast.Attribute() if not isinstance(node.ctx, ast.Load) and _root(node) in names.imported:
            yield f"{line}'{ast.unparse(node)}' is set, which is not allowed; set attributes of self only"
        case ast.AsyncFunctionDef() | ast.Await() | ast.Global() | ast.Nonlocal() | ast.Yield() | ast.YieldFrom():
            yield f"{line}'{type(node).__name__}' is not allowed; write plain functions"
        case ast.Try() | ast.TryStar() | ast.With() | ast.While():
            yield f"{line}'{type(node).__name__.lower()}' is not allowed; write plain statements, if and for"


def _imports(node: ast.Import | ast.ImportFrom, line: str) -> Iterator[str]:
    advice = "import torch, torch.nn, torch.nn.functional or math only, the layers are there"
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name not in MODULES:
                yield f"{line}'import {alias.name}' is not allowed; {advice}"
        return
    if node.level or node.module not in MODULES:
        yield f"{line}'from {'.' * node.level}{node.module or ''} import ...' is not allowed; {advice}"
    for alias in node.names:
        if alias.name == "*" or alias.name.startswith("_") or alias.name in FORBIDDEN:
            yield f"{line}'{alias.name}' may not be imported; {advice}"


@dataclass(frozen=True, slots=True)
class _Names:
    bound: frozenset[str]  # every name that has a meaning
    imported: frozenset[str]


def _names(tree: ast.Module) -> _Names:
    bound, imported = set(BUILTINS), set[str]()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if not isinstance(node.ctx, ast.Load):
                bound.add(name)
            case ast.arg(arg=name) | ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                bound.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                imported |= {(alias.asname or alias.name).partition(".")[0] for alias in names}
    return _Names(frozenset(bound | imported), frozenset(imported))


def _network(tree: ast.Module) -> ast.ClassDef:
    """Return the class of the whole network: the one of that name, or else the last one that no other class uses."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    modules = [one for one in classes if any("Module" in ast.unparse(base) for base in one.bases) or one.bases]
    if not modules:
        raise InvalidArchitecture("expected a class derived from nn.Module, got none; write class Network(nn.Module)")
    found = next((one for one in modules if one.name == NETWORK), None)
    if found is None:
        used = {
            node.id for one in classes for node in ast.walk(one) if isinstance(node, ast.Name) and node.id != one.name
        }
        found = next((one for one in reversed(modules) if one.name not in used), modules[-1])
    methods = {part.name for part in found.body if isinstance(part, ast.FunctionDef)}
    if "forward" not in methods and not any(isinstance(base, ast.Name) for base in found.bases):
        raise InvalidArchitecture(f"expected class {found.name} to have a method forward(self, x), got none; add it")
    return found


def _given(network: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the constructor's arguments that have no default, and what each stands for."""
    maker = next((part for part in network.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    if maker is None:
        return
    positional = maker.args.posonlyargs + maker.args.args
    required = positional[1 : len(positional) - len(maker.args.defaults)]
    required += [one for one, default in zip(maker.args.kwonlyargs, maker.args.kw_defaults, strict=True) if not default]
    for argument in required:
        meaning = next((ours for ours, names in GIVEN.items() if argument.arg in names), None)
        if meaning is None:
            raise InvalidArchitecture(
                f"expected a constructor of {network.name} without arguments, or with classes and in_channels, got "
                f"'{argument.arg}'; give it a default"
            )
        yield argument.arg, meaning


class _Plain(ast.NodeTransformer):
    """Drops docstrings and annotations, and calls the network's class `Network`."""

    def __init__(self, network: str) -> None:
        self._rename = _Renamed(network, NETWORK)

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Rename all through, unless it is called so already."""
        if self._rename.old != NETWORK:
            node = self._rename.visit(node)
        node.body = [part for part in node.body if not _is_text(part)]
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Drop its docstring."""
        node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Drop its docstring and what it says of types."""
        node.body = [part for part in node.body if not _is_text(part)] or [ast.Pass()]
        node.returns = None
        for argument in ast.walk(node.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        return self.generic_visit(node)


class _Renamed(ast.NodeTransformer):
    """Gives a class another name wherever it is named."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Rename its definition."""
        node.name = self.new if node.name == self.old else node.name
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Rename its uses."""
        node.id = self.new if node.id == self.old else node.id
        return node


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)
