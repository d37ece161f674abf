"""COLE's protocol: its splits, its tests, and what its tables say of predictors whose worth is known."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from nas_agent.bench.surrogate_document import document, labels, number, verdicts
from nas_agent.bench.surrogate_eval import Outcome, Parts, Problem, evaluate
from nas_agent.bench.surrogate_plan import Configuration, Plan
from nas_agent.bench.surrogate_plot import drawn, plot
from nas_agent.bench.surrogate_report import markdown, rich_report, sheets
from nas_agent.bench.surrogate_splits import folds_of, split_rng, training_order
from nas_agent.bench.surrogate_statistics import (
    corrected_t_test,
    coverage_and_width,
    holm,
    rank_correlations,
    top_recall,
)
from nas_agent.cli.main import app
from nas_agent.errors import ConfigError, DataError, NasAgentError, StorageError
from nas_agent.records import Architecture, Task
from nas_agent.spaces import Floats, load_space
from nas_agent.tools.embeddings import CachedEmbedder, TermCounts

# -- splits ----------------------------------------------------------------------------------------------

tables = st.integers(0, 2**32 - 1).flatmap(
    lambda seed: st.tuples(st.just(seed), st.integers(2, 10), st.integers(20, 200), st.integers(1, 6))
)


def table_of(seed: int, classes: int, largest: int) -> tuple[NDArray[np.intp], Floats, np.random.Generator]:
    """Classes of 1 to `largest` rows in any order, with a value each row."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(np.arange(classes), rng.integers(1, largest + 1, classes)))
    return rows, rng.normal(size=classes)[rows] + 0.01 * rng.normal(size=len(rows)), rng


@given(tables)
def test_no_class_straddles_folds_and_every_row_is_in_one(drawn):
    seed, count, classes, largest = drawn
    rows, values, rng = table_of(seed, classes, largest)
    folds = folds_of(rows, values, count, rng)
    assert set(folds) == set(range(count))
    for member in range(classes):
        assert len(set(folds[rows == member])) == 1


@given(tables)
def test_folds_are_alike_in_size_and_in_values(drawn):
    seed, count, classes, largest = drawn
    rows, values, rng = table_of(seed, classes, largest)
    folds = folds_of(rows, values, count, rng)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 2 * largest
    if classes >= 10 * count:  # ten strata then, and each has one class a fold at least
        by_value = np.argsort(np.bincount(rows, values) / np.bincount(rows))
        for stratum in np.array_split(by_value, 10):
            per_fold = np.bincount(folds[np.isin(rows, stratum)], minlength=count)
            assert np.ptp(per_fold) <= largest


@given(tables)
def test_training_samples_are_nested_and_leave_the_fold_out(drawn):
    seed, count, classes, largest = drawn
    rows, values, rng = table_of(seed, classes, largest)
    folds = folds_of(rows, values, count, rng)
    order = training_order(folds, 1, split_rng(seed, 0, 1))
    assert sorted(order) == list(np.flatnonzero(folds != 1))
    assert not set(rows[order]) & set(rows[folds == 1])
    assert (order == training_order(folds, 1, split_rng(seed, 0, 1))).all()
    if len(order) > 10:
        assert (order != training_order(folds, 1, split_rng(seed, 1, 1))).any()


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_fewer_classes_than_folds_are_refused(folds):
    with pytest.raises(ConfigError, match=rf"--folds {folds}: expected from 2 to .*, 3$"):
        folds_of(np.array([0, 0, 1, 1, 2]), np.arange(5.0), folds, np.random.default_rng(0))


def test_the_largest_class_is_in_any_fold():
    rows = np.concatenate([np.zeros(20, np.intp), np.arange(1, 41)])
    values = np.random.default_rng(0).normal(size=len(rows))
    found = {int(folds_of(rows, values, 4, split_rng(0, repeat))[0]) for repeat in range(30)}
    assert found == {0, 1, 2, 3}


# -- statistics ------------------------------------------------------------------------------------------


