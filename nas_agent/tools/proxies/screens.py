"""Where the proxy scores of a task's architectures come from: a table's column, or the process that trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nas_agent.errors import ConfigError
from nas_agent.records import Architecture
from nas_agent.tools.benchmarks import nb201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.table import TableEvaluator
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator
from nas_agent.tools.tables import BenchmarkTable


class Screen(Protocol):
    """Scores architectures that are not measured yet; more is hoped to be better."""

    @property
    def name(self) -> str:
        """The proxy."""
        ...

    @property
    def listed(self) -> bool:
        """Whether the scores are known at once, without building anything."""
        ...

    def __call__(self, architectures: Sequence[Architecture]) -> list[float | None]:
        """Score them; None is worse than any score: a degenerate network, or one that cannot be built."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """What a table knows."""

    name: str
    values: Mapping[str, float]  # canonical id -> score
    listed: bool = True

    def __call__(self, architectures: Sequence[Architecture]) -> list[float | None]:
        """Look them up."""
        found = (self.values.get(architecture.id) for architecture in architectures)
        return [value if value is not None and math.isfinite(value) else None for value in found]


@dataclass(frozen=True, slots=True)
class Computed:
    """Computed of the untrained network, in a child of the process that trains."""

    name: str
    trainer: ImageTrainer
    seed: int
    listed: bool = False

    def __call__(self, architectures: Sequence[Architecture]) -> list[float | None]:
        """Build each network with the weights of the seed, and score it on one batch."""
        return [self.trainer.proxies(each, [self.name], self.seed).get(self.name) for each in architectures]


def make_screen(name: str, evaluation: Evaluation, *, seed: int) -> Screen | None:
    """Find what knows a proxy; None for `none`, ConfigError where nothing does."""
    if name == "none":
        return None
    evaluator = evaluation.evaluator
    if isinstance(evaluator, TrainEvaluator):
        if evaluator.trainer.confined:
            raise ConfigError(f"--screen {name}: code that nobody vouches for is not scored untrained; leave it out")
        return Computed(name, evaluator.trainer, seed)
    if isinstance(evaluator, TableEvaluator):
        values = _column(name, evaluator.table)
        if values:
            return Listed(name, values)
    raise ConfigError(
        f"--screen {name}: the evaluator '{evaluator.name}' has no such score of its architectures; "
        "leave --screen out, or add --evaluator train"
    )


def _column(name: str, table: BenchmarkTable) -> Mapping[str, float] | None:
    if name == "naswot":
        return nb201.naswot(table) if nb201.is_published(table) else None
    return table.column(name) if name in {"params", "flops"} else None
