"""What a job costs beyond its own work: from the call to the answer, with torch imported in the warm parent.

    python benchmarks/sandbox.py                 # every backend that this machine has, 50 jobs each
    python benchmarks/sandbox.py --jobs 200 --bare
    python benchmarks/sandbox.py --gpu           # the steps on a GPU, its device nodes allowed

The job returns at once. `start` is the start of the warm parent, the imports and the attacks left out of it being
`attacks`: both are paid once. `processor` is what the job's process used, user and system, seen from outside; the
warm parent's share (the fork) is in `call`. Milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from nas_agent.errors import SandboxError
from nas_agent.tools.sandbox import Completed, Job, Policy, WarmSandbox
from nas_agent.tools.sandbox.backends import UNSAFE, candidates
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--bare", action="store_true", help="no torch in the warm parent")
    parser.add_argument("--gpu", action="store_true", help="train on a GPU")
    arguments = parser.parse_args()
    policy = Policy(preload=(), packages=()) if arguments.bare else Policy(gpu=arguments.gpu)
    step_job = Job("main", source=STEP, payload={"steps": 200, "device": "cuda" if arguments.gpu else "cpu"})
    print("| sandbox | start | attacks | call, median | 90 % | processor, median | 200 training steps |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for backend in (*candidates(), UNSAFE):
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
            step = "-"
            if not arguments.bare:
                outcomes = [sandbox.run(step_job) for _ in range(3)]
                seconds = [float(str(one.result)) for one in outcomes if isinstance(one, Completed)]
                step = f"{1000 * min(seconds):.0f}" if seconds else str(outcomes[0])
            print(
                f"| {sandbox.level} | {start:.0f} | {attacks:.0f} | {statistics.median(calls):.0f} | "
                f"{statistics.quantiles(calls, n=10)[-1]:.0f} | {statistics.median(processor):.0f} | {step} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
