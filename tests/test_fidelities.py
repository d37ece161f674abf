"""Searches in several fidelities: rungs, successive halving, one result at the full fidelity, and resuming."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nas_agent import Search
from nas_agent.config import make_config, to_toml
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Failed, Fidelity, Json, Measured, Outcome, Proposal, outcome_from_dict
from nas_agent.run import resume, start
from nas_agent.tools.archive import Added, Archive
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.fidelities import Rungs, make_rungs, own_rungs, rungs_of_columns, rungs_of_training
from nas_agent.tools.halving import next_step
from nas_agent.tools.run_folder import RunFolder, open_folder
from nas_agent.tools.run_records import record_from, record_of
from nas_agent.tools.surrogates.blocks import Scaler
from nas_agent.tools.surrogates.gaussian_process import Posterior
from nas_agent.tools.surrogates.levels import Levels
from tests.resumed import Killed, events_of, killed_at
from tests.searching import TASK, Diary, TestVault, Toy, config, worth

THREE = make_rungs([Fidelity(1), Fidelity(3), Fidelity(9)])
FULL = Fidelity(9, 16)


SPACE = Toy()


def arch(number: int) -> Architecture:
    return SPACE.sample(Random(number))


@lru_cache
def some(count: int) -> list[Architecture]:
    found: dict[str, Architecture] = {}
    number = 0
    while len(found) < count:
        found.setdefault(arch(number).id, arch(number))
        number += 1
    return list(found.values())


def measured(architecture: Architecture, value: float, at: Fidelity | None) -> Measured:
    return Measured(architecture, value, str(at), 0.0, 0, "test", at=at)


# -- rungs ---------------------------------------------------------------------------------------------


def test_costs_are_shares_of_the_full_trainings_arithmetic() -> None:
    full = Fidelity(12, 16)
    levels = [Fidelity(3, 8, 0.5, 16), Fidelity(3, 16, 1.0, 16), Fidelity(6, 16, 0.5), full]
    rungs = make_rungs(levels, side=32)
    assert rungs.costs == pytest.approx((0.25 * 0.25 * 0.5 * 0.25, 0.25 * 0.25, 0.25, 1.0))
    assert Rungs.from_list(json.loads(json.dumps(rungs.to_list()))) == rungs


@pytest.mark.parametrize(
    ("texts", "epochs"),
    [(("auto",), [1, 4, 12]), (("1", "3", "12"), [1, 3, 12]), (("4 share=0.5", "12"), [4, 12])],
)
def test_rungs_of_a_training_are_read(texts: Sequence[str], epochs: list[int]) -> None:
    rungs = rungs_of_training(texts, Fidelity(12, 16), side=32, factor=3)
    assert [at.epochs for at in rungs.levels] == epochs
    assert all(at.width == 16 for at in rungs.levels)
    assert rungs.costs[-1] == 1.0


def test_what_a_rung_does_not_say_is_as_in_the_full_fidelity() -> None:
    texts = ("epochs=3 share=0.25", "epochs=3 resolution=16 width=8", "epochs=9")
    rungs = rungs_of_training(texts[:1] + texts[2:], FULL, side=32, factor=3)
    assert rungs.levels == (Fidelity(3, 16, 0.25), FULL)
    assert rungs_of_training(texts[1:], FULL, side=32, factor=3).levels[0] == Fidelity(3, 8, 1.0, 16)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("3", "1", "9"), r"1 epoch, 16 channels must cost more than 3 epochs, 16 channels"),
        (("3", "3", "9"), r"must cost more than"),
        (("1", "27", "9"), r"27 epochs, 16 channels is above the full fidelity, 9 epochs, 16 channels, in epochs"),
        (("epochs=1 width=32", "9"), r"is above the full fidelity.*in width"),
        (("epochs=1 resolution=64", "9"), r"is above the full fidelity.*in resolution"),
        (("1", "3"), r"the last rung must be the full fidelity, 9 epochs.*got 3 epochs"),
        (("9",), r"expected at least two rungs"),
        (("1", "many", "9"), r"expected a number for epochs, got 'many'"),
        (("1", "time=3", "9"), r"expected epochs, or some of epochs=NUMBER.*got 'time=3'"),
        (("epochs=1 epochs=2", "9"), r"each once"),
        (("0", "9"), r"at least 1"),
        (("epochs=1 share=1.5", "9"), r"share lies in \(0, 1\]"),
        (("epochs=1 share=nan", "9"), r"share lies in \(0, 1\]"),
        (("", "9"), r"expected a number of epochs"),
    ],
)
def test_rungs_that_do_not_rise_to_the_full_fidelity_are_one_clear_line(texts: Sequence[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rungs_of_training(texts, FULL, side=32, factor=3)


@pytest.mark.parametrize(
    ("texts", "columns", "message"),
    [
        (("12", "100", "200"), (200, 12), r"100 epochs is not in the data; the NAS-X table holds 12 and 200 epochs"),
        (("12 width=8", "200"), (200, 12), r"is not in the data"),
        (("200", "12"), (200, 12), r"the last rung must be the full fidelity, 200 epochs"),
        (("auto",), (200,), r"the NAS-X table holds 200 epochs, so there is nothing below"),
        (("auto",), (), r"holds one value an architecture"),
    ],
)
def test_rungs_that_a_table_does_not_hold_are_one_clear_line(
    texts: Sequence[str], columns: Sequence[int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        rungs_of_columns(texts, 200, columns, "NAS-X")


def test_rungs_stand_in_a_configuration_as_text_as_numbers_or_as_a_list() -> None:
    for given in ("1, 3,9", [1, 3, 9], ["1", "3", "9"], (1, 3, 9)):
        assert make_config({"fidelities": given}).fidelities == ("1", "3", "9")
    assert 'fidelities = ["1", "3", "9"]' in to_toml(make_config({"fidelities": "1,3,9"}))
    with pytest.raises(ConfigError, match="eta"):
        make_config({"eta": 1})


# -- the archive ---------------------------------------------------------------------------------------


def test_an_archive_holds_one_outcome_of_an_architecture_at_each_fidelity_and_the_full_one_decides() -> None:
    first, second = some(2)
    low, middle, full = THREE.levels
    archive = Archive(TASK, THREE)
    assert archive.add(measured(first, 90.0, low)) is Added.NEW  # no best: it is not of the full fidelity
    assert archive.add(measured(first, 91.0, low)) is Added.KNOWN
    assert archive.add(measured(second, 80.0, low)) is Added.NEW
    assert archive.add(measured(second, 60.0, full)) is Added.BEST
    assert archive.add(measured(second, 61.0, middle)) is Added.KNOWN  # a higher one stands
    assert archive.add(measured(first, 70.0, middle)) is Added.NEW
    assert archive.best is not None
    assert archive.best.value == 60.0
    assert archive.curve == [None, None, 60.0, 60.0]
    assert len(archive) == 4
    assert archive.spent == pytest.approx(2 / 9 + 1 + 3 / 9)
    assert [a.id for a, _ in archive.ranked()] == [second.id, first.id]
    assert archive.get(first.id) == measured(first, 70.0, middle)
    assert (archive.place(first.id), archive.place(second.id)) == (4, 3)
    assert archive.holds(first.id, middle)
    assert not archive.holds(first.id, full)
    assert [o.value for o in archive.lasting() if isinstance(o, Measured)] == [60.0]


def test_an_outcome_of_no_rung_is_refused() -> None:
    with pytest.raises(ValueError, match="expected an outcome at one of 1 epoch, 3 epochs, 9 epochs, got 5 epochs"):
        Archive(TASK, THREE).add(measured(arch(0), 1.0, Fidelity(5)))


# -- halving -------------------------------------------------------------------------------------------


def at_level(count: int, level: int, archive: Archive, start: int = 0) -> list[Architecture]:
    found = some(start + count)[start:]
    for number, architecture in enumerate(found):
        archive.add(measured(architecture, float(number + start), THREE.levels[level]))
    return found


def test_new_ones_are_measured_at_the_lowest_rung_until_a_third_of_it_is_worth_promoting() -> None:
    archive = Archive(TASK, THREE)
    for count in range(3):
        step = next_step(archive, 10.0, batch=1, factor=None)
        assert step is not None
        assert (step.promoted, step.level, step.room) == ((), 0, 1)
        at_level(1, 0, archive, start=count)
    step = next_step(archive, 10.0, batch=1, factor=None)
    assert step is not None
    assert step.promoted == ((some(3)[2], 1),)


def test_the_highest_rung_is_promoted_first_and_each_architecture_once() -> None:
    archive = Archive(TASK, THREE)
    first = at_level(9, 0, archive)
    for architecture in first[6:]:
        archive.add(measured(architecture, 50.0 + worth(architecture), THREE.levels[1]))
    best = max(first[6:], key=worth)
    step = next_step(archive, 10.0, batch=5, factor=3)
    assert step is not None
    assert step.promoted == ((best, 2),)
    archive.add(measured(best, 1.0, THREE.full))
    step = next_step(archive, 10.0, batch=5, factor=3)
    assert step is not None
    assert (step.promoted, step.room) == ((), 5)


def test_a_failure_counts_in_its_rung_and_is_never_promoted() -> None:
    archive = Archive(TASK, THREE)
    architectures = some(3)
    for architecture in architectures[:2]:
        archive.add(Failed(architecture, "bad", 0.0, 0, "test", at=THREE.levels[0]))
    archive.add(measured(architectures[2], 1.0, THREE.levels[0]))
    step = next_step(archive, 10.0, batch=1, factor=None)
    assert step is not None
    assert step.promoted == ((architectures[2], 1),)


@pytest.mark.parametrize("budget", [1.0, 1.5, 2.0, 7.0, 20.0])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("factor", [None, 2, 5])
def test_a_budget_is_kept_and_its_last_part_pays_a_full_training(budget: float, batch: int, factor: int | None) -> None:
    archive, fresh = Archive(TASK, THREE), iter(some(400))
    while (step := next_step(archive, budget, batch=batch, factor=factor)) is not None:
        new = [(next(fresh), step.level) for _ in range(step.room)]
        assert 1 <= len(step.promoted) + len(new) <= batch
        for architecture, level in [*step.promoted, *new]:
            assert archive.add(measured(architecture, worth(architecture), THREE.levels[level])) is not Added.KNOWN
    assert budget - 1.0 < archive.spent <= budget + 1e-9
    assert archive.best is not None


def test_when_nothing_new_is_left_the_rest_of_the_budget_goes_to_the_best_that_got_farthest() -> None:
    archive = Archive(TASK, THREE)
    first = at_level(2, 0, archive)
    step = next_step(archive, 10.0, batch=1, factor=None, exhausted=True)
    assert step is not None
    assert step.promoted == ((first[1], 2),)
    for architecture in first:
        archive.add(measured(architecture, 1.0, THREE.full))
    assert next_step(archive, 10.0, batch=1, factor=None, exhausted=True) is None


def test_what_is_under_way_is_spent_and_is_not_begun_a_second_time() -> None:
    archive = Archive(TASK, THREE)
    architectures = at_level(6, 0, archive)
    first = next_step(archive, 3.0, batch=1, factor=None)
    assert first is not None
    assert first.promoted == ((architectures[5], 1),)
    second = next_step(archive, 3.0, batch=1, factor=None, under_way={architectures[5].id: 1})
    assert second is not None
    assert second.promoted == ((architectures[4], 1),)
    third = next_step(archive, 3.0, batch=1, factor=None, under_way={architectures[5].id: 1, architectures[4].id: 1})
    assert third is not None
    assert (third.promoted, third.room) == ((), 1)
    assert next_step(archive, 1.5, batch=1, factor=None, under_way={architectures[5].id: 1}) is None


# -- searching -----------------------------------------------------------------------------------------


@dataclass
class Graded(Diary):
    """Values at low fidelities are lower, and noisy; it notes what was asked at which fidelity."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    fail_at: int | None = None  # epochs at which architectures with a skip fail

    def evaluate(self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None) -> Outcome:
        at = fidelity or THREE.full
        self.asked.append((architecture.id, at.epochs))
        if self.file is not None:
            with self.file.open("a") as file:
                file.write(f"{architecture.id} {at.epochs}\n")
        if self.fail_at == at.epochs and "skip" in architecture.text:
            return Failed(architecture, "skips do not train here; leave them out", 0.0, seed, self.name, at=at)
        noise = Random(f"{architecture.id}{at.epochs}").gauss(0, 3.0 / at.epochs)
        value = worth(architecture) - 20.0 / at.epochs + noise
        return Measured(architecture, value, str(at), 0.0, seed, self.name, at=at)


