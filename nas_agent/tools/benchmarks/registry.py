"""All published benchmarks that the program can search on, and where each task was measured.

A task name may belong to several benchmarks, since CIFAR-10 was measured in many spaces; the first one listed is
the one that is meant where no space is named.
"""

from __future__ import annotations

from nas_agent.records import Task
from nas_agent.spaces import Space, load_space
from nas_agent.tools.benchmarks import nb201, trans101
from nas_agent.tools.benchmarks.base import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (*nb201.BENCHMARKS, *trans101.BENCHMARKS)
# What `--space auto` means for a task that is in no benchmark: digits, a user's table, a task of the caller's.
DEFAULT_SPACE = "nb201"


def task_names() -> tuple[str, ...]:
    """List every task of every benchmark once."""
    return tuple(dict.fromkeys(task.name for benchmark in BENCHMARKS for task in benchmark.tasks))


def measured_in(task: str) -> tuple[tuple[Benchmark, Task], ...]:
    """Return the benchmarks that measured a task of this name, in any spelling of its case."""
    return tuple(
        (benchmark, known)
        for benchmark in BENCHMARKS
        for known in benchmark.tasks
        if known.name.lower() == task.lower()
    )


def benchmark_of(task: str, space: Space) -> tuple[Benchmark, Task] | None:
    """Return the benchmark that measured this task in this space, a subclass of it included; None for no such."""
    of_space = ((b, known) for b, known in measured_in(task) if isinstance(space, type(load_space(b.space))))
    return next(of_space, None)


def tasks_in(space: Space) -> tuple[str, ...]:
    """List the tasks that were measured in this space."""
    mine = (benchmark for benchmark in BENCHMARKS if isinstance(space, type(load_space(benchmark.space))))
    return tuple(dict.fromkeys(task.name for benchmark in mine for task in benchmark.tasks))


def named_space(space: str, task: str) -> str:
    """Return the space as named, and for `auto` the first one in which the task was measured."""
    if space != "auto":
        return space
    return next((benchmark.space for benchmark, _ in measured_in(task)), DEFAULT_SPACE)
