"""Principles by counting: which options, numbers of options and pairs of options go with good scores.

Scores become normal scores of their ranks, so that one collapsed network weighs no more than the worst rank.
An additive Bayesian ridge model gives every option an effect with an uncertainty that takes the other
decisions into account; what it leaves unexplained is searched for pairs. Every test of one call is held to
one false-discovery rate (Benjamini and Hochberg 1995). Ours; LAPT counts the most frequent operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from nas_agent.principles.coding import Codes
from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.evidence import Measurements
from nas_agent.principles.principle import Draft, Observation
from nas_agent.spaces.base import Decision, Floats
from nas_agent.wording import plural

AUTHOR = "statistics"
ENOUGH_FOR_PAIRS = 40  # interactions are not looked for in fewer observations
TRIED = 2  # an option seen less often is unknown, and stays allowed
SIDE = 3  # architectures wanted on each side of a count or a pair
MOST_DRAFTS = 8


@dataclass(frozen=True, slots=True)
class Finding:
    """A constraint with the probability that chance alone makes it look this good."""

    constraint: Constraint
    chance: float


class StatisticalLearner:
    """Suggests principles from measurements alone; works from eight observations on and stays silent when unsure."""

    def __init__(self, minimum: int = 8, false_discoveries: float = 0.1) -> None:
        self.minimum = minimum
        self.false_discoveries = false_discoveries

    def learn(self, observations: Sequence[Observation], decisions: Sequence[Decision]) -> list[Draft]:
        """Return the best supported drafts, best first; none where the data, or the space's decisions, say nothing."""
        if len(observations) < self.minimum or not decisions:
            return []
        measurements = Measurements(decisions)
        measurements.extend(observations)
        target = normal_scores(measurements)
        if float(np.ptp(target)) == 0.0:
            return []
        model = _Additive(measurements, target)
        findings = [*model.options(), *_counts(measurements, target)]
        if len(observations) >= ENOUGH_FOR_PAIRS:
            findings += model.pairs()
        drafts = []
        for finding in _discoveries(findings, self.false_discoveries)[:MOST_DRAFTS]:
            evidence = measurements.weigh(finding.constraint)
            if evidence.effect is not None and evidence.effect > 0.0:
                drafts.append(Draft(sentence(finding.constraint, decisions), finding.constraint, AUTHOR))
        return drafts


def normal_scores(measurements: Measurements) -> Floats:
    """Turn the scores of each task into normal quantiles of their ranks; ties share their mean rank."""
    target = np.zeros(len(measurements))
    for task in range(len(measurements.tasks)):
        here = measurements.task == task
        values, inverse, counts = np.unique(measurements.scores[here], return_inverse=True, return_counts=True)
        rank = np.cumsum(counts) - 0.5 * (counts - 1.0)
        quantile = (rank - 0.5) / float(counts.sum())
        table = np.array([_normal_quantile(float(q)) for q in quantile])
        target[here] = table[inverse] if len(values) > 1 else 0.0
    return target


class _Additive:
    """Score = sum of option effects + noise, by ridge with the prior that makes the data most likely."""

    def __init__(self, measurements: Measurements, target: Floats) -> None:
        self.decisions = measurements.coding.decisions
        sizes = [len(decision.options) for decision in self.decisions]
        self.start = np.concatenate([[0], np.cumsum(sizes)])
        self.hot = np.zeros((len(target), int(self.start[-1])))
        self.hot[np.arange(len(target))[:, None], measurements.codes + self.start[:-1]] = 1.0
        self.seen = self.hot.sum(axis=0)
        centred = self.hot - self.hot.mean(axis=0)
        target = target - target.mean()
        values, vectors = np.linalg.eigh(centred.T @ centred)
        values = np.maximum(values, 0.0)
        along = vectors.T @ (centred.T @ target)
        ratio, noise = _most_likely(values, along, float(target @ target), len(target))
        self.effects: Floats = vectors @ (along / (values + ratio))
        self.covariance: Floats = noise * (vectors / (values + ratio)) @ vectors.T
        self.rest: Floats = target - centred @ self.effects

    def options(self) -> Iterable[Finding]:
        """For each decision, split the tried options into a better and a worse part where that is clearest."""
        for index, decision in enumerate(self.decisions):
            columns = np.arange(self.start[index], self.start[index + 1])
            tried = columns[self.seen[columns] >= TRIED]
            ranked = tried[np.argsort(-self.effects[tried], kind="stable")]
            best, split = 0.0, 0
            for size in range(1, len(ranked)):
                contrast = np.concatenate([np.full(size, 1.0 / size), np.full(len(ranked) - size, -1.0)])
                contrast[size:] /= len(ranked) - size
                spread = float(contrast @ self.covariance[np.ix_(ranked, ranked)] @ contrast)
                z = float(contrast @ self.effects[ranked]) / math.sqrt(max(spread, 1e-12))
                if z > best:
                    best, split = z, size
            if split:
                worse = {decision.options[column - self.start[index]] for column in ranked[split:]}
                kept = tuple(option for option in decision.options if option not in worse)
                yield Finding(Allowed(decision.name, kept), _upper_tail(best) * (len(ranked) - 1))

    def pairs(self) -> Iterable[Finding]:
        """Find options of one decision that do better or worse than the model expects where another is chosen."""
        together = self.hot.T @ self.hot
        sums = self.hot.T @ (self.hot * self.rest[:, None])
        apart = self.seen[:, None] - together
        noise = float(self.rest @ self.rest) / max(1, len(self.rest) - len(self.decisions))
        enough = (together >= SIDE) & (apart >= SIDE)
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = sums / together - ((self.hot.T @ self.rest)[:, None] - sums) / apart
            z = np.where(enough, gap / np.sqrt(noise * (1.0 / together + 1.0 / apart)), 0.0)
        owner = np.repeat(np.arange(len(self.decisions)), np.diff(self.start))
        for first, second in zip(*np.nonzero(z), strict=True):
            # Each pair of options is seen from both sides; the clearer view speaks for it.
            clearer = (abs(z[first, second]), -first) > (abs(z[second, first]), -second)
            if owner[first] == owner[second] or not clearer:
                continue
            condition, then = self.decisions[owner[first]], self.decisions[owner[second]]
            chosen = then.options[second - self.start[owner[second]]]
            kept = (chosen,) if z[first, second] > 0 else tuple(o for o in then.options if o != chosen)
            option = condition.options[first - self.start[owner[first]]]
            constraint = When(condition.name, (option,), Allowed(then.name, kept))
            yield Finding(constraint, 2.0 * _upper_tail(abs(float(z[first, second]))))


