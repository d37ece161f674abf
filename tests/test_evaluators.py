from __future__ import annotations

import importlib.util
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType

import numpy as np
import pytest

from nas_agent.errors import ConfigError, DataError
from nas_agent.records import Failed, Measured, outcome_from_dict
from nas_agent.spaces import CategoricalSpace, Decision, Space, load_space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators import Evaluation
from nas_agent.tools.evaluators.embedded import OUTPUTS, CellEncoder, EmbeddedBenchmark, encode, held_out
from nas_agent.tools.evaluators.resolve import load_evaluation

DATA = os.environ.get("NAS_AGENT_DATA")
needs_tables = pytest.mark.skipif(not DATA, reason="NAS_AGENT_DATA is not set: no benchmark tables here")
SMALL = "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
LARGE = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|none~2|"  # isomorphic to SMALL
GOOD = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("nb201")


class EvaluatorContract:
    """What every evaluator promises; a new one needs the fixture `evaluation` only."""

    def some(self, evaluation: Evaluation, space: Space) -> list:
        pool = evaluation.evaluator.pool()
        return list(pool[:3]) if pool is not None else [space.sample(Random(0))]

    def test_an_outcome_says_where_it_comes_from_and_is_finite(self, evaluation, space):
        for architecture in self.some(evaluation, space):
            outcome = evaluation.evaluator.evaluate(architecture, seed=3)
            assert isinstance(outcome, Measured)
            assert outcome.architecture == architecture
            assert (outcome.evaluator, outcome.provenance, outcome.fidelity, outcome.seed) == (
                evaluation.evaluator.name,
                evaluation.evaluator.provenance,
                evaluation.evaluator.fidelity,
                3,
            )
            assert outcome.seconds >= 0

    def test_an_outcome_survives_the_event_log(self, evaluation, space):
        outcome = evaluation.evaluator.evaluate(self.some(evaluation, space)[0], seed=0)
        assert outcome_from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome

    def test_the_same_question_gets_the_same_answer(self, evaluation, space):
        architecture = self.some(evaluation, space)[-1]
        first, second = (evaluation.evaluator.evaluate(architecture, seed=1) for _ in range(2))
        assert replace(first, seconds=0.0) == replace(second, seconds=0.0)

    def test_the_pool_is_distinct_canonical_and_of_the_space(self, evaluation, space):
        pool = evaluation.evaluator.pool()
        if pool is not None:
            assert len({architecture.id for architecture in pool}) == len(pool) > 0
            assert all(space.parse(architecture.text) == architecture for architecture in pool[:50])

    def test_the_test_split_answers_once_with_its_provenance(self, evaluation, space):
        result = evaluation.test_split.open(self.some(evaluation, space)[0], seed=1)
        assert result.provenance == evaluation.evaluator.provenance
        assert result.value is None or 0 <= result.value <= 100
        assert result.note
        json.dumps(result.to_dict())

    def test_the_note_is_one_line_that_names_the_evaluator(self, evaluation):
        assert f"evaluator {evaluation.evaluator.name}" in evaluation.note
        assert "\n" not in evaluation.note


def user_table(folder: Path) -> str:
    file = folder / "mine.csv"
    file.write_text(f"architecture,val,test,seconds\n{SMALL},50,49,7\n{GOOD},73.5,73.4,9\n")
    return f"table:{file}"


class TestTableEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluation(self, space, tmp_path):
        return load_evaluation(user_table(tmp_path), space, "auto", data=None, epochs=None)

    def test_what_the_table_does_not_hold_is_a_failure_with_advice(self, evaluation, space):
        outcome = evaluation.evaluator.evaluate(space.parse(GOOD.replace("skip_connect", "none")), seed=0)
        assert isinstance(outcome, Failed)
        assert "is not in the table; propose one of its 2" in outcome.reason

    def test_isomorphic_cells_get_the_same_answer(self, evaluation, space):
        values = [evaluation.evaluator.evaluate(space.parse(text), seed=0).value for text in (SMALL, LARGE)]
        assert values == [50.0, 50.0]

    def test_the_optimum_the_seconds_and_the_test_value_are_those_of_the_table(self, evaluation, space):
        assert evaluation.optimum == 73.5
        outcome = evaluation.evaluator.evaluate(space.parse(GOOD), seed=0)
        assert (outcome.seconds, outcome.simulated) == (9.0, True)
        assert evaluation.test_split.open(space.parse(GOOD), seed=0).value == 73.4

    def test_a_table_without_a_test_column_says_so(self, space, tmp_path):
        (tmp_path / "t.csv").write_text(f"architecture,val\n{SMALL},50\n")
        evaluation = load_evaluation(f"table:{tmp_path / 't.csv'}", space, "table", data=None, epochs=None)
        result = evaluation.test_split.open(space.parse(SMALL), seed=0)
        assert result.value is None
        assert "no test value" in result.note


