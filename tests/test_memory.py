from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nas_agent.errors import ConfigError
from nas_agent.principles.principle import Principle
from nas_agent.records import Architecture, Failed, Measured, Task
from nas_agent.tools.embeddings import CachedEmbedder, MiniLM
from nas_agent.tools.memory import Memory
from nas_agent.tools.memory_answers import Remembered
from nas_agent.tools.recall import agreement_of, embed_notation, rank_outcomes, share
from nas_agent.tools.remembered import (
    Agreement,
    RecalledArchitecture,
    RecalledSource,
    RunRecord,
)
from tests.memories import (
    C10,
    C100,
    DIGITS,
    Words,
    architectures,
    cell,
    measured,
    predicted,
    principle,
    principles,
    record,
    some_runs,
)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "memory", Words())


# -- what is recalled --------------------------------------------------------------------------------


def test_the_best_of_the_nearest_task_comes_first_and_says_why(memory: Memory) -> None:
    for run in some_runs():
        memory.remember(run)
    found = memory.recall(C100, "tiny", 4, 3)
    assert [(item.task, item.architecture.id) for item in architectures(found)] == [
        ("cifar10", "id014"),
        ("cifar10", "id013"),
        ("digits", "id000"),
        ("digits", "id001"),
    ]
    assert [(item.task, item.run, item.principle.id) for item in principles(found)] == [
        ("cifar10", "b", "p1"),  # its interval begins at 4
        ("cifar10", "a", "p2"),  # at 3
        ("digits", "c", "p1"),
    ]
    first = architectures(found)[0]
    assert re.fullmatch(
        r"from cifar10, the nearest task \(similarity 0\.\d\d\): rank 1 of 20 measured there in 2 runs "
        r"\(table, 200 epochs\)",
        first.why,
    )
    assert (first.value, first.unit, first.architecture) == (94.0, "%", cell(14))
    assert "task 2 by nearness" in architectures(found)[2].why
    assert "effect +5.00 % (95 % interval +4.00 to +6.00) over 10 architectures measured" in principles(found)[0].why
    assert found == memory.recall(C100, "tiny", 4, 3)


def test_an_architecture_of_two_runs_is_recalled_once(memory: Memory) -> None:
    for run in some_runs():
        memory.remember(run)
    found = memory.recall(C100, "tiny", 30, 0)
    ids = [item.architecture.id for item in architectures(found)]
    assert len(ids) == len(set(ids)) == 15


def test_others_returns_nothing_of_the_same_task(memory: Memory) -> None:
    for run in some_runs():
        memory.remember(run)
    taught = principle("p3", 50.0, option="nine", tasks=("cifar10", "cifar100"))
    memory.remember(record("e", C10, [measured(1, 81.0)], [taught]))
    for task in (C10, C100, DIGITS):
        found = memory.recall(task, "tiny", 50, 50, "others")
        assert found
        assert task.name not in {item.task for item in found}
        assert not any(task.name in item.principle.evidence.tasks for item in principles(found))
    assert principles(memory.recall(DIGITS, "tiny", 0, 1))[0].principle == taught


def test_all_returns_the_same_task_first(memory: Memory) -> None:
    for run in some_runs():
        memory.remember(run)
    found = memory.recall(C100, "tiny", 1, 1, "all")
    assert [item.task for item in found] == ["cifar100", "cifar100"]
    assert found[0].why.startswith("from cifar100, the same task (similarity 1.00): rank 1 of 10 measured")


def ranked_by(scores: Sequence[int]) -> list[Measured]:
    return [measured(number, 50.0 + score) for number, score in enumerate(scores)]


UP, DOWN = range(12), range(12, 0, -1)
NEAR = Task("near", "natural colour images 32x32 of 10 kinds")  # by its words the nearest to cifar10
FAR = Task("far", "grey handwritten letters 8x8")


def near_and_far(tmp_path: Path, own: bool) -> Memory:
    """The task whose words are near ranks architectures as cifar10 does not, the other one as it does."""
    memory = Memory(tmp_path / "memory", Words())
    memory.remember(record("near", NEAR, ranked_by(DOWN)))
    memory.remember(record("far", FAR, ranked_by(UP)))
    if own:
        memory.remember(record("own", C10, ranked_by(UP)))
    return memory


def names(found: Sequence[object]) -> list[str]:
    return list(dict.fromkeys(item.task for item in architectures(found)))


