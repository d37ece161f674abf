"""What measures an architecture, and what opens the test split once at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nas_agent.records import Architecture, Json, Outcome, Provenance, Task
from nas_agent.tools.fidelities import Rungs

if TYPE_CHECKING:
    from nas_agent.tools.costs import Costs


class Evaluator(Protocol):
    """Measures on the validation split. A bad candidate is a Failed; a broken machine is an exception."""

    @property
    def name(self) -> str:
        """`table`, `embedded` or `train`: what every outcome carries."""
        ...

    @property
    def provenance(self) -> Provenance:
        """Whether its values are measured or predicted."""
        ...

    @property
    def fidelity(self) -> str:
        """How values are obtained, e.g. "200 epochs"."""
        ...

    def pool(self) -> Sequence[Architecture] | None:
        """Return the only architectures it can answer for (canonical, distinct), or None for the whole space."""
        ...

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        """Measure one architecture on the validation split."""
        ...


@dataclass(frozen=True, slots=True)
class ImageShape:
    """What a network is built for: it decides what the network costs."""

    classes: int = 10
    channels: int = 3
    side: int = 32  # pixels
    width: int | None = None  # channels of the first stage; None: as published


@dataclass(frozen=True, slots=True)
class TestResult:
    """The value of the winner on the test split."""

    value: float | None  # None where the task has no test split; `note` says so
    provenance: Provenance
    note: str

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"value": self.value, "provenance": self.provenance, "note": self.note}


class TestSplit(Protocol):
    """Opened once, by the last node of a search, for the architecture chosen by validation."""

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        """Return the test value of the winner."""
        ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that a task brings along."""

    task: Task
    evaluator: Evaluator
    test_split: TestSplit
    note: str  # one line for the user: which evaluator was picked and why, rows left out, ...
    optimum: float | None = None  # best validation value where a complete table knows it; for `bench` only
    costs: Costs | None = None  # what architectures cost; None: as `tools/costs` finds out
    rungs: Rungs | None = None  # the fidelities of the search, where the evaluator varies them; None: one fidelity
