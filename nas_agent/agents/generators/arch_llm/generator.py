"""A trained generator: a codec between architectures and codes, and the language model of these codes.

quantiser/  the codec; not there where the codes are the space's own decisions
language/   the model
README.md   the model card, for people

models/     one such folder for each space, which comes with the package (scripts/train_generators.py makes them)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas_agent.agents.generators.arch_llm.language import SequenceModel
from nas_agent.agents.generators.arch_llm.model_card import model_card
from nas_agent.agents.generators.arch_llm.sequences import Bools, Indices, OwnTokens, Sequencer, VertexTokens
from nas_agent.agents.generators.arch_llm.training import LanguageSettings, train_language
from nas_agent.agents.generators.arch_llm.training_set import training_set
from nas_agent.errors import ConfigError, DataError, StorageError
from nas_agent.hub import line
from nas_agent.records import Architecture

LANGUAGE, QUANTISER, CARD = "language", "quantiser", "README.md"
SHIPPED = Path(__file__).with_name("models")
Kind = Literal["vq", "tokens", "vertices"]
BY_HAND: dict[Kind, Callable[[str], Sequencer]] = {"tokens": OwnTokens, "vertices": VertexTokens}
Told = Callable[[str, int, int, float], None]  # what is trained, steps done, in all, nats lost
SETTINGS = {
    "nb201": LanguageSettings(width=64, layers=2, epochs=60, batch=128),
    "nb101": LanguageSettings(dropout=0.0, epochs=6, batch=128),
    "darts": LanguageSettings(width=64, layers=2, dropout=0.0, epochs=4, batch=128),
}


@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """A sample: sequences and what they mean, None where that is no architecture."""

    sequences: Indices
    architectures: list[Architecture | None]


@dataclass(frozen=True, slots=True, eq=False)
class ArchLLM:
    """Draws architectures of one space."""

    sequencer: Sequencer
    language: SequenceModel

    def __post_init__(self) -> None:
        ours, theirs = (self.sequencer.codes, self.sequencer.length), (self.language.codes, self.language.length)
        if ours != theirs:
            raise DataError(
                f"codec and language model do not fit: {ours[0]} codes in sequences of {ours[1]} against {theirs[0]} "
                f"in {theirs[1]}; train the generator anew"
            )

    @property
    def kind(self) -> Kind:
        """What the codes are: a learned codebook's, the space's own decisions, or what a vertex does and reads."""
        return next((kind for kind, made in BY_HAND.items() if self.sequencer.__class__ is made), "vq")

    def sample(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int,
        fill: Indices | None = None,
        allowed: Bools | None = None,
    ) -> Draws:
        """Draw; see `SequenceModel.sample`."""
        drawn = self.language.sample(n, temperature=temperature, top_p=top_p, seed=seed, fill=fill, allowed=allowed)
        return Draws(drawn, self.sequencer.decode(drawn))

    @property
    def fingerprint(self) -> str:
        """Ten hexadecimal digits that are equal for equal weights of the language model."""
        found = hashlib.sha256()
        for name, weights in self.language.model.state_dict().items():
            found.update(name.encode() + weights.cpu().numpy().tobytes())
        return found.hexdigest()[:10]

    def training_ids(self) -> frozenset[str]:
        """Return the canonical ids of what it learned from, drawn again by seed."""
        about = self.language.about
        drawn = trained_on(self.sequencer.space, int(about["architectures"]), int(about["draw_seed"]))
        return frozenset(one.id for one in drawn)


def trained_on(space: str, count: int | None, seed: int) -> list[Architecture]:
    """Return the training set of the space, or its first `count`; ConfigError where it has not so many."""
    found = training_set(space, seed).train
    if count is not None and count > len(found):
        raise ConfigError(f"expected at most {len(found):,} architectures of {space} to learn from, got {count:,}")
    return found[:count]


def train(
    space: str, folder: Path, *, kind: Kind, count: int | None = None, settings: LanguageSettings, seed: int, told: Told
) -> ArchLLM:
    """Train a generator into the folder, or go on where a killed training stopped; then write the model card."""
    drawn = trained_on(space, count, seed)
    sequencer = _quantiser(space, drawn, folder / QUANTISER, seed, told) if kind == "vq" else BY_HAND[kind](space)
    about = {"space": space, "kind": kind, "architectures": len(drawn), "draw_seed": seed}
    language = train_language(
        sequencer.encode(drawn), codes=sequencer.codes, settings=settings, seed=seed, folder=folder / LANGUAGE,
        about=about, progress=lambda done, total, loss: told("language model", done, total, loss),
    )  # fmt: skip
    made = ArchLLM(sequencer, language)
    write_card(made, folder, {})
    return made


def write_card(made: ArchLLM, folder: Path, measured: Mapping[str, str]) -> None:
    """Write the model card, with what its draws were like; StorageError where the disk is full."""
    quantiser = getattr(made.sequencer, "about", None)
    try:
        (folder / CARD).write_text(model_card(made.language, quantiser, measured), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder / CARD}: cannot be written ({line(error)}); choose another folder") from error


def shipped(space: str) -> Path:
    """Return the folder of the generator that comes with the package; ConfigError where the space has none."""
    check_space(space)
    return SHIPPED / space


def check_space(space: str) -> None:
    """Raise ConfigError for a space without a codec."""
    if space not in SETTINGS:
        raise ConfigError(f"--space {space}: expected one of {', '.join(SETTINGS)}; others have no codec")


def load(folder: Path, space: str) -> ArchLLM:
    """Read a trained generator; DataError in one line where it is not there, broken, or of another space."""
    language = SequenceModel.load(folder / LANGUAGE)
    theirs, kind = language.about.get("space"), language.about.get("kind")
    if theirs != space:
        raise DataError(f"{folder}: expected a generator of space '{space}', got one of '{theirs}'; name another")
    if kind in BY_HAND:
        return ArchLLM(BY_HAND[kind](space), language)
    if kind != "vq":
        kinds = " or ".join(["vq", *BY_HAND])
        raise DataError(f"{folder}: expected codes of kind {kinds}, got {kind!r}; train the generator anew")
    from nas_agent.agents.generators.arch_llm.quantiser import Quantiser

    return ArchLLM(Quantiser.load(folder / QUANTISER, space=space), language)


def _quantiser(space: str, drawn: list[Architecture], folder: Path, seed: int, told: Told) -> Sequencer:
    from nas_agent.agents.generators.arch_llm.quantiser import train_quantiser

    parts = training_set(space, seed)
    return train_quantiser(
        space, [*drawn, *parts.codebook], seed=seed, held_out=parts.held_out, folder=folder,
        progress=lambda done, total, loss: told("quantiser", done, total, loss),
    )  # fmt: skip