@pytest.fixture(scope="module")
def embedded(space) -> Evaluation:
    return load_evaluation("cifar100", space, "embedded", data=None, epochs=None)


class TestEmbeddedEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluation(self, embedded):
        return embedded

    def test_every_class_is_answered_and_the_optimum_is_the_best_of_them(self, evaluation):
        pool = evaluation.evaluator.pool()
        values = [evaluation.evaluator.evaluate(architecture, seed=0).value for architecture in pool]
        assert len(values) == 6466
        assert max(values) == evaluation.optimum
        assert evaluation.optimum == pytest.approx(73.5, abs=1.0)

    def test_it_says_that_it_predicts(self, evaluation, space):
        assert evaluation.evaluator.provenance == "predicted"
        assert "predicted, not measured" in evaluation.note
        result = evaluation.test_split.open(space.parse(GOOD), seed=0)
        assert result.provenance == "predicted"
        assert result.value == pytest.approx(73.5, abs=1.5)

    def test_isomorphic_cells_get_the_same_value(self, evaluation, space):
        values = [evaluation.evaluator.evaluate(space.parse(text), seed=0).value for text in (SMALL, LARGE)]
        assert values[0] == values[1]

    def test_a_value_does_not_depend_on_what_was_asked_before(self, space):
        evaluations = [load_evaluation("cifar10", NasBench201(), "embedded", data=None, epochs=None) for _ in range(2)]
        for architecture in evaluations[0].evaluator.pool():
            evaluations[0].evaluator.evaluate(architecture, seed=0)
        values = [e.evaluator.evaluate(space.parse(GOOD), seed=0).value for e in evaluations]
        assert values[0] == values[1]


def test_the_encoding_counts_live_paths_and_live_edges_only():
    space = NasBench201()
    dead = space.parse("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|")  # 0>1 leads nowhere
    features = encode(space, [dead])[0]
    hot, counts = features[:24].reshape(6, 4), features[24:]
    assert hot.sum() == counts.sum() == 1.0
    assert hot[3, 1] == 1.0  # edge 0>3, the second of the operations that do not cut
    both = space.parse("|nor_conv_1x1~0|+|nor_conv_1x1~0|none~1|+|none~0|skip_connect~1|skip_connect~2|")
    assert encode(space, [both])[0][24:].max() == 2.0  # two paths, each one 1x1 convolution


def test_the_encoding_agrees_with_the_graphs_own_paths():
    space, rng = NasBench201(), Random(5)
    for architecture in (space.sample(rng) for _ in range(200)):
        graph = space.graph(architecture)
        features = encode(space, [architecture])[0]
        assert features[24:].sum() == len(graph.paths())
        assert [bool(edge.any()) for edge in features[:24].reshape(6, 4)] == list(graph.live())


def test_the_encoder_works_for_a_skeleton_of_another_size():
    from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation

    operations = (Operation("zero", "zero"), Operation("a", "conv"), Operation("skip", "identity"))
    graph = CellGraph(3, (Edge(0, 1, "a"), Edge(1, 2, "a"), Edge(0, 2, "a")), operations)
    features = CellEncoder(graph).encode(np.array([[1, 1, 2], [1, 0, 1]]))
    assert features.shape == (2, 3 * 2 + 3)
    assert features[0, 6:].tolist() == [1.0, 0.0, 1.0]  # the bare skip, and a after a
    assert features[1, 6:].tolist() == [0.0, 1.0, 0.0]


def test_the_shipped_weights_are_small_and_their_card_reaches_the_floor():
    folder = Path(sys.modules[EmbeddedBenchmark.__module__].__file__).parent / "weights"
    for space in ("nb201", "nb101", "darts"):
        assert 0 < sum(file.stat().st_size for file in folder.glob(f"embedded_{space}*")) < 300_000
    card = EmbeddedBenchmark(NasBench201()).card
    for task, split in OUTPUTS:
        scores = card["scores"][task][split]
        assert scores["kendall_tau"] > 0.91
        assert scores["r2"] > 0.98
        assert scores["kendall_tau_top_10_percent"] > 0.5


def fit_script() -> ModuleType:
    path = Path(__file__).parent.parent / "scripts" / "fit_embedded.py"
    spec = importlib.util.spec_from_file_location("fit_embedded", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


@needs_tables
def test_the_card_states_what_the_shipped_weights_do_on_the_held_out_classes():
    script, space = fit_script(), NasBench201()
    again, shipped = script.make_card(space, script.load_tables(space)), EmbeddedBenchmark(space).card
    for task, split in OUTPUTS:
        assert again["scores"][task][split] == pytest.approx(shipped["scores"][task][split], abs=2e-4)
    rounded = {"scores": 0, "markdown": 0}
    assert {**again, **rounded} == {**shipped, **rounded}
    assert sum(map(held_out, space.enumerate())) == shipped["held_out"]["classes"]


# -- which evaluator ------------------------------------------------------------------------------------


class Widths(CategoricalSpace):
    name = "widths"
    decisions = (Decision("depth", ("2", "4")), Decision("width", ("16", "32")))


@pytest.fixture
def no_tables(tmp_path, monkeypatch):
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))


