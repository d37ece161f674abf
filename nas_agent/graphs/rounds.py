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
from nas_agent.graphs.halving import due, new_rounds
from nas_agent.graphs.screening import AT_ONCE, better_part
from nas_agent.graphs.services import Drawn, Services
from nas_agent.graphs.state import SearchState, stream, stream_name
from nas_agent.graphs.variations import answers_of
from nas_agent.principles.principle import Principle
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Json, Miss, Proposal
from nas_agent.tools.costs.bounds import DRAWS
from nas_agent.tools.fronts import by_fronts, front_in
from nas_agent.tools.surrogates.gate import Choice
from nas_agent.tools.surrogates.levels import Levels

# Of the rounds, where a language model proposes: in them the surrogate chooses among its proposals alone. In a
# listed space `evolve` proposes everything, and a model's proposals joined with it would change nothing.
MODEL_SHARE = 0.5
SCREENED = 4  # proposals for each evaluation, of a generator that asks how many are wanted, where a surrogate chooses


def draw(use: Services, rng: Random, wanted: int) -> list[Architecture]:
    """Draw distinct new architectures uniformly, from the pool where there is one."""
    if use.pool is not None and not limited(use):  # before the first is known
        return rng.sample(list(use.pool), min(wanted, len(use.pool)))
    drawn, known = dict[str, Architecture](), use.journal.known
    for _ in range(max(100 * wanted, DRAWS if limited(use) else 0)):
        if len(drawn) < wanted:
            architecture = use.space.sample(rng) if use.pool is None else rng.choice(use.pool)
            if architecture.id not in known and not refusal(use, architecture):
                drawn[architecture.id] = architecture
    return list(drawn.values())


def limited(use: Services) -> bool:
    """Tell whether proposals must be looked at one by one: what is not known at once has not left a listed pool."""
    bounds = None if use.wishes is None else use.wishes.bounds
    return bounds is not None and (use.pool is None or bool(bounds.asks))


def refusal(use: Services, architecture: Architecture) -> str:
    """Say which limit an architecture breaks; "" where it may be measured."""
    return use.wishes.refusal(architecture) if use.wishes is not None and limited(use) else ""


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
    number = new_rounds(use, number)
    tests = math.floor(number * use.config.outside_share) if use.journal.library.active else 0
    return has_turn(number - tests, MODEL_SHARE)


def room_left(use: Services) -> int:
    """Return how many new architectures may be measured in a round."""
    step = due(use)
    return 0 if step is None else step.room


def may_stay(use: Services, chosen: int) -> int:
    """Return how many evaluations may be under way while the next round proposes: a term of the search.

    A round that found nothing new waits for one outcome, which may change that; the end of the budget for all.
    """
    if due(use) is None:
        return 0
    room = max(use.config.most_under_way - use.config.batch, 0)
    return room if chosen else min(room, len(use.journal.under_way) - 1)


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
    misses: list[Miss] = []
    brief = Brief(
        space=use.space,
        ranked=elites(use),
        known=use.journal.refused.keys() | use.journal.known if limited(use) else use.journal.known,
        pool=use.pool,
        refinement=refinement,
        outside=bool(breaks),
        order=tuple(use.journal.archive.ids),
        history=use.journal.tried.before(number),
        answers=answers_of(use, number),
        wanted=room_left(use) * (1 if use.surrogate is None else SCREENED),
        note=misses.append,
    )
    name = stream_name(use.config.seed, "propose", number)
    found = use.generator.propose(brief, stream(use.config.seed, "propose", number))
    wider = not found and refinement is not None
    if wider:  # this side of the principles is used up: take both
        name = stream_name(use.config.seed, "wider", number)
        brief = replace(brief, refinement=None, outside=False, answers=None)  # they are of other wishes
        found = use.generator.propose(brief, stream(use.config.seed, "wider", number))
    taken = {proposal.architecture.id for proposal in waiting}
    found = [proposal for proposal in found if proposal.architecture.id not in taken] if taken else found
    use.drawn = Drawn(number, found, name, wider, waiting, misses)
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
    if not chosen and limited(use):
        chosen = within_limits(use, state, keep)
    two = use.wishes is not None and use.wishes.objective is not None  # then a low expectation is no rejection
    asked = plain and use.surrogate is not None and not two
    owed = use.journal.gate.owed(use.config.rejected_share, keep) if asked else 0
    return against_advice(use, state, drawn.proposals, chosen, owed) if owed else chosen


def best_of(use: Services, state: SearchState, proposals: Sequence[Proposal], keep: int) -> list[Chosen]:
    """Choose among proposals; where limits must be asked about each, the best that keep them, the others are logged."""
    if not proposals or not keep:
        return []
    if not limited(use):
        return choose(use, state, proposals, keep)
    size, broken = keep, dict[str, Json]()
    while True:
        kept: list[Chosen] = []
        for item in choose(use, state, proposals, min(size, len(proposals))):
            architecture = item.proposal.architecture
            why = refusal(use, architecture) if len(kept) < keep else ""
            if why:
                broken[architecture.id] = refused(use, architecture, why)
            elif len(kept) < keep:
                kept.append(item)
        if len(kept) == keep or size >= len(proposals):
            break
        size *= 4
    fresh = [item for key, item in broken.items() if key not in use.journal.refused]
    if fresh:
        use.journal.emit("refused", round=state["round"], architectures=fresh)
    return kept


