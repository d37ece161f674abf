"""Texts as vectors: embedders behind one Protocol, a cache on disk, and packaged vectors of the nb201 cells."""

from __future__ import annotations

from pathlib import Path

from nas_agent.errors import ConfigError
from nas_agent.tools.embeddings.base import Embedder, EmbeddingOptions, Vectors
from nas_agent.tools.embeddings.cache import CachedEmbedder, CacheStats, cache_stats, clear_cache
from nas_agent.tools.embeddings.counts import TermCounts
from nas_agent.tools.embeddings.minilm import MiniLM
from nas_agent.tools.embeddings.packaged import PackagedCode
from nas_agent.tools.embeddings.remote import RemoteEmbedder
from nas_agent.tools.embeddings.transformer import TransformerEmbedder

FORMS = (
    "all-minilm, hf:REPO_OR_PATH, openai:MODEL, tfidf, char-ngrams, random:all-minilm or random:hf:REPO_OR_PATH "
    "(the same model with random weights)"
)

__all__ = [
    "FORMS",
    "CacheStats",
    "CachedEmbedder",
    "Embedder",
    "EmbeddingOptions",
    "MiniLM",
    "PackagedCode",
    "TermCounts",
    "Vectors",
    "cache_stats",
    "clear_cache",
    "make_embedder",
]


def make_embedder(spec: str, options: EmbeddingOptions | None = None, *, cache: Path | None = None) -> Embedder:
    """Build the embedder that `--embedder` names, with a cache on disk where a folder for it is given.

    Nothing is loaded or sent before it is used. ConfigError where there is no such embedder or the options do not fit.
    """
    options = options or EmbeddingOptions()
    if spec in {"tfidf", "char-ngrams"}:
        return TermCounts(spec)  # counting is faster than reading from disk
    embedder = _model(spec, options)
    return embedder if cache is None else CachedEmbedder(embedder, cache)


def _model(spec: str, options: EmbeddingOptions) -> Embedder:
    random = spec.startswith("random:")
    model = spec.removeprefix("random:")
    if model == "all-minilm":
        return MiniLM(options=options, random=random)
    if model.startswith("hf:"):
        return TransformerEmbedder(model, options, random=random)
    if spec.startswith("openai:"):
        return RemoteEmbedder(spec, options)
    raise ConfigError(f"--embedder '{spec}': expected {FORMS}")
