"""The Gaussian process against an exact one written out here, and the surrogate that ranks with it."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from nas_agent.records import Architecture
from nas_agent.spaces import CategoricalSpace, Decision, Floats
from nas_agent.tools.surrogates import Ranked
from nas_agent.tools.surrogates.acquisition import expected_improvement
from nas_agent.tools.surrogates.blocks import Scaler, rank_gauss, stack, thin
from nas_agent.tools.surrogates.gaussian_process import Posterior
from nas_agent.tools.surrogates.kernel import JITTER, Settings
from nas_agent.tools.surrogates.structure import CellSurrogate
from tests.searching import LargeToy, Toy, worth

SMALL, LARGE = Toy(), LargeToy()
NEVER = Settings(refit_from=10**9)  # the prior's hyper-parameters for ever


def draws(space: CategoricalSpace, number: int, seed: int = 0) -> list[Architecture]:
    rng = Random(seed)
    found: dict[str, Architecture] = {}
    while len(found) < number:
        architecture = space.sample(rng)
        found[architecture.id] = architecture
    return list(found.values())


def described(space: CategoricalSpace, architectures: list[Architecture]) -> dict[str, Floats]:
    return stack([space.features(architecture) for architecture in architectures])


def exact_covariance(scaler: Scaler, blocks: dict[str, Floats], settings: Settings) -> Floats:
    """The prior covariance in double precision, written from the formula at the head of the module."""
    exponent = sum(np.abs(b[:, None] - b[None]).sum(axis=2).astype(np.float64) for b in scaler.scale(blocks))
    return np.asarray(np.exp(-exponent / (settings.length * len(scaler))) + settings.constant)


def numbers(ranked: list[Ranked]) -> list[tuple[int, float | None, float | None]]:
    return [(item.index, item.mean, item.deviation) for item in ranked]


def test_one_by_one_equals_an_exact_process_on_twenty_points() -> None:
    pool = draws(SMALL, 60)
    blocks = described(SMALL, pool)
    scaler = Scaler(blocks)
    posterior = Posterior(scaler, blocks, NEVER)
    scores = np.array([worth(architecture) for architecture in pool[:20]])
    for place, score in enumerate(scores):
        posterior.observe(place, float(score))
    mean, deviation, best = posterior.predict()

    prior = exact_covariance(scaler, blocks, NEVER)
    targets = rank_gauss(scores)
    gain = np.linalg.solve(prior[:20, :20] + (NEVER.noise + JITTER) * np.eye(20), prior[:20])
    np.testing.assert_allclose(mean, targets @ gain, atol=2e-4)
    np.testing.assert_allclose(deviation**2, np.diag(prior - prior[:, :20] @ gain), atol=2e-4)
    assert best == targets.max()
    np.testing.assert_allclose(posterior.covariance(30), (prior - prior[:, :20] @ gain)[30], atol=2e-4)


def test_members_offered_for_a_round_are_predicted_as_members_that_are_there_for_good() -> None:
    pool = draws(LARGE, 80)
    blocks = described(LARGE, pool)
    scaler = Scaler(blocks)
    listed = Posterior(scaler, blocks)
    grown = Posterior(scaler, {name: block[:0] for name, block in blocks.items()})
    for place in range(30):
        row = {name: block[place : place + 1] for name, block in blocks.items()}
        assert grown.admit(row) == place
        for posterior in (listed, grown):
            posterior.observe(place, worth(pool[place]))
    assert grown.offer({name: block[30:] for name, block in blocks.items()}) == 30
    (mean, deviation, best), (grown_mean, grown_deviation, grown_best) = listed.predict(), grown.predict()
    np.testing.assert_allclose(grown_mean, mean, atol=1e-4)
    np.testing.assert_allclose(grown_deviation, deviation, atol=1e-4)
    assert grown_best == best


@pytest.mark.parametrize("settings", [Settings(), Settings(active_cap=12)], ids=["", "thinned"])
def test_ranking_in_between_changes_nothing_that_is_predicted_later(settings: Settings) -> None:
    measured, proposals, others = draws(LARGE, 40), draws(LARGE, 50, seed=1), draws(LARGE, 33, seed=2)
    asked, silent = (CellSurrogate(LARGE, None, settings=settings) for _ in range(2))
    for architecture in measured:
        silent.observe(architecture, worth(architecture))
        asked.observe(architecture, worth(architecture))
        asked.rank(others, 2)
    expected = numbers(silent.rank(proposals, 5))
    assert numbers(asked.rank(proposals, 5)) == expected  # bit for bit
    assert numbers(silent.rank(proposals, 5)) == expected  # and asking twice is no different


def test_in_a_listed_space_too() -> None:
    pool = list(SMALL.enumerate() or ())
    asked, silent = CellSurrogate(SMALL, pool), CellSurrogate(SMALL, pool)
    for architecture in draws(SMALL, 30):
        silent.observe(architecture, worth(architecture))
        asked.observe(architecture, worth(architecture))
        asked.rank(pool, 2)
    assert numbers(asked.rank(pool, 5)) == numbers(silent.rank(pool, 5))


@pytest.mark.parametrize("listed", [True, False])
def test_in_a_batch_each_pick_narrows_the_rest_as_if_it_had_been_measured(listed: bool) -> None:
    pool = draws(SMALL, 50)
    surrogate = CellSurrogate(SMALL, pool if listed else None, settings=NEVER)
    for architecture in pool[:8]:
        surrogate.observe(architecture, worth(architecture))
    proposals = pool[8:]
    picks = surrogate.rank(proposals, 12)
    assert len({pick.index for pick in picks}) == 12

    reference = pool if listed else [SMALL.sample(rng) for rng in [Random("0/reference")] for _ in range(300)]
    prior = exact_covariance(Scaler(described(SMALL, reference)), described(SMALL, pool), NEVER)
    for count, pick in enumerate(picks):
        known = [*range(8), *(8 + earlier.index for earlier in picks[:count])]
        here = 8 + pick.index
        among = prior[np.ix_(known, known)] + (NEVER.noise + JITTER) * np.eye(len(known))
        exact = prior[here, here] - prior[here, known] @ np.linalg.solve(among, prior[known, here])
        assert pick.deviation == pytest.approx(math.sqrt(exact), abs=1e-3)


def test_ties_fall_by_a_lot_that_the_seed_draws() -> None:
    pool = list(SMALL.enumerate() or ())[:64]

    class Blind(Toy):
        def features(self, architecture: Architecture) -> dict[str, Floats]:
            return {"nothing": np.zeros(2)}

    firsts = [CellSurrogate(Blind(), pool, seed=seed).rank(pool, 3)[0].index for seed in (1, 1, 2, 3, 4)]
    assert firsts[0] == firsts[1]
    assert len(set(firsts)) > 1
    backwards = CellSurrogate(Blind(), pool, seed=1).rank(pool[::-1], 3)[0].index
    assert pool[::-1][backwards] == pool[firsts[0]]  # the lot is the member's, not its place among the proposals


@pytest.mark.parametrize("listed", [True, False])
def test_beyond_the_cap_it_goes_on_learning(listed: bool) -> None:
    settings = Settings(active_cap=64, fit_cap=32)
    space: CategoricalSpace = SMALL if listed else LARGE
    everything = draws(space, 420)
    surrogate = CellSurrogate(space, everything if listed else None, settings=settings)
    for architecture in everything[:330]:
        surrogate.observe(architecture, worth(architecture))
    held_out = everything[330:]
    assert correlation(surrogate, held_out) > 0.7
    assert all(math.isfinite(item.deviation or math.nan) for item in surrogate.rank(held_out, len(held_out)))


def test_thinning_keeps_the_best_half_and_spreads_the_rest() -> None:
    values = np.arange(100.0)
    kept = thin(values, 20)
    assert len(kept) == 20
    assert set(range(90, 100)) <= set(kept.tolist())
    assert kept.min() == 0
    assert list(thin(values, 100)) == list(range(100))


def correlation(surrogate: CellSurrogate, held_out: list[Architecture]) -> float:
    """Spearman's between predicted means and true values."""
    from scipy.stats import spearmanr

    # Asked one at a time: in one request later deviations, not means, depend on earlier picks.
    means = [surrogate.rank([architecture], 1)[0].mean for architecture in held_out]
    return float(spearmanr(means, [worth(architecture) for architecture in held_out]).statistic)


