"""What a job costs beyond its own work: from the call to the answer, with torch imported in the warm parent.

    python benchmarks/sandbox.py                 # every backend that this machine has, 50 jobs each
    python benchmarks/sandbox.py --jobs 200 --bare
    python benchmarks/sandbox.py --gpu           # the steps on a GPU, its device nodes allowed

The job returns at once. `start` is the start of the warm parent, the imports and the attacks left out of it being
`attacks`: both are paid once. `processor` is what the job's process used, user and system, seen from outside; the
warm parent's share (the fork) is in `call`. Milliseconds.

`candidate`: the request of a real evaluation, a network for digits with `train_seconds` and `train_memory` as a search
has them, trained for an epoch and asked for 360 classes. `training` is what the job says it took, images read included;
`around it` is the rest of the call: fork, confinement, reply, end. That is what a candidate costs to start.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from nas_agent.errors import SandboxError
from nas_agent.records import Architecture, Json
from nas_agent.tools.evaluators.confined import JOB, PACKAGES, PRELOAD
from nas_agent.tools.evaluators.isolation import Worker
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.images import load_images
from nas_agent.tools.sandbox import Completed, Job, Limits, Policy, WarmSandbox
from nas_agent.tools.sandbox.backends import UNSAFE, installed
from nas_agent.tools.sandbox.canaries import QUICK, attack

EMPTY = Job("main", source="def main(payload, blob):\n    return 1\n")
STEP = """
import time, torch
from torch import nn
def main(payload, blob):
    start = time.perf_counter()
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    network.to(payload["device"])
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(payload["steps"]):
        optimiser.zero_grad()
        network(torch.randn(64, 1, 8, 8, device=payload["device"])).square().mean().backward()
        optimiser.step()
    return time.perf_counter() - start
"""


def timed(sandbox: WarmSandbox, job: Job, count: int) -> tuple[list[float], list[float]]:
    """Return for each job the milliseconds of the call, and those of the processor in its process."""
    calls, processor = [], []
    for _ in range(count):
        begun = time.perf_counter()
        outcome = sandbox.run(job)
        calls.append(1000 * (time.perf_counter() - begun))
        if not isinstance(outcome, Completed):
            raise SystemExit(f"a plain job failed: {outcome.reason}")
        processor.append(1000 * outcome.cpu_seconds)
    return calls, processor


NETWORK = """
from torch import nn
class Network(nn.Module):
    def __init__(self, classes, in_channels, width):
        super().__init__()
        convolution, last = nn.Conv2d(in_channels, width, 3), nn.Linear(36 * width, classes)
        self.layers = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), last)
    def forward(self, images):
        return self.layers(images)
"""


class Recorder:
    """Trains nothing, and keeps the request."""

    def probe(self, request: Json) -> Json:
        """Take the device as it is."""
        return {"device": request["device"], "precision": request["precision"]}

    def train(self, request: Json) -> Json:
        """Keep the request."""
        self.request = request
        return {"status": "failed", "reason": "", "cause": "network", "seconds": 0.0}

    def close(self) -> None:
        """Nothing was started."""


def request_of(device: str) -> tuple[ImageTrainer, Json]:
    """Return the request of one evaluation, with the trainer that keeps its files."""
    recorder = Recorder()
    training = TrainSettings(epochs=1, device=device, precision="float32")
    images = load_images("digits", data=None, resolution=None)
    trainer = ImageTrainer(
        training.training(images, "texts"), lambda: images, worker=lambda: recorder, source=lambda one, classes: NETWORK
    )
    TrainEvaluator(trainer).evaluate(Architecture("texts", "one", "one"), seed=0)
    return trainer, recorder.request


def installed_on(sandbox: WarmSandbox, request: Json, count: int) -> tuple[list[float], list[float]]:
    """Return for each evaluation the milliseconds of training, and those of the call around it."""
    limits = Limits(seconds=request["limit"], memory=int(request["memory"] * 2**30) if request["memory"] else 2**50)
    training, around = [], []
    for _ in range(count):
        begun = time.perf_counter()
        outcome = sandbox.run(Job(JOB, request, limits=limits))
        call = 1000 * (time.perf_counter() - begun)
        said: Any = outcome.result if isinstance(outcome, Completed) else {"status": outcome.reason}
        if said["status"] != "predicted":
            raise SystemExit(f"a plain network failed: {said}")
        training.append(1000 * said["seconds"])
        around.append(call - training[-1])
    return training, around


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--bare", action="store_true", help="no torch in the warm parent")
    parser.add_argument("--gpu", action="store_true", help="train on a GPU")
    arguments = parser.parse_args()
    device = "cuda" if arguments.gpu else "cpu"
    _kept, request = request_of(device)  # the files are gone with the trainer
    folder = Path(request["train"]["pixels"]).parent
    policy = Policy(preload=PRELOAD, packages=PACKAGES, readable=(str(folder),), gpu=arguments.gpu)
    if arguments.bare:
        policy = Policy(preload=(), packages=())
    step_job = Job("main", source=STEP, payload={"steps": 200, "device": device})
    print(
        "| sandbox | start | attacks | call, median | 90 % | processor, median | 200 training steps "
        "| candidate: training | around it, median | 90 % |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for backend in (*installed(), UNSAFE):
        begun = time.perf_counter()
        try:
            sandbox = WarmSandbox(policy, backend)
        except SandboxError as error:
            print(f"| {backend.name} | {error} | | | | | |")
            continue
        start = 1000 * (time.perf_counter() - begun)
        with sandbox:
            begun = time.perf_counter()
            attack(sandbox, QUICK if backend.confining else ())
            attacks = 1000 * (time.perf_counter() - begun)
            calls, processor = timed(sandbox, EMPTY, arguments.jobs)
            step = trained = "-"
            around = [0.0, 0.0]
            if not arguments.bare:
                outcomes = [sandbox.run(step_job) for _ in range(3)]
                seconds = [float(str(one.result)) for one in outcomes if isinstance(one, Completed)]
                step = f"{1000 * min(seconds):.0f}" if seconds else str(outcomes[0])
                training, around = installed_on(sandbox, request, arguments.jobs)
                trained = f"{statistics.median(training):.0f}"
            print(
                f"| {sandbox.level} | {start:.0f} | {attacks:.0f} | {statistics.median(calls):.0f} | "
                f"{statistics.quantiles(calls, n=10)[-1]:.0f} | {statistics.median(processor):.0f} | {step} | "
                f"{trained} | {statistics.median(around):.0f} | {statistics.quantiles(around, n=10)[-1]:.0f} |",
                flush=True,
            )
    if not arguments.bare:
        calls = trusted(request, arguments.jobs)
        print(f"the same request by the worker for trusted code, not confined: {statistics.median(calls):.0f} a call")


def trusted(request: Json, count: int) -> list[float]:
    """Return the milliseconds of each call, the start of the worker left out."""
    worker = Worker()
    calls = [1000 * float(worker.train(request)["seconds"]) for _ in range(count + 1)]
    worker.close()
    return calls[1:]


if __name__ == "__main__":
    main()
