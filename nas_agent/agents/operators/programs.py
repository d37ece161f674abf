"""The program in a model's reply, however it is wrapped: in fences, in prose, in several blocks, or as edits.

What is read is only looked at, never run: whether it is a network is for the space to say.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas_agent.agents.chat import Reply
from nas_agent.agents.operators.edits import apply_edits, find_edits, has_edits
from nas_agent.agents.replies import LONGEST
from nas_agent.errors import InvalidArchitecture

Form = Literal["whole", "blocks"]

CUT_CODE = "the answer was cut off at the length limit; write a shorter program, without comments"
NO_CLASS = "there is no class in the answer; answer with the whole program in one block"
# What programs use most and answers most often forget to import.
IMPORTS = {
    "torch": "import torch",
    "nn": "from torch import nn",
    "F": "from torch.nn import functional as F",
    "Tensor": "from torch import Tensor",
    "math": "import math",
}
_FENCE = re.compile(r"\s*(`{3,}|~{3,})([^`]*)$")
_CLASS = re.compile(r"^[ \t]*class[ \t]+(\w+)[ \t]*[(:]", re.MULTILINE)
_BEGINS = re.compile(r"(import [\w., ]+|from [\w.]+ import [\w.,* ()]+|class \w+\s*[(:].*)$")
_GOES_ON = re.compile(r"(\s|$|import |from [\w.]+ import |class \w+\s*[(:]|def \w+\(|@|#|[)\]}]|\w+\s*(:[^:]*)?=)")
_KEPT = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)


@dataclass(frozen=True, slots=True)
class Program:
    """What a reply says."""

    text: str
    form: Form


def read_program(reply: Reply, parent: str, class_name: str) -> Program:
    """Return the program of a reply, edits carried out on the parent; InvalidArchitecture with what is wrong."""
    text = reply.text
    if len(text) > LONGEST:
        raise InvalidArchitecture(f"the answer has more than {LONGEST:,} characters; answer with one program alone")
    if text.startswith("(refused)"):
        raise InvalidArchitecture(f"the model refused: {text.removeprefix('(refused)').strip()[:200]}")
    text = text.rpartition("</think>")[2].replace("\t", "    ").replace("\r\n", "\n").replace("\r", "\n")
    try:
        if has_edits(text):
            return Program(tidy(apply_edits(parent, find_edits(text))), "blocks")
        blocks, closed = _blocks(text)
        if reply.cut and not (blocks and closed):  # what is there may be Python, and half of a network
            raise InvalidArchitecture(CUT_CODE)
        return Program(tidy(_written(text, blocks, class_name)), "whole")
    except InvalidArchitecture as error:
        if reply.cut:
            raise InvalidArchitecture(CUT_CODE) from error
        raise


def tidy(text: str) -> str:
    """Leave out what stands beside imports, classes and functions, e.g. a trial of the network; add usual imports.

    InvalidArchitecture where the text is no Python, or has no class.
    """
    tree = _tree(text)
    if not any(isinstance(node, ast.ClassDef) for node in tree.body):
        raise InvalidArchitecture(NO_CLASS)
    lines = text.split("\n")
    for node in reversed(tree.body):
        constant = isinstance(node, ast.Assign | ast.AnnAssign) and not _calls(node)
        if not constant and not isinstance(node, _KEPT):
            del lines[node.lineno - 1 : node.end_lineno]
    kept = "\n".join(lines).strip("\n") + "\n"
    missing = [line for name, line in IMPORTS.items() if name in _unbound(tree)]
    gap = "\n" if any(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body) else "\n\n\n"
    return "\n".join(missing) + gap + kept if missing else kept


def _tree(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a string is the writer's affair
            return ast.parse(text)
    except SyntaxError as error:
        line = (error.text or "").strip()[:80]
        raise InvalidArchitecture(f"line {error.lineno} is no Python ({error.msg}): {line}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, huge numbers, brackets without end
        raise InvalidArchitecture("the program cannot be read: it is nested too deeply or holds odd characters") from (
            error
        )


def _calls(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Call) for part in ast.walk(node))


def _unbound(tree: ast.Module) -> set[str]:
    """Return the names that are read and nowhere bound."""
    read: set[str] = set()
    bound: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                read.add(name)
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                bound.add(name)
            case ast.alias(name=name, asname=alias):
                bound.add(alias or name.split(".")[0])
    return read - bound


def _written(text: str, blocks: Sequence[str], class_name: str) -> str:
    """Return the text of the program that a reply writes out."""
    blocks = [textwrap.dedent(block) for block in blocks if _CLASS.search(block)]
    if not blocks:
        return _unfenced(text)
    # Of several, the last: models quote what they were given first, and mend what they wrote later.
    named = [block for block in blocks if class_name in _CLASS.findall(block)]
    chosen = (named or blocks)[-1]
    helpers = [block for block in blocks if block != chosen and _serves(block, chosen)]
    return "\n\n".join([*helpers, chosen])


def _blocks(text: str) -> tuple[list[str], bool]:
    """Return what stands in fences, all the rest of one that is never closed, and whether all are."""
    blocks: list[list[str]] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if not fence and mark:
            fence = mark[1]
            blocks.append([])
        elif fence and mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        elif fence:
            blocks[-1].append(line)
    return ["\n".join(block) for block in blocks], not fence


def _serves(block: str, chosen: str) -> bool:
    """Tell whether a block defines only classes that the chosen one uses and does not define."""
    own = set(_CLASS.findall(chosen))
    names = set(_CLASS.findall(block))
    return not names & own and all(re.search(rf"\b{name}\b", chosen) for name in names)


def _unfenced(text: str) -> str:
    """Return the lines from the first that looks like a program to the last."""
    lines = textwrap.dedent(text).split("\n")
    start = next((number for number, line in enumerate(lines) if _BEGINS.match(line)), None)
    if start is None:
        raise InvalidArchitecture(NO_CLASS)
    return "\n".join(_leading(lines[start:]))


def _leading(lines: Sequence[str]) -> Sequence[str]:
    end = next((number for number, line in enumerate(lines) if not _GOES_ON.match(line)), len(lines))
    return lines[:end]
