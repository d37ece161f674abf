"""A search that was stopped anywhere ends as the one that was never stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from nas_agent.config import Config
from nas_agent.engine import Engine
from nas_agent.errors import ConfigError, RunFolderError, StorageError
from nas_agent.graphs.checkpoints import events_seen
from nas_agent.records import Json
from nas_agent.result import Result
from nas_agent.run import resume, start
from nas_agent.tools.event_log import EventLog, deterministic, read_events
from nas_agent.tools.journal import Journal
from nas_agent.tools.run_folder import RunFolder, create, find, known_folders, open_folder, register, remove
from tests.resumed import Killed, events_of, killed_at, the_folder
from tests.searching import Diary, TestVault, Toy, config, evaluation


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Json], Result]:
    out = tmp_path_factory.mktemp("unbroken")
    os.environ["NAS_AGENT_HOME"] = str(out / "home")
    result = start(config(out / "runs"), evaluation=evaluation())
    return events_of(RunFolder(Path(result.run or ""))), result


EVENTS = 45  # about as many as the unbroken run writes; later points are skipped


@pytest.mark.parametrize("point", range(1, EVENTS))
def test_stopped_after_any_event_it_goes_on_as_if_never_stopped(
    tmp_path: Path, unbroken: tuple[list[Json], Result], point: int
) -> None:
    expected, whole = unbroken
    if point >= len(expected):
        pytest.skip("the run writes fewer events")
    first, second = Diary(), Diary()
    with pytest.raises(Killed):
        start(config(tmp_path / "runs"), [killed_at(point)], evaluation=evaluation(first))
    folder = the_folder(tmp_path / "runs")
    before = len(events_of(folder))
    result = resume(folder, evaluation=evaluation(second))
    assert events_of(folder) == expected
    assert result.curve == whole.curve
    assert before == point
    assert len(first.calls) + len(second.calls) <= 14 + 1
    assert not (folder.path / "events.discarded.jsonl").exists()


@pytest.mark.parametrize("lost", [1, 3, 8])
def test_a_log_that_lost_its_last_lines_is_made_whole_again(
    tmp_path: Path, unbroken: tuple[list[Json], Result], lost: int
) -> None:
    expected, whole = unbroken
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    lines = folder.events.read_bytes().splitlines(keepends=True)
    folder.events.write_bytes(b"".join(lines[:-lost]))
    folder.best_json.unlink()
    diary = Diary()
    assert resume(folder, evaluation=evaluation(diary)).curve == whole.curve
    assert events_of(folder) == expected
    assert len(diary.calls) <= lost


def test_a_half_written_last_line_is_cut_off(tmp_path: Path, unbroken: tuple[list[Json], Result]) -> None:
    expected, _ = unbroken
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    raw = folder.events.read_bytes()
    folder.events.write_bytes(raw[: len(raw) - 40])
    folder.best_json.unlink()
    resume(folder, evaluation=evaluation())
    assert events_of(folder) == expected


def test_without_any_checkpoint_the_log_is_enough(tmp_path: Path, unbroken: tuple[list[Json], Result]) -> None:
    expected, _ = unbroken
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    for file in folder.path.glob("checkpoints*"):
        file.unlink()
    folder.best_json.unlink()
    diary = Diary()
    resume(folder, evaluation=evaluation(diary))
    assert events_of(folder) == expected
    assert diary.calls == []


def test_a_broken_file_of_checkpoints_costs_nothing(tmp_path: Path, unbroken: tuple[list[Json], Result]) -> None:
    expected, _ = unbroken
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    for file in folder.path.glob("checkpoints.sqlite-*"):
        file.unlink()
    folder.checkpoints.write_bytes(b"this is no database" * 100)
    folder.best_json.unlink()
    resume(folder, evaluation=evaluation())
    assert events_of(folder) == expected


def test_resuming_a_finished_run_returns_its_result_and_measures_nothing(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    before, diary = folder.events.read_bytes(), Diary()
    again = resume(folder, evaluation=evaluation(diary))
    assert again.to_dict() | {"seconds": 0} == result.to_dict() | {"seconds": 0}
    assert diary.calls == []
    assert folder.events.read_bytes() == before


def run_process(what: str, out: Path, diary: Path, home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "NAS_AGENT_HOME": str(home), "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parent.parent
    return subprocess.Popen([sys.executable, "-m", "tests.resumed", what, out, diary], env=environment, cwd=root)


@pytest.mark.parametrize("lines", [2, 9, 21, 33])
def test_after_kill_9_a_new_process_goes_on(tmp_path: Path, unbroken: tuple[list[Json], Result], lines: int) -> None:
    expected, _ = unbroken
    out, diary, home = tmp_path / "runs", tmp_path / "diary", tmp_path / "home"
    process = run_process("start", out, diary, home)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        logs = list(out.glob("*/events.jsonl"))
        if logs and logs[0].read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run_process("resume", out, diary, home).wait() == 0
    folder = the_folder(out)
    assert events_of(folder) == expected
    outcomes = [event for event in events_of(folder) if event["type"] == "outcome"]
    assert len(outcomes) == len({event["outcome"]["architecture"]["id"] for event in outcomes}) == 14
    assert len(diary.read_text().splitlines()) <= 14 + 1


def test_a_run_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    with folder.locked(), pytest.raises(RunFolderError, match="in use by another process"):
        resume(RunFolder(folder.path), evaluation=evaluation())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "it has no run.json"),
        ("{", "expected JSON with 'format'"),
        ('{"version": 1}', "expected JSON with 'format'"),
        ('{"format": 999, "version": "9.9"}', r"written by nas-agent 9\.9 in format 999.*upgrade"),
    ],
)
def test_a_folder_that_is_no_whole_run_of_this_version_is_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunFolderError, match=message):
        open_folder(tmp_path)


def test_a_broken_line_inside_the_log_is_named(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    log.write_text('{"type":"a"}\nnonsense\n{"type":"b"}\n')
    with pytest.raises(RunFolderError, match=r"line 2: expected one JSON event, got b'nonsense'"):
        read_events(log)


def test_another_way_taken_sets_the_old_events_aside_and_keeps_the_measurements(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append("a", {"x": 1})
    log.append("b", {"x": 2})
    outcome = {"architecture": {"id": "k"}}
    log.append("outcome", {"evaluation": 1, "outcome": outcome})
    log.close()
    again = EventLog.reopen(path, 1)
    assert again.append("b", {"x": 3})[1] is True
    assert again.outcome_ahead("k") == outcome
    again.close()
    assert [deterministic(e) for e in read_events(path)[0]] == [{"type": "a", "x": 1}, {"type": "b", "x": 3}]
    assert (tmp_path / "events.discarded.jsonl").read_text().count("\n") == 2


def test_measurements_that_were_set_aside_are_not_lost_to_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.append("a", {})
    outcome = {"architecture": {"id": "k"}}
    log.append("outcome", {"evaluation": 1, "outcome": outcome})
    log.close()
    second = EventLog.reopen(path, 1)
    second.append("another way", {})
    second.close()
    assert EventLog.reopen(path, 1).outcome_ahead("k") == outcome


class Fickle:
    """A memory that says something else each time it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def recall(self) -> list[Json]:
        self.asked += 1
        architecture = Toy().sample(Random(self.asked))
        item = {"kind": "architecture", "architecture": architecture.to_dict(), "task": "x", "why": f"{self.asked}"}
        return [item | {"value": 1.0, "unit": "%", "rank": 1, "of": 1, "provenance": "measured"}]

    def remember(self, journal: Journal) -> str:
        return ""


