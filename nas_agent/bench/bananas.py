"""BANANAS: an ensemble of neural predictors on path encodings (White, Neiswanger and Savani, AAAI 2021).

As in the paper: path encoding, independent Thompson sampling, candidates by mutation of the best. Ours, for
speed and for metrics of any unit: two hidden layers, three networks trained together in NumPy, and a squared
loss on targets that are ranked and then spread like a normal distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from statistics import NormalDist

import numpy as np

from nas_agent.bench.baselines import Baseline, Candidates
from nas_agent.bench.methods import Meter, Problem
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture
from nas_agent.spaces import Floats, Space

Tokens = tuple[str, ...]


@dataclass(frozen=True)
class Bananas(Baseline):
    """Fit on all outcomes, mutate the best, keep those with the highest random prediction."""

    initial: int = 10  # fresh draws before the first fit
    refit: int = 10  # evaluations between two fits
    networks: int = 3
    parents: int = 16  # how many of the best are mutated
    candidates: int = 100  # mutants that are ranked at each fit
    hidden: int = 32
    steps: int = 100  # of Adam on the full batch
    rate: float = 0.01

    def __post_init__(self) -> None:
        for name in ("initial", "refit", "networks", "parents", "candidates", "hidden", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"bananas: {name} must be at least 1, got {getattr(self, name)}")

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Alternate between fitting and measuring a batch."""
        candidates, tokens = Candidates(problem, meter), token_reader(problem.space)
        scored: list[tuple[float, Architecture]] = []
        while len(scored) < self.initial:
            drawn = candidates.fresh(rng)
            if drawn is None:
                return
            scored.append((meter.score(drawn), drawn))
        noise = np.random.default_rng(rng.getrandbits(64))
        while not candidates.exhausted:
            mutants = self._mutants(candidates, meter, scored, rng)
            if not mutants:
                return
            known = [tokens(architecture) for _, architecture in scored]
            targets = rank_gaussian(np.array([score for score, _ in scored]))
            inputs, queries = path_encoding(known, [tokens(mutant) for mutant in mutants])
            predicted = self._predict(inputs, targets, queries, noise)  # (networks, mutants)
            drawn_scores = noise.normal(predicted.mean(axis=0), predicted.std(axis=0))
            for place in np.argsort(-drawn_scores, kind="stable")[: self.refit]:
                chosen = mutants[int(place)]
                scored.append((meter.score(chosen), chosen))

    def _mutants(
        self, candidates: Candidates, meter: Meter, scored: Sequence[tuple[float, Architecture]], rng: Random
    ) -> list[Architecture]:
        """Collect unmeasured neighbours of the best; fresh draws where there are fewer than one batch."""
        best = sorted(scored, key=lambda member: -member[0])[: self.parents]
        around = {n.id: n for _, parent in best for n in candidates.neighbours(parent) if not meter.knows(n)}
        found = list(around.values())
        if len(found) > self.candidates:
            return rng.sample(found, self.candidates)
        for _ in range(self.refit - len(found)):
            drawn = candidates.fresh(rng)
            if drawn is not None and drawn.id not in around:
                around[drawn.id] = drawn
        return list(around.values())

    def _predict(self, inputs: Floats, targets: Floats, queries: Floats, noise: np.random.Generator) -> Floats:
        """Train all networks at once, (n, d) -> (n,), and return their predictions, (networks, queries)."""
        widths = (inputs.shape[1], self.hidden, self.hidden, 1)
        weights = [
            noise.normal(0.0, np.sqrt(2.0 / fan_in), (self.networks, fan_in, fan_out))
            for fan_in, fan_out in pairwise(widths)
        ]
        parameters = [*weights, *(np.zeros((self.networks, 1, fan_out)) for fan_out in widths[1:])]
        first, second = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
        for step in range(1, self.steps + 1):
            for index, gradient in enumerate(_gradients(parameters, inputs, targets)):
                first[index] += 0.1 * (gradient - first[index])
                second[index] += 0.001 * (gradient**2 - second[index])
                scale = np.sqrt(second[index] / (1.0 - 0.999**step)) + 1e-8
                parameters[index] -= self.rate * first[index] / (1.0 - 0.9**step) / scale
        return _forward(parameters, queries)[-1][:, :, 0]


def _forward(parameters: Sequence[Floats], inputs: Floats) -> list[Floats]:
    """Return each layer's activations, the inputs first: (networks, n, width)."""
    depth = len(parameters) // 2
    layers: list[Floats] = [np.broadcast_to(inputs, (len(parameters[0]), *inputs.shape))]
    for index in range(depth):
        value = layers[-1] @ parameters[index] + parameters[depth + index]
        layers.append(np.maximum(value, 0.0) if index < depth - 1 else value)
    return layers


def _gradients(parameters: Sequence[Floats], inputs: Floats, targets: Floats) -> list[Floats]:
    """Gradients of the mean squared error of each network, in the order of the parameters."""
    depth = len(parameters) // 2
    layers = _forward(parameters, inputs)
    gradients: list[Floats] = [np.empty(0)] * len(parameters)
    back: Floats = 2.0 * (layers[-1] - targets[:, None]) / len(targets)
    for index in reversed(range(depth)):
        gradients[index] = layers[index].transpose(0, 2, 1) @ back
        gradients[depth + index] = back.sum(axis=1, keepdims=True)
        if index:
            back = (back @ parameters[index].transpose(0, 2, 1)) * (layers[index] > 0.0)
    return gradients


def token_reader(space: Space) -> Callable[[Architecture], Tokens]:
    """Return what an encoding is made of: the live paths of a cell, or the choices where there is no graph."""
    known: dict[str, Tokens] = {}

    def tokens(architecture: Architecture) -> Tokens:
        found = known.get(architecture.id)
        if found is None:
            graph = space.graph(architecture)
            if graph is not None:
                paths = (">".join(graph.edges[edge].operation for edge in path) for path in graph.paths())
                found = tuple(dict.fromkeys(paths))
            else:
                found = tuple(f"{decision}={option}" for decision, option in space.choices(architecture).items())
            known[architecture.id] = found
        return found

    return tokens


def path_encoding(known: Sequence[Tokens], queries: Sequence[Tokens]) -> tuple[Floats, Floats]:
    """Turn token lists into 0/1 rows over the tokens of `known`; one that was never trained on says nothing."""
    places = {token: place for place, token in enumerate(dict.fromkeys(t for tokens in known for t in tokens))}

    def rows(lists: Sequence[Tokens]) -> Floats:
        matrix = np.zeros((len(lists), max(1, len(places))))
        for row, tokens in zip(matrix, lists, strict=True):
            row[[places[token] for token in tokens if token in places]] = 1.0
        return matrix

    return rows(known), rows(queries)


def rank_gaussian(scores: Floats) -> Floats:
    """Replace scores by normal quantiles of their ranks; equal scores share one, a failure is the lowest."""
    order = np.sort(scores)
    middle = (np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right")) / 2.0
    normal = NormalDist()
    return np.array([normal.inv_cdf(float(rank) / len(scores)) for rank in middle])
