"""Which language model plays which role in a run, what it may spend, and where its words are kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nas_agent.config import Config
from nas_agent.errors import ConfigError, ModelError
from nas_agent.spaces.inspection import Inspected
from nas_agent.tools.home import home
from nas_agent.tools.run_folder import RunFolder, find

if TYPE_CHECKING:
    from nas_agent.agents.chat import ChatModel, Models, Prices
    from nas_agent.spaces import Space


def go_offline(config: Config) -> None:
    """Keep huggingface_hub off the network; it reads this when it is first imported, so before anything else."""
    if config.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"


def settled(config: Config) -> Config:
    """Name the models so that the run can be resumed later and from another folder."""
    given = {name: getattr(config, name) for name in ("llm", "llm_learner", "llm_generator")}
    return config.model_copy(update={name: absolute(spec) for name, spec in given.items() if spec is not None})


def absolute(spec: str) -> str:
    """Replace the name of a replayed run, and the path of a model folder, by what they mean here and now."""
    if spec.startswith("replay:"):
        return f"replay:{find(home(), spec.removeprefix('replay:')).path}"
    path = os.path.expanduser(spec.removeprefix("hf:"))
    return f"hf:{os.path.abspath(path)}" if spec.startswith("hf:") and os.path.isdir(path) else spec


def specs(config: Config) -> dict[str, str]:
    """Return the roles that ask a model in this run, and which one each asks."""
    proposes = config.generator in {"llm", "code"}
    if config.llm_generator not in {None, "none"} and not proposes:
        raise ConfigError(
            f"--llm.generator {config.llm_generator}: expected --generator llm or code beside it, "
            f"got {config.generator}, which asks no model; change one of the two"
        )
    named: dict[str, str | None] = {}
    if config.principles:
        named["learner"] = config.llm_learner
    if proposes:
        named["generator"] = config.llm_generator
    found = {role: config.llm if spec is None else spec for role, spec in named.items()}
    if config.anonymise and set(found.values()) <= {"none"}:
        raise ConfigError("--anonymise hides names from a language model, got none; name one, e.g. --llm openai:gpt-4o")
    if found.get("generator") == "none" and config.generator == "llm":
        raise ConfigError("--generator llm needs a language model, got --llm none; name one, e.g. --llm openai:gpt-4o")
    return {role: spec for role, spec in found.items() if spec != "none"}


def check_space(config: Config, space: Space, *, asks: bool = False) -> None:
    """Refuse language models, named or (`asks`) a caller's, in a space without decisions, of which they speak."""
    if not space.decisions and (asks or specs(config)):
        raise ConfigError(
            f"space '{space.name}' has no decisions, which are what language models propose and learn about; "
            "leave --llm and --generator llm out"
        )
    _check_operators(config, space, asks=asks)


def _check_operators(config: Config, space: Space, *, asks: bool) -> None:
    """Refuse a language model for `--generator code` where it cannot write the space's architectures."""
    given = config.llm_generator or config.llm
    if config.generator != "code" or (given == "none" and not (asks and config.llm_generator is None)):
        return
    if not isinstance(space, Inspected):
        raise ConfigError(
            f"--generator code: a language model writes programs, and those of space '{space.name}' are cells in a "
            "notation; use --space pytorch, or --llm.generator none beside it"
        )
    if config.anonymise:
        raise ConfigError("--anonymise cannot hide the names in programs; leave it or --generator code out")


def prices(config: Config) -> dict[str, Prices | None]:
    """Return each role's prices (None: not known); ConfigError where `max_cost` could not be kept for want of one."""
    from nas_agent.agents.models import price_of

    wanted = specs(config)
    found = {role: price_of(spec) for role, spec in wanted.items()}
    for role, price in found.items():
        if config.max_cost is not None and price is None:
            raise ConfigError(
                f"--max-cost {config.max_cost:g} cannot be kept: the price of {wanted[role]} is not known; "
                "use --max-calls instead"
            )
    return found


def models(config: Config, *, prepared: bool = False) -> Models:
    """Build the models of all roles, one object where two name the same; `prepared` sees that each can answer."""
    from nas_agent.agents.chat import Models

    wanted = specs(config)
    if not wanted:
        return Models()
    from nas_agent.agents.models import resolve

    priced = prices(config)
    built = {}
    for spec in sorted(set(wanted.values())):
        with _as_given(config, spec):
            built[spec] = resolve(spec, config)
    for spec, model in built.items():
        if prepared and model is not None and config.max_calls != 0:
            with _as_given(config, spec):
                model.prepare()
    by_role: dict[str, Any] = {role: built[spec] for role, spec in wanted.items()}
    return Models(**by_role, prices=priced)


@contextlib.contextmanager
def _as_given(config: Config, spec: str) -> Iterator[None]:
    """Let an error name the flag that the model was given by: what builds models speaks of `--llm` alone."""
    try:
        yield
    except ModelError as error:
        by_role = {"--llm.learner": config.llm_learner, "--llm.generator": config.llm_generator}
        flag = next((flag for flag, given in by_role.items() if given == spec != config.llm), "--llm")
        text = str(error)
        if flag == "--llm" or not text.startswith("--llm "):
            raise
        raise ModelError(flag + text.removeprefix("--llm")) from error


def playing(config: Config, model: ChatModel) -> Models:
    """Let a model of the caller play every role."""
    from nas_agent.agents.chat import Models

    played = of_callers_model(config)
    return Models(learner=model if "learner" in played else None, generator=model if "generator" in played else None)


def of_callers_model(config: Config) -> dict[str, str]:
    """Return the roles that a model of the caller plays, and what stands for its name."""
    proposes = config.generator == "llm" or (config.generator == "code" and config.llm_generator is None)
    played = {"learner": config.principles, "generator": proposes}
    return {role: "the caller's" for role, plays in played.items() if plays}


def capped(models: Models, config: Config, folder: RunFolder | None = None) -> Models:
    """Let all roles pay from one purse and, where there is a run folder, keep what is said in it."""
    from nas_agent.agents.chat import CappedModel, Purse, RecordedModel

    if models.learner is None and models.generator is None:
        return models
    purse = Purse(config.max_calls, config.max_cost)
    if folder is not None:
        purse = Purse.after(folder.model_calls, config.max_calls, config.max_cost)

    def wrapped(model: ChatModel | None) -> ChatModel | None:
        if model is None:
            return None
        asked = CappedModel(model, purse)
        return asked if folder is None else RecordedModel(asked, folder.model_calls)

    return replace(models, learner=wrapped(models.learner), generator=wrapped(models.generator))