def test_the_corrected_t_test_is_the_one_computed_by_hand():
    # Mean 2, variance 2.5, five differences, ratio 1/9: error = sqrt(2.5 x (1/5 + 1/9)) = 0.88192, t = 2.26778.
    # With four degrees of freedom p = 1 - s (1 + (1 - s^2) / 2), s = t / sqrt(t^2 + 4) = 3/4.
    tested = corrected_t_test(np.array([0.0, 1.0, 2.0, 3.0, 4.0]), 1 / 9)
    assert tested is not None
    assert tested.mean == 2.0
    assert tested.p == pytest.approx(11 / 128)
    assert (tested.high - 2.0) / 0.88192 == pytest.approx(2.77645, rel=1e-4)  # the 97.5 % point of that T
    assert tested.high - 2.0 == pytest.approx(2.0 - tested.low)


def test_without_overlap_the_corrected_test_is_students_own():
    from scipy.stats import ttest_1samp

    drawn = np.random.default_rng(0).normal(0.2, 1.0, 30)
    plain, corrected = corrected_t_test(drawn, 0.0), corrected_t_test(drawn, 1 / 9)
    assert plain is not None
    assert corrected is not None
    assert plain.p == pytest.approx(float(ttest_1samp(drawn, 0.0).pvalue))
    assert corrected.p > plain.p
    assert corrected.low < plain.low < plain.high < corrected.high


def test_differences_without_spread_and_a_single_one():
    same, shifted = corrected_t_test(np.zeros(4), 1 / 9), corrected_t_test(np.full(4, 0.5), 1 / 9)
    assert same is not None
    assert shifted is not None
    assert (same.p, shifted.p) == (1.0, 0.0)
    assert corrected_t_test(np.array([0.3]), 1 / 9) is None


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_constant_prediction_ranks_nothing():
    assert rank_correlations(np.ones(5), np.arange(5.0)) == (0.0, 0.0)
    assert rank_correlations(np.arange(5.0), np.arange(5.0)) == pytest.approx((1.0, 1.0))
    assert top_recall(np.ones(100), np.arange(100.0)) == pytest.approx(0.05)


def test_recall_of_the_top_counts_equals_at_the_border_in_parts():
    values = np.arange(100.0)
    assert top_recall(values, values) == 1.0
    assert top_recall(-values, values) == 0.0
    assert top_recall(np.where(values >= 90, 1.0, 0.0), values) == pytest.approx(0.5)
    assert top_recall(values, np.where(values >= 90, 1.0, 0.0)) == 1.0


def test_coverage_counts_the_ends_and_the_width_is_a_median():
    low, high = np.array([0.0, 0.0, 2.0, 0.0]), np.array([1.0, 1.0, 3.0, np.inf])
    assert coverage_and_width(low, high, np.array([0.0, 1.0, 1.0, 9.0])) == (0.75, 1.0)


# -- the whole protocol with predictors of known worth ---------------------------------------------------


@dataclass(frozen=True)
class Predicted:
    mean: Floats


@dataclass(frozen=True)
class FakeFit:
    """Predicts the first number of the block that it was made for."""

    kind: str
    known: int
    seed: int

    def predict(self, blocks: Mapping[str, Floats]) -> Predicted:
        if self.kind == "useless":
            rows = len(next(iter(blocks.values())))
            return Predicted(np.random.default_rng(self.seed).normal(size=rows))
        return Predicted((blocks["code"] if "code" in blocks else blocks["edge"])[:, 0])

    def interval(self, blocks: Mapping[str, Floats], level: float = 0.9) -> tuple[Floats, Floats]:
        middle = self.predict(blocks).mean
        reach = np.inf if self.known < 10 else 1.0
        return middle - reach, middle + reach


@dataclass(frozen=True)
class FakeHead:
    kind: str

    def fit(self, blocks: Mapping[str, Floats], values: Floats, *, counts: bool = False, seed: int = 0) -> FakeFit:
        assert {len(block) for block in blocks.values()} == {len(values)}
        assert counts == (len(blocks.get("code", np.zeros((1, 1)))[0]) == 2), "term counts come with two numbers here"
        if self.kind == "broken":
            raise DataError("this head cannot be fitted")
        return FakeFit(self.kind, len(values), seed)


def fake_head(name: str, *, target: str, components: int) -> FakeHead:
    if name not in ("gp", "useless", "broken"):
        raise ConfigError(f"unknown head '{name}'; choose from gp, useless, broken")
    return FakeHead(name)


