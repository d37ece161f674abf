"""The project's own search as a bench method, and its ablations: what each part is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from nas_agent.bench.methods import BudgetSpent, Meter, Method, Problem, Trace
from nas_agent.config import Config, load_config, make_config
from nas_agent.errors import ConfigError
from nas_agent.graphs.services import Recollection
from nas_agent.idle import idle_settings, refuse_idle
from nas_agent.roles import of_callers_model
from nas_agent.run import Search
from nas_agent.told import NoTestSplit
from nas_agent.tools.evaluators.base import Evaluation

if TYPE_CHECKING:
    from nas_agent.agents.chat import ChatModel
    from nas_agent.tools.embeddings import Embedder
    from nas_agent.tools.memory import Memory


@dataclass(frozen=True)
class Agent:
    """`nas_agent.Search` without a run folder; `settings` are fields of the configuration, `llm` names its model."""

    settings: tuple[tuple[str, Any], ...] = ()
    llm: str = "none"

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        """Search once, from a cold start."""
        return self.search(problem, seed, budget, None)

    def search(self, problem: Problem, seed: int, budget: int, memory: Recollection | None) -> Trace:
        """Search once, with what memory recalls if there is one."""
        meter = Meter(problem, seed, budget)
        evaluation = Evaluation(problem.task, meter, NoTestSplit(), "bench", costs=problem.costs)
        wanted = {"objectives": problem.objectives} if problem.objectives else {}
        wanted |= dict(self.settings)
        search = Search(
            problem.task,
            space=problem.space,
            evaluation=evaluation,
            model=_model(self.llm),
            memory=memory,
            budget=budget,
            seed=seed,
            **_read(wanted, self.llm),
        )
        with suppress(BudgetSpent):  # the run was to end at the optimum
            search.run()
        use = search.journal.model_use
        return meter.trace(
            model_calls=use.calls,
            model_failures=sum(event["type"] == "model_failure" for event in search.journal.log.events),
            tokens=use.input_tokens + use.output_tokens,
            cost_usd=use.cost_usd,
        )


# What the comparison itself decides on, for all methods alike.
DECIDED = ("task", "space", "budget", "seed", "evaluator", "epochs", "data", "out", "llm", "limits", "objectives")


def agent_settings(overrides: Sequence[str]) -> dict[str, Any]:
    """Read `KEY=VALUE` as `run --set` does; raise ConfigError for what is no setting or is not an agent's to choose."""
    keys = [override.partition("=")[0].strip() for override in overrides]
    refused = [key for key in keys if key in DECIDED]
    if refused:
        flag = "limit" if refused[0] == "limits" else refused[0]
        raise ConfigError(f"--set {refused[0]}: in a comparison that is the same for all methods; use --{flag}")
    config = load_config(None, {}, tuple(overrides))
    refuse_idle(config)
    return {key: getattr(config, key) for key in Config.model_fields if key in keys}


def _read(settings: dict[str, Any], llm: str) -> dict[str, Any]:
    """Leave out what this variant does not read: settings are given to several at once."""
    config = make_config(settings)
    idle = idle_settings(config, {} if llm == "none" else of_callers_model(config))
    return {name: value for name, value in settings.items() if name not in idle}


@lru_cache(maxsize=1)
def _model(llm: str) -> ChatModel | None:
    """One model a worker: weights are loaded once, not for each run."""
    from nas_agent.agents.models import resolve

    return resolve(llm)


@lru_cache(maxsize=1)
def _embedder() -> Embedder:
    """One model a worker, and one cache of sentences over all of them."""
    from nas_agent.tools.embeddings import CachedEmbedder, MiniLM
    from nas_agent.tools.home import home

    return CachedEmbedder(MiniLM(), home() / "cache")


@dataclass(frozen=True)
class AgentWithMemory(Agent):
    """The same after one cold search of each related task, remembered and recalled as the product does it.

    The earlier searches have the same seed and `source_budget` evaluations each, which the trace does not count.
    """

    embedder: Callable[[], Embedder] = _embedder
    source_budget: int = 50

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        """Search related tasks, remember them, then search this one."""
        from nas_agent.tools.memory import Memory
        from nas_agent.tools.recollection import RunMemory

        with TemporaryDirectory(prefix="nas-agent-bench-") as folder:
            memory = Memory(Path(folder), self.embedder())
            for source in problem.related():
                self._remember(memory, source, seed)
            config = make_config({"task": problem.task.name, "space": problem.space.name, "seed": seed})
            recollection = RunMemory(config, problem.task, problem.space, Path("bench"), memory, keep=False)
            return self.search(problem, seed, budget, recollection)

    def _remember(self, memory: Memory, source: Problem, seed: int) -> None:
        from nas_agent.tools.run_records import record_from

        evaluation = Evaluation(source.task, source.evaluator, NoTestSplit(), "bench")
        search = Search(source.task, space=source.space, evaluation=evaluation, budget=self.source_budget, seed=seed)
        search.run()
        memory.remember(record_from(search.journal, f"{source.task.name}-{seed}", source.space.name))


AGENTS: dict[str, Callable[[], Method]] = {
    "agent": Agent,
    "agent-no-principles": partial(Agent, (("principles", False),)),
    "agent-no-surrogate": partial(Agent, (("surrogate", "none"),)),
    "agent-joint": partial(Agent, (("surrogate", "joint"),)),
    "agent-vq": partial(Agent, (("generator", "vq"),)),
    "agent-memory": AgentWithMemory,
}
