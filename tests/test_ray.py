"""A Ray cluster as executor: what is lost is tried once more, what has gone ends the search in one line."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas_agent.errors import ConfigError, DataError, ExecutorError, NasAgentError
from nas_agent.records import Failed, Fidelity, Json, Measured
from nas_agent.run import resume, start
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.executors.base import Work
from nas_agent.tools.executors.ray_bridge import Bridge, Lost, reach, told
from nas_agent.tools.executors.ray_cluster import RayExecutor, RemoteFault
from nas_agent.tools.executors.ray_worker import RayWorker
from nas_agent.tools.images import load_images
from nas_agent.tools.run_folder import open_folder
from tests.searching import Diary, Toy, config, evaluation, worth

if find_spec("ray") is None:
    pytest.skip("ray is not installed (extra `ray`)", allow_module_level=True)

ROOT = Path(__file__).resolve().parent.parent


def works(count: int) -> list[Work]:
    return [Work(Toy().sample(Random(seed)), seed) for seed in range(count)]


# -- the bridge, with a cluster that is made up --------------------------------------------------------------------


class MadeUp:
    """Workers that are lost when they get certain work, and places that run out."""

    def __init__(self, *, loses: dict[int, int] | None = None, places: int = 99) -> None:
        self.loses, self.places, self.hired = loses or {}, places, 0
        self.lock = threading.Lock()

    def hire(self) -> tuple[Any, str]:
        with self.lock:
            if self.hired == self.places:
                raise Lost("no room")
            self.hired += 1
            return self.hired, f"worker {self.hired}"

    def perform(self, worker: Any, work: Json) -> Json:
        with self.lock:
            seed = work["seed"]
            if self.loses.get(seed, 0):
                self.loses[seed] -= 1
                raise Lost("killed")
        return {"outcome": seed}


def bridged(cluster: MadeUp, workers: int, seeds: range) -> list[Json]:
    """Return what the bridge says until it has answered all, or has no worker left."""
    said: queue.Queue[Json] = queue.Queue()
    bridge = Bridge(cluster, workers, said.put)
    bridge.hand_on(json.dumps({"seed": seed}).encode() for seed in seeds)
    heard: list[Json] = []
    while sum(item["status"] == "answer" for item in heard) < len(seeds):
        heard.append(said.get(timeout=30))
        if heard[-1]["status"] in {"gone", "unreachable"}:
            break
    return heard


def test_each_work_is_answered_once_by_one_of_the_workers() -> None:
    ready, *answers = bridged(MadeUp(), 3, range(20))
    assert ready == {"status": "ready", "workers": 3}
    assert sorted(answer["outcome"] for answer in answers) == list(range(20))


@pytest.mark.parametrize(("times", "answer"), [(1, {"outcome": 4}), (2, {"lost": "killed"})])
def test_work_whose_worker_is_lost_is_tried_once_more_by_a_new_one(times: int, answer: Json) -> None:
    cluster = MadeUp(loses={4: times})
    answers = bridged(cluster, 1, range(8))[1:]
    assert next(item for item in answers if item["work"]["seed"] == 4).items() >= answer.items()
    assert len(answers) == 8
    assert cluster.hired == 1 + times


def test_work_of_a_worker_that_cannot_be_replaced_goes_to_another() -> None:
    answers = bridged(MadeUp(loses={3: 1}, places=2), 2, range(8))[1:]
    assert sorted(answer["outcome"] for answer in answers) == list(range(8))


def test_without_any_worker_left_the_cluster_is_gone() -> None:
    assert bridged(MadeUp(loses={3: 1}, places=1), 1, range(8))[-1] == {"status": "gone", "reason": "no room"}
    assert bridged(MadeUp(places=0), 2, range(8)) == [{"status": "unreachable", "reason": "no room"}]


# -- the executor, with a bridge that is made up -------------------------------------------------------------------

FAKE = """
import json, sys
order = json.loads(sys.stdin.buffer.readline()); sys.stdin.buffer.read(order["size"])
def say(**what): print(json.dumps(what), flush=True)
FIRST
for line in sys.stdin.buffer:
    work = json.loads(line)
    def answer(**what): say(status="answer", work=work, worker="w", **what)
    EACH
