"""Evaluate in this process, one after the other, when the outcome is asked for."""

from __future__ import annotations

from nas_agent.records import Outcome
from nas_agent.tools.evaluators.base import Evaluator
from nas_agent.tools.executors.base import Arrived, Work, perform


class InlineExecutor:
    """Does nothing ahead of time, so nothing arrives before its turn."""

    workers = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def begin(self, arrived: Arrived) -> None:
        """Nobody needs to hear: each outcome is taken as it arrives."""

    def submit(self, work: Work) -> None:
        """It is done when it is taken."""

    def take(self, work: Work) -> Outcome:
        """Evaluate."""
        return perform(self._evaluator, work)

    def close(self) -> None:
        """There is nothing to end."""
