"""Controls without a language model: how often each word or character sequence occurs in a text.

Terms are hashed to places (Weinberger et al., 2009), so that nothing is fitted and a text's vector depends on the text
alone. Rarity (inverse document frequency) is for the head to learn, from its training sample.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from nas_agent.tools.embeddings.base import Vectors

PLACES = 4096
WORDS = (1, 2)  # lengths, in words, of the terms of `tfidf`
CHARACTERS = (3, 5)  # lengths of the terms of `char-ngrams`, blanks counted once
_WORD = re.compile(r"\w+|[^\w\s]")


class TermCounts:
    """Counts words and pairs of words, or sequences of 3 to 5 characters."""

    counts = True
    dimension = PLACES
    truncated: frozenset[str] = frozenset()

    def __init__(self, kind: str) -> None:
        self.name = f"{kind}/{'-'.join(map(str, WORDS if kind == 'tfidf' else CHARACTERS))}/{PLACES}"
        self._words = kind == "tfidf"

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, places): how often each term occurs; terms that share a place are added up."""
        vectors = np.zeros((len(texts), PLACES), np.float32)
        place: dict[str, int] = {}
        for row, text in enumerate(texts):
            for term, number in Counter(self._terms(text)).items():
                if term not in place:
                    place[term] = zlib.crc32(term.encode("utf-8", "surrogatepass")) % PLACES
                vectors[row, place[term]] += number
        return vectors

    def _terms(self, text: str) -> Iterator[str]:
        if self._words:
            words = _WORD.findall(text)
            for length in range(WORDS[0], WORDS[1] + 1):
                yield from (" ".join(words[at : at + length]) for at in range(len(words) - length + 1))
        else:
            text = " ".join(text.split())
            for length in range(CHARACTERS[0], CHARACTERS[1] + 1):
                yield from (text[at : at + length] for at in range(len(text) - length + 1))
