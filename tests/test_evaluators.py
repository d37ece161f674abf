from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import sys
import time
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
from nas_agent.tools.evaluators import Evaluation, train_worker
from nas_agent.tools.evaluators.digits import load_digits
from nas_agent.tools.evaluators.embedded import OUTPUTS, CellEncoder, EmbeddedBenchmark, encode, held_out
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.evaluators.train import (
    BrokenWorker,
    DigitsTrainer,
    TrainEvaluator,
    Training,
    TrainTestSplit,
)

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
    for benchmark in {file.stem for file in folder.iterdir()}:  # each with its card
        assert sum(file.stat().st_size for file in folder.glob(f"{benchmark}.*")) < 300_000
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
        ("cifar10", NasBench201(), "train", None, "--evaluator train: cifar10 has no images"),
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
    with pytest.raises(ConfigError, match=message):
        load_evaluation(task, space, kind, data=None, epochs=epochs)


# -- real training ---------------------------------------------------------------------------------------


def test_the_digits_are_split_into_fixed_disjoint_stratified_parts():
    first, second = load_digits(), load_digits()
    parts = [first.train, first.validation, first.test]
    assert [len(part.labels) for part in parts] == [1077, 360, 360]
    for part, again in zip(parts, (second.train, second.validation, second.test), strict=True):
        assert np.array_equal(part.pixels, again.pixels)
        shares = np.bincount(part.labels, minlength=10) / len(part.labels)
        assert np.abs(shares - 0.1).max() < 0.01
    images = [{pixels.tobytes() for pixels in part.pixels} for part in parts]
    assert not images[0] & images[1]
    assert not images[0] & images[2]
    assert not images[1] & images[2]
    assert first.mean == pytest.approx(first.train.pixels.mean())


def trainer(command: tuple[str, ...], limit: float = 30.0) -> DigitsTrainer:
    return DigitsTrainer(Training("nb201", limit=limit, command=command))


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


READY = (
    "import sys, os, signal, json; request = json.loads(sys.stdin.read()); "
    "reply = lambda text: print(request['nonce'] + text, flush=True); reply('{\"status\": \"ready\"}'); "
)


