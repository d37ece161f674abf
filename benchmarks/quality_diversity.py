"""Quality diversity on open code for digits: which niches can be reached, and which ones a search fills.

    python benchmarks/quality_diversity.py reach                  # builds a network into every niche that it can
    python benchmarks/quality_diversity.py fill --seeds 3         # 500 evaluations an arm; goes on where it stopped
    python benchmarks/quality_diversity.py fill --arms aimed --seeds 1 --budget 200
    python benchmarks/quality_diversity.py tell                   # the table of what there is so far

    python benchmarks/quality_diversity.py cells --task cifar10 --seeds 10 --budget 2000   # NAS-Bench-201

Arms, all measured at the same fidelity and binned by the same archive:

aimed             programmatic operators, curiosity, four children for each network that is measured: those of empty
                  niches are taken, then those whose niche has the worst holder (the product's `--generator code
                  --surrogate none`)
llmatic           one child for each network that is measured: the paper's loop
map-elites        as llmatic, every prompt drawn by chance
aimed-map-elites  as aimed, every prompt drawn by chance
random            draws of the space's own sampler

Every batch of ten is one line of OUT/ARM-SEED.jsonl; what lies there is not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np

from nas_agent.agents.generators.quality_diversity import AIMED, Illumination, Niches, Settings
from nas_agent.agents.generators.quality_diversity.breeding import breed
from nas_agent.agents.generators.quality_diversity.ranges import Programs, axes_of, measures
from nas_agent.bench.compare import METHODS, Setting
from nas_agent.bench.methods import Problem
from nas_agent.config import make_config
from nas_agent.errors import InvalidArchitecture
from nas_agent.preparation import evaluation_of
from nas_agent.principles.evidence import t_quantile
from nas_agent.records import Json, Measured, Miss, Proposal, Trial, outcome_from_dict
from nas_agent.spaces import load_space
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.inspection import equipped

ARMS = ("aimed", "map-elites", "random", "llmatic", "aimed-map-elites")
BATCH = 10


def loaded(epochs: int, share: float) -> tuple[Programs, Evaluation]:
    config = make_config({"task": "digits", "space": "pytorch", "epochs": epochs, "data_share": share})
    plain = load_space("pytorch")
    evaluation = evaluation_of(config, plain)
    space = equipped(plain, evaluation)
    assert isinstance(space, Programs)
    return space, evaluation


# -- reach --------------------------------------------------------------------------------------------------------


def template(side: int, channels: int, layers: int, kernel: int, width: int) -> str:
    """Write a network: images scaled to `side`, a chain of convolutions, one wide layer, the mean over places."""
    inner = [f"            nn.Conv2d({channels}, {channels}, {kernel}, padding={kernel // 2}),"] * layers
    return "\n".join(
        [
            "import torch",
            "from torch import nn",
            "",
            "class Network(nn.Module):",
            "    def __init__(self):",
            "        super().__init__()",
            "        self.body = nn.Sequential(",
            f"            nn.AdaptiveAvgPool2d({side}),",
            f"            nn.Conv2d(1, {channels}, 1),",
            *inner,
            f"            nn.Conv2d({channels}, {width}, 1),",
            "            nn.ReLU(),",
            "            nn.AdaptiveAvgPool2d(1),",
            "            nn.Flatten(),",
            f"            nn.Linear({width}, 10),",
            "        )",
            "",
            "    def forward(self, x):",
            "        return self.body(x)",
            "",
        ]
    )


def plans(space: Programs, niches: Niches) -> list[tuple[int, ...]]:
    """Return, for each niche, the template whose counted width, depth and FLOPs come nearest to its centre."""
    sizes = sorted({round(2 ** (i / 3)) for i in range(34)})
    many = [*range(8), 10, 13, 17, 22, 28, 36, 46, 60]
    options, places = [], []
    for side, kernel, layers in itertools.product((1, 2, 4, 8), (1, 3), many):
        for channels, width in itertools.product(sizes, sizes):
            weights = channels + layers * channels * channels * kernel**2 + channels * width + 10 * width
            flops = side * side * (weights - 10 * width) + 10 * width
            if weights < 1.9e6 and flops < 6.3e7 and max(channels, width) >= 10:
                point = (max(channels, width) / (layers + 3), flops)
                places.append([axis.place(value) for axis, value in zip(niches.axes, point, strict=True)])
                options.append((side, channels, layers, kernel, width))
    table = np.array(places)
    return [options[int(((table - centre) ** 2).sum(axis=1).argmin())] for centre in niches.centres()]


def reach() -> None:
    space, _ = loaded(1, 1.0)
    niches = Niches(axes_of(space))
    for niche, plan in enumerate(plans(space, niches)):
        try:
            made = space.parse(template(*plan))  # type: ignore[attr-defined]
        except InvalidArchitecture as error:
            print(f"niche {niche}: {plan} was refused: {error}")
            continue
        niches.add(f"{niche}", 1.0, measures(space, made))
    print(f"{len(niches.elites)} of {niches.cells} niches reached, {niches.outside} networks outside the ranges")
    print("left:", sorted(set(range(niches.cells)) - set(niches.elites)))


# -- fill ---------------------------------------------------------------------------------------------------------


def as_line(one: Trial | Miss) -> Json:
    if isinstance(one, Miss):
        return {"miss": one.to_dict()}
    return {"trial": {"proposal": one.proposal.to_dict(), "outcome": one.outcome.to_dict()}}


def from_line(line: Json) -> Trial | Miss:
    if "miss" in line:
        return Miss.from_dict(line["miss"])
    return Trial(Proposal.from_dict(line["trial"]["proposal"]), outcome_from_dict(line["trial"]["outcome"]))


def batches(file: Path) -> list[list[Trial | Miss]]:
    """Read what was tried; a line is a whole batch, so one that was cut off is left out."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [[from_line(one) for one in json.loads(line)] for line in lines if line.endswith("]")]


