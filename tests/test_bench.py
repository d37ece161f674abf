"""The comparison of methods: their contract, the statistics, the workers, and what is written about them."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nas_agent.bench.bananas import Bananas
from nas_agent.bench.baselines import BASELINES, Evolution, LocalSearch, RandomSearch, Tpe
from nas_agent.bench.compare import METHODS, Setting, checkpoints_of, compare, find_methods
from nas_agent.bench.document import document
from nas_agent.bench.encodings import path_encoding, token_reader
from nas_agent.bench.methods import BudgetSpent, Meter, Method, Problem, Trace
from nas_agent.bench.plot import plot
from nas_agent.bench.predictors import Networks, rank_gaussian
from nas_agent.bench.report import markdown, rich_report, sheets
from nas_agent.bench.statistics import (
    best_so_far,
    chosen_by_validation,
    estimate,
    evaluations_to,
    mean_of,
    median_of,
    paired,
    reached,
    threshold_of,
)
from nas_agent.errors import ConfigError, DataError, NasAgentError, StorageError
from nas_agent.records import Architecture, Failed, Measured, Outcome, Task
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators import base

DIGITS = tuple("01234")
ACCURACY = Task("sums", "the sum of five digits", unit="%")
LOSS = Task("losses", "minus the sum of five digits", metric="loss", unit="", maximise=False)


class Digits(CategoricalSpace):
    """Five digits; the order of the first two means nothing, so that there are duplicates: 1,875 classes."""

    name = "digits5"
    decisions = tuple(Decision(f"d{place}", DIGITS) for place in range(5))

    def canonical_key(self, options: tuple[str, ...]) -> str:
        return "".join((*sorted(options[:2]), *options[2:]))


class Sums:
    """Scores an architecture by its digits; counts the calls; `44444` is the optimum, 80 of 80."""

    name = "fake"
    provenance = "measured"
    fidelity = "exact"

    def __init__(self, space: Digits, task: Task, pool: Sequence[Architecture] | None, broken: str = "-") -> None:
        self.space, self.task, self.broken = space, task, broken
        self._pool = pool
        self.asked: list[str] = []

    def pool(self) -> Sequence[Architecture] | None:
        return self._pool

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        self.asked.append(architecture.id)
        digits = self.space.choices(architecture).values()
        if self.broken in digits:
            return Failed(architecture, f"digit {self.broken} is broken", 1.0, seed, self.name)
        total = sum(int(digit) ** 2 for digit in digits)
        value = float(total if self.task.maximise else -total)
        return Measured(architecture, value, self.fidelity, 2.0, seed, self.name, simulated=True)


class SumsOnTest:
    """Opens the test split: one more than validation."""

    def __init__(self, evaluator: Sums) -> None:
        self.evaluator = evaluator
        self.opened: list[tuple[str, int]] = []

    def open(self, architecture: Architecture, *, seed: int) -> base.TestResult:
        self.opened.append((architecture.id, seed))
        outcome = self.evaluator.evaluate(architecture, seed=seed)
        assert isinstance(outcome, Measured)
        return base.TestResult(outcome.value + 1.0, "measured", "fake")


@dataclass(frozen=True)
class Load:
    """A picklable loader, as workers need it; the first `members` classes are the pool, None is the whole space."""

    task: Task = ACCURACY
    members: int | None = None
    broken: str = "-"
    optimum: float | None = 80.0

    def __call__(self) -> tuple[Digits, base.Evaluation]:
        space = Digits()
        pool = None if self.members is None else space.enumerate()[: self.members]
        evaluator = Sums(space, self.task, pool, self.broken)
        optimum = None if self.optimum is None else self.task.score(self.optimum)
        return space, base.Evaluation(self.task, evaluator, SumsOnTest(evaluator), "a fake", optimum)


def problem_of(load: Load, stop_at: float | None = None) -> tuple[Problem, Sums]:
    space, evaluation = load()
    assert isinstance(evaluation.evaluator, Sums)
    return Problem(space, evaluation.task, evaluation.evaluator, stop_at), evaluation.evaluator


def trace_of(values: Sequence[float | None], budget: int | None = None, seed: int = 0) -> Trace:
    cells = tuple(Architecture("s", f"a{place}", f"a{place}") for place in range(len(values)))
    return Trace(seed, budget or len(values), cells, tuple(values), "budget")


# -- the contract of a method ------------------------------------------------------------------------


class MethodContract:
    """What every method promises; a new method subclasses it and names its factory."""

    @pytest.fixture
    def method(self) -> Method:
        raise NotImplementedError

    def test_the_same_seed_gives_the_same_trace(self, method):
        assert method.run(problem_of(Load())[0], 3, 40) == method.run(problem_of(Load())[0], 3, 40)

    def test_another_seed_gives_another_trace(self, method):
        problem = problem_of(Load())[0]
        assert method.run(problem, 3, 40).ids != method.run(problem, 4, 40).ids

    def test_the_whole_budget_is_spent_and_not_more(self, method):
        problem, evaluator = problem_of(Load())
        trace = method.run(problem, 0, 60)
        assert len(trace.values) == len(evaluator.asked) == 60
        assert trace.stopped == "budget"

    def test_no_architecture_is_measured_twice(self, method):
        problem, evaluator = problem_of(Load(members=120))
        trace = method.run(problem, 1, 100)
        assert len(set(evaluator.asked)) == len(evaluator.asked) == 100
        assert list(trace.ids) == evaluator.asked

    def test_it_stops_when_everything_is_measured(self, method):
        problem, evaluator = problem_of(Load(members=23))
        trace = method.run(problem, 2, 60)
        assert len(trace.values) == len(evaluator.asked) == 23
        assert trace.stopped == "exhausted"

    def test_a_pool_smaller_than_the_first_sample_is_no_problem(self, method):
        trace = method.run(problem_of(Load(members=3))[0], 2, 60)
        assert (len(trace.values), trace.stopped) == (3, "exhausted")

    def test_it_keeps_to_the_pool(self, method):
        problem, _ = problem_of(Load(members=50))
        allowed = {member.id for member in problem.evaluator.pool()}
        assert set(method.run(problem, 5, 30).ids) <= allowed

    def test_failed_evaluations_are_spent_and_have_no_value(self, method):
        trace = method.run(problem_of(Load(broken="0"))[0], 0, 60)
        assert len(trace.values) == 60
        assert any(value is None for value in trace.values)
        assert any(value is not None for value in trace.values)

    def test_a_space_where_everything_fails_is_survived(self, method):
        problem = problem_of(Load(members=40))[0]
        dead = replace(problem, evaluator=DeadSums(problem.space, ACCURACY, problem.evaluator.pool()))
        assert method.run(dead, 0, 60).values == (None,) * 40

    def test_a_smaller_loss_is_better_just_as_a_greater_accuracy_is(self, method):
        up = method.run(problem_of(Load(ACCURACY))[0], 7, 50)
        down = method.run(problem_of(Load(LOSS))[0], 7, 50)
        assert up.ids == down.ids

    def test_it_ends_at_the_optimum_when_it_is_asked_to(self, method):
        trace = method.run(problem_of(Load(), stop_at=60.0)[0], 0, 1000)
        assert trace.stopped == "optimum"
        assert [value >= 60.0 for value in trace.values] == [False] * (len(trace.values) - 1) + [True]


class DeadSums(Sums):
    """Fails always."""

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        return Failed(architecture, "nothing works", 1.0, seed, self.name)


class TestRandom(MethodContract):
    @pytest.fixture
    def method(self):
        return RandomSearch()


class TestEvolution(MethodContract):
    @pytest.fixture
    def method(self):
        return Evolution()


class TestLocalSearch(MethodContract):
    @pytest.fixture
    def method(self):
        return LocalSearch()


class TestTpe(MethodContract):
    @pytest.fixture
    def method(self):
        pytest.importorskip("optuna", reason="tpe needs optuna, which is in the extra 'dev'")
        return Tpe()


class TestBananas(MethodContract):
    @pytest.fixture
    def method(self):
        return Bananas(predictor=Networks(epochs=30))


def test_a_method_is_given_no_test_split_and_no_optimum():
    # `related` gives Problems again: what a method with memory may search beforehand. Costs and what is wanted of them
    # say nothing of accuracies.
    given = {"space", "task", "evaluator", "stop_at", "related", "costs", "objective"}
    assert {field.name for field in fields(Problem)} == given


def test_every_method_in_the_registry_can_be_made_without_arguments():
    pytest.importorskip("optuna", reason="tpe needs optuna, which is in the extra 'dev'")
    assert set(BASELINES) | {"bananas"} <= set(METHODS)
    for make in METHODS.values():
        assert callable(make().run)


@pytest.mark.parametrize("make", [Evolution, LocalSearch, Bananas])
def test_methods_that_learn_beat_random_search(make):
    def mean_best(method):
        return np.mean([max(method.run(problem_of(Load())[0], seed, 60).values) for seed in range(8)])

    assert mean_best(make()) > mean_best(RandomSearch()) + 2.0


def test_local_search_goes_to_the_first_neighbour_that_is_better():
    problem = problem_of(Load())[0]
    trace, space = LocalSearch().run(problem, 0, 12), problem.space
    current, best = trace.architectures[0], trace.values[0]
    for architecture, value in zip(trace.architectures[1:], trace.values[1:], strict=True):
        assert architecture.id in {neighbour.id for neighbour in space.neighbours(current)}
        if value > best:
            current, best = architecture, value


def test_evolution_forgets_the_oldest_however_good_it_is():
    # A population of one and a sample of one is a random walk: each child is a neighbour of the one before it.
    problem = problem_of(Load())[0]
    meter = WalkingMeter(problem, 0, 30)
    with pytest.raises(BudgetSpent):
        Evolution(population=1, sample=1).search(problem, meter, Random(0))
    for before, after in pairwise(meter.walk):
        assert after.id in {neighbour.id for neighbour in problem.space.neighbours(before)}


class WalkingMeter(Meter):
    """Notes every proposal, the known ones too."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        super().__init__(problem, seed, budget)
        self.walk: list[Architecture] = []

    def score(self, architecture: Architecture) -> float:
        self.walk.append(architecture)
        return super().score(architecture)


