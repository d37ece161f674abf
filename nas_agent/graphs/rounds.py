"""What a round measures: who proposes in it, on which side of the principles, and which proposals are kept.

Everything here is a function of the journal, the round's number and its random stream, so that a round that is
taken again after a crash proposes and keeps the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from random import Random

from nas_agent.agents.generators import Brief
from nas_agent.graphs.consult import offered
from nas_agent.graphs.experience import inform
from nas_agent.graphs.services import Drawn, Services
from nas_agent.graphs.state import SearchState, stream, stream_name
from nas_agent.principles.principle import Principle
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Json, Measured, Proposal
from nas_agent.tools.surrogates.gate import Choice

# Of the rounds, where a language model proposes: in them the surrogate chooses among its proposals alone. In a
# listed space `evolve` proposes everything, and a model's proposals joined with it would change nothing.
MODEL_SHARE = 0.5


def draw(use: Services, rng: Random, wanted: int) -> list[Architecture]:
    """Draw distinct architectures uniformly, from the pool where there is one."""
    if use.pool is not None:
        return rng.sample(list(use.pool), min(wanted, len(use.pool)))
    drawn: dict[str, Architecture] = {}
    for _ in range(100 * wanted):
        if len(drawn) < wanted:
            architecture = use.space.sample(rng)
            drawn[architecture.id] = architecture
    return list(drawn.values())


def least_tested(use: Services) -> Principle:
    """Return the active principle that the fewest measured architectures break; the oldest among equals."""
    observations = use.journal.observations

    def breakers(principle: Principle) -> int:
        return sum(not principle.constraint.holds(observation.choices) for observation in observations)

    return min(use.journal.library.active, key=breakers)


def has_turn(number: int, share: float) -> bool:
    """Spread a share evenly over the rounds: chance could leave a wrong principle untested for long."""
    return math.floor(number * share) > math.floor((number - 1) * share)


def is_models_round(use: Services, number: int, breaks: str) -> bool:
    """Tell whether a round is the language model's: its share of those that do not test a principle."""
    if use.model_generator is None or breaks:
        return False
    tests = math.floor(number * use.config.outside_share) if use.journal.library.active else 0
    return has_turn(number - tests, MODEL_SHARE)


def room_left(use: Services) -> int:
    """Return how many architectures may be measured in a round."""
    return min(use.config.batch, use.config.budget - len(use.journal.archive))


def generate(use: Services, number: int, breaks: str) -> Drawn:
    """Return the proposals of a round.

    They are a function of what is recorded and of the round's stream, so they need no place in a checkpoint:
    `screen` asks again, and makes them anew only in a process that was started in between. In a model's round
    its proposals come first, and the generator is asked for what they leave open.
    """
    if use.drawn is not None and use.drawn.round == number:
        return use.drawn
    waiting = offered(use) if is_models_round(use, number, breaks) else []
    if waiting and len(waiting) >= room_left(use):
        use.drawn = Drawn(number, [], "", False, waiting)
        return use.drawn
    library = use.journal.library
    refinement = library.refinement() if library.active else None
    if breaks:
        tested = [principle for principle in library.active if principle.reference == breaks]
        refinement = Refinement(use.space.decisions, tested)
    brief = Brief(
        space=use.space,
        ranked=use.journal.archive.ranked(),
        known=use.journal.archive.ids,
        pool=use.pool,
        refinement=refinement,
        outside=bool(breaks),
        order=tuple(use.journal.archive.ids),
    )
    name = stream_name(use.config.seed, "propose", number)
    found = use.generator.propose(brief, stream(use.config.seed, "propose", number))
    wider = not found and refinement is not None
    if wider:  # this side of the principles is used up: take both
        name = stream_name(use.config.seed, "wider", number)
        brief = replace(brief, refinement=None, outside=False)
        found = use.generator.propose(brief, stream(use.config.seed, "wider", number))
    taken = {proposal.architecture.id for proposal in waiting}
    found = [proposal for proposal in found if proposal.architecture.id not in taken] if taken else found
    use.drawn = Drawn(number, found, name, wider, waiting)
    return use.drawn


@dataclass(frozen=True, slots=True)
class Chosen:
    """A proposal that will be measured, who chose it, and what the surrogate expects of it."""

    proposal: Proposal
    by: Choice
    expected: Json | None = None


def judge_surrogate(use: Services) -> None:
    """Let the surrogate step back or come back, where what was measured after its predictions says so."""
    change = use.journal.gate.turn() if use.config.gate and use.surrogate is not None else None
    if change is not None:
        use.journal.emit("gate", **change)


def rank(use: Services, state: SearchState, keep: int) -> list[Chosen]:
    """Choose among what a language model offered, then among the rest, and a few that the surrogate rejects.

    Rejected ones are measured where all proposals were the surrogate's to choose from: a round that tests a principle
    has its own question, and one of a language model its own proposals. They wait for the next other round.
    """
    drawn = generate(use, state["round"], state["breaks"])
    chosen = best_of(use, state, drawn.offered, keep)
    plain = not chosen and not state["breaks"]
    chosen += best_of(use, state, drawn.proposals, keep - len(chosen))
    owed = use.journal.gate.owed(use.config.rejected_share, keep) if plain and use.surrogate is not None else 0
    return against_advice(use, state, drawn.proposals, chosen, owed) if owed else chosen


def best_of(use: Services, state: SearchState, proposals: Sequence[Proposal], keep: int) -> list[Chosen]:
    """Let the surrogate choose, or, while it stands back, the generator's order; without one, chance."""
    if not proposals or not keep:
        return []
    if use.surrogate is None:
        drawn = stream(use.config.seed, "screen", state["round"]).sample(proposals, min(keep, len(proposals)))
        return [Chosen(proposal, "chance") for proposal in drawn]
    inform(use)
    for outcome in islice(use.journal.archive, use.observed, None):
        score = use.task.score(outcome.value) if isinstance(outcome, Measured) else -math.inf
        use.surrogate.observe(outcome.architecture, score)
    use.observed = len(use.journal.archive)
    if use.journal.gate.away:
        first = proposals[:keep]
        expected = use.surrogate.predict([proposal.architecture for proposal in first])
        return [Chosen(proposal, "order", item.to_dict()) for proposal, item in zip(first, expected, strict=True)]
    ranked = use.surrogate.rank([proposal.architecture for proposal in proposals], keep)
    return [Chosen(proposals[item.index], "surrogate", item.to_dict()) for item in ranked]


def against_advice(
    use: Services, state: SearchState, proposals: Sequence[Proposal], chosen: Sequence[Chosen], owed: int
) -> list[Chosen]:
    """Put rejected proposals, drawn by chance, in the place of the last ones chosen: so false rejections show."""
    assert use.surrogate is not None
    taken = {item.proposal.architecture.id for item in chosen}
    rejected = [place for place, proposal in enumerate(proposals) if proposal.architecture.id not in taken]
    drawn = stream(use.config.seed, "rejected", state["round"]).sample(rejected, min(owed, len(rejected)))
    means = use.surrogate.predict([proposal.architecture for proposal in proposals])
    added = []
    for place in drawn:
        better = sum((other.mean or 0.0) > (means[place].mean or 0.0) for other in means)
        expected = {**means[place].to_dict(), "place": better + 1, "of": len(proposals)}
        added.append(Chosen(proposals[place], "rejected", expected))
    return [*chosen[: len(chosen) - len(added)], *added]