def refused(use: Services, architecture: Architecture, why: str) -> Json:
    """Write down a proposal that breaks a limit."""
    assert use.wishes is not None
    return {"id": architecture.id, "text": architecture.text, "why": why, **use.wishes.logged(architecture)}


def within_limits(use: Services, state: SearchState, keep: int) -> list[Chosen]:
    """Return uniform draws that keep the limits: all that was proposed breaks one."""
    drawn = draw(use, stream(use.config.seed, "within", state["round"]), keep)
    return [Chosen(Proposal(architecture, "sample"), "chance") for architecture in drawn]


def nothing_left(use: Services) -> str:
    """Say why a search ends before its budget."""
    if limited(use):
        return f"nothing new within the limits was found among the proposals and {DRAWS} uniform draws"
    within = " and keeps the limits" if use.wishes is not None and use.wishes.bounds is not None else ""
    return f"every architecture that can be proposed{within} has been measured"


def elites(use: Services) -> list[tuple[Architecture, float]]:
    """Return measured architectures, best first; of two objectives, those on the front first."""
    ranked = use.journal.archive.ranked()
    if use.wishes is None or use.wishes.objective is None:
        return ranked
    return by_fronts(ranked, use.journal.costs, use.wishes.objective.name)


def front_tests(use: Services) -> dict[str, float | None] | None:
    """Open the test split for each architecture on the front, once and at the end; None with one objective."""
    journal = use.journal
    found = front_in(journal.log.events[0], use.task, journal.archive.measured, journal.costs)
    if found is None:
        return None
    chosen = [outcome.architecture for outcome, _ in found.members]
    return {a.id: use.test_split.open(a, seed=use.config.seed).value for a in chosen}


def choose(use: Services, state: SearchState, proposals: Sequence[Proposal], keep: int) -> list[Chosen]:
    """Choose among the proposals that a proxy leaves, where there is one."""
    number = state["round"]
    if use.screen is None or use.screen.listed:
        return pick(use, state, better_part(use, number, proposals, lambda proposal: proposal.architecture, keep), keep)
    first = pick(use, state, proposals, max(keep, AT_ONCE))
    return list(better_part(use, number, first, lambda chosen: chosen.proposal.architecture, keep))[:keep]


def pick(use: Services, state: SearchState, proposals: Sequence[Proposal], keep: int) -> list[Chosen]:
    """Let the surrogate choose, or, while it stands back, the generator's order; without one, chance."""
    if use.surrogate is None:
        drawn = stream(use.config.seed, "screen", state["round"]).sample(proposals, min(keep, len(proposals)))
        return [Chosen(proposal, "chance") for proposal in drawn]
    inform(use)
    archive = use.journal.archive
    if use.levels is None or not use.observed:
        use.levels = Levels(use.task, len(archive.levels))
    for outcome in islice(archive, use.observed, None):
        for architecture, score in use.levels.follow(outcome, archive.level_of(outcome.at)):
            use.surrogate.observe(architecture, score)
    use.observed = len(archive)
    if use.journal.gate.away:
        first = proposals[:keep]
        expected = use.surrogate.predict([proposal.architecture for proposal in first])
        return [Chosen(proposal, "order", item.to_dict()) for proposal, item in zip(first, expected, strict=True)]
    under_way = [proposal.architecture for proposal in use.journal.under_way.values()]
    ranked = use.surrogate.rank([proposal.architecture for proposal in proposals], keep, under_way)
    return [Chosen(proposals[item.index], "surrogate", item.to_dict()) for item in ranked]


def against_advice(
    use: Services, state: SearchState, proposals: Sequence[Proposal], chosen: Sequence[Chosen], owed: int
) -> list[Chosen]:
    """Put rejected proposals, drawn by chance, in the place of the last ones chosen: so false rejections show."""
    assert use.surrogate is not None
    taken, broken = {item.proposal.architecture.id for item in chosen}, use.journal.refused.keys()
    rejected = [place for place, p in enumerate(proposals) if p.architecture.id not in taken | broken]
    drawn = stream(use.config.seed, "rejected", state["round"]).sample(rejected, min(owed, len(rejected)))
    means = use.surrogate.predict([proposal.architecture for proposal in proposals])
    added = []
    for place in drawn:
        if refusal(use, proposals[place].architecture):
            continue
        better = sum((other.mean or 0.0) > (means[place].mean or 0.0) for other in means)
        expected = {**means[place].to_dict(), "place": better + 1, "of": len(proposals)}
        added.append(Chosen(proposals[place], "rejected", expected))
    return [*chosen[: len(chosen) - len(added)], *added]
