"""A score of code that nobody vouches for is measured again before it may be the best."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas_agent.cli.main import app
from nas_agent.cli.trace import trace
from nas_agent.config import make_config
from nas_agent.errors import ConfigError
from nas_agent.graphs.confirm import confirmed
from nas_agent.records import Architecture, Failed, Fidelity, Json, Measured, Outcome, Proposal, Task, outcome_from_dict
from nas_agent.run import Search, start
from nas_agent.spaces import CategoricalSpace, Decision, is_untrusted
from nas_agent.tools.evaluators import base
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.event_log import EventLog
from nas_agent.tools.fidelities import make_rungs
from nas_agent.tools.journal import Journal

LEVEL = "fake: walls"


class Texts(CategoricalSpace):
    name = "texts"
    untrusted = True
    decisions = (Decision("network", tuple("abcdefgh")),)

    def module_source(self, architecture, *, classes=10):
        return "class Network: pass"


class Two:
    """Measures by a list of values for each architecture, one a seed; a text is a failure."""

    name, provenance, fidelity = "train", "measured", "1 epoch"

    def __init__(self, values: dict[str, list[float | str]], sandbox: str | None = LEVEL) -> None:
        self.values, self.sandbox = values, sandbox
        self.asked: list[tuple[str, int]] = []

    def pool(self):
        return None

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        name = architecture.text.partition("=")[2]
        self.asked.append((name, seed))
        value = self.values[name][seed]
        if isinstance(value, str):
            return Failed(architecture, value, 1.0, seed, "train", sandbox=self.sandbox)
        return Measured(architecture, value, "1 epoch", 1.0, seed, "train", sandbox=self.sandbox)

    def open(self, architecture: Architecture, *, seed: int) -> base.TestResult:
        return base.TestResult(None, "measured", "no test part")


def journal(*best: float) -> Journal:
    found = Journal.begin(Task("mine", "a task"), Texts(), EventLog())
    for number, value in enumerate(best, start=1):
        found.outcome(number, Measured(Texts().parse("network=h"), value, "1 epoch", 1.0, 0, "train"))
    return found


def measure(values: list[float | str], known: Journal, sandbox: str | None = LEVEL) -> Outcome:
    box, one = Two({"a": values}, sandbox), Texts().parse("network=a")
    return confirmed(known, lambda *, seed: box.evaluate(one, seed=seed), 0)


@pytest.mark.parametrize(("values", "kept"), [((90.0, 80.0), 80.0), ((80.0, 90.0), 80.0)])
def test_a_new_best_is_measured_under_another_seed_and_the_lower_value_counts(values, kept) -> None:
    outcome = measure(list(values), journal(70.0))
    assert isinstance(outcome, Measured)
    assert (outcome.value, outcome.repeats, outcome.seconds, outcome.seed) == (kept, values, 2.0, 0)
    assert outcome_from_dict(outcome.to_dict()) == outcome


def test_what_is_not_better_is_measured_once() -> None:
    for value in (70.0, 60.0):
        outcome = measure([value], journal(70.0))
        assert isinstance(outcome, Measured)
        assert (outcome.value, outcome.repeats) == (value, ())
        assert not {"repeats"} & set(outcome.to_dict())


def test_a_score_that_comes_once_is_not_the_best() -> None:
    known = journal(70.0)
    known.outcome(2, measure([100.0, 10.0], known))
    assert known.archive.best is not None
    assert known.archive.best.value == 70.0


def test_a_network_that_fails_the_second_time_has_no_score() -> None:
    outcome = measure([100.0, "its network raised ValueError"], journal(70.0))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "it scored 100 and then, under another seed, failed: its network raised ValueError"
    assert (outcome.seconds, outcome.seed, outcome.sandbox) == (2.0, 0, LEVEL)


def test_of_several_fidelities_only_the_full_one_is_measured_twice() -> None:
    known, cheap, full = journal(), Fidelity(1), Fidelity(3)
    known.archive.rungs = make_rungs([cheap, full])
    for at, times in ((cheap, 1), (full, 2)):
        asked: list[int] = []

        def measured(*, seed: int, at: Fidelity = at, asked: list[int] = asked) -> Outcome:
            asked.append(seed)
            return Measured(Texts().parse("network=a"), 90.0, str(at), 1.0, seed, "train", at=at, sandbox=LEVEL)

        confirmed(known, measured, 5)
        assert asked == [5, 6][:times]


def test_the_trace_of_a_principle_says_what_confined_each_network() -> None:
    """Logs of before, without a level, are read as they are."""
    principle = {"id": "P1", "version": 1, "status": "active", "text": "t", "constraint": {}, "author": "a"}
    events: list[Json] = [
        {
            "type": "principle", "evaluations": 0, "action": "activated", "why": "",
            "principle": {**principle, "evidence": {}},
        }
    ]  # fmt: skip
    for number, sandbox in ((1, None), (2, LEVEL)):
        proposal = Proposal(Texts().parse("network=a"), "sample", principles=("P1@1",))
        events.append({"type": "proposal", "evaluation": number, "proposal": proposal.to_dict()})
        came = Measured(proposal.architecture, 50.0, "1 epoch", 1.0, 0, "train", sandbox=sandbox)
        events.append({"type": "outcome", "evaluation": number, "outcome": came.to_dict()})
    first, second = trace(events, "P1").proposals
    assert "sandbox" not in first
    assert second["sandbox"] == LEVEL


def test_trusted_code_is_measured_once() -> None:
    outcome = measure([90.0], journal(70.0), sandbox=None)
    assert isinstance(outcome, Measured)
    assert outcome.repeats == ()


def test_a_search_believes_only_what_was_reached_twice() -> None:
    values: dict[str, list[float | str]] = {name: [50.0, 50.0] for name in "cdefgh"}
    values |= {"a": [99.0, 10.0], "b": [60.0, 58.0]}
    box = Two(values)
    evaluation = base.Evaluation(Task("mine", "a task"), box, box, "by a list")
    search = Search("mine", space=Texts(), evaluation=evaluation, budget=8, surrogate="none", generator="random")
    result = search.run()
    assert result.best is not None
    assert (result.best.architecture.text, result.best.value, result.best.repeats) == ("network=b", 58.0, (60.0, 58.0))
    assert ("a", 1) in box.asked
    assert sum(seed == 1 for _, seed in box.asked) < 5


# -- from the command line's settings ----------------------------------------------------------------------------


def test_unsafe_is_refused_where_all_code_is_trusted() -> None:
    from nas_agent.spaces.nasbench201 import NasBench201

    settings = TrainSettings(sandbox="off")
    assert not is_untrusted(NasBench201())
    with pytest.raises(ConfigError, match=r"--unsafe lets code .* space 'nb201' has none, leave it out"):
        load_evaluation("digits", NasBench201(), "auto", data=None, epochs=1, training=settings)


@pytest.mark.parametrize(
    ("name", "told"), [("auto", "in a sandbox"), ("docker", "in a sandbox"), ("off", "UNCONFINED")]
)
def test_the_note_says_where_code_of_a_model_is_trained(name: str, told: str) -> None:
    settings = TrainSettings(sandbox=name)
    found = load_evaluation("digits", Texts(), "auto", data=None, epochs=1, training=settings)
    assert f"each candidate is trained {told}, 1 epoch" in found.note


def test_what_confines_code_goes_with_the_evaluator_to_other_machines() -> None:
    from nas_agent.spaces.pytorch import Pytorch

    for name in ("auto", "docker", "off"):
        settings = TrainSettings(sandbox=name)
        found = load_evaluation("digits", Pytorch(), "auto", data=None, epochs=1, training=settings)
        sent = pickle.loads(pickle.dumps(found.evaluator))
        assert sent.trainer.training.sandbox == name
        assert sent.trainer.confined


def test_code_that_nobody_vouches_for_is_not_built_to_be_counted() -> None:
    from nas_agent.tools.costs.networks import Networks
    from nas_agent.tools.evaluators.base import ImageShape

    class Built(Texts):
        def network(self, architecture, *, classes, in_channels, width):
            raise AssertionError("it was run")

    assert Networks(Built(), ImageShape()).params(Texts().parse("network=a")) is None


CELL = "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"


@pytest.mark.parametrize("command", [["run", "--out"], ["evaluate", CELL, "--data"]])
def test_the_flag_is_one_of_run_and_of_evaluate(command: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [*command, str(tmp_path), "--task", "digits", "--space", "nb201", "--unsafe"])
    assert done.exit_code == 2
    assert "space 'nb201' has none, leave it out" in done.stderr
    assert not list(tmp_path.iterdir())


FILE = """
from nas_agent.spaces import CategoricalSpace, Decision