def graded(diary: Graded | None = None) -> Evaluation:
    return Evaluation(TASK, diary or Graded(), TestVault(), "made up for a test", rungs=THREE)


def test_a_search_finds_a_good_architecture_and_says_at_which_fidelity() -> None:
    diary = Graded()
    search = Search(TASK, space=Toy(), evaluation=graded(diary), budget=10, seed=1)
    result = search.run()
    assert result.best is not None
    assert result.best.at == THREE.full
    fully = [o for o in result.outcomes if isinstance(o, Measured) and o.at == THREE.full]
    assert result.best.value == max(o.value for o in fully)
    assert any(o.value > result.best.value for o in result.outcomes if isinstance(o, Measured)) or len(fully) > 3
    assert len(set(diary.asked)) == len(diary.asked) == len(result.outcomes)
    assert [item["evaluations"] for item in result.fidelities] == [
        sum(epochs == at.epochs for _, epochs in diary.asked) for at in THREE.levels
    ]
    assert 9.0 < result.spent <= 10.0 + 1e-9
    assert result.best.value >= worth(max(some(300), key=worth)) - 8.0
    document = result.to_dict()
    assert document["fidelities"][-1]["at"]["epochs"] == 9
    assert document["best"]["evaluation"] == 1 + result.outcomes.index(result.best)
    assert document["curve"][0] is None


