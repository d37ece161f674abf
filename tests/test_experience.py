"""What earlier searches and a language model change in a new search, and what their failure cannot change."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from nas_agent import Search
from nas_agent.errors import ModelError
from nas_agent.principles.constraint import Allowed, Constraint, Count
from nas_agent.principles.principle import Evidence, Principle
from nas_agent.records import Json, Measured, Task
from nas_agent.run import resume, start
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.journal import Journal
from nas_agent.tools.memory import Memory
from nas_agent.tools.recollection import RunMemory
from nas_agent.tools.run_folder import RunFolder
from tests.fakes import ScriptedModel
from tests.loopback import Said, Server
from tests.memories import Words
from tests.searching import TASK, Diary, Toy, config, evaluation, worth

OTHER = Task("other-toy", "Another made-up task that likes wide operations early and skips late.")
GOOD = json.dumps(
    {
        "information_flow": "Early layers matter most.",
        "patterns": "The best begin wide.",
        "principles": [
            {
                "text": "Begin wide.",
                "constraint": {"kind": "allowed", "decision": "layer_0", "options": ["wide"]},
            }
        ],
    }
)


def remembered(tmp_path: Path, scope: str = "others", task: Task = OTHER) -> RunMemory:
    """A memory that holds one search of `task`, as the new search of TASK sees it."""
    memory = Memory(tmp_path / "memory", Words())
    settings = config(tmp_path, budget=40, adapt_every=10, recall=scope)
    writer = RunMemory(settings, task, Toy(), tmp_path / "earlier", memory)
    earlier = Search(task, space=Toy(), evaluation=replace(evaluation(), task=task), budget=40, memory=writer)
    earlier.run()
    return RunMemory(settings, TASK, Toy(), tmp_path / "now", memory, keep=False)


def first_proposals(search: Search) -> list[Json]:
    return [event["proposal"] for event in search.journal.log.events if event["type"] == "proposal"][:5]


def test_what_is_recalled_is_measured_first_and_says_where_it_is_from(tmp_path: Path) -> None:
    cold = Search(TASK, space=Toy(), evaluation=evaluation(), budget=6)
    warm = Search(TASK, space=Toy(), evaluation=evaluation(), budget=6, memory=remembered(tmp_path))
    cold.run(), warm.run()
    assert [p["architecture"]["id"] for p in first_proposals(cold)] != [
        p["architecture"]["id"] for p in first_proposals(warm)
    ]
    # The best three of the source come first, then the surrogate chooses.
    best = [row["architecture"]["id"] for row in warm.journal.sources[0]["rows"][:3]]
    assert [p["architecture"]["id"] for p in first_proposals(warm)[:3]] == best
    authors = [p["author"] for p in first_proposals(warm)]
    assert [author == "best of other-toy" for author in authors] == [True, True, True, False, False]
    assert all("from other-toy" in item["why"] for item in warm.journal.recalled)
    assert warm.best is not None
    assert cold.best is not None
    assert warm.best.value >= cold.best.value


def test_what_is_recalled_stands_in_the_models_prompt(tmp_path: Path) -> None:
    model = ScriptedModel([GOOD])
    memory = remembered(tmp_path)
    Search(TASK, space=Toy(), evaluation=evaluation(), budget=6, memory=memory, model=model).run()
    assert "other-toy" in model.prompts[0]
    blank = ScriptedModel([GOOD])
    Search(TASK, space=Toy(), evaluation=evaluation(), budget=12, model=blank).run()
    assert "other-toy" not in blank.prompts[0]


def test_the_same_task_is_not_recalled_unless_asked_for(tmp_path: Path) -> None:
    assert remembered(tmp_path / "a", "others", TASK).recall() == []
    assert remembered(tmp_path / "b", "all", TASK).recall() != []
    assert remembered(tmp_path / "c", "none", OTHER).recall() == []


def test_recalled_principles_are_active_at_once_and_tested_by_this_run(tmp_path: Path) -> None:
    memory = remembered(tmp_path)
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=10, memory=memory)
    search.run()
    adopted = [e for e in search.journal.log.events if e["type"] == "principle" and "recalled" in e["why"]]
    if not any(item["kind"] == "principle" for item in memory.recall()):
        pytest.fail("the earlier search left no principle to recall")
    assert adopted
    assert all(event["evaluations"] == 0 for event in adopted)


class Recalling:
    """A memory that recalls one principle that rests on values of some provenance."""

    def __init__(self, provenance: str) -> None:
        self.provenance = provenance

    def recall(self) -> list[Json]:
        evidence = Evidence(("a", "b", "c"), (), 3.0, 2.0, 4.0, 9, ("there",))
        principle = Principle("X", 1, "Begin wide.", Allowed("layer_0", ("wide",)), "statistics", "active", evidence)
        about = {"task": "there", "provenance": self.provenance, "why": "it is near"}
        return [{"kind": "principle", "principle": principle.to_dict(), **about}]

    def remember(self, journal: Journal) -> str:
        return ""


@pytest.mark.parametrize(("provenance", "obeyed"), [("measured", True), ("predicted", False)])
def test_a_recalled_principle_constrains_the_first_proposals_only_if_it_was_measured(
    provenance: str, obeyed: bool
) -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=3, memory=Recalling(provenance))
    search.run()
    proposed = [event for event in search.journal.log.events if event["type"] == "proposed"]
    assert [event["principles"] for event in proposed] == [["P1@1"] if obeyed else []] * 2
    (created, *_) = [event for event in search.journal.log.events if event["type"] == "principle"]
    assert ("predicted, not measured, so it waits" in created["why"]) != obeyed


class LockedMemory:
    """A memory that another process holds at the end of the search."""

    def recall(self) -> list[Json]:
        return []

    def remember(self, journal: Journal) -> str:
        return "memory is held by another process"


def test_a_memory_that_cannot_be_written_does_not_cost_the_search() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=5, memory=LockedMemory())
    result = search.run()
    assert result.best is not None
    assert search.journal.log.events[-1]["type"] == "memory_failure"


MEASURED = {"provenance": "measured"}


class Planted:
    """A memory that recalls one false principle."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint

    def recall(self) -> list[Json]:
        principle = Principle("X", 1, "Believe me.", self.constraint, "person", "active")
        return [
            {"kind": "principle", "principle": principle.to_dict(), "task": "lies", "why": "it was planted", **MEASURED}
        ]

    def remember(self, journal: Journal) -> str:
        return ""


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("constraint", [Allowed("layer_0", ("pool", "skip")), Count(("wide",), at_most=1)], ids=str)
def test_a_planted_false_principle_is_retired_within_30_evaluations(constraint: Constraint, seed: int) -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=30, seed=seed, memory=Planted(constraint))
    search.run()
    (planted,) = [p for p in search.journal.library.principles if p.author == "person"]
    assert planted.status == "retired", f"still active as '{planted.constraint}' with {planted.evidence}"
    # Its story stands in the log: why it was believed, and why not any more.
    story = [e for e in search.journal.log.events if e["type"] == "principle" and e["principle"]["author"] == "person"]
    assert story[0]["action"] == "created"
    assert story[-1]["why"]