def settings_of(arm: str) -> Settings:
    return Settings(
        generation=BATCH, curiosity="map-elites" not in arm, children=AIMED if arm.startswith("aimed") else 1
    )


def fill(space: Programs, evaluation: Evaluation, arm: str, seed: int, budget: int, file: Path) -> None:
    state = Illumination(evaluation.task, axes_of(space), space.start(), settings_of(arm))
    known: set[str] = set()
    done = batches(file)
    for told in done:
        state.follow(told)
        known |= {one.outcome.architecture.id for one in told if isinstance(one, Trial)}
    file.write_text("".join(json.dumps([as_line(one) for one in told]) + "\n" for told in done))
    for batch in itertools.count(len(done)):
        if state.trials >= budget:
            return
        rng = Random(f"{seed}/{batch}")
        proposals, misses = proposed(space, state, arm, rng, min(BATCH, budget - state.trials), known)
        tried: list[Trial | Miss] = [*misses]
        for proposal in proposals:
            known.add(proposal.architecture.id)
            described = replace(proposal, measures=measures(space, proposal.architecture))
            tried.append(Trial(described, evaluation.evaluator.evaluate(proposal.architecture, seed=seed)))
        with file.open("a") as out:
            out.write(json.dumps([as_line(one) for one in tried]) + "\n")
        state.follow(tried)
        point = state.curve[-1]
        print(
            f"{arm} {seed}: {point.evaluations} evaluations, {point.filled} niches, QD {point.qd_score:.0f}", flush=True
        )


def proposed(
    space: Programs, state: Illumination, arm: str, rng: Random, wanted: int, known: set[str]
) -> tuple[list[Proposal], list[Miss]]:
    if arm == "random":
        found: dict[str, Proposal] = {}
        while len(found) < wanted:
            drawn = space.sample(rng)  # type: ignore[attr-defined]
            if drawn.id not in known:
                found[drawn.id] = Proposal(drawn, "sample")
        return list(found.values()), []
    if not state.trials:
        return [Proposal(state.start, "start")], []
    brood = breed(state, space, wanted, rng.getrandbits(64), known, lambda one: one)
    return brood.proposals, brood.misses


