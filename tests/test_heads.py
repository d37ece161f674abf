"""Heads: what every one of them promises, and the closed forms against the long way round."""

from __future__ import annotations

import sys
from random import Random

import numpy as np
import pytest

from nas_agent.errors import ConfigError, DataError, MissingExtra
from nas_agent.spaces import Floats
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.spaces.path_features import SIGNAL, extended_features, path_features
from nas_agent.tools.heads import CODE, HEADS, Blocks, Head, make_head
from nas_agent.tools.heads.base import Fitted, Prediction, conformal_quantile
from nas_agent.tools.heads.gaussian_process import (
    SETTINGS,
    GaussianProcess,
    Metric,
    Posterior,
    absolute_distances,
    euclidean_distances,
)
from nas_agent.tools.heads.reduction import Rarity, Reduction
from nas_agent.tools.heads.ridge import left_out
from nas_agent.tools.heads.targets import PowerTarget, RankTarget, Target, make_target
from nas_agent.tools.surrogates.kernel import Kernel


def drawn(size: int, seed: int, noise: float = 0.1) -> tuple[dict[str, Floats], Floats]:
    """Return blocks and values that both the structure and the embedding tell a part of."""
    rng = np.random.default_rng(seed)
    structure, hidden = rng.integers(0, 3, (size, 4)).astype(np.float64), rng.normal(size=(size, 3))
    mixing = np.random.default_rng(99).normal(size=(3, 12))  # the same embedder for every sample
    log_size = structure.sum(axis=1, keepdims=True) / 4.0
    blocks = {"count": structure, "size": log_size, CODE: hidden @ mixing}
    values = 80.0 + 3.0 * structure[:, 0] - structure[:, 1] + 2.0 * hidden[:, 0] + noise * rng.normal(size=size)
    return blocks, values


def rows(blocks: Blocks, places: object) -> dict[str, Floats]:
    return {name: block[places] for name, block in blocks.items()}  # type: ignore[index]


def tau(first: Floats, second: Floats) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(first, second).statistic)


