"""What the nodes of a search use; made once by `run.py`, faked in tests, never in a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from nas_agent.agents.generators import Generator
from nas_agent.agents.generators.language_model import LanguageModelGenerator
from nas_agent.agents.learner import LanguageModelLearner
from nas_agent.agents.operators import LanguageModelOperators
from nas_agent.config import Config
from nas_agent.principles.statistics import StatisticalLearner
from nas_agent.records import Architecture, Json, Miss, Proposal, Task
from nas_agent.spaces.base import Space
from nas_agent.tools.costs.wishes import Wishes
from nas_agent.tools.embeddings.base import Embedder
from nas_agent.tools.evaluators.base import Evaluator, TestSplit
from nas_agent.tools.executors.arrivals import Arrivals
from nas_agent.tools.executors.base import Executor
from nas_agent.tools.journal import Journal
from nas_agent.tools.proxies.screens import Screen
from nas_agent.tools.surrogates.base import Surrogate
from nas_agent.tools.surrogates.levels import Levels


class Recollection(Protocol):
    """What a search may ask of memory, and what it hands over when it is finished."""

    def recall(self) -> list[Json]:
        """Return recalled architectures and principles as plain JSON, each with why it was recalled."""
        ...

    def remember(self, journal: Journal) -> str:
        """Keep what a finished search has found; return what went wrong, if anything did."""
        ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """The proposals of one round."""

    round: int
    proposals: list[Proposal]
    stream: str  # the random stream that makes them again
    wider: bool  # nothing was left on the wanted side of the principles, so both sides were taken
    offered: Sequence[Proposal] = ()  # by a language model: they go first
    misses: Sequence[Miss] = ()  # what was tried in vain


@dataclass(slots=True)
class Services:
    """One field for each thing that a search is done with."""

    config: Config
    task: Task
    space: Space
    evaluator: Evaluator
    test_split: TestSplit
    journal: Journal
    generator: Generator
    pool: Sequence[Architecture] | None  # all candidates where they can be listed
    executor: Executor  # has the evaluator measure
    arrivals: Arrivals  # outcomes that came before their turn
    wishes: Wishes | None = None  # limits, and a second objective
    screen: Screen | None = None  # a proxy that proposals are screened by
    surrogate: Surrogate | None = None
    embedder: Embedder | None = None  # what the surrogate reads code by
    substitute: Callable[[], Surrogate] | None = None  # makes the surrogate to go on with where the embedder fails
    statistics: StatisticalLearner | None = None
    model_learner: LanguageModelLearner | None = None
    model_generator: LanguageModelGenerator | None = None  # beside `generator`, which fills its gaps
    model_operators: LanguageModelOperators | None = None  # carries wishes of `--generator code` out
    memory: Recollection | None = None
    finished: Callable[[Journal], None] | None = None  # writes what a finished run leaves behind
    # Caches of what follows from the journal, for the process that runs the nodes:
    observed: int = 0  # outcomes that the surrogate knows
    levels: Levels | None = None  # them on one scale, of several fidelities
    drawn: Drawn | None = None  # the proposals of the present round
    informed: tuple[str, ...] | None = None  # names of the sources that the surrogate was told of; None: not yet