@pytest.mark.parametrize("task", ["cifar10", "cifar100", "ImageNet16-120"])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_false_principle_is_retired_within_30_measured_cells(task: str, seed: int) -> None:
    if not os.environ.get("NAS_AGENT_DATA"):
        pytest.skip("NAS_AGENT_DATA is not set: the measured cells are not at hand")
    false = Planted(Allowed("edge_2_3", ("none", "avg_pool_3x3")))
    search = Search(task, budget=30, seed=seed, memory=false)
    search.run()
    (planted,) = [p for p in search.journal.library.principles if p.author == "person"]
    assert planted.status == "retired", f"still active as '{planted.constraint}' with {planted.evidence}"


# -- the language model ------------------------------------------------------------------------------------


def test_a_models_principle_is_logged_with_its_author_and_tested_by_measurement() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=40, model=ScriptedModel([GOOD]))
    result = search.run()
    begin_wide = [
        principle
        for principle in search.journal.library.principles
        if principle.constraint == Allowed("layer_0", ("wide",)) and principle.author.startswith("scripted")
    ]
    assert begin_wide
    assert begin_wide[0].evidence.effect is not None
    assert result.llm["calls"] == 4 - 1  # after 10, 20 and 30 evaluations
    assert result.llm["input_tokens"] > 0


