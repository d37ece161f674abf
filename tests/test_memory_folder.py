from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from nas_agent.errors import MemoryStoreError, StorageError
from nas_agent.principles.principle import Principle
from nas_agent.records import Task
from nas_agent.tools.embeddings import Vectors
from nas_agent.tools.home import home
from nas_agent.tools.memory import Memory
from nas_agent.tools.memory_answers import Remembered
from nas_agent.tools.memory_store import session
from nas_agent.tools.remembered import RunRecord
from tests.memories import (
    C10,
    C100,
    DIGITS,
    Words,
    architectures,
    measured,
    principle,
    record,
    some_runs,
)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "memory", Words())


# -- the folder --------------------------------------------------------------------------------------


def test_another_embedder_is_refused_with_advice_and_rebuild_mends_it(tmp_path: Path) -> None:
    Memory(tmp_path, Words("old")).remember(some_runs()[0])
    memory = Memory(tmp_path, Words("new"))
    message = r"made by old \(64 numbers, format 1\), this program uses new .*; run: nas-agent memory rebuild$"
    for use in (lambda: memory.recall(C100, "tiny", 5, 5), lambda: memory.remember(some_runs()[1]), memory.stats):
        with pytest.raises(MemoryStoreError, match=message):
            use()
    memory.rebuild(some_runs())
    assert memory.recall(C100, "tiny", 5, 5)


def test_rebuild_recalls_the_same_as_before(memory: Memory) -> None:
    runs = some_runs()
    for run in runs:
        memory.remember(run)
    before = [memory.recall(task, "tiny", 7, 7, "all") for task in (C10, C100, DIGITS)]
    made = memory.rebuild(reversed(runs))
    assert (made.runs, made.architectures, made.principles) == (4, 40, 5)
    assert [memory.recall(task, "tiny", 7, 7, "all") for task in (C10, C100, DIGITS)] == before
    assert memory.remember(runs[2]) is Remembered.KNOWN


def spoil_database(store: Path) -> None:
    (store / "chroma.sqlite3").write_bytes(b"no database at all" * 100)


def truncate_database(store: Path) -> None:
    os.truncate(store / "chroma.sqlite3", 30_000)


def empty_database(store: Path) -> None:
    (store / "chroma.sqlite3").write_bytes(b"")


@pytest.mark.parametrize("spoil", [spoil_database, truncate_database, empty_database])
def test_a_broken_store_is_one_clear_line_and_rebuild_moves_it_aside(memory: Memory, spoil: object) -> None:
    runs = some_runs()
    for run in runs:
        memory.remember(run)
    before = memory.recall(C100, "tiny", 5, 5)
    (store,) = memory.folder.glob("chroma-*")
    spoil(store)
    for _ in range(2):  # Chroma fails differently the second time
        with pytest.raises(MemoryStoreError, match=r"^[^\n]*; run: nas-agent memory rebuild$"):
            memory.recall(C100, "tiny", 5, 5)
    with pytest.raises(MemoryStoreError, match="memory rebuild"):
        memory.remember(runs[0])
    made = memory.rebuild(runs)
    assert made.previous == memory.folder / "previous"
    assert (made.previous / "chroma.sqlite3").exists()
    assert memory.recall(C100, "tiny", 5, 5) == before


def test_a_broken_store_can_be_forgotten(memory: Memory) -> None:
    memory.remember(some_runs()[0])
    (store,) = memory.folder.glob("chroma-*")
    spoil_database(store)
    memory.forget(everything=True)
    assert memory.remember(some_runs()[0]) is Remembered.NEW


def test_a_folder_can_be_opened_twice_removed_and_made_again(tmp_path: Path) -> None:
    one, two = Memory(tmp_path / "m", Words()), Memory(tmp_path / "m", Words())
    one.remember(some_runs()[0])
    two.remember(some_runs()[1])
    assert one.stats().runs == two.stats().runs == 2
    shutil.rmtree(tmp_path / "m")
    assert two.stats().runs == 0
    one.remember(some_runs()[2])
    assert two.stats().tasks == {"digits": 1}


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "memory").write_text("no folder")
    with pytest.raises(StorageError, match="cannot be written"):
        Memory(tmp_path / "memory", Words()).remember(some_runs()[0])


def test_a_memory_that_another_process_holds_is_one_clear_line(tmp_path: Path) -> None:
    from filelock import FileLock

    memory = Memory(tmp_path, Words(), wait=0.1)
    memory.remember(some_runs()[0])
    with FileLock(tmp_path / "lock"), pytest.raises(MemoryStoreError, match="another process has used it"):
        memory.remember(some_runs()[1])
    assert memory.remember(some_runs()[1]) is Remembered.NEW


def test_a_chroma_server_in_the_environment_is_not_used(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("CHROMA_API_IMPL=chromadb.api.fastapi.FastAPI\n")
    code = "from pathlib import Path; from tests.test_memory_folder import remember_many as r; r(Path('m'), 'birds', 1)"
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, check=True)
    assert Memory(tmp_path / "m", Words()).stats().tasks == {"birds": 1}


