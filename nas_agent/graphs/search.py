"""The state machine of a search. `build` is the table of contents; the nodes follow in the order they run.

A node is a plain function: it reads the state and the journal, calls one thing, writes events, and returns
the keys that changed. All that it writes is a function of the state, the journal and its random stream, so a
node that is taken again after a crash writes the same events, and the log recognises them. What nodes call:
experience.py (what other tasks found), rounds.py (proposals), embedding.py (an embedder that fails), consult.py
(language models), review.py (a person).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy

from nas_agent.agents.generators.base import Illuminates
from nas_agent.errors import MemoryStoreError, StorageError
from nas_agent.graphs.confirm import confirmed
from nas_agent.graphs.consult import consult_generator, consult_model, recalled_ranking
from nas_agent.graphs.embedding import guarded
from nas_agent.graphs.experience import first_of_sources, known_here, note_agreement, recalled_elites, why_wait
from nas_agent.graphs.halving import at_level, due, new_rounds, promotes, promotions
from nas_agent.graphs.inheriting import inheriting
from nas_agent.graphs.outcomes import known_outcome, recorded, taken, work_of
from nas_agent.graphs.review import onward, review
from nas_agent.graphs.rounds import (
    Chosen,
    draw,
    front_tests,
    generate,
    has_turn,
    is_models_round,
    judge_surrogate,
    least_tested,
    may_stay,
    nothing_left,
    rank,
    room_left,
)
from nas_agent.graphs.services import Services
from nas_agent.graphs.state import SearchState, Update, stream
from nas_agent.graphs.variations import consult_operators
from nas_agent.principles.exchange import from_log
from nas_agent.principles.principle import Principle
from nas_agent.records import Json, Proposal
from nas_agent.tools.curves import bar_of
from nas_agent.tools.sources import MEMORY

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


NOTHING_REMEMBERED = "memory holds no run that this task could learn from; the search starts cold"

# An evaluator on another machine may be away for a moment. Everything else that is raised is a bug or a
# broken machine, and trying again would hide it. (The library's default would retry a bare Exception.)
RETRY = RetryPolicy(max_attempts=3, retry_on=(ConnectionError, TimeoutError))


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
        else:
            if not found and MEMORY in use.config.source:  # asked for by name: silence would look like success
                problem = NOTHING_REMEMBERED
        items = [item for known in found if (item := known_here(use.space, known)) is not None]
        dropped = len(found) - len(items)
    use.journal.emit("recalled", items=items, dropped=dropped, problem=problem)
    return {"events": len(use.journal.log.events)}


def seed(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Queue the first architectures: the best of sources, recalled elites, or uniform draws."""
    use = runtime.context
    recalled = guarded(use, lambda: first_of_sources(use)) if use.journal.sources else recalled_elites(use)
    # What is proposed before the first outcome is known knows nothing, unless sources have told the surrogate.
    blind = 1 if use.journal.sources else use.config.most_under_way
    wanted = min(max(use.config.initial, len(recalled), blind), use.config.budget)
    seeds = recalled[:wanted]
    if not seeds and isinstance(use.generator, Illuminates):
        seeds = list(use.generator.begin())[: use.config.budget]
        wanted = max(wanted, len(seeds))
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
    if state["seeds"] or promotes(use):
        return {"round": number, "breaks": "", "events": len(use.journal.log.events)}
    active, turn = use.journal.library.active, new_rounds(use, number)
    breaks = least_tested(use).reference if active and has_turn(turn, use.config.outside_share) else ""
    if is_models_round(use, number, breaks):
        consult_generator(use)
    if use.model_operators is not None and not breaks:
        consult_operators(use, number, room_left(use))
    drawn = generate(use, number, breaks)
    vain: Json = {"misses": [miss.to_dict() for miss in drawn.misses]} if drawn.misses else {}
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
        **vain,
    )
    return {"round": number, "breaks": breaks, "events": len(use.journal.log.events)}


def screen(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Keep the few that the surrogate would measure, while it deserves to choose; the rest cost no training."""
    use, before = runtime.context, runtime.context.journal.begun
    waiting = [Proposal.from_dict(data) for data in state["seeds"]]
    step = due(use, first=bool(waiting))
    room = 0 if step is None else step.room
    judge_surrogate(use)
    chosen = [Chosen(first, "initial") for first in waiting[:room]]
    if not waiting and room:
        chosen = guarded(use, lambda: rank(use, state, room))
    if not chosen:
        if (step is None or not step.promoted) and not use.journal.under_way:
            step = due(use, exhausted=True)
        chosen = [Chosen(proposal, "promoted") for proposal in promotions(use, step)]
    refinement = use.journal.library.refinement()
    note_agreement(use)
    bar: Json = {"bar": bar_of(use.journal.archive).to_dict()} if use.config.stop_curves else {}
    shortlist = []
    for offset, item in enumerate(chosen):
        data = inheriting(use, at_level(use, item.proposal, step)).to_dict()
        choices = use.space.choices(item.proposal.architecture)
        data["principles"] = list(refinement.obeyed(choices))
        data["outside"] = not waiting and item.by != "promoted" and not refinement.allows(choices)
        if isinstance(use.generator, Illuminates):  # logged, so that nobody has to look at the network again
            data["measures"] = list(use.generator.describe(item.proposal.architecture))
        use.journal.emit(
            "proposal",
            evaluation=before + offset + 1,
            round=state["round"],
            initial=bool(waiting),
            proposal=data,
            choice=item.by,
            surrogate=None if use.surrogate is None or item.expected is None else use.surrogate.name,
            expected=item.expected,
            **bar,
            **({} if use.wishes is None else use.wishes.logged(item.proposal.architecture)),
        )
        shortlist.append(data)
    return {
        "shortlist": shortlist,
        "seeds": state["seeds"][len(shortlist) :] if waiting else [],
        "stopped": "" if shortlist or use.journal.under_way else nothing_left(use),
        "events": len(use.journal.log.events),
    }


def evaluate(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Hand on what was begun, and record outcomes in the order of proposing until there is room for a new round.

    What another process had begun before it was killed, and what the retry policy tries again, is handed on here too.
    """
    use, journal = runtime.context, runtime.context.journal
    for proposal in journal.under_way.values():
        if known_outcome(use, proposal) is None:
            use.executor.submit(work_of(use, proposal, use.config.seed))
    room = may_stay(use, len(state["shortlist"]))
    while len(journal.under_way) > room:
        oldest = next(iter(journal.under_way.values()))
        found = recorded(use, oldest)
        outcome = confirmed(journal, partial(taken, use, oldest), use.config.seed) if found is None else found
        journal.outcome(len(journal.archive) + 1, outcome)
    return {"events": len(journal.log.events)}


def record(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Credit the evidence to the principles, and see whether the budget is spent."""
    use, journal = runtime.context, runtime.context.journal
    if use.config.principles:
        journal.changes(journal.library.review(journal.observations, len(journal.archive)))
    spent = due(use) is None and not use.journal.under_way
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
    tests = opened.get("front_tests") if opened is not None else front_tests(use)
    journal.emit(
        "finished",
        why=state["stopped"],
        evaluations=len(journal.archive),
        best=None if best is None else best.to_dict(),
        test=test,
        **({} if tests is None else {"front_tests": tests}),
        lasting=True,
    )
    if use.finished is not None:
        use.finished(journal)
    if use.memory is not None:
        problem = use.memory.remember(journal)
        if problem:
            journal.emit("memory_failure", why=problem)
    return {"events": len(journal.log.events)}