BAD_REPLIES = {
    "prose": "I would rather talk about the weather.",
    "broken JSON": '{"principles": [',
    "unknown operation": GOOD.replace('"wide"', '"conv7x7"'),
    "empties the space": GOOD.replace('["wide"]', "[]"),
    "refusal": "(refused) I cannot help with that.",
    "time-out": ModelError("the model did not answer within 60 s"),
}


@pytest.mark.parametrize("reply", BAD_REPLIES.values(), ids=BAD_REPLIES.keys())
def test_a_bad_reply_is_recorded_and_the_search_goes_on(reply: str | Exception) -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=15, model=ScriptedModel([reply]))
    result = search.run()
    failures = [event for event in search.journal.log.events if event["type"] == "model_failure"]
    assert failures
    assert all(failure["why"] for failure in failures)
    assert len(result.outcomes) == 15


def test_a_broken_model_leaves_the_search_as_it_is_without_one() -> None:
    plain = Search(TASK, space=Toy(), evaluation=evaluation(), budget=25).run()
    model = ScriptedModel([ModelError("gone")])
    broken = Search(TASK, space=Toy(), evaluation=evaluation(), budget=25, model=model).run()
    assert plain.curve == broken.curve


def test_a_run_with_a_served_model_ends_and_keeps_what_was_said(server: Server, tmp_path: Path) -> None:
    server.script = [Said(text=GOOD), Said(500, "busy"), Said(text="no JSON at all"), Said(text=GOOD)]
    settings = config(tmp_path / "runs", budget=30, adapt_every=10, llm=f"{server.url}#tiny")
    result = start(settings, evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    events, _ = read_events(folder.events)
    calls = [event for event in events if event["type"] == "model_call"]
    authors = {event["principle"]["author"] for event in events if event["type"] == "principle"}
    assert len(result.outcomes) == 30
    assert result.llm["calls"] == len(calls) >= 3
    assert any(f"{server.url}#tiny" in author for author in authors)
    assert list(folder.model_calls.glob("*.json"))
    assert "layer_0" in json.dumps(server.asked[0])


def test_a_resumed_run_asks_the_model_nothing_twice(server: Server, tmp_path: Path) -> None:
    server.script = [Said(text=GOOD)]
    settings = config(tmp_path / "runs", budget=20, adapt_every=5, llm=f"{server.url}#tiny")
    whole = start(settings, evaluation=evaluation())
    folder = RunFolder(Path(whole.run or ""))
    expected = [deterministic(event) for event in read_events(folder.events)[0]]
    asked = len(server.asked)
    for file in [*folder.path.glob("checkpoints*"), folder.best_json]:
        file.unlink()
    lines = folder.events.read_bytes().splitlines(keepends=True)
    folder.events.write_bytes(b"".join(lines[: len(lines) // 2]))
    again = resume(folder, evaluation=evaluation())
    assert len(server.asked) == asked
    assert again.curve == whole.curve
    assert [deterministic(event) for event in read_events(folder.events)[0]] == expected


def test_no_more_calls_are_made_than_allowed(server: Server, tmp_path: Path) -> None:
    server.script = [Said(text=GOOD)]
    settings = config(tmp_path / "runs", budget=30, adapt_every=5, max_calls=2, llm=f"{server.url}#tiny")
    result = start(settings, evaluation=evaluation())
    assert len(server.asked) == 2
    assert len(result.outcomes) == 30


def test_a_server_that_fails_later_is_a_recorded_failure_and_the_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.script = [Said(raw=b"")]
    settings = config(tmp_path / "runs", budget=12, adapt_every=10, llm=f"{server.url}#tiny")
    result = start(settings, evaluation=evaluation())
    events, _ = read_events(RunFolder(Path(result.run or "")).events)
    assert len(result.outcomes) == 12
    assert [event for event in events if event["type"] == "model_failure"]


def test_no_prompt_holds_a_test_value() -> None:
    class Offset(Diary):
        """Validation values that can be told from test values (one less) in a text."""

    model = ScriptedModel([GOOD])
    search = Search(TASK, space=Toy(), evaluation=evaluation(Offset()), budget=25, model=model)
    search.run()
    tests = {f"{worth(o.architecture) - 1.0:.2f}" for o in search.journal.archive if isinstance(o, Measured)}
    values = {f"{worth(o.architecture):.2f}" for o in search.journal.archive if isinstance(o, Measured)}
    for prompt in model.prompts:
        assert not any(f" {value}" in prompt for value in tests - values)
