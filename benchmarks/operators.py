"""How many offspring of the programmatic operators can be trained: random walks from the first network on digits.

    python benchmarks/operators.py [--children 320] [--walks 8] [--seed 0] [--programs DIR] [--unsafe]

Each child is asked for by one intent, all in turn, from networks drawn among the last ones of its walk; every text is
looked at in the sandbox. "trainable": a child came back, which builds, gives logits of the right shape for three batch
sizes, and passes a gradient step. "at once": its first try was one. Prints Markdown (docs/results/open_code.md).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from pathlib import Path
from random import Random

from nas_agent.errors import InvalidArchitecture
from nas_agent.spaces.code import INTENTS
from nas_agent.spaces.inspection import NetworkShape
from nas_agent.spaces.pytorch import Pytorch
from nas_agent.spaces.pytorch_variation import varied
from nas_agent.tools.inspection.sandboxed import SandboxInspector, open_inspection

LATEST = 10  # networks of a walk that parents are drawn from


def main() -> None:
    """Walk, count, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--children", type=int, default=320)
    parser.add_argument("--walks", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--programs", type=Path, help="walk from each *.py in this folder instead")
    parser.add_argument("--unsafe", action="store_true")
    asked = parser.parse_args()
    inspector = SandboxInspector(lambda: open_inspection("off" if asked.unsafe else "auto"))
    space = Pytorch(NetworkShape.of(10, 1, 8), inspector)
    starts = [space.start()] * asked.walks
    if asked.programs is not None:
        starts = [space.parse(file.read_text()) for file in sorted(asked.programs.glob("*.py"))]
    tried: Counter[str] = Counter()
    trained: Counter[str] = Counter()
    at_once: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    seconds, sizes = [], []
    each = asked.children // len(starts)
    for walk, start in enumerate(starts):
        rng = Random(f"{asked.seed}/{walk}")
        line = [start]
        for number in range(each):
            intent = INTENTS[(number + walk * each) % len(INTENTS)]
            wanted = intent.parents if intent.parents == 1 else rng.choice((2, 3))
            parents = [rng.choice(line[-LATEST:]) for _ in range(wanted)]
            tried[intent.name] += 1
            state = rng.getstate()
            begun = time.perf_counter()
            try:
                child = space.vary(intent.name, parents, rng)
            except InvalidArchitecture as error:
                reasons[f"{intent.name}: {str(error)[:160]}"] += 1
                continue
            finally:
                seconds.append(time.perf_counter() - begun)
            trained[intent.name] += 1
            line.append(child)
            again = Random()
            again.setstate(state)
            try:
                varied(space, intent.name, parents, again, tries=1)
                at_once[intent.name] += 1
            except InvalidArchitecture:
                pass
        sizes += [space.inspection(one).flops for one in line]
    _print(tried, trained, at_once, reasons)
    looked = inspector.seconds
    print(f"\nA child takes {statistics.median(seconds) * 1000:.0f} ms (median, wall clock), one look in the sandbox "
          f"{statistics.median(looked) * 1000:.0f} ms, {statistics.median(inspector.cpu_seconds) * 1000:.0f} ms of it "
          f"processor time; {len(looked)} looks. FLOPs of the networks: {min(sizes):,} to {max(sizes):,}.")  # fmt: skip
    inspector.close()


def _print(tried: Counter[str], trained: Counter[str], at_once: Counter[str], reasons: Counter[str]) -> None:
    print("| intent | asked | trainable | at once |\n| --- | ---: | ---: | ---: |")
    for intent in (*(one.name for one in INTENTS), "all"):
        counts = (sum(c.values()) if intent == "all" else c[intent] for c in (tried, trained, at_once))
        total, good, first = counts
        print(f"| {intent} | {total} | {100 * good / total:.0f} % | {100 * first / total:.0f} % |")
    for reason, count in reasons.most_common():
        print(f"- {count} x {reason}")


if __name__ == "__main__":
    main()
