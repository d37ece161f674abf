"""Trainings that their learning curves stop: the rule, the evaluator, the search, resuming, and the reports."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from nas_agent import Search
from nas_agent.cli.candidate import tell
from nas_agent.cli.main import app
from nas_agent.cli.progress import Progress
from nas_agent.cli.report import whole_run
from nas_agent.cli.run_document import as_document
from nas_agent.cli.story import Story
from nas_agent.config import make_config
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Failed, Fidelity, Json, Measured, Outcome, outcome_from_dict
from nas_agent.run import resume, start
from nas_agent.tools.archive import Added, Archive
from nas_agent.tools.curves import ENOUGH, FIRST, Bar, bar_of, check_curves
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.candidate import NUMBER
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.executors.base import Work, perform
from nas_agent.tools.images import Images, ImageTask
from nas_agent.tools.run_folder import RunFolder, open_folder
from nas_agent.tools.run_records import record_from
from nas_agent.tools.surrogates.levels import Levels
from tests.resumed import Killed, killed_at
from tests.searching import TASK, Diary, TestVault, Toy, config, worth

EPOCHS = 5
AT = Fidelity(EPOCHS, 16)
SPACE = Toy()
NAMES = [SPACE.sample(Random(number)) for number in range(400)]


def ended(number: int, value: float, curve: tuple[float, ...]) -> Measured:
    """A training that went to its end."""
    return Measured(NAMES[number], value, str(AT), 0.0, 0, "test", at=AT, curve=curve)


def archive(*outcomes: Outcome) -> Archive:
    kept = Archive(TASK)
    for outcome in outcomes:
        assert kept.add(outcome) is not Added.KNOWN
    return kept


def falling(start: float) -> tuple[float, ...]:
    return tuple(start * 0.8**epoch for epoch in range(EPOCHS))


SIX = [ended(number, 90.0 - number, falling(1.0 + 0.1 * number)) for number in range(6)]


# -- the rule ------------------------------------------------------------------------------------------


def test_nothing_is_compared_before_enough_trainings_have_ended() -> None:
    assert bar_of(archive(*SIX[: ENOUGH - 1])) == Bar()
    assert bar_of(archive(*SIX)).limits
    assert not Bar().stops([math.inf] * 3)


def test_the_limit_is_a_tenth_above_the_worst_loss_of_the_best_third() -> None:
    bar = bar_of(archive(*SIX))
    assert bar.limits == pytest.approx([1.1 * 1.1 * 0.8**epoch for epoch in range(EPOCHS - 1)])
    assert bar.best == 90.0


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.floats(0.01, 5.0), min_size=EPOCHS, max_size=EPOCHS), min_size=ENOUGH, max_size=12), st.data()
)
def test_a_curve_that_is_nowhere_above_one_of_the_best_third_is_never_stopped(
    curves: list[list[float]], data: st.DataObject
) -> None:
    values = data.draw(st.lists(st.integers(0, 20), min_size=len(curves), max_size=len(curves)))
    known = [ended(n, float(value), tuple(c)) for n, (value, c) in enumerate(zip(values, curves, strict=True))]
    bar = bar_of(archive(*known))
    place = data.draw(st.sampled_from(sorted(range(len(known)), key=lambda n: -values[n])[: max(2, len(known) // 3)]))
    good = [data.draw(st.floats(0.0, loss)) for loss in curves[place]]
    assert not any(bar.stops(good[:epochs]) for epochs in range(1, EPOCHS + 1))


@settings(deadline=None, max_examples=50)
@given(st.permutations(range(9)), st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_the_bar_does_not_depend_on_the_order_in_which_equals_ended(order: list[int], values: list[int]) -> None:
    known = [ended(number, float(values[number]), falling(1.0 + number)) for number in range(9)]
    mixed = bar_of(archive(*(known[number] for number in order)))
    plain = bar_of(archive(*known))
    assert mixed.limits == plain.limits
    assert mixed.best == plain.best


def test_equal_to_the_limit_goes_on_and_above_it_stops_from_the_second_epoch_until_the_last() -> None:
    bar = bar_of(archive(*SIX))
    for epoch, limit in enumerate(bar.limits, start=1):
        before = [0.1] * (epoch - 1)
        assert not bar.stops([*before, limit])
        assert bar.stops([*before, math.nextafter(limit, math.inf)]) == (epoch >= FIRST)
    assert not bar.stops([9.0] * EPOCHS)  # it has ended
    assert not bar.stops([])


def test_a_loss_that_is_no_number_stops_nothing_here_since_the_trainer_makes_it_a_failure() -> None:
    assert not bar_of(archive(*SIX)).stops([0.1, math.nan])


def test_trainings_without_a_curve_and_those_that_were_stopped_are_compared_with_nobody() -> None:
    bar = bar_of(archive(*SIX))
    retried = Measured(NAMES[50], 99.0, "half the batch", 0.0, 0, "test", at=AT)
    stopped = Measured(NAMES[51], 20.0, "2 of 5", 0.0, 0, "test", at=AT, curve=(9.0, 9.0), expected=40.0)
    failed = Failed(NAMES[52], "no", 0.0, 0, "test", at=AT)
    assert bar_of(archive(*SIX, retried, stopped, failed)) == bar


def test_what_is_expected_follows_the_line_and_is_neither_below_what_was_reached_nor_above_the_best() -> None:
    bar = bar_of(archive(*SIX))
    middling = [9.0, 0.8 * 1.25]
    assert bar.expected(middling, 10.0) == pytest.approx(87.5)  # as far between the values as between the losses
    assert bar.expected(middling, 88.0) == 88.0
    assert bar.expected([9.0, 0.01], 10.0) == 90.0
    assert bar.expected([9.0, 99.0], 10.0) == 10.0


def test_more_loss_is_never_worth_more() -> None:
    strange = [ended(number, 80.0 + number, falling(1.0 + 0.1 * number)) for number in range(6)]
    bar = bar_of(archive(*strange))
    assert {slope for _, slope in bar.lines} == {0.0}
    assert bar_of(archive(*(ended(n, float(n), falling(1.0)) for n in range(6)))).lines[0] == (2.5, 0.0)


def test_a_bar_survives_json_and_is_empty_where_it_says_nothing() -> None:
    bar = bar_of(archive(*SIX))
    assert Bar.from_dict(json.loads(json.dumps(bar.to_dict()))) == bar
    assert Bar().to_dict() == {}
    assert Bar.from_dict({}) == Bar()
    with pytest.raises(ValueError, match="a line for each of 4 limits, got 0"):
        Bar.from_dict({**bar.to_dict(), "lines": []})


# -- what a stopped training is --------------------------------------------------------------------------


STOPPED = Measured(
    NAMES[60], 95.0, "2 of 5 epochs", 1.0, 0, "test", at=AT, curve=(2.0, 1.9), expected=70.0
)  # by chance it scored high early


def test_a_stopped_training_is_known_and_counted_but_never_best_nor_ranked_nor_full() -> None:
    kept = archive(*SIX, STOPPED)
    assert kept.best is SIX[0]
    assert STOPPED.architecture.id in kept
    assert len(kept) == 7
    assert STOPPED not in kept.measured
    assert STOPPED.architecture not in [architecture for architecture, _ in kept.ranked()]
    assert not kept.is_full(STOPPED)
    assert STOPPED not in kept.lasting()
    assert kept.curve[-1] == 90.0
    assert kept.add(ended(60, 99.0, falling(0.5))) is Added.KNOWN


def test_records_of_stopped_trainings_survive_json_and_others_are_written_as_before() -> None:
    assert outcome_from_dict(json.loads(json.dumps(STOPPED.to_dict()))) == STOPPED
    plain = Measured(NAMES[0], 50.0, "made up", 0.0, 0, "test")
    assert not {"curve", "expected"} & plain.to_dict().keys()
    work = Work(NAMES[0], 0, bar=bar_of(archive(*SIX)))
    assert Work.from_dict(json.loads(json.dumps(work.to_dict()))) == work
    assert Work.from_dict(Work(NAMES[0], 0, bar=Bar()).to_dict()).bar == Bar()
    assert "bar" not in Work(NAMES[0], 0).to_dict()


def test_the_surrogate_is_told_what_was_expected_and_not_what_half_a_training_scored() -> None:
    assert Levels(TASK, 1).follow(STOPPED, 0) == [(STOPPED.architecture, 70.0)]


# -- training ------------------------------------------------------------------------------------------


class Pretended:
    """Trains nothing: answers with curves, as a worker would, and notes what it was asked."""

    def __init__(self, losses: list[float], *, memory: bool = False) -> None:
        self.losses, self.scarce, self.asked = losses, memory, list[Json]()

    def probe(self, request: Json) -> Json:
        return {"device": "cpu", "precision": "float32"}

    def train(self, request: Json) -> Json:
        self.asked.append(request)
        if self.scarce and len(self.asked) == 1:
            return {"status": "failed", "reason": "it ran out of memory", "cause": "memory", "seconds": 0.1}
        said: Json = {"status": "predicted", "classes": np.zeros(8, dtype=NUMBER).tobytes(), "seconds": 0.1}
        return said if request["bar"] is None else {**said, "curve": self.losses}

    def close(self) -> None: ...

    def stop(self) -> None: ...


def pictures() -> ImageTask:
    part = Images(np.zeros((8, 4, 4, 1), dtype=np.uint8), np.arange(8) % 2)
    return ImageTask(
        task=TASK, train=part, validation=part, open_test=None, classes=("a", "b"),
        mean=(0.0,), spread=(1.0,), flip=False, split="made up",
    )  # fmt: skip


def evaluator(worker: Pretended, epochs: int = EPOCHS, **changed: Any) -> TrainEvaluator:
    training = Training("nb201", Fidelity(epochs, 16), batch=4, device="cpu", precision="float32")
    return TrainEvaluator(ImageTrainer(training, pictures, worker=lambda: worker, **changed))


def test_what_the_bar_stops_is_measured_as_it_is_and_marked_with_the_epochs_it_had() -> None:
    bar = bar_of(archive(*SIX))
    outcome = evaluator(Pretended([2.0, 1.6])).evaluate(NAMES[0], seed=0, bar=bar)
    assert isinstance(outcome, Measured)
    assert outcome.stopped
    assert outcome.value == 50.0
    assert outcome.curve == (2.0, 1.6)
    assert outcome.expected == bar.expected([2.0, 1.6], 50.0)
    assert outcome.worth == outcome.expected
    assert outcome.fidelity == "2 of 5 epochs, 16 channels: its learning curve stopped it"
    assert outcome.at == AT


def test_what_nothing_stops_has_its_curve_and_without_a_bar_none_is_noted() -> None:
    worker = Pretended(list(falling(1.0)))
    whole = perform(evaluator(worker), Work(NAMES[0], 0, bar=Bar()))
    assert isinstance(whole, Measured)
    assert (whole.stopped, whole.curve, whole.fidelity) == (False, falling(1.0), "5 epochs, 16 channels")
    plain = perform(evaluator(worker), Work(NAMES[0], 0))
    assert isinstance(plain, Measured)
    assert plain.curve == ()
    assert [request["bar"] for request in worker.asked] == [{}, None]


def test_a_training_that_is_tried_again_with_a_smaller_batch_is_compared_with_nobody() -> None:
    worker = Pretended([9.0, 9.0], memory=True)
    outcome = evaluator(worker).evaluate(NAMES[0], seed=0, bar=bar_of(archive(*SIX)))
    assert isinstance(outcome, Measured)
    assert not outcome.stopped
    assert outcome.curve == ()
    assert [request["bar"] is None for request in worker.asked] == [False, True]


class TestTrainer:
    """The real one, on a network of one layer."""

    def trained(self, watch: Any) -> list[float]:
        torch = pytest.importorskip("torch")
        from nas_agent.tools.evaluators.trainer import Part, Place, Recipe, train

        rng = np.random.default_rng(0)
        part = Part(rng.integers(0, 16, (32, 4, 4, 1), dtype=np.uint8), np.arange(32) % 2, (8.0,), (4.0,), "cpu")
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
        recipe = Recipe(epochs=4, batch=8, shift=0)
        train(network, part, recipe, Place("cpu", "float32"), 0, watch)
        return [float(number) for number in network[1].weight.detach().flatten()]

    def test_being_watched_changes_no_weight(self) -> None:
        losses = list[float]()

        def watch(loss: float) -> bool:
            losses.append(loss)
            return False

        assert self.trained(watch) == self.trained(None)
        assert len(losses) == 4
        assert losses[-1] < losses[0]

    def test_it_ends_after_the_epoch_that_the_watch_says(self) -> None:
        losses = list[float]()

        def watch(loss: float) -> bool:
            losses.append(loss)
            return len(losses) == 2

        assert self.trained(watch) != self.trained(None)
        assert len(losses) == 2


@pytest.mark.slow
def test_a_real_training_on_the_digits_stops_at_the_epoch_that_its_bar_says_and_else_changes_nothing() -> None:
    from nas_agent.spaces.nasbench201 import NasBench201
    from nas_agent.tools.images import load_images

    digits = load_images("digits", data=None, resolution=None)
    training = Training("nb201", Fidelity(3, 4), batch=64, device="cpu", precision="float32")
    real = TrainEvaluator(ImageTrainer(training, lambda: digits))
    cell = NasBench201().sample(Random(3))
    plain, noted = real.evaluate(cell, seed=0), real.evaluate(cell, seed=0, bar=Bar())
    assert isinstance(plain, Measured)
    assert isinstance(noted, Measured)
    assert plain.value == noted.value
    assert len(noted.curve) == 3
    low = Bar((0.0, noted.curve[1] * 0.99), ((50.0, 0.0), (50.0, 0.0)), 60.0)
    short = real.evaluate(cell, seed=0, bar=low)
    real.stop()
    assert isinstance(short, Measured)
    assert short.curve == noted.curve[:2]
    assert short.stopped


# -- searching -----------------------------------------------------------------------------------------


@dataclass
class Curved(Diary):
    """An evaluator with curves that follow from what an architecture is worth, with some noise."""

    slow: bool = False  # some take longer, so that outcomes arrive out of turn

    def why_no_curves(self) -> str:
        return ""

    def evaluate(self, architecture: Architecture, *, seed: int, bar: Bar | None = None) -> Outcome:
        outcome = super().evaluate(architecture, seed=seed)
        if self.slow:
            time.sleep(0.02 if len(self.calls) % 3 == 1 else 0.001)
        if isinstance(outcome, Failed) or bar is None:
            return outcome
        rng, curve = Random(architecture.id), list[float]()
        for loss in falling(4.0 - worth(architecture) / 25.0):
            curve.append(loss * rng.uniform(0.97, 1.03))
            if bar.stops(curve):
                expected = bar.expected(curve, outcome.value / 2)
                text = f"{len(curve)} of {AT}"
                kept = tuple(curve)
                return Measured(
                    architecture, outcome.value / 2, text, 0.0, seed, self.name, at=AT, curve=kept, expected=expected
                )
        return Measured(architecture, outcome.value, str(AT), 0.0, seed, self.name, at=AT, curve=tuple(curve))


def curved(diary: Diary | None = None) -> Evaluation:
    return Evaluation(TASK, diary or Curved(), TestVault(), "made up for a test")


SETTINGS: Json = {"budget": 24, "stop_curves": True, "seed": 1}
BLIND: Json = {**SETTINGS, "generator": "random", "surrogate": "none"}  # proposes much that is poor
FAILS = "layer_4=pool"


def events_of(folder: RunFolder) -> list[Json]:
    return [deterministic(event) for event in read_events(folder.events)[0]]


def the_folder(out: Path) -> RunFolder:
    (path,) = out.iterdir()
    return open_folder(path)


def run(out: Path, diary: Diary | None = None, **settings: object) -> list[Json]:
    start(config(out, **{**SETTINGS, **settings}), evaluation=curved(diary))
    return events_of(the_folder(out))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    out = tmp_path_factory.mktemp("unbroken")
    os.environ["NAS_AGENT_HOME"] = str(out / "home")
    return run(out / "runs", Curved(fail_on=FAILS), **BLIND)


def test_a_search_stops_some_and_finds_what_it_would_have_found_at_its_end() -> None:
    search = Search(TASK, space=Toy(), evaluation=curved(), memory=None, **SETTINGS)
    result = search.run()
    stopped = [o for o in result.outcomes if isinstance(o, Measured) and o.stopped]
    assert result.best is not None
    assert not result.best.stopped
    assert 3 <= len(stopped) < 24 - ENOUGH
    told = result.to_dict()["stopped"]
    assert told == {
        "trainings": len(stopped),
        "epochs_saved": sum(EPOCHS - len(o.curve) for o in stopped),
        "epochs_planned": 24 * EPOCHS,
    }
    assert max(worth(o.architecture) for o in stopped) < result.best.value


def test_each_training_is_compared_with_what_had_ended_when_it_was_proposed(unbroken: list[Json]) -> None:
    known, bars = Archive(TASK), dict[str, Bar]()
    assert unbroken[0]["stop_curves"] is True
    for event in unbroken:
        if event["type"] == "proposal":
            bars[event["proposal"]["architecture"]["id"]] = bar = Bar.from_dict(event["bar"])
            assert bar == bar_of(known)
        elif event["type"] == "outcome":
            outcome = outcome_from_dict(event["outcome"])
            known.add(outcome)
            if isinstance(outcome, Measured):
                bar = bars[outcome.architecture.id]
                assert outcome.stopped == bar.stops(outcome.curve)
    assert known.stopped
    assert any(isinstance(outcome, Failed) for outcome in known)


def test_principles_and_the_gate_count_a_stopped_training_as_what_was_expected_of_it() -> None:
    search = Search(TASK, space=Toy(), evaluation=curved(), memory=None, **SETTINGS)
    search.run()
    journal = search.journal
    stopped = {one.architecture.id: one.expected for one in journal.archive.stopped}
    assert stopped
    seen = {observation.id: observation.score for observation in journal.observations}
    assert {key: seen[key] for key in stopped} == stopped
    assert {record.architecture.id for record in record_from(journal, "run", "toy").outcomes}.isdisjoint(stopped)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_event(tmp_path: Path, workers: int) -> None:
    alone = run(tmp_path / "alone", ahead=4)
    several = run(tmp_path / "several", Curved(slow=True), ahead=4, workers=workers)
    assert several == alone
    assert any("expected" in event["outcome"] for event in alone if event["type"] == "outcome")


@pytest.mark.parametrize("point", range(5, 60, 16))
@pytest.mark.parametrize("checkpoints", [True, False])
def test_stopped_after_any_event_it_goes_on_as_if_never_stopped(
    tmp_path: Path, unbroken: list[Json], point: int, checkpoints: bool
) -> None:
    with pytest.raises(Killed):
        start(config(tmp_path / "runs", **BLIND), [killed_at(point)], evaluation=curved(Curved(fail_on=FAILS)))
    folder = the_folder(tmp_path / "runs")
    if not checkpoints:
        for file in folder.path.glob("checkpoints*"):
            file.unlink()
    resume(folder, evaluation=curved(Curved(fail_on=FAILS)))
    assert events_of(folder) == unbroken


def process(what: str, out: Path, home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "NAS_AGENT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parent.parent
    return subprocess.Popen([sys.executable, "-m", "tests.test_curves", what, str(out)], cwd=root, env=environment)


def test_after_kill_9_with_two_workers_a_new_process_ends_it_the_same(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    killed = process("start", out, tmp_path / "home")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and killed.poll() is None:
        logs = list(out.glob("*/events.jsonl"))
        if logs and logs[0].read_text().count('"type":"outcome"') >= 12:
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert process("resume", out, tmp_path / "home").wait() == 0
    assert events_of(the_folder(out)) == run(tmp_path / "alone", ahead=4)


def test_a_run_is_not_resumed_without_its_rule(tmp_path: Path) -> None:
    run(tmp_path / "runs")
    folder = the_folder(tmp_path / "runs")
    folder.best_json.unlink()
    settings = folder.path / "config.toml"
    settings.write_text(settings.read_text().replace("stop_curves = true", "stop_curves = false"))
    with pytest.raises(ConfigError, match="stop_curves was True, is None"):
        resume(folder, evaluation=curved())


def test_a_search_without_the_flag_is_logged_as_before(tmp_path: Path) -> None:
    events = run(tmp_path / "runs", stop_curves=False, budget=8)
    assert not any("bar" in event for event in events)
    assert "stop_curves" not in events[0]
    assert "stopped" not in json.loads(the_folder(tmp_path / "runs").best_json.read_text())


# -- reports -------------------------------------------------------------------------------------------


def shown(parts: Any) -> str:
    console = Console(file=StringIO(), width=120)
    console.print(*parts, sep="\n")
    assert isinstance(console.file, StringIO)
    return " ".join(console.file.getvalue().split())


def test_reports_say_how_many_were_stopped_and_why_each_of_them(tmp_path: Path) -> None:
    run(tmp_path / "runs")
    story = Story.read(the_folder(tmp_path / "runs"))
    stopped = story.archive.stopped
    document = as_document(story, running=False)
    saved = document["stopped"]["epochs_saved"]
    assert document["stopped"]["trainings"] == len(stopped) > 0
    console = Console(width=120)
    words = f"{len(stopped)} trainings by their learning curves; {saved} of {24 * EPOCHS} epochs saved"
    assert words in shown(whole_run(story, SPACE, console, running=False))
    text = shown(tell(story, stopped[0], SPACE, console))
    assert f"stopped after epoch {len(stopped[0].curve)}: with a loss of at most" in text
    assert " ".join(f"{loss:.3f}" for loss in stopped[0].curve) in text
    assert "rank" not in text
    best = shown(tell(story, story.candidate("best"), SPACE, console))
    assert "training loss by epoch" in best
    assert "rank 1" in best


def test_the_display_announces_the_rule_and_never_shows_a_stopped_training_as_best(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=200)
    progress = Progress(console, live=False)
    start(config(tmp_path / "runs", **SETTINGS), [progress], evaluation=curved())
    assert isinstance(console.file, StringIO)
    text = console.file.getvalue()
    assert "learning curves stop trainings" in text
    assert f"{progress.stopped} stopped early" in text
    assert progress.best is not None
    assert "expected" not in progress.best


# -- what does not go together ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fidelities": "1,3"}, r"--stop-curves and fidelities = 1,3: successive halving stops what is poor"),
        ({"objectives": "accuracy,params"}, r"--stop-curves and objectives = accuracy,params: a curve tells the acc"),
        ({"generator": "code"}, r"--stop-curves and generator = code: each niche keeps its own best"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settings: Json, message: str) -> None:
    chosen = make_config({"task": "toy", "stop_curves": True, **settings})
    with pytest.raises(ConfigError, match=message) as caught:
        check_curves(chosen, Curved())
    assert "\n" not in str(caught.value)


def test_what_trains_nothing_has_no_curves() -> None:
    with pytest.raises(ConfigError, match=r"'diary' trains nothing that could be stopped; add --evaluator train"):
        Search(TASK, space=Toy(), evaluation=curved(Diary()), memory=None, **SETTINGS)
    with pytest.raises(ConfigError, match="trains nothing"):
        Search("cifar100", evaluator="embedded", memory=None, **SETTINGS)
    with pytest.raises(ConfigError, match="trains nothing"):
        Search(TASK, space=Toy(), memory=None, **SETTINGS)  # the caller measures
    with pytest.raises(ConfigError, match="stop_curves"):
        make_config({"task": "toy", "stop_curves": "perhaps"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "cifar100", "--evaluator", "embedded"], "trains nothing that could be stopped"),
        (["--task", "digits", "--epochs", "2"], "a training of 2 epochs is over before a curve says anything"),
        (["--task", "digits", "--fidelities", "1,3,8"], "successive halving stops what is poor already"),
    ],
)
@pytest.mark.parametrize("how", [["--dry-run"], []])
def test_the_command_line_refuses_it_in_one_line_and_leaves_nothing(
    tmp_path: Path, arguments: list[str], message: str, how: list[str]
) -> None:
    asked = ["run", *arguments, "--stop-curves", "--no-memory", "--out", str(tmp_path / "runs"), *how]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("runs/*"))


def test_a_plan_says_that_curves_stop_trainings(tmp_path: Path) -> None:
    asked = ["run", "--task", "digits", "--stop-curves", "--no-memory", "--out", str(tmp_path), "--dry-run"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "learning curves stop trainings" in " ".join(result.stdout.split())


def test_code_that_nobody_vouches_for_is_not_asked_for_its_losses() -> None:
    chosen = make_config({"task": "digits", "stop_curves": True})
    untrusted = evaluator(Pretended([1.0]), source=lambda architecture, classes: "")
    with pytest.raises(ConfigError, match=r"nobody vouches for says of its training losses is no evidence; leave"):
        check_curves(chosen, untrusted)
    with pytest.raises(ConfigError, match="a training of 2 epochs is over before a curve says anything"):
        check_curves(chosen, evaluator(Pretended([1.0]), epochs=2))
    check_curves(chosen, evaluator(Pretended([1.0]), epochs=3))
    check_curves(make_config({"task": "digits"}), untrusted)


if __name__ == "__main__":
    where = Path(sys.argv[2])
    if sys.argv[1] == "start":
        start(config(where, ahead=4, workers=2, **SETTINGS), evaluation=curved(Curved(seconds=0.02)))
    else:
        resume(the_folder(where), evaluation=curved(Curved(seconds=0.02)))
