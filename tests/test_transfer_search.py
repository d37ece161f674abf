"""A search with sources: what it measures first, what it says of them, and that a kill changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nas_agent import Search
from nas_agent.records import Architecture, Json, Measured, Outcome, Provenance, Task
from nas_agent.run import resume, start
from nas_agent.spaces import CategoricalSpace
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.told import NoTestSplit
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.event_log import deterministic
from nas_agent.tools.journal import Journal
from nas_agent.tools.remembered import RecalledSource, SourceRow
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.surrogates.structure import CellSurrogate
from nas_agent.tools.surrogates.transfer import Source, normal_scores
from tests.resumed import Killed, events_of, killed_at, the_folder
from tests.searching import TASK, Diary, LargeToy, Toy, config, evaluation, worth
from tests.test_sources import OPS, OTHER
from tests.test_surrogates import draws


def source(name: str, ranked: Sequence[Architecture], **changes: object) -> Json:
    rows = tuple(SourceRow(architecture, worth(architecture), rank) for rank, architecture in enumerate(ranked, 1))
    space = ranked[0].space
    found = RecalledSource(
        name, name, space, "accuracy", "%", True, "measured", "table", "made up", len(rows), True, rows, f"from {name}"
    )
    return replace(found, **changes).to_dict()  # type: ignore[arg-type]


def elite(architecture: Architecture, provenance: Provenance = "measured") -> Json:
    about = {"task": "earlier", "value": 1.0, "unit": "%", "rank": 1, "of": 1, "provenance": provenance, "why": "it is"}
    return {"kind": "architecture", "architecture": architecture.to_dict(), **about}


class Frozen:
    """Recalls these items; counts how often it was asked."""

    def __init__(self, *items: Json) -> None:
        self.items, self.asked = list(items), 0

    def recall(self) -> list[Json]:
        self.asked += 1
        return self.items

    def remember(self, journal: Journal) -> str:
        return ""


def searched(
    *items: Json, space: CategoricalSpace | None = None, guess: bool = False, **settings: object
) -> list[Json]:
    """The events of a search with these items recalled."""
    evaluator = Diary(provenance="predicted" if guess else "measured")
    settings = {"budget": 8, **settings}
    search = Search(
        TASK,
        space=space or Toy(),
        evaluation=evaluation(evaluator),
        memory=Frozen(*items),
        **settings,  # type: ignore[arg-type]
    )
    search.run()
    return [deterministic(event) for event in search.journal.log.events]


def proposed(events: Sequence[Json]) -> list[tuple[str, str]]:
    proposals = [event["proposal"] for event in events if event["type"] == "proposal"]
    return [(proposal["architecture"]["id"], proposal["author"]) for proposal in proposals]


def but_recalled(events: Sequence[Json]) -> list[Json]:
    return [event for event in events if event["type"] != "recalled"]


BEST = sorted(Toy().enumerate() or (), key=lambda a: -worth(a))
WORST = BEST[::-1]


# -- what is measured first -----------------------------------------------------------------------------------


def test_without_a_surrogate_the_best_of_the_sources_are_measured_first_in_turn() -> None:
    one, two = source("one", BEST[10:30]), source("two", BEST[40:60])
    alone = proposed(searched(one, surrogate="none"))
    assert alone[:3] == [(a.id, "best of one") for a in BEST[10:13]]
    in_turn = [(BEST[10].id, "best of one"), (BEST[40].id, "best of two"), (BEST[11].id, "best of one")]
    events = searched(one, two, surrogate="none")
    assert proposed(events)[:3] == in_turn
    assert not proposed(events)[3][1].startswith("best of")
    assert [event["initial"] for event in events if event["type"] == "proposal"][:4] == [True, True, True, False]


def test_what_the_sources_as_a_whole_speak_for_is_measured_before_what_they_rank_first() -> None:
    rows = Random(3).sample(BEST[:60], 30)  # ranks that owe much to luck
    surrogate = CellSurrogate(Toy(), Toy().enumerate())
    surrogate.inform([Source("one", tuple(rows), normal_scores(range(1, len(rows) + 1), len(rows)))])
    ranked = sorted(surrogate.rank(rows, len(rows)), key=lambda item: -(item.mean or 0.0))
    expected = [rows[item.index] for item in ranked[:2]]
    assert expected != rows[:2]
    luckiest = next(architecture for architecture in rows if architecture not in expected)
    first = proposed(searched(source("one", rows)))[:3]
    assert first == [(architecture.id, "best of one") for architecture in (*expected, luckiest)]


def test_what_two_sources_share_is_measured_once_and_a_short_one_leaves_its_turns_to_the_others() -> None:
    shared = searched(source("one", BEST[:5]), source("two", BEST[:5]), surrogate="none")
    assert proposed(shared)[:3] == [(a.id, "best of one") for a in BEST[:3]]
    assert len({identity for identity, _ in proposed(searched(source("one", BEST[:5]), source("two", BEST[:5])))}) == 8
    short = searched(source("short", BEST[:1]), source("long", BEST[5:10]), surrogate="none")
    expected = [(BEST[0].id, "best of short"), *((a.id, "best of long") for a in BEST[5:7])]
    assert proposed(short)[:3] == expected


class Listed(Diary):
    """A table of every third architecture."""

    def pool(self) -> Sequence[Architecture] | None:
        return (Toy().enumerate() or ())[::3]


def test_what_cannot_be_measured_is_passed_over_for_the_next_best() -> None:
    search = Search(
        TASK, space=Toy(), evaluation=evaluation(Listed()), budget=5, memory=Frozen(source("one", BEST[:50]))
    )
    search.run()
    pool = {a.id for a in Listed().pool() or ()}
    expected = [a.id for a in BEST[:50] if a.id in pool][:3]
    assert BEST[0].id not in pool or BEST[1].id not in pool
    assert [key for key, _ in proposed(search.journal.log.events)[:3]] == expected


def test_no_more_than_the_budget_is_measured_and_more_initial_ones_are_drawn() -> None:
    assert len(proposed(searched(source("one", BEST[:9]), budget=2))) == 2
    authors = [author for _, author in proposed(searched(source("one", BEST[:9]), initial=5))]
    assert authors[:5] == ["best of one"] * 3 + ["uniform draw"] * 2


def test_a_space_that_cannot_be_listed_is_begun_in_the_same_way() -> None:
    ranked = sorted(draws(LargeToy(), 50), key=lambda a: -worth(a))
    events = searched(source("one", ranked), space=LargeToy())
    assert proposed(events)[:3] == [(a.id, "best of one") for a in ranked[:3]]
    assert [event["agreement"].keys() for event in events if event["type"] == "sources"][:1] == [{"one"}]


@pytest.mark.parametrize(
    "refused",
    [
        source("noise", BEST[:50], refused="its best have nothing in common"),
        source("guessed", BEST[:50], provenance="predicted"),
        source("elsewhere", BEST[:50], space="elsewhere"),
    ],
    ids=lambda item: item["name"],
)
def test_a_source_that_is_not_to_be_used_leaves_a_cold_start(refused: Json) -> None:
    cold, told = searched(), searched(refused)
    assert but_recalled(told) == but_recalled(cold)
    assert [event["items"] for event in told if event["type"] == "recalled"] == [[refused]]  # but the log tells of it


def test_a_predicted_source_begins_no_measured_search_by_its_architectures_either() -> None:
    items = [source("guessed", BEST[:50], provenance="predicted"), elite(BEST[0], "predicted")]
    assert but_recalled(searched(*items)) == but_recalled(searched())
    assert proposed(searched(*items, guess=True))[0] == (BEST[0].id, "best of guessed")


def test_a_log_without_sources_begins_with_its_architectures() -> None:
    events = searched(*(elite(a) for a in BEST[7:12]))
    assert proposed(events)[:5] == [(a.id, "recalled from earlier") for a in BEST[7:12]]
    assert not [event for event in events if event["type"] == "sources"]


@pytest.mark.parametrize("space", [Toy(), LargeToy()], ids=lambda space: space.name)
def test_rows_that_the_space_does_not_know_any_more_are_left_out(space: CategoricalSpace) -> None:
    ranked = sorted(draws(space, 12), key=lambda a: -worth(a))
    gone = [Architecture(space.name, "layer_0=wide", "0123456789"), replace(ranked[0], id="9876543210")]
    assert proposed(searched(source("one", [*gone, *ranked]), space=space))[:3] == [
        (a.id, "best of one") for a in ranked[:3]
    ]
    nothing = searched(source("gone", gone), space=space)
    (event,) = [event for event in nothing if event["type"] == "recalled"]
    assert (event["items"], event["dropped"]) == ([], 1)


# -- what is said of sources ------------------------------------------------------------------------------------


def test_agreement_is_told_where_it_changes_and_a_source_that_misleads_is_dropped_once() -> None:
    good, bad = source("good", BEST[::20]), source("bad", WORST[::20])
    events = searched(good, bad, budget=40, initial=8)
    told = [event for event in events if event["type"] == "sources"]
    assert set(told[0]["agreement"]) == {"good", "bad"}
    assert told[0]["dropped"] == []
    before: dict[str, float] = {}
    for event in told:
        now = event["agreement"]
        assert event["dropped"] == [name for name in before if name not in now]
        assert event["dropped"] or any(abs(value - before.get(name, 9.0)) >= 0.1 for name, value in now.items())
        assert event["why"] == ("agreed less than 0.1 with the outcomes of this task" if event["dropped"] else "")
        before = now
    assert [event["dropped"] for event in told if event["dropped"]] == [["bad"]]
    assert before["good"] > 0.7
    spent = [event["evaluations"] for event in told]
    assert spent == sorted(spent)
    assert spent[0] == 8


def test_a_source_that_the_initial_design_speaks_against_is_told_of_too() -> None:
    events = searched(source("good", BEST[::20]), source("bad", WORST[::20]), budget=20, initial=16)
    (first, *_) = [event for event in events if event["type"] == "sources"]
    assert (list(first["agreement"]), first["dropped"], first["evaluations"]) == (["good"], ["bad"], 16)
    assert "agreed less than 0.1" in first["why"]
    assert [event["dropped"] for event in events if event["type"] == "sources" and event["dropped"]] == [["bad"]]


def test_without_a_surrogate_sources_only_begin() -> None:
    events = searched(source("one", BEST[:9]), surrogate="none")
    assert proposed(events)[0] == (BEST[0].id, "best of one")
    assert not [event for event in events if event["type"] == "sources"]


def test_a_source_helps_and_a_random_one_costs_little() -> None:
    top = {a.id for a in BEST[:10]}

    def until_top(items: Sequence[Json], seed: int) -> int:
        keys = [key for key, _ in proposed(searched(*items, budget=40, seed=seed))]
        return next((place for place, key in enumerate(keys, 1) if key in top), 41)

    shuffled = [*BEST[10:]]
    Random(0).shuffle(shuffled)
    cold = [until_top([], seed) for seed in range(8)]
    warm = [until_top([source("near", BEST[10:60])], seed) for seed in range(8)]
    noise = [until_top([source("noise", shuffled[:50])], seed) for seed in range(8)]
    assert np.mean(warm) < np.mean(cold)
    assert np.mean(noise) < np.mean(cold) + 8


# -- stopped and resumed ------------------------------------------------------------------------------------------


class Upside(Diary):
    """The opposite of the task at hand: a source that misleads."""

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        return Measured(architecture, 200.0 - worth(architecture), self.fidelity, 0.0, seed, self.name)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Json]]:
    """Two runs, the second of which misleads; and what a search that was never stopped makes of them."""
    folder = tmp_path_factory.mktemp("earlier")
    opposite = Task("opposite", "what the other likes least")
    settings = {"generator": "random", "surrogate": "none", "principles": False, "budget": 40}
    good = start(config(folder / "runs", **settings), evaluation=replace(evaluation(), task=OTHER)).run or ""
    bad = start(config(folder / "runs", **settings), evaluation=replace(evaluation(Upside()), task=opposite)).run or ""
    Path(good).rename(folder / "good")
    Path(bad).rename(folder / "bad")
    result = start(with_sources(folder, folder / "whole"), evaluation=evaluation())
    return folder, events_of(RunFolder(Path(result.run or "")))


def with_sources(folder: Path, out: Path):  # type: ignore[no-untyped-def]
    return config(out, source=(str(folder / "good"), str(folder / "bad")), budget=34, initial=30, principles=False)


def test_the_unbroken_search_tells_of_both_sources_and_drops_one(earlier: tuple[Path, list[Json]]) -> None:
    _, events = earlier
    told = [event for event in events if event["type"] == "sources"]
    assert {*told[0]["agreement"], *told[0]["dropped"]} == {"other-toy", "opposite"}
    assert [event["dropped"] for event in told if event["dropped"]] == [["opposite"]]


POINTS = 85  # about as many as the unbroken run writes; later points are skipped


@pytest.mark.parametrize("point", range(3, POINTS))
def test_stopped_after_any_event_it_says_the_same_of_its_sources_which_are_gone_by_then(
    earlier: tuple[Path, list[Json]], tmp_path: Path, point: int
) -> None:
    folder, expected = earlier
    if point >= len(expected):
        pytest.skip("the run writes fewer events")
    for name in ("good", "bad"):
        shutil.copytree(folder / name, tmp_path / name)
    with pytest.raises(Killed):
        start(with_sources(tmp_path, tmp_path / "runs"), [killed_at(point)], evaluation=evaluation())
    for name in ("good", "bad"):
        shutil.rmtree(tmp_path / name)
    run = the_folder(tmp_path / "runs")
    resume(run, evaluation=evaluation())
    assert events_of(run) == expected
    assert not (run.path / "events.discarded.jsonl").exists()


class Cells(Diary):
    """Values of a few cells, without a table."""

    def pool(self) -> Sequence[Architecture] | None:
        return draws(NasBench201(), 60)

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        value = 50.0 + architecture.text.count("nor_conv_3x3")
        return Measured(architecture, value, self.fidelity, 0.0, seed, self.name)


def test_a_table_is_read_before_the_search_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    ops = np.unique(np.random.default_rng(0).integers(0, 5, (300, 6)), axis=0)
    values = {f"val_{short}_200": 60.0 + 4.0 * (ops == 3).sum(axis=1) for short in ("c10", "c100", "in16")}
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "nb201.npz", ops=ops, op_names=np.array(OPS), **values)
    settings = config(tmp_path / "runs", "nb201", source=("cifar10",), data=tmp_path / "data", budget=8)
    given = Evaluation(TASK, Cells(), NoTestSplit(), "made up")
    whole = events_of(RunFolder(Path(start(settings, evaluation=given).run or "")))
    assert next(event["agreement"].keys() for event in whole if event["type"] == "sources") == {"cifar10"}

    def kill(event: Json) -> None:
        if event["type"] == "outcome":
            raise Killed

    with pytest.raises(Killed):
        start(settings.model_copy(update={"out": tmp_path / "again"}), [kill], evaluation=given)
    (tmp_path / "data" / "nb201.npz").unlink()
    run = the_folder(tmp_path / "again")
    resume(run, evaluation=given)
    assert events_of(run) == whole
