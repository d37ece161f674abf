"""The state machine of a search. `build` is the table of contents; the nodes follow in the order they run.

A node is a plain function: it reads the state and the journal, calls one thing, writes events, and returns
the keys that changed. All that it writes is a function of the state, the journal and its random stream, so a
node that is taken again after a crash writes the same events, and the log recognises them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest
from random import Random
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy

from nas_agent.agents.generators import Brief
from nas_agent.errors import InvalidArchitecture, MemoryStoreError, StorageError
from nas_agent.graphs.consult import consult_generator, consult_model, offered, recalled_ranking
from nas_agent.graphs.review import onward, review
from nas_agent.graphs.services import Drawn, Services
from nas_agent.graphs.state import SearchState, Update, stream, stream_name
from nas_agent.principles.exchange import from_log
from nas_agent.principles.principle import Principle
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Json, Measured, Outcome, Proposal, outcome_from_dict
from nas_agent.spaces.base import Space
from nas_agent.tools.remembered import RecalledSource
from nas_agent.tools.surrogates.transfer import DROPPED, Source, normal_scores

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.graph.state import CompiledStateGraph

    Graph = CompiledStateGraph[SearchState, Services, SearchState, SearchState]


def build(checkpointer: BaseCheckpointSaver[Any] | None = None, *, pause: bool = False) -> Graph:
    """Wire the nodes; with a checkpointer a search can be resumed, with `pause` it stops before `evaluate`."""
    graph = StateGraph(SearchState, context_schema=Services)
    graph.add_node("recall", recall)  # memory      -> recalled items, frozen in the log
    graph.add_node("seed", seed)  # recalled    -> first proposals
    graph.add_node("learn", learn)  # recalled    -> first principles
    graph.add_node("review", review)  # principles  -> a person's answers, only under --review
    graph.add_node("propose", propose)  # principles  -> proposals
    graph.add_node("screen", screen)  # proposals   -> shortlist   (surrogate)
    graph.add_node("evaluate", evaluate, retry_policy=RETRY)  # shortlist   -> outcomes
    graph.add_node("record", record)  # outcomes    -> evidence credited
    graph.add_node("adapt", adapt)  # outcomes    -> principles, every few evaluations
    graph.add_node("finish", finish)  # best        -> test split opened once, report
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "seed")
    graph.add_edge("seed", "learn")
    graph.add_conditional_edges("learn", onward)
    graph.add_conditional_edges("review", onward)
    graph.add_edge("propose", "screen")
    graph.add_conditional_edges("screen", lambda state: "finish" if state["stopped"] else "evaluate")
    graph.add_edge("evaluate", "record")
    graph.add_conditional_edges("record", after_record)
    graph.add_conditional_edges("adapt", onward)
    graph.add_edge("finish", END)
    return graph.compile(checkpointer=checkpointer, interrupt_before=["evaluate"] if pause else None)


REPLAYED = 3  # best architectures of sources that are measured first (measured: docs/log.md)
LEAVES_FEW = "together with the active ones it leaves fewer candidates than there are evaluations to spend"
NOTED = 0.1  # change of a source's agreement that is logged
# An evaluator on another machine may be away for a moment. Everything else that is raised is a bug or a
# broken machine, and trying again would hide it. (The library's default would retry a bare Exception.)
RETRY = RetryPolicy(max_attempts=3, retry_on=(ConnectionError, TimeoutError))
# Of the rounds, where a language model proposes: in them the surrogate chooses among its proposals alone. In a
# listed space `evolve` proposes everything, and a model's proposals joined with it would change nothing.
MODEL_SHARE = 0.5


def recall(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Ask memory for what similar tasks taught; the log freezes the answer, `resume` never asks again."""
    use = runtime.context
    frozen = use.journal.log.ahead("recalled")
    items: list[Json] = []
    dropped, problem = 0, ""
    if frozen is not None:
        items, dropped, problem = frozen["items"], frozen["dropped"], frozen["problem"]
    elif use.memory is not None:
        try:
            found = use.memory.recall()
        except (MemoryStoreError, StorageError) as error:  # a cold start is worth more than no start
            found, problem = [], str(error)
        items = [item for known in found if (item := known_here(use.space, known)) is not None]
        dropped = len(found) - len(items)
    use.journal.emit("recalled", items=items, dropped=dropped, problem=problem)
    return {"events": len(use.journal.log.events)}


