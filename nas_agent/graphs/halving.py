"""Several fidelities in a search: what a round measures, and at which of them (tools/halving.py decides)."""

from __future__ import annotations

from dataclasses import replace

from nas_agent.graphs.services import Services
from nas_agent.records import Proposal
from nas_agent.tools.halving import Step, next_step


def due(use: Services, *, first: bool = False, exhausted: bool = False) -> Step | None:
    """Return what a round measures; None where the budget is spent."""
    config, journal = use.config, use.journal
    return next_step(
        journal.archive,
        config.budget,
        batch=config.batch,
        factor=config.eta,
        first=first,
        exhausted=exhausted,
        under_way={key: journal.archive.level_of(proposal.at) for key, proposal in journal.under_way.items()},
    )


def promotes(use: Services) -> bool:
    """Tell whether the next round promotes what is known, instead of proposing anything new."""
    step = due(use)
    return step is not None and bool(step.promoted)


def new_rounds(use: Services, number: int) -> int:
    """Count the rounds up to this one that propose something new: what has its turn every so often counts by them."""
    return number - len(use.journal.promotions)


def promotions(use: Services, step: Step | None) -> list[Proposal]:
    """Return what is measured again at a higher fidelity; where nothing new is left, the best that got farthest."""
    rungs = use.journal.archive.rungs
    if step is None or rungs is None:
        return []
    found = []
    for architecture, level in step.promoted:
        outcome = use.journal.archive.get(architecture.id)
        assert outcome is not None
        found.append(Proposal(architecture, f"promoted from {outcome.at}", at=rungs.levels[level]))
    return found


def at_level(use: Services, proposal: Proposal, step: Step | None) -> Proposal:
    """Say at which fidelity something new is measured; nothing where the search has one."""
    rungs = use.journal.archive.rungs
    return proposal if rungs is None or step is None or proposal.at else replace(proposal, at=rungs.levels[step.level])
