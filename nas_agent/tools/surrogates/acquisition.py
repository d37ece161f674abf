"""How much an architecture is worth measuring, given what the surrogate expects of it."""

from __future__ import annotations

import math

import numpy as np

from nas_agent.spaces.base import Floats


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return the expected gain over `best` of normal variables (Mockus 1978)."""
    from scipy.special import ndtr

    z = (mean - best) / deviation
    return np.asarray(deviation * (z * ndtr(z) + np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)))


def upper_confidence_bound(mean: Floats, deviation: Floats, weight: float) -> Floats:
    """Return the optimistic value `mean + weight * deviation` (Srinivas et al., ICML 2010)."""
    return np.asarray(mean + weight * deviation)