class HeadContract:
    """Subclass it and give a fixture `head`."""

    @pytest.fixture
    def head(self) -> Head:
        raise NotImplementedError

    def test_it_orders_architectures_that_it_was_not_shown(self, head: Head) -> None:
        blocks, values = drawn(400, seed=1)
        fitted = head.fit(rows(blocks, slice(80)), values[:80])
        assert tau(fitted.predict(rows(blocks, slice(80, None))).mean, values[80:]) > 0.6

    @pytest.mark.parametrize("names", [("count",), (CODE,), ("size", CODE)])
    def test_it_uses_whatever_blocks_it_is_given(self, head: Head, names: tuple[str, ...]) -> None:
        blocks, values = drawn(300, seed=2)
        chosen = {name: blocks[name] for name in names}
        fitted = head.fit(rows(chosen, slice(100)), values[:100])
        assert tau(fitted.predict(rows(chosen, slice(100, None))).mean, values[100:]) > 0.2

    def test_equal_samples_and_seeds_give_equal_numbers_bit_for_bit(self, head: Head) -> None:
        blocks, values = drawn(60, seed=3)
        first, second = (head.fit(rows(blocks, slice(30)), values[:30], seed=5) for _ in range(2))
        np.testing.assert_array_equal(first.predict(blocks).mean, second.predict(blocks).mean)
        np.testing.assert_array_equal(first.interval(blocks)[0], second.interval(blocks)[0])

    def test_candidates_do_not_change_what_is_predicted_of_each_other(self, head: Head) -> None:
        blocks, values = drawn(60, seed=4)
        fitted = head.fit(rows(blocks, slice(30)), values[:30])
        together, alone = fitted.predict(blocks), fitted.predict(rows(blocks, slice(40, 41)))
        np.testing.assert_allclose(alone.mean, together.mean[40:41], atol=1e-4)
        np.testing.assert_allclose(alone.deviation, together.deviation[40:41], atol=1e-4)

    def test_ninety_percent_intervals_hold_about_ninety_percent(self, head: Head) -> None:
        inside = []
        for seed in range(4):
            blocks, values = drawn(600, seed=10 + seed, noise=1.0)
            fitted = head.fit(rows(blocks, slice(64)), values[:64], seed=seed)
            low, high = fitted.interval(rows(blocks, slice(64, None)), 0.9)
            assert (low < high).all()
            inside.append(((low <= values[64:]) & (values[64:] <= high)).mean())
        assert 0.83 < np.mean(inside) < 0.97

    def test_intervals_hold_where_there_are_more_columns_than_points(self, head: Head) -> None:
        inside = []
        for seed in range(3):
            rng = np.random.default_rng(50 + seed)
            wide = rng.normal(size=(300, 80))
            values = wide[:, :10].sum(axis=1) + rng.normal(size=300)
            fitted = head.fit({"wide": wide[:40]}, values[:40], seed=seed)
            low, high = fitted.interval({"wide": wide[40:]})
            inside.append(((low <= values[40:]) & (values[40:] <= high)).mean())
        assert np.mean(inside) > 0.75

    def test_a_higher_level_gives_a_wider_interval(self, head: Head) -> None:
        blocks, values = drawn(80, seed=5)
        fitted = head.fit(blocks, values)
        narrow, wide = fitted.interval(blocks, 0.5), fitted.interval(blocks, 0.9)
        assert (wide[0] < narrow[0]).all()
        assert (wide[1] > narrow[1]).all()

    def test_too_few_points_for_the_level_give_an_infinite_interval(self, head: Head) -> None:
        blocks, values = drawn(5, seed=6)
        low, high = head.fit(blocks, values).interval(blocks, 0.9)
        assert (low == -np.inf).all()
        assert (high == np.inf).all()

    @pytest.mark.parametrize("level", [0.0, 1.0, 90.0])
    def test_a_level_that_is_no_probability_is_refused(self, head: Head, level: float) -> None:
        blocks, values = drawn(12, seed=6)
        with pytest.raises(ValueError, match="between 0 and 1"):
            head.fit(blocks, values).interval(blocks, level)

    @pytest.mark.parametrize("value", [0.1, 91.3, -4.0])
    def test_equal_targets_are_predicted_as_what_they_are(self, head: Head, value: float) -> None:
        blocks, _ = drawn(20, seed=7)
        fitted = head.fit(blocks, np.full(20, value))
        assert np.isfinite(fitted.predict(blocks).mean).all()
        low, high = fitted.interval(blocks)
        np.testing.assert_allclose(low, value)
        np.testing.assert_allclose(high, value)

    def test_three_points_are_enough(self, head: Head) -> None:
        blocks, values = drawn(50, seed=8)
        prediction = head.fit(rows(blocks, slice(3)), values[:3]).predict(blocks)
        assert np.isfinite(prediction.mean).all()
        assert (prediction.deviation > 0).all()

    @pytest.mark.parametrize("size", [0, 1, 2])
    def test_fewer_than_three_points_are_refused(self, head: Head, size: int) -> None:
        blocks, values = drawn(size, seed=8)
        with pytest.raises(DataError, match=f"at least 3 measured architectures .* got {size}"):
            head.fit(blocks, values)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    @pytest.mark.parametrize("name", ["count", CODE])
    def test_numbers_that_are_not_finite_are_refused_where_they_come_in(
        self, head: Head, name: str, bad: float
    ) -> None:
        blocks, values = drawn(12, seed=9)
        broken = {key: block.copy() for key, block in blocks.items()}
        broken[name][[3, 7], 0] = bad
        with pytest.raises(DataError, match=f"block '{name}': .* not finite for 2 of 12"):
            head.fit(broken, values)
        with pytest.raises(DataError, match=f"block '{name}': .* not finite for 2 of 12"):
            head.fit(blocks, values).predict(broken)

    def test_a_value_that_is_not_finite_is_refused(self, head: Head) -> None:
        blocks, values = drawn(12, seed=9)
        values[4] = np.nan
        with pytest.raises(DataError, match="1 of 12 values"):
            head.fit(blocks, values)

    def test_shapes_that_do_not_fit_are_named(self, head: Head) -> None:
        blocks, values = drawn(12, seed=9)
        with pytest.raises(ValueError, match="11 rows in each block"):
            head.fit(blocks, values[:11])
        with pytest.raises(ValueError, match="at least one block"):
            head.fit({}, values)
        with pytest.raises(ValueError, match="one value an architecture"):
            head.fit(blocks, values[:, None])
        fitted = head.fit(blocks, values)
        with pytest.raises(ValueError, match="code missing"):
            fitted.predict({name: block for name, block in blocks.items() if name != CODE})
        with pytest.raises(ValueError, match=r"block 'count': expected \(architectures, 4\), got \(12, 3\)"):
            fitted.predict({**blocks, "count": blocks["count"][:, :3]})

    def test_blocks_of_one_column_and_blocks_that_never_vary_do_no_harm(self, head: Head) -> None:
        blocks, values = drawn(80, seed=11)
        dull = {"line": blocks["count"][:, :1], "flat": np.ones((80, 2)), "size": np.full((80, 1), 2.0)}
        fitted = head.fit(rows(dull, slice(40)), values[:40])
        assert tau(fitted.predict(rows(dull, slice(40, None))).mean, values[40:]) > 0.2
        nothing = head.fit({"flat": np.ones((80, 2)), CODE: np.ones((80, 5))}, values)
        assert np.ptp(nothing.predict({"flat": np.ones((9, 2)), CODE: np.ones((9, 5))}).mean) < 1e-4

    def test_counts_of_terms_are_weighed_by_rarity(self, head: Head) -> None:
        rng = np.random.default_rng(12)
        terms = rng.integers(0, 3, (120, 6)).astype(np.float64)
        values = terms[:, 0] - terms[:, 1]
        common = np.concatenate([terms, 50.0 + 50.0 * rng.random((120, 1))], axis=1)
        weighed = head.fit({CODE: common[:80]}, values[:80], counts=True)
        plain = head.fit({CODE: common[:80]}, values[:80])
        unseen = {CODE: common[80:]}
        assert not np.allclose(weighed.predict(unseen).mean, plain.predict(unseen).mean)

    def test_what_is_given_stays_as_it_was(self, head: Head) -> None:
        blocks, values = drawn(20, seed=13)
        before = {name: block.copy() for name, block in blocks.items()}
        head.fit(blocks, values).interval(blocks)
        for name, block in blocks.items():
            np.testing.assert_array_equal(block, before[name])


