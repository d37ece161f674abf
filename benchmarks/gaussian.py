"""Settings of the Gaussian auto-encoder, to be tuned: what one training's draws are like, by the width of the latent.

    python benchmarks/gaussian.py --space nb101 --latent 32 --beta 0.1 --epochs 20
    python benchmarks/gaussian.py --space nb101 --latent 4 --by-vertex --beta 0.2 --epochs 12

Where exactly one edge of several is there (darts), the likeliest is taken; `by thresholds` shows what happens
otherwise. A training that is in --folder already, such as those of generator_baselines.py, is not done again.
The last line is another control: each edge and operation drawn by itself, as often as in the training set.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from nas_agent.agents.generators.arch_llm.cells import SPACES, Graphs, codec_of
from nas_agent.agents.generators.arch_llm.gaussian import DEFAULTS, train_gaussian
from nas_agent.agents.generators.arch_llm.metrics import measure
from nas_agent.agents.generators.arch_llm.training_set import training_set
from nas_agent.records import Architecture

TEMPERATURES = (0.3, 0.4, 0.5, 0.6, 0.7, 1.0, 1.3)


def by_themselves(space: str, train: list[Architecture], count: int, seed: int) -> list[Architecture | None]:
    """Draw every part of a graph from another training graph."""
    codec, rng = codec_of(space), np.random.default_rng(seed)
    graphs = codec.encode(train)
    edges, operations = (
        np.take_along_axis(part, rng.integers(0, len(train), (count, part.shape[1])), axis=0)
        for part in (graphs.edges, graphs.operations)
    )
    return codec.decode(Graphs(edges, operations))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=SPACES, default="nb101")
    parser.add_argument("--latent", type=int)
    parser.add_argument("--beta", type=float)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--warm", type=int, default=0, help="steps")
    parser.add_argument("--free", type=float, default=0.0, help="nats of a latent number")
    parser.add_argument("--by-vertex", action="store_true", help="a latent vector for each vertex, not for the graph")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("-n", type=int, default=3_000)
    given = parser.parse_args()
    found = training_set(given.space, given.seed)
    known = {one.id for one in found.train}
    default = DEFAULTS[given.space]
    settings = replace(
        default, fit=replace(default.fit, epochs=given.epochs or default.fit.epochs), warm=given.warm, free=given.free,
        latent=given.latent or default.latent, beta=default.beta if given.beta is None else given.beta,
        whole=not given.by_vertex,
    )  # fmt: skip
    began = time.process_time()
    made = train_gaussian(
        given.space, found.train, settings=settings, seed=given.seed, held_out=found.held_out, folder=given.folder
    )
    print(f"{settings}\n{time.process_time() - began:.0f} CPU s; {made.about}\n")
    print("| temperature | valid, % | abs. unique, % | abs. novel, % |\n| --- | --- | --- | --- |")
    drawn = {f"{at:g}": made.sample(given.n, temperature=at, seed=given.seed) for at in TEMPERATURES}
    if made.codec.layout.choices:
        drawn |= {
            f"{at:g}, by thresholds": made.sample(given.n, temperature=at, seed=given.seed, likeliest=False)
            for at in TEMPERATURES
        }
    drawn["each part by itself"] = by_themselves(given.space, found.train, given.n, given.seed)
    for name, architectures in drawn.items():
        one = measure(architectures, known)
        shares = (one.validity, one.absolute_uniqueness, one.absolute_novelty)
        print(f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |")


if __name__ == "__main__":
    main()
