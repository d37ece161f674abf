"""A Gaussian process over named blocks of features: one length scale a block, targets by rank (ours).

    k(a, b) = w exp(-sum over blocks of |a_b - b_b|_1 / l_b) + constant

Distances are scaled so that two random architectures are one apart in each block, which makes one prior fit
every space: log-normal around "as long as there are blocks" for the length scales, 1 for w, 0.2 for the noise.
Hyper-parameters are the most probable ones (a posteriori), fitted anew whenever the observations have grown
by a fifth. Where the space knows sizes, the prior mean rises with the log of the first one. What was tried
instead stands in docs/log.md.

Every number is a function of the observations in their order, taken in one by one: a resumed search computes
what the search that was never stopped computes, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nas_agent.spaces.base import Floats
from nas_agent.tools.linear_algebra import on_one_thread
from nas_agent.tools.surrogates.blocks import Blocks, Scaler, rank_gauss, thin
from nas_agent.tools.surrogates.kernel import JITTER, Kernel, Settings, Singles
from nas_agent.tools.surrogates.transfer import Relations, Tasks


class Posterior:
    """The process over a list of members, conditioned on those that were observed.

    One observation adds one row to a Cholesky factor and to the members' half-solved covariances, so a round
    over thousands of members costs milliseconds. At most `active_cap` and a quarter more observations take part.
    Members are there for good, or offered for one round: these come last, cost their own columns only, and are
    gone before anything is learned, so that what was offered never shows in what is predicted later.
    """

    def __init__(self, scaler: Scaler, members: Blocks, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self._scaler = scaler
        self._features = scaler.scale(members)
        self._trend = scaler.trend(members)
        self._kernel = Kernel(len(scaler), self.settings)
        self._rows = self.settings.active_cap + max(self.settings.active_cap // 4, 1)
        self._distances = np.zeros((len(self._features), 0, len(self._trend)), np.float32)
        self._half = np.zeros((0, len(self._trend)), np.float32)
        self._reserve(64)
        self._lower = np.zeros((self._rows, self._rows))
        self._explained = np.zeros(len(self._trend))
        self._active: list[int] = []  # observed members that take part, in order
        self._observed: list[int] = []
        self._values: list[float] = []
        self._told: dict[int, int] = {}  # member -> its place among the observed
        self._next_fit = self.settings.refit_from
        self._lasting = len(self._trend)  # members that are there for good
        # Observations of other tasks come first among the active ones:
        self._relations = Relations(0, self.settings.constant)
        self._sources: list[int] = []  # for each of these rows, which source it is of
        self._source_targets: Floats = np.zeros(0)

    def __len__(self) -> int:
        return len(self._trend)

    @property
    def agreement(self) -> tuple[float, ...]:
        """How much the scores of each source that is left correlate with this task's, from 0 to 1."""
        return tuple(float(value) for value in self._relations.agreement)

    @on_one_thread
    def inform(self, sources: Sequence[tuple[Sequence[int], Sequence[float]]]) -> None:
        """Take in what other tasks scored: members that are there for good, and targets on the rank scale.

        Before the first observation.
        """
        assert not self._observed
        self._withdraw()
        self._relations = Relations(len(sources), self.settings.constant)
        for number, (members, targets) in enumerate(sources):
            self._sources += [number] * len(members)
            self._active += members
            self._source_targets = np.concatenate([self._source_targets, targets])
        self._rows += len(self._active)
        self._lower = np.zeros((self._rows, self._rows))
        self._reserve(max(2 * len(self._active), 64))
        for row, member in enumerate(self._active):
            self._measure(row, member)
        if len(self._active) >= self.settings.refit_from:
            self._fit()
        self._condition()

    @on_one_thread
    def offer(self, members: Blocks) -> int:
        """Put these members in the place of those that were offered before; return the place of the first."""
        self._withdraw()
        first, size = self._lasting, len(self._active)
        fresh, trend = self._scaler.scale(members), self._scaler.trend(members)
        distances = np.zeros((len(fresh), len(self._half), len(trend)), np.float32)
        for place, (block, known) in enumerate(zip(fresh, self._features, strict=True)):
            for row, member in enumerate(self._active):
                np.abs(block - known[member]).sum(axis=1, out=distances[place, row])
        half = np.zeros(distances.shape[1:], np.float32)
        half[:size] = self._solve(self._to_task(distances[:, :size]))
        self._features = [np.concatenate(pair) for pair in zip(self._features, fresh, strict=True)]
        self._trend = np.concatenate([self._trend, trend])
        self._distances = np.concatenate([self._distances, distances], axis=2)
        self._half = np.concatenate([self._half, half], axis=1)
        self._explained = np.concatenate([self._explained, _squares(half[:size])])
        return first

    def admit(self, members: Blocks) -> int:
        """Add members for good; return the place of the first."""
        first = self.offer(members)
        self._lasting = len(self)
        return first

    @on_one_thread
    def observe(self, member: int, value: float) -> None:
        """Take in the score of a member that is there for good, or another score than was told; more is better."""
        self._withdraw()
        known = self._told.setdefault(member, len(self._observed))
        if known < len(self._observed):
            self._values[known] = value  # targets are made of the values when they are asked for
            return
        self._observed.append(member)
        self._values.append(value)
        if len(self._active) == self._rows:
            lead = len(self._sources)
            own = thin(np.asarray(self._values)[self._places()], self.settings.active_cap)
            keep = np.concatenate([np.arange(lead), lead + own])
            self._active = [self._active[place] for place in keep]
            self._distances[:, : len(keep)] = self._distances[:, keep]
            self._condition()
        row = len(self._active)
        if row == len(self._half):
            self._reserve(min(2 * row, self._rows))
        self._measure(row, member)
        self._active.append(member)
        if len(self._observed) >= self._next_fit:
            grown = math.ceil(len(self._observed) * self.settings.refit_growth)
            self._next_fit = max(len(self._observed) + 1, grown)
            self._fit()
            self._relate()
            self._condition()
        else:
            self._append(row)

    @on_one_thread
    def predict(self) -> tuple[Floats, Floats, float]:
        """Return mean and standard deviation of every member, and the best target, on the rank scale."""
        size = len(self._active)
        mean = self.settings.slope * self._trend
        best = 0.0
        if size:
            from scipy.linalg import solve_triangular

            targets = self._targets()
            best = float(targets[len(self._sources) :].max()) if self._values else 0.0
            residual = targets - mean[self._active]
            alpha = solve_triangular(self._lower[:size, :size], residual, lower=True, check_finite=False)
            mean = mean + (alpha.astype(np.float32) @ self._half[:size]).astype(np.float64)
        return mean, np.sqrt(np.maximum(self._kernel.variance - self._explained, 1e-12)), best

    @on_one_thread
    def without(self, source: int) -> None:
        """Leave a source out for good."""
        keep = [row for row in range(len(self._active)) if row >= len(self._sources) or self._sources[row] != source]
        lead = [row for row in keep if row < len(self._sources)]
        self._distances[:, : len(keep)] = self._distances[:, keep]
        self._rows -= len(self._active) - len(keep)
        self._active = [self._active[row] for row in keep]
        self._source_targets = self._source_targets[lead]
        self._sources = [self._sources[row] - (self._sources[row] > source) for row in lead]
        self._relations = self._relations.without(source)
        self._condition()

    @on_one_thread
    def covariance(self, member: int) -> Floats:
        """Return the posterior covariance of one member with all of them."""
        size = len(self._active)
        prior = self._kernel(self._distance_to(member)[:, None])[0]
        return np.asarray(prior - self._half[:size, member] @ self._half[:size], dtype=np.float64)

    @property
    def noise(self) -> float:
        """Noise variance on the rank scale."""
        return self._kernel.noise

    # -- behind the scenes -----------------------------------------------------------------------------

    def _withdraw(self) -> None:
        lasting = self._lasting
        if lasting == len(self):
            return
        self._features = [block[:lasting] for block in self._features]
        self._trend, self._explained = self._trend[:lasting], self._explained[:lasting]
        self._distances, self._half = self._distances[:, :, :lasting].copy(), self._half[:, :lasting].copy()

    def _reserve(self, rows: int) -> None:
        distances = np.zeros((len(self._features), rows, len(self._trend)), np.float32)
        half = np.zeros((rows, len(self._trend)), np.float32)
        have = len(self._half)
        distances[:, :have], half[:have] = self._distances, self._half
        self._distances, self._half = distances, half

    def _distance_to(self, member: int) -> Singles:
        distances = np.zeros((len(self._features), len(self)), np.float32)
        for place, block in enumerate(self._features):
            np.abs(block - block[member]).sum(axis=1, out=distances[place])
        return distances

    def _measure(self, row: int, member: int) -> None:
        for place, block in enumerate(self._features):
            np.abs(block - block[member]).sum(axis=1, out=self._distances[place, row])

    def _places(self) -> list[int]:
        return [self._told[member] for member in self._active[len(self._sources) :]]

    def _tasks(self) -> Tasks:
        """Return of which task each active row is: 0 is this one."""
        own = len(self._active) - len(self._sources)
        return np.array([*(source + 1 for source in self._sources), *([0] * own)], dtype=np.intp)

    def _targets(self) -> Floats:
        """Return the targets of the active rows."""
        own = rank_gauss(np.asarray(self._values))[self._places()] if self._values else np.zeros(0)
        return np.concatenate([self._source_targets, own]) if self._sources else own

    def _residuals(self) -> Floats:
        return np.asarray(self._targets() - self.settings.slope * self._trend[self._active])

    def _fit(self) -> None:
        """Fit length scales and noise; with sources, on what each task leaves unexplained by its own level."""
        targets, tasks = self._residuals(), self._tasks()
        if self._sources:
            for task in np.unique(tasks):
                targets[tasks == task] -= targets[tasks == task].mean()
        some = thin(self._targets(), self.settings.fit_cap)
        members = np.asarray(self._active)[some]
        self._kernel.fit(self._distances[:, some][:, :, members], targets[some])

    def _relate(self) -> None:
        """Ask the outcomes how much each source agrees."""
        if self._sources:
            signal = self._kernel.signal(self._distances[:, : len(self._active)])[:, self._active]
            self._relations.learn(signal.astype(np.float64), self._kernel.noise, self._tasks(), self._residuals())

    def _to_task(self, distances: Singles) -> Singles:
        """Return the covariances of active rows with members, taken as observations of this task."""
        if not self._sources:
            return self._kernel(distances)
        factor, term = self._relations.to_task(self._tasks()[: distances.shape[1]])
        signal = self._kernel.signal(distances)
        return np.asarray(signal * factor[:, None].astype(np.float32) + term[:, None].astype(np.float32))

    def _condition(self) -> None:
        """Make the factor and the half-solved covariances anew."""
        size = len(self._active)
        if self._sources:
            signal = self._kernel.signal(self._distances[:, :size])[:, self._active]
            among = self._relations.among(signal.astype(np.float64), self._tasks())
            covariance = self._to_task(self._distances[:, :size])
        else:
            covariance = self._kernel(self._distances[:, :size])
            among = covariance[:, self._active].astype(np.float64)
        self._lower[:size, :size] = np.linalg.cholesky(among + self._kernel.noise * np.eye(size))
        self._half[:size] = self._solve(covariance)
        self._explained = _squares(self._half[:size])

    def _solve(self, covariance: Singles) -> Singles:
        """Half-solve covariances (active, n) by the factor."""
        from scipy.linalg import solve_triangular

        size = len(self._active)
        if not size:
            return covariance
        factor = self._lower[:size, :size].astype(np.float32)
        return np.asarray(solve_triangular(factor, covariance, lower=True, check_finite=False), dtype=np.float32)

    def _append(self, row: int) -> None:
        """Add one row to the factor and to the half-solved covariances."""
        member = self._active[row]
        covariance = self._kernel(self._distances[:, row : row + 1])[0]
        left = self._half[:row, member].astype(np.float64)
        pivot = math.sqrt(max(float(covariance[member]) + self._kernel.noise - float(left @ left), JITTER))
        self._lower[row, :row] = left
        self._lower[row, row] = pivot
        self._half[row] = (covariance - left.astype(np.float32) @ self._half[:row]) / np.float32(pivot)
        self._explained += self._half[row].astype(np.float64) ** 2


def _squares(half: Singles) -> Floats:
    """Sum the squares of each column: what the observations explain of a member's variance."""
    return np.asarray(np.einsum("ij,ij->j", half, half), dtype=np.float64)
