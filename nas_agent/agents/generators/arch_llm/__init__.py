"""A generator after Arch-LLM (Poddenige et al., arXiv 2503.22063): graphs as index sequences, a model of sequences."""