def remember_many(folder: Path, task: str, count: int) -> None:
    memory = Memory(folder, Words())
    for number in range(count):
        outcomes = [measured(n, n + number) for n in range(20)]
        memory.remember(record(f"{task}-{number}", Task(task, f"images of {task}"), outcomes, [principle("p1", 1.0)]))


def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=remember_many, args=(tmp_path / "m", task, 4)) for task in ("birds", "boats")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    memory = Memory(tmp_path / "m", Words())
    stats = memory.stats()
    assert stats.tasks == {"birds": 4, "boats": 4}
    found = memory.recall(C100, "tiny", 40, 0)
    assert {item.of for item in architectures(found)} == {80}


class Deadly(Principle):
    """Lets the process be killed when the store asks for it, after the architectures are written."""

    def to_dict(self) -> dict[str, object]:
        if any(Path(os.environ["DEADLY_FOLDER"]).glob("chroma-*")):
            os.kill(os.getpid(), signal.SIGKILL)
        return Principle.to_dict(self)


def die_while_writing(folder: Path, run: RunRecord, before: RunRecord) -> None:
    memory = Memory(folder, Words())
    memory.remember(before)
    os.environ["DEADLY_FOLDER"] = str(folder / "nowhere yet")
    plain = run.principles[0]
    deadly = Deadly(plain.id, plain.version, plain.text, plain.constraint, plain.author, plain.status, plain.evidence)

    class Arm(Words):
        def embed(self, texts: Sequence[str]) -> Vectors:  # after the digest, before the writing
            os.environ["DEADLY_FOLDER"] = str(folder)
            return super().embed(texts)

    Memory(folder, Arm()).remember(replace(run, principles=[deadly]))


def test_a_run_whose_writer_was_killed_is_invisible_until_it_is_remembered_again(tmp_path: Path) -> None:
    runs = some_runs()
    folder = tmp_path / "m"
    writer = multiprocessing.get_context("spawn").Process(target=die_while_writing, args=(folder, runs[0], runs[2]))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    memory = Memory(folder, Words())
    assert memory.stats().tasks == {"digits": 1}
    assert {item.task for item in memory.recall(C100, "tiny", 9, 9)} == {"digits"}
    assert {hit.run for hit in memory.search("depth=9,width=0", 50)} == {"c"}

    rebuilt = Memory(tmp_path / "rebuilt", Words())
    shutil.copytree(folder, tmp_path / "rebuilt", dirs_exist_ok=True)
    rebuilt.rebuild(runs)
    memory.remember(runs[1])
    (store,) = folder.glob("chroma-*")
    with session(store, Words()) as opened:
        assert sorted(opened.runs()) == ["b", "c"]  # the next writer has removed what was left of "a"

    for run in (runs[0], *runs[2:]):
        assert memory.remember(run) is (Remembered.KNOWN if run.run_id == "c" else Remembered.NEW)
    clean = Memory(tmp_path / "clean", Words())
    for run in runs:
        clean.remember(run)
    expected = clean.recall(C100, "tiny", 9, 9)
    assert memory.recall(C100, "tiny", 9, 9) == rebuilt.recall(C100, "tiny", 9, 9) == expected
    assert memory.stats().architectures == rebuilt.stats().architectures == 40


def test_a_rebuild_that_fails_half_way_leaves_the_store_as_it_was(memory: Memory) -> None:
    def records() -> object:
        yield some_runs()[1]
        raise RuntimeError("the second run folder cannot be read")

    memory.remember(some_runs()[0])
    before = memory.recall(C100, "tiny", 5, 5)
    with pytest.raises(RuntimeError):
        memory.rebuild(records())
    assert memory.recall(C100, "tiny", 5, 5) == before
    memory.rebuild(some_runs()[:1])
    assert [path.name for path in memory.folder.glob("new-*")] == []


def test_of_two_stores_that_a_killed_rebuild_left_the_newer_one_counts(memory: Memory) -> None:
    memory.remember(some_runs()[0])
    memory.rebuild(some_runs())
    (memory.folder / "previous").rename(memory.folder / ("chroma-" + "1".zfill(20)))
    assert memory.stats().runs == 4
    memory.rebuild(some_runs()[:2])
    assert memory.stats().runs == 2
    assert len(list(memory.folder.glob("chroma-*"))) == 1


def test_importing_memory_loads_neither_chroma_nor_torch() -> None:
    code = (
        "import sys, nas_agent.tools.memory; print([m for m in ('chromadb', 'torch', 'filelock') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_home_is_where_the_environment_says_else_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "mine"))
    assert home() == tmp_path / "mine"
    assert not home().exists()
    monkeypatch.delenv("NAS_AGENT_HOME")
    assert home().name == "nas-agent"