# -- tell ---------------------------------------------------------------------------------------------------------


def tell(out: Path) -> None:
    space, evaluation = loaded(1, 1.0)
    points = (60, 100, 200, 300, 400, 500)
    print("| arm | seed | evaluations | niches filled | QD score | best | trainable | own seconds a network |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for file in sorted(out.glob("*.jsonl")):
        arm, _, seed = file.stem.rpartition("-")
        state = Illumination(evaluation.task, axes_of(space), space.start(), settings_of(arm))
        trials: list[Trial] = []
        for told in batches(file):
            state.follow(told)
            trials += [one for one in told if isinstance(one, Trial)]
        for point in state.curve:
            if point.evaluations in points or point is state.curve[-1]:
                so_far = trials[: point.evaluations]
                trained = sum(isinstance(trial.outcome, Measured) for trial in so_far)
                cost = np.mean([trial.outcome.seconds for trial in so_far])
                best = "-" if point.best is None else f"{point.best:.2f} %"
                print(
                    f"| {arm} | {seed} | {point.evaluations} | {point.filled} | {point.qd_score:.0f} | {best} "
                    f"| {trained} of {len(so_far)} | {cost:.2f} |"
                )


# -- cells --------------------------------------------------------------------------------------------------------


def cells(task: str, seeds: int, budget: int) -> None:
    """Bin what the bench methods measured on NAS-Bench-201 by the archive that all of them share."""
    setting = Setting(task)
    space, evaluation = setting()
    assert isinstance(space, Programs)
    reachable = {Niches(axes_of(space)).niche(measures(space, cell)) for cell in space.enumerate() or ()}  # type: ignore[attr-defined]
    points = [point for point in (100, 200, 500, 2000) if point <= budget]
    print(f"{task}: {len(reachable)} of 100 niches hold a cell at all; mean of {seeds} seeds, 95 % interval")
    print("| method | " + " | ".join(f"niches at {p} | QD score at {p}" for p in points) + " |")
    print("| --- |" + " --- | --- |" * len(points))
    for name in ("llmatic", "llmatic-10", "map-elites", "random"):
        found: dict[int, list[tuple[int, float]]] = {point: [] for point in points}
        for seed in range(seeds):
            problem = Problem(space, evaluation.task, evaluation.evaluator)
            trace, niches = METHODS[name]().run(problem, seed, budget), Niches(axes_of(space))
            for number, (cell, value) in enumerate(zip(trace.architectures, trace.values, strict=True), start=1):
                if value is not None:
                    niches.add(cell.id, value, measures(space, cell))
                if number in found:
                    found[number].append((len(niches.elites), niches.qd_score))
        row = [f"{summed([n for n, _ in f], 1)} | {summed([q for _, q in f], 0)}" for f in found.values()]
        print(f"| {name} | " + " | ".join(row) + " |", flush=True)


def summed(values: list[float] | list[int], digits: int) -> str:
    middle = np.mean(values)
    if len(values) < 2:
        return f"{middle:.{digits}f}"
    half = t_quantile(len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{middle:.{digits}f} ± {half:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("reach", "fill", "tell", "cells"))
    parser.add_argument("--task", default="cifar10")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--out", type=Path, default=Path("runs") / "quality_diversity")
    given = parser.parse_args()
    if given.part == "reach":
        reach()
        return
    if given.part == "cells":
        cells(given.task, given.seeds, given.budget)
        return
    if given.part == "tell":
        tell(given.out)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    space, evaluation = loaded(given.epochs, given.share)
    for seed, arm in itertools.product(range(given.seeds), given.arms.split(",")):
        fill(space, evaluation, arm, seed, given.budget, given.out / f"{arm}-{seed}.jsonl")


if __name__ == "__main__":
    main()