def test_evolution_refuses_a_sample_larger_than_its_population():
    with pytest.raises(ConfigError, match="between 1 and population"):
        Evolution(population=3, sample=5)


def test_paths_of_a_cell_are_its_live_ones_and_a_space_without_graph_gives_its_choices():
    cells = NasBench201()
    cell = cells.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
    assert set(token_reader(cells)(cell)) == {"nor_conv_3x3>skip_connect>nor_conv_1x1", "avg_pool_3x3"}
    digits = Digits()
    assert token_reader(digits)(digits.parse("d0=0,d1=1,d2=2,d3=3,d4=4")) == ("d0=0", "d1=1", "d2=2", "d3=3", "d4=4")


def test_path_encoding_marks_known_paths_and_leaves_unknown_ones_out():
    known, queries = path_encoding([("a",), ("b", "a")], [("b", "c")])
    assert known.tolist() == [[1.0, 0.0], [1.0, 1.0]]
    assert queries.tolist() == [[0.0, 1.0]]


def test_failures_are_the_lowest_rank():
    ranks = rank_gaussian(np.array([3.0, -math.inf, 5.0]))
    assert ranks[1] < ranks[0] < ranks[2]
    assert ranks[1] == pytest.approx(-ranks[2])


def test_a_known_architecture_is_answered_from_memory_even_after_the_end():
    problem, evaluator = problem_of(Load())
    meter, cell = Meter(problem, 0, 1), problem.space.sample(Random(0))
    first = meter.evaluate(cell, seed=0)
    assert meter.evaluate(cell, seed=0) is first
    with pytest.raises(BudgetSpent):
        meter.evaluate(next(problem.space.neighbours(cell)), seed=0)
    assert len(evaluator.asked) == 1
    assert (meter.trace().repeats, meter.measured, meter.finished) == (1, 1, True)


