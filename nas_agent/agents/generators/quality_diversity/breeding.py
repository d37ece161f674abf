"""Children of wishes: by a space's own operators, or as a language model wrote them."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from nas_agent.agents.generators.quality_diversity.illumination import Illumination, Wish
from nas_agent.agents.generators.quality_diversity.ranges import measures
from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture, Miss, Proposal
from nas_agent.spaces.code import Varies

PROGRAM = "program"  # who carries a wish out where no language model does
PATIENCE = 20  # wishes a child, before a round settles for fewer
KNOWN = "the network was measured or proposed before"

Admit = Callable[[Architecture], Architecture | None]  # the member that stands for it, None where it is not wanted


@dataclass(frozen=True, slots=True)
class Answer:
    """What a language model made of one wish."""

    child: Architecture | None
    author: str
    why: str = ""  # why there is no child


@dataclass(slots=True)
class Brood:
    """What came of a number of wishes."""

    proposals: list[Proposal] = field(default_factory=list)
    misses: list[Miss] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def take(self, wish: Wish, answer: Answer, known: Container[str], admit: Admit) -> None:
        """Add a child, or the reason why there is none."""
        variation, parents = replace(wish.variation, by=answer.author), tuple(parent.id for parent in wish.parents)
        child = answer.child
        if child is None:
            self.misses.append(Miss(variation, parents, answer.why))
            return
        again = child.id in known or child.id in self._taken
        member = None if again else admit(child)
        if member is None:
            why = KNOWN if again else "it cannot be measured here, or a principle shuts it out"
            self.misses.append(Miss(variation, parents, why, known=True))
            return
        self._taken.add(child.id)
        author = "crossover" if len(parents) > 1 else "mutation"
        self.proposals.append(Proposal(member, author, parents, variation=variation))


def carried_out(space: Varies, wish: Wish, rng: Random) -> Answer:
    """Return a child by the space's own operators, or the reason why there is none."""
    try:
        return Answer(space.vary(wish.variation.intent, wish.parents, rng), PROGRAM)
    except InvalidArchitecture as error:
        return Answer(None, PROGRAM, str(error))


def wished(state: Illumination, base: int, place: int) -> Wish:
    """Return one wish of an asking: a function of the state, the asking's number and the place.

    A language model is asked before the others are bred; both must mean the same wish.
    """
    return state.wish(Random(f"{base}/wish/{place}"), place)


def breed(
    state: Illumination,
    space: Varies,
    wanted: int,
    base: int,
    known: Container[str],
    admit: Admit,
    answers: Mapping[int, Answer] | None = None,
) -> Brood:
    """Wish until there are enough new children, and keep those that aim best; fewer where hardly any wish leads to one.

    `answers` are those of a language model, by the place of their wish; the space carries the others out.
    """
    brood, given, bred = Brood(), answers or {}, wanted * state.settings.children
    for place in range(bred * PATIENCE):
        if len(brood.proposals) >= bred:
            break
        wish = wished(state, base, place)
        answer = given.get(place) or carried_out(space, wish, Random(f"{base}/vary/{place}"))
        brood.take(wish, answer, known, admit)
    brood.proposals = aimed(state, space, brood.proposals, wanted)
    return brood


def aimed(state: Illumination, space: Varies, proposals: Sequence[Proposal], wanted: int) -> list[Proposal]:
    """Return as many as are wanted: a model's, then those of empty niches, then those whose niche's holder is worst.

    From each niche one, as long as there are others. Ours; a model's children come first, for each of them was paid.
    """
    if len(proposals) <= wanted:
        return list(proposals)
    held, seen = state.networks, set[int]()
    ranks = list[tuple[int, float]]()
    for proposal in proposals:
        niche = held.niche(measures(space, proposal.architecture))
        holder = held.elites.get(niche)
        if proposal.variation is not None and proposal.variation.by != PROGRAM:
            ranks.append((0, 0.0))
        elif niche in seen:
            ranks.append((3, 0.0))
        else:
            ranks.append((1, 0.0) if holder is None else (2, holder.score))
        seen.add(niche)
    order = sorted(range(len(proposals)), key=ranks.__getitem__)
    return [proposals[place] for place in order[:wanted]]