@dataclass
class FakeEmbedder:
    """Knows the score of each text, or none of them."""

    name: str
    scores: Mapping[str, float]
    counts: bool = False
    truncated: tuple[str, ...] = ()
    asked: int = 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += len(texts)
        found = np.array([[self.scores.get(text, float(len(text) % 3))] for text in texts], np.float32)
        return np.repeat(found, 2, axis=1) if self.counts else found


TASK = Task("sums", "the sum of the digits", unit="points")


def problem(rows: int = 400, seed: int = 0, task: Task = TASK) -> Problem:
    space = load_space("nb201")
    rng = np.random.default_rng(seed)
    chosen = {cell.text: cell for cell in (build(space, rng.integers(0, 5, 6)) for _ in range(rows))}
    cells = tuple(chosen.values())
    worth = {
        id_: float(value) for id_, value in zip(sorted({c.id for c in cells}), rng.normal(size=rows), strict=False)
    }
    scores = np.array([worth[cell.id] for cell in cells]) + 1e-6 * rng.normal(size=len(cells))
    return Problem(space, task, cells, scores, "made up", "measured", "no epochs")


def build(space, places: Sequence[int]) -> Architecture:
    options = {d.name: d.options[place] for d, place in zip(space.decisions, places, strict=True)}
    return space.build(options)


def parts(problems: Sequence[Problem], embedders: dict[tuple[str, str], FakeEmbedder] | None = None) -> Parts:
    worth = {
        cell.text: score
        for known in problems
        for cell, score in zip(known.architectures, known.scores.tolist(), strict=True)
    }
    kept = {} if embedders is None else embedders

    def make(name: str, pooling: str) -> FakeEmbedder:
        counts = name == "tfidf"
        known = {} if counts or name.startswith("random:") else worth
        long = () if counts else ("constant", "never asked for")
        return kept.setdefault((name, pooling), FakeEmbedder(f"{name}/{pooling}", known, counts, long))

    return Parts(lambda name, space, task: lambda cell: cell.text if name == "canonical" else name, make, fake_head)


QUICK = Plan(sizes=(5, 20, 9999), repeats=2, folds=4, test_folds=3)


def run(plan: Plan, problems: Sequence[Problem] | None = None, jobs: int = 2) -> Outcome:
    problems = [problem()] if problems is None else problems
    return evaluate(plan, problems, parts(problems), jobs=jobs)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    return run(
        replace(QUICK, heads=("gp", "useless"), embedders=("all-minilm", "tfidf", "random:all-minilm")),
    )


@pytest.fixture(scope="module")
def doc(outcome):
    return document(outcome, command="nas-agent surrogate eval --task sums")


def tau(doc, name: str, size: int) -> float:
    return float(doc["tasks"]["sums"]["results"][name][str(size)]["tau"]["mean"])


def test_a_perfect_predictor_gets_one_and_a_useless_one_nothing(doc):
    assert tau(doc, "gp code canonical all-minilm auto", 20) == pytest.approx(1.0, abs=0.001)
    assert abs(tau(doc, "useless code canonical all-minilm auto", 20)) < 0.1
    assert abs(tau(doc, "gp structure", 20)) < 0.3
    perfect = doc["tasks"]["sums"]["results"]["gp code canonical all-minilm auto"]["20"]
    assert perfect["top"]["mean"] == pytest.approx(1.0)
    assert perfect["coverage"]["mean"] == 1.0
    assert perfect["width"]["median"] == pytest.approx(2.0)


def test_intervals_without_ends_are_told_and_are_no_number(doc):
    at_five = doc["tasks"]["sums"]["results"]["gp structure"]["5"]
    assert at_five["width"] == {"median": np.inf}
    (sheet,) = (sheet for sheet in sheets(doc, "sums") if "intervals" in sheet.title)
    assert all(row[1].endswith("/ open") and row[2].endswith("/ 2") for row in sheet.rows)


def test_a_size_larger_than_the_training_part_is_left_out_and_told(doc):
    task = doc["tasks"]["sums"]
    assert (task["sizes"], task["left_out"]) == ([5, 20], [9999])
    assert "N = 9999 left out" in markdown(doc)