# -- statistics --------------------------------------------------------------------------------------


def test_best_so_far_pads_short_runs_and_skips_failures():
    assert best_so_far(ACCURACY, trace_of([2.0, None, 5.0, 4.0]), 6).tolist() == [2, 2, 5, 5, 5, 5]
    assert best_so_far(LOSS, trace_of([2.0, None, 5.0, 1.0]), 4).tolist() == [2, 2, 2, 1]
    begin = best_so_far(ACCURACY, trace_of([None, 3.0]), 2)
    assert math.isnan(begin[0])
    assert begin[1] == 3.0


def test_the_threshold_is_a_part_of_the_optimum_in_the_direction_of_the_task():
    assert threshold_of(ACCURACY, 80.0, 0.01) == pytest.approx(79.2)
    assert threshold_of(LOSS, 0.5, 0.01) == pytest.approx(0.505)
    assert threshold_of(ACCURACY, -2.0, 0.01) == pytest.approx(-2.02)


def test_evaluations_to_a_threshold_count_from_one_and_are_infinite_where_it_is_never_reached():
    assert evaluations_to(ACCURACY, trace_of([1.0, None, 3.0, 4.0]), 3.0) == 3.0
    assert evaluations_to(ACCURACY, trace_of([1.0, None]), 3.0) == math.inf
    assert evaluations_to(LOSS, trace_of([4.0, 3.0]), 3.5) == 2.0


