"""Measures of one fit on the fold it has not seen, and tests between configurations that shared all splits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_agent.records import Json
from nas_agent.spaces import Floats

TOP = 0.05  # share of a fold that counts as its top
LEVEL = 0.9  # of the intervals
SIGNIFICANT = 0.05  # for an adjusted p-value

# What is measured of every fit, in this order; the last is a clock and takes part in no comparison.
MEASURES = ("tau", "spearman", "top", "coverage", "width", "seconds")


def rank_correlations(predicted: Floats, values: Floats) -> tuple[float, float]:
    """Return Kendall's tau-b and Spearman's rho; zero where all predictions or all values are equal."""
    if np.ptp(predicted) == 0.0 or np.ptp(values) == 0.0:
        return 0.0, 0.0  # both are undefined there, and a constant ranks nothing
    from scipy.stats import kendalltau, spearmanr

    return float(kendalltau(predicted, values).statistic), float(spearmanr(predicted, values).statistic)


def top_recall(predicted: Floats, values: Floats, share: float = TOP) -> float:
    """Return which part of the best `share` by value is among the best `share` by prediction.

    Equal values at the border all count as the top; equal predictions are expected to be picked in parts.
    """
    count = max(round(share * len(values)), 1)
    best = values >= np.sort(values)[-count]
    border = np.sort(predicted)[-count]
    above, equal = predicted > border, predicted == border
    picked = above + equal * ((count - above.sum()) / equal.sum())  # the chance of each row to be picked
    return float(picked[best].sum() / min(count, best.sum()))


def coverage_and_width(low: Floats, high: Floats, values: Floats) -> tuple[float, float]:
    """Return the share of values inside their intervals and the median width; infinite where most are open."""
    return float(np.mean((low <= values) & (values <= high))), float(np.median(high - low))


@dataclass(frozen=True, slots=True)
class Contrast:
    """The mean difference of two configurations over all folds, and how likely chance is to do as much."""

    mean: float
    low: float  # 95 % interval, from the corrected variance
    high: float
    p: float  # two-sided

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "p": self.p}


def corrected_t_test(differences: Floats, test_to_training: float) -> Contrast | None:
    """Test the mean of paired differences over repeated folds (Nadeau and Bengio, 2003); None for a single one.

    Training sets overlap, so that the differences are no independent draws: their variance is multiplied by
    1/J + (rows tested)/(rows trained on) rather than by 1/J, as Bouckaert and Frank (2004) do for repeated
    cross-validation. The ratio is that of the split, also for smaller samples of its training part: those
    overlap less, so the test is conservative there.
    """
    from scipy.stats import t as student

    count = len(differences)
    if count < 2:
        return None
    mean, variance = float(differences.mean()), float(differences.var(ddof=1))
    error = math.sqrt(variance * (1.0 / count + test_to_training))
    if error == 0.0:
        return Contrast(mean, mean, mean, 1.0 if mean == 0.0 else 0.0)
    reach = float(student.ppf(0.975, count - 1)) * error
    return Contrast(mean, mean - reach, mean + reach, float(2.0 * student.sf(abs(mean) / error, count - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of one family of comparisons (Holm, 1979): any false claim is as rare as the level says."""
    adjusted, highest = [1.0] * len(p_values), 0.0
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = highest
    return adjusted
