"""Who trains in the sandbox, with sandboxes that say what a test wants: what is believed of a job, and what is not."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nas_agent.errors import ConfigError, SandboxError, StorageError
from nas_agent.tools.evaluators.candidate import NUMBER
from nas_agent.tools.evaluators.confined import ADVICE, Confined
from nas_agent.tools.evaluators.isolation import BrokenWorker, Interrupted
from nas_agent.tools.sandbox import Completed, Job, JobOutcome, Policy, Stopped

LEVEL = "fake: walls"


def completed(result: object, blob: bytes = b"") -> Completed:
    return Completed(result, blob, 0.1, 0.1, LEVEL)


def stopped(kind: Any) -> Stopped:
    return Stopped(kind, "it did what it should not", 0.1, 0.1, LEVEL)


READY = completed({"status": "ready", "device": "cpu", "precision": "float32", "files": {}})


class Scripted:
    """Answers with one outcome after the other, and keeps the jobs."""

    level = LEVEL

    def __init__(self, outcomes: Sequence[JobOutcome], policy: Policy | None = None) -> None:
        self.outcomes, self.policy = list(outcomes), policy
        self.jobs: list[Job] = []
        self.closed = False

    def run(self, job: Job) -> JobOutcome:
        self.jobs.append(job)
        return self.outcomes.pop(0)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(tmp_path: Path, **changed: object) -> dict[str, Any]:
    return {
        "source": "", "space": None, "device": "cpu", "precision": "auto", "side": 8, "threads": 2, "limit": 9.0,
        "memory": 0.5, "score": {"pixels": "x.npy"}, "save": None, **changed,
    }  # fmt: skip


def train(tmp_path: Path, *outcomes: JobOutcome, **changed: object) -> tuple[dict[str, Any], Scripted]:
    box = Scripted([READY, *outcomes])
    return Confined(tmp_path, threads=2, start=lambda policy: box).train(request(tmp_path, **changed)), box


def test_a_job_gets_the_limits_of_a_training_and_no_label_of_what_is_scored(tmp_path: Path) -> None:
    reply, box = train(tmp_path, completed({"status": "predicted", "files": {}}, b"1234"))
    assert (reply["status"], reply["classes"], reply["sandbox"]) == ("predicted", b"1234", "fake: walls")
    job = box.jobs[1]
    assert (job.limits.seconds, job.limits.memory) == (9.0, 2**29)
    assert "labels" not in json.dumps(job.payload)


def test_a_limit_of_a_gpus_memory_is_none_of_the_machines(tmp_path: Path) -> None:
    _, box = train(tmp_path, completed({"status": "predicted", "files": {}}, b"1234"), device="cuda:0", memory=0.5)
    assert box.jobs[1].limits.memory > 2**29
    assert box.jobs[1].payload["memory"] == 0.5


def test_the_sandbox_may_read_the_images_and_nothing_else_of_the_user(tmp_path: Path) -> None:
    policies: list[Policy] = []

    def start(policy: Policy) -> Scripted:
        policies.append(policy)
        return Scripted([READY])

    assert Confined(tmp_path, threads=2, start=start).probe(request(tmp_path))["device"] == "cpu"
    (policy,) = policies
    assert policy.readable == (str(tmp_path),)
    assert policy.compute_threads == 2
    assert not policy.gpu
    assert not set(policy.packages) & {"scikit-learn", "datasets", "nas-agent"}


@pytest.mark.parametrize("kind", ADVICE)
def test_whatever_ends_a_job_is_a_failure_written_as_advice(tmp_path: Path, kind: Any) -> None:
    reply, _ = train(tmp_path, stopped(kind), stopped(kind))
    assert reply["status"] == "failed"
    assert "; propose " in reply["reason"]
    assert reply["cause"] == {"memory": "memory", "raised": "network"}.get(kind, reply["cause"])
    assert reply["sandbox"] == "fake: walls"


def test_a_lost_sandbox_costs_its_candidate_one_try(tmp_path: Path) -> None:
    reply, box = train(tmp_path, stopped("lost"), completed({"status": "predicted", "files": {}}, b"1234"))
    assert reply["status"] == "predicted"
    assert len(box.jobs) == 3


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        100.0,
        {},
        {"status": "measured", "value": 100.0},
        {"status": "predicted"},
        {"status": "predicted", "files": None},
        {"status": "predicted", "files": {"model.safetensors": 4}},
        {"status": "predicted", "files": {"model.safetensors": -4}},
        {"status": "predicted", "files": {"../../x": 0}},
        {"status": "predicted", "files": {"model.safetensors": "many"}},
        {"status": "failed"},
        {"status": "failed", "reason": ["no"], "cause": "network"},
        {"status": "broken", "reason": "the search should end"},
        {"status": "misconfigured", "reason": "the search should end"},
        {"status": "unsaved", "reason": "the search should end"},
    ],
)
def test_what_is_no_reply_fails_one_candidate_and_never_the_search(tmp_path: Path, result: object) -> None:
    reply, _ = train(tmp_path, completed(result, b"12345678"))
    assert (reply["status"], reply["cause"]) == ("failed", "crash")
    assert "no result; propose" in reply["reason"]


def test_a_reason_is_text_of_one_line_whatever_a_job_makes_of_it(tmp_path: Path) -> None:
    claim = {"status": "failed", "reason": "\x1b[31m\n" + "a" * 9000, "cause": "crash"}
    reply, _ = train(tmp_path, completed(claim))
    assert reply["reason"].isprintable()
    assert len(reply["reason"]) <= 500
    assert reply["cause"] == "network"


# -- a network that is to be left ------------------------------------------------------------------------------

KEPT = {
    "status": "predicted", "files": {"model.safetensors": 3, "model.onnx": 2}, "parameters": 7, "same_logits": True,
    "onnx": {"written": True, "checked_by": "onnx", "difference": 0.0},
}  # fmt: skip


def test_the_files_of_a_network_come_back_as_bytes_and_are_written_outside(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("# text")
    reply, box = train(tmp_path, completed(KEPT, b"1234" + b"abc" + b"de"), save=str(tmp_path))
    assert (reply["classes"], reply["parameters"], reply["same_logits"]) == (b"1234", 7, True)
    assert (tmp_path / "model.safetensors").read_bytes() == b"abc"
    assert (tmp_path / "model.onnx").read_bytes() == b"de"
    assert box.jobs[1].blob == b"# text"
    assert str(tmp_path) not in json.dumps(box.jobs[1].payload)


@pytest.mark.parametrize(
    "changed",
    [
        {"files": {"model.safetensors": 3}},
        {"files": {"model.safetensors": 3, "model.py": 2}},
        {"parameters": "many"},
        {"parameters": 1e999},
        {"onnx": None},
        {"onnx": {"written": True}},
    ],
)
def test_claims_about_files_that_do_not_fit_leave_none(tmp_path: Path, changed: dict[str, Any]) -> None:
    (tmp_path / "model.py").write_text("# text")
    reply, _ = train(tmp_path, completed({**KEPT, **changed}, b"1234abcde"), save=str(tmp_path))
    assert (reply["status"], [file.name for file in tmp_path.iterdir()]) == ("failed", ["model.py"])


def test_a_network_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("# text")
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(StorageError, match=r"cannot be written \(.*model.safetensors: .*\); free some space"):
        train(tmp_path, completed(KEPT, b"1234abcde"), save=str(tmp_path))


# -- a machine where nothing can be trained --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            completed({"status": "broken", "reason": "no torch"}),
            BrokenWorker,
            r"in the sandbox \(fake: walls\): no torch",
        ),
        (completed({"status": "misconfigured", "reason": "--device cuda:9"}), ConfigError, "--device cuda:9"),
        (stopped("crashed"), BrokenWorker, "it did what it should not"),
    ],
)
def test_our_own_code_must_work_before_any_candidate_is_blamed(tmp_path, answer, error, message) -> None:
    box = Scripted([answer])
    with pytest.raises(error, match=message):
        Confined(tmp_path, start=lambda policy: box).train(request(tmp_path))
    assert box.closed


def test_a_sandbox_ends_with_who_opened_it(tmp_path: Path) -> None:
    box = Scripted([READY])
    Confined(tmp_path, start=lambda policy: box).probe(request(tmp_path))
    gc.collect()
    assert box.closed


class Waiting(Scripted):
    """Its second job, or the one of this number, takes until it is interrupted."""

    def __init__(self, number: int = 2) -> None:
        super().__init__([READY, *[stopped("lost")] * 9])
        self.number = number
        self.begun, self.interrupted = threading.Event(), threading.Event()

    def run(self, job: Job) -> JobOutcome:
        outcome = super().run(job)
        if len(self.jobs) == self.number:
            self.begun.set()
            assert self.interrupted.wait(30)
        return outcome

    def interrupt(self) -> None:
        self.interrupted.set()


@pytest.mark.parametrize("number", [2, 3])
def test_a_job_that_is_stopped_is_no_failure_and_the_next_one_has_another_sandbox(tmp_path: Path, number: int) -> None:
    first, second = Waiting(number), Scripted([READY, completed({"status": "predicted", "files": {}}, b"1234")])
    boxes: list[Scripted] = [first, second]
    confined, ended = Confined(tmp_path, start=lambda policy: boxes.pop(0)), []

    def train() -> None:
        try:
            ended.append(confined.train(request(tmp_path)))
        except Interrupted as error:
            ended.append(error)

    thread = threading.Thread(target=train)
    thread.start()
    assert first.begun.wait(30)
    confined.stop()
    thread.join(30)
    assert [type(end) for end in ended] == [Interrupted]
    assert first.closed
    assert len(first.jobs) == number
    assert confined.train(request(tmp_path))["status"] == "predicted"


def test_no_sandbox_is_the_line_that_says_so(tmp_path: Path) -> None:
    def start(policy: Policy) -> Scripted:
        raise SandboxError("generated code cannot be confined here")

    with pytest.raises(SandboxError, match="cannot be confined here"):
        Confined(tmp_path, start=start).train(request(tmp_path))


# -- the score -------------------------------------------------------------------------------------------------


def test_a_score_is_what_the_labels_say_and_takes_one_number_for_each_image() -> None:
    import numpy as np

    from nas_agent.tools.evaluators.scoring import NoPredictions, accuracy

    labels = np.array([0, 1, 2, 3])
    assert accuracy(np.array([0, 1, 2, 0]).astype(NUMBER).tobytes(), labels) == 75.0
    assert accuracy(np.array([0, 1, 2, 2**32 - 1]).astype(NUMBER).tobytes(), labels) == 75.0
    for data in (b"", b"123", bytes(12), bytes(20), np.array([0.0, 1.0, 2.0, 3.0]).tobytes()):
        with pytest.raises(NoPredictions, match=f"gave {len(data)} bytes of predictions, 4 images have 16; propose"):
            accuracy(data, labels)
