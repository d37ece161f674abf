"""What the program must know of a published benchmark to search on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nas_agent.records import Task
from nas_agent.spaces.base import Space
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.tables import BenchmarkTable


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A table of one space. Several benchmarks may share tasks: CIFAR-10 was measured in many spaces."""

    title: str  # e.g. "NAS-Bench-201"
    file: str  # its name in a data folder
    space: str  # the name of the space whose architectures it holds
    tasks: tuple[Task, ...]
    epochs: tuple[int, ...]  # those that can be asked for, the default first; empty where there is nothing to choose
    needs: Callable[[Task, int | None], tuple[str, ...]]  # arrays of the file; the first has a row an architecture
    load: Callable[[Path, Task, Space, int | None], BenchmarkTable]  # the last argument: epochs, or None
    # A packaged regressor that answers, labelled predicted, where the file is missing or an architecture is not in it.
    embedded: Callable[[Space, Task, str], Evaluation] | None = None  # the last argument: why it is used, for the note
