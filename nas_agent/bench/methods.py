"""What a search method is given, what it hands back, and the meter through which it measures.

One rule for all methods: an architecture is measured once. A proposal whose canonical id is known gets
the known outcome back, costs nothing and is counted as a repeat; a failed evaluation counts as spent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from nas_agent.objectives import METRIC, Quantity
from nas_agent.records import Architecture, Measured, Outcome, Provenance, Task
from nas_agent.spaces import Space
from nas_agent.tools.costs import Costs
from nas_agent.tools.evaluators.base import Evaluator

# Values of a table are compared with its optimum; both are the same stored number, so this is rounding only.
SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Problem:
    """What a method may know: no optimum and no test split."""

    space: Space
    task: Task
    evaluator: Evaluator  # validation only
    stop_at: float | None = None  # read by the Meter alone; set where a run may end at the known optimum
    costs: Costs | None = None  # what architectures cost, known without measuring
    objective: Quantity | None = None  # the cost to be low beside the metric; None: the metric is all
    related: Callable[[], Sequence[Problem]] = tuple  # other tasks of the space; only a method with memory asks

    @property
    def objectives(self) -> tuple[str, ...]:
        """Both objectives as the configuration has them; none where the metric is all."""
        return () if self.objective is None else (METRIC, self.objective.name)


Stopped = Literal["budget", "exhausted", "optimum"]


@dataclass(frozen=True, slots=True)
class Trace:
    """One run of a method. Equal traces are equal searches: the clocks do not take part."""

    seed: int
    budget: int
    architectures: tuple[Architecture, ...]  # in the order of evaluation, distinct by id
    values: tuple[float | None, ...]  # the metric on the validation split; None where the evaluation failed
    stopped: Stopped
    repeats: int = 0  # proposals that were known already: free, and not among `values`
    model_calls: int = 0  # calls of a language model
    model_failures: int = 0  # questions to it that came to nothing
    tokens: int = 0  # read and written by it
    cost_usd: float | None = 0.0  # None where its price is not known
    evaluation_seconds: float = field(default=0.0, compare=False)  # cost of the evaluations (a table's is simulated)
    wall_seconds: float = field(default=0.0, compare=False)  # spent in the method itself
    cpu_seconds: float = field(default=0.0, compare=False)  # likewise, of this process

    @property
    def ids(self) -> tuple[str, ...]:
        """Canonical ids in the order of evaluation."""
        return tuple(architecture.id for architecture in self.architectures)


class Method(Protocol):
    """A way to search."""

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        """Search once; measure at most `budget` architectures and none of them twice."""
        ...


class BudgetSpent(Exception):
    """There is nothing left to spend: the budget is used up, or the run was to stop at the optimum."""


class Meter:
    """An Evaluator that stands before the real one: it counts, remembers, and keeps the method's own clock.

    A method measures through it and returns `trace()`. The clock starts when the meter is made and leaves
    out the time inside the real evaluator.
    """

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        self._evaluator = problem.evaluator
        self._task = problem.task
        self._seed = seed
        self._budget = budget
        self._target = -math.inf if problem.stop_at is None else problem.task.score(problem.stop_at)
        self._stops = problem.stop_at is not None
        self._reached = False
        self._outcomes: dict[str, Outcome] = {}  # in the order of evaluation
        self._repeats = 0
        self._outside_wall = 0.0
        self._outside_cpu = 0.0
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    @property
    def name(self) -> str:
        """Of the real evaluator."""
        return self._evaluator.name

    @property
    def provenance(self) -> Provenance:
        """Of the real evaluator."""
        return self._evaluator.provenance

    @property
    def fidelity(self) -> str:
        """Of the real evaluator."""
        return self._evaluator.fidelity

    def pool(self) -> Sequence[Architecture] | None:
        """Of the real evaluator."""
        return self._evaluator.pool()

    @property
    def measured(self) -> int:
        """Evaluations spent so far, the failed ones included."""
        return len(self._outcomes)

    @property
    def finished(self) -> bool:
        """Whether the next new architecture would be refused."""
        return self._reached or self.measured >= self._budget

    def knows(self, architecture: Architecture) -> bool:
        """Whether the architecture was evaluated in this run."""
        return architecture.id in self._outcomes

    def outcomes(self) -> list[Outcome]:
        """All outcomes of this run in their order."""
        return list(self._outcomes.values())

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Measure an architecture, or return its known outcome for free; raise BudgetSpent at the end."""
        known = self._outcomes.get(architecture.id)
        if known is not None:
            self._repeats += 1
            return known
        if self.finished:
            raise BudgetSpent
        wall, cpu = time.perf_counter(), time.process_time()
        outcome = self._evaluator.evaluate(architecture, seed=seed)
        self._outside_wall += time.perf_counter() - wall
        self._outside_cpu += time.process_time() - cpu
        self._outcomes[architecture.id] = outcome
        if self._stops and self._score_of(outcome) >= self._target - SAME * abs(self._target):
            self._reached = True
        return outcome

    def score(self, architecture: Architecture) -> float:
        """Measure it; more is better, and minus infinity is a failed evaluation."""
        return self._score_of(self.evaluate(architecture, seed=self._seed))

    def trace(
        self, *, model_calls: int = 0, model_failures: int = 0, tokens: int = 0, cost_usd: float | None = 0.0
    ) -> Trace:
        """Everything that was measured so far, and what the method itself cost."""
        outcomes = self.outcomes()
        stopped: Stopped = "optimum" if self._reached else "budget" if self.finished else "exhausted"
        return Trace(
            seed=self._seed,
            budget=self._budget,
            architectures=tuple(outcome.architecture for outcome in outcomes),
            values=tuple(outcome.value if isinstance(outcome, Measured) else None for outcome in outcomes),
            stopped=stopped,
            repeats=self._repeats,
            model_calls=model_calls,
            model_failures=model_failures,
            tokens=tokens,
            cost_usd=cost_usd,
            evaluation_seconds=sum(outcome.seconds for outcome in outcomes),
            wall_seconds=time.perf_counter() - self._wall - self._outside_wall,
            cpu_seconds=time.process_time() - self._cpu - self._outside_cpu,
        )

    def _score_of(self, outcome: Outcome) -> float:
        return self._task.score(outcome.value) if isinstance(outcome, Measured) else -math.inf
