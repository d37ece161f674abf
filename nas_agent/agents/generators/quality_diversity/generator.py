"""`--generator code`: LLMatic's loop inside a search, for any space that varies its programs (`spaces.code.Varies`).

The search begins with the space's first network. What a generation has taught is read from the journal's trials, so
nothing needs to be kept between processes; the archives in memory are a cache of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

from nas_agent.agents.generators.base import Brief
from nas_agent.agents.generators.evolve import RandomDraws
from nas_agent.agents.generators.quality_diversity.breeding import breed, wished
from nas_agent.agents.generators.quality_diversity.illumination import Illumination, Settings, Wish
from nas_agent.agents.generators.quality_diversity.niches import Axis, archives
from nas_agent.agents.generators.quality_diversity.ranges import Programs, axes_of, measures
from nas_agent.agents.generators.quality_diversity.saved import read_archive
from nas_agent.errors import ConfigError, DataError, InvalidArchitecture
from nas_agent.records import Architecture, Miss, Proposal, Task, Trial
from nas_agent.spaces.base import Space


def first_of(file: Path | None, space: Space) -> list[Architecture]:
    """Return the holders of a saved archive, best first; DataError where it is none, or one of another space."""
    if file is None:
        return []
    saved = read_archive(file)
    if saved.space != space.name:
        raise DataError(f"{file}: expected an archive of networks of space '{space.name}', got one of '{saved.space}'")
    best_first = sorted(saved.niches.elites.values(), key=lambda elite: -elite.score)
    try:
        return [space.parse(saved.members[elite.key].text) for elite in best_first]
    except InvalidArchitecture as error:
        raise DataError(f"{file}: it holds what is no network of space '{space.name}': {error}") from error


def check_space(space: Space) -> Programs:
    """Return the space as one of programs; ConfigError where it is none, MissingExtra where pyribs is not installed."""
    if not isinstance(space, Programs):
        raise ConfigError(
            f"--generator code: expected a space that varies its programs, e.g. nb201, got '{space.name}'; "
            "leave --generator out"
        )
    archives()
    return space


class CodeGenerator:
    """Proposes variations of the elites of an archive, by the intents that have been worth most."""

    def __init__(self, space: Space, task: Task, settings: Settings, first: Sequence[Architecture] = ()) -> None:
        programs = check_space(space)
        self._space, self._task, self._settings = programs, task, settings
        self.start = programs.start()
        self._first = first
        self._state, self._told = self._fresh(), list[Trial | Miss]()
        told = "" if settings.curiosity else ", no curiosity"
        self.name = f"code ({self._state.networks.name}{told})"

    @property
    def axes(self) -> Sequence[Axis]:
        """What networks are binned by."""
        return axes_of(self._space)

    def begin(self) -> list[Proposal]:
        """Return the holders of a saved archive, else the space's first network."""
        saved = [Proposal(architecture, "from a saved archive") for architecture in self._first]
        return saved or [Proposal(self.start, "start")]

    def describe(self, architecture: Architecture) -> tuple[float, float]:
        """Return width-to-depth ratio and FLOPs."""
        return measures(self._space, architecture)

    def propose(self, brief: Brief, rng: Random) -> list[Proposal]:
        """Return as many new children as are wanted; where no wish leads to one, uniform draws."""
        members = None if brief.pool is None else {member.id: member for member in brief.pool}

        def admit(child: Architecture) -> Architecture | None:
            member = child if members is None else members.get(child.id)
            return member if member is not None and brief.allows(member) else None

        state, base = self.state(brief.history), rng.getrandbits(64)
        brood = breed(state, self._space, brief.wanted, base, brief.known, admit, brief.answers)
        for miss in brood.misses:
            brief.note(miss)
        return brood.proposals or RandomDraws().propose(brief, rng)

    def wish(self, history: Sequence[Trial | Miss], rng: Random, place: int) -> Wish:
        """Return the wish that `propose` will have at this place, with the same history and stream."""
        return wished(self.state(history), rng.getrandbits(64), place)

    def state(self, history: Sequence[Trial | Miss]) -> Illumination:
        """Return the archives after these trials; only those that are new since the last time are told."""
        size = len(self._told)
        if len(history) < size or any(one is not other for one, other in zip(self._told, history, strict=False)):
            self._state, self._told, size = self._fresh(), [], 0
        self._state.follow(history[size:])
        self._told.extend(history[size:])
        return self._state

    def _fresh(self) -> Illumination:
        return Illumination(self._task, axes_of(self._space), self.start, self._settings)
