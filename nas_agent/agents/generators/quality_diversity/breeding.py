"""Children of wishes: by a space's own operators, or as a language model wrote them."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from nas_agent.agents.generators.quality_diversity.illumination import Illumination, Wish
from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture, Miss, Proposal
from nas_agent.spaces.code import Varies

PROGRAM = "program"  # who carries a wish out where no language model does
PATIENCE = 20  # wishes a child, before a round settles for fewer
KNOWN = "the network was measured or proposed before"

Admit = Callable[[Architecture], Architecture | None]  # the member that stands for it, None where it is not wanted


@dataclass(slots=True)
class Brood:
    """What came of a number of wishes."""

    proposals: list[Proposal] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def take(self, wish: Wish, child: Architecture | str, by: str, known: Container[str], admit: Admit) -> None:
        """Add a child, or the reason why there is none."""
        variation, parents = replace(wish.variation, by=by), tuple(parent.id for parent in wish.parents)
        if isinstance(child, str):
            self.misses.append(Miss(variation, parents, child))
            return
        member = None if child.id in known or child.id in self._taken else admit(child)
        if member is None:
            again = child.id in known or child.id in self._taken
            why = KNOWN if again else "it cannot be measured here, or a principle shuts it out"
            self.misses.append(Miss(variation, parents, why, known=True))
            return
        self._taken.add(child.id)
        author = "crossover" if len(parents) > 1 else "mutation"
        self.proposals.append(Proposal(member, author, parents, variation=variation))


def carried_out(space: Varies, wish: Wish, rng: Random) -> Architecture | str:
    """Return a child by the space's own operators, or the reason why there is none."""
    try:
        return space.vary(wish.variation.intent, wish.parents, rng)
    except InvalidArchitecture as error:
        return str(error)


def breed(
    state: Illumination, space: Varies, wanted: int, rng: Random, known: Container[str], admit: Admit
) -> Brood:
    """Wish until there are enough new children; fewer where hardly any wish leads to one."""
    brood = Brood()
    for place in range(wanted * PATIENCE):
        if len(brood.proposals) >= wanted:
            break
        wish = state.wish(rng, place)
        brood.take(wish, carried_out(space, wish, rng), PROGRAM, known, admit)
    return brood


def admit_all(architecture: Architecture) -> Architecture | None:
    """Take any architecture as it is."""
    return architecture


def first_of(state: Illumination, known: Container[str]) -> Sequence[Proposal]:
    """Return the network that everything starts from, unless it was measured."""
    return [] if state.start.id in known else [Proposal(state.start, "start")]
