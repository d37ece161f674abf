"""Weights that pass from parents to children: who may begin with what is written into the proposal."""

from __future__ import annotations

from dataclasses import replace

from nas_agent.graphs.services import Services
from nas_agent.records import Proposal
from nas_agent.tools.heritage import heritage_of


def inheriting(use: Services, proposal: Proposal) -> Proposal:
    """Say what a proposal's training may begin with; nothing in a search that does not inherit."""
    if use.config.inherit == "none":
        return proposal
    return replace(proposal, heritage=heritage_of(use.journal.archive, proposal.parents))
