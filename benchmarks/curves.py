"""Rules that stop a training by its learning curve, on curves of cells that were trained to their end.

    python benchmarks/curves.py --record curves.json                        # 48 cells, digits: three CPU minutes
    python benchmarks/curves.py --record other.json --cells 24 --seed 1     # other cells, other weights
    python benchmarks/curves.py --compare curves.json --trainings 16

A search is played `--orders` times: so many trainings, drawn from the curves (uniformly, or, `like a search`, six
uniformly and the rest with the better ones first, by their value plus noise of 4 points). A rule sees the curves of
trainings that it let end, and each new curve epoch by epoch. What counts: epochs that are saved, how often the best
training was stopped, and what that costs in points of validation accuracy (regret). A validation pass after each
epoch, which rules on accuracies need, costs CPU seconds that are printed too. Training losses are means over an epoch.
In brackets is what lies between the first and the last tenth of the orders.

`vizier` is the median rule (Golovin et al., KDD 2017): the best value so far is below the median of the running
averages of those that ended. `power` extrapolates accuracies by a power law, one of the families of Domhan et al.
(IJCAI 2015), without their Markov chains, and stops below the best so far less a margin; `last` takes the accuracy of
the epoch as it is. `line` predicts the end by a straight line in the epoch's loss or accuracy, fitted to those that
ended, and stops where the prediction plus so many deviations is below the best (in the manner of Baker et al., 2017).
`third` is what a search does (tools/curves.py); `plain` and `half` are it without slack and with the best half.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import fmean, median, quantiles
from typing import Any

from nas_agent.records import Architecture, Fidelity, Measured, Task
from nas_agent.tools.archive import Archive
from nas_agent.tools.curves import ENOUGH, FIRST, SLACK, bar_of

Curve = dict[str, Any]  # cell, losses and values by epoch, seconds
Rule = Callable[[Sequence[Curve]], Callable[[Curve, int], bool]]  # ended -> (curve, epochs) -> whether it stops


# -- recording -----------------------------------------------------------------------------------------


def record(file: Path, cells: int, epochs: int | None, seed: int) -> None:
    """Train distinct cells and write their curves."""
    import torch

    from nas_agent.spaces.nasbench201 import NasBench201
    from nas_agent.tools.images import load_images

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    space, images, rng = NasBench201(), load_images("digits", data=None, resolution=None), Random(seed)
    drawn: dict[str, Architecture] = {}
    while len(drawn) < cells:
        cell = space.sample(rng)
        drawn[cell.id] = cell
    curves = []
    for cell in drawn.values():
        curves.append(noted(space, cell, images, epochs, seed))
        file.write_text(json.dumps(curves, indent=1))
        print(
            f"{curves[-1]['values'][-1]:6.2f} {curves[-1]['seconds']:5.1f} s  {cell.text}", file=sys.stderr, flush=True
        )


def noted(space: Any, cell: Architecture, images: Any, epochs: int | None, seed: int) -> Curve:
    """Train as a worker does; return training loss and validation accuracy after each epoch, and CPU seconds."""
    import torch

    from nas_agent.tools.evaluators.candidate import built
    from nas_agent.tools.evaluators.train_settings import TrainSettings
    from nas_agent.tools.evaluators.trainer import Part, Place, Recipe, accuracy, train

    training = TrainSettings(epochs=epochs).training(images, "nb201")
    at = training.fidelity
    recipe = Recipe(epochs=at.epochs, batch=training.batch, mirror=images.flip, **training.recipe)
    place, scale = Place("cpu", "float32"), (images.mean, images.spread, "cpu")
    torch.manual_seed(seed)
    network = built(space, cell, {"classes": 10, "channels": 1, "width": at.width})
    part = Part(images.train.pixels, images.train.labels, *scale, margin=recipe.shift)
    held = Part(images.validation.pixels, images.validation.labels, *scale)
    losses, values, passes = list[float](), list[float](), 0.0

    def watch(loss: float) -> bool:
        nonlocal passes
        begun = time.process_time()
        losses.append(loss)
        values.append(accuracy(network, held, place))
        network.train()
        passes += time.process_time() - begun
        return False

    start = time.process_time()
    train(network, part, recipe, place, seed, watch)
    seconds = time.process_time() - start
    return {"cell": cell.text, "losses": losses, "values": values, "seconds": seconds - passes, "passes": passes}


# -- rules ---------------------------------------------------------------------------------------------


def end(curve: Curve) -> float:
    """Return the validation accuracy after the last epoch."""
    return float(curve["values"][-1])


def line(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float, float]:
    """Return intercept, slope and deviation of the least-squares line."""
    middle, centre = fmean(xs), fmean(ys)
    spread = math.fsum((x - middle) ** 2 for x in xs)
    slope = math.fsum((x - middle) * (y - centre) for x, y in zip(xs, ys, strict=True)) / spread if spread else 0.0
    rest = math.fsum((y - centre - slope * (x - middle)) ** 2 for x, y in zip(xs, ys, strict=True))
    return centre - slope * middle, slope, math.sqrt(rest / max(1, len(xs) - 2))


def vizier(key: str, sign: int) -> Rule:
    def rule(ended: Sequence[Curve]) -> Callable[[Curve, int], bool]:
        def stops(curve: Curve, epochs: int) -> bool:
            averages = [sign * fmean(other[key][:epochs]) for other in ended]
            return max(sign * value for value in curve[key][:epochs]) < median(averages)

        return stops

    return rule


def power(margin: float, first: int = 4) -> Rule:
    def rule(ended: Sequence[Curve]) -> Callable[[Curve, int], bool]:
        best = max(map(end, ended))

        def stops(curve: Curve, epochs: int) -> bool:
            if epochs < first:  # three parameters
                return False
            fits = []
            for exponent in (step / 10 for step in range(1, 31)):
                steps = [(epoch + 1) ** -exponent for epoch in range(epochs)]
                intercept, slope, deviation = line(steps, curve["values"][:epochs])
                fits.append((deviation, intercept + slope * len(curve["values"]) ** -exponent))
            return min(fits)[1] < best - margin

        return stops

    return rule


def last(margin: float, first: int = 4) -> Rule:
    return lambda ended: (
        lambda curve, epochs: epochs >= first and curve["values"][epochs - 1] < max(map(end, ended)) - margin
    )


def straight(key: str, deviations: float) -> Rule:
    def rule(ended: Sequence[Curve]) -> Callable[[Curve, int], bool]:
        ends = [end(other) for other in ended]

        def stops(curve: Curve, epochs: int) -> bool:
            intercept, slope, deviation = line([other[key][epochs - 1] for other in ended], ends)
            return intercept + slope * curve[key][epochs - 1] + deviations * deviation < max(ends)

        return stops

    return rule


def best_part(share: int, slack: float, key: str = "losses", sign: int = 1) -> Rule:
    """Stop what is worse than each of the best part, at the same epoch."""

    def rule(ended: Sequence[Curve]) -> Callable[[Curve, int], bool]:
        least = sorted(map(end, ended), reverse=True)[max(2, math.ceil(len(ended) / share)) - 1]
        good = [other for other in ended if end(other) >= least]

        def stops(curve: Curve, epochs: int) -> bool:
            return bool(sign * curve[key][epochs - 1] > slack * max(sign * other[key][epochs - 1] for other in good))

        return stops

    return rule


def shipped(ended: Sequence[Curve]) -> Callable[[Curve, int], bool]:
    """The rule of a search, by its own code."""
    archive = Archive(Task("digits", "recorded"))
    for number, other in enumerate(ended):
        cell = Architecture("nb201", other["cell"], str(number))
        at = Fidelity(len(other["losses"]))
        archive.add(Measured(cell, end(other), str(at), 0.0, 0, "train", at=at, curve=tuple(other["losses"])))
    bar = bar_of(archive)
    return lambda curve, epochs: bar.stops(curve["losses"][:epochs])


RULES: dict[str, Rule] = {
    "third of the best, losses": shipped,
    "plain third, losses": best_part(3, 1.0),
    "half, losses": best_part(2, 1.0),
    "third, slack 1.2, losses": best_part(3, 1.2),
    "third, accuracies": best_part(3, 1.0, "values", -1),
    "vizier, accuracies": vizier("values", 1),
    "vizier, losses": vizier("losses", -1),
    "power, accuracies": power(0.0),
    "power, accuracies, 5 points": power(5.0),
    "last, accuracies, 10 points": last(10.0),
    "last, accuracies, 20 points": last(20.0),
    "line, accuracies, 2 deviations": straight("values", 2.0),
    "line, losses, 1 deviation": straight("losses", 1.0),
    "line, losses, 2 deviations": straight("losses", 2.0),
}


# -- comparing -----------------------------------------------------------------------------------------


def orders(curves: Sequence[Curve], trainings: int, count: int, *, like_a_search: bool) -> Iterator[list[Curve]]:
    """Draw the trainings of searches; the seed is the number of the order."""
    for seed in range(count):
        rng = Random(seed)
        drawn = rng.sample(list(curves), trainings)
        if like_a_search:
            drawn[ENOUGH:] = sorted(drawn[ENOUGH:], key=lambda curve: -(end(curve) + rng.gauss(0.0, 4.0)))
        yield drawn


def play(order: Sequence[Curve], rule: Rule) -> tuple[float, float, float, float]:
    """Return the share of epochs saved, of trainings stopped, whether the best was stopped, and regret in points."""
    ended, epochs, saved, stopped = list[Curve](), len(order[0]["losses"]), 0, 0
    for curve in order:
        stops = rule(ended) if len(ended) >= ENOUGH else None
        spent = next((e for e in range(FIRST, epochs) if stops is not None and stops(curve, e)), epochs)
        saved, stopped = saved + epochs - spent, stopped + (spent < epochs)
        if spent == epochs:
            ended.append(curve)
    regret = max(map(end, order)) - max(map(end, ended))
    return saved / (epochs * len(order)), stopped / len(order), float(regret > 0.0), regret


def compare(curves: Sequence[Curve], trainings: int, count: int) -> None:
    """Print a row for each rule."""
    passes = sum(curve["passes"] for curve in curves) / sum(curve["seconds"] for curve in curves)
    print(
        f"{len(curves)} curves of {len(curves[0]['losses'])} epochs; ends from {min(map(end, curves)):.1f} to ", end=""
    )
    print(f"{max(map(end, curves)):.1f} %, median {median(map(end, curves)):.1f}; slack {SLACK:g}")
    print(f"a validation pass after each epoch costs {passes:.0%} of the training's CPU seconds")
    print("| rule | epochs saved | stopped | best stopped | regret | like a search: saved | best stopped | regret |")
    print("| --- |" + " --- |" * 7)
    for name, rule in RULES.items():
        cells = []
        for like_a_search in (False, True):
            played = [play(order, rule) for order in orders(curves, trainings, count, like_a_search=like_a_search)]
            saved, stopped, missed, regret = zip(*played, strict=True)
            tenths = quantiles(saved, n=10)
            cells.append(f"{fmean(saved):.0%} ({tenths[0]:.0%} to {tenths[-1]:.0%})")
            cells += [] if like_a_search else [f"{fmean(stopped):.0%}"]
            cells += [f"{fmean(missed):.1%}", f"{fmean(regret):.3f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, metavar="FILE", help="train cells and write their curves there")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="print how rules do on recorded curves")
    parser.add_argument("--cells", type=int, default=48)
    parser.add_argument("--epochs", type=int, help="of a training (default: 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the cells and of their weights")
    parser.add_argument("--trainings", type=int, default=16, help="of a search that is played")
    parser.add_argument("--orders", type=int, default=300)
    asked = parser.parse_args()
    if asked.record is None and asked.compare is None:
        parser.error("say --record FILE, or --compare FILE")
    if asked.record is not None:
        record(asked.record, asked.cells, asked.epochs, asked.seed)
    if asked.compare is not None:
        compare(json.loads(asked.compare.read_text()), asked.trainings, asked.orders)


if __name__ == "__main__":
    main()
