"""`--from`: what is read of a table, of runs and of memory, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nas_agent import Search
from nas_agent.config import load_config, make_config, to_toml
from nas_agent.errors import ConfigError
from nas_agent.principles.constraint import constraint_from_dict
from nas_agent.records import Architecture, Json, Measured, Outcome, Task
from nas_agent.run import start
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.table import TableEvaluator
from nas_agent.tools.home import home
from nas_agent.tools.memory import Memory
from nas_agent.tools.recollection import Frozen, RunMemory, check_source
from nas_agent.tools.remembered import RecalledSource
from nas_agent.tools.run_folder import RunFolder, register
from nas_agent.tools.sources import Target, best_of, pinned, read_sources, table_items, target_of
from nas_agent.tools.table_files import Columns
from nas_agent.tools.tables import BenchmarkTable
from tests.memories import Words
from tests.searching import TASK, Diary, TestVault, Toy, config, evaluation, worth

OTHER = Task("other-toy", "Another made-up task that likes wide operations early and skips late.")


class Elsewhere(Toy):
    """The same decisions under another name."""

    name = "elsewhere"


class Counting(TableEvaluator):
    """A table that counts what it was asked."""

    def __init__(self, table: BenchmarkTable) -> None:
        super().__init__(table)
        self.best_asked: list[int] = []
        self.looked_up = 0

    def best(self, number: int) -> list[Measured]:
        self.best_asked.append(number)
        return super().best(number)

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        self.looked_up += 1
        return super().evaluate(architecture, seed=seed)


def tabled(
    space: CategoricalSpace, number: int = 600, *, task: Task = OTHER, shuffled: int | None = None
) -> tuple[Evaluation, Counting]:
    """A table of random architectures of a space; `shuffled` deals their values anew."""
    rng = Random(1)
    drawn = {a.text: a for a in (space.sample(rng) for _ in range(5 * number))}
    known = list(drawn.values())[:number]
    values = [worth(architecture) for architecture in known]
    if shuffled is not None:
        Random(shuffled).shuffle(values)
    sign = 1.0 if task.maximise else -1.0
    columns = Columns(tuple(a.text for a in known), {"val": sign * np.array(values)})
    evaluator = Counting(BenchmarkTable(task, space, Path("made-up.npz"), columns, fidelity="9 epochs"))
    return Evaluation(task, evaluator, TestVault(), "made up"), evaluator


def target(space: CategoricalSpace | None = None, rows: int = 50, **more: object) -> Target:
    return Target(TASK, space or Toy(), None, None, rows, **more)  # type: ignore[arg-type]


def named_in(items: Sequence[Json]) -> set[str]:
    """Every architecture that these items let anybody know of."""
    found = {item["architecture"]["id"] for item in items if item["kind"] == "architecture"}
    for item in items:
        if item["kind"] == "source":
            found |= {row["architecture"]["id"] for row in item["rows"]}
        if item["kind"] == "principle":
            found |= set(item["principle"]["evidence"]["supporting"])
    return found


# -- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_no_more_rows_of_a_table_are_read_than_allowed_and_why_says_how_many(rows: int) -> None:
    found, evaluator = tabled(Toy())
    items = table_items(found, Toy(), target(rows=rows))
    assert evaluator.best_asked == [rows]
    assert evaluator.looked_up == 0
    best = sorted(evaluator.pool(), key=lambda a: -worth(a))[:rows]
    (source,) = [RecalledSource.from_dict(item) for item in items if item["kind"] == "source"]
    assert [row.value for row in source.rows] == [worth(architecture) for architecture in best]
    assert [row.rank for row in source.rows] == list(range(1, rows + 1))
    assert named_in(items) <= {row.architecture.id for row in source.rows}
    assert (source.of, source.best_only, source.refused) == (600, True, "")
    assert source.why == f"from other-toy: the best {rows} of 600 rows (table, 9 epochs), no other row read"
    shown = [item for item in items if item["kind"] == "architecture"]
    assert [item["rank"] for item in shown] == list(range(1, min(rows, 10) + 1))
    assert [item["why"] for item in shown[:1]] == [f"{source.why}; this is its rank 1"]


def test_where_less_is_better_the_least_are_the_best() -> None:
    errors = Task("errors", "a made-up error", "error", "%", maximise=False)
    found, evaluator = tabled(Toy(), task=errors)
    best, of = best_of(found, 5)
    assert of == 600
    assert [m.value for m in best] == sorted(-worth(a) for a in evaluator.pool())[:5]


def test_the_best_of_a_table_give_principles_that_most_of_them_obey_and_few_others_do() -> None:
    found, evaluator = tabled(Toy())
    items = [item for item in table_items(found, Toy(), target()) if item["kind"] == "principle"]
    assert items
    best = [Toy().choices(m.architecture) for m in evaluator.best(50)]
    rng = Random(5)
    others = [Toy().choices(Toy().sample(rng)) for _ in range(300)]
    for item in items:
        constraint = constraint_from_dict(item["principle"]["constraint"])
        obeying = sum(constraint.holds(choices) for choices in best)
        assert obeying >= 45
        assert sum(constraint.holds(choices) for choices in others) < 270
        assert len(item["principle"]["evidence"]["supporting"]) == obeying
        assert item["why"].startswith(f"{obeying} of the best 50 of other-toy obey, ")
        assert item["grounds"] == "shares"
        assert item["provenance"] == "measured"
        assert item["principle"]["author"] == "statistics (best 50 of other-toy)"


def test_a_table_whose_labels_make_no_sense_is_refused_and_teaches_nothing() -> None:
    refused = [table_items(tabled(Toy(), shuffled=seed)[0], Toy(), target()) for seed in range(20)]
    senseless = [items for items in refused if [item["kind"] for item in items] == ["source"] and items[0]["refused"]]
    assert len(senseless) >= 18
    assert "no more in common than random ones" in senseless[0][0]["refused"]
    assert senseless[0][0]["why"].endswith("no other row read")


class Corner(Diary):
    """Values without sense for a corner of the space, whose architectures resemble each other all the same."""

    def pool(self) -> Sequence[Architecture] | None:
        return [a for a in Toy().enumerate() or () if a.text.startswith("layer_0=wide,layer_1=wide,")]

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        return Measured(architecture, Random(architecture.id).uniform(0, 100), "made up", 0.0, seed, self.name)


def test_the_best_are_compared_with_what_is_listed_not_with_the_whole_space() -> None:
    found = replace(evaluation(Corner()), task=OTHER)
    (source,) = [item for item in table_items(found, Toy(), target(rows=20)) if item["kind"] == "source"]
    assert source["of"] == 64
    assert "no more in common than random ones" in source["refused"]


def test_of_a_table_of_another_space_only_translated_principles_are_taken() -> None:
    found, _ = tabled(Elsewhere())
    items = table_items(found, Elsewhere(), target())
    # These decisions are on nothing that two spaces could share; what was read is told all the same.
    assert [(item["kind"], item["space"], len(item["rows"])) for item in items] == [("source", "elsewhere", 50)]


def test_an_evaluator_that_cannot_list_its_architectures_is_refused_in_one_line() -> None:
    with pytest.raises(
        ConfigError, match=r"^--from other-toy: its architectures cannot be listed; name a run instead$"
    ):
        table_items(replace(evaluation(), task=OTHER), Toy(), target())


class Guessing(Diary):
    """A regressor of the whole space: it can be listed, and its values are predicted."""

    def pool(self) -> Sequence[Architecture] | None:
        return Toy().enumerate()


def test_of_a_regressor_the_best_are_taken_as_predicted() -> None:
    guessed = replace(evaluation(Guessing(provenance="predicted")), task=OTHER)
    best, of = best_of(guessed, 50)
    assert (len(best), of) == (50, 1024)
    assert [m.value for m in best] == sorted((worth(a) for a in Toy().enumerate() or ()), reverse=True)[:50]
    assert {item["provenance"] for item in table_items(guessed, Toy(), target())} == {"predicted"}


# -- names ------------------------------------------------------------------------------------------------

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small nb201.npz: 400 cells that are better the more 3x3 convolutions they have."""
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    folder = tmp_path / "data"
    folder.mkdir()
    rng = np.random.default_rng(0)
    ops = np.unique(rng.integers(0, 5, (400, 6)), axis=0)
    good = 60.0 + 4.0 * (ops == 3).sum(axis=1) - 3.0 * (ops == 0).sum(axis=1) + rng.random(len(ops))
    values = {f"val_{short}_200": good for short in ("c10", "c100", "in16")}
    np.savez(folder / "nb201.npz", ops=ops, op_names=np.array(OPS), **values)
    return folder


