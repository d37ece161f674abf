"""Why the sandbox does not rest on sandlock 0.9: what it leaves open on files that may only be read, and what it costs.

    pip install sandlock && python benchmarks/sandbox_sandlock.py

The same program runs in no sandbox, in sandlock's, and in sandlock's with its limit of memory: import of torch, a fork
and its end, 200 small training steps (seconds of the processor), then three changes to a file beneath a readable path.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import os, statistics, sys, time
start = time.perf_counter()
import torch, torch._dynamo
from torch import nn
print(f"import {time.perf_counter() - start:.1f} s", end=", ")
forks = []
for _ in range(20):
    start = time.perf_counter()
    process = os.fork()
    if process == 0:
        os._exit(0)
    os.waitpid(process, 0)
    forks.append(1000 * (time.perf_counter() - start))
print(f"fork and end {statistics.median(forks):.0f} ms", end=", ")
network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
steps = []
for _ in range(3):
    start = time.process_time()
    for _ in range(200):
        optimiser.zero_grad()
        network(torch.randn(64, 1, 8, 8)).square().mean().backward()
        optimiser.step()
    steps.append(time.process_time() - start)
print(f"200 steps {min(steps):.2f} s", end="")
file = sys.argv[1]
for name, change in (
    ("chmod", lambda: os.chmod(file, 0o640)), ("utime", lambda: os.utime(file, (1, 1))),
    ("setxattr", lambda: os.setxattr(file, "user.x", b"1")), ("write", lambda: open(file, "w")),
):
    try:
        change()
        print(f", {name} went through", end="")
    except OSError:
        print(f", {name} refused", end="")
"""
SYSTEM = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/proc", "/sys/devices/system/cpu", "/dev/urandom", "/dev/null")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from sandlock import Sandbox  # installed for this comparison only

    with tempfile.TemporaryDirectory() as readable, tempfile.TemporaryDirectory() as scratch:
        file = Path(readable, "file")
        file.write_text("content")
        command = [sys.executable, "-c", PROGRAM, str(file)]
        print("no sandbox:", subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        packages = [
            str(Path(path)) for path in (*sys.path, sys.prefix, sys.base_prefix) if path and Path(path).exists()
        ]
        for memory in (None, "8G"):
            sandbox = Sandbox(
                fs_readable=[*SYSTEM, *packages, readable],
                fs_writable=[scratch, "/dev/null"],
                clean_env=True,
                env={"TMPDIR": scratch, "OMP_NUM_THREADS": "1"},
                max_memory=memory,
                max_processes=20,
            )
            result = sandbox.run(command, timeout=300)
            print(f"sandlock, memory limit {memory}:", result.stdout.decode() or result.stderr.decode()[-300:])


if __name__ == "__main__":
    main()
