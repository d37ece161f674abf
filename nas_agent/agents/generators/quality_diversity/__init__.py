"""Quality diversity on programs: the best network of each kind, after LLMatic (arXiv 2306.01102)."""

from __future__ import annotations

from nas_agent.agents.generators.quality_diversity.generator import CodeGenerator, check_space, first_of
from nas_agent.agents.generators.quality_diversity.illumination import Illumination, Settings
from nas_agent.agents.generators.quality_diversity.niches import Axis, Elite, Niches
from nas_agent.agents.generators.quality_diversity.saved import as_csv, document, read_archive
from nas_agent.config import Config

__all__ = [
    "AIMED",
    "Axis",
    "CodeGenerator",
    "Elite",
    "Illumination",
    "Niches",
    "Settings",
    "as_csv",
    "check_space",
    "document",
    "first_of",
    "read_archive",
    "settings_of",
]

GENERATION = 10  # networks at least; a round of more is a generation of its own
AIMED = 4  # children for each network that is measured, where no surrogate chooses among as many


def settings_of(config: Config) -> Settings:
    """Return the settings that a run's configuration asks for."""
    return Settings(
        archive=config.archive,
        niches=config.niches,
        generation=max(GENERATION, config.batch),
        curiosity=config.curiosity,
        islands=config.islands,
        migration=config.migration,
        children=AIMED if config.surrogate == "none" else 1,
    )