def asked(data: Path, *names: str, space: CategoricalSpace | None = None, task: str = "cifar100") -> list[Json]:
    wanted = Task(task, "photographs")
    settings = make_config({"task": task, "data": data, "source": names})
    return read_sources(names, target_of(settings, wanted, space or NasBench201(), None))


@pytest.mark.parametrize("name", ["cifar10", "CIFAR10", "nb201:cifar10"])
def test_a_task_is_named_in_any_spelling_and_with_its_space(data: Path, name: str) -> None:
    items = asked(data, name)
    assert items[0]["name"] == "cifar10"
    assert items[0]["why"].startswith("from cifar10: the best 50 of ")
    assert {item["kind"] for item in items} == {"source", "architecture", "principle"}
    assert any("nor_conv_3x3" in str(item["principle"]["constraint"]) for item in items if item["kind"] == "principle")


def test_several_sources_are_read_in_their_order_each_once(data: Path) -> None:
    items = asked(data, "cifar10", "ImageNet16-120", "cifar10")
    assert [item["name"] for item in items if item["kind"] == "source"] == ["cifar10", "ImageNet16-120"]


@pytest.mark.parametrize("name", ["cifar100", "CIFAR100", "nb201:cifar100"])
def test_the_task_itself_is_no_source(data: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"^--from {name}: this is the task itself"):
        asked(data, name)