@pytest.mark.parametrize("point", [2, 3, 20])
@pytest.mark.parametrize("checkpoints", [True, False])
def test_what_was_recalled_is_not_asked_for_again(tmp_path: Path, point: int, checkpoints: bool) -> None:
    memory, diary = Fickle(), Diary()
    folder = create(config(tmp_path / "runs"), "0")

    def engine(log: EventLog, listeners: list[Callable[[Json], None]]) -> Engine:
        return Engine(folder.config(), Toy(), evaluation(diary), log, folder=folder, memory=memory, listeners=listeners)

    with pytest.raises(Killed):
        engine(EventLog(folder.events), [killed_at(point)]).run()
    if not checkpoints:
        for file in folder.path.glob("checkpoints*"):
            file.unlink()
    log = EventLog.reopen(folder.events, events_seen(folder.checkpoints) or 0)
    engine(log, []).run()
    assert memory.asked == 1
    assert len(diary.calls) == 14
    assert not (folder.path / "events.discarded.jsonl").exists()


def test_the_test_split_is_not_opened_again_after_a_kill_at_the_end(tmp_path: Path) -> None:
    def kill(event: Json) -> None:
        if event["type"] == "finished":
            raise Killed

    vault = TestVault()
    with pytest.raises(Killed):
        start(config(tmp_path / "runs"), [kill], evaluation=evaluation(None, vault))
    result = resume(the_folder(tmp_path / "runs"), evaluation=evaluation(None, vault))
    assert result.test is not None
    assert len(vault.opened) == 1


