"""The inspector that a search has: each text in a confined process of its own, forked from one warm parent."""

from __future__ import annotations

import json
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from nas_agent.records import Json
from nas_agent.spaces.inspection import Inspection, Layer, NetworkShape, Refusal, Wish
from nas_agent.tools.sandbox import Job, Limits, Policy, Sandbox, Stopped, open_sandbox
from nas_agent.tools.sandbox.base import MIB

ENTRY = "nas_agent.tools.inspection.child:inspect"
LIMITS = Limits(seconds=20.0, memory=1024 * MIB, threads=4, disk=1 * MIB, files=64, reply=4 * MIB)
REMEMBERED = 2_000  # texts


def open_inspection(sandbox: str = "auto") -> Sandbox:
    """Start a sandbox whose warm parent is ready to inspect."""
    module = ENTRY.partition(":")[0]
    return open_sandbox(Policy(preload=("torch", "numpy", module), packages=("torch", "numpy")), sandbox)


class SandboxInspector:
    """Inspects texts in a sandbox, which is opened when the first one comes; the last answers are remembered."""

    def __init__(self, open: Callable[[], Sandbox] = open_inspection, limits: Limits = LIMITS) -> None:
        self._open, self._limits = open, limits
        self._sandbox: Sandbox | None = None
        self._known: OrderedDict[tuple[Any, ...], Inspection | Refusal] = OrderedDict()
        self.seconds: list[float] = []  # of each text that was not remembered, seen from the warm parent
        self.cpu_seconds: list[float] = []

    def __reduce__(self) -> tuple[type[SandboxInspector], tuple[Callable[[], Sandbox], Limits]]:
        """Pickle it without its sandbox: a space on another machine opens one where it looks at texts."""
        return SandboxInspector, (self._open, self._limits)

    def inspect(self, text: str, arguments: Mapping[str, int], shape: NetworkShape) -> Inspection | Refusal:
        """Build the class `Network` with these arguments, pass images through it, and tell what was seen."""
        key = (text, tuple(sorted(arguments.items())), shape)
        if key not in self._known:
            self._known[key] = self._asked(text, arguments, shape)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]

    def close(self) -> None:
        """End the sandbox; the next text opens another one."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    def _asked(self, text: str, arguments: Mapping[str, int], shape: NetworkShape) -> Inspection | Refusal:
        if self._sandbox is None:
            self._sandbox = self._open()
            weakref.finalize(self, partial(_close, self._sandbox))
        payload = {"text": text, "arguments": dict(arguments), "shape": asdict(shape)}
        outcome = self._sandbox.run(Job(ENTRY, payload, limits=self._limits))
        self.seconds.append(outcome.seconds)
        self.cpu_seconds.append(outcome.cpu_seconds)
        if isinstance(outcome, Stopped):
            return Refusal(outcome.kind, f"{outcome.reason} while it was looked at; propose a simpler network")
        return reading(outcome.result, outcome.blob)


def _close(sandbox: Sandbox) -> None:
    sandbox.close()


def reading(result: Any, blob: bytes) -> Inspection | Refusal:
    """Turn an answer of `child.inspect` into records; a process may say anything: Refusal where it is no answer."""
    try:
        if "step" in result:
            wishes = tuple(
                Wish(_span(wish["span"]), str(wish["argument"]), int(wish["value"])) for wish in result["wishes"]
            )
            return Refusal(str(result["step"]), _line(result["reason"]), wishes)
        lists = json.loads(blob)
        return Inspection(
            _nodes(lists["nodes"]),
            _count(result["parameters"]),
            _count(result["flops"]),
            tuple(_layer(layer) for layer in lists["layers"]),
            {int(line): {n: tuple(s) for n, s in found.items() if s} for line, found in lists["points"].items()},
        )
    except (KeyError, TypeError, ValueError, RecursionError, AttributeError):
        return Refusal("reply", "it gave no answer that can be read while it was looked at; propose a simpler network")


def _nodes(data: Any) -> tuple[Json, ...]:
    """Check the trace: every node comes after those that go into it, and the last one is the logits."""
    for number, node in enumerate(data):
        whole = isinstance(node["op"], str) and isinstance(node["attrs"], list)
        if not whole or not all(isinstance(size, int) and size >= 0 for size in node["shape"]):
            raise ValueError("no node")
        if not all(isinstance(i, int) and 0 <= i < number for i in node["inputs"]):
            raise ValueError("a node before what goes into it")
    if not data or data[-1]["op"] != "logits" or len(data[-1]["inputs"]) != 1:
        raise ValueError("no logits")
    return tuple(data)


def _count(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError("no count")
    return value


def _layer(data: Any) -> Layer:
    entering, leaving = (None if data[key] is None else tuple(data[key]) for key in ("entering", "leaving"))
    given = {str(name): int(value) for name, value in data["given"].items()}
    return Layer(
        str(data["kind"]), _span(data["span"]), str(data["path"]), given, int(data["calls"]), entering, leaving
    )


def _span(data: Any) -> tuple[int, int, int, int]:
    first, column, last, end = map(int, data)
    return first, column, last, end


def _line(reason: object) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in str(reason)[:600])