class TestGaussianProcessByRank(HeadContract):
    @pytest.fixture
    def head(self) -> Head:
        return make_head("gp", target="rank")


class TestGaussianProcess(HeadContract):
    @pytest.fixture
    def head(self) -> Head:
        return make_head("gp")

    def test_joined_is_better_than_either_where_both_tell_something(self) -> None:
        blocks, values = drawn(400, seed=20)
        scores = {}
        for names in (("count",), (CODE,), ("count", CODE)):
            chosen = {name: blocks[name] for name in names}
            fitted = make_head("gp").fit(rows(chosen, slice(100)), values[:100])
            scores[names] = tau(fitted.predict(rows(chosen, slice(100, None))).mean, values[100:])
        assert scores["count", CODE] > max(scores[("count",)], scores[(CODE,)]) + 0.1

    def test_an_embedding_of_noise_is_hardly_listened_to(self) -> None:
        blocks, values = drawn(400, seed=21)
        told = {"count": blocks["count"]}
        noisy = {**told, CODE: np.random.default_rng(0).normal(size=(400, 12))}
        plain, joined = (
            tau(
                make_head("gp").fit(rows(given, slice(100)), values[:100]).predict(rows(given, slice(100, None))).mean,
                values[100:],
            )
            for given in (told, noisy)
        )
        assert joined > plain - 0.06

    def test_before_it_knows_better_it_expects_more_of_larger_networks(self) -> None:
        sizes = np.linspace(0.0, 1.0, 9)[:, None]
        fitted = make_head("gp").fit({"size": sizes}, np.full(9, 3.0))
        assert (np.diff(fitted.predict({"size": np.linspace(0.0, 3.0, 30)[:, None]}).mean) > 0).all()

    def test_leaving_out_in_closed_form_is_leaving_out(self) -> None:
        blocks, values = drawn(25, seed=22)
        metric = Metric(blocks, 8, counts=False)
        kernel = Kernel(len(metric), SETTINGS)
        residual = make_target("rank", values).sample
        posterior = Posterior(metric, kernel, residual)
        prior = kernel.of_sum(metric.weighted(None, kernel.weights)).astype(np.float64)
        for place in (0, 7, 24):
            others = np.delete(np.arange(25), place)
            among = prior[np.ix_(others, others)] + kernel.noise * np.eye(24)
            gain = np.linalg.solve(among, prior[others, place])
            deviation = np.sqrt(prior[place, place] + kernel.noise - gain @ prior[others, place])
            expected = abs(residual[place] - gain @ residual[others]) / deviation
            assert posterior.left_out[place] == pytest.approx(expected, abs=2e-4)

    def test_the_posterior_is_the_textbooks(self) -> None:
        blocks, values = drawn(40, seed=23)
        shown, unseen = rows(blocks, slice(25)), rows(blocks, slice(25, None))
        metric = Metric(shown, 8, counts=False)
        kernel = Kernel(len(metric), SETTINGS)
        residual = make_target("rank", values[:25]).sample
        prediction = Posterior(metric, kernel, residual)(unseen)
        prior = kernel.of_sum(metric.weighted(None, kernel.weights)).astype(np.float64)
        across = kernel.of_sum(metric.weighted(unseen, kernel.weights)).astype(np.float64)
        gain = np.linalg.solve(prior + kernel.noise * np.eye(25), across.T)
        mean = SETTINGS.slope * metric.trend(unseen) + residual @ gain
        np.testing.assert_allclose(prediction.mean, mean, atol=1e-4)
        variance = kernel.variance + kernel.noise - (across.T * gain).sum(axis=0)
        np.testing.assert_allclose(prediction.deviation**2, variance, atol=1e-3)

    def test_the_joined_distance_is_the_weighted_sum_of_the_blocks(self) -> None:
        blocks, _ = drawn(30, seed=24)
        metric = Metric(blocks, 8, counts=False)
        weights = np.array([0.7, 0.2, 1.3])
        apart = metric.within(np.arange(30))
        np.testing.assert_allclose(metric.weighted(None, weights), np.tensordot(weights, apart, 1), atol=2e-3)
        np.testing.assert_allclose(metric.weighted(blocks, weights), np.tensordot(weights, apart, 1), atol=2e-3)
        # A block is one apart on average, so that one prior fits all.
        np.testing.assert_allclose(apart.sum(axis=(1, 2)) / (30 * 29), 1.0, atol=1e-3)

    def test_more_points_than_choose_the_parameters_all_take_part(self) -> None:
        blocks, values = drawn(260, seed=25)
        head = GaussianProcess("power", 8)
        fitted = head.fit(rows(blocks, slice(200)), values[:200])
        prediction = fitted.predict(rows(blocks, slice(200)))
        assert np.abs(prediction.mean - make_target("power", values[:200]).sample).max() < 0.6


