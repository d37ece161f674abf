"""What proposes architectures."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Miss, Proposal, Trial
from nas_agent.spaces.base import Space

if TYPE_CHECKING:
    from nas_agent.agents.generators.quality_diversity.breeding import Answer


def ignore(miss: Miss) -> None:
    """Take no note."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What a generator is told in one round."""

    space: Space
    ranked: Sequence[tuple[Architecture, float]]  # measured architectures with scores, best first
    known: Container[str]  # canonical ids that need no proposal: measured, failed, or waiting
    pool: Sequence[Architecture] | None  # the only candidates there are, where these can be listed
    refinement: Refinement | None  # None where no principle is active
    outside: bool = False  # propose what the refinement shuts out: the control group of a principle under test
    order: Sequence[str] = ()  # canonical ids in the order in which they were evaluated, failed ones too
    history: Sequence[Trial | Miss] = ()  # what was tried in earlier rounds, and what came of it
    wanted: int = 1  # proposals that are enough: more than are measured where a surrogate chooses among them
    answers: Mapping[int, Answer] | None = None  # what a language model made of the wishes of this round, by place
    note: Callable[[Miss], None] = ignore  # told what was tried in vain, which belongs into the log

    def allows(self, architecture: Architecture) -> bool:
        """Tell whether an architecture is on the side of the principles that is asked for."""
        if self.refinement is None:
            return True
        return self.refinement.allows(self.space.choices(architecture)) is not self.outside


class Generator(Protocol):
    """Proposes distinct, canonical, unknown architectures on the side of the principles that the brief names."""

    @property
    def name(self) -> str:
        """What the event log names it by."""
        ...

    def propose(self, brief: Brief, rng: Random) -> list[Proposal]:
        """Return proposals, as many as it finds good; an empty list where nothing unknown is left."""
        ...


@runtime_checkable
class Illuminates(Protocol):
    """A generator that keeps the best of each kind: it has networks to begin with, and tells kinds apart."""

    def begin(self) -> Sequence[Proposal]:
        """Return what is measured first, where nothing else is there to begin with."""
        ...

    def describe(self, architecture: Architecture) -> tuple[float, ...]:
        """Return what an archive bins the architecture by."""
        ...
