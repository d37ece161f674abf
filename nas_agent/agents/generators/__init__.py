"""What proposes architectures: one Protocol, found by name."""

from __future__ import annotations

from nas_agent.agents.generators.base import Brief, Generator
from nas_agent.agents.generators.evolve import Evolve, RandomDraws

GENERATORS: dict[str, type[Evolve] | type[RandomDraws]] = {"evolve": Evolve, "random": RandomDraws}

__all__ = ["GENERATORS", "Brief", "Generator"]