class TestRidge(HeadContract):
    @pytest.fixture
    def head(self) -> Head:
        return make_head("ridge")

    def test_leaving_out_in_closed_form_is_leaving_out(self) -> None:
        rng = np.random.default_rng(30)
        features, targets = rng.normal(size=(20, 4)), rng.normal(size=20)
        features -= features.mean(axis=0)
        left, singular, _ = np.linalg.svd(features, full_matrices=False)
        found, _ = left_out(left, singular, targets - targets.mean(), 2.0)
        design = np.concatenate([features, np.ones((20, 1))], axis=1)
        penalty = np.diag([2.0] * 4 + [0.0])  # the level has none
        for place in range(20):
            others = np.delete(np.arange(20), place)
            some = design[others]
            weights = np.linalg.solve(some.T @ some + penalty, some.T @ targets[others])
            assert found[place] == pytest.approx(targets[place] - design[place] @ weights)


class TestPerceptron(HeadContract):
    @pytest.fixture
    def head(self) -> Head:
        return make_head("mlp")

    def test_the_callers_random_numbers_are_left_alone(self) -> None:
        import torch

        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        blocks, values = drawn(10, seed=31)
        make_head("mlp").fit(blocks, values)
        assert torch.equal(torch.rand(3), expected)


class TestBoostedTrees(HeadContract):
    @pytest.fixture
    def head(self) -> Head:
        pytest.importorskip("lightgbm")
        return make_head("lightgbm")


