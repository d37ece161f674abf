"""Find a space by its name, by an entry point, or in a user's file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from nas_agent.errors import ConfigError
from nas_agent.spaces.base import Space
from nas_agent.spaces.nasbench201 import NasBench201

BUILT_IN: dict[str, Callable[[], Space]] = {"nb201": NasBench201}
ENTRY_POINTS = "nas_agent.spaces"


def space_names() -> tuple[str, ...]:
    """Names that `load_space` knows: the built-in ones and those of installed packages."""
    return (*BUILT_IN, *sorted(point.name for point in entry_points(group=ENTRY_POINTS)))


def load_space(name: str) -> Space:
    """Return the space called `name`, or the class in a `FILE.py:CLASS`."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    path, colon, class_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _from_file(Path(path), class_name)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            return _checked(point.load(), name)
    raise ConfigError(
        f"unknown space '{name}'; choose from {', '.join(space_names())}, or give your own as FILE.py:CLASS"
    )


def _from_file(path: Path, class_name: str) -> Space:
    if not path.is_file():
        raise ConfigError(f"--space {path}:{class_name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"nas_agent_user_space_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--space {path}:{class_name}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code may raise anything while it is imported
        raise ConfigError(f"--space {path}: the file could not be imported: {error!r}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError(f"--space {path}:{class_name}: the file has no class '{class_name}'")
    return _checked(found, f"{path}:{class_name}")


def _checked(factory: object, name: str) -> Space:
    if not callable(factory):
        raise ConfigError(f"--space {name}: expected a class, got {factory!r}")
    try:
        space = factory()
    except Exception as error:  # likewise: a constructor of the user's
        raise ConfigError(f"--space {name}: could not be made without arguments: {error!r}") from error
    if not isinstance(space, Space):
        wanted = [m for m in dir(Space) if not m.startswith("_") and not hasattr(space, m)]
        raise ConfigError(
            f"--space {name}: {type(space).__name__} is no space, it lacks {', '.join(wanted)}; "
            "subclass nas_agent.spaces.CategoricalSpace, which has a default for all of them"
        )
    return space
