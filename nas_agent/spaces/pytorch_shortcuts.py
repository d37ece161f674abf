"""The intent that leads a shortcut around a layer, or around several statements in a row."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import libcst as cst

from nas_agent.spaces.inspection import Sizes
from nas_agent.spaces.pytorch_calls import LEAVING, NotHere, code
from nas_agent.spaces.pytorch_changes import Changes, needed
from nas_agent.spaces.pytorch_draft import Draft
from nas_agent.spaces.pytorch_widths import WIDEST


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
                Changes(replaced={call: cst.parse_expression(wrapped)}, classes=needed(draft.text, wrapped))
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
