"""Look architectures up in a benchmark table instead of training them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nas_agent.records import Architecture, Failed, Fidelity, Measured, Outcome, Provenance
from nas_agent.tools.evaluators.base import TestResult
from nas_agent.tools.tables import BenchmarkTable, Row


class TableEvaluator:
    """Answers with the validation value of the cheapest measured member of an architecture's class."""

    name = "table"

    def __init__(self, table: BenchmarkTable, others: Mapping[Fidelity, BenchmarkTable] | None = None) -> None:
        """`others`: the same architectures at other fidelities."""
        self._table, self._others = table, others or {}

    @property
    def table(self) -> BenchmarkTable:
        """What it looks things up in."""
        return self._table

    @property
    def source(self) -> Path:
        """The file that the table was read from."""
        return self._table.source

    @property
    def provenance(self) -> Provenance:
        """Whether the table's values were measured; some tables hold what a surrogate predicted."""
        return self._table.provenance

    @property
    def fidelity(self) -> str:
        """How the table's values were obtained."""
        return self._table.fidelity

    def pool(self) -> Sequence[Architecture]:
        """Return the measured architectures, one of each isomorphism class."""
        return self._table.pool()

    def cells(self) -> list[tuple[Architecture, float]]:
        """Return every row and its value, isomorphic ones too: what a predictor is fitted on and tried with."""
        return [(row.architecture, row.value) for row in self._table.members()]

    def cell_values(self) -> list[float]:
        """Return the value of every row, isomorphic ones too: what a share of all cells is taken of."""
        return [value for _, value in self.cells()]

    def best(self, number: int) -> list[Measured]:
        """Return the best architectures of the table, best first: what another task may read of this one."""
        score = self._table.task.score
        ranked = sorted(self._table.representatives(), key=lambda row: -score(row.value))
        return [self._measured(row.architecture, row) for row in ranked[:number]]

    def evaluate(self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None) -> Outcome:
        """Look the validation value up; the seed changes nothing, since the table is fixed."""
        if fidelity is not None and fidelity in self._others:
            outcome = TableEvaluator(self._others[fidelity]).evaluate(architecture, seed=seed)
            return replace(outcome, at=fidelity)
        row = self._table.row(architecture)
        if row is None:
            return Failed(
                architecture,
                reason=f"{architecture.text} is not in the table; propose one of its {len(self.pool()):,} others",
                seconds=0.0,
                seed=seed,
                evaluator=self.name,
            )
        return self._measured(architecture, row, seed)

    def _measured(self, architecture: Architecture, row: Row, seed: int = 0) -> Measured:
        return Measured(
            architecture,
            value=row.value,
            fidelity=self.fidelity,
            seconds=row.seconds,
            seed=seed,
            evaluator=self.name,
            provenance=self.provenance,
            simulated=self._table.simulated,
        )


class TableTestSplit:
    """Reads the test value that belongs to the validation value the search saw."""

    def __init__(self, table: BenchmarkTable) -> None:
        self._table = table

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Return the test value of the architecture's row."""
        row = self._table.row(architecture)
        if row is None or row.test is None:
            what = "no row" if row is None else "no test value"
            return TestResult(None, self._table.provenance, f"the table has {what} for this architecture")
        note = f"test split, {self._table.fidelity}, same row as the validation value"
        return TestResult(row.test, self._table.provenance, note)