def test_auto_falls_back_to_the_embedded_benchmark_and_says_where_it_looked(no_tables, tmp_path):
    evaluation = load_evaluation("CIFAR100", load_space("nb201"), "auto", data=tmp_path, epochs=None)
    assert evaluation.evaluator.name == "embedded"
    assert evaluation.task.name == "cifar100"
    assert f"no nb201.npz in {tmp_path} (--data)" in evaluation.note


def test_auto_does_not_hide_a_broken_table_behind_the_embedded_benchmark(no_tables, tmp_path):
    (tmp_path / "nb201.npz").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(DataError, match="broken or cut short"):
        load_evaluation("cifar100", load_space("nb201"), "auto", data=tmp_path, epochs=None)


@needs_tables
def test_auto_picks_the_table_where_there_is_one():
    evaluation = load_evaluation("imagenet16-120", load_space("nb201"), "auto", data=Path(DATA or ""), epochs=12)
    assert (evaluation.evaluator.name, evaluation.evaluator.fidelity) == ("table", "12 epochs")
    assert evaluation.optimum == pytest.approx(38.667, abs=1e-3)


@pytest.mark.parametrize(
    ("task", "space", "kind", "epochs", "message"),
    [
        (
            "mnist",
            NasBench201(),
            "auto",
            None,
            "unknown task 'mnist'; choose from cifar10, cifar100, ImageNet16-120, .*digits, or give",
        ),
        ("cifar100", NasBench201(), "train", None, "no images to train on: no cifar-100-python or cifar-100-binary in"),
        ("class_scene", load_space("trans101-micro"), "train", None, "there are no images of it to train on; choose"),
        ("cifar10", NasBench201(), "table", None, "--evaluator table: no nb201.npz in .*data import"),
        ("cifar10", NasBench201(), "auto", 12, "--epochs 12: the embedded benchmark predicts 200 epochs only"),
        (
            "cifar10",
            Widths(),
            "auto",
            None,
            "cifar10 was measured in space nb201.*, not in 'widths'; leave --space out",
        ),
        ("digits", NasBench201(), "table", None, "--evaluator table: task digits is trained for real"),
        ("digits", Widths(), "auto", None, "space 'widths' has no network to train"),
        ("table:x.csv", NasBench201(), "train", None, "--evaluator train: task table:x.csv is answered by its table"),
        ("table:x.csv", NasBench201(), "auto", 3, "--epochs 3: a table of your own"),
    ],
)
def test_a_combination_that_cannot_work_is_the_users_mistake(no_tables, task, space, kind, epochs, message):
    with pytest.raises((ConfigError, DataError), match=message):
        load_evaluation(task, space, kind, data=None, epochs=epochs)


# -- real training: see also test_training.py ---------------------------------------------------------------


@pytest.mark.slow
class TestTrainEvaluator(EvaluatorContract):
    @pytest.fixture
    def evaluation(self, space):
        return load_evaluation("digits", space, "auto", data=None, epochs=1)

    def test_a_real_training_beats_chance_on_both_splits(self, space):
        evaluation = load_evaluation("digits", space, "auto", data=None, epochs=None)
        assert evaluation.evaluator.evaluate(space.parse(GOOD), seed=0).value > 80
        assert evaluation.test_split.open(space.parse(GOOD), seed=0).value > 80
        nothing = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
        assert evaluation.evaluator.evaluate(nothing, seed=0).value < 20

    def test_a_space_from_a_file_is_trained_too_and_its_prints_do_no_harm(self, tmp_path):
        (tmp_path / "mine.py").write_text(
            "from torch import nn\n"
            "from nas_agent.spaces import CategoricalSpace, Decision\n"
            "class Mine(CategoricalSpace):\n"
            "    name = 'mine'\n"
            "    decisions = (Decision('width', ('16', '64')),)\n"
            "    def network(self, architecture, *, classes, in_channels, width):\n"
            '        print(\'{"status": "measured", "value": 100}\')\n'
            "        hidden = int(self.choices(architecture)['width'])\n"
            "        return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, classes))\n"
        )
        reference = f"{tmp_path / 'mine.py'}:Mine"
        space = load_space(reference)
        evaluation = load_evaluation("digits", space, "auto", data=None, epochs=5, reference=reference)
        outcome = evaluation.evaluator.evaluate(space.sample(Random(0)), seed=0)
        assert 60 < outcome.value < 100
