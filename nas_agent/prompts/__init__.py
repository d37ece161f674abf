"""Prompts are Markdown files, filled in strictly: a missing value and an unused one are both errors.

Templates whose names start with an underscore are parts that others include. Everything that comes from
data (a task's description, a principle's sentence, an architecture's code) is put inside a fenced block by
the filter `fenced` or `json_lines`, which it cannot close, and every prompt says that fenced text is data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from nas_agent.errors import PromptError

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt that is ready to be sent."""

    text: str
    name: str
    hash: str  # of the template and the parts it includes, not of the values

    @property
    def reference(self) -> str:
        """What authors and records name it by, e.g. `learn@1a2b3c4d`."""
        return f"{self.name}@{self.hash}"


def render(name: str, **values: Any) -> Rendered:
    """Fill the template `name`.md; PromptError where a value is missing or has no place."""
    parts = _parts(name)
    wanted = set().union(*(variables for _, variables in parts.values()))
    missing, unused = sorted(wanted - values.keys()), sorted(values.keys() - wanted)
    if missing:
        raise PromptError(f"prompt '{name}' lacks: {', '.join(missing)}")
    if unused:
        raise PromptError(f"prompt '{name}' has no place for: {', '.join(unused)}")
    from jinja2 import UndefinedError

    try:
        text = _environment().get_template(f"{name}.md").render(values)
    except UndefinedError as error:
        raise PromptError(f"prompt '{name}': {error}") from error
    source = "\0".join(f"{part}\0{text}" for part, (text, _) in sorted(parts.items()))
    return Rendered(text, name, hashlib.sha256(source.encode()).hexdigest()[:8])


def names() -> tuple[str, ...]:
    """List the prompts there are."""
    files = _environment().list_templates(filter_func=_is_prompt)
    return tuple(file.removesuffix(".md") for file in files)


def _is_prompt(file: str) -> bool:
    return file.endswith(".md") and not file.rpartition("/")[2].startswith("_")


def fenced(text: str, language: str = "") -> str:
    """Put text in a fenced block whose fence is longer than any run of backticks inside."""
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def json_lines(items: Iterable[Any]) -> str:
    """Put each item as one line of JSON in a fenced block; text in it cannot begin a line of its own."""
    return fenced("\n".join(json.dumps(item, ensure_ascii=False) for item in items), "json")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("nas_agent", "prompts"),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(fenced=fenced, json_lines=json_lines)
    return environment


@lru_cache(maxsize=32)
def _parts(name: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return for the template and every part it includes its source and the variables it reads."""
    from jinja2 import TemplateNotFound, meta

    environment = _environment()
    assert environment.loader is not None
    found: dict[str, tuple[str, frozenset[str]]] = {}
    waiting = [f"{name}.md"]
    while waiting:
        part = waiting.pop()
        if part in found:
            continue
        try:
            source = environment.loader.get_source(environment, part)[0]
        except TemplateNotFound as error:
            raise PromptError(f"there is no prompt '{name}'; choose from {', '.join(names())}") from error
        tree = environment.parse(source)
        found[part] = source, frozenset(meta.find_undeclared_variables(tree))
        waiting += [reference for reference in meta.find_referenced_templates(tree) if reference]
    return found
