"""What stands for an evaluator where the caller of `ask` and `tell` measures."""

from __future__ import annotations

from collections.abc import Sequence

from nas_agent.records import Architecture, Fidelity, Outcome, Provenance
from nas_agent.tools.evaluators.base import TestResult

CALLER = "the caller measures"


class Told:
    """The evaluator of ask and tell: it answers with what the caller has told."""

    name = "told"
    provenance: Provenance = "measured"
    fidelity = "told by the caller"

    def __init__(self, pool: Sequence[Architecture] | None) -> None:
        self._pool = pool
        self.outcomes: dict[str, Outcome] = {}

    def pool(self) -> Sequence[Architecture] | None:
        """Return the candidates, where they are listed."""
        return self._pool

    def evaluate(self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None) -> Outcome:
        """Return what was told."""
        return self.outcomes.pop(architecture.id)


class NoTestSplit:
    """For callers who measure themselves: there is nothing to open."""

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Say that there is no test split."""
        return TestResult(None, "measured", "the caller keeps the test split")
