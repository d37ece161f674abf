"""What a round measures: who proposes in it, on which side of the principles, and which proposals are kept.

Everything here is a function of the journal, the round's number and its random stream, so that a round that is
taken again after a crash proposes and keeps the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
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


def rank(use: Services, state: SearchState, keep: int) -> list[tuple[Proposal, Json | None]]:
    """Choose among what a language model offered, then among the rest."""
    drawn = generate(use, state["round"], state["breaks"])
    chosen = best_of(use, state, drawn.offered, keep)
    return chosen + best_of(use, state, drawn.proposals, keep - len(chosen))


def best_of(
    use: Services, state: SearchState, proposals: Sequence[Proposal], keep: int
) -> list[tuple[Proposal, Json | None]]:
    """Let the surrogate choose; without one, take proposals by chance."""
    if not proposals or not keep:
        return []
    if use.surrogate is None:
        drawn = stream(use.config.seed, "screen", state["round"]).sample(proposals, min(keep, len(proposals)))
        return [(proposal, None) for proposal in drawn]
    inform(use)
    for outcome in islice(use.journal.archive, use.observed, None):
        score = use.task.score(outcome.value) if isinstance(outcome, Measured) else -math.inf
        use.surrogate.observe(outcome.architecture, score)
    use.observed = len(use.journal.archive)
    ranked = use.surrogate.rank([proposal.architecture for proposal in proposals], keep)
    return [(proposals[item.index], item.to_dict()) for item in ranked]
