"""Texts as vectors: embedders behind one Protocol, a cache on disk, and packaged vectors of the nb201 cells."""

from __future__ import annotations

from nas_agent.tools.embeddings.base import Embedder, Vectors
from nas_agent.tools.embeddings.cache import CachedEmbedder
from nas_agent.tools.embeddings.minilm import MiniLM
from nas_agent.tools.embeddings.packaged import PackagedCode

__all__ = ["CachedEmbedder", "Embedder", "MiniLM", "PackagedCode", "Vectors"]
