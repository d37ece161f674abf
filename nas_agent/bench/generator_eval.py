"""What a generator draws, by temperature and seed: validity, uniqueness, novelty, and which codes stand where.

The metrics and figures of Arch-LLM (arXiv 2503.22063), on canonical graphs. The spread over seeds is that of sampling
where there is one generator, and that of training where there are several of a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from nas_agent.agents.generators.arch_llm.generator import ArchLLM
from nas_agent.agents.generators.arch_llm.metrics import METRICS, Metrics, ceiling, measure
from nas_agent.agents.generators.arch_llm.sequences import Indices
from nas_agent.errors import ConfigError
from nas_agent.records import Json
from nas_agent.spaces import Floats, Space

LEVEL = 0.95
MOST_TEMPERATURES = 100
CLASSES = {"nb201": 6_466, "nb101": 423_624}  # where uniform draws from all classes are a ceiling that is known
HEAT_AT = 1.0  # the temperature whose codes the heat map shows, or the nearest
Told = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Sampled:
    """One generator at its temperatures; the grammar has none, and stands under NaN."""

    metrics: Mapping[float, Sequence[Metrics]]  # temperature -> one for each sample
    together: int = 1  # so many samples after each other are of one generator, and count by their mean

    def best(self, metric: str) -> float:
        """Return the temperature with the highest mean of a metric; the lowest of several."""
        return max(sorted(self.metrics), key=lambda at: (float(np.mean(self.values(at, metric))), -at))

    def values(self, temperature: float, metric: str) -> list[float]:
        """Return the metric of each sample, or of each generator where there are several; of nothing, it is 0."""
        samples = np.nan_to_num([getattr(one, metric) for one in self.metrics[temperature]])
        return [float(value) for value in samples.reshape(-1, self.together).mean(axis=1)]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A generator and what it is compared with."""

    space: str
    drawn: int
    seeds: int  # samples of each generator
    generators: int  # of this kind, with different seeds
    trained: int
    own: Sampled
    others: Mapping[str, Sampled]
    heat: Indices  # (length, codes): how often each code stood at each position
    heat_at: float


def evaluate(
    generator: ArchLLM,
    space: Space,
    *,
    drawn: int,
    temperatures: Sequence[float],
    seeds: int,
    others: Mapping[str, ArchLLM | None],
    told: Told,
    more: Sequence[ArchLLM] = (),
) -> Evaluation:
    """Sample the generator and the others at all temperatures; None stands for the space's own draws.

    `more` are generators of the same kind that were trained with other seeds: one column with the generator.
    """
    trained = generator.training_ids()
    shown = min(temperatures, key=lambda at: (abs(at - HEAT_AT), at))
    heat = np.zeros((generator.language.length, generator.language.codes), dtype=np.int64)
    places = np.arange(len(heat))
    total = seeds * (
        len(temperatures) * (1 + len(more) + sum(one is not None for one in others.values()))
        + (None in others.values())
    )
    done = 0

    def sampled(name: str, one: ArchLLM) -> dict[float, list[Metrics]]:
        nonlocal done
        found: dict[float, list[Metrics]] = {}
        known = trained if one is generator else one.training_ids()
        for temperature in temperatures:
            for seed in range(seeds):
                draws = one.sample(drawn, temperature=temperature, seed=seed)
                found.setdefault(temperature, []).append(measure(draws.architectures, known))
                if one is generator and temperature == shown:
                    for row in draws.sequences:
                        heat[places, row] += 1
                done += 1
                told(done, total, f"{name} at temperature {temperature:g}")
        return found

    of_all = [sampled(generator.kind, one) for one in (generator, *more)]
    own = Sampled({t: [each for of in of_all for each in of[t]] for t in temperatures}, seeds if more else 1)
    beside: dict[str, Sampled] = {}
    for name, other in others.items():
        if other is not None:
            beside[name] = Sampled(sampled(name, other))
            continue
        of_grammar = []
        for seed in range(seeds):
            rng = Random(seed)
            of_grammar.append(measure([space.sample(rng) for _ in range(drawn)], trained))
            done += 1
            told(done, total, name)
        beside[name] = Sampled({1.0: of_grammar})
    return Evaluation(space.name, drawn, seeds, 1 + len(more), len(trained), own, beside, heat, shown)


