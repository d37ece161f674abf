"""What measurements say about a constraint: effect, interval, and a comparison that a search cannot bias.

A search that improves measures its better architectures later, and most of those obey the principles of
the moment: comparing all that obey with all that do not would flatter every principle, the wrong ones most.
`Measurements.rivalry` therefore compares each architecture that does not obey only with those that do and
were proposed in near rounds (the first sample only with itself), and by rank, so that one collapsed
network does not decide. The outside share of proposals is what fills its control group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_agent.principles.coding import Bools, Codes, Coding
from nas_agent.principles.constraint import Constraint
from nas_agent.principles.principle import Evidence, Observation
from nas_agent.spaces.base import Decision, Floats

NEAR = 10  # rounds within which two proposals count as comparable
RECENT = 200  # rivalry looks at the latest observations only, so that its cost does not grow

# log of the 97.5 % quantile of Student's t as a polynomial in 1/degrees (ours; relative error below 1e-7).
_T_QUANTILE = (
    0.6729261042,
    1.21036289,
    0.7076412412,
    0.1517271039,
    -0.2339637309,
    -0.05850555417,
    0.1087005964,
    0.02672140446,
    -0.06309540886,
    0.01957583795,
)


def t_quantile(degrees: float) -> float:
    """Return the 97.5 % quantile of Student's t for one degree of freedom or more."""
    inverse, power = 1.0 / max(degrees, 1.0), 0.0
    for coefficient in reversed(_T_QUANTILE):
        power = power * inverse + coefficient
    return math.exp(power)


@dataclass(frozen=True, slots=True)
class Rivalry:
    """How the architectures of one side do against comparable ones of the other side."""

    wins: float  # share of comparable pairs in which the first side is better; ties count half
    z: float  # standard deviations of `wins` above one half (Mann-Whitney); 0 where nothing is comparable
    members: int  # architectures of the first side that have at least one rival


