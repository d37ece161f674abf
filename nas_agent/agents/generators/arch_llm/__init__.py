"""Arch-LLM (arXiv 2503.22063): architectures as sequences of codes, and a language model that writes such sequences."""