def document(found: Evaluation, *, name: str, command: str) -> Json:
    """Return everything as plain JSON types; metrics are shares."""
    classes = CLASSES.get(found.space)
    limits = None if classes is None else ceiling(classes, found.trained, found.drawn)
    shares = found.heat / found.heat.sum(axis=1, keepdims=True)
    return {
        "command": command, "space": found.space, "generator": name, "drawn": found.drawn, "seeds": found.seeds,
        "generators": found.generators, "trained": found.trained, "classes": classes, "level": LEVEL,
        "ceiling": None if limits is None else {"absolute_uniqueness": limits[0], "absolute_novelty": limits[1]},
        "methods": {label: _sampled(one) for label, one in {name: found.own, **found.others}.items()},
        "differences": [_difference(found.own, label, one) for label, one in found.others.items()],
        "codes": {
            "temperature": found.heat_at, "codes": int(found.heat.shape[1]), "shares": shares.round(6).tolist(),
            "used": int((found.heat.sum(axis=0) > 0).sum()), "perplexity": _perplexity(found.heat.sum(axis=0)),
        },
    }  # fmt: skip


def temperatures_of(text: str) -> list[float]:
    """Read `0.3..2.0` (in steps of 0.1), `0.3..2.0:0.35`, or `0.5,1.0`; ConfigError for anything else."""
    problem = f"--temperatures {text[:60]!r}: expected FROM..TO, FROM..TO:STEP or numbers above 0 with commas"
    try:
        if ".." not in text:
            found = [float(word) for word in text.split(",")]
        else:
            ends, _, step = text.partition(":")
            low, high = (float(word) for word in ends.split(".."))
            width = float(step) if step else 0.1
            count = round((high - low) / width, 6) if width > 0 else -1.0
            if not 0 <= count < MOST_TEMPERATURES:
                raise ConfigError(f"{problem}, {MOST_TEMPERATURES} of them at most")
            found = [round(low + place * width, 6) for place in range(int(count) + 1)]
    except (ValueError, OverflowError) as error:
        raise ConfigError(problem) from error
    if not all(0.0 < one < float("inf") for one in found):
        raise ConfigError(problem)
    return sorted(set(found))


def _sampled(one: Sampled) -> Json:
    def at(temperature: float, metric: str) -> Json:
        values = np.array(one.values(temperature, metric))
        return {
            "mean": float(values.mean()), "values": values.tolist(),
            "deviation": float(values.std(ddof=1)) if len(values) > 1 else None,
        }  # fmt: skip

    return {
        "temperatures": [{"temperature": t, **{m: at(t, m) for m in METRICS}} for t in sorted(one.metrics)],
        "best": {metric: one.best(metric) for metric in METRICS},
    }


def _difference(own: Sampled, label: str, other: Sampled) -> Json:
    """Return the difference in valid-and-unique, each at its best temperature, with Welch's interval over seeds."""
    sides = [np.array(one.values(one.best("absolute_uniqueness"), "absolute_uniqueness")) for one in (own, other)]
    mean = float(sides[0].mean() - sides[1].mean())
    low, high = _welch(sides[0], sides[1])
    return {"against": label, "metric": "absolute_uniqueness", "mean": mean, "low": low, "high": high}


def _welch(first: Floats, second: Floats) -> tuple[float | None, float | None]:
    from scipy.stats import t

    if min(len(first), len(second)) < 2:
        return None, None
    parts = [side.var(ddof=1) / len(side) for side in (first, second)]
    mean, squared = float(first.mean() - second.mean()), float(sum(parts))
    if squared == 0.0:
        return mean, mean
    freedom = squared**2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, (first, second), strict=True))
    half = float(t.ppf((1 + LEVEL) / 2, freedom)) * squared**0.5
    return mean - half, mean + half


def _perplexity(counts: Indices) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