def test_the_first_of_equal_cells_is_chosen():
    trace = trace_of([1.0, 3.0, None, 3.0, 9.0])
    assert chosen_by_validation(ACCURACY, trace, 4) == trace.architectures[1]
    assert chosen_by_validation(LOSS, trace, 4) == trace.architectures[0]
    assert chosen_by_validation(ACCURACY, trace_of([None]), 1) is None


def test_the_median_is_above_the_budget_exactly_where_half_of_the_runs_fell_short():
    hit, miss = [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]
    two_of_three = reached(ACCURACY, [trace_of(hit), trace_of(hit), trace_of(miss)], 5.0, 3)
    assert (two_of_three.median.value, two_of_three.found) == (2.0, 2)
    one_of_two = reached(ACCURACY, [trace_of(hit), trace_of(miss)], 5.0, 3)
    assert one_of_two.median.value == math.inf
    stated = one_of_two.to_dict()
    assert stated["median"]["value"] is None
    assert stated["evaluations"] == [2, None]
    # A censored run counts as the budget, and the mean is called what it is.
    assert stated["mean"]["value"] == 2.5
    assert stated["mean_is_lower_bound"]


def test_the_mean_curve_crosses_where_the_mean_of_all_runs_does():
    found = reached(ACCURACY, [trace_of([0.0, 4.0, 8.0]), trace_of([0.0, 0.0, 2.0])], 5.0, 3)
    assert found.mean_curve == 3.0
    assert reached(ACCURACY, [trace_of([0.0, 1.0, 1.0])], 5.0, 3).to_dict()["mean_curve"] is None


def test_medians_of_censored_samples():
    assert median_of(np.array([[1.0, math.inf, 3.0], [math.inf, math.inf, 1.0]])).tolist() == [3.0, math.inf]
    assert median_of(np.array([[4.0, 1.0, 2.0, 3.0]])).tolist() == [2.5]


