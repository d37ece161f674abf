"""Where the outcome of a proposal comes from: the log, an earlier process, or an executor that measures."""

from __future__ import annotations

from dataclasses import replace

from nas_agent.graphs.services import Services
from nas_agent.records import Outcome, Proposal, outcome_from_dict
from nas_agent.tools.executors.base import Work


def work_of(use: Services, proposal: Proposal, seed: int, *, again: bool = False) -> Work:
    """Return what an executor is asked to measure, against the bar that was logged with the proposal.

    What is measured `again` inherits no weights, and leaves none.
    """
    bar = use.journal.bars.get(proposal.architecture.id)
    return Work(proposal.architecture, seed, proposal.at, heritage=None if again else proposal.heritage, bar=bar)


def recorded(use: Services, proposal: Proposal) -> Outcome | None:
    """Return the outcome that a killed process has recorded."""
    at = None if proposal.at is None else proposal.at.to_dict()
    found = use.journal.log.outcome_ahead(proposal.architecture.id, at)
    return None if found is None else outcome_from_dict(found)


def known_outcome(use: Services, proposal: Proposal) -> Outcome | None:
    """Return the outcome that a killed process has recorded, or that arrived there before its turn."""
    return recorded(use, proposal) or use.arrivals.left(work_of(use, proposal, use.config.seed))


def taken(use: Services, proposal: Proposal, *, seed: int) -> Outcome:
    """Return the outcome of one measurement, once it has arrived."""
    work = work_of(use, proposal, seed, again=seed != use.config.seed)
    outcome = use.arrivals.left(work)
    if outcome is None:
        use.executor.submit(work)
        outcome = use.executor.take(work)
    return outcome if proposal.at is None else replace(outcome, at=proposal.at)
