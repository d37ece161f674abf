"""Sources in the surrogate: against an exact process over several tasks, written out here in double precision."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from nas_agent.records import Architecture
from nas_agent.spaces import CategoricalSpace, Floats
from nas_agent.tools.surrogates.blocks import Scaler, rank_gauss, stack, thin
from nas_agent.tools.surrogates.gaussian_process import Posterior
from nas_agent.tools.surrogates.kernel import JITTER, Settings
from nas_agent.tools.surrogates.structure import CellSurrogate
from nas_agent.tools.surrogates.transfer import DROPPED, UNASKED, Source, alike, normal_scores
from tests.searching import LargeToy, Toy, worth
from tests.test_surrogates import NEVER, correlation, described, draws, numbers

Rows = list[tuple[int, int]]  # (task, member): task 0 is the one at hand, s + 1 is source s


class Sized(Toy):
    """The same with sizes, from which the prior mean follows."""

    name = "sized"

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        wide = float(architecture.text.count("wide"))
        return {**Toy.features(self, architecture), "size": np.array([wide, wide**2])}


def exact(
    scaler: Scaler, blocks: dict[str, Floats], rows: Rows, targets: Floats, settings: Settings
) -> tuple[Floats, Floats]:
    """Mean and variance of every member for the task at hand, from the formulas at the heads of the two modules.

    Scores of different tasks covary by the product of their agreements, those of one task also by its own level.
    """
    exponent = sum(np.abs(b[:, None] - b[None]).sum(axis=2).astype(np.float64) for b in scaler.scale(blocks))
    signal = np.exp(-exponent / (settings.length * len(scaler)))
    tasks, members = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    loading = np.where(tasks == 0, 1.0, UNASKED)
    prior = signal + settings.constant
    among = signal[np.ix_(members, members)] * np.outer(loading, loading)
    same = tasks[:, None] == tasks[None]
    among[same] = (signal[np.ix_(members, members)] + settings.constant)[same]
    cross = signal[members] * loading[:, None] + settings.constant * (tasks == 0)[:, None]
    gain = np.linalg.solve(among + (settings.noise + JITTER) * np.eye(len(rows)), cross)
    mean = settings.slope * scaler.trend(blocks)
    return mean + (targets - mean[members]) @ gain, np.diag(prior) - np.einsum("ij,ij->j", cross, gain)


def scores(pool: list[Architecture], members: range) -> tuple[list[int], list[float]]:
    """A source that knows these members by their true ranks."""
    order = sorted(members, key=lambda member: -worth(pool[member]))
    return order, list(normal_scores(range(1, len(order) + 1), len(order)))


@pytest.mark.parametrize("space", [Toy(), Sized()], ids=lambda space: space.name)
@pytest.mark.parametrize("observed", [0, 1, 12])
def test_with_sources_it_equals_an_exact_process_over_several_tasks(space: CategoricalSpace, observed: int) -> None:
    pool = draws(space, 70)
    blocks = described(space, pool)
    scaler = Scaler(blocks)
    posterior = Posterior(scaler, blocks, NEVER)
    sources = [scores(pool, range(5, 20)), scores(pool, range(30, 40))]  # the first shares members with the outcomes
    posterior.inform(sources)
    values = [worth(architecture) for architecture in pool[:observed]]
    for member, value in enumerate(values):
        posterior.observe(member, value)
    rows = [(task, member) for task, (members, _) in enumerate(sources, 1) for member in members]
    own = rank_gauss(np.array(values)) if observed else np.zeros(0)
    targets = np.concatenate([*(np.array(known) for _, known in sources), own])
    mean, variance = exact(scaler, blocks, [*rows, *((0, member) for member in range(observed))], targets, NEVER)
    predicted, deviation, best = posterior.predict()
    np.testing.assert_allclose(predicted, mean, atol=3e-4)
    np.testing.assert_allclose(deviation**2, variance, atol=3e-4)
    assert best == (own.max() if observed else 0.0)  # the best of this task: a source's is no value of it
    assert posterior.agreement == (UNASKED, UNASKED)


def test_what_is_offered_for_a_round_is_predicted_from_sources_as_a_member_for_good() -> None:
    pool = draws(LargeToy(), 70)
    blocks = described(LargeToy(), pool)
    scaler = Scaler(blocks)
    known = {name: block[:40] for name, block in blocks.items()}
    listed, grown = Posterior(scaler, blocks, NEVER), Posterior(scaler, known, NEVER)
    for posterior in (listed, grown):
        posterior.inform([scores(pool, range(15, 40))])
        for member in range(8):
            posterior.observe(member, worth(pool[member]))
    assert grown.offer({name: block[40:] for name, block in blocks.items()}) == 40
    for one, other in zip(grown.predict()[:2], listed.predict()[:2], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("gone", [0, 1])
@pytest.mark.parametrize("cap", [256, 8])
def test_a_source_that_is_left_out_might_never_have_been_there(gone: int, cap: int) -> None:
    pool = draws(Toy(), 70)
    blocks, settings = described(Toy(), pool), replace(NEVER, active_cap=cap)
    sources = [scores(pool, range(5, 20)), scores(pool, range(30, 40))]
    had, never = (Posterior(Scaler(blocks), blocks, settings) for _ in range(2))
    had.inform(sources)
    never.inform([sources[1 - gone]])
    for member in range(6):
        had.observe(member, worth(pool[member]))
        never.observe(member, worth(pool[member]))
    had.without(gone)
    for member in range(6, 30):
        np.testing.assert_allclose(had.predict()[0], never.predict()[0], atol=3e-4)
        np.testing.assert_allclose(had.predict()[1], never.predict()[1], atol=3e-4)
        had.observe(member, worth(pool[member]))
        never.observe(member, worth(pool[member]))
    assert had.agreement == never.agreement


def test_without_its_last_source_it_is_the_process_of_one_task() -> None:
    pool = draws(Toy(), 50)
    blocks = described(Toy(), pool)
    had, never = (Posterior(Scaler(blocks), blocks, NEVER) for _ in range(2))
    had.inform([scores(pool, range(20, 40))])
    for posterior in (had, never):
        for member in range(10):
            posterior.observe(member, worth(pool[member]))
    assert np.abs(had.predict()[0] - never.predict()[0]).max() > 0.05
    had.without(0)
    assert had.agreement == ()
    np.testing.assert_allclose(had.predict()[0], never.predict()[0], atol=2e-4)
    np.testing.assert_allclose(had.predict()[1], never.predict()[1], atol=2e-4)


def test_beyond_the_cap_only_outcomes_of_this_task_are_thinned() -> None:
    pool, cap = draws(Toy(), 80), 12
    blocks, settings = described(Toy(), pool), replace(NEVER, active_cap=cap)
    scaler = Scaler(blocks)
    posterior = Posterior(scaler, blocks, settings)
    members, targets = scores(pool, range(50, 70))
    posterior.inform([(members, targets)])
    active: list[int] = []
    for member in range(45):
        posterior.observe(member, worth(pool[member]))
        if len(active) == cap + cap // 4:
            values = np.array([worth(pool[place]) for place in range(member + 1)])
            active = [active[place] for place in thin(values[active], cap)]
        active.append(member)
    own = rank_gauss(np.array([worth(architecture) for architecture in pool[:45]]))[active]
    rows = [*((1, member) for member in members), *((0, member) for member in active)]
    mean, variance = exact(scaler, blocks, rows, np.concatenate([targets, own]), settings)
    np.testing.assert_allclose(posterior.predict()[0], mean, atol=5e-4)
    np.testing.assert_allclose(posterior.predict()[1] ** 2, variance, atol=5e-4)


# -- how much a source counts -------------------------------------------------------------------------------


def best_of_all(number: int, space: CategoricalSpace) -> list[Architecture]:
    return sorted(draws(space, 1000, seed=9), key=lambda a: -worth(a))[:number]


def same_scores(space: CategoricalSpace) -> Source:
    known = sorted(draws(space, 50, seed=5), key=lambda a: -worth(a))
    return Source("same", tuple(known), normal_scores(range(1, 51), 50))


def random_scores(space: CategoricalSpace, seed: int) -> Source:
    known = draws(space, 50, seed=100 + seed)
    return Source("random", tuple(known), normal_scores(Random(seed).sample(range(1, 51), 50), 50))


def opposite_scores(space: CategoricalSpace) -> Source:
    known = sorted(draws(space, 50, seed=7), key=worth)
    return Source("opposite", tuple(known), normal_scores(range(1, 51), 50))


def surrogate_of(space: CategoricalSpace, listed: bool, settings: Settings | None = None) -> CellSurrogate:
    return CellSurrogate(space, list(space.enumerate() or ()) if listed else None, settings=settings)


@pytest.mark.parametrize("listed", [True, False])
def test_a_source_with_the_same_scores_agrees_more_and_more(listed: bool) -> None:
    surrogate = surrogate_of(Toy(), listed)
    surrogate.inform([same_scores(Toy())])
    assert surrogate.agreement == {"same": UNASKED}
    for architecture in draws(Toy(), 40):
        surrogate.observe(architecture, worth(architecture))
    assert surrogate.agreement["same"] > UNASKED


@pytest.mark.parametrize("listed", [True, False])
def test_a_source_of_random_scores_agrees_less_and_less(listed: bool) -> None:
    courses = []
    plain = surrogate_of(Toy(), listed)
    for architecture in draws(Toy(), 60):
        plain.observe(architecture, worth(architecture))
    held_out = draws(Toy(), 60, seed=1)
    for seed in range(4):
        surrogate = surrogate_of(Toy(), listed)
        surrogate.inform([random_scores(Toy(), seed)])
        courses.append([UNASKED])
        for architecture in draws(Toy(), 60):
            surrogate.observe(architecture, worth(architecture))
            courses[-1].append(surrogate.agreement["random"])
        # What it says counts so little that the surrogate is as good as one that was never told.
        assert correlation(surrogate, held_out) > correlation(plain, held_out) - 0.05
    means = np.mean(courses, axis=0)
    assert means[0] > means[20] > means[40] > means[60]
    assert means[60] < 0.5


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("first", ["bad", "good"])
def test_a_source_that_misleads_is_dropped_and_the_one_that_agrees_stays(listed: bool, first: str) -> None:
    surrogate, good = surrogate_of(Toy(), listed), surrogate_of(Toy(), listed)
    sources = [opposite_scores(Toy()), same_scores(Toy())]
    surrogate.inform(sources if first == "bad" else sources[::-1])
    good.inform([same_scores(Toy())])
    for architecture in draws(Toy(), 40):
        surrogate.observe(architecture, worth(architecture))
        good.observe(architecture, worth(architecture))
        assert all(value >= DROPPED for value in surrogate.agreement.values())
    assert set(surrogate.agreement) == {"same"}
    assert surrogate.agreement["same"] > UNASKED
    held_out = draws(Toy(), 60, seed=1)
    assert correlation(surrogate, held_out) > correlation(good, held_out) - 0.02


@pytest.mark.parametrize("listed", [True, False])
def test_before_the_first_outcome_a_source_already_orders_proposals(listed: bool) -> None:
    surrogate = surrogate_of(Toy(), listed)
    surrogate.inform([same_scores(Toy())])
    assert correlation(surrogate, draws(Toy(), 60, seed=1)) > 0.6


def test_what_cannot_be_measured_here_is_passed_over() -> None:
    pool = draws(Toy(), 60)
    strangers = [a for a in draws(Toy(), 200, seed=4) if a not in pool][:10]
    mixed = [*strangers, *pool[:10]]
    told, partly, plain = (CellSurrogate(Toy(), pool) for _ in range(3))
    partly.inform([Source("mixed", tuple(mixed), tuple(float(-place) for place in range(20)))])
    told.inform([Source("mixed", tuple(pool[:10]), tuple(float(-place) for place in range(10, 20)))])
    assert numbers(partly.rank(pool, 5)) == numbers(told.rank(pool, 5))
    stranger = CellSurrogate(Toy(), pool)
    stranger.inform([Source("strange", tuple(strangers), tuple(float(-place) for place in range(10)))])
    assert stranger.agreement == {}
    assert numbers(stranger.rank(pool, 5)) == numbers(plain.rank(pool, 5))


@pytest.mark.parametrize("listed", [True, False])
def test_no_sources_change_no_bit(listed: bool) -> None:
    told, plain = surrogate_of(Toy(), listed), surrogate_of(Toy(), listed)
    told.inform([])
    proposals = draws(Toy(), 50, seed=1)
    for architecture in draws(Toy(), 30):
        told.observe(architecture, worth(architecture))
        plain.observe(architecture, worth(architecture))
        assert numbers(told.rank(proposals, 3)) == numbers(plain.rank(proposals, 3))
    assert told.agreement == {}


@pytest.mark.parametrize("settings", [Settings(), Settings(active_cap=12)], ids=["", "thinned"])
@pytest.mark.parametrize("listed", [True, False])
def test_ranking_in_between_changes_nothing_with_sources_either(listed: bool, settings: Settings) -> None:
    space: CategoricalSpace = Toy() if listed else LargeToy()
    proposals, others = draws(space, 50, seed=1), draws(space, 33, seed=2)
    asked, silent = (surrogate_of(space, listed, settings) for _ in range(2))
    for one in (asked, silent):
        one.inform([same_scores(space), opposite_scores(space)])
    asked.rank(others, 2)
    for architecture in draws(space, 40):
        silent.observe(architecture, worth(architecture))
        asked.observe(architecture, worth(architecture))
        asked.rank(others, 2)
    assert asked.agreement == silent.agreement
    assert set(asked.agreement) == {"same"}  # the other one was dropped on the way
    assert numbers(asked.rank(proposals, 5)) == numbers(silent.rank(proposals, 5))  # bit for bit


# -- sense and scores -------------------------------------------------------------------------------------


def rows_of(space: CategoricalSpace, architectures: list[Architecture]) -> Floats:
    scaler = Scaler(stack([space.features(a) for a in draws(space, 300, seed=8)]))
    scaled = scaler.scale(stack([space.features(a) for a in architectures]))
    return np.concatenate(scaled, axis=1).astype(np.float64)


@pytest.mark.parametrize("space", [Toy(), LargeToy()], ids=lambda space: space.name)
def test_the_best_of_a_task_with_structure_are_alike_and_random_ones_are_not(space: CategoricalSpace) -> None:
    reference = rows_of(space, draws(space, 300, seed=8))
    for number in (10, 50):
        assert alike(rows_of(space, best_of_all(number, space)), reference)
    passed = [alike(rows_of(space, draws(space, 50, seed=seed)), reference) for seed in range(100, 200)]
    assert sum(passed) <= 5  # about one in a hundred by chance


def test_fewer_than_five_or_nothing_to_compare_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    assert alike(rng.random((4, 3)), rng.random((100, 3)))
    assert alike(rng.random((50, 3)), rng.random((9, 3)))
    assert alike(np.zeros((50, 0)), np.zeros((100, 0)))
    assert not alike(rng.random((50, 3)), rng.random((100, 3)))


def test_normal_scores_are_quantiles_of_ranks_among_all_that_were_ranked() -> None:
    from scipy.stats import norm

    assert normal_scores([1, 2, 3], 3) == pytest.approx([norm.ppf(1 - 0.5 / 3), 0.0, norm.ppf(0.5 / 3)])
    best = normal_scores([1, 50], 15_625)
    assert best == pytest.approx([norm.ppf(1 - 0.5 / 15_625), norm.ppf(1 - 49.5 / 15_625)])
    assert best[1] > 2.7  # the best slice of a table is far above its middle
    # A rank beyond what is said to be ranked is taken at its word, and nothing is infinite.
    assert all(math.isfinite(score) for score in normal_scores([1, 7], 5))
