"""A small space, tasks with a known answer, and evaluators that keep a diary: shared by the tests of a search."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nas_agent.config import Config
from nas_agent.records import Architecture, Failed, Measured, Outcome, Provenance, Task
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.tools.evaluators.base import Evaluation, TestResult

TASK = Task("toy", "A made-up task that likes wide operations early and skips late.")
WORTH = {"wide": 3.0, "narrow": 2.0, "skip": 1.0, "pool": 0.5}


class Toy(CategoricalSpace):
    """Five decisions with four options each: 1,024 architectures."""

    name = "toy"
    decisions = tuple(Decision(f"layer_{i}", tuple(WORTH), f"the operation of layer {i}") for i in range(5))


class LargeToy(CategoricalSpace):
    """Too large to be listed: 4 ** 10 architectures."""

    name = "large-toy"
    decisions = tuple(Decision(f"layer_{i}", tuple(WORTH)) for i in range(10))


def worth(architecture: Architecture) -> float:
    """An additive value with one interaction; the best architecture is known to the tests."""
    options = [part.split("=")[1] for part in architecture.text.split(",")]
    value = sum(WORTH[option] / (1 + place) for place, option in enumerate(options))
    return 50.0 + 4.0 * value + (5.0 if options[-1] == "skip" and options[0] == "wide" else 0.0)


@dataclass
class Diary:
    """An evaluator that writes every call down, in memory and, if asked, in a file; it can fail and be slow."""

    file: Path | None = None
    seconds: float = 0.0
    fail_on: str | None = None  # architectures with this option somewhere do not train
    calls: list[str] = field(default_factory=list)
    name: str = "diary"
    provenance: Provenance = "measured"
    fidelity: str = "made up"

    def pool(self) -> Sequence[Architecture] | None:
        return None

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        self.calls.append(architecture.id)
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(architecture.id + "\n")
        time.sleep(self.seconds)
        if self.fail_on is not None and self.fail_on in architecture.text:
            return Failed(architecture, f"{self.fail_on} does not train; leave it out", 0.0, seed, self.name)
        return Measured(architecture, worth(architecture), self.fidelity, 0.0, seed, self.name)


@dataclass
class TestVault:
    """A test split that counts how often it was opened."""

    __test__ = False
    opened: list[str] = field(default_factory=list)

    def open(self, architecture: Architecture, *, seed: int) -> TestResult:
        self.opened.append(architecture.id)
        return TestResult(worth(architecture) - 1.0, "measured", "made up")


def evaluation(evaluator: Diary | None = None, vault: TestVault | None = None) -> Evaluation:
    return Evaluation(TASK, evaluator or Diary(), vault or TestVault(), "made up for a test")


def config(out: Path, space: str = f"{__file__}:Toy", **settings: object) -> Config:
    """A configuration that touches no memory and needs no model."""
    values: dict[str, object] = {"budget": 14, "memory": False, "recall": "none"}
    if settings.get("principles", not settings.get("objectives")):
        values["adapt_every"] = 4
    return Config(task="toy", space=space, out=out, **{**values, **settings})