def test_every_configuration_stands_once(outcome):
    names = [c.name for c in outcome.studies[0].results]
    assert len(set(names)) == len(names) == 2 * (1 + 2 * 3)
    assert "gp joint canonical tfidf" in names  # counted terms have no pooling
    assert sum(name.endswith("structure") for name in names) == 2


def test_the_reference_is_added_where_the_lists_leave_it_out():
    found = run(replace(QUICK, heads=("useless",), blocks=("structure",), sizes=(5,), test_folds=1, repeats=1))
    assert [c.name for c in found.studies[0].results] == ["gp structure", "useless structure"]
    named = run(replace(QUICK, heads=("useless",), blocks=("structure",), reference="useless structure"))
    assert [c.name for c in named.studies[0].results] == ["useless structure"]
    assert document(named, command="")["verdicts"][1] == "no test: a single configuration, or a single fold"


def test_verdicts_say_what_embeddings_and_the_language_model_add(doc):
    told = "\n".join(doc["verdicts"])
    assert "embeddings add something: gp joint all-minilm against gp structure: ahead at N = 5 (" in told
    assert "embeddings add nothing: gp joint tfidf against gp structure: " in told
    assert "embeddings add nothing: useless joint all-minilm against useless structure: no measurable" in told
    assert "the language model adds something: gp code all-minilm against gp code tfidf: ahead" in told
    assert "the language model adds nothing: useless code all-minilm against useless code random:all" in told
    assert doc["verdicts"][-1] == (
        "sums, against gp structure: ahead: gp joint all-minilm at N = 5, 20; gp code all-minilm at N = 5, 20. "
        "BEHIND: none"
    )
    assert doc["verdicts"][0].startswith("sums, highest mean tau: gp code all-minilm at N = 5 (")


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"decided": True, "mean": 0.1}, "embeddings add something: "),
        ({"decided": False, "mean": 0.1}, "embeddings add something on 1 of 2 tasks: "),
        ({"decided": True, "mean": -0.1}, "embeddings add something on 1 of 2 tasks: "),
    ],
)
def test_something_is_added_where_it_is_on_every_task(doc, second, told):
    def task(change):
        return {**sums, "contrasts": [{**row, **change} for row in sums["contrasts"] if row["n"] == 20]}

    sums = doc["tasks"]["sums"]
    lines = verdicts({**doc, "tasks": {"sums": task({"decided": True, "mean": 0.1}), "more": task(second)}})
    assert any(line.startswith(f"{told}gp joint all-minilm against gp structure: ") for line in lines)


def test_ahead_at_one_size_and_behind_at_another_is_no_gain(doc):
    sums = doc["tasks"]["sums"]
    rows = [{**row, "decided": True, "mean": 0.1 if row["n"] == 5 else -0.1} for row in sums["contrasts"]]
    lines = verdicts({**doc, "tasks": {"sums": {**sums, "contrasts": rows}}})
    (told,) = (line for line in lines if "gp joint tfidf against gp structure" in line)
    assert told.startswith("embeddings add nothing: ")
    assert told.endswith("ahead at N = 5 (+.100), BEHIND at N = 20 (-.100)")


def test_random_weights_are_a_control_of_their_own_model_only():
    embedders = ("all-minilm", "random:all-minilm", "hf:other", "tfidf")
    outcome = run(replace(QUICK, sizes=(20,), embedders=embedders, blocks=("code",), repeats=1))
    rows = document(outcome, command="")["tasks"]["sums"]["contrasts"]
    pairs = {tuple(row[side].split()[3] for side in ("first", "second")) for row in rows if row["kind"] != "reference"}
    assert pairs == {("all-minilm", "random:all-minilm"), ("all-minilm", "tfidf"), ("hf:other", "tfidf")}