def _counts(measurements: Measurements, target: Floats) -> Iterable[Finding]:
    """For each option, and each two, find the number of occurrences that splits good from bad best."""
    decisions = measurements.coding.decisions
    options = dict.fromkeys(option for decision in decisions for option in decision.options)
    repeated = [o for o in options if sum(o in decision.options for decision in decisions) > 1]
    alone: dict[str, float] = {}
    for group in [*((option,) for option in repeated), *combinations(repeated, 2)]:
        z, constraint, looked = _best_threshold(measurements.coding.count(group, measurements.codes), target, group)
        if constraint is None:
            continue
        if len(group) == 1:
            alone[group[0]] = z
        elif z <= 0.5 + max(alone.get(option, 0.0) for option in group):
            continue  # the pair says hardly more than one of the two
        yield Finding(constraint, 2.0 * looked * _upper_tail(z))


def _best_threshold(number: Codes, target: Floats, group: tuple[str, ...]) -> tuple[float, Count | None, int]:
    """Return the z, the constraint and how many thresholds were looked at."""
    size, variance = len(target), float(target.var(ddof=1))
    per_number = np.bincount(number)
    sums = np.bincount(number, weights=target)
    best, constraint, looked = 0.0, None, 0
    below, below_sum, total = 0, 0.0, float(target.sum())
    for threshold in range(1, len(per_number)):
        below += int(per_number[threshold - 1])
        below_sum += float(sums[threshold - 1])
        above = size - below
        if below < SIDE or above < SIDE:
            continue
        looked += 1
        gap = (total - below_sum) / above - below_sum / below
        z = gap / math.sqrt(variance * (1.0 / above + 1.0 / below))
        if abs(z) > best:
            best = abs(z)
            constraint = Count(group, at_least=threshold) if z > 0 else Count(group, at_most=threshold - 1)
    return best, constraint, looked


def _most_likely(values: Floats, along: Floats, total: float, size: int) -> tuple[float, float]:
    """Return (noise variance / effect variance, noise variance) of the largest marginal likelihood on a grid.

    values, along: eigenvalues of X'X and X'y in their basis. The noise variance is integrated over a weak
    prior worth four observations of variance one half, without which eight observations could look noiseless.
    """
    best: tuple[float, float, float] | None = None
    for ratio in np.geomspace(0.3, 300.0, 13):
        fitted = float(np.sum(along**2 / (values + ratio)))
        noise = (total - fitted + 2.0) / (size + 3.0)
        likelihood = -0.5 * (size + 3.0) * math.log(noise) - 0.5 * float(np.sum(np.log1p(values / ratio)))
        if best is None or likelihood > best[0]:
            best = likelihood, float(ratio), noise
    assert best is not None
    return best[1], best[2]


def _discoveries(findings: Sequence[Finding], rate: float) -> list[Finding]:
    """Benjamini and Hochberg: the findings of which at most a share `rate` is expected to be chance."""
    ranked = sorted(findings, key=lambda finding: finding.chance)
    kept = 0
    for place, finding in enumerate(ranked, start=1):
        if finding.chance <= rate * place / len(ranked):
            kept = place
    return ranked[:kept]


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2.0))


def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def sentence(constraint: Constraint, decisions: Sequence[Decision]) -> str:
    """Say a constraint in words for a person; what speaks for it stands in the evidence, which changes."""
    known = {decision.name: decision for decision in decisions}

    def named(name: str) -> str:
        return f"{name} ({known[name].meaning})" if known[name].meaning else name

    def chosen(allowed: Allowed) -> str:
        shut_out = [option for option in known[allowed.decision].options if option not in allowed.options]
        if len(shut_out) < len(allowed.options):
            return f"avoid {' and '.join(shut_out)} for {named(allowed.decision)}"
        return f"use {' or '.join(allowed.options)} for {named(allowed.decision)}"

    claim = _claim(constraint, named, chosen)
    return f"{claim[0].upper()}{claim[1:]}."


def _claim(constraint: Constraint, named: Callable[[str], str], chosen: Callable[[Allowed], str]) -> str:
    match constraint:
        case Allowed():
            return chosen(constraint)
        case Count(at_most=None):
            return f"use {' or '.join(constraint.options)} at least {plural(constraint.at_least, 'time')}"
        case Count(at_most=0):
            return f"do not use {' or '.join(constraint.options)}"
        case Count():
            assert constraint.at_most is not None  # the first case has the others
            least = f"at least {constraint.at_least} and " if constraint.at_least else ""
            return f"use {' or '.join(constraint.options)} {least}at most {plural(constraint.at_most, 'time')}"
        case When():
            condition = f"where {named(constraint.decision)} is {' or '.join(constraint.options)}"
            return f"{condition}, {chosen(constraint.then)}"
