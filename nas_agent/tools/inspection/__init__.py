"""Looks at networks' texts in the sandbox, and hands a space what it needs for that (`nas_agent.spaces.inspection`)."""

from __future__ import annotations

from functools import partial

from nas_agent.spaces.base import Space
from nas_agent.spaces.inspection import Inspected, Inspector, NetworkShape
from nas_agent.tools.costs.sources import Trains
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.inspection.sandboxed import SandboxInspector, open_inspection

__all__ = ["SandboxInspector", "equipped"]


def equipped(
    space: Space, evaluation: Evaluation | None, inspector: Inspector | None = None, *, sandbox: str = "auto"
) -> Space:
    """Return the space with the task's images and an inspector where it looks at texts; any other space as it is.

    The sandbox opens with the first text that is looked at; `sandbox` names it, as `open_sandbox` does.
    """
    if not isinstance(space, Inspected) or space.inspector is not None:
        return space
    shape = None
    if evaluation is not None and isinstance(evaluation.evaluator, Trains):
        images = evaluation.evaluator.shape
        shape = NetworkShape.of(images.classes, images.channels, images.side)
    return space.equipped(shape, inspector or SandboxInspector(partial(open_inspection, sandbox)))
