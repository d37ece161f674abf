"""What reads code for `--surrogate joint`: the embedder that a configuration names, checked before a search begins."""

from __future__ import annotations

from nas_agent.config import Config
from nas_agent.errors import ConfigError
from nas_agent.spaces.base import Space
from nas_agent.tools.embeddings import Embedder, EmbeddingOptions, MiniLM, PackagedCode, make_embedder
from nas_agent.tools.home import home

PACKAGED = ("nb201", "all-minilm")  # the space and the embedder whose vectors come with the package
GREETING = "class Cell(nn.Module): pass"  # short: no model cuts it
DEFAULT: str = Config.model_fields["embedder"].default


def code_embedder(config: Config, space: Space, *, cached: bool = True) -> Embedder | None:
    """Return the embedder of the search, None where its surrogate reads no code; nothing is loaded or sent.

    ConfigError, or ModelError for a service without a key, where it cannot be used in a search.
    """
    if config.surrogate != "joint":
        return None
    spec, revision = config.embedder, config.embedder_revision
    if revision is not None and not spec.removeprefix("random:").startswith("hf:"):
        raise ConfigError(
            f"embedder_revision '{revision}' is for hf:NAME/REPOSITORY, got --embedder {spec}; leave it out"
        )
    if (space.name, spec) == PACKAGED:
        return PackagedCode(MiniLM())
    options = EmbeddingOptions(revision=revision, offline=config.offline)
    embedder = make_embedder(spec, options, cache=home() / "cache" if cached else None)
    if embedder.counts:
        raise ConfigError(
            f"--embedder {spec} counts terms, which a search cannot weigh by rarity as it goes; use all-minilm, "
            "hf:REPO_OR_PATH or openai:MODEL, and compare counts by `nas-agent surrogate eval`"
        )
    return embedder


def check_embedder(config: Config) -> None:
    """Refuse an embedder that nothing would ask."""
    if config.surrogate == "joint":
        return
    for flag, given in (("--embedder", config.embedder), ("embedder_revision", config.embedder_revision)):
        if given not in {DEFAULT, None}:
            raise ConfigError(
                f"{flag} {given}: expected --surrogate joint beside it, got {config.surrogate}, which reads no code; "
                "change one of the two"
            )


def greet_embedder(config: Config, space: Space) -> None:
    """See that the embedder of a new search answers: what is wrong with it is told before anything is measured.

    The cache is passed by, since what it holds says nothing of the model.
    """
    embedder = code_embedder(config, space, cached=False)
    if embedder is not None and not isinstance(embedder, PackagedCode):
        embedder.embed([GREETING])
