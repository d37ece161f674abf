"""What BANANAS asks for the scores of candidates: an ensemble of networks in NumPy, or a Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nas_agent.bench.encodings import Blocks
from nas_agent.errors import ConfigError
from nas_agent.spaces import Floats
from nas_agent.tools.surrogates.blocks import Scaler, thin
from nas_agent.tools.surrogates.kernel import Kernel, Settings, Singles


class Predictor(Protocol):
    """Fits scores, and says how sure it is."""

    def __call__(self, known: Blocks, scores: Floats, queries: Blocks, noise: np.random.Generator) -> Belief:
        """Fit measured architectures and return mean and deviation of others; more is better."""
        ...


Belief = tuple[Floats, Floats]


@dataclass(frozen=True)
class Networks:
    """An ensemble of fully connected ReLU networks, trained together by Adam on the squared error.

    The defaults are ours, for speed and for metrics of any unit: narrow, the whole sample in each step, targets
    that are ranked and then spread like a normal distribution.
    """

    networks: int = 3
    hidden: tuple[int, ...] = (32, 32)
    epochs: int = 100  # one step each where `batch` is None
    rate: float = 0.01
    batch: int | None = None  # size of a minibatch; None: the whole sample
    targets: Literal["rank", "raw"] = "rank"
    last_penalty: float = 0.0  # weight of the last layer's L1 norm
    second_decay: float = 0.999  # of Adam's second moment
    single: bool = False  # precision

    def __post_init__(self) -> None:
        for name, least in (("networks", 1), ("epochs", 1), ("batch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"bananas: {name} must be at least {least}, got {value}")
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"bananas: hidden must be at least one layer of at least one unit, got {self.hidden}")

    def __call__(self, known: Blocks, scores: Floats, queries: Blocks, noise: np.random.Generator) -> Belief:
        """Return mean and deviation over the networks."""
        kind = np.float32 if self.single else np.float64
        inputs: Floats = np.concatenate(list(known.values()), axis=1).astype(kind)
        asked: Floats = np.concatenate(list(queries.values()), axis=1).astype(kind)
        targets: Floats = (rank_gaussian(scores) if self.targets == "rank" else finite(scores)).astype(kind)
        predicted = _forward(self._train(inputs, targets, noise), asked)[-1][:, :, 0].astype(np.float64)
        return predicted.mean(axis=0), predicted.std(axis=0)

    def _train(self, inputs: Floats, targets: Floats, noise: np.random.Generator) -> list[Floats]:
        """Train all networks at once, (n, d) -> (n,); return their weights, then their biases."""
        widths = (inputs.shape[1], *self.hidden, 1)
        weights = [
            noise.normal(0.0, np.sqrt(2.0 / fan_in), (self.networks, fan_in, fan_out)).astype(inputs.dtype)
            for fan_in, fan_out in pairwise(widths)
        ]
        biases = [np.zeros((self.networks, 1, fan_out), inputs.dtype) for fan_out in widths[1:]]
        parameters: list[Floats] = [*weights, *biases]
        first, second = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
        step, last = 0, len(weights) - 1
        for _ in range(self.epochs):
            for batch in self._batches(len(targets), noise):
                step += 1
                gradients = _gradients(parameters, inputs[batch], targets[batch])
                if self.last_penalty:
                    gradients[last] += self.last_penalty * np.sign(parameters[last])
                for index, gradient in enumerate(gradients):
                    first[index] += 0.1 * (gradient - first[index])
                    second[index] += (1.0 - self.second_decay) * (gradient**2 - second[index])
                    scale = np.sqrt(second[index] / (1.0 - self.second_decay**step)) + 1e-8
                    parameters[index] -= self.rate * first[index] / (1.0 - 0.9**step) / scale
        return parameters

    def _batches(self, size: int, noise: np.random.Generator) -> Sequence[slice | NDArray[np.intp]]:
        """Return what to index the sample by, one step after the other; each network has its own order."""
        if self.batch is None:
            return (slice(None),)
        order = np.argsort(noise.random((self.networks, size)), axis=1)
        return [order[:, start : start + self.batch] for start in range(0, size, self.batch)]


# The release of COLE (github.com/pcsom/cole): its `MLPPredictor`, on accuracies in percent as they are.
PAPER = Networks(
    hidden=(128, 128, 128),
    epochs=200,
    rate=0.001,
    batch=32,
    targets="raw",
    last_penalty=0.2,
    second_decay=0.99,
    single=True,
)


class Process:
    """A Gaussian process with the kernel of the search's surrogate, one length scale a block (ours)."""

    def __call__(self, known: Blocks, scores: Floats, queries: Blocks, noise: np.random.Generator) -> Belief:
        """Return the posterior of the targets' normal scores."""
        settings, scaler, targets = Settings(), Scaler(known), rank_gaussian(scores)
        rows, asked = scaler.scale(known), scaler.scale(queries)
        if not rows:
            return np.zeros(len(_any(queries))), np.ones(len(_any(queries)))  # nothing varies, nothing is known
        kernel = Kernel(len(scaler), settings)
        among = np.stack([_apart(block, block) for block in rows])
        across = np.stack([_apart(block, others) for block, others in zip(rows, asked, strict=True)])
        residual = targets - settings.slope * scaler.trend(known)
        some = thin(targets, settings.fit_cap)
        kernel.fit(among[:, some][:, :, some], residual[some])
        covariance = kernel(among).astype(np.float64) + kernel.noise * np.eye(len(targets))
        lower = np.linalg.cholesky(covariance)
        half = np.linalg.solve(lower, kernel(across).astype(np.float64))
        mean = settings.slope * scaler.trend(queries) + half.T @ np.linalg.solve(lower, residual)
        return mean, np.sqrt(np.maximum(kernel.variance - (half**2).sum(axis=0), 1e-12))


