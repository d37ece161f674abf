"""What other tasks found, and what a search of this one does with it (ours).

A source is a ranking of architectures: the best rows of a table, another run, or what memory holds. A few of it
are measured first, its rows inform the surrogate, and the outcomes of this task decide how much it counts
(tools/surrogates/transfer.py). Its principles wait as candidates where the surrogate knows their evidence anyway.
Only what means something in this space arrives here: tools/sources.py has translated the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, zip_longest

from nas_agent.errors import InvalidArchitecture
from nas_agent.graphs.services import Services
from nas_agent.principles.principle import Principle
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Architecture, Json, Proposal
from nas_agent.spaces.base import Space
from nas_agent.tools.remembered import RecalledSource
from nas_agent.tools.surrogates.transfer import DROPPED, Source, normal_scores

REPLAYED = 3  # architectures of sources that are measured first (measured: docs/log.md)
EXPECTED = 2  # of them by what the surrogate expects; the others as the sources rank them
NOTED = 0.1  # change of a source's agreement that is logged
LEAVES_FEW = "together with the active ones it leaves fewer candidates than there are evaluations to spend"


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
    """Return what is measured first: what the sources as a whole speak for most, then the best of each in turn.

    The best value of a table owes something to luck; the surrogate's mean over all rows of the sources does not.
    """
    ranked = (
        [
            Proposal(best, f"best of {source.name}")
            for best in measurable(use, [row.architecture for row in source.rows])
        ]
        for source in recalled_sources(use)
    )
    in_turn: dict[str, Proposal] = {}
    for proposal in filter(None, chain.from_iterable(zip_longest(*ranked))):
        in_turn.setdefault(proposal.architecture.id, proposal)
    expected = most_expected(use, list(in_turn.values()))[:EXPECTED]
    first = {proposal.architecture.id: proposal for proposal in (*expected, *in_turn.values())}
    return list(first.values())[:REPLAYED]


def most_expected(use: Services, proposals: Sequence[Proposal]) -> list[Proposal]:
    """Order proposals by what the surrogate expects of them from the sources alone; nothing without a surrogate."""
    if use.surrogate is None:
        return []
    inform(use)
    ranked = use.surrogate.rank([proposal.architecture for proposal in proposals], len(proposals))
    known = [item for item in ranked if item.mean is not None]
    return [proposals[item.index] for item in sorted(known, key=lambda item: (-(item.mean or 0.0), item.index))]


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
    architectures = [a for a in architectures if use.wishes is None or not use.wishes.refusal(a)]
    if use.pool is None:
        return architectures
    wanted = {architecture.id for architecture in architectures}
    listed = {architecture.id: architecture for architecture in use.pool if architecture.id in wanted}
    return [listed[architecture.id] for architecture in architectures if architecture.id in listed]


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


def recalled_sources(use: Services) -> list[RecalledSource]:
    """Return what other tasks found in this space and is not refused; a predicted one only to predicted values."""
    found = map(RecalledSource.from_dict, use.journal.sources)
    here = (s for s in found if s.space == use.space.name and not s.refused)
    return [s for s in here if s.provenance == "measured" or use.evaluator.provenance == "predicted"]


def inform(use: Services) -> None:
    """Tell the surrogate what other tasks found: once in each process, before the first outcome."""
    if use.surrogate is None or use.informed is not None:
        return
    sources = recalled_sources(use)
    use.surrogate.inform([Source(s.name, tuple(row.architecture for row in s.rows), targets(s)) for s in sources])
    use.informed = tuple(use.surrogate.agreement)


def targets(source: RecalledSource) -> tuple[float, ...]:
    """Return normal scores of the rows' ranks among all that the source knows the ranks of."""
    return normal_scores([row.rank for row in source.rows], source.of)


def note_agreement(use: Services) -> None:
    """Log how much each source agrees with the outcomes, where that has changed materially; and which was dropped."""
    if use.surrogate is None or not use.informed or not use.observed:
        return  # before the first outcome there is nothing to agree with
    now, before = use.surrogate.agreement, use.journal.agreement
    if before is None:  # one may be dropped by the outcomes of the initial design, before anything was logged of it
        before = dict.fromkeys(use.informed, math.inf)
    dropped = [name for name in before if name not in now]
    if dropped or any(abs(now[name] - before.get(name, math.inf)) >= NOTED for name in now):
        why = f"agreed less than {DROPPED:g} with the outcomes of this task" if dropped else ""
        use.journal.emit("sources", agreement=now, dropped=dropped, why=why, evaluations=len(use.journal.archive))