def gone(pid: int) -> bool:
    """Tell whether a process has ended (a zombie that nobody has waited for has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are watched through /proc")
def test_a_training_that_takes_too_long_fails_and_leaves_no_process_behind(tmp_path):
    hang = (
        READY
        + "import subprocess, time; child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    outcome = TrainEvaluator(trainer(script(hang), limit=4.0)).evaluate(NasBench201().parse(SMALL), seed=0)
    assert isinstance(outcome, Failed)
    assert "stopped after 4 seconds; propose a smaller" in outcome.reason
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)


@pytest.mark.parametrize(
    ("death", "reason"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "killed by signal 11"),
        ("os._exit(7)", r"ended \(no message\) without a result"),
        ("sys.exit('bad layer')", r"ended \(bad layer\)"),
    ],
)
def test_a_training_that_dies_is_a_failed_candidate(death, reason):
    outcome = TrainEvaluator(trainer(script(READY + death))).evaluate(NasBench201().parse(SMALL), seed=2)
    assert isinstance(outcome, Failed)
    assert outcome.seed == 2
    assert re.search(reason, outcome.reason)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("/no/such/python",), "cannot be started"),
        (script("raise ImportError('no torch here')"), "before it was ready: ImportError: no torch here"),
        (script(READY + 'reply(\'{"status": "broken", "reason": "no torch"}\')'), "cannot work here: no torch"),
        (script("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), "exit code -9 before it was ready"),
    ],
)
def test_a_machine_that_cannot_train_is_an_exception(command, message):
    with pytest.raises(BrokenWorker, match=message):
        TrainEvaluator(trainer(command)).evaluate(NasBench201().parse(SMALL), seed=0)


def test_the_test_images_reach_the_process_only_when_the_test_split_is_opened(tmp_path):
    """The child sends back what it was asked to score: here the sum of the labels that it got."""
    worker = script(
        READY + "import base64; reply(json.dumps({'status': 'measured', 'seconds': 0, 'value': "
        "sum(base64.b64decode(request['score']['labels'])) / 100}))"
    )
    shared, cell = trainer(worker), NasBench201().parse(SMALL)
    digits = load_digits()
    assert TrainEvaluator(shared).evaluate(cell, seed=0).value == digits.validation.labels.sum() / 100
    assert TrainTestSplit(shared).open(cell, seed=0).value == digits.test.labels.sum() / 100
    assert digits.validation.labels.sum() != digits.test.labels.sum()


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        ('print(\'{"status": "measured", "value": 100}\')', "without a result"),
        ('print(\'0\' * 32 + \'{"status": "measured", "value": 100}\')', "without a result"),
        ('reply(\'{"status": "measured", "value": 99}\'); sys.stdout.flush(); os._exit(3)', "without a result"),
        ('reply(\'{"status": "measured"\')', "no result"),
        ("reply('[1]')", "no result"),
        ('reply(\'{"status": "measured"}\')', "no result"),
        ('reply(\'{"status": "measured", "value": NaN}\')', "no result"),
        ('reply(\'{"status": "measured", "value": 1e9}\')', "no result"),
    ],
)
def test_a_reply_that_is_not_the_workers_own_or_no_result_is_a_failed_candidate(forged, reason):
    outcome = TrainEvaluator(trainer(script(READY + forged))).evaluate(NasBench201().parse(SMALL), seed=0)
    assert isinstance(outcome, Failed)
    assert reason in outcome.reason


def test_a_candidate_that_writes_to_the_standard_output_itself_forges_nothing(tmp_path):
    (tmp_path / "forger.py").write_text(
        "import os\n"
        "from nas_agent.spaces import CategoricalSpace, Decision\n"
        "os.write(1, b'early')\n"
        "class Forger(CategoricalSpace):\n"
        "    name = 'forger'\n"
        "    decisions = (Decision('width', ('1', '2')),)\n"
        "    def network(self, architecture, **sizes):\n"
        '        os.write(1, b\'\\n{"status": "measured", "value": 100}\\n\')\n'
        "        os._exit(0)\n"
    )
    reference = f"{tmp_path / 'forger.py'}:Forger"
    forger = TrainEvaluator(DigitsTrainer(Training(reference, limit=60.0)))
    outcome = forger.evaluate(load_space(reference).parse("width=1"), seed=0)
    assert isinstance(outcome, Failed)
    assert "without a result" in outcome.reason


def test_a_winner_that_cannot_be_trained_again_has_no_test_value():
    result = TrainTestSplit(trainer(script(READY + "os._exit(7)"))).open(NasBench201().parse(SMALL), seed=0)
    assert result.value is None
    assert "could not be trained again" in result.note


class Odd(CategoricalSpace):
    """Networks that go wrong in the ways candidates do."""

    name = "odd"
    decisions = (Decision("fault", ("none", "infinite", "shape", "memory")),)

    def network(self, architecture, *, classes, in_channels, width):
        import torch
        from torch import nn

        class Infinite(nn.Linear):
            def forward(self, x):
                return super().forward(x) * float("inf")

        class Memory(nn.Linear):
            def forward(self, x):
                return super().forward(torch.empty(10**15))

        fault = architecture.text.partition("=")[2]
        last = {"none": nn.Linear, "infinite": Infinite, "shape": nn.Linear, "memory": Memory}[fault]
        return nn.Sequential(nn.Flatten(), last(65 if fault == "shape" else 64, classes))


def request_for(text: str, **changed: object) -> dict:
    """What the trainer sends, with few images."""
    digits = load_digits()
    part = {
        "pixels": base64.b64encode(digits.train.pixels[:200].tobytes()).decode(),
        "labels": base64.b64encode(digits.train.labels[:200].tobytes()).decode(),
    }
    base = {"space": "nb201", "architecture": text, "epochs": 2, "width": 4, "classes": 10, "seed": 0, "limit": 60}
    return {**base, "mean": digits.mean, "spread": digits.spread, "train": part, "score": part, **changed}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("infinite", "training loss became (nan|inf) in epoch 1; propose"),
        ("shape", "its network raised RuntimeError: .*; propose one whose layers fit"),
        ("memory", "ran out of memory; propose a smaller"),
        ("unheard of", "unknown option 'unheard of'"),
    ],
)
def test_a_network_that_goes_wrong_is_a_failure_written_as_advice(fault, reason):
    reply = train_worker.outcome(Odd(), request_for(f"fault={fault}"))
    assert reply["status"] == "failed"
    assert re.search(reason, reply["reason"])


def test_training_learns_and_the_seed_fixes_its_value():
    values = [train_worker.outcome(Odd(), request_for("fault=none", epochs=20, seed=s))["value"] for s in (0, 0, 1)]
    assert values[0] == values[1]
    assert min(values) > 80.0


def test_the_worker_reports_a_space_it_cannot_load_as_broken():
    assert [r["status"] for r in train_worker.answers(request_for("x", space="none.py:Space"))] == ["broken"]


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