class Mine(NasBench201):
    """A user's variant, which is answered by the table of the space it varies."""

    name = "mine"


def test_the_task_itself_is_no_source_in_a_users_variant_of_the_space_either(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--from cifar100: this is the task itself"):
        asked(data, "cifar100", space=Mine())
    items = asked(data, "cifar10", space=Mine())
    assert {item["kind"] for item in items} == {"source", "principle"}
    assert items[0]["space"] == "nb201"  # rows of another space are no rows of this one


MEANINGS = tuple(replace(operation, name=f"my_{operation.name}") for operation in NasBench201.operations)
NAMES = tuple(operation.name for operation in MEANINGS)


class Cells(CategoricalSpace):
    """A space of its own whose operations mean what those of nb201 do."""

    name = "cells"
    operations = MEANINGS
    decisions = tuple(Decision(f"layer_{place}", NAMES, role="operation") for place in range(3))


def test_a_task_of_the_same_name_in_another_space_is_another_task(data: Path) -> None:
    items = asked(data, "cifar100", space=Cells())
    assert (items[0]["kind"], items[0]["space"], items[0]["name"]) == ("source", "nb201", "nb201:cifar100")
    assert {item["kind"] for item in items[1:]} == {"principle"}
    for item in items[1:]:
        constraint_from_dict(item["principle"]["constraint"]).check(Cells().decisions)
        assert item["why"].startswith("translated from '")
        assert "of space nb201: " in item["why"]
        assert item["principle"]["author"].endswith("of nb201:cifar100), translated from nb201")


def test_a_source_that_has_nothing_in_common_is_refused_in_one_line(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--from cifar100: nothing that its best in space 'nb201' [^\n]* 'toy'; "):
        asked(data, "cifar100", space=Toy())


@pytest.mark.parametrize("name", ["nowhere", "nb202:cifar10", "", "a\0b", "x" * 5000])
def test_a_source_that_is_nothing_is_one_line(data: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"^--from [^\n]*$"):
        asked(data, name)


def test_one_name_is_a_list_of_one_in_files_overrides_and_older_run_folders(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('source = "last"\n')
    assert load_config(tmp_path / "old.toml", {}).source == ("last",)
    assert load_config(None, {}, ("source=cifar10",)).source == ("cifar10",)
    several = load_config(None, {}, ('source=["cifar10", "last"]',))
    (tmp_path / "new.toml").write_text(to_toml(several))
    assert load_config(tmp_path / "new.toml", {}) == several
    assert load_config(None, {}).source == ()


# -- runs and memory ----------------------------------------------------------------------------------------


def recalled(tmp_path: Path, *names: str, memory: Memory | None = None, **settings: object) -> list[Json]:
    chosen = config(tmp_path / "runs", source=names, **settings)
    known = memory or Memory(tmp_path / "no memory", Words())
    return RunMemory(chosen, TASK, Toy(), tmp_path / "runs" / "now", known).recall()


def sources_of(items: Sequence[Json]) -> list[RecalledSource]:
    return [RecalledSource.from_dict(item) for item in items if item["kind"] == "source"]


def finished(tmp_path: Path, budget: int = 30, task: Task = OTHER, **settings: object) -> str:
    return (
        start(config(tmp_path / "runs", budget=budget, **settings), evaluation=replace(evaluation(), task=task)).run
        or ""
    )


def test_a_run_gives_what_it_measured_good_and_bad(tmp_path: Path) -> None:
    finished(tmp_path, budget=30)
    (source,) = sources_of(recalled(tmp_path, "last", source_rows=10))
    assert (source.task, source.of, source.best_only, source.refused) == ("other-toy", 30, False, "")
    assert [row.rank for row in source.rows[:5]] == [1, 2, 3, 4, 5]
    assert source.rows[-1].rank == 30  # the surrogate learns from the contrast
    assert [row.rank for row in source.rows] == sorted({row.rank for row in source.rows})
    assert len(source.rows) == 10
    assert source.why == "10 of 30 architectures measured on other-toy"
    (whole,) = sources_of(recalled(tmp_path, "last"))
    assert [row.rank for row in whole.rows] == list(range(1, 31))


def test_sources_of_one_name_are_told_apart(tmp_path: Path) -> None:
    first, second = finished(tmp_path, seed=1), finished(tmp_path, seed=2)
    items = recalled(tmp_path, first, second)
    assert [source.name for source in sources_of(items)] == ["other-toy", "other-toy (2)"]
    assert {source.task for source in sources_of(items)} == {"other-toy"}


def test_a_run_that_is_named_is_written_down_by_its_path_and_last_means_then_what_it_meant_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = finished(tmp_path, budget=12)
    settings = config(tmp_path / "runs", budget=4, source=("last", Path(first).name, Path(first).name[-6:]))
    asking = RunFolder(Path(start(settings, evaluation=evaluation()).run or ""))
    assert asking.config().source == (first, first, first)
    finished(tmp_path, budget=20)
    again = RunMemory(asking.config(), TASK, Toy(), asking.path, Memory(tmp_path / "none", Words())).recall()
    assert [source.of for source in sources_of(again)] == [12]


def test_a_task_that_is_named_stays_a_task(data: Path, tmp_path: Path) -> None:
    assert [pinned(name) for name in ("cifar10", "nb201:cifar10", "memory")] == ["cifar10", "nb201:cifar10", "memory"]


def test_a_name_of_several_runs_is_one_line(tmp_path: Path) -> None:
    for place in ("one", "two"):
        folder = tmp_path / place / "20260101-000000-toy-abcdef"
        shutil.copytree(finished(tmp_path, budget=3), folder)
        register(home(), RunFolder(folder))
    with pytest.raises(ConfigError, match=r"^--from abcdef: 'abcdef' means several runs: [^\n]*$"):
        start(config(tmp_path / "runs", source=("abcdef",)), evaluation=evaluation())


def test_a_search_in_memory_uses_the_runs_and_tasks_that_are_named(tmp_path: Path) -> None:
    run = finished(tmp_path, budget=30)
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=4, source=(run,))
    search.run()
    begun = [event["proposal"]["author"] for event in search.journal.log.events if event["type"] == "proposal"]
    assert begun[:3] == ["best of other-toy"] * 3
    told = search.result().to_dict()["sources"]
    assert [(each["name"], each["rows"], each["of"]) for each in told] == [("other-toy", 30, 30)]
    asking = Search(TASK, space=Toy(), budget=4, source=(run,))  # by ask and tell as well
    assert {proposal.author for proposal in asking.ask()} == {"best of other-toy"}


def test_a_search_in_memory_refuses_sources_that_it_cannot_use(tmp_path: Path) -> None:
    def search(**settings: object) -> Search:
        return Search(TASK, space=Toy(), evaluation=evaluation(), **settings)  # type: ignore[arg-type]

    with pytest.raises(ConfigError, match=r"^--from nowhere: expected a task [^\n]*$"):
        search(source="nowhere")
    with pytest.raises(ConfigError, match=r"^source 'memory': this search has none; [^\n]*$"):
        search(source="memory")
    with pytest.raises(ConfigError, match=r"^source and memory: [^\n]*; leave out one of the two$"):
        search(source="nowhere", memory=Frozen([]))


def test_a_run_is_never_its_own_source(tmp_path: Path) -> None:
    run = Path(finished(tmp_path, task=TASK))
    memory = Memory(tmp_path / "no memory", Words())
    for name in ("last", TASK.name):
        with pytest.raises(ConfigError, match=f"--from {name}"):
            RunMemory(config(tmp_path, source=(name,)), TASK, Toy(), run, memory).recall()


def remembering(tmp_path: Path) -> Memory:
    memory = Memory(tmp_path / "memory", Words())
    settings = config(tmp_path, budget=20)
    writer = RunMemory(settings, OTHER, Toy(), tmp_path / "earlier", memory)
    Search(OTHER, space=Toy(), evaluation=replace(evaluation(), task=OTHER), budget=20, memory=writer).run()
    return memory


def test_memory_is_asked_by_name_beside_other_sources_and_only_then(tmp_path: Path) -> None:
    memory, run = remembering(tmp_path), finished(tmp_path, budget=12)
    both = sources_of(recalled(tmp_path, run, "memory", memory=memory, recall="others"))
    assert [(source.name, source.of) for source in both] == [("other-toy", 12), ("other-toy (2)", 20)]
    alone = recalled(tmp_path, "memory", memory=memory, recall="others")
    assert [source.of for source in sources_of(alone)] == [20]
    assert alone == recalled(tmp_path, memory=memory, recall="others")  # which is what happens without --from
    assert [source.of for source in sources_of(recalled(tmp_path, run, memory=memory, recall="others"))] == [12]
    (few,) = sources_of(recalled(tmp_path, "memory", memory=memory, recall="others", source_rows=4))
    assert [row.rank for row in few.rows[:2]] == [1, 2]
    assert (len(few.rows), few.rows[-1].rank, few.of) == (4, 20, 20)  # good and bad, as of a run
    assert few.why.startswith("from other-toy, the nearest task (similarity ")
    assert few.why.endswith("): 4 of 20 architectures measured on other-toy")


def test_memory_by_name_and_switched_off_contradict_each_other(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--from memory: memory is switched off"):
        check_source(config(tmp_path, source=("memory",), recall="none"), TASK, Toy())
    check_source(config(tmp_path, source=("memory",), recall="others"), TASK, Toy())


def test_memory_gives_sources_only_where_rows_are_asked_for(tmp_path: Path) -> None:
    memory = remembering(tmp_path)
    kinds = [type(item).__name__ for item in memory.recall(TASK, "toy", 5, 5, "others")]
    assert "RecalledSource" not in kinds
    found = memory.recall(TASK, "toy", 5, 5, "others", k_rows=8)
    assert [type(item).__name__ for item in found][:2] == ["RecalledSource", "RecalledArchitecture"]
    assert len(next(item for item in found if isinstance(item, RecalledSource)).rows) == 8
    assert memory.recall(TASK, "toy", 5, 5, "none", k_rows=8) == []


def test_what_sources_gave_survives_json(tmp_path: Path) -> None:
    found, _ = tabled(Toy())
    finished(tmp_path)
    for item in [*table_items(found, Toy(), target()), *recalled(tmp_path, "last")]:
        again = json.loads(json.dumps(item))
        assert again == item
        if item["kind"] == "source":
            assert RecalledSource.from_dict(again).to_dict() == item