@pytest.mark.parametrize("name", ["mlp", "lightgbm"])
def test_few_points_left_out_never_turn_round_what_the_members_learned(name: str) -> None:
    # With three points, each member knows two of them and is wrong about the order of the third.
    fitted = make_head(name, target="rank").fit({"line": np.array([[0.0], [1.0], [2.0]])}, np.array([0.0, 1.0, 2.0]))
    ends = fitted.predict({"line": np.array([[-1.0], [3.0]])}).mean
    assert ends[1] >= ends[0]


def test_every_head_has_its_name_and_others_are_refused() -> None:
    pytest.importorskip("lightgbm")
    assert [make_head(name).name for name in HEADS] == list(HEADS)
    with pytest.raises(ConfigError, match="unknown head 'xgboost'; choose from gp, ridge, mlp, lightgbm"):
        make_head("xgboost")
    with pytest.raises(ConfigError, match="unknown target transform 'log'"):
        make_head("gp", target="log")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least one component"):
        make_head("gp", components=0)


def test_a_head_whose_library_is_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'nas-agent\[lightgbm\]'"):
        make_head("lightgbm")


@pytest.mark.parametrize("make", [RankTarget, PowerTarget])
@pytest.mark.parametrize("scale", [1.0, 100.0, 1e-3])
def test_targets_go_there_and_back(make: type[Target], scale: float) -> None:
    rng = np.random.default_rng(40)
    values = scale * (0.9 - 0.1 * rng.exponential(size=50) - 0.6 * (rng.random(50) < 0.1))
    target = make(values)  # type: ignore[call-arg]
    np.testing.assert_allclose(target.values(target.sample), values, rtol=1e-6, atol=1e-9 * scale)
    assert abs(target.sample.mean()) < 0.05
    assert target.sample.std() == pytest.approx(1.0, abs=0.1)
    assert (np.diff(target.sample[np.argsort(values)]) >= 0).all()
    ends = target.values(np.array([-np.inf, -9.0, 0.0, 9.0, np.inf]))
    assert (ends[0], ends[-1]) == (-np.inf, np.inf)
    assert (np.diff(ends[1:-1]) > 0).all()
    others = np.linspace(values.min(), values.max() + 0.01 * scale, 30)
    np.testing.assert_allclose(target.values(target.scaled(others)), others, rtol=1e-6, atol=1e-9 * scale)


def test_the_power_draws_in_a_tail_of_failed_networks() -> None:
    rng = np.random.default_rng(41)
    values = np.concatenate([90.0 + rng.normal(size=95), [10.0] * 5])
    plain = (values - values.mean()) / values.std()
    assert np.ptp(PowerTarget(values).sample[:95]) > 3 * np.ptp(plain[:95])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_interval_beyond_the_reach_of_the_power_still_has_two_ends(sign: float) -> None:
    values = sign * np.exp(1.5 * np.random.default_rng(9).normal(size=200))
    target = PowerTarget(values)
    assert np.isinf(target.values(np.array([sign * 50.0]))).all()

    def far_out(blocks: Blocks) -> Prediction:
        return Prediction(np.array([sign * 50.0, 0.0]), np.array([0.1, 0.1]))

    low, high = Fitted(far_out, {}, target, np.ones(200)).interval({})
    ends = (values.max(), np.inf) if sign > 0 else (-np.inf, values.min())
    assert (low[0], high[0]) == pytest.approx(ends)
    assert np.isfinite([low[1], high[1]]).all()


def test_intervals_of_few_points_hold_also_where_parameters_were_fitted_to_noise() -> None:
    held = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=430)
        blocks = {str(number): rng.normal(size=(430, 1)) for number in range(6)}
        low, high = make_head("gp").fit(rows(blocks, slice(30)), values[:30]).interval(rows(blocks, slice(30, None)))
        held.append(((low <= values[30:]) & (values[30:] <= high)).mean())
    assert 0.90 < np.mean(held) < 0.96


def test_ties_share_a_target() -> None:
    values = np.array([3.0, 1.0, 3.0, 2.0])
    assert RankTarget(values).sample[0] == RankTarget(values).sample[2]


