"""The covariance of scores under block distances, and the most probable parameters of it (ours)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_agent.spaces.base import Floats

Singles = NDArray[np.float32]

JITTER = 1e-4  # least noise variance: keeps single-precision factors stable


@dataclass(frozen=True, slots=True)
class Settings:
    """The same for all spaces and tasks; measured on several (docs/log.md)."""

    noise: float = 0.2  # prior median of the noise variance; targets have variance one
    length: float = 1.0  # prior median of a length scale, in mean distances times the number of blocks
    log_deviation: float = 0.5  # of the log-normal priors
    slope: float = 0.3  # prior mean: target deviations per deviation of the log size
    constant: float = 1.0  # prior variance of the mean
    refit_growth: float = 1.2  # hyper-parameters are fitted again after this growth
    refit_from: int = 3  # observations before the first fit
    iterations: int = 15  # of one fit
    fit_cap: int = 128  # most observations in a fit
    active_cap: int = 256  # most observations the posterior is conditioned on: bounds the cost of a round


class Kernel:
    """Covariances from block distances; its parameters are the logs of l_1 .. l_B, w and the noise."""

    def __init__(self, blocks: int, settings: Settings) -> None:
        self.blocks, self.settings = blocks, settings
        centre = [math.log(settings.length * max(blocks, 1))] * blocks + [0.0, math.log(settings.noise)]
        self.centre = np.array(centre)
        self.theta = self.centre.copy()

    @property
    def noise(self) -> float:
        """Noise variance."""
        return math.exp(self.theta[-1]) + JITTER

    @property
    def variance(self) -> float:
        """Prior variance of one architecture."""
        return math.exp(self.theta[-2]) + self.settings.constant

    @property
    def weights(self) -> Floats:
        """By how much a unit of distance in each block counts."""
        return np.asarray(np.exp(-self.theta[: self.blocks]))

    def of_sum(self, total: Singles) -> Singles:
        """Weighted distances, summed over blocks (n, m) -> covariances (n, m); overwrites its argument."""
        np.negative(total, out=total)
        np.exp(total, out=total)
        total *= np.float32(math.exp(self.theta[-2]))
        total += np.float32(self.settings.constant)
        return total

    def __call__(self, distances: Singles) -> Singles:
        """Distances (blocks, n, m) -> covariances (n, m)."""
        covariance = self.signal(distances)
        covariance += np.float32(self.settings.constant)
        return covariance

    def signal(self, distances: Singles) -> Singles:
        """Return the same without the variance of the mean."""
        weights = np.exp(-self.theta[: self.blocks]).astype(np.float32)
        covariance = np.zeros(distances.shape[1:], np.float32)
        for block in range(self.blocks):
            covariance -= weights[block] * distances[block]
        np.exp(covariance, out=covariance)
        covariance *= np.float32(math.exp(self.theta[-2]))
        return covariance

    def fit(self, distances: Singles, targets: Floats) -> None:
        """Move to the most probable parameters for residual targets (n,), starting from the present ones."""
        from scipy.optimize import minimize

        settings, size, blocks = self.settings, len(targets), self.blocks
        exact, eye = distances.astype(np.float64), np.eye(size)

        def objective(theta: Floats) -> tuple[float, Floats]:
            inverse = np.exp(-theta[:blocks])
            signal = math.exp(theta[-2]) * np.exp(-np.tensordot(inverse, exact, 1))
            noise = math.exp(theta[-1])
            try:
                lower = np.linalg.cholesky(signal + settings.constant + (noise + JITTER) * eye)
            except np.linalg.LinAlgError:
                return 1e10, np.zeros_like(theta)  # the line search turns back
            half = np.linalg.solve(lower, eye)
            precision = half.T @ half
            weights = precision @ targets
            outer = precision - np.outer(weights, weights)
            pull = outer * signal
            gradient = np.empty_like(theta)
            gradient[:blocks] = 0.5 * inverse * np.tensordot(exact, pull, 2)
            gradient[-2] = 0.5 * pull.sum()
            gradient[-1] = 0.5 * noise * np.trace(outer)
            away = (theta - self.centre) / settings.log_deviation
            value = 0.5 * float(targets @ weights) + float(np.log(np.diag(lower)).sum()) + 0.5 * float(away @ away)
            return value, gradient + away / settings.log_deviation

        reach = 3 * settings.log_deviation
        found: Any = minimize(
            objective,
            self.theta,
            jac=True,
            method="L-BFGS-B",
            bounds=[(centre - reach, centre + reach) for centre in self.centre],
            options={"maxiter": settings.iterations},
        )
        self.theta = np.asarray(found.x, dtype=np.float64)
