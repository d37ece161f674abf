"""Run folders as what memory is rebuilt from and what `--from` reads, spoiled ones included."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nas_agent.errors import ConfigError, RunFolderError
from nas_agent.records import Json, Task
from nas_agent.run import start
from nas_agent.tools.event_log import EventLog, read_events
from nas_agent.tools.home import home
from nas_agent.tools.journal import Journal
from nas_agent.tools.memory import Memory
from nas_agent.tools.memory_answers import Remembered
from nas_agent.tools.recollection import RunMemory, check_source
from nas_agent.tools.run_folder import RunFolder, register
from nas_agent.tools.run_records import all_records, record_of
from tests.memories import Words
from tests.searching import TASK, Diary, LargeToy, Toy, config, evaluation

OTHER = Task("other-toy", "Another made-up task that likes wide operations early and skips late.")


def test_a_run_folder_is_enough_to_remember_it(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    record = record_of(RunFolder(Path(result.run or "")))
    assert record.task == TASK
    assert record.finished
    assert list(record.outcomes) == list(result.outcomes)
    assert [each.run_id for each in all_records()] == [record.run_id]


def test_memory_rebuilt_from_run_folders_recalls_the_same_as_before(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory", Words())
    for task in (OTHER, TASK):
        settings = config(tmp_path / "runs", budget=30, adapt_every=10)
        result = start(settings, evaluation=replace(evaluation(), task=task))
        folder = RunFolder(Path(result.run or ""))
        journal = Journal.begin(task, Toy(), EventLog.reopen(folder.events, len(read_events(folder.events)[0])))
        assert RunMemory(settings, task, Toy(), folder.path, memory).remember(journal) == ""
    before = [memory.recall(task, "toy", 20, 20, "all") for task in (TASK, OTHER)]
    stats = memory.stats()
    # What a folder says is what the finished search said.
    assert {memory.remember(record) for record in all_records()} == {Remembered.KNOWN}
    skipped: list[str] = []
    made = memory.rebuild(all_records(skipped))
    assert (made.runs, made.architectures, made.principles) == (2, 60, stats.principles)
    assert made.principles > 0
    assert skipped == []
    assert {type(item).__name__ for item in before[0]} == {"RecalledArchitecture", "RecalledPrinciple"}
    assert [memory.recall(task, "toy", 20, 20, "all") for task in (TASK, OTHER)] == before


def newer_format(folder: RunFolder) -> None:
    folder.write(folder.path / "run.json", json.dumps({**folder.about(), "format": 99, "version": "9.0"}))


def respoken(change: Callable[[Json], None], kind: str) -> Callable[[RunFolder], None]:
    """Change the first event of a kind, and leave a log that is well-formed."""

    def spoil(folder: RunFolder) -> None:
        events = read_events(folder.events)[0]
        change(next(event for event in events if event["type"] == kind))
        folder.write(folder.events, "".join(json.dumps(event) + "\n" for event in events))

    return spoil


SPOILED: dict[str, tuple[Callable[[RunFolder], object], str]] = {
    "a newer format": (newer_format, "format 99"),
    "a missing key": (respoken(lambda event: event.pop("task"), "started"), "KeyError.*'task'"),
    "a null": (respoken(lambda event: event.update(outcome=None), "outcome"), "NoneType"),
    "a text for a record": (respoken(lambda event: event.update(outcome="x"), "outcome"), "Error"),
    "a field too many": (respoken(lambda event: event["outcome"].update(colour=1), "outcome"), "colour"),
    "a value that is none": (respoken(lambda event: event["outcome"].update(value=float("nan")), "outcome"), "finite"),
    "an unknown constraint": (
        respoken(lambda event: event["principle"]["constraint"].update(kind="never"), "principle"),
        "never",
    ),
    "a line that is no JSON": (lambda folder: folder.events.write_text("{\n{}\n"), "line 1"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_a_spoiled_run_folder_is_named_and_does_not_keep_the_others_from_memory(case: str, tmp_path: Path) -> None:
    spoil, says = SPOILED[case]
    settings = config(tmp_path / "runs", budget=30)
    bad, good = (RunFolder(Path(start(settings, evaluation=evaluation()).run or "")) for _ in range(2))
    spoil(bad)
    with pytest.raises(RunFolderError, match=f"{bad.path.name}.*{says}"):
        record_of(bad)
    skipped: list[str] = []
    assert [record.run_id for record in all_records(skipped)] == [good.path.name]
    assert len(skipped) == 1
    assert bad.path.name in skipped[0]
    # By the task's name the other run is recalled from; by its own name, the spoiled one is refused.
    assert recall_from(TASK.name, tmp_path)
    for name in (bad.path.name, str(bad.path)):
        with pytest.raises(ConfigError, match=f"--from .*{bad.path.name}"):
            check_source(config(tmp_path, source=(name,)), TASK, Toy())


def test_a_run_that_was_cut_off_before_its_first_event_is_passed_over_in_silence(tmp_path: Path) -> None:
    folder = RunFolder(Path(start(config(tmp_path / "runs"), evaluation=evaluation()).run or ""))
    folder.events.write_text("")
    skipped: list[str] = []
    assert list(all_records(skipped)) == []
    assert skipped == []


def recall_from(source: str, tmp_path: Path) -> list[Json]:
    memory = Memory(tmp_path / "never made", Words())
    found = RunMemory(config(tmp_path, source=(source,)), TASK, Toy(), tmp_path / "now", memory).recall()
    assert not (tmp_path / "never made").exists()
    return found


def test_a_named_run_is_the_only_source_and_a_task_means_all_of_its_runs(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 2):
        settings = config(tmp_path / "runs", budget=12, seed=seed)
        runs.append(Path(start(settings, evaluation=replace(evaluation(), task=OTHER)).run or ""))

    def sources(source: str) -> set[str]:
        found = [item for item in recall_from(source, tmp_path) if item["kind"] == "architecture"]
        assert {item["of"] for item in found} == ({24} if source == OTHER.name else {12})
        return {item["run"] for item in found}

    for run in runs:
        for name in (str(run), run.name, run.name.rpartition("-")[2]):
            assert sources(name) == {run.name}
    assert sources("last") == {runs[1].name}
    assert sources(OTHER.name) <= {run.name for run in runs}
    # A run whose folder has the name of a task is that run, and a folder that is no run hides no task.
    named = tmp_path / OTHER.name
    shutil.copytree(runs[0], named)
    register(home(), RunFolder(named))
    found = recall_from(OTHER.name, tmp_path)
    assert {item["of"] for item in found if item["kind"] == "architecture"} == {12}


def test_a_folder_that_is_no_run_does_not_hide_the_task_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(config(tmp_path / "runs"), evaluation=replace(evaluation(), task=OTHER))
    (tmp_path / OTHER.name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert recall_from(OTHER.name, tmp_path)


def test_the_last_run_is_never_the_one_that_asks(tmp_path: Path) -> None:
    first = start(config(tmp_path / "runs", budget=30), evaluation=evaluation())
    assert first.best is not None
    again = start(config(tmp_path / "runs", budget=2, source=("last",), recall="none"), evaluation=evaluation())
    assert again.outcomes[0].architecture == first.best.architecture


@pytest.mark.parametrize("source", ["nowhere", "empty", "failed"])
def test_a_source_is_checked_before_a_run_is_made(source: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    failing = start(config(tmp_path / "runs", budget=3), evaluation=evaluation(Diary(fail_on="layer")))
    name = {"empty": str(tmp_path / "empty"), "failed": str(failing.run)}.get(source, source)
    with pytest.raises(ConfigError, match=source if source != "failed" else "with results in space 'toy'"):
        check_source(config(tmp_path, source=(name,)), TASK, Toy())


def test_a_source_of_another_space_is_refused_and_none_needs_no_check(tmp_path: Path) -> None:
    run = start(config(tmp_path / "runs"), evaluation=evaluation()).run
    check_source(config(tmp_path, source=(run,)), TASK, Toy())
    check_source(config(tmp_path), TASK, LargeToy())
    with pytest.raises(ConfigError, match="in space 'large-toy', found none"):
        check_source(config(tmp_path, source=(run,)), TASK, LargeToy())


def test_an_earlier_run_can_be_named_as_the_source(tmp_path: Path) -> None:
    first = start(config(tmp_path / "runs", budget=30), evaluation=evaluation())
    assert first.best is not None
    again = start(config(tmp_path / "runs", budget=2, source=(first.run,), recall="none"), evaluation=evaluation())
    assert again.outcomes[0].architecture == first.best.architecture


def test_a_source_that_is_no_run_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^--from nowhere: expected a task .*, found none of that name for space 'toy'; [^\n]*$"
    ):
        start(config(tmp_path / "runs", source=("nowhere",)), evaluation=evaluation())