class Measurements:
    """Observations as arrays, grown as outcomes arrive; weighing a constraint is a few array operations."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.coding = Coding(decisions)
        self.codes: Codes = self.coding.encode([])
        self.scores: Floats = np.zeros(0)
        self.rounds: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self.ids: NDArray[np.object_] = np.zeros(0, dtype=object)
        self.task: NDArray[np.intp] = np.zeros(0, dtype=np.intp)  # indices into `tasks`
        self.tasks: list[str] = []

    def __len__(self) -> int:
        return len(self.scores)

    def extend(self, observations: Sequence[Observation]) -> None:
        """Append observations, oldest first."""
        if not observations:
            return
        for observation in observations:
            if observation.task not in self.tasks:
                self.tasks.append(observation.task)
        codes = self.coding.encode(observation.choices for observation in observations)
        self.codes = np.concatenate([self.codes, codes])
        self.scores = np.concatenate([self.scores, [observation.score for observation in observations]])
        self.rounds = np.concatenate([self.rounds, [observation.round for observation in observations]])
        self.task = np.concatenate([self.task, [self.tasks.index(o.task) for o in observations]])
        ids = np.empty(len(observations), dtype=object)
        ids[:] = [observation.id for observation in observations]
        self.ids = np.concatenate([self.ids, ids])

    def obey(self, constraint: Constraint) -> Bools:
        """Tell which observations obey."""
        return self.coding.holds(constraint, self.codes)

    def weigh(self, constraint: Constraint) -> Evidence:
        """Return the evidence of all observations."""
        return self.evidence(self.obey(constraint))

    def evidence(self, obeys: Bools) -> Evidence:
        """Return the evidence for whatever the marked observations have in common."""
        others = ~obeys
        better = np.zeros(len(self), dtype=bool)
        pieces: list[tuple[float, float, float]] = []
        for index in range(len(self.tasks)):
            here = self.task == index if len(self.tasks) > 1 else np.ones(len(self), dtype=bool)
            inside, outside = obeys & here, others & here
            control = self.scores[outside]
            if len(control):
                better |= inside & (self.scores > _median(control))
            piece = welch(self.scores[inside], control)
            if piece is not None:
                pieces.append(piece)
        effect, low, high = pool(pieces) if pieces else (None, None, None)
        return Evidence(
            supporting=tuple(self.ids[better].tolist()),
            opposing=tuple(self.ids[obeys & ~better].tolist()),
            effect=effect,
            low=low,
            high=high,
            others=int(np.count_nonzero(others)),
            tasks=tuple(self.tasks),
        )

    def rivalry(self, side: Bools, against: Bools) -> Rivalry:
        """Compare the members of `side` with those `against` that were proposed in near rounds, by rank."""
        first = np.flatnonzero(side[-RECENT:]) + max(0, len(self) - RECENT)
        second = np.flatnonzero(against[-RECENT:]) + max(0, len(self) - RECENT)
        if not len(first) or not len(second):
            return Rivalry(0.5, 0.0, 0)
        rounds, rival_rounds = self.rounds[first][:, None], self.rounds[second][None, :]
        near = (np.abs(rounds - rival_rounds) <= NEAR) & ((rounds == 0) == (rival_rounds == 0))
        near &= self.task[first][:, None] == self.task[second][None, :]
        rivals = near.sum(axis=1)
        member = rivals > 0
        members = int(np.count_nonzero(member))
        if not members:
            return Rivalry(0.5, 0.0, 0)
        gap = self.scores[first][:, None] - self.scores[second][None, :]
        beaten = np.where(near, (gap > 0) + 0.5 * (gap == 0), 0.0).sum(axis=1)
        wins = float(np.mean(beaten[member] / rivals[member]))
        size = float(np.mean(rivals[member]))
        spread = math.sqrt((members + size + 1.0) / (12.0 * members * size))
        return Rivalry(wins, (wins - 0.5) / spread, members)


def weigh(constraint: Constraint, observations: Sequence[Observation], decisions: Sequence[Decision]) -> Evidence:
    """Return what the observations say about a constraint; tasks are weighed apart, then pooled."""
    measurements = Measurements(decisions)
    measurements.extend(observations)
    return measurements.weigh(constraint)


def welch(first: Floats, second: Floats) -> tuple[float, float, float] | None:
    """Return (difference of means, its variance, degrees of freedom); None where a side has less than two."""
    if len(first) < 2 or len(second) < 2:
        return None
    mean_1, part_1 = _mean_and_error(first)
    mean_2, part_2 = _mean_and_error(second)
    variance = part_1 + part_2
    if variance <= 0.0:  # both sides constant: an interval of no width
        return mean_1 - mean_2, 0.0, 1.0
    degrees = variance**2 / (part_1**2 / (len(first) - 1) + part_2**2 / (len(second) - 1))
    return mean_1 - mean_2, variance, degrees


def pool(pieces: Sequence[tuple[float, float, float]]) -> tuple[float, float, float]:
    """Combine `welch` results of several tasks by inverse variance: (effect, low, high) at 95 %."""
    if len(pieces) == 1:
        effect, variance, degrees = pieces[0]
        half = t_quantile(degrees) * math.sqrt(variance)
        return effect, effect - half, effect + half
    weights = [1.0 / max(variance, 1e-12) for _, variance, _ in pieces]
    effect = sum(weight * piece[0] for weight, piece in zip(weights, pieces, strict=True)) / sum(weights)
    half = t_quantile(min(degrees for _, _, degrees in pieces)) / math.sqrt(sum(weights))
    return effect, effect - half, effect + half


def _mean_and_error(values: Floats) -> tuple[float, float]:
    """Return the mean and its squared standard error, by arithmetic that numpy does fastest on short arrays."""
    size = len(values)
    mean = float(values.sum()) / size
    centred = values - mean
    return mean, float(centred @ centred) / ((size - 1) * size)


def _median(values: Floats) -> float:
    size = len(values)
    ordered = np.sort(values)
    return float(ordered[(size - 1) // 2] + ordered[size // 2]) / 2.0
