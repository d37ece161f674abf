"""Several evaluations under way at once: the same search whatever the number of workers, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from random import Random

import pytest
from rich.console import Console

from nas_agent.cli.progress import Progress
from nas_agent.cli.report import whole_run
from nas_agent.cli.story import Story
from nas_agent.config import make_config
from nas_agent.errors import ConfigError, MissingExtra, RunFolderError, StorageError
from nas_agent.preparation import packed
from nas_agent.records import Architecture, Failed, Fidelity, Json, Measured, Outcome
from nas_agent.run import Search, resume, start
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.isolation import Interrupted, Worker
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training
from nas_agent.tools.executors import make_executor
from nas_agent.tools.executors.arrivals import Arrivals
from nas_agent.tools.executors.base import Work
from nas_agent.tools.executors.inline import InlineExecutor
from nas_agent.tools.executors.pool import PoolExecutor, slots
from nas_agent.tools.images import load_images
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.surrogates.structure import CellSurrogate
from tests.resumed import Killed, events_of, killed_at, the_folder
from tests.searching import TASK, Diary, TestVault, Toy, config, evaluation, worth
from tests.test_fidelities import graded

AHEAD = 4


def run(out: Path, evaluator: Diary | None = None, **settings: object) -> list[Json]:
    start(config(out, **settings), evaluation=evaluation(evaluator))
    return events_of(the_folder(out))


def ids(events: list[Json], kind: str) -> list[str]:
    found = (e["proposal"] if kind == "proposal" else e["outcome"] for e in events if e["type"] == kind)
    return [each["architecture"]["id"] for each in found]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """The events of a search of this process alone, with as many evaluations under way as the others have."""
    out = tmp_path_factory.mktemp("alone")
    os.environ["NAS_AGENT_HOME"] = str(out / "home")
    return run(out / "runs", ahead=AHEAD)


# -- the same search ---------------------------------------------------------------------------------------------


@dataclass
class Uneven(Diary):
    """Takes longest for what was asked for first, so that outcomes arrive out of turn where they can."""

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        outcome = super().evaluate(architecture, seed=seed)
        time.sleep(0.02 if len(self.calls) % 3 == 1 else 0.001)
        return outcome


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_changes_no_event(tmp_path: Path, alone: list[Json], workers: int) -> None:
    assert run(tmp_path / "runs", Uneven(), ahead=AHEAD, workers=workers) == alone


def test_so_many_are_under_way_before_an_outcome_is_needed_and_no_more(alone: list[Json]) -> None:
    under_way, most = 0, 0
    for event in alone:
        under_way += (event["type"] == "proposal") - (event["type"] == "outcome")
        most = max(most, under_way)
        assert event["type"] != "proposal" or event["evaluation"] > AHEAD or event["initial"]
    assert (under_way, most) == (0, AHEAD)
    assert alone[0]["ahead"] == AHEAD


def test_a_worker_that_is_free_gets_new_work_before_the_others_are_done(tmp_path: Path) -> None:
    held, passed = threading.Event(), threading.Event()

    class Slow(Diary):
        def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
            first = not self.calls
            outcome = super().evaluate(architecture, seed=seed)
            if first:
                held.wait(30)
            elif len(self.calls) == AHEAD:
                passed.set()
                held.set()
            return outcome

    run(tmp_path / "runs", Slow(), ahead=AHEAD, workers=2)
    assert passed.is_set()  # the other worker made all the others while the first one was held
    arrived = [json.loads(line) for line in (the_folder(tmp_path / "runs").arrivals).read_text().splitlines()]
    order = [event["architecture"]["id"] for event in arrived]
    assert order != ids(events_of(the_folder(tmp_path / "runs")), "outcome")
    assert len(order) == len(set(order)) == 14
    assert {event["wall"]["worker"] for event in arrived} == {"slot 0", "slot 1"}


@pytest.mark.parametrize("settings", [{"ahead": 6}, {"ahead": 5, "batch": 2}, {"ahead": 2, "batch": 5}, {"ahead": 40}])
@pytest.mark.parametrize("generator", ["evolve", "random"])
def test_nothing_is_proposed_while_it_is_under_way(tmp_path: Path, settings: Json, generator: str) -> None:
    events = run(tmp_path / "runs", Diary(fail_on="pool"), generator=generator, budget=23, workers=3, **settings)
    proposed = ids(events, "proposal")
    assert len(proposed) == len(set(proposed)) == 23
    assert proposed == ids(events, "outcome")
    assert [e["evaluation"] for e in events if e["type"] in {"proposal", "outcome"}].count(23) == 2


class Few(CategoricalSpace):
    """Six architectures."""

    name = "few"
    decisions = (Decision("a", ("wide", "narrow", "skip")), Decision("b", ("wide", "pool")))


def test_a_space_that_is_used_up_ends_the_search_when_all_has_arrived() -> None:
    search = Search(TASK, space=Few(), evaluation=evaluation(), budget=20, ahead=4, workers=2, memory=None)
    result = search.run()
    assert len(result.outcomes) == 6
    assert "has been measured" in result.why


def test_by_default_nothing_is_under_way_beside_the_one_that_is_waited_for(tmp_path: Path) -> None:
    events = run(tmp_path / "runs", budget=6)
    kinds = [event["type"] for event in events if event["type"] in {"proposal", "outcome"}]
    assert kinds == ["proposal", "outcome"] * 6
    assert "ahead" not in events[0]
    assert not the_folder(tmp_path / "runs").arrivals.exists()


@pytest.mark.parametrize("listed", [True, False])
def test_the_surrogate_chooses_beside_what_is_under_way_as_it_chooses_several_at_once(listed: bool) -> None:
    space, rng = Toy(), Random(1)
    pool = [space.sample(rng) for _ in range(200)]
    pool = list({architecture.id: architecture for architecture in pool}.values())
    surrogate = CellSurrogate(space, pool if listed else None)
    for architecture in pool[:12]:
        surrogate.observe(architecture, worth(architecture))
    proposals = pool[12:]
    first, second, third = surrogate.rank(proposals, 3)
    under_way = [proposals[first.index], proposals[second.index]]
    rest = [architecture for architecture in proposals if architecture not in under_way]
    (chosen,) = surrogate.rank(rest, 1, under_way)
    assert rest[chosen.index] == proposals[third.index]
    assert chosen.deviation == pytest.approx(third.deviation)


def test_rejected_proposals_keep_their_share_while_others_are_under_way(tmp_path: Path) -> None:
    events = run(tmp_path / "runs", budget=60, ahead=8, workers=2, rejected_share=0.1, principles=False)
    choices = [event["choice"] for event in events if event["type"] == "proposal"]
    assert choices.count("rejected") <= 0.1 * (60 - 20) + 1


# -- nothing is lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", range(2, 46, 5))
@pytest.mark.parametrize("checkpoints", [True, False])
def test_stopped_after_any_event_it_ends_as_the_search_that_was_never_stopped(
    tmp_path: Path, alone: list[Json], point: int, checkpoints: bool
) -> None:
    if point >= len(alone):
        pytest.skip("the run writes fewer events")
    first, second = Diary(), Diary()
    with pytest.raises(Killed):
        start(config(tmp_path / "runs", ahead=AHEAD, workers=2), [killed_at(point)], evaluation=evaluation(first))
    folder = the_folder(tmp_path / "runs")
    if not checkpoints:
        for file in folder.path.glob("checkpoints*"):
            file.unlink()
    arrived = Arrivals(folder.arrivals)
    resume(folder, evaluation=evaluation(second))
    assert events_of(folder) == alone
    kept = [Work(Toy().parse(text), 0) for text in {a["arch"] for a in texts(folder)}]
    assert not [work for work in kept if arrived.left(work) and work.architecture.id in second.calls]
    assert not (folder.path / "events.discarded.jsonl").exists()


def texts(folder: RunFolder) -> Iterator[Json]:
    for event in events_of(folder):
        if event["type"] == "outcome":
            yield {"arch": event["outcome"]["architecture"]["text"]}


def process(what: str, out: Path, diary: Path, home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "NAS_AGENT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parent.parent
    settings = json.dumps({"ahead": AHEAD, "workers": 2})
    return subprocess.Popen(
        [sys.executable, "-m", "tests.resumed", what, out, diary, settings], env=environment, cwd=root
    )


def test_after_kill_9_with_two_under_way_a_new_process_ends_it_the_same(tmp_path: Path, alone: list[Json]) -> None:
    out, diary = tmp_path / "runs", tmp_path / "diary"
    child = process("start", out, diary, tmp_path / "home")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and child.poll() is None:
        if diary.exists() and len(diary.read_text().splitlines()) >= 7:
            break
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    child.wait()
    folder = the_folder(out)
    before = events_of(folder)
    assert len(ids(before, "proposal")) - len(ids(before, "outcome")) >= 2, "nothing was under way"
    assert process("resume", out, diary, tmp_path / "home").wait() == 0
    assert events_of(folder) == alone
    assert len(diary.read_text().splitlines()) <= 14 + 2  # the two that were being made are made again


def test_an_outcome_that_came_before_its_turn_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "arrivals.jsonl"
    work = Work(Toy().sample(Random(0)), 0, Fidelity(3, 16))
    outcome = Measured(work.architecture, 50.0, "3 epochs", 2.0, 0, "train", at=work.fidelity)
    Arrivals(folder).add(work, outcome, "slot 0")
    again = Arrivals(folder)
    assert again.left(work) == outcome
    assert again.left(Work(work.architecture, 1, work.fidelity)) is None
    assert again.left(Work(work.architecture, 0)) is None


def test_an_arrival_that_was_cut_off_is_left_out_and_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "arrivals.jsonl"
    works = [Work(Toy().sample(Random(seed)), 0) for seed in range(2)]
    for work in works:
        Arrivals(file).add(work, Failed(work.architecture, "why", 0.0, 0, "diary"), "slot 0")
    whole = file.read_bytes()
    file.write_bytes(whole[:-9])
    again = Arrivals(file)
    assert again.left(works[0])
    assert again.left(works[1]) is None
    again.add(works[1], Failed(works[1].architecture, "why", 0.0, 0, "diary"), "slot 1")
    assert Arrivals(file).left(works[1])
    file.write_bytes(b'{"type":"arrived"}\n' + whole)
    with pytest.raises(RunFolderError, match=r"line 1: expected an outcome"):
        Arrivals(file)


def test_arrivals_that_cannot_be_written_stop_the_search_in_one_line(tmp_path: Path) -> None:
    work = Work(Toy().sample(Random(0)), 0)
    with closing(PoolExecutor([Diary()])) as pool:
        pool.begin(Arrivals(tmp_path / "gone" / "arrivals.jsonl").add)
        pool.submit(work)
        with pytest.raises(StorageError, match=r"arrivals.jsonl: cannot be written .*free some space"):
            pool.take(work)


def test_other_workers_may_go_on_but_not_with_another_number_under_way(tmp_path: Path, alone: list[Json]) -> None:
    def kill(event: Json) -> None:
        if event.get("evaluation") == 7:
            raise Killed

    with pytest.raises(Killed):
        start(config(tmp_path / "runs", ahead=AHEAD), [kill], evaluation=evaluation())
    folder = the_folder(tmp_path / "runs")
    settings = folder.path / "config.toml"
    written = settings.read_text()
    settings.write_text(written.replace(f"ahead = {AHEAD}", "ahead = 3"))
    with pytest.raises(ConfigError, match="began under other terms: ahead was 4, is 3"):
        resume(folder, evaluation=evaluation())
    settings.write_text(written)
    resume(folder, evaluation=evaluation(), by={"workers": "3"})
    assert events_of(folder) == alone


def test_a_run_of_one_worker_goes_on_by_many(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole")

    def kill(event: Json) -> None:
        if event.get("evaluation") == 5:
            raise Killed

    with pytest.raises(Killed):
        start(config(tmp_path / "runs"), [kill], evaluation=evaluation())
    folder = the_folder(tmp_path / "runs")
    resume(folder, evaluation=evaluation(), by={"executor": "pool", "workers": 2})
    assert events_of(folder) == expected


# -- several fidelities --------------------------------------------------------------------------------------------


def test_rungs_are_climbed_the_same_way_by_any_number_of_workers(tmp_path: Path) -> None:
    found = []
    for number, settings in enumerate([{}, {"workers": 1}, {"workers": 3}]):
        out = tmp_path / f"runs{number}"
        start(config(out, budget=8, ahead=AHEAD, **settings), evaluation=graded())
        found.append(events_of(the_folder(out)))
    assert found[0] == found[1] == found[2]
    promoted = [
        event["evaluation"] for event in found[0] if event["type"] == "proposal" and event["choice"] == "promoted"
    ]
    assert len(promoted) >= 3
    begun = [(e["proposal"]["architecture"]["id"], e["proposal"]["at"]["epochs"]) for e in found[0] if "proposal" in e]
    assert len(begun) == len(set(begun))


@pytest.mark.parametrize("point", [9, 25, 40, 55])
def test_a_search_on_rungs_that_was_stopped_ends_as_the_one_that_was_not(tmp_path: Path, point: int) -> None:
    settings = {"budget": 8, "ahead": AHEAD, "workers": 2}
    start(config(tmp_path / "whole", **settings), evaluation=graded())
    with pytest.raises(Killed):
        start(config(tmp_path / "runs", **settings), [killed_at(point)], evaluation=graded())
    resume(the_folder(tmp_path / "runs"), evaluation=graded())
    assert events_of(the_folder(tmp_path / "runs")) == events_of(the_folder(tmp_path / "whole"))


# -- what goes wrong with workers ----------------------------------------------------------------------------------


@dataclass
class Away(Diary):
    """Cannot be reached at first."""

    times: int = 2
    error: type[Exception] = ConnectionError
    lock: threading.Lock = field(default_factory=threading.Lock)

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        with self.lock:
            self.times -= 1
            if self.times >= 0:
                raise self.error("away")
        return super().evaluate(architecture, seed=seed)


def test_an_evaluator_that_is_away_for_a_moment_is_asked_again_by_the_pool_too(
    tmp_path: Path, alone: list[Json]
) -> None:
    assert run(tmp_path / "runs", Away(), ahead=AHEAD, workers=2) == alone


def test_a_broken_machine_is_raised_where_the_search_can_see_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="away"):
        run(tmp_path / "runs", Away(times=99, error=ZeroDivisionError), ahead=AHEAD, workers=2)
    assert threading.active_count() < 20


WORKER = """
import base64, json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    def reply(**what): print(request["nonce"] + json.dumps(what), flush=True)
    reply(status="ready", device="cpu", precision="float32")
    open(request["recipe"]["notes"] + "/" + str(os.getpid()), "w").write(request["architecture"])
    time.sleep(request["recipe"]["sleeps"])
    reply(status="predicted", classes=base64.b64encode(bytes(request["recipe"]["bytes"])).decode())
    reply(status="ended", code=0, error="", late=False)
