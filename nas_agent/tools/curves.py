"""Learning curves that stop a training: after each epoch its loss is compared with trainings that went to their end.

A curve is the mean training loss of each epoch. It costs no pass over images, it falls smoothly where validation
accuracy jumps under a high learning rate, and it orders networks at least as well (Ru et al., NeurIPS 2021). The
rule is ours, in the manner of the median rule (Golovin et al., KDD 2017): what has a higher loss after an epoch than
each of the best third of the trainings that ended, by a tenth, stops there. Losses of one epoch are compared with each
other and never extrapolated: with a one-cycle schedule most of the gain comes last, whoever makes it. Rules and values
on curves of cells: `benchmarks/curves.py`, docs/results/fidelity.md.

What a training is compared with is fixed when it is proposed, and logged: so neither the number of workers nor a crash
changes who is stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Json, Measured, Outcome
from nas_agent.tools.archive import Archive

if TYPE_CHECKING:
    from nas_agent.config import Config
    from nas_agent.tools.evaluators.base import Evaluator

FLAG = "--stop-curves"
FIRST = 2  # epochs after which a training may be stopped; the first one tells who is initialised well
ENOUGH = 6  # trainings that ended, before any is stopped
SHARE = 3  # one in so many of them is good
SLACK = 1.1  # what a loss may be above the worst of the good ones


@dataclass(frozen=True, slots=True)
class Bar:
    """What one training's curve is compared with, epoch by epoch; empty while too few trainings have ended."""

    limits: tuple[float, ...] = ()  # highest loss after each epoch that goes on
    lines: tuple[tuple[float, float], ...] = ()  # intercept and slope: the value at the end, by the loss of each epoch
    best: float = 0.0  # of the trainings that ended: what is stopped is not expected to be better

    def stops(self, curve: Sequence[float]) -> bool:
        """Tell whether a training ends after its last epoch so far; one with no higher loss than allowed never does."""
        return FIRST <= len(curve) <= len(self.limits) and curve[-1] > self.limits[len(curve) - 1]

    def expected(self, curve: Sequence[float], value: float) -> float:
        """Return what a training that was stopped would have reached: no less than it had, no more than the best."""
        intercept, slope = self.lines[len(curve) - 1]
        return min(max(intercept + slope * curve[-1], value), self.best)

    def to_dict(self) -> Json:
        """As plain JSON types; empty where nothing is compared yet."""
        if not self.limits:
            return {}
        return {"limits": list(self.limits), "lines": [list(line) for line in self.lines], "best": self.best}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Bar:
        """The inverse of `to_dict`."""
        if not data:
            return cls()
        limits = tuple(float(limit) for limit in data["limits"])
        lines = tuple((float(intercept), float(slope)) for intercept, slope in data["lines"])
        if len(limits) != len(lines):
            raise ValueError(f"expected a line for each of {len(limits)} limits, got {len(lines)}")
        return cls(limits, lines, float(data["best"]))


@runtime_checkable
class Stops(Protocol):
    """An evaluator that trains, and can stop a training by its learning curve."""

    def why_no_curves(self) -> str:
        """Say why the curves of its trainings can decide nothing; "" where they can."""
        ...

    def evaluate(self, architecture: Architecture, *, seed: int, bar: Bar | None = None) -> Outcome:
        """Train; with a bar, the outcome has the curve, and says what was expected where it was stopped."""
        ...


def check_curves(config: Config, evaluator: Evaluator) -> None:
    """See that curves can stop trainings in this search, where that is asked for; ConfigError says why not."""
    if not config.stop_curves:
        return
    for name, several in (("fidelities", config.fidelities), ("objectives", config.objectives)):
        if several:
            raise ConfigError(f"{FLAG} and {name} = {','.join(several)}: {_WHY_ALONE[name]}; leave out one of the two")
    if config.generator == "code":
        raise ConfigError(f"{FLAG} and generator = code: {_WHY_ALONE['generator']}; leave out one of the two")
    if not isinstance(evaluator, Stops):
        raise ConfigError(
            f"{FLAG}: the evaluator '{evaluator.name}' trains nothing that could be stopped; add --evaluator train, or "
            f"leave {FLAG} out"
        )
    why = evaluator.why_no_curves()
    if why:
        raise ConfigError(f"{FLAG}: {why}; leave {FLAG} out")


_WHY_ALONE = {
    "fidelities": "successive halving stops what is poor already, at each rung",
    "objectives": "a curve tells the accuracy alone, and would stop the cheap end of the front",
    "generator": "each niche keeps its own best, however poor beside the best of all",
}


def bar_of(archive: Archive) -> Bar:
    """Return what a training that is proposed now is compared with: what has ended, by its value and its losses."""
    ended = [one for one in archive.measured if one.curve]
    if len(ended) < ENOUGH:
        return Bar()
    score = archive.task.score
    least = sorted((score(one.value) for one in ended), reverse=True)[max(2, math.ceil(len(ended) / SHARE)) - 1]
    good = [one for one in ended if score(one.value) >= least]  # all of those that tie
    epochs = range(len(ended[0].curve) - 1)
    limits = tuple(SLACK * max(one.curve[epoch] for one in good) for epoch in epochs)
    best = max(ended, key=lambda one: score(one.value)).value
    return Bar(limits, tuple(_line(ended, epoch) for epoch in epochs), best)


def _line(ended: Sequence[Measured], epoch: int) -> tuple[float, float]:
    """Fit values to losses by least squares; more loss is never worth more."""
    losses, values = [one.curve[epoch] for one in ended], [one.value for one in ended]
    middle, centre = math.fsum(losses) / len(losses), math.fsum(values) / len(values)
    spread = math.fsum((loss - middle) ** 2 for loss in losses)
    both = math.fsum((loss - middle) * (value - centre) for loss, value in zip(losses, values, strict=True))
    slope = min(both / spread, 0.0) if spread > 0.0 else 0.0
    return centre - slope * middle, slope


def saved(archive: Archive) -> Json:
    """Count the trainings that were stopped, and epochs: those of all trainings as planned, and those saved."""
    planned = sum(one.at.epochs for one in (*archive.measured, *archive.stopped) if one.curve and one.at is not None)
    epochs = [one.at.epochs - len(one.curve) for one in archive.stopped if one.at is not None]
    return {"trainings": len(archive.stopped), "epochs_saved": sum(epochs), "epochs_planned": planned}
