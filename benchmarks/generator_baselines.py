"""What Arch-LLM's codebook buys: the honest table of one space.

    python benchmarks/generator_baselines.py --space nb101 --folder DIR
    python benchmarks/generator_baselines.py --space nb201 -n 1000 --seeds 3 --folder DIR

Compared, by the same count on canonical graphs: `vq` (signs of a quantiser, language model), `vertices` and `tokens`
(the same language model on the space's own decisions, numbered by vertex, or one by one), `vae` (Gaussian latent,
the same encoder and decoder), `grammar` (the space's own sampler). What is not in DIR yet is trained there, as
SPACE-METHOD-SEED; a killed training goes on. `vq` with seed 0 comes with the package, where there is one.

`vertices` and `tokens` are trained with the settings of `vq`, so that `tokens`, with longer sequences, has more
compute; --equal-compute gives it fewer passes in that measure.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

from nas_agent.agents.generators.arch_llm import generator
from nas_agent.agents.generators.arch_llm.gaussian import GaussianGenerator, train_gaussian
from nas_agent.agents.generators.arch_llm.generator import BY_HAND, SETTINGS, ArchLLM
from nas_agent.agents.generators.arch_llm.model_files import CARD
from nas_agent.agents.generators.arch_llm.sequences import VertexTokens
from nas_agent.agents.generators.arch_llm.training import LanguageSettings
from nas_agent.agents.generators.arch_llm.training_set import TrainingSet, training_set
from nas_agent.bench.generator_baselines import Method, Trained, compare, sheets
from nas_agent.spaces import load_space

METHODS = ("vq", "vertices", "tokens", "vae", "grammar")
LANGUAGE_TEMPERATURES = (0.5, 0.7, 0.85, 1.0)
LATENT_TEMPERATURES = (0.4, 0.5, 0.6, 0.8, 1.0, 1.3)
SPENT = "seconds.json"  # CPU seconds of the training


class Shelf:
    """Trained methods of one space in a folder."""

    def __init__(self, space: str, folder: Path, *, equal_compute: bool) -> None:
        self.space, self.folder, self.equal_compute = space, folder, equal_compute
        self._sets: dict[int, TrainingSet] = {}

    def method(self, name: str, seeds: int) -> Method:
        """Load or train it with seeds 0, 1, ..."""
        temperatures = {"vae": LATENT_TEMPERATURES, "grammar": (1.0,)}.get(name, LANGUAGE_TEMPERATURES)
        return Method(name, [self._one(name, seed) for seed in range(1 if name == "grammar" else seeds)], temperatures)

    def set(self, seed: int) -> TrainingSet:
        """Draw the training set once."""
        if seed not in self._sets:
            self._sets[seed] = training_set(self.space, seed)
        return self._sets[seed]

    def _one(self, name: str, seed: int) -> Trained:
        known = frozenset(one.id for one in self.set(seed).train)
        if name == "grammar":
            space = load_space(self.space)

            def uniform(count: int, _: float, seed: int) -> list:
                rng = Random(seed)
                return [space.sample(rng) for _ in range(count)]

            return Trained(uniform, known)
        folder = self.folder / f"{self.space}-{name}-{seed}"
        found = self._auto_encoder(folder, seed) if name == "vae" else self._language(folder, name, seed)
        if isinstance(found, GaussianGenerator):
            weights = found.about["weights"]
            return Trained(
                lambda count, at, seed: found.sample(count, temperature=at, seed=seed), known, weights, _spent(folder)
            )
        quantiser = getattr(found.sequencer, "about", {"weights": 0})
        return Trained(
            lambda count, at, seed: found.sample(count, temperature=at, seed=seed).architectures,
            known, found.language.parameters + quantiser["weights"], _spent(folder),
        )  # fmt: skip

    def _auto_encoder(self, folder: Path, seed: int) -> GaussianGenerator:
        if (folder / CARD).exists():
            return GaussianGenerator.load(folder, space=self.space)
        found, began = self.set(seed), time.process_time()
        made = train_gaussian(
            self.space, found.train, seed=seed, held_out=found.held_out, folder=folder,
            progress=lambda done, total, loss: _say(f"{folder.name}: {done}/{total}, loss {loss:.2f}"),
        )  # fmt: skip
        _note(folder, began)
        return made

    def _language(self, folder: Path, name: str, seed: int) -> ArchLLM:
        if (folder / generator.CARD).exists():
            return generator.load(folder, self.space)
        if name == "vq" and seed == 0 and generator.shipped(self.space).is_dir():
            return generator.load(generator.shipped(self.space), self.space)
        began = time.process_time()
        made = generator.train(
            self.space, folder, kind=name, settings=self._settings(name), seed=seed,
            told=lambda what, done, total, loss: _say(f"{folder.name}, {what}: {done}/{total}, loss {loss:.3f}"),
        )  # fmt: skip
        _note(folder, began)
        return made

    def _settings(self, name: str) -> LanguageSettings:
        settings = SETTINGS[self.space]
        if name != "tokens" or not self.equal_compute:
            return settings
        longer = BY_HAND["tokens"](self.space).length / VertexTokens(self.space).length
        return replace(settings, epochs=max(1, round(settings.epochs / longer)))


def _note(folder: Path, began: float) -> None:
    (folder / SPENT).write_text(json.dumps(time.process_time() - began))


def _spent(folder: Path) -> float | None:
    """Return None where it was trained elsewhere, or at two times."""
    return json.loads((folder / SPENT).read_text()) if (folder / SPENT).exists() else None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=tuple(SETTINGS), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--methods", default=",".join(METHODS), help="the first one is compared with the others")
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each method")
    parser.add_argument("--samples", type=int, default=3, help="of each training")
    parser.add_argument("--equal-compute", action="store_true", help="fewer passes for `tokens`")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    shelf = Shelf(given.space, given.folder, equal_compute=given.equal_compute)
    methods = [shelf.method(name, given.seeds) for name in given.methods.split(",")]
    found = compare(
        methods, space=given.space, trained=len(shelf.set(0).train), drawn=given.n, samples=given.samples,
        command=shlex.join(["python", *sys.argv]), told=_say,
    )  # fmt: skip
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1))
    for sheet in sheets(found):
        print(f"\n**{sheet.title}**\n")
        for row in (sheet.header, ["---"] * len(sheet.header), *sheet.rows):
            print("|", " | ".join(row), "|")
    print(f"\n`{found['command']}`")


if __name__ == "__main__":
    main()