"""
READY = 'say(status="ready", workers=2)'
MEASURE = (
    'answer(outcome={"kind": "measured", "architecture": work["architecture"], "value": 1.0, "fidelity": "f",'
    ' "seconds": 0.0, "seed": work["seed"], "evaluator": "diary", "provenance": "measured", "simulated": False})'
)


def connected(first: str, each: str = MEASURE) -> RayExecutor:
    code = FAKE.replace("FIRST", first).replace("EACH", each)
    return RayExecutor(Diary(), "made-up:1", None, most=8, command=(sys.executable, "-c", code))


def test_outcomes_come_back_in_the_order_in_which_they_are_asked_for() -> None:
    asked, heard = works(6), []
    with closing(connected(READY)) as executor:
        executor.begin(lambda work, outcome, worker: heard.append((work, worker)))
        for work in asked * 2:
            executor.submit(work)
        outcomes = [executor.take(work) for work in reversed(asked)]
    assert executor.workers == 2
    assert [outcome.architecture for outcome in outcomes] == [work.architecture for work in reversed(asked)]
    assert heard == [(work, "w") for work in asked]


@pytest.mark.parametrize(
    ("first", "why"),
    [
        ('say(status="unreachable", reason="nobody there"); sys.exit()', "nobody there"),
        ('sys.exit("fatal: no such host")', "fatal: no such host"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_one_line(first: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf"--ray-address made-up:1: no worker .* can be had there \({why}\)"):
        connected(first)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "no-such-host.invalid:6379"])
def test_an_address_at_which_nothing_listens_is_told_before_ray_is_loaded(address: str) -> None:
    with pytest.raises(ConnectionError) as caught:
        reach(address)
    assert re.match(
        r"nothing listens there: .*(refused|Name|resolution|known|Cannot assign|unreachable)", told(caught.value)
    )


def test_an_address_that_takes_a_connection_is_left_to_ray() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach(f"127.0.0.1:{server.getsockname()[1]}")
        reach(f"ray://127.0.0.1:{server.getsockname()[1]}")
    for address in ("auto", "local", "somewhere", "127.0.0.1:port"):  # no host and port: Ray says what it makes of it
        reach(address)


@pytest.mark.parametrize(
    ("each", "why"), [('say(status="gone", reason="all dead")', "all dead"), ('sys.exit("GCS is lost")', "GCS is lost")]
)
def test_a_cluster_that_goes_away_is_one_line_that_says_how_to_go_on(each: str, why: str) -> None:
    (work,) = works(1)
    with closing(connected(READY, each)) as executor:
        executor.submit(work)
        with pytest.raises(ExecutorError, match=rf"made-up:1 went away \({why}\).*nas-agent resume"):
            executor.take(work)


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ('raised="DataError", text="no images", trace=""', DataError, "no images"),
        ('raised="away", text="for a moment", trace=""', ConnectionError, "for a moment"),
        ('raised="bug", text="x", trace="Traceback: x"', RemoteFault, "on w: Traceback: x"),
        ('raised="sys", text="x", trace="Traceback: x"', RemoteFault, "on w: Traceback: x"),
    ],
)
def test_what_a_worker_raises_is_raised_here(answer: str, kind: type[Exception], text: str) -> None:
    (work,) = works(1)
    with closing(connected(READY, f"answer({answer})")) as executor:
        executor.submit(work)
        with pytest.raises(kind, match=text):
            executor.take(work)


def test_an_architecture_whose_worker_was_lost_twice_has_failed_with_a_reason() -> None:
    (work,) = works(1)
    with closing(connected(READY, 'answer(lost="killed")')) as executor:
        executor.submit(work)
        outcome = executor.take(work)
    assert isinstance(outcome, Failed)
    assert re.search(r"its Ray worker was lost, twice \(killed\); propose a smaller", outcome.reason)
    assert (outcome.evaluator, outcome.seed) == ("diary", 0)


def test_an_evaluator_that_cannot_be_sent_is_one_line() -> None:
    evaluator = Diary()
    evaluator.name = lambda: "x"  # type: ignore[assignment, method-assign, return-value]
    with pytest.raises(ConfigError, match="cannot be sent to other machines"):
        RayExecutor(evaluator, "local", 1, most=1)


def test_a_worker_answers_with_what_it_made_or_with_what_went_wrong() -> None:
    import pickle

    (work,) = works(1)
    assert RayWorker(pickle.dumps(Diary())).perform(work.to_dict())["outcome"]["value"] == worth(work.architecture)
    broken = RayWorker(pickle.dumps(Raises())).perform(work.to_dict())
    assert (broken["raised"], broken["text"]) == ("DataError", "no images")
    assert "Traceback" in broken["trace"]


def test_training_is_sent_with_its_images_and_without_those_of_the_test_part() -> None:
    import pickle

    images = load_images("digits", data=None, resolution=None)
    training = Training("nb201", Fidelity(3, 8), batch=32, device="cpu", precision="float32")
    there = pickle.loads(pickle.dumps(TrainEvaluator(ImageTrainer(training, lambda: images)))).trainer
    assert there.training == training
    assert (there.images.train.pixels == images.train.pixels).all()
    assert there.images.open_test is None


class Raises(Diary):
    def evaluate(self, *_: object, **__: object) -> Any:
        raise DataError("no images")


# -- a real cluster ------------------------------------------------------------------------------------------------

HEAD = """
import sys, ray
ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def cluster() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A cluster of its own for three workers, in another process group."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert head.stdin is not None
    assert head.stdout is not None
    try:
        yield head.stdout.readline().strip(), head
    finally:
        head.stdin.close()
        head.wait(60)
        head.stdout.close()


