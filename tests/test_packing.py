"""How many trainings side by side: tried, and the fastest that fits is taken."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from nas_agent.config import make_config
from nas_agent.preparation import packed
from nas_agent.records import Fidelity
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.isolation import Worker
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training, TrainTestSplit
from nas_agent.tools.executors.packing import Probe, Tried, on_cpu, on_gpu, told
from nas_agent.tools.images import load_images
from tests.searching import Diary, evaluation


def made_up(hourly: Callable[[int, int], float], memory: Callable[[int], float] = lambda workers: 0.01 * workers):
    seen: list[tuple[int, int]] = []

    def attempt(workers: int, threads: int) -> Tried:
        seen.append((workers, threads))
        return Tried(workers, threads, hourly(workers, threads), memory(workers))

    return attempt, seen


@pytest.mark.parametrize(
    ("hourly", "chosen"),
    [
        (lambda workers: min(workers, 8) * 100.0, 8),  # full at eight
        (lambda workers: 100.0, 1),  # nothing won
        (lambda workers: 100.0 + workers, 1),  # too little won
        (lambda workers: 100.0 * workers if workers < 4 else 0.0, 2),  # four did not fit: one of them failed
        (lambda workers: 100.0 * workers, 16),
        (lambda workers: 0.0, 1),
    ],
)
def test_copies_on_a_gpu_are_doubled_while_that_pays(hourly: Callable[[int], float], chosen: int) -> None:
    attempt, seen = made_up(lambda workers, threads: hourly(workers))
    tried = on_gpu(attempt, 1, 1, 64)
    assert tried[-1].workers == chosen
    assert [workers for workers, _ in seen] == [2**i for i in range(len(seen))]
    assert {each.workers for each in tried} == {workers for workers, _ in seen}


def test_copies_must_leave_memory_for_larger_networks_and_have_work() -> None:
    attempt, _ = made_up(lambda workers, threads: 100.0 * workers, memory=lambda workers: 0.2 * workers)
    assert on_gpu(attempt, 1, 1, 64)[-1].workers == 2
    attempt, _ = made_up(lambda workers, threads: 100.0 * workers)
    assert on_gpu(attempt, 1, 1, 5)[-1].workers == 4
    attempt, seen = made_up(lambda workers, threads: 100.0 * workers)
    assert on_gpu(attempt, 2, 1, 8)[-1].workers == 8
    assert [workers for workers, _ in seen] == [2, 4, 8]


@pytest.mark.parametrize(("gain", "chosen"), [(0.9, (4, 1)), (1.05, (4, 1)), (1.5, (2, 2))])
def test_more_threads_on_a_cpu_must_pay_clearly(gain: float, chosen: tuple[int, int]) -> None:
    attempt, seen = made_up(lambda workers, threads: {1: 100.0, 2: 100.0 * gain, 4: 50.0}[threads])
    best = on_cpu(attempt, 4, [1, 2, 4])[-1]
    assert (best.workers, best.threads) == chosen
    assert seen == [(4, 1), (2, 2), (1, 4)]


def test_what_was_tried_is_told_in_one_line() -> None:
    line = told([Tried(1, 2, 300.0), Tried(2, 1, 512.4, 0.25)])
    assert line == "2 side by side, 1 CPU threads each (2 of 1: 512/h, memory 25%; 1 of 2: 300/h)"


# It takes longer the more threads it has, and writes down what it was asked.
WORKER = """
import base64, json, os, sys, time
for line in sys.stdin:
    request = json.loads(line)
    def reply(**what): print(request["nonce"] + json.dumps(what), flush=True)
    reply(status="ready", device="cpu", precision="float32")
    with open(request["recipe"]["notes"], "a") as file:
        file.write(f"{request['threads']} {request['share']:.3f} {request['recipe']['epochs']} {os.getpid()}\\n")
    time.sleep(0.05 * request["threads"])
    reply(status="predicted", classes=base64.b64encode(bytes(request["recipe"]["bytes"])).decode())
    reply(status="ended", code=0, error="", late=False)
"""


@pytest.fixture
def trained(tmp_path: Path) -> Evaluation:
    images = load_images("digits", data=None, resolution=None)
    recipe = {"notes": str(tmp_path / "notes"), "bytes": 4 * len(images.validation)}
    training = Training("nb201", Fidelity(8, 4), batch=64, recipe=recipe, device="cpu", precision="float32", limit=60.0)
    trainer = ImageTrainer(training, lambda: images, worker=lambda: Worker((sys.executable, "-c", WORKER)))
    return replace(evaluation(), evaluator=TrainEvaluator(trainer), test_split=TrainTestSplit(trainer))


def test_a_try_trains_copies_of_a_middling_network_for_a_few_steps_in_so_many_processes(
    trained: Evaluation, tmp_path: Path
) -> None:
    assert isinstance(trained.evaluator, TrainEvaluator)
    probe = Probe(trained.evaluator, NasBench201(), [None])
    tried = probe(2, 1)
    assert (tried.workers, tried.threads, tried.memory) == (2, 1, None)
    assert tried.hourly > 0
    lines = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    assert len({pid for *_, pid in lines}) == 2
    assert {(share, epochs) for _, share, epochs, _ in lines} == {("0.475", "1")}  # 8 batches of 64 in 1,077 images
    assert probe._typical in {NasBench201().sample(Random(f"packing/{number}")) for number in range(3)}


def test_workers_auto_is_settled_before_a_run_begins_and_written_down(trained: Evaluation) -> None:
    asked = make_config({"task": "digits", "workers": "auto"})
    config, after = packed(asked, trained, NasBench201())
    assert isinstance(config.workers, int)
    assert "side by side" in after.note
    assert isinstance(after.evaluator, TrainEvaluator)
    assert after.evaluator.trainer.training.threads == config.train_threads == 1


def test_nothing_is_tried_where_nothing_can_be_chosen(trained: Evaluation, tmp_path: Path) -> None:
    named = make_config({"task": "digits", "workers": "auto", "train_threads": 1})
    assert packed(named, trained, NasBench201()) == (named, trained)
    begun = make_config({"task": "digits", "workers": "auto"})
    assert packed(begun, trained, NasBench201(), settled=True) == (begun, trained)
    table = replace(trained, evaluator=Diary())
    assert packed(begun, table, NasBench201()) == (begun, table)
    assert not (tmp_path / "notes").exists()
