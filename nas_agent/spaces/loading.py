"""Find a space by its name, by an entry point, or in a user's file."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from nas_agent.errors import ConfigError
from nas_agent.spaces.base import Decision, Space
from nas_agent.spaces.darts import Darts
from nas_agent.spaces.einspace import EinSpace
from nas_agent.spaces.nasbench101 import NasBench101
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.spaces.pytorch import Pytorch
from nas_agent.spaces.trans101 import Trans101Micro
from nas_agent.spaces.trans101_macro import Trans101Macro

BUILT_IN: dict[str, Callable[[], Space]] = {
    "nb201": NasBench201,
    "nb101": NasBench101,
    "darts": Darts,
    "trans101-micro": Trans101Micro,
    "trans101-macro": Trans101Macro,
    "einspace": EinSpace,
    "pytorch": Pytorch,
}
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
            try:
                factory = point.load()
            except (Exception, SystemExit) as error:  # a package's own code may raise anything, and may exit
                raise ConfigError(f"--space {name}: its package could not be imported: {_line(error)}") from error
            return _checked(factory, name)
    raise ConfigError(
        f"unknown space '{name}'; choose from {', '.join(space_names())}, or give your own as FILE.py:CLASS"
    )


def _from_file(path: Path, class_name: str) -> Space:
    try:
        there = path.is_file()
    except (OSError, ValueError) as error:  # no permission, or a name that is no path
        raise ConfigError(f"--space {str(path)[:200]!r}: the file cannot be looked at ({error!s:.200})") from error
    if not there:
        raise ConfigError(f"--space {path}:{class_name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"nas_agent_user_space_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--space {path}:{class_name}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses in the file look their module up by name
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's own code may raise anything, and may exit
        raise ConfigError(f"--space {path}: the file could not be imported: {_line(error)}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError(f"--space {path}:{class_name}: the file has no class '{class_name}'")
    return _checked(found, f"{path}:{class_name}")


def _checked(factory: object, name: str) -> Space:
    if not callable(factory):
        raise ConfigError(f"--space {name}: expected a class, got {factory!r}")
    try:
        space = factory()
    except (Exception, SystemExit) as error:  # likewise: a constructor of the user's
        raise ConfigError(f"--space {name}: could not be made without arguments: {_line(error)}") from error
    if not isinstance(space, Space):
        wanted = [m for m in dir(Space) if not m.startswith("_") and not hasattr(space, m)]
        raise ConfigError(
            f"--space {name}: {type(space).__name__} is no space, it lacks {', '.join(wanted)}; "
            "subclass nas_agent.spaces.CategoricalSpace, which has a default for all of them"
        )
    _check_decisions(space, name)
    return space


def _check_decisions(space: Space, name: str) -> None:
    try:
        decisions: list[object] = list(space.decisions)
    except (Exception, SystemExit) as error:  # likewise: it may be a property of the user's
        raise ConfigError(f"--space {name}: its decisions could not be read: {_line(error)}") from error
    names: set[str] = set()
    for decision in decisions:
        if not isinstance(decision, Decision):
            raise ConfigError(
                f"--space {name}: decisions must be Decision(name, options), got {_line(decision)}; "
                "import it from nas_agent.spaces"
            )
        if decision.name in names:
            raise ConfigError(f"--space {name}: two decisions are called '{decision.name}'; rename one of them")
        names.add(decision.name)


def _line(thing: object) -> str:
    return " ".join(repr(thing).split())[:300]
