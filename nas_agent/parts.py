"""Parts of a search that its configuration chooses."""

from __future__ import annotations

from collections.abc import Callable

from nas_agent.agents.generators import Generator, make_generator
from nas_agent.config import Config
from nas_agent.errors import ConfigError
from nas_agent.graphs.services import Services
from nas_agent.records import Task
from nas_agent.spaces import Space
from nas_agent.tools.evaluators.base import Evaluator
from nas_agent.tools.executors.base import Inherits
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.surrogates.base import Surrogate


def keep_weights(evaluator: Evaluator, folder: RunFolder | None) -> None:
    """Have trained weights kept in the run folder; ConfigError where there is none, or nothing is trained."""
    if folder is None:
        raise ConfigError("inherit needs a run folder in which weights are kept; search by `start`, or without inherit")
    if not isinstance(evaluator, Inherits):
        raise ConfigError(
            f"--inherit: evaluator '{evaluator.name}' trains no networks whose weights could be inherited; leave it out"
        )
    evaluator.keep_in(folder.weights)


def generator_of(config: Config, space: Space, task: Task) -> Generator:
    """Return what proposes."""
    if config.generator != "code":
        return make_generator(config.generator, space.name, seed=config.seed, model=config.generator_model)
    from nas_agent.agents.generators.quality_diversity import CodeGenerator, first_of, settings_of

    return CodeGenerator(space, task, settings_of(config), first_of(config.archive_file, space))


def weighed(surrogate: Surrogate | None, use: Services) -> Surrogate | None:
    """Let a surrogate of the metric weigh it against the second objective, where there is one."""
    wishes = use.wishes
    if surrogate is None or wishes is None or wishes.objective is None:
        return surrogate
    from nas_agent.tools.surrogates.pareto import ParetoSurrogate

    most = None if wishes.reference is None else wishes.reference["cost"]
    return ParetoSurrogate(surrogate, wishes.costs.of(wishes.objective), seed=use.config.seed, most=most)


def structure_alone(make: Callable[[str], Surrogate | None]) -> Surrogate:
    """Return the surrogate that reads no code."""
    surrogate = make("structure")
    assert surrogate is not None
    return surrogate