def test_differences_are_paired_and_of_one_family(doc, outcome):
    rows = doc["tasks"]["sums"]["contrasts"]
    pairs = [(row["first"], row["second"], row["n"]) for row in rows]
    assert len(set(pairs)) == len(pairs)
    first, second = Configuration("gp", "joint", "canonical", "all-minilm", "auto"), Configuration("gp", "structure")
    results = outcome.studies[0].results
    by_hand = corrected_t_test((results[first][0, 1] - results[second][0, 1]).ravel(), 1 / 3)
    row = rows[pairs.index((first.name, second.name, 20))]
    assert by_hand is not None
    assert (row["mean"], row["p"]) == (by_hand.mean, by_hand.p)
    assert [row["holm"] for row in rows] == pytest.approx(holm([row["p"] for row in rows]))


def test_figures_do_not_depend_on_the_number_of_workers(outcome):
    alone = run(outcome.plan, jobs=1)
    for configuration, measured in outcome.studies[0].results.items():
        assert (alone.studies[0].results[configuration][:-1] == measured[:-1]).all()  # the last is a clock


def test_another_seed_makes_other_splits(outcome):
    other = run(replace(QUICK, blocks=("structure",), seed=1))
    name = Configuration("gp", "structure")
    assert (other.studies[0].results[name][0] != outcome.studies[0].results[name][0]).any()


def test_each_distinct_text_is_embedded_once_for_all_folds_and_tasks():
    problems = [problem(), replace(problem(), task=replace(TASK, name="other"))]
    asked: dict[tuple[str, str], FakeEmbedder] = {}
    told: list[tuple[int, int, str]] = []
    plan = replace(QUICK, sizes=(5,), texts=("canonical", "constant"), blocks=("code",), repeats=1, test_folds=1)
    found = evaluate(plan, problems, parts(problems, asked), jobs=1, told=lambda *step: told.append(step))
    cells = len(problems[0].architectures)
    assert asked["all-minilm", "auto"].asked == cells + 1
    assert [[about[what] for what in ("text", "texts", "distinct", "truncated")] for about in found.embedded] == [
        ["canonical", 2 * cells, cells, 0], ["constant", 2 * cells, 1, 1],
    ]  # fmt: skip
    assert "constant by all-minilm/auto: 1 of 1 texts were longer than the model reads" in markdown(
        document(found, command="")
    )
    assert (cells, cells, "embedding canonical texts by all-minilm") in told
    assert told[-1][:2] == (6, 6)  # three configurations, two tasks
    constant = found.studies[0].results[Configuration("gp", "code", "constant", "all-minilm", "auto")]
    assert (constant[0] == 0.0).all()


def test_structure_alone_needs_no_embedder():
    problems = [problem(100)]
    asked: dict[tuple[str, str], FakeEmbedder] = {}
    plan = replace(QUICK, blocks=("structure",), embedders=("broken",), repeats=1, test_folds=1)
    evaluate(plan, problems, parts(problems, asked), jobs=1)
    assert asked == {}


def test_a_head_that_fails_is_told_with_its_configuration():
    with pytest.raises(NasAgentError, match=r"^'broken structure', repeat 0, fold \d: this head cannot be fitted$"):
        run(replace(QUICK, heads=("broken",), blocks=("structure",)))


def test_networks_of_one_canonical_text_can_be_kept_together():
    # Two classes of nb201, since their dead edges differ, and one text: the input handed on.
    space = load_space("nb201")
    dead = [
        space.parse(f"|{operation}~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
        for operation in ("none", "nor_conv_3x3", "avg_pool_3x3")
    ]
    twins = [space.parse("|none~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"), *dead]
    assert len({space.source(twin) for twin in twins}) == 1
    known = problem(100)
    cells = (*(cell for cell in known.architectures if cell.text not in {twin.text for twin in twins}), *twins)
    whole = replace(known, architectures=cells, scores=np.arange(float(len(cells))))
    plan = replace(QUICK, sizes=(5,), repeats=1, test_folds=1, blocks=("structure",))
    counted = {
        together: run(replace(plan, together=together), [whole], jobs=1).studies[0].classes
        for together in ("classes", "texts")
    }
    assert counted["texts"] == len({space.source(cell) for cell in cells})
    assert counted["classes"] == len({cell.id for cell in cells}) > counted["texts"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": ("gp", "forest")}, "unknown head 'forest'; choose from gp"),
        ({"blocks": ("embedding",)}, "--blocks embedding: expected some of structure, code, joint"),
        ({"sizes": (2, 14)}, "--n 2: expected at least 3 rows"),
        ({"sizes": (9999,)}, r"--n 9999: the training part of sums holds \d+ of \d+ rows"),
        ({"heads": ("gp", "gp")}, "--head: expected at least one, each once"),
        ({"texts": ()}, "--text: expected at least one"),
        ({"folds": 5000, "test_folds": None}, "--folds 5000: expected from 2 to"),
        ({"test_folds": 9}, "--test-folds 9: expected 1 to the number of folds, 4"),
        ({"target": "log"}, "--target log: expected one of rank, power"),
        ({"together": "rows"}, "--together rows: expected one of classes, texts"),
        ({"reference": "gp"}, "--reference 'gp': expected one of 'gp structure', 'gp code canonical all-minilm auto'"),
    ],
)
def test_mistakes_are_told_before_any_fit(change, message):
    with pytest.raises(ConfigError, match=message):
        run(replace(QUICK, **change))


