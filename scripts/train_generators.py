"""Train the generators that come with the package, one for each space, and write their cards.

    python scripts/train_generators.py                               # all three, minutes each on two cores
    python scripts/train_generators.py --space nb101 --seed 1 --out DIR   # another one, for a spread over seeds
    python scripts/train_generators.py --check                       # measure those that come with the package

Needs the extra `generator`. A killed training goes on with the same command. Weights are rounded to half precision,
which is how they are shipped, and only then measured.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from random import Random

from nas_agent.agents.generators.arch_llm.generator import (
    LANGUAGE,
    QUANTISER,
    SETTINGS,
    SHIPPED,
    ArchLLM,
    load,
    train,
    write_card,
)
from nas_agent.agents.generators.arch_llm.metrics import measure
from nas_agent.agents.generators.arch_llm.quantiser import Quantiser
from nas_agent.agents.generators.arch_llm.training_set import UNSAMPLED, spelled, training_set

DRAWN = {"nb201": 1_000, "nb101": 10_000, "darts": 10_000}


def make(space: str, seed: int, out: Path) -> None:
    """Train, round, measure, write."""
    work = Path(tempfile.gettempdir()) / f"nas-agent-generator-{space}-{seed}"
    began, busy = time.monotonic(), time.process_time()
    trained = train(
        space, work, kind="vq", settings=SETTINGS[space], seed=seed,
        told=lambda what, done, total, loss: print(f"{space}, {what}: {done}/{total}, loss {loss:.3f}", flush=True),
    )  # fmt: skip
    print(
        f"{space}: {time.monotonic() - began:.0f} s by the clock, {time.process_time() - busy:.0f} s of CPU", flush=True
    )
    shutil.rmtree(out, ignore_errors=True)
    rounded(trained, out)
    made = load(out, space)
    write_card(made, out, {"Weights": "half precision", **measured(made, space, seed)})
    shutil.rmtree(work)
    print((out / "README.md").read_text())


def rounded(made: ArchLLM, folder: Path) -> None:
    """Write it in half precision, with the reconstruction that is left."""
    quantiser = made.sequencer
    assert isinstance(quantiser, Quantiser)
    quantiser.model.half()
    quantiser.save(folder / QUANTISER)
    made.language.model.half()
    made.language.save(folder / LANGUAGE)
    again = Quantiser.load(folder / QUANTISER)  # computes in single precision
    found = training_set(again.space, int(again.about["seed"]))
    again.about |= {
        "reconstruction": again.reconstruction(found.train),
        "held-out reconstruction": again.reconstruction(found.held_out),
    }
    quantiser.about = again.about
    quantiser.save(folder / QUANTISER)


def measured(made: ArchLLM, space: str, seed: int) -> dict[str, str]:
    """Say what comes back of odd architectures, and what draws at temperature 1 are like."""
    quantiser, count = made.sequencer, DRAWN[space]
    assert isinstance(quantiser, Quantiser)
    odd = {}
    if training_set(space, seed).codebook:
        share = quantiser.reconstruction(spelled(quantiser.codec.space, UNSAMPLED, Random(f"odd, {seed}")))
        odd[f"Reconstruction of {UNSAMPLED:,} architectures whose decisions are drawn uniformly"] = (
            f"{100 * share:.2f} %"
        )
    found = measure(made.sample(count, seed=seed).architectures, made.training_ids())
    shares = {"valid": found.validity, "distinct": found.absolute_uniqueness, "novel": found.absolute_novelty}
    return {
        **odd,
        f"Of {count:,} draws at temperature 1, seed {seed}": ", ".join(
            f"{100 * share:.2f} % {name}" for name, share in shares.items()
        ),
    }


def check(space: str) -> None:
    """Measure what comes with the package."""
    made = load(SHIPPED / space, space)
    quantiser = made.sequencer
    assert isinstance(quantiser, Quantiser)
    seed = int(quantiser.about["seed"])
    held_out = training_set(space, seed).held_out
    print(f"{space}: {100 * quantiser.reconstruction(held_out):.2f} % of {len(held_out):,} held-out graphs come back")
    for name, value in measured(made, space, seed).items():
        print(f"{space}: {name}: {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=tuple(SETTINGS), action="append")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="instead of the package; for one space")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    for space in given.space or SETTINGS:
        if given.check:
            check(space)
        else:
            make(space, given.seed, SHIPPED / space if given.out is None else given.out)


if __name__ == "__main__":
    main()
