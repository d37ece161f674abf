"""What reading code costs a search: CPU time and texts read for each evaluation, with nothing embedded before.

    python benchmarks/joint.py [--space darts|einspace] [--budget 8] [--seed 0]

Searches with `--surrogate joint` and all-minilm, once with a fresh cache, and with structure alone; both measure by a
cheap made-up value (the length of the text), so that what is counted is the search. The last line is what one
evaluation cost when all 400 proposals were read in float32 and nothing was kept: seconds a text, from 8 of them, times
the texts of a round.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nas_agent.records import Architecture, Measured, Outcome, Provenance, Task
from nas_agent.run import Search
from nas_agent.spaces import load_space
from nas_agent.told import NoTestSplit
from nas_agent.tools.embeddings import MiniLM, cache_stats
from nas_agent.tools.evaluators.base import Evaluation


@dataclass
class Length:
    """Measures what costs nothing; notes the CPU time at which it was asked."""

    times: list[float]
    name: str = "length"
    provenance: Provenance = "measured"
    fidelity: str = "made up"

    def pool(self) -> Sequence[Architecture] | None:
        """Return None: nothing is listed."""
        return None

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Return the length of the text."""
        self.times.append(time.process_time())
        return Measured(architecture, float(len(architecture.text)), self.fidelity, 0.0, seed, self.name)


def main() -> None:
    """Print one line for each surrogate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="darts")
    parser.add_argument("--budget", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    space = load_space(arguments.space)
    task = Task("length", "The length of an architecture's text.")
    for surrogate in ("structure", "joint"):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["NAS_AGENT_HOME"] = folder
            diary = Length([])
            evaluation = Evaluation(task, diary, NoTestSplit(), "made up")
            search = Search(
                task, space=space, evaluation=evaluation, surrogate=surrogate, budget=arguments.budget,
                seed=arguments.seed, recall="none",
            )  # fmt: skip
            search.run()
            read = cache_stats(Path(folder) / "cache").entries
        first, later = diary.times[1] - diary.times[0], diary.times[2:]
        steps = [1000 * (after - before) for before, after in zip(diary.times[1:], later, strict=False)]
        each = ", ".join(f"{step:.0f}" for step in steps)
        print(f"{surrogate:>9}: {read} texts read; {1000 * first:.0f} ms to the second evaluation, then {each} ms each")
    texts = [space.source(space.sample(Random(number))) for number in range(9)]
    model = MiniLM()
    model.embed(texts[:1])
    begun = time.process_time()
    model.embed(texts[1:])
    text = 1000 * (time.process_time() - begun) / 8
    print(f"   before: {text:.0f} ms a text in float32: {300 * text:.0f} ms to begin and {400 * text:.0f} ms each")


if __name__ == "__main__":
    main()
