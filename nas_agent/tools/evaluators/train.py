"""Train architectures for real, each in a child process of its own with a wall-clock limit."""

from __future__ import annotations

import base64
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from nas_agent.records import Architecture, Failed, Json, Measured, Outcome, Provenance
from nas_agent.tools.evaluators.base import Images, TestResult
from nas_agent.tools.evaluators.digits import CLASSES, Digits, Part, load_digits
from nas_agent.wording import plural

# -P keeps the user's current folder off the import path: a file called torch.py there must not be imported.
WORKER = (sys.executable, "-P", "-m", "nas_agent.tools.evaluators.train_worker")


class BrokenWorker(RuntimeError):
    """The training process cannot work here at all, whatever the architecture: a broken machine."""


@dataclass(frozen=True, slots=True)
class Training:
    """How a candidate is trained."""

    space: str  # as on the command line, so that the child process can load the user's own
    epochs: int = 3  # after five, the cells tried reached 97 % and could hardly be told apart
    width: int = 8  # channels of the first stage
    limit: float = 180.0  # wall-clock seconds for one candidate, the start of the process included
    command: tuple[str, ...] = WORKER


class DigitsTrainer:
    """Trains on the digits' training part and scores on the part that is asked for."""

    def __init__(self, training: Training) -> None:
        self.training = training

    @cached_property
    def digits(self) -> Digits:
        """The images, read on first use."""
        return load_digits()

    def run(self, architecture: Architecture, score: Part, seed: int) -> Json:
        """Return the child's reply, `measured` or `failed`; raise BrokenWorker where it cannot work at all."""
        digits, training = self.digits, self.training
        nonce = secrets.token_hex(16)  # marks the worker's own replies; no result depends on it
        request = {
            "nonce": nonce,
            "space": training.space,
            "architecture": architecture.text,
            "epochs": training.epochs,
            "width": training.width,
            "classes": CLASSES,
            "seed": seed,
            "limit": training.limit,
            "mean": digits.mean,
            "spread": digits.spread,
            "train": encoded(digits.train),
            "score": encoded(score),
        }
        start = time.perf_counter()
        code, out, err = _call(training.command, json.dumps(request), training.limit)
        seconds = time.perf_counter() - start
        if code is None:
            reason = f"its training was stopped after {training.limit:g} seconds; propose a smaller architecture"
            return {"status": "failed", "reason": reason, "seconds": seconds}
        return _reply(code, out, err, seconds, nonce)


def encoded(part: Part) -> Json:
    """Write images and labels as a request to the worker has them."""
    return {
        "pixels": base64.b64encode(part.pixels.tobytes()).decode(),
        "labels": base64.b64encode(part.labels.tobytes()).decode(),
    }


def _call(command: Sequence[str], text: str, limit: float) -> tuple[int | None, str, str]:
    """Run the child; the exit code is None where the limit passed, and then its whole process group is dead."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise BrokenWorker(f"the training process cannot be started: {' '.join(command)} ({error})") from error
    with child:
        try:
            out, err = child.communicate(text, timeout=limit)
        except subprocess.TimeoutExpired:
            return None, "", ""
        finally:  # also on Ctrl-C, which a process in a session of its own does not hear; and for its own children
            _kill_group(child)
    return child.returncode, out, err


def _kill_group(child: subprocess.Popen[str]) -> None:
    if os.name == "posix":
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # all of them had ended
    elif child.poll() is None:
        child.kill()


def _reply(code: int, out: str, err: str, seconds: float, nonce: str) -> Json:
    """Read the child's last line; a child that was ready and then died was killed by its architecture.

    Only lines that begin with the nonce are the worker's: a candidate's code may write to the same pipe.
    """
    replies = [_parsed(line.removeprefix(nonce)) for line in out.splitlines() if line.startswith(nonce)]
    last = err.strip().splitlines()[-1][:300] if err.strip() else "no message"
    if not replies:
        raise BrokenWorker(f"the training process ended with exit code {code} before it was ready: {last}")
    reply: Json = replies[-1]
    if reply["status"] == "broken":
        raise BrokenWorker(f"the training process cannot work here: {reply.get('reason', 'no reason given')}")
    if code != 0 or reply["status"] == "ready":
        # A signal is a crash in native code, or the kernel's out-of-memory killer.
        how = f"killed by signal {-code} (9 is mostly a lack of memory)" if code < 0 else f"ended ({last})"
        reason = f"its training process was {how} without a result; propose a smaller or simpler architecture"
        return {"status": "failed", "reason": reason, "seconds": seconds}
    if not _whole(reply):
        reason = "its training process gave a reply that is no result; propose another architecture"
        return {"status": "failed", "reason": reason, "seconds": seconds}
    # The whole cost, the start of the process included, is what the user waits for.
    return {**reply, "seconds": seconds}


def _parsed(text: str) -> Json:
    """Read one reply; what is no reply at all has the status `malformed`."""
    try:
        reply = json.loads(text)
    except (ValueError, RecursionError):
        return {"status": "malformed"}
    return reply if isinstance(reply, dict) and isinstance(reply.get("status"), str) else {"status": "malformed"}


def _whole(reply: Json) -> bool:
    value = reply.get("value")
    if reply["status"] == "measured":
        return isinstance(value, int | float) and math.isfinite(value) and 0 <= value <= 100
    return reply["status"] == "failed" and isinstance(reply.get("reason"), str)


class TrainEvaluator:
    """Measures validation accuracy by training; a candidate that crashes, diverges or takes too long is a Failed."""

    name = "train"
    provenance: Provenance = "measured"

    def __init__(self, trainer: DigitsTrainer) -> None:
        self._trainer = trainer

    @property
    def fidelity(self) -> str:
        """How long, and how wide, the networks are trained."""
        training = self._trainer.training
        return f"{plural(training.epochs, 'epoch')}, {plural(training.width, 'channel')}"

    @property
    def images(self) -> Images:
        """What the trained networks are built for: it decides what they cost."""
        return Images(CLASSES, channels=1, side=8, width=self._trainer.training.width)

    def pool(self) -> None:
        """Return None: any architecture of the space can be trained."""
        return None

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Train with this seed and score on the validation part; the same seed gives the same value."""
        reply = self._trainer.run(architecture, self._trainer.digits.validation, seed)
        if reply["status"] == "failed":
            return Failed(
                architecture, reason=reply["reason"], seconds=reply["seconds"], seed=seed, evaluator=self.name
            )
        return Measured(
            architecture,
            value=float(reply["value"]),
            fidelity=self.fidelity,
            seconds=reply["seconds"],
            seed=seed,
            evaluator=self.name,
        )


class TrainTestSplit:
    """Trains the winner once more with the same seed, which gives the same network, and scores it on the test part."""

    def __init__(self, trainer: DigitsTrainer) -> None:
        self._trainer = trainer

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Return the test accuracy of the network that validation chose."""
        reply = self._trainer.run(architecture, self._trainer.digits.test, seed)
        if reply["status"] == "failed":
            return TestResult(None, "measured", f"the winner could not be trained again: {reply['reason']}")
        note = (
            f"trained again with seed {seed}, the same network, on {len(self._trainer.digits.test.labels)} test images"
        )
        return TestResult(float(reply["value"]), "measured", note)
