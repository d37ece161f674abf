"""Run methods x seeds over the cores, then open the test split for what validation chose."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from nas_agent.bench.agent import AGENTS, Agent
from nas_agent.bench.arch_llm import ARCH_LLM
from nas_agent.bench.bananas import Bananas, in_cole
from nas_agent.bench.baselines import BASELINES, RandomSearch
from nas_agent.bench.crossing import TestCurves, check_test_values, open_curves
from nas_agent.bench.llmatic import LLMATIC
from nas_agent.bench.methods import Method, Problem, Trace
from nas_agent.bench.pareto import FrontEvolution, FrontLocalSearch
from nas_agent.bench.statistics import chosen_by_validation
from nas_agent.bench.workers import available_cores, run_all
from nas_agent.errors import ConfigError
from nas_agent.objectives import Quantity
from nas_agent.spaces import Space, load_space
from nas_agent.tools.evaluators.base import Evaluation

# What `--methods` can name. Making a method is cheap and raises MissingExtra where a package lacks.
METHODS: dict[str, Callable[..., Method]] = {**AGENTS, **BASELINES, "bananas": Bananas, **ARCH_LLM, **LLMATIC}
# Those that need a trained model of the space, or one whose programs can be varied, run only where they are named.
USUAL = tuple(name for name in METHODS if name != "agent-vq" and name not in ARCH_LLM and name not in LLMATIC)

# Those that search for the front of two objectives.
FRONT_METHODS: dict[str, Callable[..., Method]] = {
    **{name: make for name, make in AGENTS.items() if name not in {"agent-memory", "agent-vq"}},
    "random": RandomSearch,
    "evolution": FrontEvolution,
    "local-search": FrontLocalSearch,
}

CHECKPOINTS = (20, 50, 100, 200, 500, 1000)

Loader = Callable[[], tuple[Space, Evaluation]]  # picklable and hashable: called once in each worker


@dataclass(frozen=True, slots=True)
class Setting:
    """What is searched, by name: each worker loads it for itself."""

    task: str
    space: str = "auto"
    evaluator: Literal["auto", "table", "embedded", "train"] = "auto"
    data: Path | None = None
    epochs: int | None = None
    limits: tuple[str, ...] = ()
    objective: Quantity | None = None  # beside the metric

    def __call__(self) -> tuple[Space, Evaluation]:
        """Load the space and the evaluation of the task."""
        from nas_agent.tools.benchmarks.registry import named_space
        from nas_agent.tools.evaluators.resolve import load_evaluation

        name = named_space(self.space, self.task)
        space = load_space(name)
        found = load_evaluation(self.task, space, self.evaluator, data=self.data, epochs=self.epochs, reference=name)
        if not self.limits and self.objective is None:
            return space, found
        from nas_agent.bench.wishes import within

        return space, within(space, found, self.limits)


@dataclass(frozen=True, slots=True)
class Progress:
    """One more run is done."""

    done: int
    total: int
    method: str
    seed: int


@dataclass(frozen=True)
class Comparison:
    """All runs of all methods, and the test values of what validation chose in them."""

    space: str
    evaluation: Evaluation
    budget: int
    seeds: tuple[int, ...]
    traces: Mapping[str, tuple[Trace, ...]]  # by method; in the order of `seeds`
    tests: Mapping[str, Mapping[int, tuple[float | None, ...]]]  # by method and checkpoint
    stop_at_optimum: bool
    jobs: int
    seconds: float
    test_curves: TestCurves | None = None  # None: not asked for, or not to be had
    targets: Mapping[str, float] | None = None  # parts of the optimum that may be missed; None: the usual ones

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of evaluations at which results are stated."""
        return checkpoints_of(self.budget)


def checkpoints_of(budget: int) -> tuple[int, ...]:
    """Return the usual ones within the budget, and the budget itself."""
    return (*(point for point in CHECKPOINTS if point < budget), budget)


def find_methods(
    names: Sequence[str],
    encodings: Sequence[str] = (),
    predictor: str | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    fronts: bool = False,
) -> dict[str, Callable[..., Method]]:
    """Look methods up by name; raise ConfigError that lists all of them.

    With `encodings`, `bananas` becomes one method for each, with COLE's settings; `settings` go to every agent. With
    `fronts`, methods for two objectives.
    """
    known = FRONT_METHODS if fronts else METHODS
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        came = ", ".join(f"'{name}'" for name in unknown) or "none"
        raise ConfigError(f"--methods: expected some of {', '.join(known)}, got {came}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--methods: expected each method once, got {', '.join(names)}")
    if (encodings or predictor) and "bananas" not in names:
        raise ConfigError(f"--encoding and --predictor are of the method bananas, got {', '.join(names)}; add it")
    if predictor and not encodings:
        raise ConfigError("--predictor goes with --encoding; add e.g. --encoding path,cole,structure,joint")
    agents = [name for name in names if name in AGENTS]
    if settings and not agents:
        raise ConfigError(f"--set is of the methods {', '.join(AGENTS)}, got {', '.join(names)}; add one of them")
    found: dict[str, Callable[..., Method]] = {}
    for name in names:
        if name == "bananas" and encodings:
            found.update(in_cole(encodings, predictor or "mlp"))
        elif name in agents and settings:
            found[name] = _Set(AGENTS[name], tuple(settings.items()))
        else:
            found[name] = known[name]
    return found


@dataclass(frozen=True, slots=True)
class _Set:
    """Makes an agent with settings that override its own."""

    make: Callable[[], Method]
    settings: tuple[tuple[str, Any], ...]

    def __call__(self) -> Method:
        agent = self.make()
        assert isinstance(agent, Agent)
        return replace(agent, settings=(*dict([*agent.settings, *self.settings]).items(),))


