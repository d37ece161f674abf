"""A job's own process, from the fork to its end: confine, say so, call the function, write the reply."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nas_agent.tools.sandbox import wire
from nas_agent.tools.sandbox.base import Limits
from nas_agent.tools.sandbox.cell import Cell, confine

CONFINED, BROKEN = b"C", b"B"  # the first byte of a reply, written before any code of others runs


def run(cell: Cell, request: Any, blob: bytes, reply: int, parent: int) -> None:
    """Run one job in this forked process, which does not outlive the call."""
    try:
        reply = _only(reply, cell.rules)
        try:
            confine(cell, Limits(**request["limits"]), parent)
        # Whatever it is, nothing may run that is not confined.
        except BaseException as error:
            wire.send(reply, BROKEN + str(error).encode())
            os._exit(1)
        wire.send(reply, CONFINED)
        wire.send(reply, _answer(request, blob))
    finally:
        os._exit(0)


def _only(reply: int, rules: int | None) -> int:
    """Close every descriptor but the reply and the rules; what is printed goes nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    kept = sorted({reply, *(() if rules is None else (rules,))})
    start = 3
    for descriptor in kept:
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))
    return reply


def _answer(request: Any, blob: bytes) -> bytes:
    try:
        answer = _function(request)(request["payload"], blob)
        result, data = answer if isinstance(answer, tuple) else (answer, b"")
        return wire.frame({"result": result}, bytes(data))
    # A candidate's code may raise anything, SystemExit and KeyboardInterrupt included: it is its failure.
    except BaseException as error:
        return wire.frame(_raised(error))


def _function(request: Any) -> Callable[[Any, bytes], Any]:
    if request["source"] is None:
        module, _, name = request["entry"].partition(":")
        function = getattr(importlib.import_module(module), name)
    else:
        scope: dict[str, Any] = {"__name__": "candidate"}
        exec(compile(request["source"], "candidate.py", "exec"), scope)
        function = scope[request["entry"]]
    return function  # type: ignore[no-any-return]


def _raised(error: BaseException) -> dict[str, str]:
    text = ""
    with suppress(BaseException):  # an error of a candidate's own making may not even have a text
        text = " ".join(str(error).split())[:1000]
    memory = isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text
    return {"raised": f"{type(error).__name__}: {text}", "kind": "memory" if memory else "raised"}
