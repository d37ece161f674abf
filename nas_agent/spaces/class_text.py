"""An architecture as PyTorch classes, part by part, and what a space may offer beyond the protocol `Space`.

Each protocol here is optional: a space has it by having its methods. `nas_agent.tools.texts` asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nas_agent.records import Architecture

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class ClassText:
    """The classes of an architecture's network; together, in this order, they are a whole program."""

    helpers: tuple[str, ...]  # layers that the others use by name, those first that another one uses
    cell: str  # what the architecture decides
    network: str  # what stands around it; the last class is `Network`

    @property
    def parts(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.helpers, self.cell, self.network)


@runtime_checkable
class WritesClasses(Protocol):
    """A space that writes its networks as PyTorch classes."""

    @property
    def skeleton(self) -> str:
        """Say in a sentence what stands around the cell."""
        ...

    @property
    def recipe(self) -> str:
        """Say in a sentence how the published networks were trained."""
        ...

    def class_text(self, architecture: Architecture, *, inline: bool = False) -> ClassText:
        """Write the architecture as it is, not its canonical form; `inline` spells chains of layers out.

        Edges that are `none` are left out, skips reuse variables, a node that nothing reaches is zeros.
        """
        ...


@runtime_checkable
class BuildsCells(Protocol):
    """A space whose networks repeat a few modules, which tell all about the architecture."""

    def cell_modules(
        self, architecture: Architecture, *, width: int
    ) -> Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]:
        """Return each of them by its name in the class text, with inputs that it takes."""
        ...


@runtime_checkable
class OffersTexts(Protocol):
    """A space with texts of its own, e.g. the derivation of an architecture by a grammar."""

    def texts(self) -> Mapping[str, Callable[[Architecture], str]]:
        """Return the writers by the names of their texts; such a name goes before one that all spaces have."""
        ...


def program(header: str, parts: Sequence[str]) -> str:
    """Join classes to a file that needs nothing but torch: a docstring or nothing, imports, the classes."""
    body = "\n\n\n".join(parts)
    imports = f"import torch\nfrom torch import {'Tensor, nn' if 'Tensor' in body else 'nn'}"
    head = f"{header}\n\n{imports}" if header else imports
    return f"{head}\n\n\n{body}\n"