class Uneven(CategoricalSpace):
    """Ten binary decisions; the scores know one of two blocks of features only."""

    name = "uneven"
    decisions = tuple(Decision(f"d{place}", ("0", "1")) for place in range(10))

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        bits = np.array([float(option) for option in self.choices(architecture).values()])
        # `hash` says of each architecture something else that has nothing to do with its score.
        noise = np.random.default_rng(int(architecture.id, 16)).random(6)
        return {"useful": bits[:3], "hash": noise}


def test_fitted_hyper_parameters_predict_better_than_the_priors() -> None:
    space = Uneven()
    everything = list(space.enumerate() or ())
    Random(0).shuffle(everything)

    def value(architecture: Architecture) -> float:
        a, b, c, *_ = (float(option) for option in space.choices(architecture).values())
        return 3 * a + 2 * b - c + 1.5 * a * c

    from scipy.stats import spearmanr

    quality = []
    for settings in (NEVER, Settings()):
        blocks = described(space, everything)
        posterior = Posterior(Scaler(blocks), blocks, settings)
        for place in range(40):
            posterior.observe(place, value(everything[place]))
        mean, _, _ = posterior.predict()
        quality.append(float(spearmanr(mean[40:], [value(a) for a in everything[40:]]).statistic))
    assert quality[1] > quality[0] + 0.01


