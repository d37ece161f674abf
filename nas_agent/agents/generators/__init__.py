"""What proposes architectures: one Protocol, found by name."""

from __future__ import annotations

from pathlib import Path

from nas_agent.agents.generators.base import Brief, Generator
from nas_agent.agents.generators.evolve import Evolve, RandomDraws

GENERATORS: dict[str, type[Evolve] | type[RandomDraws]] = {"evolve": Evolve, "random": RandomDraws}

__all__ = ["GENERATORS", "Brief", "Generator", "make_generator"]


def make_generator(name: str, space: str, *, seed: int, model: Path | None = None) -> Generator:
    """Return the generator called `evolve`, `random` or `vq`; for `llm` what proposes beside the language model.

    `model` is the folder of the trained model of `vq`, None for the shipped one. ConfigError where the space can have
    none; DataError where there is none in the folder, or a broken one.
    """
    if name != "vq":
        return GENERATORS["evolve" if name == "llm" else name]()
    from nas_agent.agents.generators.arch_llm.proposing import SequenceGenerator, trained_model

    return SequenceGenerator(trained_model(space, model), seed=seed)