@pytest.mark.parametrize(("size", "expected"), [(8, np.inf), (9, 9.0), (19, 18.0), (99, 90.0)])
def test_the_conformal_quantile_counts_the_new_point_too(size: int, expected: float) -> None:
    assert conformal_quantile(np.arange(1.0, size + 1.0)[::-1], 0.9) == expected


def test_rarity_is_scikit_learns() -> None:
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = np.random.default_rng(42).poisson(0.7, (30, 9)).astype(np.float64)
    counts[:, 8] = 0.0
    reference = TfidfTransformer().fit(counts[:20])
    np.testing.assert_allclose(Rarity(counts[:20])(counts), reference.transform(counts).toarray(), atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 12), (10, 30)])
def test_components_are_scikit_learns_and_fitted_on_the_sample_only(shape: tuple[int, int]) -> None:
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(43).normal(size=shape) * np.arange(1, shape[1] + 1)
    reduction = Reduction(vectors[:8], 5, counts=False)
    reference = PCA(5).fit(vectors[:8])
    np.testing.assert_allclose(np.abs(reduction(vectors)), np.abs(reference.transform(vectors)), rtol=1e-3, atol=1e-3)
    assert Reduction(vectors[:8], 500, counts=False)(vectors).shape == (shape[0], 7)  # eight points span seven


def test_distances_are_scipys() -> None:
    from scipy.spatial.distance import cdist

    rng = np.random.default_rng(44)
    first, second = rng.normal(size=(300, 7)).astype(np.float32), rng.normal(size=(41, 7)).astype(np.float32)
    np.testing.assert_allclose(absolute_distances(first, second), cdist(first, second, "cityblock"), atol=1e-4)
    np.testing.assert_allclose(euclidean_distances(first, second), cdist(first, second), atol=1e-3)


def test_isomorphic_cells_have_equal_paths() -> None:
    space = NasBench201()
    one = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|")
    other = space.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|skip_connect~2|")
    first, second = (path_features(space.graph(cell)) for cell in (one, other))
    for name in ("path", "pairs", "signal"):
        np.testing.assert_allclose(first[name], second[name])


def test_the_paths_of_a_cell_by_hand() -> None:
    space = NasBench201()
    # Node 1 is conv3x3(x), which has variance 1; the output is node 1 + pool(node 1) + x: 1 + 0.5 + 1.
    cell = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|skip_connect~1|avg_pool_3x3~2|")
    found = path_features(space.graph(cell))
    assert found["path"].sum() == 3
    assert found["path"][0] == 1  # the identity
    assert found["path"][2] == 1  # one 3x3 convolution
    assert found["path"][1 + 3 + 3 * 1 + 2] == 1  # a 3x3 convolution, then a pooling
    pairs = found["pairs"].reshape(4, 4)  # 1x1, 3x3, pool, ends
    assert (pairs[3, 3], pairs[3, 1], pairs[1, 3], pairs[1, 2], pairs[2, 3]) == (1, 2, 1, 1, 1)
    signal = dict(zip(SIGNAL, found["signal"], strict=True))
    assert signal["log of the variance at the output"] == pytest.approx(np.log(2.5))
    assert signal["weighted operations of a larger kernel, mean"] == pytest.approx(1.5 / 2.5)
    assert signal["poolings, mean"] == pytest.approx(0.5 / 2.5)
    assert signal["share that has passed no weighted operation"] == pytest.approx(1.0 / 2.5)
    assert signal["one"] == pytest.approx(1.5 / 2.5)


def test_a_cell_without_a_path_is_described_too() -> None:
    space = NasBench201()
    dead = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    found = path_features(space.graph(dead))
    assert found["path"].sum() == found["pairs"].sum() == 0
    assert np.isfinite(found["signal"]).all()


def test_extended_features_add_to_the_spaces_own() -> None:
    space = NasBench201()
    cell = space.sample(Random(0))
    found = extended_features(space, cell)
    assert set(found) - set(space.features(cell)) == {"path", "pairs", "signal"}
    for name, block in space.features(cell).items():
        np.testing.assert_array_equal(found[name], block)