# -- what is written -------------------------------------------------------------------------------------


def test_the_document_is_plain_json(doc):
    assert json.loads(json.dumps(doc)) == doc
    assert doc["configurations"]["gp joint canonical tfidf"] == {
        "head": "gp", "blocks": "joint", "text": "canonical", "embedder": "tfidf", "pooling": "",
    }  # fmt: skip


def test_labels_leave_out_what_is_the_same_everywhere(doc):
    assert labels(doc)["gp joint canonical tfidf"] == "gp joint tfidf"
    assert "text canonical" in markdown(doc)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_every_number_of_every_table(doc, width):
    from rich.console import Console

    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(rich_report(doc))
    console.file.close()
    shown = console.export_text()
    for sheet in sheets(doc, "sums"):
        assert all(cell in shown for row in sheet.rows for cell in row[1:])
    assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8141, ".814"), (-0.012, "-.012"), (1.0, "1.000"), (0.0, ".000"), (0.9999, "1.000"), (-1.0, "-1.000")],
)
def test_correlations_are_written_without_their_leading_zero(value, text):
    assert number(value) == text


def test_differences_are_written_with_their_sign():
    assert (number(0.021, sign=True), number(-0.2, sign=True)) == ("+.021", "-.200")


def test_the_plot_is_a_png_with_a_panel_a_task(doc, tmp_path: Path):
    plot(doc, tmp_path / "one.png")
    several = {**doc, "tasks": dict.fromkeys("abcd", doc["tasks"]["sums"])}
    plot(several, tmp_path / "four.png")
    assert (tmp_path / "four.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "four.png").stat().st_size > (tmp_path / "one.png").stat().st_size
    with pytest.raises(StorageError, match="--plot"):
        plot(doc, tmp_path / "missing" / "curves.png")


def test_the_legend_has_room_for_long_names(doc):
    named = {f"gp joint exclude-helper+network+docstring {number}": of for number, of in enumerate(range(20))}
    (task,) = doc["tasks"].values()
    some = task["results"]["gp structure"]
    parts = {"head": "gp", "blocks": "joint", "embedder": "tfidf", "pooling": ""}
    configurations = {name: {**parts, "text": f"exclude-helper+network+docstring-{of}"} for name, of in named.items()}
    long = {**doc, "configurations": configurations, "reference": next(iter(named))}
    figure = drawn({**long, "tasks": {"sums": {**task, "results": dict.fromkeys(named, some)}}})
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 < box.x1 <= whole.x1
    assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    assert figure.axes[0].get_position().height * figure.get_size_inches()[1] > 2.5


# -- on the command line ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of a user's own: 80 cells of nb201, better by their convolutions."""
    file = tmp_path_factory.mktemp("table") / "mine.csv"
    cells = problem(80).architectures
    lines = (f'"{cell.text}",{10 * cell.text.count("conv") + number / 100}' for number, cell in enumerate(cells))
    file.write_text("\n".join(["architecture,val", *lines]))
    return file


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["surrogate", *map(str, arguments)])


def quick(table: Path, *arguments: object) -> Result:
    shape = ("--n", "10,30", "--repeats", 2, "--folds", 3, "--test-folds", 1, "--jobs", 1)
    return call("eval", "--space", "nb201", "--task", f"table:{table}", *shape, *arguments)


