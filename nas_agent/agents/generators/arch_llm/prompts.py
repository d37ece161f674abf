"""`generate` and `fill:` as tokens: what the model reads, and where the codes stand in its vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_agent.agents.generators.arch_llm.sequences import Indices
from nas_agent.errors import ConfigError
from nas_agent.records import Json

OPEN = -1  # in a partial sequence: a code to be found
BLANK = "_"  # the same in a text


@dataclass(frozen=True, slots=True)
class Prompts:
    """Token ids. Codes are tokens of their own, in a row from `first`; the sign for an open place comes after them."""

    generate: tuple[int, ...]  # the whole prompt that asks for any sequence
    fill: tuple[int, ...]  # what stands before a partial sequence
    answer: tuple[int, ...]  # what stands after it
    first: int  # the token of code 0
    codes: int

    @property
    def size(self) -> int:
        """The least number of tokens that the vocabulary must have."""
        return self.first + self.codes + 1

    def unconditional(self, count: int) -> Indices:
        """Return `count` times the prompt `generate`."""
        return np.tile(np.array([self.generate], dtype=np.int64), (count, 1))

    def partial(self, known: Indices) -> Indices:
        """Return the prompt `fill:` of each partial sequence, in which OPEN stands for what is asked."""
        tokens = np.where(known == OPEN, self.first + self.codes, known + self.first)
        before, after = (np.tile(np.array([ids], dtype=np.int64), (len(known), 1)) for ids in (self.fill, self.answer))
        return np.concatenate([before, tokens, after], axis=1)

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "generate": list(self.generate), "fill": list(self.fill), "answer": list(self.answer),
            "first": self.first, "codes": self.codes,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Json) -> Prompts:
        """The inverse of `to_dict`."""
        lists = {key: tuple(int(token) for token in data[key]) for key in ("generate", "fill", "answer")}
        return cls(**lists, first=int(data["first"]), codes=int(data["codes"]))


def own_prompts(codes: int) -> Prompts:
    """Return the prompts of a model whose vocabulary is ours alone: one token each."""
    return Prompts(generate=(0,), fill=(1,), answer=(2,), first=3, codes=codes)


def read_partial(text: str, *, codes: int, length: int) -> Indices:
    """Read `3 _ 17 _`, with or without `fill:` before it; ConfigError where it is no sequence of this codebook."""
    words = text.strip().removeprefix("fill:").replace(",", " ").split()
    shown = f"--fill {text[:80]!r}"
    if len(words) != length:
        raise ConfigError(f"{shown}: expected {length} codes or {BLANK}, got {len(words)}")
    found: list[int] = []
    for word in words:
        # Not int(): it takes signs, underscores and digits of other scripts.
        plain = word.isascii() and word.isdigit() and len(word) <= 9
        if word != BLANK and not (plain and int(word) < codes):
            raise ConfigError(f"{shown}: expected codes from 0 to {codes - 1} or {BLANK}, got {word[:20]!r}")
        found.append(OPEN if word == BLANK else int(word))
    return np.array(found, dtype=np.int64)


def check_partial(known: Indices, *, codes: int, length: int, count: int) -> Indices:
    """Return one partial sequence a draw; ConfigError where shape or codes are wrong."""
    if known.shape not in {(length,), (count, length)}:
        raise ConfigError(f"fill: expected one sequence of {length} codes or {count} of them, got shape {known.shape}")
    if known.size and (known.min() < OPEN or known.max() >= codes):
        raise ConfigError(
            f"fill: expected codes from 0 to {codes - 1}, or {OPEN} where one is asked, got {known.min()} to "
            f"{known.max()}"
        )
    return np.broadcast_to(known, (count, length))


def written(sequence: Sequence[int]) -> str:
    """Write a sequence as `read_partial` reads it."""
    return " ".join(BLANK if code == OPEN else str(code) for code in sequence)
