"""PyTorch class texts: the variants of COLE (Somu et al., 2026) and the canonical one.

`inline` spells layers out, `helper` defines them as classes, `exclude-helper` uses these without their definitions;
all three write the architecture as it is. `canonical` is ours: dead parts dropped, isomorphic architectures alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nas_agent.records import Architecture, Task
from nas_agent.spaces.base import Space
from nas_agent.spaces.class_text import WritesClasses, program

CANONICAL = "canonical"
VARIANTS = ("inline", "helper", "exclude-helper")


class WrittenSpace(Space, WritesClasses, Protocol):
    """A space that writes its networks as classes."""


@dataclass(frozen=True, slots=True)
class PythonText:
    """The cell, or with its network a whole file; `exclude-helper` and `canonical` leave helpers undefined."""

    name: str
    space: WrittenSpace
    variant: str  # CANONICAL or one of VARIANTS
    network: bool = False  # with what stands around the cell
    docstring: str = ""  # what the text begins with

    def __call__(self, architecture: Architecture) -> str:
        """Write the parts that were asked for."""
        if self.variant == CANONICAL:
            parts = [self.space.source(architecture)]
            if self.network:
                parts.append(self.space.class_text(self.space.canonical(architecture)).network)
        else:
            found = self.space.class_text(architecture, inline=self.variant == "inline")
            parts = [found.cell] if self.variant == "exclude-helper" else [*found.helpers, found.cell]
            parts += [found.network] if self.network else []
        if self.network:
            return program(self.docstring, parts).rstrip("\n")
        return "\n\n\n".join([self.docstring, *parts] if self.docstring else parts)


def docstring(task: Task, space: WritesClasses) -> str:
    """Describe the task, what stands around the cell, and how the published networks were trained."""
    text = (
        f"Task: {task.name}, {task.description}. Measured by: {task.metric}.\n\n"
        f"Network: {space.skeleton}.\n\nTraining: {space.recipe}.\n"
    )
    # A user describes a task of their own in words of any kind; they must not end the docstring.
    return '"""' + text.replace("\\", "\\\\").replace('"', "'") + '"""'
