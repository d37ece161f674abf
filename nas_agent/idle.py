"""Settings that would do nothing beside the others: refused before a search begins, since silence would look like use.

What stays is off, or promises less than the default (`gate = false`, `max_calls = 0`, `--offline`, `--no-memory`), is
kept where nothing could break it, and is not refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas_agent import roles
from nas_agent.config import Config
from nas_agent.errors import ConfigError
from nas_agent.tools.sources import MEMORY

# Settings that have a flag of their own; the others are given by `--set`.
FLAGS = {
    "llm": "--llm",
    "llm_learner": "--llm.learner",
    "max_calls": "--max-calls",
    "max_cost": "--max-cost",
    "edits": "--edits",
    "recall": "--recall",
    "review": "--review",
}
OFF = {"llm_learner": "none", "max_calls": 0, "rejected_share": 0.0, "outside_share": 0.0, "recall": "none"}
NAME_ONE = "name one, e.g. --llm openai:gpt-4o"


@dataclass(frozen=True, slots=True)
class Rule:
    """Settings that are read only where something else holds."""

    settings: tuple[str, ...]
    read: Callable[[Config, Mapping[str, str]], bool]  # asked with the role that each language model plays
    why: str  # what is expected beside them, what came, and what to do; {fields} are those of the configuration


RULES = (
    Rule(
        ("llm",),
        lambda config, models: bool(models),
        "nobody would ask it: no principles are learned, or not by a model, and --generator {generator} proposes "
        "without one; leave it out, or change one of these",
    ),
    Rule(
        ("archive", "archive_file", "niches", "islands", "migration", "curiosity", "edits"),
        lambda config, models: config.generator == "code",
        "expected --generator code beside it, got {generator}, which keeps no archive of programs; change one of the "
        "two",
    ),
    Rule(
        ("edits",),
        lambda config, models: "generator" in models,
        f"expected a language model that writes programs beside it, got none; {NAME_ONE}",
    ),
    Rule(
        ("migration",),
        lambda config, models: config.islands > 1,
        "expected islands = 2 or more beside it, got {islands}; change one of the two",
    ),
    Rule(
        ("max_calls", "max_cost", "temperature"),
        lambda config, models: bool(models),
        f"expected a language model beside it, got none; {NAME_ONE}",
    ),
    Rule(
        ("hf_dtype", "hf_device", "hf_quantise", "hf_revision", "hf_max_tokens"),
        lambda config, models: any(spec.startswith(("hf:", "replay:")) for spec in models.values()),
        "expected a model in this process beside it, got none; add --llm hf:REPO_OR_PATH, or leave it out",
    ),
    Rule(
        ("llm_learner", "review", "outside_share", "adapt_every"),
        lambda config, models: config.principles,
        "this search has no principles (--no-principles, or --objectives without --set principles=true); change one "
        "of the two",
    ),
    Rule(
        ("rejected_share",),
        lambda config, models: config.surrogate != "none" and not config.objectives,
        "a surrogate of one objective has what it rejects measured, and there is none (--surrogate none, or "
        "--objectives); leave it out",
    ),
    Rule(
        ("eta",),
        lambda config, models: bool(config.fidelities),
        "expected --fidelities beside it, between which it promotes, got none; add them, or leave it out",
    ),
    Rule(
        ("recall",),
        lambda config, models: not config.source or MEMORY in config.source,
        "--from names what is read instead of memory; add --from memory, or leave one of the two out",
    ),
    Rule(
        ("source_rows",),
        lambda config, models: bool(config.source) or config.recall != "none",
        "expected something to transfer from beside it, got --recall none; add --from, or leave it out",
    ),
)


def refuse_idle(config: Config, *, model: bool = False) -> None:
    """Raise ConfigError for a setting that nothing would read; `model`: the caller brings the language model."""
    models = roles.of_callers_model(config) if model else roles.specs(config)
    if model and not models:
        raise ConfigError("model: nobody would ask it: principles are off, and this generator proposes without one")
    for name, why in idle_settings(config, models).items():
        raise ConfigError(f"{told(name, getattr(config, name))}: {why}")


def idle_settings(config: Config, models: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that are said and that nothing would read, and why."""
    found: dict[str, str] = {}
    for rule in RULES:
        if not rule.read(config, models):
            why = rule.why.format_map(config.model_dump())
            found |= {name: why for name in rule.settings if said(config, name) and name not in found}
    return found


def said(config: Config, name: str) -> bool:
    """Tell whether a setting is neither as it is by default nor off."""
    value = getattr(config, name)
    return value != Config.model_fields[name].default and (name not in OFF or value != OFF[name])


def told(name: str, value: object) -> str:
    """Name a setting as it is given."""
    if name in FLAGS:
        return FLAGS[name] if value is True else f"{FLAGS[name]} {value}"
    return f"{name} = {str(value).lower() if isinstance(value, bool) else value}"
