"""BANANAS with other encodings and predictors, and where mean curves cross."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
import pytest

from nas_agent.bench.agent import AGENTS, agent_settings
from nas_agent.bench.bananas import Bananas, in_cole, walk
from nas_agent.bench.baselines import RandomSearch
from nas_agent.bench.compare import METHODS, compare, find_methods
from nas_agent.bench.crossing import crossings, open_curves
from nas_agent.bench.document import document
from nas_agent.bench.encodings import Described, Encoding, PathEncoding, make_encoding
from nas_agent.bench.methods import Meter, Problem
from nas_agent.bench.predictors import PAPER, PREDICTORS, Networks, Process
from nas_agent.bench.report import markdown
from nas_agent.bench.statistics import chosen_by_validation
from nas_agent.errors import ConfigError, InvalidArchitecture
from nas_agent.records import Architecture, Measured, Task
from nas_agent.spaces import CategoricalSpace, Decision, Space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators import base
from tests.test_bench import ACCURACY, LOSS, Digits, Load, MethodContract, Sums, problem_of, trace_of

CELLS = NasBench201()


def cells(count: int, seed: int = 0) -> list[Architecture]:
    rng = Random(seed)
    return list({cell.id: cell for cell in (CELLS.sample(rng) for _ in range(4 * count))}.values())[:count]


class Lengths:
    """An embedder of two numbers, of which the second is a tenth of the first."""

    name = "lengths"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.texts += texts
        return np.array([[len(text), len(text) / 10.0] for text in texts], dtype=np.float32)


class TestBananasInCole(MethodContract):
    @pytest.fixture
    def method(self):
        return replace(in_cole(["structure"])["bananas-structure"](), predictor=Networks(epochs=10), initial=5)


class TestBananasWithAProcess(MethodContract):
    @pytest.fixture
    def method(self):
        return replace(in_cole(["structure"], "gp")["bananas-structure"](), initial=5)


# -- encodings ---------------------------------------------------------------------------------------


def test_joint_is_the_structure_and_the_code_side_by_side():
    known, queries = cells(12), cells(5, seed=1)
    names = {
        "structure": list(CELLS.features(known[0])),
        "cole": ["code"],
        "joint": [*CELLS.features(known[0]), "code"],
    }
    for name, encoding in {
        "structure": make_encoding("structure", CELLS),
        "cole": Described(CELLS, features=False, embedder=Lengths()),
        "joint": Described(CELLS, features=True, embedder=Lengths()),
    }.items():
        rows, asked = encoding(known, queries)
        assert list(rows) == list(asked) == names[name]
        assert all(len(block) == 12 for block in rows.values())
        assert all(len(block) == 5 for block in asked.values())
    assert list(PathEncoding(CELLS)(known, queries)[0]) == ["path"]


def test_what_is_scaled_is_scaled_on_the_measured_ones_only():
    known = cells(12)
    encoding = Described(CELLS, features=True, embedder=Lengths())
    rows, few = encoding(known, cells(2, seed=1))
    again, many = encoding(known, [*cells(2, seed=1), *cells(30, seed=2)])
    for name, block in rows.items():
        assert block.mean(axis=0) == pytest.approx(0.0, abs=1e-9)
        assert np.array_equal(block, again[name])
        assert np.array_equal(few[name], many[name][:2])
    assert rows["count"].std(axis=0) == pytest.approx(1.0)


def test_components_of_an_embedding_keep_their_proportions():
    rows, _ = Described(CELLS, features=False, embedder=Lengths())(cells(12), cells(2))
    assert rows["code"].std(axis=0) == pytest.approx([1.0, 0.1], rel=1e-4)


def test_a_number_that_never_varied_is_left_out_also_where_a_candidate_has_another():
    digits = Digits()
    known = [digits.parse(f"d0=0,d1=0,d2={two},d3=0,d4=0") for two in range(5)]
    rows, asked = make_encoding("structure", digits)(known, [digits.parse("d0=4,d1=4,d2=0,d3=4,d4=4")])
    shapes = [(block.shape[1], asked[name].shape[1]) for name, block in rows.items()]
    assert [one for one, _ in shapes] == [other for _, other in shapes]
    assert sum(one for one, _ in shapes) < sum(block.shape[0] for block in digits.features(known[0]).values())


def test_each_code_is_embedded_once_and_it_is_the_canonical_text():
    embedder, known = Lengths(), cells(6)
    encoding = Described(CELLS, features=False, embedder=embedder)
    encoding(known[:4], known[4:])
    encoding(known, cells(1, seed=5))
    texts = [CELLS.source(cell) for cell in (*known, *cells(1, seed=5))]
    assert embedder.texts == list(dict.fromkeys(texts))


def test_an_unknown_encoding_is_told_with_all_that_exist():
    with pytest.raises(ConfigError, match="path, cole, structure, joint, got 'adjacency'"):
        make_encoding("adjacency", CELLS)


# -- the search --------------------------------------------------------------------------------------


def squares(space: Space, one: Architecture) -> float:
    return float(sum(int(digit) ** 2 for digit in space.choices(one).values()))


@dataclass(frozen=True)
class Diary(Bananas):
    """Describes an architecture by its true score and notes what the predictor was asked."""

    def encoder(self, problem: Problem) -> Encoding:
        def encode(known: Sequence[Architecture], queries: Sequence[Architecture]):
            sides = (np.array([[squares(problem.space, one)] for one in side]) for side in (known, queries))
            known_block, query_block = sides
            return {"true": known_block}, {"true": query_block}

        return encode


@dataclass
class Knows:
    """Predicts the true score, and is sure of it."""

    asked: list[tuple[list[float], list[float]]] = field(default_factory=list)

    def __call__(self, known, scores, queries, noise):
        self.asked.append((known["true"][:, 0].tolist(), queries["true"][:, 0].tolist()))
        return queries["true"][:, 0], np.zeros(len(queries["true"]))


def test_in_coles_settings_the_best_ten_of_thirty_two_mutants_are_measured_after_twenty_draws():
    method, knows = in_cole(["path"])["bananas-path"](), Knows()
    settings = {name: getattr(method, name) for name in ("initial", "refit", "parents", "candidates", "mutations")}
    assert settings == {"initial": 20, "refit": 10, "parents": 16, "candidates": 32, "mutations": 3}
    Diary(**settings, predictor=knows).run(problem_of(Load())[0], 0, 60)
    assert [len(known) for known, _ in knows.asked] == [20, 30, 40, 50, 60]  # the last batch was not paid for
    assert [len(queries) for _, queries in knows.asked] == [32] * 5
    for (_, queries), (after, _) in zip(knows.asked, knows.asked[1:], strict=False):
        assert after[-10:] == sorted(queries, reverse=True)[:10]


def test_three_mutations_lead_further_than_one_but_not_further_than_three():
    space, start = Digits(), Digits().parse("d0=0,d1=0,d2=0,d3=0,d4=0")
    for steps in (1, 3):
        ends = [walk(space, start, steps, Random(seed)) for seed in range(200)]
        changed = {sum(digit != "0" for digit in space.choices(end).values()) for end in ends if end is not None}
        assert changed <= set(range(steps + 1))
        assert steps in changed


def test_a_space_with_nothing_to_change_has_no_mutants():
    class Single(CategoricalSpace):
        name = "single"
        decisions = (Decision("only", ("one",)),)

    assert walk(Single(), Single().parse("only=one"), 3, Random(0)) is None


def test_a_step_that_is_no_architecture_ends_the_walk():
    class Even(CategoricalSpace):
        name = "even"
        decisions = (Decision("a", ("0", "1")), Decision("b", ("0", "1")))

        def check(self, options: tuple[str, ...]) -> None:
            if options in {("0", "1"), ("1", "0")}:
                raise InvalidArchitecture("the sum must be even")

    space = Even()
    assert all(walk(space, space.parse("a=0,b=0"), 1, Random(seed)) is None for seed in range(20))


def test_candidates_come_from_the_best_parents_only():
    knows = Knows()
    Diary(initial=20, parents=1, candidates=4, mutations=2, refit=2, predictor=knows).run(problem_of(Load())[0], 0, 30)
    known, queries = knows.asked[0]
    assert len(queries) == 4
    # two digits of the best one changed: at most 2 x 16 away from it
    assert all(abs(query - max(known)) <= 32.0 for query in queries)
    assert np.mean(queries) > np.mean(known)


def test_bananas_learns_with_every_predictor():
    def mean_best(method):
        return np.mean([max(method.run(problem_of(Load())[0], seed, 60).values) for seed in range(4)])

    chance = mean_best(RandomSearch())
    for name in ("mlp", "gp"):
        assert mean_best(in_cole(["structure"], name)["bananas-structure"]()) > chance + 2.0


@pytest.mark.parametrize(
    ("encodings", "predictor", "message"),
    [
        ([], "mlp", "got none"),
        (["path", "path"], "mlp", "each once, got path, path"),
        (["cole", "graph"], "mlp", "got cole, graph"),
        (["cole"], "forest", "expected one of mlp, gp, paper, got 'forest'"),
    ],
)
def test_wrong_encodings_and_predictors_are_refused(encodings, predictor, message):
    with pytest.raises(ConfigError, match=message):
        in_cole(encodings, predictor)


@pytest.mark.parametrize("name", ["initial", "refit", "parents", "candidates", "mutations"])
def test_settings_of_nothing_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, got 0"):
        Bananas(**{name: 0})


@pytest.mark.parametrize("given", [{"networks": 0}, {"epochs": 0}, {"batch": 0}, {"hidden": ()}, {"hidden": (8, 0)}])
def test_networks_of_nothing_are_refused(given):
    with pytest.raises(ConfigError, match=next(iter(given))):
        Networks(**given)


# -- predictors --------------------------------------------------------------------------------------


def sample(count: int, seed: int = 0):
    rows = np.random.default_rng(seed).normal(size=(count, 6))
    return {"some": rows[:, :4], "rest": rows[:, 4:]}, 70.0 + 2.0 * rows[:, 0] - rows[:, 4]


@pytest.mark.parametrize("name", ["mlp", "gp"])
def test_a_predictor_learns_from_every_block_and_repeats_itself(name):
    known, scores = sample(80)
    queries, truth = sample(40, seed=1)
    mean, deviation = PREDICTORS[name](known, scores, queries, np.random.default_rng(3))
    again, _ = PREDICTORS[name](known, scores, queries, np.random.default_rng(3))
    assert np.corrcoef(mean, truth)[0, 1] > 0.85
    assert np.array_equal(mean, again)
    assert (deviation > 0.0).all()
    blind = {"some": queries["some"], "rest": queries["rest"][::-1]}
    assert not np.allclose(PREDICTORS[name](known, scores, blind, np.random.default_rng(3))[0], mean)


@pytest.mark.parametrize("name", PREDICTORS)
def test_failures_and_equal_scores_leave_a_predictor_with_finite_numbers(name):
    known, scores = sample(24)
    queries, _ = sample(6, seed=1)
    for given in (np.where(scores > 71.0, -np.inf, scores), np.full(24, -np.inf), np.full(24, 70.0)):
        belief = PREDICTORS[name](known, given, queries, np.random.default_rng(0))
        assert all(np.isfinite(part).all() for part in belief)


def test_a_process_is_surer_of_what_is_near_to_what_it_knows():
    known, scores = sample(40)
    far = {name: block + 10.0 for name, block in known.items()}
    here = Process()(known, scores, known, np.random.default_rng(0))[1]
    there = Process()(known, scores, far, np.random.default_rng(0))[1]
    assert here.max() < there.min()


def test_a_process_knows_nothing_where_nothing_varies():
    still = {"some": np.zeros((5, 3))}
    mean, deviation = Process()(still, np.arange(5.0), {"some": np.zeros((2, 3))}, np.random.default_rng(0))
    assert (mean.tolist(), deviation.tolist()) == ([0.0, 0.0], [1.0, 1.0])


def test_the_papers_network_predicts_accuracies_as_they_are_and_needs_many_of_them():
    known, scores = sample(80)
    mean, _ = PAPER(known, scores, known, np.random.default_rng(0))
    assert abs(mean.mean() - 70.0) < 3.0
    assert abs(Networks()(known, scores, known, np.random.default_rng(0))[0].mean()) < 0.5
    longer = replace(PAPER, epochs=2000, hidden=(32, 32, 32))
    mean, _ = longer(known, scores, known, np.random.default_rng(0))
    assert np.corrcoef(mean, scores)[0, 1] > 0.9


# -- methods by name ---------------------------------------------------------------------------------


def test_encodings_stand_side_by_side_in_the_place_of_bananas():
    found = find_methods(["random", "bananas", "agent"], ["path", "joint"], "gp")
    assert list(found) == ["random", "bananas-path", "bananas-joint", "agent"]
    assert found["bananas-joint"]().encoding == "joint"
    assert found["bananas-joint"]().predictor is PREDICTORS["gp"]
    assert find_methods(["bananas"])["bananas"]() == METHODS["bananas"]() == Bananas()


def test_settings_go_to_every_agent_and_override_its_own():
    found = find_methods(["agent", "agent-joint", "random"], settings=agent_settings(["initial=5", "surrogate=none"]))
    assert dict(found["agent"]().settings) == {"initial": 5, "surrogate": "none"}
    assert dict(found["agent-joint"]().settings) == {"surrogate": "none", "initial": 5}
    assert found["random"] is METHODS["random"]
    assert dict(AGENTS["agent-joint"]().settings) == {"surrogate": "joint"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["budget=9"], "use --budget"),
        (["seed=1"], "use --seed"),
        (["initial"], "KEY=VALUE"),
        (["warmth=3"], "warmth"),
        (["initial=many"], "initial"),
    ],
)
def test_settings_that_are_none_or_not_the_agents_to_choose_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        agent_settings(overrides)


# -- where mean curves cross -------------------------------------------------------------------------


def test_the_mean_curve_crosses_and_the_saving_is_against_the_reference():
    slow = np.array([[1.0, 1.0, 1.0, 9.0], [1.0, 1.0, 1.0, 9.0]])
    fast = np.array([[1.0, 9.0, 9.0, 9.0], [1.0, 9.0, 9.0, 9.0]])
    found = crossings(ACCURACY, {"slow": slow, "fast": fast}, 9.0, "slow")
    assert (found["slow"].evaluations.value, found["slow"].fewer) == (4.0, None)
    assert found["fast"].evaluations.value == 2.0
    assert found["fast"].fewer is not None
    assert (found["fast"].fewer.value, found["fast"].fewer.low, found["fast"].fewer.high) == (50.0, 50.0, 50.0)


def test_it_is_the_mean_that_has_to_cross_not_half_of_the_runs():
    lines = np.array([[9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [0.0, 0.0, 9.0]])
    assert crossings(ACCURACY, {"a": lines}, 8.0, "a")["a"].evaluations.value == 3.0


def test_a_curve_that_never_crosses_or_has_no_value_counts_as_more_than_the_budget():
    lines = {"a": np.array([[math.nan, 5.0, 5.0], [9.0, 9.0, 9.0]]), "b": np.array([[1.0, 2.0, 3.0]] * 2)}
    found = crossings(ACCURACY, lines, 7.0, "a")
    assert found["a"].evaluations.value == 2.0
    assert found["b"].evaluations.value == 4.0
    assert found["b"].to_dict(3)["evaluations"]["value"] is None
    assert found["b"].fewer is not None
    assert found["b"].fewer.value == pytest.approx(-100.0)


def test_a_loss_crosses_downwards():
    lines = np.array([[5.0, 3.0, 1.0]] * 3)
    assert crossings(LOSS, {"a": lines}, 3.0, "a")["a"].evaluations.value == 2.0


def test_a_method_saves_nothing_against_itself_in_any_resample():
    lines = np.random.default_rng(0).random((10, 50)).cumsum(axis=1)
    found = crossings(ACCURACY, {"a": lines, "b": lines.copy()}, 12.0, "a")["b"].fewer
    assert found is not None
    assert (found.low, found.high) == (0.0, 0.0)


class Inverse:
    """A test split on which what validation likes is bad."""

    def __init__(self, evaluator: Sums) -> None:
        self.evaluator = evaluator

    def open(self, architecture: Architecture, *, seed: int) -> base.TestResult:
        outcome = self.evaluator.evaluate(architecture, seed=seed)
        assert isinstance(outcome, Measured)
        return base.TestResult(100.0 - outcome.value, "measured", "fake")


@pytest.mark.parametrize("task", [ACCURACY, LOSS])
def test_the_test_curve_is_of_what_validation_chose_not_of_the_best_on_test(task: Task):
    problem, evaluator = problem_of(Load(task, members=200))
    evaluation = base.Evaluation(task, evaluator, Inverse(evaluator), "fake", 80.0)
    trace = RandomSearch().run(problem, 0, 20)
    found = open_curves(evaluation, {"random": [trace]}, 25)
    for count in (1, 7, 20):
        chosen = chosen_by_validation(task, trace, count)
        assert chosen is not None
        assert found.curves["random"][0, count - 1] == evaluation.test_split.open(chosen, seed=0).value
    assert found.curves["random"].shape == (1, 25)
    pool = [evaluation.test_split.open(one, seed=0).value for one in evaluator.pool() or ()]
    assert found.best == (max(pool) if task.maximise else min(pool))


def test_a_run_that_has_measured_nothing_good_yet_has_no_test_value():
    evaluation = base.Evaluation(ACCURACY, Sums(Digits(), ACCURACY, []), Inverse(Sums(Digits(), ACCURACY, [])), "", 1.0)
    evaluation = replace(evaluation, evaluator=Sums(Digits(), ACCURACY, Digits().enumerate()[:3]))
    trace = trace_of([None, None])
    assert np.isnan(open_curves(evaluation, {"a": [trace]}, 3).curves["a"]).all()


def test_test_curves_are_told_in_the_document_and_only_when_they_were_asked_for():
    methods = {"random": RandomSearch, "bananas": Bananas}
    compared = compare(methods, Load(members=300), seeds=range(3), budget=40, jobs=1, test_curves=True)
    doc = document(compared, command="nas-agent bench")
    assert [crossing["split"] for crossing in doc["crossings"]] == ["validation", "test"]
    hit = doc["methods"]["bananas"]["targets"]["99 %"]
    crossing = doc["crossings"][0]
    assert crossing["threshold"] == hit["threshold"]
    assert crossing["methods"]["bananas"]["evaluations"]["value"] == hit["mean_curve"]
    assert "fewer than random" in markdown(doc)
    without = compare(methods, Load(members=300), seeds=range(3), budget=40, jobs=1)
    plain = document(without, command="")
    assert plain["crossings"] == []
    assert set(doc["rules"]) - set(plain["rules"]) == {"crossing"}
    assert without.traces == compared.traces


@pytest.mark.parametrize("load", [Load(optimum=None, members=50), Load()])
def test_test_curves_without_a_complete_table_are_refused_before_any_run(load):
    def told(_: object) -> None:
        raise AssertionError("a run was made")

    with pytest.raises(ConfigError, match="--test-curves needs a complete table"):
        compare({"random": RandomSearch}, load, seeds=[0], budget=5, jobs=1, test_curves=True, progress=told)


def test_a_meter_never_hands_on_test_values():
    problem, _ = problem_of(Load())
    assert not hasattr(problem, "test_split")
    assert not hasattr(Meter(problem, 0, 5), "open")