PREDICTORS: dict[str, Predictor] = {"mlp": Networks(), "gp": Process(), "paper": PAPER}


def rank_gaussian(scores: Floats) -> Floats:
    """Replace scores by normal quantiles of their ranks; equal scores share one, a failure is the lowest."""
    order = np.sort(scores)
    middle = (np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right")) / 2.0
    normal = NormalDist()
    return np.array([normal.inv_cdf(float(rank) / len(scores)) for rank in middle])


def finite(scores: Floats) -> Floats:
    """Let a failure, which has no score, count as the worst that has one."""
    fine = scores[np.isfinite(scores)]
    return np.where(np.isfinite(scores), scores, fine.min() if len(fine) else 0.0)


def _any(blocks: Blocks) -> Floats:
    return next(iter(blocks.values()))


def _apart(rows: Singles, others: Singles) -> Singles:
    """Sum of absolute differences, (n, d) and (m, d) -> (n, m)."""
    apart = np.empty((len(rows), len(others)), np.float32)
    for place, row in enumerate(rows):
        np.abs(others - row).sum(axis=1, out=apart[place])
    return apart


def _forward(parameters: Sequence[Floats], inputs: Floats) -> list[Floats]:
    """Return each layer's activations, the inputs first: (networks, n, width)."""
    depth = len(parameters) // 2
    layers: list[Floats] = [np.broadcast_to(inputs, (len(parameters[0]), *inputs.shape[-2:]))]
    for index in range(depth):
        value = layers[-1] @ parameters[index] + parameters[depth + index]
        layers.append(np.maximum(value, 0.0) if index < depth - 1 else value)
    return layers


def _gradients(parameters: Sequence[Floats], inputs: Floats, targets: Floats) -> list[Floats]:
    """Gradients of the mean squared error of each network, in the order of the parameters."""
    depth = len(parameters) // 2
    layers = _forward(parameters, inputs)
    gradients: list[Floats] = [np.empty(0)] * len(parameters)
    back: Floats = 2.0 * (layers[-1] - targets[..., None]) / targets.shape[-1]
    for index in reversed(range(depth)):
        gradients[index] = layers[index].transpose(0, 2, 1) @ back
        gradients[depth + index] = back.sum(axis=1, keepdims=True)
        if index:
            back = (back @ parameters[index].transpose(0, 2, 1)) * (layers[index] > 0.0)
    return gradients