"""


def trainer(notes: Path, sleeps: float) -> TrainEvaluator:
    """Train by a process that speaks as the real one does and only sleeps."""
    images = load_images("digits", data=None, resolution=None)
    recipe = {"notes": str(notes), "sleeps": sleeps, "bytes": 4 * len(images.validation)}
    training = Training("nb201", Fidelity(1, 4), batch=64, recipe=recipe, device="cpu", precision="float32", limit=60.0)
    command = (sys.executable, "-c", WORKER)
    return TrainEvaluator(ImageTrainer(training, lambda: images, worker=lambda: Worker(command)))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.01)


def test_each_slot_trains_in_a_process_of_its_own_and_one_that_is_killed_is_replaced(tmp_path: Path) -> None:
    space = NasBench201()
    works = [Work(space.sample(Random(seed)), 0) for seed in range(2)]
    with closing(PoolExecutor(slots(trainer(tmp_path, 1.0), [None, None]))) as pool:
        for work in works:
            pool.submit(work)
        until(lambda: len(list(tmp_path.iterdir())) == 2)
        victim = int(next(iter(tmp_path.iterdir())).name)
        os.kill(victim, signal.SIGKILL)
        outcomes = [pool.take(work) for work in works]
    assert [type(outcome) for outcome in outcomes] == [Measured, Measured]
    assert len(list(tmp_path.iterdir())) == 3  # two, and the one in place of the killed one


def test_closing_a_pool_ends_what_it_is_training_at_once(tmp_path: Path) -> None:
    evaluator = trainer(tmp_path, 50.0)
    pool = PoolExecutor(slots(evaluator, [None, None]))
    works = [Work(NasBench201().sample(Random(seed)), 0) for seed in range(2)]
    for work in works:
        pool.submit(work)
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    begun = time.monotonic()
    pool.close()
    pool.close()
    assert time.monotonic() - begun < 30
    for note in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(note.name), 0)


def test_a_worker_that_was_stopped_can_be_used_again(tmp_path: Path) -> None:
    evaluator, raised = trainer(tmp_path, 1.0), []
    architecture = NasBench201().sample(Random(0))

    def train() -> None:
        try:
            evaluator.evaluate(architecture, seed=0)
        except Interrupted as error:
            raised.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    until(lambda: len(list(tmp_path.iterdir())) == 1)
    evaluator.stop()
    thread.join(30)
    assert raised
    assert isinstance(evaluator.evaluate(architecture, seed=0), Measured)


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "expected auto or a whole number of at least 1, got 0"),
        ({"workers": "many"}, "expected auto or a whole number of at least 1, got 'many'"),
        ({"ahead": 0}, "greater than or equal to 1"),
        ({"executor": "inline", "workers": 2}, "--executor inline is one worker"),
        ({"workers": 2, "ray_address": "auto"}, "--ray-address auto: expected --executor ray"),
    ],
)
def test_settings_that_do_not_go_together_are_one_line(settings: Json, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_executor(make_config(settings), Diary())


def test_workers_imply_a_pool_and_a_number_under_way_that_no_machine_decides() -> None:
    assert [make_config({"workers": n}).most_under_way for n in (1, "4", "auto")] == [8, 8, 8]
    assert make_config({}).most_under_way == 1
    with closing(make_executor(make_config({"workers": 20}), Diary())) as pool:
        assert pool.workers == 8  # more would never have work
    assert isinstance(make_executor(make_config({"ahead": 3}), Diary()), InlineExecutor)


def test_ask_and_tell_hands_out_one_round_at_a_time() -> None:
    with pytest.raises(ConfigError, match="ask hands out one round at a time"):
        Search(TASK, space=Toy(), ahead=2).ask()


def test_the_display_says_how_many_are_under_way(alone: list[Json]) -> None:
    console = Console(file=StringIO(), width=100)
    progress = Progress(console, live=False)
    for event in alone:
        if event["type"] == "outcome":
            break
        progress({**event, "wall": {"time": 0.0}})
    assert "4 under way" in progress.line()
    console.print(progress.panel())
    assert "4 evaluations, 1 to 4" in console.file.getvalue()  # type: ignore[attr-defined]


def test_show_says_how_many_were_under_way_when_a_run_was_stopped(tmp_path: Path) -> None:
    def kill(event: Json) -> None:
        if event["type"] == "outcome" and event["evaluation"] == 3:
            raise Killed

    with pytest.raises(Killed):
        start(config(tmp_path / "runs", ahead=AHEAD, workers=2), [kill], evaluation=evaluation())
    console = Console(file=StringIO(), width=200)
    for part in whole_run(Story.read(the_folder(tmp_path / "runs")), Toy(), console, running=False):
        console.print(part)
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert "It was stopped before its end and can be resumed; 3 evaluations were under way." in written


def test_without_ray_the_command_that_installs_it_is_told_and_no_folder_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    with pytest.raises(MissingExtra, match=r"--executor ray needs the package 'ray'.*pip install 'nas-agent\[ray\]'"):
        start(config(tmp_path / "runs", executor="ray"), evaluation=evaluation())
    assert not (tmp_path / "runs").exists()


def test_more_workers_than_can_have_work_are_not_started_and_the_run_says_so() -> None:
    known = evaluation()
    asked = make_config({"workers": 20, "ahead": 6})
    assert packed(asked, known, Toy())[1].note.endswith("6 of 20 workers are started: no more have work (ahead = 6)")
    assert packed(make_config({"workers": 6, "ahead": 6}), known, Toy())[1] == known


def test_outcomes_are_what_the_task_says(alone: list[Json]) -> None:
    for event in alone:
        if event["type"] == "outcome":
            assert event["outcome"]["value"] == worth(Toy().parse(event["outcome"]["architecture"]["text"]))
    assert Evaluation(TASK, Diary(), TestVault(), "").optimum is None