def test_each_promotion_is_of_one_that_was_among_the_best_of_its_rung() -> None:
    search = Search(TASK, space=Toy(), evaluation=graded(), budget=10, seed=2)
    search.run()
    at: dict[int, list[tuple[str, float]]] = {1: [], 3: [], 9: []}
    promoted = 0
    for event in search.journal.log.events:
        if event["type"] == "proposal" and event["choice"] == "promoted":
            key, epochs = event["proposal"]["architecture"]["id"], event["proposal"]["at"]["epochs"]
            below = sorted(at[epochs // 3], key=lambda item: -item[1])
            best = [name for name, _ in below[: len(below) // 3]]
            last = event["evaluation"] >= len(search.journal.archive) - 1
            assert key in best or last
            assert not event["proposal"]["outside"]
            promoted += 1
        elif event["type"] == "outcome":
            outcome = event["outcome"]
            at[outcome["at"]["epochs"]].append((outcome["architecture"]["id"], outcome["value"]))
    assert promoted >= 5


def test_principles_and_the_gate_look_at_one_fidelity_only() -> None:
    search = Search(TASK, space=Toy(), evaluation=graded(), budget=12, seed=3, adapt_every=4)
    search.run()
    journal = search.journal
    lowest = [o for o in journal.archive if o.at == THREE.levels[0]]
    assert {o.architecture.id for o in lowest} == {observation.id for observation in journal.observations}
    assert len(journal.observations) == len(lowest) < len(journal.archive)
    assert journal.gate.predicted < len(lowest)
    assert {event["proposal"]["at"]["epochs"] for event in journal.log.events if event["type"] == "proposal"} == {
        1,
        3,
        9,
    }


def test_what_fails_at_a_higher_rung_is_a_failure_there_and_the_search_goes_on() -> None:
    search = Search(TASK, space=Toy(), evaluation=graded(Graded(fail_at=9)), budget=8, seed=0)
    result = search.run()
    failed = [o for o in result.outcomes if isinstance(o, Failed)]
    assert all(o.at == THREE.full for o in failed)
    assert result.best is None or "skip" not in result.best.architecture.text
    assert sum(item["failed"] for item in result.fidelities) == len(failed)


def test_a_space_that_is_used_up_spends_the_rest_on_promotions() -> None:
    class Tiny(Toy):
        name = "tiny"
        decisions = Toy.decisions[:1]

    class Bare(Graded):
        def evaluate(self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None) -> Outcome:
            return measured(architecture, float(len(architecture.text)), fidelity)

    search = Search(TASK, space=Tiny(), evaluation=graded(Bare()), budget=50, seed=0)
    result = search.run()
    assert result.fidelities[0]["evaluations"] == 4
    assert result.fidelities[-1]["evaluations"] == 4
    assert "every architecture" in result.why


def test_one_fidelity_is_logged_as_before() -> None:
    search = Search(TASK, space=Toy(), evaluation=Evaluation(TASK, Diary(), TestVault(), "x"), budget=5, seed=0)
    result = search.run()
    assert "fidelities" not in search.journal.log.events[0]
    assert "fidelities" not in result.to_dict()
    assert not any("at" in event.get("proposal", {}) for event in search.journal.log.events)
    assert result.spent == 5


def test_asking_for_fidelities_where_there_is_one_is_refused() -> None:
    evaluation = Evaluation(TASK, Diary(), TestVault(), "x")
    with pytest.raises(ConfigError, match=r"the evaluator 'diary' has only one"):
        Search(TASK, space=Toy(), evaluation=evaluation, budget=5, fidelities="1,3,9")


def test_ask_says_at_which_fidelity_to_measure() -> None:
    search = Search(TASK, space=Toy(), budget=4, fidelities="1,3,9")
    asked: list[Proposal] = []
    while proposals := search.ask():
        for proposal in proposals:
            asked.append(proposal)
            assert proposal.at is not None
            search.tell(proposal, worth(proposal.architecture) - 20.0 / proposal.at.epochs)
    assert {proposal.at for proposal in asked} == set(THREE.levels)
    assert search.best is not None
    assert search.best.at == THREE.full
    with pytest.raises(ConfigError, match="auto"):
        Search(TASK, space=Toy(), fidelities="auto")


@pytest.mark.parametrize("budget", [3, 9])
def test_with_several_under_way_the_budget_is_kept_and_nothing_is_measured_twice(budget: int) -> None:
    diary = Graded()
    search = Search(TASK, space=SPACE, evaluation=graded(diary), budget=budget, seed=1, ahead=4)
    result = search.run()
    assert len(set(diary.asked)) == len(diary.asked) == len(result.outcomes)
    assert budget - 1.0 < result.spent <= budget + 1e-9
    assert result.best is not None
    under_way, most = set(), 0
    for event in search.journal.log.events:
        if event["type"] == "proposal":
            key = event["proposal"]["architecture"]["id"]
            assert key not in under_way
            under_way.add(key)
        elif event["type"] == "outcome":
            under_way.discard(event["outcome"]["architecture"]["id"])
        most = max(most, len(under_way))
    assert most == 4


def test_two_workers_give_the_same_search_as_one(tmp_path: Path) -> None:
    settings = {"budget": 5, "ahead": 3}
    one = start(config(tmp_path / "one", **settings), evaluation=graded())
    two = start(config(tmp_path / "two", executor="pool", workers=2, **settings), evaluation=graded())
    assert [o.to_dict() for o in one.outcomes] == [o.to_dict() for o in two.outcomes]


# -- stopped and resumed -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    out = tmp_path_factory.mktemp("unbroken")
    os.environ["NAS_AGENT_HOME"] = str(out / "home")
    result = start(config(out / "runs", budget=6), evaluation=graded())
    return events_of(RunFolder(Path(result.run or "")))


@pytest.mark.parametrize("point", range(1, 60, 2))
def test_stopped_after_any_event_it_goes_on_as_if_never_stopped(
    tmp_path: Path, unbroken: list[Json], point: int
) -> None:
    if point >= len(unbroken):
        pytest.skip("the run writes fewer events")
    first, second = Graded(), Graded()
    with pytest.raises(Killed):
        start(config(tmp_path / "runs", budget=6), [killed_at(point)], evaluation=graded(first))
    (path,) = (tmp_path / "runs").iterdir()
    folder = open_folder(path)
    resume(folder, evaluation=graded(second))
    assert events_of(folder) == unbroken
    whole = [e for e in unbroken if e["type"] == "outcome"]
    assert len(whole) <= len(first.asked) + len(second.asked) <= len(whole) + 1
    assert not (folder.path / "events.discarded.jsonl").exists()


def test_without_any_checkpoint_each_fidelity_is_found_in_the_log(tmp_path: Path, unbroken: list[Json]) -> None:
    result = start(config(tmp_path / "runs", budget=6), evaluation=graded())
    folder = RunFolder(Path(result.run or ""))
    for file in folder.path.glob("checkpoints*"):
        file.unlink()
    folder.best_json.unlink()
    diary = Graded()
    resume(folder, evaluation=graded(diary))
    assert events_of(folder) == unbroken
    assert diary.asked == []


def test_a_run_is_not_resumed_with_other_rungs(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs", budget=6), evaluation=graded())
    folder = RunFolder(Path(result.run or ""))
    folder.best_json.unlink()
    other = make_rungs([Fidelity(1), Fidelity(9)])
    with pytest.raises(ConfigError, match="fidelities was"):
        resume(folder, evaluation=replace(graded(), rungs=other))
    with pytest.raises(ConfigError, match=r"fidelities was.*is None"):
        resume(folder, evaluation=replace(graded(), rungs=None))


def test_memory_is_told_of_the_full_fidelity_only(tmp_path: Path) -> None:
    search = Search(TASK, space=Toy(), evaluation=graded(), budget=5, seed=0)
    search.run()
    record = record_from(search.journal, "run", "toy")
    assert record.outcomes
    assert all(outcome.at == THREE.full for outcome in record.outcomes)
    result = start(config(tmp_path / "runs", budget=5), evaluation=graded())
    read = record_of(RunFolder(Path(result.run or "")))
    assert read.outcomes
    assert all(outcome.at == THREE.full for outcome in read.outcomes)


def test_records_keep_their_fidelity_in_json() -> None:
    failed = Failed(arch(0), "bad", 1.0, 0, "test", at=FULL)
    assert outcome_from_dict(json.loads(json.dumps(failed.to_dict()))) == failed
    old = {key: value for key, value in failed.to_dict().items() if key != "at"}
    assert outcome_from_dict(old) == replace(failed, at=None)
    proposal = Proposal(arch(0), "test", at=Fidelity(3, None, 0.5))
    assert Proposal.from_dict(json.loads(json.dumps(proposal.to_dict()))) == proposal


# -- what the surrogate learns --------------------------------------------------------------------------


def test_low_outcomes_count_as_what_the_line_to_the_next_rung_makes_of_them() -> None:
    levels, architectures = Levels(TASK, 2), some(5)
    for number, architecture in enumerate(architectures):
        assert levels.follow(measured(architecture, 10.0 * number, Fidelity(1)), 0) == [(architecture, 10.0 * number)]
    told = dict(levels.follow(measured(architectures[4], 70.0, Fidelity(9)), 1))
    assert told[architectures[4]] == 70.0
    assert told[architectures[0]] == pytest.approx(30.0)  # one pair: a level of its own, and slope one
    levels.follow(measured(architectures[3], 65.0, Fidelity(9)), 1)
    told = dict(levels.follow(measured(architectures[2], 60.0, Fidelity(9)), 1))
    assert told[architectures[0]] == pytest.approx(50.0)  # three pairs: 50 + 0.5 x
    assert told[architectures[1]] == pytest.approx(55.0)


def test_a_failure_at_any_rung_is_worth_nothing_and_no_slope_falls() -> None:
    levels, architectures = Levels(TASK, 2), some(5)
    for number, architecture in enumerate(architectures):
        levels.follow(measured(architecture, float(number), Fidelity(1)), 0)
    for number, architecture in enumerate(architectures[:3]):
        told = dict(levels.follow(measured(architecture, 9.0 - number, Fidelity(9)), 1))
    assert told[architectures[4]] > told[architectures[3]]
    told = dict(levels.follow(Failed(architectures[4], "bad", 0.0, 0, "test"), 1))
    assert told[architectures[4]] == -math.inf
    assert math.isfinite(told[architectures[3]])


def test_a_value_told_again_replaces_the_one_before() -> None:
    rng = np.random.default_rng(0)
    blocks = {"x": rng.normal(size=(30, 4))}
    values = rng.normal(size=10)

    def predicted(*, twice: bool) -> list[float]:
        posterior = Posterior(Scaler(blocks), blocks)
        for place, value in enumerate(values):
            posterior.observe(place, float(value) + (5.0 if twice and place == 1 else 0.0))
            if twice and place == 1:
                posterior.observe(1, float(value))
        return posterior.predict()[0].tolist()

    assert predicted(twice=True) == predicted(twice=False)


# -- tables and trainings -------------------------------------------------------------------------------


def test_two_columns_of_a_table_are_two_fidelities(tmp_path: Path) -> None:
    if not os.environ.get("NAS_AGENT_DATA"):
        pytest.skip("NAS_AGENT_DATA is not set: there is no table")
    result = Search("cifar100", budget=3, seed=0, fidelities="auto").run()
    assert result.best is not None
    assert result.best.fidelity == "200 epochs"
    assert [item["cost"] for item in result.fidelities] == pytest.approx([0.06, 1.0])
    table = np.load(Path(os.environ["NAS_AGENT_DATA"]) / "nb201.npz")
    lows = [o.value for o in result.outcomes if isinstance(o, Measured) and o.at == Fidelity(12)]
    assert lows
    assert set(np.float32(lows)) <= set(table["val_c100_12"])
    with pytest.raises(ConfigError, match="the NAS-Bench-201 table holds 12 and 200 epochs"):
        Search("cifar100", fidelities="3,200")


def test_embedded_benchmarks_and_tables_of_users_have_one_fidelity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    with pytest.raises(ConfigError, match="predicts one fidelity only"):
        Search("cifar100", fidelities="auto", evaluator="embedded")
    file = tmp_path / "mine.csv"
    file.write_text("architecture,val\n")
    with pytest.raises(ConfigError, match="a table of your own holds one value a row"):
        Search(f"table:{file}", fidelities="auto", space="nb201")


def test_a_training_takes_its_full_epochs_from_the_last_rung() -> None:
    from nas_agent.spaces import load_space

    evaluation = load_evaluation(
        "digits", load_space("nb201"), "auto", data=None, epochs=None, fidelities=("1", "2", "6")
    )
    assert evaluation.rungs is not None
    assert evaluation.rungs.full == Fidelity(6, 16)
    assert evaluation.evaluator.fidelity == "6 epochs, 16 channels"


def test_a_callers_rungs_end_with_the_full_one() -> None:
    assert own_rungs(("1", "3", "9")) == THREE