def test_a_lost_result_of_a_finished_run_is_written_again(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    before = folder.best_source.read_text()
    folder.best_json.unlink()
    folder.best_source.unlink()
    resume(folder, evaluation=evaluation())
    assert folder.best_json.exists()
    assert folder.best_source.read_text() == before


def test_a_lost_log_begins_anew_instead_of_going_on_from_nowhere(
    tmp_path: Path, unbroken: tuple[list[Json], Result]
) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    folder.events.unlink()
    folder.best_json.unlink()
    resume(folder, evaluation=evaluation())
    assert events_of(folder) == unbroken[0]


def test_a_run_is_not_resumed_with_another_evaluator(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    folder.best_json.unlink()
    other = Diary(provenance="predicted")
    with pytest.raises(ConfigError, match=r"began under other terms: provenance was measured, is predicted"):
        resume(folder, evaluation=evaluation(other))


@pytest.mark.parametrize(("old", "new"), [("budget = 14", "budget = 15"), ("seed = 0", "seed = 1")])
def test_a_run_is_not_resumed_under_other_terms(tmp_path: Path, old: str, new: str) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    folder.best_json.unlink()
    settings = folder.path / "config.toml"
    settings.write_text(settings.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=f"began under other terms: {new.split()[0]} was"):
        resume(folder, evaluation=evaluation())


def test_the_result_of_a_finished_run_needs_no_evaluator_any_more(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    again = resume(RunFolder(Path(result.run or "")))  # "toy" is no task that could be loaded
    assert again.curve == result.curve
    assert again.test == result.test


@pytest.mark.parametrize(
    "spoil",
    [
        lambda e: e | {"outcome": None} if e["type"] == "outcome" else e,
        lambda e: {k: v for k, v in e.items() if k != "initial"} if e["type"] == "proposal" else e,
        lambda e: e | {"task": {}} if e["type"] == "started" else e,
    ],
    ids=["outcome", "proposal", "started"],
)
def test_a_spoiled_event_is_one_clear_line(tmp_path: Path, spoil: Callable[[Json], Json]) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    events = [spoil(event) for event in read_events(folder.events)[0]]
    folder.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    for finished in (True, False):
        if not finished:
            folder.best_json.unlink()
        with pytest.raises(
            (RunFolderError, ConfigError), match=r"not as this version writes it|began under other terms"
        ):
            resume(folder, evaluation=evaluation())


def test_what_auto_found_is_written_down_so_that_resume_cannot_find_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not os.environ.get("NAS_AGENT_DATA"):
        pytest.skip("NAS_AGENT_DATA is not set: there is no table to find")
    begun = Config(task="cifar100", budget=4, out=tmp_path / "runs", memory=False, recall="none")

    def kill(event: Json) -> None:
        if event["type"] == "outcome":
            raise Killed

    with pytest.raises(Killed):
        start(begun, [kill])
    monkeypatch.delenv("NAS_AGENT_DATA")
    result = resume(the_folder(tmp_path / "runs"))
    assert result.evaluator == "table"
    assert {outcome.evaluator for outcome in result.outcomes} == {"table"}


def test_a_full_disk_is_one_clear_line_and_leaves_a_whole_log(tmp_path: Path) -> None:
    log = EventLog(Path("/dev/full"))
    with pytest.raises(StorageError, match=r"/dev/full: cannot be written \(No space left on device\)"):
        log.append("a", {})


def test_a_disk_that_fills_up_in_the_middle_stops_the_search_in_one_line_and_it_goes_on_later(
    tmp_path: Path, unbroken: tuple[list[Json], Result]
) -> None:
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, resource.RLIM_INFINITY));"
        "from tests.resumed import main; from nas_agent.errors import StorageError\n"
        "try: main()\nexcept StorageError as error: print(error); sys.exit(2)"
    )
    out, diary, home = tmp_path / "runs", tmp_path / "diary", tmp_path / "home"
    command = [sys.executable, "-c", limited, "start", out, diary]
    environment = {**os.environ, "NAS_AGENT_HOME": str(home)}
    root = Path(__file__).resolve().parent.parent
    stopped = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    assert stopped.returncode == 2, stopped.stderr
    assert "free some space" in stopped.stdout
    assert run_process("resume", out, diary, home).wait() == 0
    assert events_of(the_folder(out)) == unbroken[0]


def test_an_out_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a run folder cannot be made there"):
        create(config(tmp_path / "file" / "runs"), "0")


def test_run_folders_are_found_by_path_name_end_of_name_and_last(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folders = [create(config(tmp_path / "runs"), "0") for _ in range(2)]
    for folder in folders:
        register(home, folder)
    first, second = folders
    assert find(home, str(first.path)).path == first.path
    assert find(home, first.path.name).path == first.path
    assert find(home, first.path.name.rsplit("-", 1)[1]).path == first.path
    assert find(home, "last").path == second.path
    remove(home, second)
    assert [folder.path for folder in known_folders(home)] == [first.path]
    shutil.rmtree(first.path)
    assert known_folders(home) == []


def test_checkpoints_are_plain_data(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs", budget=3), evaluation=evaluation())
    with sqlite3.connect(RunFolder(Path(result.run or "")).checkpoints) as connection:
        assert connection.execute("SELECT count(*) FROM checkpoints").fetchone()[0] > 5