def test_the_bootstrap_interval_is_seeded_and_close_to_the_normal_one():
    values = np.random.default_rng(5).normal(10.0, 2.0, 400).tolist()
    found = estimate(values, mean_of, seed=1)
    assert found == estimate(values, mean_of, seed=1)
    half = 1.96 * np.std(values) / 20.0
    assert found.value == pytest.approx(np.mean(values))
    assert found.value - found.low == pytest.approx(half, rel=0.15)
    assert found.high - found.value == pytest.approx(half, rel=0.15)


def test_one_run_has_an_interval_of_no_width_and_no_run_has_none():
    assert (estimate([3.0], mean_of).low, estimate([3.0], mean_of).high) == (3.0, 3.0)
    with pytest.raises(ValueError, match="at least one run"):
        estimate([], mean_of)


def test_paired_differences_cancel_what_the_seeds_have_in_common():
    seeds = [0.0, 50.0, 100.0, 150.0]
    found = paired("validation at 3", [s + 1.0 for s in seeds], seeds, maximise=True)
    assert (found.mean.value, found.mean.low, found.mean.high) == (1.0, 1.0, 1.0)
    assert (found.better, found.worse, found.decided) == (4, 0, True)
    fewer = paired("evaluations", [3.0, 9.0, 5.0], [4.0, 8.0, 5.0], maximise=False)
    assert (fewer.better, fewer.worse, fewer.decided) == (1, 1, False)


def test_pairs_with_a_missing_value_are_left_out():
    found = paired("test at 3", [1.0, None, 3.0], [0.0, 1.0, None], maximise=True)
    assert (found.mean.value, found.mean.runs) == (1.0, 1)
    assert paired("test at 3", [None], [1.0], maximise=True) is None


# -- the comparison ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Misbehaves:
    """A method that does what its name says."""

    how: str

    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        if self.how == "user":
            raise DataError("the table is empty; choose another")
        if self.how == "bug":
            raise ZeroDivisionError("a bug in here")
        if self.how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        trace = RandomSearch().run(problem, seed, budget + 5 if self.how == "spender" else budget)
        return trace if self.how != "repeater" else replace(trace, architectures=trace.architectures[:1] * budget)


FAST = {"random": RandomSearch, "evolution": Evolution, "bananas": partial(Bananas, predictor=Networks(epochs=10))}


@pytest.fixture(scope="module")
def compared():
    return compare(FAST, Load(), seeds=(4, 1, 2), budget=30, jobs=2)


def test_the_result_does_not_depend_on_the_number_of_workers(compared):
    alone = compare(FAST, Load(), seeds=(4, 1, 2), budget=30, jobs=1)
    assert alone.traces == compared.traces
    assert alone.tests == compared.tests


def test_traces_stand_in_the_order_of_the_seeds_and_match_a_run_of_the_method_alone(compared):
    assert [trace.seed for trace in compared.traces["evolution"]] == [4, 1, 2]
    assert compared.traces["evolution"][1] == Evolution().run(problem_of(Load())[0], 1, 30)


def test_the_test_split_is_opened_once_for_each_cell_that_validation_chose(compared):
    opened = compared.evaluation.test_split.opened
    chosen = {
        (chosen_by_validation(ACCURACY, trace, point).id, trace.seed)
        for runs in compared.traces.values()
        for trace in runs
        for point in (20, 30)
    }
    assert set(opened) == chosen
    assert len(opened) == len(chosen)
    best = [float(best_so_far(ACCURACY, trace, 20)[-1]) for trace in compared.traces["random"]]
    assert compared.tests["random"][20] == tuple(value + 1.0 for value in best)