def test_earlier_outcomes_of_the_task_order_the_others_where_they_may_and_why_says_so(tmp_path: Path) -> None:
    memory = near_and_far(tmp_path, own=True)
    judged = memory.recall(C10, "tiny", 6, 0, "others", judge_by_own=True)
    assert names(judged) == ["far", "near"]
    first, last = architectures(judged)[0].why, architectures(judged)[-1].why
    assert first.startswith("from far, the nearest task (similarity ")
    assert ", tau 1.00 with this task over 12 shared architectures): rank 1 of 12" in first
    assert ", tau -1.00 with this task over 12 shared architectures)" in last
    assert names(memory.recall(C10, "tiny", 9, 0, "all")) == ["cifar10", "far", "near"]


def test_a_cold_search_learns_nothing_of_earlier_outcomes_of_its_task(tmp_path: Path) -> None:
    with_own, without = near_and_far(tmp_path / "one", own=True), near_and_far(tmp_path / "two", own=False)
    cold = with_own.recall(C10, "tiny", 6, 6, "others", k_rows=12)
    assert cold == without.recall(C10, "tiny", 6, 6, "others", k_rows=12)
    assert names(cold) == ["near", "far"]  # by description alone, and by how the two agree with each other
    assert ", tau -1.00 with near over 12 shared architectures)" in architectures(cold)[-1].why


def test_too_few_shared_architectures_or_ties_alone_tell_nothing(tmp_path: Path) -> None:
    def agreement(here: Sequence[int], there: Sequence[int]) -> Agreement | None:
        found = [rank_outcomes(record(name, C10, ranked_by(scores))) for name, scores in (("a", here), ("b", there))]
        return agreement_of("cifar10", *found)

    assert agreement(range(4), range(12)) is None
    assert agreement([1] * 12, UP) is None
    assert agreement(range(5), range(12)) == Agreement("cifar10", pytest.approx(1.0), 5)  # type: ignore[arg-type]


def test_agreement_compares_scores_so_that_a_loss_and_an_accuracy_can_agree(tmp_path: Path) -> None:
    loss = Task("loss", "a loss", "loss", "nats", maximise=False)
    found = agreement_of(
        "x", rank_outcomes(record("a", C10, ranked_by(UP))), rank_outcomes(record("b", loss, ranked_by(DOWN)))
    )
    assert found is not None
    assert found.tau == pytest.approx(1.0)


