"""What the shipped generators are trained on: a part of each space, so that there is something new to find."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from nas_agent.agents.generators.arch_llm.cells import codec_of
from nas_agent.records import Architecture
from nas_agent.spaces import CategoricalSpace
from nas_agent.spaces.nasbench101 import NasBench101
from nas_agent.spaces.nasbench101_enumeration import draw_cells

HALF_OF_201 = 3_233  # of 6,466 classes
TENTH_OF_101 = 42_362  # of 423,624 classes
DARTS_DRAWS = 50_000
HELD_OUT = 20_000  # where a space has so many more
UNSAMPLED = 10_000  # of all that can be spelled, where the space samples only a part of it


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Canonical architectures, each class once and on one side only."""

    train: list[Architecture]
    held_out: list[Architecture]
    # For the codebook alone: of DARTS, cells with `none` or one input twice, which the space's sampler never draws.
    codebook: tuple[Architecture, ...] = ()


@lru_cache(maxsize=1)  # a training and its card ask several times
def training_set(space: str, seed: int) -> TrainingSet:
    """Draw it: classes uniformly where they can be listed, else as the space samples."""
    found, rng = codec_of(space).space, Random(f"training set of {space}, {seed}")
    if isinstance(found, NasBench101):
        return _split(draw_cells(found, TENTH_OF_101 + HELD_OUT, rng), TENTH_OF_101)
    listed = found.enumerate()
    if listed is not None:
        return _split(rng.sample(listed, len(listed)), HALF_OF_201)
    drawn: dict[str, Architecture] = {}
    while len(drawn) < DARTS_DRAWS + HELD_OUT:
        architecture = found.sample(rng)
        drawn[architecture.id] = architecture
    parts = _split(list(drawn.values()), DARTS_DRAWS)
    return replace(parts, codebook=tuple(spelled(found, UNSAMPLED, rng)))


def spelled(space: CategoricalSpace, count: int, rng: Random) -> list[Architecture]:
    """Draw each decision uniformly, whatever the space's own sampler does; canonical."""
    return [CategoricalSpace.sample(space, rng) for _ in range(count)]


def _split(architectures: list[Architecture], count: int) -> TrainingSet:
    return TrainingSet(architectures[:count], architectures[count:])
