"""Where in a text layers are made and used, and with which shapes: what operators on the syntax tree need to know.

Runs in the sandbox only, on a text of one statement a line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from torch import Tensor, nn

FILE = "candidate.py"
# Sizes of layers by the names of their constructors' arguments; what comes in first.
ENTERING = {
    nn.Linear: "in_features", nn.Conv2d: "in_channels", nn.Conv1d: "in_channels", nn.ConvTranspose2d: "in_channels",
    nn.BatchNorm2d: "num_features", nn.BatchNorm1d: "num_features", nn.InstanceNorm2d: "num_features",
    nn.GroupNorm: "num_channels", nn.LayerNorm: "normalized_shape", nn.LSTM: "input_size", nn.GRU: "input_size",
    nn.RNN: "input_size", nn.PReLU: "num_parameters",
}  # fmt: skip
LEAVING = {
    nn.Linear: "out_features", nn.Conv2d: "out_channels", nn.Conv1d: "out_channels",
    nn.ConvTranspose2d: "out_channels", nn.LSTM: "hidden_size", nn.GRU: "hidden_size", nn.RNN: "hidden_size",
}  # fmt: skip
ALSO = ("kernel_size", "stride", "padding", "groups", "num_layers", "bidirectional", "batch_first", "num_groups")


class Watch:
    """What was made and used so far."""

    def __init__(self) -> None:
        self.made: dict[int, tuple[nn.Module, tuple[int, int, int, int]]] = {}
        self.passed: dict[int, list[tuple[list[int] | None, list[int] | None]]] = {}
        self.points: dict[int, dict[str, list[int] | None]] = {}
        self.wishes: list[dict[str, Any]] = []
        self.last: nn.Module | None = None  # the layer that gave what was made last

    @contextmanager
    def making(self) -> Iterator[None]:
        """Note for each module of torch the call in the text that makes it."""
        original = nn.Module.__init__

        def noted(module: nn.Module, *args: Any, **kwargs: Any) -> None:
            original(module, *args, **kwargs)
            span = _made_at(module)
            if span is not None:
                self.made[id(module)] = module, span

        nn.Module.__init__ = noted  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            nn.Module.__init__ = original  # type: ignore[method-assign]

    @contextmanager
    def using(self) -> Iterator[None]:
        """Note what goes through layers and variables; a layer of the wrong size is given the right one, and noted."""
        before = nn.modules.module.register_module_forward_pre_hook(self._fit)
        after = nn.modules.module.register_module_forward_hook(self._note)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)
            before.remove()
            after.remove()

    def layers(self, network: nn.Module) -> list[dict[str, Any]]:
        """List the layers that the text makes."""
        found = []
        for path, module in network.named_modules():
            if id(module) not in self.made:
                continue
            calls = self.passed.get(id(module), [])
            same = len({str(call) for call in calls}) == 1
            found.append(
                {
                    "kind": type(module).__name__,
                    "span": list(self.made[id(module)][1]),
                    "path": path,
                    "given": _given(module),
                    "calls": len(calls),
                    "entering": calls[0][0] if same else None,
                    "leaving": calls[0][1] if same else None,
                }
            )
        return found

    def wish(self, module: nn.Module, argument: str, value: int) -> None:
        """Note a size that would make the network fit together, where a call in the text can be given it."""
        if id(module) in self.made:
            self.wishes.append(
                {
                    "span": list(self.made[id(module)][1]),
                    "argument": argument,
                    "value": value,
                    "kind": type(module).__name__,
                    "had": _given(module).get(argument),
                }
            )

    def _fit(self, module: nn.Module, args: Any) -> None:
        argument = ENTERING.get(type(module))
        if argument is None or not args or not isinstance(args[0], Tensor):
            return
        shape = args[0].shape
        images = argument in ("in_channels", "num_features", "num_channels")
        if len(shape) < 2 or (isinstance(module, nn.Conv2d | nn.BatchNorm2d) and len(shape) != 4):
            return
        comes = int(shape[1] if images else shape[-1])
        if isinstance(module, nn.PReLU):
            comes = 1
        has = _given(module)[argument]
        if has != comes and not (isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1):
            self.wish(module, argument, comes)
            _become(module, argument, comes, self)

    def _note(self, module: nn.Module, args: Any, out: Any) -> None:
        entering = args[0] if args and isinstance(args[0], Tensor) else None
        leaving = out[0] if isinstance(out, tuple) and out else out
        self.passed.setdefault(id(module), []).append((_sizes(entering), _sizes(leaving)))
        if isinstance(out, Tensor) and type(module) in LEAVING:
            self.last = module

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename == FILE else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            now = {name: _sizes(value) for name, value in frame.f_locals.items() if isinstance(value, Tensor)}
            known = self.points.get(frame.f_lineno)
            if known is None:
                self.points[frame.f_lineno] = now
            else:  # run more than once: only what had one shape throughout is of use
                self.points[frame.f_lineno] = {name: s for name, s in now.items() if name in known and known[name] == s}
        return self._line


def _made_at(module: nn.Module) -> tuple[int, int, int, int] | None:
    """Return the call in the text that makes a module of torch; None for parts of such a module."""
    if type(module).__module__ == "candidate":
        return None
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename == FILE:
            return _position(code, frame.f_lasti)
        holder = frame.f_locals.get("self")
        if isinstance(holder, nn.Module) and holder is not module:
            return None
        frame = frame.f_back
    return None


def _position(code: CodeType, instruction: int) -> tuple[int, int, int, int] | None:
    for number, place in enumerate(code.co_positions()):
        if number == instruction // 2:
            first, last, column, end = place
            return None if None in place else (first, column, last, end)  # type: ignore[return-value]
    return None


def _given(module: nn.Module) -> dict[str, int]:
    found: dict[str, int] = {}
    for table in (ENTERING, LEAVING):
        name = table.get(type(module))
        if name is not None:
            value = getattr(module, name)
            found[name] = int(value[-1] if isinstance(value, tuple) else value)
    for name in ALSO:
        value = getattr(module, name, None)
        value = value[0] if isinstance(value, tuple) and value else value
        if isinstance(value, int):
            found[name] = int(value)
    return found


def _sizes(value: object) -> list[int] | None:
    return [int(size) for size in value.shape[1:]] if isinstance(value, Tensor) and value.dim() else None


def _become(module: nn.Module, argument: str, value: int, watch: Watch) -> None:
    """Make a layer as if it had been constructed with another size."""
    sizes = _given(module)
    match module:
        case nn.Linear():
            new: nn.Module = nn.Linear(value, module.out_features, bias=module.bias is not None)
        case nn.Conv2d() | nn.Conv1d() | nn.ConvTranspose2d():
            groups, leaving = module.groups, module.out_channels
            if groups == sizes["in_channels"] > 1:  # of each channel: it stays so
                watch.wish(module, "groups", value)
                groups = value
                if leaving % value:
                    watch.wish(module, "out_channels", value)
                    leaving = value
            elif value % groups:
                watch.wish(module, "groups", 1)
                groups = 1
            kind: Any = type(module)
            new = kind(
                value, leaving, module.kernel_size, stride=module.stride, padding=module.padding,
                dilation=module.dilation, groups=groups, bias=module.bias is not None,
            )  # fmt: skip
        case nn.GroupNorm():
            groups = module.num_groups
            if value % groups:
                groups = next(g for g in range(min(groups, value), 0, -1) if value % g == 0)
                watch.wish(module, "num_groups", groups)
            new = nn.GroupNorm(groups, value)
        case nn.LSTM() | nn.GRU() | nn.RNN():
            new = type(module)(
                value, module.hidden_size, num_layers=module.num_layers, batch_first=module.batch_first,
                bidirectional=module.bidirectional,
            )  # fmt: skip
        case nn.PReLU():
            new = nn.PReLU()
        case nn.InstanceNorm2d():
            new = nn.InstanceNorm2d(value, affine=module.affine)
        case _:
            new = type(module)(value)
    training = module.training
    module.__dict__.update(new.__dict__)
    module.train(training)
