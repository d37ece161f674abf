"""`--review`: a search stops before principles take effect, until a person has said something to each.

The journal holds back what would take effect (`Journal.changes`); the node `review` interrupts the graph while
anything waits. The answers are an event, so a resumed search asks nobody twice. Without `--review` nothing waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt

from nas_agent.graphs.services import Services
from nas_agent.graphs.state import SearchState, Update
from nas_agent.principles.review import Answer

if TYPE_CHECKING:
    from nas_agent.graphs.search import Graph


def review(state: SearchState, runtime: Runtime[Services]) -> Update:
    """Wait for a person's answers, or take those that stand in the log already, and carry them out."""
    journal = runtime.context.journal
    given = journal.log.ahead("reviewed")
    answers = given["answers"] if given is not None else interrupt(list(journal.pending))["answers"]
    journal.settle({reference: Answer.from_dict(answer) for reference, answer in answers.items()})
    return {"events": len(journal.log.events)}


def onward(state: SearchState, runtime: Runtime[Services]) -> str:
    """Say where a search goes once principles may have changed."""
    return "review" if runtime.context.journal.pending else "propose"


def hand_over(graph: Graph, answers: Mapping[str, Answer], services: Services, thread: Any) -> None:
    """Go on with the answers to what the graph has stopped for."""
    told = {"answers": {reference: answer.to_dict() for reference, answer in answers.items()}}
    graph.invoke(Command(resume=told), thread, context=services, durability="sync")
