"""A trained generator: a codec between architectures and codes, and the language model of these codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

from nas_agent.agents.generators.arch_llm.language import SequenceModel
from nas_agent.agents.generators.arch_llm.sequences import Indices, OwnTokens, Sequencer
from nas_agent.errors import ConfigError, ModelError
from nas_agent.records import Architecture
from nas_agent.spaces import Space, load_space

LANGUAGE, QUANTISER = "language", "quantiser"  # folders of a generator
DRAWS = 50  # a wanted architecture: those that are drawn at most where classes cannot be listed


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """A sample: sequences and what they mean, None where that is no architecture."""

    sequences: Indices
    architectures: list[Architecture | None]


@dataclass(frozen=True, slots=True, eq=False)
class ArchLLM:
    """Draws architectures of one space; `trained` are those that it learned from."""

    sequencer: Sequencer
    language: SequenceModel

    def __post_init__(self) -> None:
        ours, theirs = (self.sequencer.codes, self.sequencer.length), (self.language.codes, self.language.length)
        if ours != theirs:
            raise ModelError(
                f"codec and language model do not fit: {ours[0]} codes in sequences of {ours[1]} against "
                f"{theirs[0]} in {theirs[1]}; train the generator again"
            )

    def sample(
        self, n: int, *, temperature: float = 1.0, top_p: float = 1.0, seed: int, fill: Indices | None = None
    ) -> Draws:
        """Draw; see `SequenceModel.sample`."""
        drawn = self.language.sample(n, temperature=temperature, top_p=top_p, seed=seed, fill=fill)
        return Draws(drawn, self.sequencer.decode(drawn))

    def training_ids(self) -> frozenset[str]:
        """Return the canonical ids of what it learned from, drawn again by seed."""
        about = self.language.about
        drawn = training_set(load_space(self.sequencer.space), int(about["architectures"]), int(about["draw_seed"]))
        return frozenset(one.id for one in drawn)


def training_set(space: Space, count: int, seed: int) -> list[Architecture]:
    """Draw distinct canonical architectures: uniformly over classes where they can be listed, else by the space's draw.

    ConfigError where there are fewer.
    """
    rng = Random(seed)
    listed = space.enumerate()
    if listed is not None:
        if count > len(listed):
            raise ConfigError(f"expected at most the {len(listed):,} architectures of {space.name}, got {count:,}")
        return rng.sample(list(listed), count)
    found: dict[str, Architecture] = {}
    for _ in range(DRAWS * count):
        if len(found) == count:
            break
        one = space.sample(rng)
        found.setdefault(one.id, one)
    if len(found) < count:
        raise ConfigError(f"{space.name}: {DRAWS * count:,} draws gave {len(found):,} architectures, asked {count:,}")
    return list(found.values())


def load(folder: Path, space: str) -> ArchLLM:
    """Read a trained generator; ModelError in one line where it is not there, broken, or of another space."""
    language = SequenceModel.load(folder / LANGUAGE)
    theirs = language.about.get("space")
    if theirs != space:
        raise ModelError(f"{folder}: expected a generator for {space}, got one for {theirs}; name another --model")
    return ArchLLM(sequencer_of(folder, space), language)


def sequencer_of(folder: Path, space: str) -> Sequencer:
    """Return the quantiser in the folder, or the space's own tokens where there is none."""
    return OwnTokens(space)
