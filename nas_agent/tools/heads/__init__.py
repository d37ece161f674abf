"""What predicts accuracies from features and embeddings: heads that are fitted once, made by name."""

from __future__ import annotations

from nas_agent.errors import ConfigError
from nas_agent.tools.heads.base import CODE, Blocks, FittedHead, Head, Prediction
from nas_agent.tools.heads.targets import TargetName

HEADS = ("gp", "ridge", "mlp", "lightgbm")

__all__ = ["CODE", "HEADS", "Blocks", "FittedHead", "Head", "Prediction", "TargetName", "make_head"]


def make_head(name: str, *, target: TargetName = "power", components: int = 128) -> Head:
    """Return the head of this name; `components`: most principal components kept of the embedding.

    Raises ConfigError for a name that is none, MissingExtra where a head's library is not installed.
    """
    if components < 1:
        raise ConfigError(f"expected at least one component of the embedding, got {components}")
    if target not in ("power", "rank"):
        raise ConfigError(f"unknown target transform {target!r}; choose from power, rank")
    if name == "gp":
        from nas_agent.tools.heads.gaussian_process import GaussianProcess

        return GaussianProcess(target, components)
    if name == "ridge":
        from nas_agent.tools.heads.ridge import Ridge

        return Ridge(target, components)
    if name == "mlp":
        from nas_agent.tools.heads.perceptron import Perceptron

        return Perceptron(target, components)
    if name == "lightgbm":
        from nas_agent.tools.heads.boosted_trees import BoostedTrees

        return BoostedTrees(target, components)
    raise ConfigError(f"unknown head {name!r}; choose from {', '.join(HEADS)}")