def family(pid: int) -> list[int]:
    """Return a process and what it has started, and what that has."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


@pytest.fixture
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")  # instead of 60


class Telling(Diary):
    """Leaves the number of the process that it is in, in a folder, and takes its time."""

    def evaluate(self, architecture: Any, *, seed: int) -> Any:
        assert self.file is not None
        (self.file / str(os.getpid())).write_text(architecture.text)
        time.sleep(self.seconds)
        return Measured(architecture, worth(architecture), self.fidelity, 0.0, seed, self.name)


def events_of(path: Path) -> list[Json]:
    return [deterministic(event) for event in read_events(open_folder(path).events)[0]]


@pytest.mark.slow
def test_a_search_on_a_cluster_ends_as_here_though_a_worker_is_killed_and_the_cluster_goes_away(
    tmp_path: Path, no_token: None
) -> None:
    notes, settings = tmp_path / "notes", {"ahead": 4}
    notes.mkdir()
    start(config(tmp_path / "here", **settings), evaluation=evaluation())
    (here,) = (tmp_path / "here").iterdir()
    seen: list[Json] = []

    with cluster() as (address, head):

        def kill(event: Json) -> None:
            seen.append(event)
            outcomes = sum(item["type"] == "outcome" for item in seen)
            if event["type"] == "outcome" and outcomes == 3:
                os.kill(int(next(iter(notes.iterdir())).name), signal.SIGKILL)
            if event["type"] == "outcome" and outcomes == 9:
                for pid in family(head.pid):
                    os.kill(pid, signal.SIGKILL)

        asked = config(tmp_path / "runs", executor="ray", ray_address=address, workers=3, **settings)
        with pytest.raises(ExecutorError, match=r"the Ray cluster at .* went away .*resume"):
            start(asked, [kill], evaluation=evaluation(Telling(notes, seconds=0.3)))
    assert len(list(notes.iterdir())) >= 4, "three workers, and one in place of the killed one"
    (path,) = (tmp_path / "runs").iterdir()
    assert sum(event["type"] == "outcome" for event in events_of(path)) >= 9
    again = {"executor": "ray", "ray_address": "local", "workers": 2}
    resume(open_folder(path), evaluation=evaluation(Telling(notes, seconds=0.0)), by=again)
    assert events_of(path) == events_of(here)


def test_an_address_without_a_cluster_is_one_line(tmp_path: Path, no_token: None) -> None:
    asked = config(tmp_path / "runs", executor="ray", ray_address="127.0.0.1:1")
    with pytest.raises(NasAgentError, match=r"--ray-address 127.0.0.1:1: .*there \(nothing listens there: "):
        start(asked, evaluation=evaluation())
    assert not (tmp_path / "runs").exists()