def test_of_many_tasks_those_that_rank_like_the_nearest_one_are_recalled(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory", Words())
    memory.remember(record("n", NEAR, ranked_by(UP)))
    for key, scores in {"a": DOWN, "b": DOWN, "c": UP, "d": UP}.items():
        memory.remember(record(key, Task(key, "grey handwritten letters 8x8"), ranked_by(scores)))
    assert names(memory.recall(C10, "tiny", 12, 0)) == ["near", "c", "d"]


def test_a_source_from_memory_has_good_and_bad_rows_with_their_ranks_over_all_its_runs(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory", Words())
    memory.remember(record("a", C100, [measured(n, 50.0 + n) for n in range(0, 60)]))
    memory.remember(record("b", C100, [measured(n, 50.0 + n) for n in range(60, 90)]))
    (source,) = [s for s in memory.recall(C10, "tiny", 5, 0, k_rows=10) if isinstance(s, RecalledSource)]
    assert [row.rank for row in source.rows] == [1, 2, 3, 4, 5, 6, 27, 48, 69, 90]
    assert [row.value for row in source.rows] == [140.0 - row.rank for row in source.rows]
    assert (source.of, source.best_only) == (90, False)
    (small,) = [s for s in memory.recall(C10, "tiny", 5, 0, k_rows=50) if isinstance(s, RecalledSource)]
    assert len(small.rows) == 50


def test_none_an_empty_memory_and_a_memory_of_the_same_task_only_ask_no_model(tmp_path: Path) -> None:
    words = Words()
    memory = Memory(tmp_path / "memory", words)
    assert memory.recall(C100, "tiny", 5, 5, "all") == []
    assert memory.search("cell") == []
    assert memory.stats().runs == 0
    assert not (tmp_path / "memory").exists()
    memory.remember(record("d", C100, [measured(1, 70.0)]))
    words.asked.clear()
    assert memory.recall(C100, "tiny", 5, 5, "others") == []
    assert memory.recall(C10, "tiny", 5, 5, "none") == []
    assert words.asked == []


def test_recall_embeds_one_text_however_much_is_remembered(tmp_path: Path) -> None:
    words = Words()
    memory = Memory(tmp_path / "memory", words)
    for run in some_runs():
        memory.remember(run)
    words.asked.clear()
    assert memory.recall(C100, "tiny", 5, 5)
    assert words.asked == [C100.description]


def test_a_predicted_value_is_never_recalled_as_a_measured_one(memory: Memory) -> None:
    outcomes = [predicted(1, 99.0), predicted(2, 98.0), measured(1, 60.0), measured(3, 50.0)]
    memory.remember(record("a", C10, outcomes, [principle("p1", 1.0)]))
    found = memory.recall(C100, "tiny", 10, 10)
    told = {item.architecture.id: (item.provenance, item.value, item.evaluator) for item in architectures(found)}
    assert told == {
        "id001": ("measured", 60.0, "table"),  # the predicted 99 is not taken for it
        "id003": ("measured", 50.0, "table"),
        "id002": ("predicted", 98.0, "embedded"),
    }
    assert [item.provenance for item in architectures(found)] == ["measured", "measured", "predicted"]
    assert "predicted there (embedded" in architectures(found)[-1].why
    assert principles(found)[0].provenance == "predicted"
    assert "predicted there" in principles(found)[0].why
    stats = memory.stats()
    assert (stats.measured, stats.predicted) == (2, 2)


def test_only_the_same_space_is_recalled(memory: Memory) -> None:
    other = RunRecord("x", C10, "large", [measured(1, 99.0, space="large")], [principle("p1", 1.0)], True)
    memory.remember(other)
    assert memory.recall(C100, "tiny", 5, 5) == []
    assert len(memory.recall(C100, "large", 5, 5)) == 2


def test_where_less_is_better_the_smallest_value_is_the_best(memory: Memory) -> None:
    latency = Task("latency", "milliseconds of colour images", metric="latency", unit="ms", maximise=False)
    memory.remember(record("a", latency, [measured(n, float(n)) for n in range(1, 6)]))
    assert [item.value for item in architectures(memory.recall(C100, "tiny", 2, 0))] == [1.0, 2.0]


def test_values_of_different_fidelity_are_ranked_apart_and_repeats_are_averaged(memory: Memory) -> None:
    outcomes = [
        measured(1, 60.0, fidelity="12 epochs"),
        measured(2, 50.0, fidelity="12 epochs"),
        *(measured(n, 90.0 - n) for n in range(3, 7)),
        measured(7, 99.0),
        measured(7, 72.0),  # mean 85.5: rank 3
    ]
    memory.remember(record("a", C10, outcomes))
    found = architectures(memory.recall(C100, "tiny", 10, 0))
    told = {item.architecture.id: (item.rank, item.of, item.fidelity, item.value) for item in found}
    assert told["id001"] == (1, 2, "12 epochs", 60.0)
    assert told["id003"] == (1, 5, "200 epochs", 87.0)
    assert told["id007"] == (3, 5, "200 epochs", 85.5)
    assert found[0].architecture.id == "id003"  # best of five counts more than best of two


def test_only_active_principles_are_recalled_the_strongest_first_each_demand_once(memory: Memory) -> None:
    held = [
        principle("p1", 1.0),
        principle("p2", 2.0),
        principle("p3", 9.0, status="retired"),
        principle("p4", 9.0, status="candidate"),
    ]
    memory.remember(record("a", C10, [measured(1, 80.0)], held))
    memory.remember(record("b", DIGITS, [measured(1, 80.0)], [principle("p7", 8.0, option="p2")]))
    found = principles(memory.recall(C100, "tiny", 0, 10))
    assert [(item.task, item.principle.id) for item in found] == [("cifar10", "p2"), ("cifar10", "p1")]


def test_failures_have_no_value_and_are_not_recalled(memory: Memory) -> None:
    failed = Failed(cell(5), "ran out of memory; use fewer channels", 1.0, 0, "train")
    assert memory.remember(record("a", C10, [failed])) is Remembered.NEW
    assert memory.recall(C100, "tiny", 5, 5) == []
    assert memory.stats().runs == 1


def test_what_is_recalled_survives_json(memory: Memory) -> None:
    for run in some_runs():
        memory.remember(run)
    found = memory.recall(C100, "tiny", 3, 3)
    written = [item.to_dict() for item in found]
    assert json.loads(json.dumps(written)) == written  # a run folder freezes what was recalled
    architectures = [item for item in written if item["kind"] == "architecture"]
    assert [Architecture.from_dict(item["architecture"]) for item in architectures] == [
        item.architecture for item in found if isinstance(item, RecalledArchitecture)
    ]
    held = [item for item in written if item["kind"] == "principle"]
    assert [Principle.from_dict(item["principle"]) for item in held] == [item.principle for item in principles(found)]
    assert architectures
    assert held


def test_half_of_the_places_go_to_the_nearest_and_what_is_left_over_comes_back_to_it() -> None:
    def take(lists: list[list[str]], places: int) -> list[str]:
        return share(lists, places, lambda item: item)

    assert take([list("abcdef"), list("uvwxyz"), list("ABCDEF")], 6) == ["a", "b", "c", "u", "v", "A"]
    assert take([list("abcdef"), ["u"]], 6) == ["a", "b", "c", "d", "e", "u"]
    assert take([list("ab"), list("abc")], 5) == ["a", "b", "c"]
    assert take([[], list("uv")], 1) == ["u"]
    assert take([list("ab")], 0) == take([], 3) == []


# -- writing -----------------------------------------------------------------------------------------


def test_remembering_a_run_twice_changes_nothing(tmp_path: Path) -> None:
    words = Words()
    memory = Memory(tmp_path / "memory", words)
    run = some_runs()[0]
    assert memory.remember(run) is Remembered.NEW
    before, words.asked = memory.recall(C100, "tiny", 5, 5), []
    assert memory.remember(some_runs()[0]) is Remembered.KNOWN
    assert words.asked == []
    assert memory.recall(C100, "tiny", 5, 5) == before
    assert memory.stats().runs == 1


def test_a_run_that_went_on_replaces_what_was_known_of_it(memory: Memory) -> None:
    run = some_runs()[0]
    memory.remember(replace(run, outcomes=run.outcomes[:3], finished=False))
    assert memory.remember(replace(run, principles=run.principles[:1])) is Remembered.UPDATED
    stats = memory.stats()
    assert (stats.runs, stats.architectures, stats.principles) == (1, 10, 1)


def test_of_several_versions_of_a_principle_the_last_one_counts(memory: Memory) -> None:
    first = principle("p1", 1.0)
    retired = replace(first, version=2, status="retired")
    memory.remember(record("a", C10, [measured(1, 80.0)], [first, retired]))
    assert memory.stats().principles == 1
    assert memory.recall(C100, "tiny", 0, 5) == []


def test_a_run_larger_than_one_batch_of_chroma_is_remembered_whole(memory: Memory) -> None:
    memory.remember(record("a", C10, [measured(n, n / 100) for n in range(5600)]))
    assert memory.stats().architectures == 5600
    assert architectures(memory.recall(C100, "tiny", 1, 0))[0].why.endswith(
        "of 5600 measured there (table, 200 epochs)"
    )


def test_forget_takes_a_run_a_task_or_everything(memory: Memory) -> None:
    for run in some_runs():
        memory.remember(run)
    assert memory.forget(run="c") == 1
    assert memory.forget(run="no such run") == 0
    assert memory.forget(task="cifar10") == 2
    assert memory.stats().tasks == {"cifar100": 1}
    assert memory.forget(everything=True) == 1
    assert memory.recall(C10, "tiny", 5, 5) == []
    assert memory.remember(some_runs()[0]) is Remembered.NEW


@pytest.mark.parametrize("wrong", [{}, {"run": "a", "task": "b"}, {"run": "a", "everything": True}])
def test_forget_asks_for_exactly_one_thing(memory: Memory, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        memory.forget(**wrong)


def test_search_finds_principles_by_meaning_and_architectures_by_notation(memory: Memory) -> None:
    for run in some_runs():
        memory.remember(run)
    hits = memory.search("choose eight", 3)
    assert (hits[0].kind, hits[0].text, hits[0].run) == ("principle", "choose eight", "b")
    assert hits[0].about == "active, effect +5.00 (measured)"
    retired = principle("p5", 1.0, option="omega", status="retired")
    memory.remember(record("z", DIGITS, [measured(1, 1.0)], [retired, principle("p6", 1.0, option="sigma")]))
    for option, status in (("omega", "retired"), ("sigma", "active")):
        first = memory.search(f"choose {option}", 3)[0]
        assert (first.text, first.about.split(",")[0], round(first.similarity, 3)) == (f"choose {option}", status, 1.0)
    cells = [hit for hit in memory.search("depth=7,width=1", 3) if hit.kind == "architecture"]
    assert (cells[0].text, round(cells[0].similarity, 3)) == ("depth=7,width=1", 1.0)
    assert len({hit.text for hit in cells}) == len(cells)


def test_notations_that_share_choices_are_nearer() -> None:
    one, near, far = embed_notation(["|a~0|+|b~0|c~1|", "|a~0|+|b~0|d~1|", "|e~0|+|f~0|g~1|"])
    assert one @ near > one @ far
    assert np.allclose(np.linalg.norm(embed_notation(["x", "", "||"]), axis=1), 1.0)


@pytest.mark.slow
def test_the_real_model_finds_the_task_that_is_alike(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory", CachedEmbedder(MiniLM(), tmp_path / "cache"))
    for run in some_runs():
        memory.remember(run)
    found = memory.recall(C100, "tiny", 2, 2)
    assert [item.task for item in found] == ["cifar10", "digits", "cifar10", "digits"]
    assert found[0].similarity > 0.9 > found[1].similarity
    assert memory.search("pick the option called eight", 1)[0].text == "choose eight"