class Texts(CategoricalSpace):
    name = "texts"
    untrusted = True
    decisions = (Decision("network", tuple("abcdefgh")),)

    def module_source(self, architecture, *, classes=10):
        return "class Network: pass"
"""


def test_a_report_says_what_confined_a_network_and_how_often_it_was_measured(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))
    (tmp_path / "texts.py").write_text(FILE)
    values: dict[str, list[float | str]] = {name: [50.0, 45.0] for name in "bcdefgh"} | {"a": ["no", "no"]}
    box = Two(values)
    asked = {
        "task": "digits", "space": f"{tmp_path}/texts.py:Texts", "budget": 8, "surrogate": "none", "memory": False,
        "recall": "none", "out": tmp_path / "runs",
    }  # fmt: skip
    evaluation = base.Evaluation(Task("digits", "a task"), box, box, "by a list")
    folder = start(make_config(asked), evaluation=evaluation).run
    shown = CliRunner().invoke(app, ["show", str(folder)]).stdout
    assert "the lower of 2 seeds" in shown
    assert LEVEL in shown
    best = CliRunner().invoke(app, ["show", str(folder), "best"]).stdout
    assert "50.00 % and 45.00 %, under two seeds; the lower counts" in " ".join(best.split())
    assert f"its code ran in the sandbox {LEVEL}" in " ".join(best.split())
    failed = json.loads(CliRunner().invoke(app, ["show", str(folder), "--json"]).stdout)
    assert failed["sandboxes"] == [LEVEL]
    assert failed["best"]["repeats"] == [50.0, 45.0]
    place = str(failed["failures"][0]["evaluation"])
    assert f"sandbox {LEVEL}" in " ".join(CliRunner().invoke(app, ["show", str(folder), place]).stdout.split())
