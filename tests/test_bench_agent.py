"""The project's own search as a bench method: every arm runs, and differs from the others by what its name says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nas_agent.bench.agent import AGENTS, Agent, AgentWithMemory
from nas_agent.bench.compare import METHODS
from nas_agent.bench.methods import Problem, Trace
from nas_agent.records import Task
from tests.memories import Words
from tests.searching import TASK, Diary, Toy, worth

OTHER = Task("other-toy", "Another made-up task that likes wide operations early and skips late.")


def problem(**changes: object) -> Problem:
    related = Problem(Toy(), OTHER, Diary())
    given = Problem(Toy(), TASK, Diary(), related=lambda: (related,))
    return replace(given, **changes)  # type: ignore[arg-type]


def ids(trace: Trace) -> list[str]:
    return [architecture.id for architecture in trace.architectures]


# One needs memories, one an embedder, one a trained model of the space.
ELSEWHERE = {"agent-memory", "agent-joint", "agent-vq"}


@pytest.mark.parametrize("name", [name for name in AGENTS if name not in ELSEWHERE])
def test_each_arm_spends_its_budget_and_repeats_itself_by_seed(name: str) -> None:
    first, second = (METHODS[name]().run(problem(), 1, 12) for _ in range(2))
    assert len(first.values) == 12
    assert ids(first) == ids(second)
    assert ids(first) != ids(METHODS[name]().run(problem(), 2, 12))


def test_memory_begins_where_the_related_task_was_best() -> None:
    method = AgentWithMemory(embedder=Words, source_budget=40)
    warm, cold = method.run(problem(), 0, 5), Agent().run(problem(), 0, 5)
    assert len(warm.values) == 5
    assert warm.values[0] == max(worth(architecture) for architecture in Toy().enumerate() or ())
    assert ids(warm) != ids(cold)


def test_memory_without_related_tasks_is_a_cold_start() -> None:
    alone = problem(related=tuple)
    assert ids(AgentWithMemory(embedder=Words).run(alone, 3, 8)) == ids(Agent().run(alone, 3, 8))


def test_without_a_surrogate_the_choice_is_left_to_chance() -> None:
    with_one, without = (METHODS[name]().run(problem(), 5, 40) for name in ("agent", "agent-no-surrogate"))
    assert max(filter(None, with_one.values)) > max(filter(None, without.values))


def test_a_run_may_end_at_the_known_optimum() -> None:
    best = max(worth(architecture) for architecture in Toy().enumerate() or ())
    trace = Agent().run(problem(stop_at=best), 0, 200)
    assert trace.stopped == "optimum"
    assert len(trace.values) < 200
    assert trace.values[-1] == best
