"""`openai:MODEL`: embeddings from OpenAI, or from the compatible server that OPENAI_BASE_URL names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nas_agent.errors import ConfigError, MissingExtra, ModelError
from nas_agent.hub import line
from nas_agent.tools.embeddings.base import EmbeddingOptions, Vectors, check_finite

BATCH = 128  # texts in a request; the service takes 2,048 texts and 300,000 tokens
TIMEOUT = 60.0  # seconds for one request
RETRIES = 3
DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}


class RemoteEmbedder:
    """Asks a service; ModelError where it cannot be reached or refuses. A text too long for it is refused, not cut."""

    counts = False
    truncated: frozenset[str] = frozenset()

    def __init__(self, spec: str, options: EmbeddingOptions) -> None:
        self._spec, self._model = spec, spec.removeprefix("openai:")
        if not self._model:
            raise ConfigError(f"--embedder {spec}: expected openai:MODEL, e.g. openai:text-embedding-3-small")
        if options.offline:
            raise ConfigError(f"--embedder {spec} is a service; it cannot be used with --offline")
        if options.pooling != "auto" or options.dtype != "auto" or options.max_tokens is not None:
            raise ConfigError(f"--embedder {spec}: pooling, dtype and max_tokens are the service's; leave them out")
        if not os.environ.get("OPENAI_API_KEY"):
            raise ModelError(f"--embedder {spec} needs a key: set OPENAI_API_KEY, or use --embedder all-minilm")
        self._batch = options.batch or BATCH
        self._server = os.environ.get("OPENAI_BASE_URL", "")

    @property
    def name(self) -> str:
        """The model, and the server where it is not OpenAI's."""
        return f"{self._spec}@{self._server}" if self._server else self._spec

    @cached_property
    def dimension(self) -> int:
        """Numbers in a vector; where the model is unknown, the service is asked for one."""
        return DIMENSIONS.get(self._model) or len(self._ask(["dimension"])[0])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return (texts, dimension), in requests of `batch` texts."""
        rows = [row for at in range(0, len(texts), self._batch) for row in self._ask(texts[at : at + self._batch])]
        try:
            vectors = np.array(rows, np.float32).reshape(len(texts), -1 if rows else self.dimension)
        except ValueError as error:
            raise ModelError(f"{self._spec} sent vectors of different lengths") from error
        check_finite(vectors, texts, self._spec)
        return vectors

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ImportError as error:
            raise MissingExtra("openai", "openai", f"--embedder {self._spec}") from error
        return openai.OpenAI(timeout=TIMEOUT, max_retries=RETRIES)

    def _ask(self, texts: Sequence[str]) -> list[list[float]]:
        client = self._client
        import openai

        try:
            reply = client.embeddings.create(model=self._model, input=list(texts), encoding_format="float")
            rows = {item.index: item.embedding for item in reply.data}
        except openai.APITimeoutError as error:
            raise ModelError(f"{self._spec} did not answer within {TIMEOUT:.0f} s") from error
        except openai.OpenAIError as error:
            raise ModelError(f"{self._spec} gave no embedding: {line(error)}") from error
        # What a server sends that is no embedding reply fails wherever it is first looked at.
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(f"{self._spec} sent no embeddings: {line(error)}") from error
        if sorted(rows) != list(range(len(texts))):
            raise ModelError(f"{self._spec} was asked for {len(texts)} embeddings and sent {len(rows)}")
        return [rows[number] for number in range(len(texts))]
