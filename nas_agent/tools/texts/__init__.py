"""An architecture as a text to embed: `make_text("exclude-helper+network", space)(architecture)`.

    canonical         PyTorch classes of the canonical architecture (`space.source`)
    inline            PyTorch classes of the architecture as it is, layers spelled out
    helper            the same with layers as classes, which are defined
    exclude-helper    the same without their definitions
    onnx              what torch.onnx exports
    string            the space's own notation
    ...               what the space offers besides (`OffersTexts`), e.g. `derivation`

`+network` adds what stands around the cell, `+docstring` the task, the network and its training in words.
"""

from __future__ import annotations

from collections.abc import Callable

from nas_agent.errors import ConfigError
from nas_agent.records import Task
from nas_agent.spaces.base import Space
from nas_agent.spaces.class_text import BuildsCells, OffersTexts, WritesClasses
from nas_agent.tools.texts.base import SpaceText, TextMaker
from nas_agent.tools.texts.onnx_text import OnnxText, check_installed
from nas_agent.tools.texts.python import CANONICAL, VARIANTS, PythonText, docstring

__all__ = ["TextMaker", "make_text", "text_names"]

NETWORK, DOCSTRING = "network", "docstring"


def make_text(spec: str, space: Space, task: Task | None = None) -> TextMaker:
    """Return what writes the text `spec` of architectures of this space; `task` is read by `+docstring` only.

    ConfigError where the space has no such text, MissingExtra where a package for it is not installed.
    """
    base, *asked = (part.strip() for part in spec.split("+"))
    offered = _offered(space)
    if base not in offered:
        raise ConfigError(f"space '{space.name}' has no text '{base}'; choose from {_described(offered)}")
    wrong = [addition for addition in asked if addition not in offered[base] or asked.count(addition) > 1]
    if wrong:
        raise ConfigError(
            f"the text '{base}' of space '{space.name}' takes no '+{wrong[0]}'"
            f"{' twice' if wrong[0] in offered[base] else ''}; choose from {_described(offered)}"
        )
    additions = [addition for addition in (NETWORK, DOCSTRING) if addition in asked]
    name = "+".join([base, *additions])
    own = _own(space)
    if base in own:
        return SpaceText(name, own[base])
    if base == "string":
        return SpaceText(name, space.format)
    if base == "onnx":
        check_installed()
        return OnnxText(name, space, network=NETWORK in asked)
    if not isinstance(space, WritesClasses):
        return SpaceText(name, space.source)
    if DOCSTRING in asked and task is None:
        raise ConfigError(f"the text '{name}' describes a task; name one, or leave '+{DOCSTRING}' out")
    words = docstring(task, space) if task is not None and DOCSTRING in asked else ""
    return PythonText(name, space, base, network=NETWORK in asked, docstring=words)


def text_names(space: Space) -> tuple[str, ...]:
    """Return the texts of a space, without additions."""
    return tuple(_offered(space))


def _offered(space: Space) -> dict[str, tuple[str, ...]]:
    """Return the texts of the space, and what can be added to each."""
    classes = isinstance(space, WritesClasses)
    both: tuple[str, ...] = (NETWORK, DOCSTRING) if classes else ()
    found = {CANONICAL: both, **(dict.fromkeys(VARIANTS, both) if classes else {})}
    found["onnx"] = (NETWORK,) if isinstance(space, BuildsCells) else ()
    return {**found, "string": (), **dict.fromkeys(_own(space), ())}


def _own(space: Space) -> dict[str, Callable[..., str]]:
    return dict(space.texts()) if isinstance(space, OffersTexts) else {}


def _described(offered: dict[str, tuple[str, ...]]) -> str:
    return ", ".join(name + "".join(f"[+{addition}]" for addition in more) for name, more in offered.items())
