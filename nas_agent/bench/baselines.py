"""The usual methods as plain loops over the Space protocol: random, evolution, local search, TPE.

All of them draw and step among the canonical architectures that the evaluator can answer for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from random import Random

import numpy as np

from nas_agent.bench.methods import BudgetSpent, Meter, Method, Problem, Trace
from nas_agent.errors import ConfigError, MissingExtra
from nas_agent.principles.coding import Codes, Coding
from nas_agent.records import Architecture
from nas_agent.spaces import Choices, try_build

# Draws from the space before a pool is asked for its unmeasured members instead.
REDRAWS = 100
# Known proposals in a row after which a method is stuck and gets a fresh draw.
STUCK = 100


class Candidates:
    """The architectures a method may propose: the evaluator's pool, else the whole space."""

    def __init__(self, problem: Problem, meter: Meter) -> None:
        self._space = problem.space
        self._meter = meter
        members = problem.evaluator.pool()
        if members is None:
            members = problem.space.enumerate()
        # None: too many to list, so everything is admitted and nothing is ever exhausted.
        self.listed = members
        self._members = None if members is None else {member.id: member for member in members}

    @cached_property
    def _coding(self) -> Coding:
        return Coding(self._space.decisions)

    @cached_property
    def _codes(self) -> tuple[list[Architecture], Codes]:
        members = list((self._members or {}).values())
        return members, self._coding.encode([self._space.choices(member) for member in members])

    @property
    def exhausted(self) -> bool:
        """Whether everything there is has been measured."""
        return self._members is not None and self._meter.measured >= len(self._members)

    def admit(self, architecture: Architecture) -> Architecture | None:
        """Return the one that stands for it, or None where the evaluator cannot answer."""
        return architecture if self._members is None else self._members.get(architecture.id)

    def fresh(self, rng: Random) -> Architecture | None:
        """Draw an unmeasured one, uniform over the decisions; None where all are measured.

        Where `REDRAWS` draws find none (a pool that is a speck in its space), uniform over the unmeasured ones.
        """
        if self.exhausted:
            return None
        drawn = self._space.sample(rng)
        for _ in range(REDRAWS):
            member = self.admit(drawn)
            if member is not None and not self._meter.knows(member):
                return member
            drawn = self._space.sample(rng)
        if self._members is None:
            return None  # a space that cannot be listed, and yet holds nothing new
        return rng.choice([member for member in self._members.values() if not self._meter.knows(member)])

    def nearest(self, wanted: Choices, rng: Random) -> Architecture | None:
        """Return the unmeasured one that differs in the fewest decisions; a fresh draw in a space too large to list."""
        if self._members is None:
            return self.fresh(rng)
        members, codes = self._codes
        left = np.flatnonzero([not self._meter.knows(member) for member in members])
        if not len(left):
            return None
        apart = (codes[left] != self._coding.encode([wanted])).sum(axis=1)
        return members[int(rng.choice(left[apart == apart.min()].tolist()))]

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Return those that differ in one decision, in the space's order."""
        admitted = (self.admit(neighbour) for neighbour in self._space.neighbours(architecture))
        return [neighbour for neighbour in admitted if neighbour is not None]


class Baseline(ABC):
    """A method whose `search` goes on until there is nothing left to spend or to find."""

    @abstractmethod
    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Measure through the meter, until it raises BudgetSpent or every candidate is measured."""

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        """Search once."""
        meter = Meter(problem, seed, budget)
        with suppress(BudgetSpent):  # the ordinary end of a run
            self.search(problem, meter, Random(seed))
        return meter.trace()


@dataclass(frozen=True)
class RandomSearch(Baseline):
    """Uniform over the decisions, without repeats."""

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Draw and measure."""
        candidates = Candidates(problem, meter)
        while (drawn := candidates.fresh(rng)) is not None:
            meter.score(drawn)