def test_heads_of_the_program_rank_a_users_table_by_structure(table: Path, tmp_path: Path):
    files = "--plot", tmp_path / "tau.png", "--markdown", tmp_path / "tau.md"
    result = quick(table, "--blocks", "structure", "--head", "gp,ridge", "--json", *files)
    assert result.exit_code == 0, result.output
    doc = json.loads(result.stdout)
    assert list(doc["configurations"]) == ["gp structure", "ridge structure"]
    assert doc["space"] == "nb201"
    (task,) = doc["tasks"].values()
    assert task["results"]["gp structure"]["30"]["tau"]["mean"] > 0.5
    assert "Kendall tau" in (tmp_path / "tau.md").read_text()
    assert (tmp_path / "tau.png").exists()
    assert "fits of" in result.stderr


def test_term_counts_of_the_canonical_text_rank_it_too(table: Path):
    result = quick(table, "--embedder", "tfidf", "--blocks", "code", "--head", "ridge")
    assert result.exit_code == 0, result.output
    assert "ridge code" in result.stdout
    assert "Verdict" in result.stdout
    assert "embedding canonical texts by tfidf" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--head", "forest"), "forest.*ridge.*lightgbm"),
        (("--text", "canonical,poem"), "poem.*canonical.*inline"),
        (("--embedder", "tfidf,word2vec"), "word2vec.*all-minilm.*tfidf"),
        (("--embedder", "tfidf,hf:no/such/folder"), "hf:no/such/folder.*expected"),
        (("--task", "digits"), "--task digits has no table"),
        (("--pooling", "max"), "max.*mean.*echo"),
        (("--blocks", "picture"), "picture.*structure, code, joint"),
        (("--target", "log"), "log.*rank, power"),
        (("--n", "2"), "--n 2: expected at least 3"),
        (("--n", "some"), "--n some: expected whole numbers"),
        (("--n", ","), "--n: expected names"),
        (("--folds", "999"), "--folds 999: expected from 2 to"),
        (("--plot", "no/folder/x.png"), "--plot no/folder/x.png: there is no folder"),
    ],
)
def test_a_mistake_is_one_line_that_lists_what_there_is(table: Path, arguments: tuple[str, ...], message: str):
    result = quick(table, *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()  # before any text is written
    assert re.match(f"error: .*{message}", line), result.stderr


def test_a_missing_table_and_equal_values_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    result = call("eval", "--task", "cifar10", "--blocks", "structure")
    assert result.exit_code == 2
    assert "no nb201.npz in" in result.stderr
    flat = tmp_path / "flat.csv"
    flat.write_text("\n".join(["architecture,val", *(f'"{cell.text}",50' for cell in problem(80).architectures)]))
    result = quick(flat, "--blocks", "structure")
    assert result.exit_code == 2
    assert "values are equal, so there is nothing to rank" in result.stderr


def test_help_fits_eighty_columns():
    lines = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["surrogate", "eval", "--help"]).stdout.splitlines()
    assert max(map(len, lines)) <= 80


def test_the_cache_is_counted_and_cleared(own_home: Path):
    assert "0 embeddings" in call("cache", "stats").stdout
    embedder = CachedEmbedder(TermCounts("tfidf"), own_home / "cache")
    embedder.embed(["one text", "another text"])
    held = json.loads(call("cache", "stats", "--json").stdout)
    assert (held["embeddings"], list(held["embedders"])) == (2, [embedder.name])
    assert embedder.name in call("cache", "stats").stdout
    unknown = call("cache", "clear", "--embedder", "nobody")
    assert unknown.exit_code == 2
    assert embedder.name in unknown.stderr
    assert call("cache", "clear", "--embedder", embedder.name).stdout == "removed 2 embeddings, 32.8 kB\n"
    (own_home / "cache" / "embeddings.sqlite.broken-1").touch()
    assert "1 unreadable file beside it" in call("cache", "stats").stdout
    assert call("cache", "clear").stdout == "removed 0 embeddings, 0.0 kB, and 1 unreadable file\n"
    assert json.loads(call("cache", "clear", "--json").stdout) == {"removed": 0, "bytes": 0, "set_aside": 0}