def seed(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Queue the first architectures: the best of sources, recalled elites, or uniform draws."""
    use = runtime.context
    recalled = first_of_sources(use) if use.journal.sources else recalled_elites(use)
    wanted = min(max(use.config.initial, len(recalled)), use.config.budget)
    seeds = recalled[:wanted]
    taken = {proposal.architecture.id for proposal in seeds}
    rng = stream(use.config.seed, "seed", 0)
    for architecture in draw(use, rng, wanted):
        if len(seeds) < wanted and architecture.id not in taken:
            taken.add(architecture.id)
            seeds.append(Proposal(architecture, "uniform draw"))
    return {"seeds": [proposal.to_dict() for proposal in seeds], "events": len(use.journal.log.events)}


def learn(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Take over the principles of a file, then recalled ones, and let the model read what other tasks found best."""
    use = runtime.context
    if use.config.principles:
        for item in use.journal.imported:
            shared = from_log(item)
            why = "from the file that the run was started with"
            use.journal.changes(use.journal.library.adopt_recalled(shared.principle, shared.provenance, why, 0))
        recalled = [item for item in use.journal.recalled if item["kind"] == "principle"]
        for item in recalled:
            principle = Principle.from_dict(item["principle"])
            if "run" in item:  # a memory of the caller's own may not know it
                principle = principle.taken_over(item["run"], item["task"])
            if use.journal.library.accepts(principle.constraint):
                why = f"recalled: {item['why']}"
                proven = item.get("grounds") == "shares"
                doubt = why_wait(use, item, principle)
                use.journal.changes(
                    use.journal.library.adopt_recalled(
                        principle, item["provenance"], why, 0, proven=proven, doubt=doubt
                    )
                )
        if use.model_learner is not None and recalled_ranking(use):
            consult_model(use, "learn")
    return {"events": len(use.journal.log.events)}


def propose(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Begin a round, inside the principles or in their outside share, and let the generator propose."""
    use = runtime.context
    number = state["round"] + 1
    if state["seeds"]:
        return {"round": number, "breaks": "", "events": len(use.journal.log.events)}
    active = use.journal.library.active
    breaks = least_tested(use).reference if active and has_turn(number, use.config.outside_share) else ""
    if is_models_round(use, number, breaks):
        consult_generator(use)
    drawn = generate(use, number, breaks)
    use.journal.emit(
        "proposed",
        round=number,
        generator=use.generator.name,
        proposals=len(drawn.proposals),
        offered=len(drawn.offered),
        breaks=breaks,
        wider=drawn.wider,
        principles=[principle.reference for principle in active],
        stream=drawn.stream,
    )
    return {"round": number, "breaks": breaks, "events": len(use.journal.log.events)}


def screen(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Keep the few that the surrogate would measure; the rest never cost a second of training."""
    use, archive = runtime.context, runtime.context.journal.archive
    room = room_left(use)
    waiting = [Proposal.from_dict(data) for data in state["seeds"]]
    chosen = [(proposal, None) for proposal in waiting[:room]] if waiting else rank(use, state, room)
    refinement = use.journal.library.refinement()
    note_agreement(use)
    shortlist = []
    for offset, (proposal, expected) in enumerate(chosen):
        data = proposal.to_dict()
        data["principles"] = list(refinement.obeyed(use.space.choices(proposal.architecture)))
        data["outside"] = not waiting and not refinement.allows(use.space.choices(proposal.architecture))
        use.journal.emit(
            "proposal",
            evaluation=len(archive) + offset + 1,
            round=state["round"],
            initial=bool(waiting),
            proposal=data,
            surrogate=None if use.surrogate is None or expected is None else use.surrogate.name,
            expected=expected,
        )
        shortlist.append(data)
    return {
        "shortlist": shortlist,
        "seeds": state["seeds"][len(shortlist) :] if waiting else [],
        "stopped": "" if shortlist else "every architecture that can be proposed has been measured",
        "events": len(use.journal.log.events),
    }


def evaluate(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Measure the shortlist. Each outcome is in the log before the next evaluation begins."""
    use, journal = runtime.context, runtime.context.journal
    for data in state["shortlist"]:
        architecture = Architecture.from_dict(data["architecture"])
        if architecture.id in journal.archive:
            continue  # measured before the step was cut off
        number = len(journal.archive) + 1
        found = journal.log.outcome_ahead(architecture.id)
        outcome: Outcome
        if found is not None:
            outcome = outcome_from_dict(found)
        else:
            outcome = use.evaluator.evaluate(architecture, seed=use.config.seed)
        journal.outcome(number, outcome)
    return {"events": len(journal.log.events)}


def record(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Credit the evidence to the principles, and see whether the budget is spent."""
    use, journal = runtime.context, runtime.context.journal
    if use.config.principles:
        journal.changes(journal.library.review(journal.observations, len(journal.archive)))
    spent = len(journal.archive) >= use.config.budget
    return {
        "shortlist": [],
        "stopped": "the budget is spent" if spent else "",
        "events": len(journal.log.events),
    }


def after_record(state: SearchState, runtime: Runtime[Services]) -> str:
    """Say where a search goes once a round is recorded."""
    use = runtime.context
    if state["stopped"]:
        return "finish"
    due = len(use.journal.archive) - state["adapted_at"] >= use.config.adapt_every
    return "adapt" if use.config.principles and due else onward(state, runtime)


def adapt(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Learn from this run: refine what works where the best has improved, look elsewhere where it is stuck."""
    use, journal = runtime.context, runtime.context.journal
    best = max(journal.archive.scores, default=None)
    before = state["best_at_adapt"]
    improved = best is not None and (before is None or best > before)
    if use.statistics is not None:
        drafts = use.statistics.learn(journal.observations, use.space.decisions)
        journal.changes(journal.library.consider(drafts, journal.observations, len(journal.archive)))
    if use.model_learner is not None:
        consult_model(use, "improved" if improved else "stuck")
    return {
        "adapted_at": len(journal.archive),
        "best_at_adapt": best,
        "events": len(journal.log.events),
    }


def finish(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Open the test split once, for the winner by validation; write the result; remember the run."""
    use, journal = runtime.context, runtime.context.journal
    best = journal.archive.best
    test = None
    opened = journal.log.ahead("finished")
    if opened is not None:
        test = opened["test"]
    elif best is not None:
        test = use.test_split.open(best.architecture, seed=use.config.seed).to_dict()
    journal.emit(
        "finished",
        why=state["stopped"],
        evaluations=len(journal.archive),
        best=None if best is None else best.to_dict(),
        test=test,
        lasting=True,
    )
    if use.finished is not None:
        use.finished(journal)
    if use.memory is not None:
        problem = use.memory.remember(journal)
        if problem:
            journal.emit("memory_failure", why=problem)
    return {"events": len(journal.log.events)}


# -- what the nodes are made of ---------------------------------------------------------------------------


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


def is_models_round(use: Services, number: int, breaks: str) -> bool:
    """Tell whether a round is the language model's: its share of those that do not test a principle."""
    if use.model_generator is None or breaks:
        return False
    tests = math.floor(number * use.config.outside_share) if use.journal.library.active else 0
    return has_turn(number - tests, MODEL_SHARE)


def room_left(use: Services) -> int:
    """Return how many architectures may be measured in a round."""
    return min(use.config.batch, use.config.budget - len(use.journal.archive))


def least_tested(use: Services) -> Principle:
    """Return the active principle that the fewest measured architectures break; the oldest among equals."""
    observations = use.journal.observations

    def breakers(principle: Principle) -> int:
        return sum(not principle.constraint.holds(observation.choices) for observation in observations)

    return min(use.journal.library.active, key=breakers)


def has_turn(number: int, share: float) -> bool:
    """Spread a share evenly over the rounds: chance could leave a wrong principle untested for long."""
    return math.floor(number * share) > math.floor((number - 1) * share)


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


def inform(use: Services) -> None:
    """Tell the surrogate what other tasks found: once in each process, before the first outcome."""
    if use.surrogate is None or use.informed is not None:
        return
    sources = recalled_sources(use)
    use.surrogate.inform([Source(s.name, tuple(row.architecture for row in s.rows), targets(s)) for s in sources])
    use.informed = tuple(use.surrogate.agreement)


def why_wait(use: Services, item: Json, principle: Principle) -> str:
    """Say why a recalled principle must not constrain before outcomes of this task support it; "" where it may.

    Where the surrogate knows the outcomes behind it, it gains nothing and may shut the optimum out (docs/log.md).
    """
    if use.surrogate is not None and item["task"] in {source.task for source in recalled_sources(use)}:
        return "the surrogate knows the outcomes behind it"
    return "" if item.get("grounds") != "shares" or leaves_enough(use, principle) else LEAVES_FEW


def leaves_enough(use: Services, principle: Principle) -> bool:
    """Tell whether the active principles and this one leave more than the search can measure anyway.

    Less would decide for good what is measured, on the word of another task; the surrogate decides better.
    """
    library = use.journal.library
    refinement = Refinement(use.space.decisions, [*library.active, principle])
    if use.pool is None:
        return refinement.size(use.config.budget) >= use.config.budget
    choices = [use.space.choices(architecture) for architecture in use.pool]
    return int(refinement.mask(refinement.encode(choices)).sum()) >= use.config.budget


def targets(source: RecalledSource) -> tuple[float, ...]:
    """Return normal scores of the rows' ranks among all that the source knows the ranks of."""
    return normal_scores([row.rank for row in source.rows], source.of)


def recalled_sources(use: Services) -> list[RecalledSource]:
    """Return what other tasks found in this space and is not refused; a predicted one only to predicted values."""
    found = map(RecalledSource.from_dict, use.journal.sources)
    here = (s for s in found if s.space == use.space.name and not s.refused)
    return [s for s in here if s.provenance == "measured" or use.evaluator.provenance == "predicted"]


def note_agreement(use: Services) -> None:
    """Log how much each source agrees with the outcomes, where that has changed materially; and which was dropped."""
    if use.surrogate is None or not use.informed:
        return
    now, before = use.surrogate.agreement, use.journal.agreement
    if before is None:  # one may be dropped by the outcomes of the initial design, before anything was logged of it
        before = dict.fromkeys(use.informed, math.inf)
    dropped = [name for name in before if name not in now]
    if dropped or any(abs(now[name] - before[name]) >= NOTED for name in now):
        why = f"agreed less than {DROPPED:g} with the outcomes of this task" if dropped else ""
        use.journal.emit("sources", agreement=now, dropped=dropped, why=why, evaluations=len(use.journal.archive))


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


def known_here(space: Space, item: Json) -> Json | None:
    """Return what of a recalled item means anything in this space: one of the same name may have changed since."""
    if item["kind"] == "source":
        rows = [row for row in item["rows"] if fits(space, row["architecture"])]
        return {**item, "rows": rows} if rows else None
    return item if item["kind"] != "architecture" or fits(space, item["architecture"]) else None


def fits(space: Space, architecture: Json) -> bool:
    """Tell whether this is an architecture of the space as it is now; those of other spaces pass."""
    if architecture["space"] != space.name:
        return True
    try:
        return bool(space.parse(architecture["text"]).id == architecture["id"])
    except InvalidArchitecture:
        return False


def first_of_sources(use: Services) -> list[Proposal]:
    """Return the best few of the sources in turn: what replaying them would measure first."""
    ranked = (
        [
            Proposal(best, f"best of {source.name}")
            for best in measurable(use, [row.architecture for row in source.rows])
        ]
        for source in recalled_sources(use)
    )
    found: dict[str, Proposal] = {}
    for proposal in filter(None, chain.from_iterable(zip_longest(*ranked))):
        if len(found) < REPLAYED:
            found.setdefault(proposal.architecture.id, proposal)
    return list(found.values())


def recalled_elites(use: Services) -> list[Proposal]:
    """Return the recalled architectures that can be measured here, best task first: where no source came with them."""
    found: dict[str, Proposal] = {}
    for item in use.journal.recalled:
        if item["kind"] == "architecture" and item["architecture"]["space"] == use.space.name:
            for architecture in measurable(use, [Architecture.from_dict(item["architecture"])]):
                found.setdefault(architecture.id, Proposal(architecture, f"recalled from {item['task']}"))
    return list(found.values())


def measurable(use: Services, architectures: Sequence[Architecture]) -> list[Architecture]:
    """Return those that can be measured here, each as the candidates have it where these are listed."""
    if use.pool is None:
        return list(architectures)
    wanted = {architecture.id for architecture in architectures}
    listed = {architecture.id: architecture for architecture in use.pool if architecture.id in wanted}
    return [listed[architecture.id] for architecture in architectures if architecture.id in listed]