def test_progress_is_told_after_every_run():
    told = []
    compare({"random": RandomSearch}, Load(), seeds=range(3), budget=5, jobs=1, progress=told.append)
    assert [(step.done, step.total) for step in told] == [(1, 3), (2, 3), (3, 3)]
    assert sorted(step.seed for step in told) == [0, 1, 2]


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("user", NasAgentError, "method 'bad', seed 9: the table is empty; choose another"),
        ("bug", RuntimeError, r"(?s)method 'bad', seed 9 failed in a worker: a bug in here.*ZeroDivisionError"),
        ("killed", NasAgentError, "a worker process died.*--jobs"),
        ("spender", RuntimeError, "15 evaluations of 15 ids, budget 10"),
        ("repeater", RuntimeError, "10 evaluations of 1 ids, budget 10"),
    ],
)
def test_what_goes_wrong_in_a_worker_is_one_error_and_leaves_no_process_behind(how, error, message):
    with pytest.raises(error, match=message):
        compare({"bad": partial(Misbehaves, how)}, Load(), seeds=[9], budget=10, jobs=1)
    assert_no_worker_is_left()


def test_ctrl_c_ends_the_workers():
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare({"random": RandomSearch}, Load(), seeds=range(50), budget=5, jobs=1, progress=interrupt)
    assert_no_worker_is_left()


def assert_no_worker_is_left() -> None:
    # The pool's own thread waits for the same process; whichever of the two comes second learns of its end later.
    patience = time.monotonic() + 30
    while multiprocessing.active_children() and time.monotonic() < patience:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []


def test_workers_use_one_thread_and_the_environment_is_as_before(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with pytest.raises(NasAgentError, match="OMP=1 MKL=1"):
        compare({"bad": TellsThreads}, Load(), seeds=[0], budget=1, jobs=1)
    assert (os.environ["OMP_NUM_THREADS"], os.environ.get("MKL_NUM_THREADS")) == ("7", None)


class TellsThreads:
    def run(self, problem: Problem, seed: int, budget: int) -> Trace:
        raise DataError(f"OMP={os.environ.get('OMP_NUM_THREADS')} MKL={os.environ.get('MKL_NUM_THREADS')}")


def test_an_unknown_method_is_told_with_all_that_exist():
    with pytest.raises(ConfigError, match="got 'anneal'") as caught:
        find_methods(["random", "anneal"])
    assert all(name in str(caught.value) for name in METHODS)
    with pytest.raises(ConfigError, match="each method once"):
        find_methods(["random", "random"])
    with pytest.raises(ConfigError, match="got none"):
        find_methods([])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seeds": []}, "--seeds"),
        ({"seeds": [1, 1]}, "--seeds"),
        ({"seeds": [-1]}, "--seeds"),
        ({"budget": 0}, "--budget"),
        ({"jobs": 0}, "--jobs"),
        ({"methods": {}}, "--methods"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given, message):
    settings = {"methods": {"random": RandomSearch}, "seeds": [0], "budget": 5, "jobs": 1, **given}
    with pytest.raises(ConfigError, match=message):
        compare(settings.pop("methods"), Load(), **settings)


def test_stopping_at_an_unknown_optimum_is_refused():
    with pytest.raises(ConfigError, match="complete table"):
        compare({"random": RandomSearch}, Load(optimum=None), seeds=[0], budget=5, jobs=1, stop_at_optimum=True)


def test_checkpoints_end_with_the_budget():
    assert checkpoints_of(200) == (20, 50, 100, 200)
    assert checkpoints_of(30) == (20, 30)
    assert checkpoints_of(5) == (5,)


def test_a_setting_loads_what_it_names(tmp_path: Path):
    table = tmp_path / "cells.csv"
    cells = [NasBench201().sample(Random(seed)).text for seed in range(3)]
    table.write_text(
        "architecture,val,test\n" + "\n".join(f"{c},{50 + i},{40 + i}" for i, c in enumerate(cells)) + "\n"
    )
    space, evaluation = Setting(task=f"table:{table}")()
    assert space.name == "nb201"
    assert evaluation.optimum == 52.0
    assert hash(Setting("a")) == hash(Setting("a"))


# -- what is written ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doc(compared):
    return document(compared, command="nas-agent bench --task sums")


def test_the_document_is_plain_json_without_infinities(doc):
    assert json.loads(json.dumps(doc, allow_nan=False)) == doc
    assert doc["methods"]["random"]["targets"]["optimum"]["median"]["value"] is None
    assert len(doc["methods"]["random"]["curve"]["median"]) == 30
    assert doc["methods"]["random"]["model_calls"] == 0


def test_the_document_holds_the_figures_of_the_traces(compared, doc):
    at_twenty = [max(trace.values[:20]) for trace in compared.traces["bananas"]]
    stated = doc["methods"]["bananas"]["checkpoints"]["20"]
    assert stated["validation"]["value"] == pytest.approx(np.mean(at_twenty))
    assert stated["test"]["value"] == pytest.approx(np.mean(at_twenty) + 1.0)
    other = [max(trace.values[:20]) for trace in compared.traces["random"]]
    difference = next(row for row in doc["differences"]["bananas"] if row["quantity"] == "validation at 20")
    assert difference["value"] == pytest.approx(np.mean(other) - np.mean(at_twenty))


def test_differences_are_taken_from_the_reference(compared):
    found = document(compared, command="", reference="evolution")
    assert found["reference"] == "evolution"
    assert list(found["differences"]) == ["random", "bananas"]
    named = replace(
        compared,
        traces={"random": compared.traces["random"], "agent": compared.traces["bananas"]},
        tests={"random": compared.tests["random"], "agent": compared.tests["bananas"]},
    )
    assert document(named, command="")["reference"] == "agent"
    with pytest.raises(ConfigError, match="got 'bananas'"):
        document(named, command="", reference="bananas")


def test_markdown_states_the_command_the_rules_and_censored_medians(doc):
    text = markdown(doc)
    for stated in ("nas-agent bench --task sums", "seeds: 4, 1, 2", "duplicates:", "language-model calls: 0", ">30"):
        assert stated in text
    rows = [line for line in text.splitlines() if line.startswith("| bananas")]
    assert len(rows) == 5  # two targets, validation, test, cost


def test_the_terminal_shows_every_table(doc):
    from rich.console import Console

    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(rich_report(doc))
    console.file.close()
    shown = console.export_text()
    for sheet in sheets(doc):
        assert sheet.title[:60] in shown
    assert shown.count("evolution") >= 6


def test_without_a_known_optimum_targets_are_left_out_and_the_rest_is_stated():
    unknown = compare({"random": RandomSearch}, Load(optimum=None), seeds=[0, 1], budget=5, jobs=1)
    found = document(unknown, command="")
    assert found["methods"]["random"]["targets"] == {}
    assert found["optimum"] is None
    assert "Evaluations to" not in markdown(found)


def test_all_failed_is_stated_as_no_value(tmp_path: Path):
    space, evaluation = Load(members=4, broken="0")()  # the first classes all hold a 0
    failed = compare({"random": RandomSearch}, Load(members=4, broken="0"), seeds=[0], budget=4, jobs=1)
    found = document(failed, command="")
    assert found["methods"]["random"]["failed"] == 4
    assert found["methods"]["random"]["checkpoints"]["4"] == {"validation": None, "test": None}
    assert json.dumps(found, allow_nan=False)
    assert markdown(found)
    plot(found, tmp_path / "empty.png")
    assert (tmp_path / "empty.png").stat().st_size > 1000
    assert space.name == "digits5"
    assert evaluation.optimum == 80.0


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_the_plot_is_a_png(doc, tmp_path: Path, scale):
    plot(doc, tmp_path / "curves.png", line="mean", scale=scale)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_that_cannot_be_written_is_told(doc, tmp_path: Path):
    with pytest.raises(StorageError, match="--plot"):
        plot(doc, tmp_path / "missing" / "curves.png")