class Lengths:
    """An embedder for a test: how often each option occurs in the text."""

    name = "lengths"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        self.texts.extend(texts)
        return np.array([[text.count(word) for word in ("wide", "skip")] for text in texts], dtype=np.float32)


@pytest.mark.parametrize("listed", [True, False])
def test_an_embedding_of_the_source_joins_as_a_block(listed: bool) -> None:
    class Blind(Toy):
        def features(self, architecture: Architecture) -> dict[str, Floats]:
            return {"nothing": np.zeros(2)}

    space, embedder = Blind(), Lengths()
    pool = draws(space, 120)
    surrogate = CellSurrogate(space, pool if listed else None, embedder=embedder)  # type: ignore[arg-type]
    assert surrogate.name == "joint"
    for architecture in pool[:60]:
        surrogate.observe(architecture, worth(architecture))
    # The structure is blind, so whatever it knows, it knows from the texts.
    assert correlation(surrogate, pool[60:]) > 0.4
    assert space.source(pool[0]) in embedder.texts


def test_expected_improvement_is_that_of_normal_variables() -> None:
    mean, deviation = np.array([0.0, 1.0, -3.0]), np.array([1.0, 0.5, 0.1])
    rng = np.random.default_rng(0)
    drawn = mean + deviation * rng.standard_normal((400_000, 3))
    simulated = np.maximum(drawn - 0.5, 0.0).mean(axis=0)
    np.testing.assert_allclose(expected_improvement(mean, deviation, 0.5), simulated, atol=3e-3)


def test_the_acquisition_decides_the_order() -> None:
    pool = draws(SMALL, 200)
    orders = {}
    for acquisition in ("ei", "ucb"):
        surrogate = CellSurrogate(SMALL, pool, acquisition=acquisition)
        for architecture in pool[:25]:
            surrogate.observe(architecture, worth(architecture))
        ranked = surrogate.rank(pool[25:], 1)[0]
        assert ranked.gain is not None
        assert ranked.mean is not None
        assert ranked.deviation is not None
        if acquisition == "ei":
            scores = rank_gauss(np.array([worth(a) for a in pool[:25]]))
            gain = expected_improvement(np.array([ranked.mean]), np.array([ranked.deviation]), float(scores.max()))
            assert ranked.gain == pytest.approx(float(gain[0]))
        else:
            assert ranked.gain == pytest.approx(ranked.mean + 2.0 * ranked.deviation)
        orders[acquisition] = [item.index for item in surrogate.rank(pool[25:], 20)]
    assert orders["ei"] != orders["ucb"]


@pytest.mark.parametrize("listed", [True, False])
def test_constant_scores_do_not_harm(listed: bool) -> None:
    pool = draws(SMALL, 40)
    surrogate = CellSurrogate(SMALL, pool if listed else None)
    for architecture in pool[:20]:
        surrogate.observe(architecture, 5.0)
    ranked = surrogate.rank(pool[20:], 20)
    assert len(ranked) == 20
    assert all(item.mean == pytest.approx(0.0, abs=1e-6) for item in ranked)


def test_without_observations_it_ranks_and_without_proposals_it_is_silent() -> None:
    surrogate = CellSurrogate(LARGE, None)
    assert surrogate.rank([], 3) == []
    assert len(surrogate.rank(draws(LARGE, 5), 3)) == 3


def test_a_block_called_size_raises_the_prior_mean_and_no_other_does() -> None:
    class Sized(Toy):
        block = "size"

        def features(self, architecture: Architecture) -> dict[str, Floats]:
            wide = architecture.text.count("wide")
            return {self.block: np.array([float(wide)])}

    class Named(Sized):
        block = "weight"

    pool = draws(SMALL, 100)
    most = max(architecture.text.count("wide") for architecture in pool)
    first = pool[CellSurrogate(Sized(), pool).rank(pool, 1)[0].index]
    assert first.text.count("wide") == most
    means = [item.mean for item in CellSurrogate(Named(), pool).rank(pool, 10)]
    assert means == [0.0] * 10
