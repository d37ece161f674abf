"""Runs to remember, small enough to reckon with, and an embedder without a model."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nas_agent.principles.constraint import Allowed
from nas_agent.principles.principle import Evidence, Principle, Status
from nas_agent.records import Architecture, Measured, Task
from nas_agent.tools.embeddings import Vectors
from nas_agent.tools.remembered import RecalledArchitecture, RecalledPrinciple, RunRecord

C10 = Task("cifar10", "natural colour images 32x32 of 10 classes")
C100 = Task("cifar100", "natural colour images 32x32 of 100 classes")
DIGITS = Task("digits", "grey handwritten numbers 8x8")


class Words:
    """An embedder without a model: texts that share words are near. Keeps a diary of what it was asked."""

    dimension = 64

    def __init__(self, name: str = "words") -> None:
        self.name = name
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in text.split():
                row[zlib.crc32(word.encode()) % self.dimension] += 1
            row /= np.linalg.norm(row)
        return vectors


def cell(number: int, space: str = "tiny") -> Architecture:
    return Architecture(space, f"depth={number},width={number % 3}", f"id{number:03d}")


def measured(number: int, value: float, *, space: str = "tiny", fidelity: str = "200 epochs") -> Measured:
    return Measured(cell(number, space), value, fidelity, seconds=1.5, seed=0, evaluator="table")


def predicted(number: int, value: float) -> Measured:
    return replace(measured(number, value), evaluator="embedded", provenance="predicted")


def principle(
    key: str, low: float, *, option: str = "", status: Status = "active", tasks: tuple[str, ...] = ()
) -> Principle:
    option = option or key
    evidence = Evidence(("id001",), ("id002",), low + 1, low, low + 2, others=8, tasks=tasks)
    return Principle(key, 1, f"choose {option}", Allowed("depth", (option,)), "statistics", status, evidence)


def record(run: str, task: Task, outcomes: Sequence[object], principles: Sequence[Principle] = ()) -> RunRecord:
    return RunRecord(run, task, "tiny", outcomes, principles, finished=True)


def some_runs() -> list[RunRecord]:
    """Three tasks; on each, later cells are better; cifar10 has two runs."""
    return [
        record("a", C10, [measured(n, 80 + n) for n in range(10)], [principle("p1", 2.0), principle("p2", 3.0)]),
        record("b", C10, [measured(n, 80 + n) for n in range(5, 15)], [principle("p1", 4.0, option="eight")]),
        record("c", DIGITS, [measured(n, 50 - n) for n in range(10)], [principle("p1", 9.0, option="two")]),
        record("d", C100, [measured(n, 70 - n) for n in range(20, 30)], [principle("p9", 1.0)]),
    ]


def architectures(found: Sequence[object]) -> list[RecalledArchitecture]:
    return [item for item in found if isinstance(item, RecalledArchitecture)]


def principles(found: Sequence[object]) -> list[RecalledPrinciple]:
    return [item for item in found if isinstance(item, RecalledPrinciple)]
