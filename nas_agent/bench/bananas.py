"""BANANAS: Bayesian optimisation with a neural predictor (White, Neiswanger and Savani, AAAI 2021).

As in the paper: path encoding, independent Thompson sampling, candidates by mutation of the best. COLE compares
encodings inside it (arXiv 2605.15649); `in_cole` has the settings of that paper and its release.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

import numpy as np

from nas_agent.bench.baselines import STUCK, Baseline, Candidates
from nas_agent.bench.encodings import ENCODINGS, Encoding, make_encoding
from nas_agent.bench.methods import Meter, Problem
from nas_agent.bench.predictors import PREDICTORS, Predictor
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture
from nas_agent.spaces import Space, try_build

Scored = list[tuple[float, Architecture]]


@dataclass(frozen=True)
class Bananas(Baseline):
    """Fit on all outcomes, mutate the best, keep those with the highest random prediction."""

    initial: int = 10  # fresh draws before the first fit
    refit: int = 10  # evaluations between two fits
    parents: int = 16  # how many of the best are mutated
    candidates: int = 100  # mutants that are ranked at each fit
    mutations: int = 1  # decisions that are changed, one after the other
    encoding: str = "path"
    predictor: Predictor = PREDICTORS["mlp"]

    def __post_init__(self) -> None:
        for name in ("initial", "refit", "parents", "candidates", "mutations"):
            if getattr(self, name) < 1:
                raise ConfigError(f"bananas: {name} must be at least 1, got {getattr(self, name)}")

    def encoder(self, problem: Problem) -> Encoding:
        """Return what describes architectures to the predictor."""
        return make_encoding(self.encoding, problem.space)

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Alternate between fitting and measuring a batch."""
        candidates, encode = Candidates(problem, meter), self.encoder(problem)
        scored: Scored = []
        while len(scored) < self.initial:
            drawn = candidates.fresh(rng)
            if drawn is None:
                return
            scored.append((meter.score(drawn), drawn))
        noise = np.random.default_rng(rng.getrandbits(64))
        while not candidates.exhausted:
            mutants = self._mutants(problem.space, candidates, meter, scored, rng)
            if not mutants:
                return
            known, queries = encode([architecture for _, architecture in scored], mutants)
            mean, deviation = self.predictor(known, np.array([score for score, _ in scored]), queries, noise)
            drawn_scores = noise.normal(mean, deviation)
            for place in np.argsort(-drawn_scores, kind="stable")[: self.refit]:
                chosen = mutants[int(place)]
                scored.append((meter.score(chosen), chosen))

    def _mutants(
        self, space: Space, candidates: Candidates, meter: Meter, scored: Scored, rng: Random
    ) -> list[Architecture]:
        """Collect unmeasured mutants of the best; fresh draws where there are fewer than one batch."""
        best = [architecture for _, architecture in sorted(scored, key=lambda member: -member[0])[: self.parents]]
        if self.mutations == 1:
            found = {n.id: n for parent in best for n in candidates.neighbours(parent) if not meter.knows(n)}
            if len(found) > self.candidates:
                return rng.sample(list(found.values()), self.candidates)
        else:
            found = self._walks(space, candidates, meter, best, rng)
        for _ in range(self.refit - len(found)):
            drawn = candidates.fresh(rng)
            if drawn is not None and drawn.id not in found:
                found[drawn.id] = drawn
        return list(found.values())

    def _walks(
        self, space: Space, candidates: Candidates, meter: Meter, best: Sequence[Architecture], rng: Random
    ) -> dict[str, Architecture]:
        """Walk the same number of times from each parent; walks that end at something known are taken again."""
        found: dict[str, Architecture] = {}
        for parent in best:
            left = max(1, self.candidates // self.parents)
            for _ in range(STUCK):
                end = walk(space, parent, self.mutations, rng)
                mutant = None if end is None else candidates.admit(end)
                if mutant is not None and mutant.id not in found and not meter.knows(mutant):
                    found[mutant.id] = mutant
                    left -= 1
                if not left:
                    break
        return found


def walk(space: Space, start: Architecture, steps: int, rng: Random) -> Architecture | None:
    """Change one decision after the other, by chance; None where a step leads to no architecture."""
    here, open_decisions = start, [decision for decision in space.decisions if len(decision.options) > 1]
    if not open_decisions:
        return None
    for _ in range(steps):
        choices = space.choices(here)
        decision = rng.choice(open_decisions)
        choices[decision.name] = rng.choice([o for o in decision.options if o != choices[decision.name]])
        there = try_build(space, choices)
        if there is None:
            return None
        here = there
    return here


def in_cole(encodings: Sequence[str], predictor: str = "mlp") -> dict[str, Callable[[], Bananas]]:
    """Return one method for each encoding, with the settings of COLE's experiment.

    20 initial draws, 10 evaluations for each refit, an ensemble of three, 32 candidates: two walks of three
    mutations from each of the best 16 (its release asks for 100 candidates and divides them by parents and
    mutations). The release counts a repeated candidate as an evaluation; here none is proposed twice, as for
    all methods. Predictors: `paper` is the release's network on raw accuracies; `mlp` and `gp` are ours.
    """
    unknown = [name for name in encodings if name not in ENCODINGS]
    if unknown or not encodings or len(set(encodings)) < len(encodings):
        came = ", ".join(encodings) or "none"
        raise ConfigError(f"--encoding: expected some of {', '.join(ENCODINGS)}, each once, got {came}")
    if predictor not in PREDICTORS:
        raise ConfigError(f"--predictor: expected one of {', '.join(PREDICTORS)}, got '{predictor}'")
    return {
        f"bananas-{name}": partial(
            Bananas, initial=20, candidates=32, mutations=3, encoding=name, predictor=PREDICTORS[predictor]
        )
        for name in encodings
    }
