"""What the parts cost by themselves: surrogate, embedding, training.

    python benchmarks/parts.py             # about a minute on two cores

Surrogate: one round (take in an outcome, rank all 6,466 classes of nb201) at several sizes of the archive.
Embedding: canonical cell texts through all-MiniLM-L6-v2, and from the packaged cache. Training: one candidate
of `--task digits` in its child process. Medians of the repeats, milliseconds unless stated.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from random import Random

from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.embeddings import MiniLM, PackagedCode
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.surrogates.structure import CellSurrogate


def milliseconds(action: Callable[[], object], repeats: int) -> float:
    """Return the median time of an action."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken)


def surrogate() -> None:
    space, rng = NasBench201(), Random(0)
    pool = space.enumerate()
    start = time.perf_counter()
    ranker = CellSurrogate(space, pool)
    print(f"surrogate: describe 6,466 classes {1e3 * (time.perf_counter() - start):.0f} ms, once a search")
    waiting = rng.sample(list(pool), 1000)
    for until in (50, 200, 1000):
        while len(waiting) > 1000 - until + 20:
            ranker.observe(waiting.pop(), rng.random())
        observe = milliseconds(lambda: ranker.observe(waiting.pop(), rng.random()), 20)
        rank = milliseconds(lambda: ranker.rank(pool, 1), 20)
        print(f"surrogate, {until} outcomes: take one in {observe:.2f} ms, rank 6,466 classes {rank:.2f} ms")


def embedding() -> None:
    space, rng = NasBench201(), Random(0)
    texts = [space.source(space.sample(rng)) for _ in range(20)]
    model = MiniLM()
    model.embed(texts[:1])
    print(f"embedding: {milliseconds(lambda: model.embed(texts), 3) / len(texts):.1f} ms a text (20 texts)")
    packaged = PackagedCode(model)
    everything = [space.source(architecture) for architecture in space.enumerate()]
    print(f"embedding, packaged: {milliseconds(lambda: packaged.embed(everything), 3):.0f} ms for 6,466 texts")


def training() -> None:
    space = NasBench201()
    evaluation = load_evaluation("digits", space, "train", data=None, epochs=None)
    cells = [space.sample(Random(seed)) for seed in range(3)]
    taken = [evaluation.evaluator.evaluate(cell, seed=0).seconds for cell in cells]
    print(f"training: {statistics.median(taken):.1f} s a candidate of digits ({evaluation.evaluator.fidelity})")


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    surrogate()
    embedding()
    training()


if __name__ == "__main__":
    main()
