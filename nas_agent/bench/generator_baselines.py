"""What a learned codebook buys: generators with and without one, and the space's own sampler, counted in one way.

The temperature of each is chosen on other draws than those that are counted. Where a method was trained with several
seeds, values and intervals are over trainings; otherwise over samples of one training, which says less.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

import numpy as np

from nas_agent.agents.generators.arch_llm.metrics import METRICS, Metrics, ceiling, measure
from nas_agent.bench.generator_eval import CLASSES, LEVEL, Sampled, difference
from nas_agent.bench.generator_report import TITLES, interval, share
from nas_agent.bench.report import Sheet
from nas_agent.records import Architecture, Json

# Points of valid and unique draws that Arch-LLM (arXiv 2503.22063, its abstract) is ahead of Gaussian auto-encoders.
CLAIM = {"nb101": 80.0, "nb201": 8.0}
AGAINST = "vae"  # what the claim is about
CHOOSING = 1_000_000  # the seed of the draws that temperatures are chosen on
CHOSEN = ("absolute_uniqueness", "absolute_novelty")
Draw = Callable[[int, float, int], Sequence[Architecture | None]]  # count, temperature, seed
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trained:
    """One training of a method."""

    draw: Draw
    known: Container[str]  # canonical ids that it learned from
    weights: int | None = None
    seconds: float | None = None  # of the processor, in training


@dataclass(frozen=True, slots=True)
class Method:
    """One way to draw architectures."""

    name: str
    trainings: Sequence[Trained]
    temperatures: Sequence[float]  # to choose from; one is no choice


def compare(
    methods: Sequence[Method], *, space: str, trained: int, drawn: int, samples: int, command: str, told: Told
) -> Json:
    """Count `samples` times `drawn` draws of each training at the best temperatures; plain JSON, shares.

    Differences are those of the first method from the others, in valid and unique draws.
    """
    classes = CLASSES.get(space)
    rows: dict[str, Json] = {}
    counted: dict[str, Sampled] = {}
    for method in methods:
        best = dict(zip(CHOSEN, _choose(method, drawn), strict=True))
        found = {at: _count(method, at, drawn, samples, told) for at in sorted(set(best.values()))}
        counted[method.name] = Sampled({best[CHOSEN[0]]: found[best[CHOSEN[0]]]}, _together(method, samples))
        rows[method.name] = _row(method, best, found, samples)
    first, *others = methods
    limits = None if classes is None else ceiling(classes, trained, drawn)
    return {
        "command": command, "space": space, "drawn": drawn, "samples": samples, "trained": trained, "classes": classes,
        "level": LEVEL, "methods": rows, "claim": CLAIM.get(space),
        "ceiling": None if limits is None else dict(zip(CHOSEN, limits, strict=True)),
        "differences": [difference(counted[first.name], other.name, counted[other.name]) for other in others],
    }  # fmt: skip


def sheets(doc: Json) -> list[Sheet]:
    """Lay out a row a method, then the differences beside the paper's claim."""
    limits, reference = doc["ceiling"], next(iter(doc["methods"]))
    rows = [_written(name, row) for name, row in doc["methods"].items()]
    if limits is not None:
        rows.append(("uniform over classes", *["-"] * 7, *(f"{100 * limits[metric]:.1f}" for metric in CHOSEN), "-"))
    best = "best abs. novel (at)"
    header = ("", "trainings", "weights", "CPU s", "temperature", *TITLES.values(), best)
    title = f"{doc['space']}, {doc['drawn']:,} draws, trained on {doc['trained']:,} [%]"
    of_claim = [
        f"{doc['claim']:+g}" if row["against"] == AGAINST and doc["claim"] else "-" for row in doc["differences"]
    ]
    compared = tuple(
        (row["against"], f"{100 * row['mean']:+.2f}", interval(row), _over(doc, reference, row["against"]), claim)
        for row, claim in zip(doc["differences"], of_claim, strict=True)
    )
    between = ("", "difference", f"{100 * doc['level']:g} % interval", "over", "the paper's claim")
    return [
        Sheet(title, header, tuple(rows)),
        Sheet(f"{reference}, valid and unique, minus [points]", between, compared),
    ]


def _choose(method: Method, drawn: int) -> tuple[float, float]:
    """Return the temperatures of the most distinct, and of the most novel valid draws."""
    if len(method.temperatures) == 1:
        return method.temperatures[0], method.temperatures[0]
    one = method.trainings[0]  # as many draws as count: of fewer, more are distinct, and the choice would be another
    tried = Sampled({at: [measure(one.draw(drawn, at, CHOOSING), one.known)] for at in method.temperatures})
    return tried.best(CHOSEN[0]), tried.best(CHOSEN[1])


def _count(method: Method, temperature: float, drawn: int, samples: int, told: Told) -> list[Metrics]:
    found: list[Metrics] = []
    for one in method.trainings:
        found += [measure(one.draw(drawn, temperature, sample), one.known) for sample in range(samples)]
        told(f"{method.name} at {temperature:g}: {found[-1]}")
    return found


def _together(method: Method, samples: int) -> int:
    """Return how many samples count as one value, by their mean: those of one training where there are several."""
    return samples if len(method.trainings) > 1 else 1


def _row(method: Method, best: dict[str, float], found: dict[float, list[Metrics]], samples: int) -> Json:
    unique, novel = (best[metric] for metric in CHOSEN)
    of_all = Sampled(found, _together(method, samples))
    times = [one.seconds for one in method.trainings if one.seconds is not None]
    return {
        "trainings": len(method.trainings), "weights": method.trainings[0].weights,
        "seconds": float(np.mean(times)) if times else None, "choice": len(method.temperatures) > 1,
        "temperature": unique, "metrics": {metric: _spread(of_all.values(unique, metric)) for metric in METRICS},
        "novel_temperature": novel, "novel": _spread(of_all.values(novel, CHOSEN[1])),
    }  # fmt: skip


def _spread(values: Sequence[float]) -> Json:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "values": list(values), "deviation": deviation}


def _written(name: str, row: Json) -> tuple[str, ...]:
    weights = "-" if row["weights"] is None else f"{row['weights']:,}"
    seconds = "-" if row["seconds"] is None else f"{row['seconds']:.0f}"
    trainings = str(row["trainings"]) if row["weights"] is not None else "-"
    metrics = [share(row["metrics"][metric]) for metric in METRICS]
    at, novel_at = (f"{row[key]:g}" for key in ("temperature", "novel_temperature"))
    novel = share(row["novel"]) + (f" ({novel_at})" if row["choice"] else "")
    return name, trainings, weights, seconds, at if row["choice"] else "-", *metrics, novel


def _over(doc: Json, first: str, second: str) -> str:
    """Say what the interval's values are, on either side."""
    sides = ["trainings" if doc["methods"][name]["trainings"] > 1 else "samples" for name in (first, second)]
    return sides[0] if sides[0] == sides[1] else f"{sides[0]} / {sides[1]}"