def compare(
    methods: Mapping[str, Callable[..., Method]],
    load: Loader,
    *,
    seeds: Sequence[int],
    budget: int,
    jobs: int | None = None,
    stop_at_optimum: bool = False,
    test_curves: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Comparison:
    """Run every method with every seed; the result does not depend on `jobs` (None: one for each core).

    With `test_curves` the test split is opened for whatever was ever the best by validation, and for the threshold.
    """
    jobs = jobs if jobs is not None else available_cores()
    _check(methods, seeds, budget, jobs)
    for make in methods.values():
        make()  # a missing package is told now, not by a worker
    begun = time.perf_counter()
    space, evaluation = load()
    if stop_at_optimum and evaluation.optimum is None:
        raise ConfigError("--stop-at-optimum needs a complete table, whose optimum is known; leave the flag out")
    if test_curves:
        check_test_values(evaluation)
    stop_at = evaluation.optimum if stop_at_optimum else None
    work = [_Job(load, name, make, seed, budget, stop_at) for seed in seeds for name, make in methods.items()]
    done = _run_all(work, min(jobs, len(work)), progress)
    traces = {name: tuple(done[name, seed] for seed in seeds) for name in methods}
    return Comparison(
        space=space.name,
        evaluation=evaluation,
        budget=budget,
        seeds=tuple(seeds),
        traces=traces,
        tests=_open_tests(evaluation, traces, budget),
        stop_at_optimum=stop_at_optimum,
        jobs=jobs,
        seconds=time.perf_counter() - begun,
        test_curves=open_curves(evaluation, traces, budget) if test_curves else None,
    )


def _check(methods: Mapping[str, Callable[..., Method]], seeds: Sequence[int], budget: int, jobs: int) -> None:
    if not methods:
        raise ConfigError("--methods: expected at least one method, got none")
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"--seeds: expected at least one seed, each once and none negative, got {list(seeds)[:10]}")
    if budget < 1:
        raise ConfigError(f"--budget: expected at least 1 evaluation, got {budget}")
    if jobs < 1:
        raise ConfigError(f"--jobs: expected at least 1 worker, got {jobs}")


def _open_tests(
    evaluation: Evaluation, traces: Mapping[str, tuple[Trace, ...]], budget: int
) -> dict[str, dict[int, tuple[float | None, ...]]]:
    """Open the test split once for each cell that validation chose, after all runs have ended."""
    opened: dict[tuple[str, int], float | None] = {}

    def test_value(trace: Trace, evaluations: int) -> float | None:
        winner = chosen_by_validation(evaluation.task, trace, evaluations)
        if winner is None:
            return None
        if (winner.id, trace.seed) not in opened:
            opened[winner.id, trace.seed] = evaluation.test_split.open(winner, seed=trace.seed).value
        return opened[winner.id, trace.seed]

    return {
        name: {point: tuple(test_value(trace, point) for trace in runs) for point in checkpoints_of(budget)}
        for name, runs in traces.items()
    }


# -- jobs and workers -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    load: Loader
    name: str
    make: Callable[..., Method]
    seed: int
    budget: int
    stop_at: float | None

    def __str__(self) -> str:
        return f"method '{self.name}', seed {self.seed}"


@lru_cache(maxsize=1)
def _loaded(load: Loader) -> tuple[Space, Evaluation]:
    space, evaluation = load()
    if evaluation.evaluator.pool() is None:
        space.enumerate()  # listing a space is start-up, not the cost of whichever method comes first
    return space, evaluation


def _work(job: _Job) -> Trace:
    space, evaluation = _loaded(job.load)
    objective = job.load.objective if isinstance(job.load, Setting) else None
    problem = Problem(
        space,
        evaluation.task,
        evaluation.evaluator,
        job.stop_at,
        costs=evaluation.costs,
        objective=objective,
        related=_Related(job.load),
    )
    trace = job.make().run(problem, job.seed, job.budget)
    if len(trace.values) > job.budget or len(set(trace.ids)) < len(trace.ids):
        raise RuntimeError(f"{len(trace.values)} evaluations of {len(set(trace.ids))} ids, budget {job.budget}")
    return trace


@dataclass(frozen=True, slots=True)
class _Related:
    """Loads the other tasks of the same benchmark when a method with memory asks for them."""

    load: Loader

    def __call__(self) -> tuple[Problem, ...]:
        from nas_agent.tools.benchmarks.registry import benchmark_of, named_space

        if not isinstance(self.load, Setting):
            return ()
        space, evaluation = _loaded(self.load)
        found = benchmark_of(evaluation.task.name, space)
        others = () if found is None else (task.name for task in found[0].tasks if task.name != evaluation.task.name)
        same_space = replace(self.load, space=named_space(self.load.space, self.load.task))
        loaded = [_loaded(replace(same_space, task=task)) for task in others]
        return tuple(Problem(space, evaluation.task, evaluation.evaluator) for space, evaluation in loaded)


def _run_all(
    work: Sequence[_Job], jobs: int, progress: Callable[[Progress], None] | None
) -> dict[tuple[str, int], Trace]:
    results: dict[tuple[str, int], Trace] = {}

    def done(job: _Job, trace: Trace) -> None:
        results[job.name, job.seed] = trace
        if progress is not None:
            progress(Progress(len(results), len(work), job.name, job.seed))

    run_all(work, _work, jobs, named=str, done=done)
    return results