@dataclass(frozen=True)
class Evolution(Baseline):
    """Regularised evolution (Real et al., AAAI 2019, algorithm 1): the oldest dies, whatever its worth.

    A child that is known enters the population with its known score and costs nothing; after `STUCK` of
    them in a row a fresh draw enters (ours: the paper's spaces are never used up).
    """

    population: int = 10
    sample: int = 5

    def __post_init__(self) -> None:
        if not 1 <= self.sample <= self.population:
            raise ConfigError(
                f"evolution: sample must be between 1 and population ({self.population}), got {self.sample}"
            )

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Mutate the best of a random sample, for ever."""
        self.go_on(problem, meter, rng, [])

    def go_on(self, problem: Problem, meter: Meter, rng: Random, first: Sequence[tuple[float, Architecture]]) -> None:
        """Do so from a population that is there already; what it lacks is drawn."""
        candidates = Candidates(problem, meter)
        alive: deque[tuple[float, Architecture]] = deque(first, maxlen=self.population)
        while len(alive) < self.population:
            drawn = candidates.fresh(rng)
            if drawn is None:
                return
            alive.append((meter.score(drawn), drawn))
        known_in_a_row = 0
        while not candidates.exhausted:
            parent = max(rng.sample(list(alive), self.sample), key=lambda member: member[0])[1]
            around = candidates.neighbours(parent)
            child = rng.choice(around) if around and known_in_a_row < STUCK else candidates.fresh(rng)
            if child is None:
                return
            known_in_a_row = known_in_a_row + 1 if meter.knows(child) else 0
            alive.append((meter.score(child), child))


@dataclass(frozen=True)
class LocalSearch(Baseline):
    """Local search (White et al., UAI 2021), first improvement: go to the first neighbour that is better.

    The neighbours come in random order; at a local optimum it starts again from a fresh draw.
    """

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Climb from one fresh draw after the other."""
        candidates = Candidates(problem, meter)
        while (current := candidates.fresh(rng)) is not None:
            best = meter.score(current)
            better: Architecture | None = current
            while better is not None:
                around = candidates.neighbours(better)
                rng.shuffle(around)
                better = None
                for neighbour in around:
                    score = meter.score(neighbour)
                    if score > best:
                        best, better = score, neighbour
                        break


@dataclass(frozen=True)
class Tpe(Baseline):
    """Optuna's tree-structured Parzen estimator with its default settings, one categorical a decision.

    It is told the known value of a known proposal; after `patience` of them in a row, and where the pool
    lacks a proposal, the nearest unmeasured candidate is measured and told in its place (ours).
    """

    patience: int = 20

    def __post_init__(self) -> None:
        if find_spec("optuna") is None:
            raise MissingExtra("optuna", "dev", "the method 'tpe'")

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Ask, measure, tell."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)  # else a line to stderr for each study
        candidates, space = Candidates(problem, meter), problem.space
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=rng.getrandbits(32)))
        distributions: dict[str, optuna.distributions.BaseDistribution] = {
            decision.name: optuna.distributions.CategoricalDistribution(decision.options)
            for decision in space.decisions
        }
        known_in_a_row = 0
        while not candidates.exhausted:
            trial = study.ask(distributions)
            asked = try_build(space, trial.params)  # None: no architecture, which TPE is told like a failure
            proposal = None if asked is None else candidates.admit(asked)
            if proposal is not None and known_in_a_row < self.patience:
                known_in_a_row = known_in_a_row + 1 if meter.knows(proposal) else 0
                score = meter.score(proposal)
                failed = not math.isfinite(score)
                study.tell(trial, None if failed else score, optuna.trial.TrialState.FAIL if failed else None)
                continue
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            known_in_a_row = 0
            nearest = candidates.nearest(trial.params if asked is None else space.choices(asked), rng)
            if nearest is None:
                return
            score = meter.score(nearest)
            if math.isfinite(score):
                choices = dict(space.choices(nearest))
                study.add_trial(optuna.trial.create_trial(params=choices, distributions=distributions, value=score))


BASELINES: dict[str, Callable[..., Method]] = {
    "random": RandomSearch,
    "evolution": Evolution,
    "local-search": LocalSearch,
    "tpe": Tpe,
}
