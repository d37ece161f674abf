"""The search as a whole: what it finds, what it writes, and what it never does."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

from nas_agent import Search
from nas_agent.errors import ConfigError, MemoryStoreError
from nas_agent.records import Architecture, Failed, Json, Measured, Outcome
from nas_agent.run import start
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.journal import Journal
from nas_agent.tools.run_folder import RunFolder
from tests.searching import TASK, Diary, LargeToy, TestVault, Toy, config, evaluation, worth


class Small(Toy):
    """64 architectures: soon used up on one side of a principle."""

    name = "small"
    decisions = Toy.decisions[:3]


def kinds(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


BEST = max(worth(architecture) for architecture in Toy().enumerate() or ())


def test_a_search_finds_the_best_of_a_small_space() -> None:
    result = Search(TASK, space=Toy(), evaluation=evaluation(), budget=40).run()
    assert result.best is not None
    assert result.best.value == BEST


def test_a_search_beats_chance_in_a_space_that_cannot_be_listed() -> None:
    result = Search(TASK, space=LargeToy(), evaluation=evaluation(), budget=40).run()
    space, rng = LargeToy(), Random(0)
    draws = [max(worth(space.sample(rng)) for _ in range(40)) for _ in range(20)]
    assert result.best is not None
    assert result.best.value > max(draws)


def test_the_same_seed_gives_the_same_events_and_another_seed_does_not() -> None:
    def events(seed: int) -> list[Json]:
        search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=12, adapt_every=4, seed=seed)
        search.run()
        return [deterministic(event) for event in search.journal.log.events]

    assert events(1) == events(1)
    assert events(1) != events(2)


def test_no_architecture_is_measured_twice() -> None:
    diary = Diary()
    Search(TASK, space=Toy(), evaluation=evaluation(diary), budget=60).run()
    assert len(set(diary.calls)) == len(diary.calls) == 60


def test_a_search_ends_when_every_architecture_has_been_measured() -> None:
    class Tiny(Toy):
        name = "tiny"
        decisions = Toy.decisions[:1]

    result = Search(TASK, space=Tiny(), evaluation=evaluation(), budget=60).run()
    assert len(result.outcomes) == 4
    assert "has been measured" in result.why


def test_a_failed_candidate_is_recorded_with_its_reason_and_the_search_goes_on() -> None:
    result = Search(TASK, space=Toy(), evaluation=evaluation(Diary(fail_on="pool")), budget=30).run()
    failed = [outcome for outcome in result.outcomes if isinstance(outcome, Failed)]
    assert failed
    assert all(outcome.reason == "pool does not train; leave it out" for outcome in failed)
    assert len(result.outcomes) == 30
    assert result.best is not None


def test_a_search_in_which_everything_fails_ends_without_a_winner() -> None:
    vault = TestVault()
    result = Search(TASK, space=Toy(), evaluation=evaluation(Diary(fail_on="layer"), vault), budget=8).run()
    assert result.best is None
    assert result.to_dict()["best"] is None
    assert vault.opened == []


def test_the_test_split_is_opened_once_for_the_winner() -> None:
    vault = TestVault()
    result = Search(TASK, space=Toy(), evaluation=evaluation(None, vault), budget=10).run()
    assert result.best is not None
    assert vault.opened == [result.best.architecture.id]
    assert result.test is not None
    assert result.test.value == result.best.value - 1.0


def test_nothing_in_the_log_before_the_end_knows_the_test_value() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=10)
    search.run()
    before = search.journal.log.events[:-1]
    assert search.journal.log.events[-1]["type"] == "finished"
    assert not any("test" in event for event in before)


def test_a_batch_measures_several_in_one_round() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=12, batch=4, initial=4)
    search.run()
    rounds = [event["round"] for event in search.journal.log.events if event["type"] == "proposal"]
    assert rounds == [1] * 4 + [2] * 4 + [3] * 4


def test_each_proposal_says_before_its_evaluation_which_principles_it_obeys() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=60, adapt_every=10)
    search.run()
    events = search.journal.log.events
    place = {e["proposal"]["architecture"]["id"]: i for i, e in enumerate(events) if e["type"] == "proposal"}
    for index, event in enumerate(events):
        if event["type"] == "outcome":
            assert place[event["outcome"]["architecture"]["id"]] < index
    assert any(e["proposal"]["principles"] for e in events if e["type"] == "proposal")


def test_the_stated_share_of_rounds_proposes_what_breaks_a_principle() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=80, adapt_every=10, outside_share=0.25)
    search.run()
    events = search.journal.log.events
    rounds = {e["round"]: e for e in events if e["type"] == "proposed" and e["principles"]}
    outside = [number for number, event in rounds.items() if event["breaks"]]
    assert len(rounds) > 20
    assert abs(len(outside) - 0.25 * len(rounds)) <= 1
    for event in events:
        if event["type"] == "proposal" and event["round"] in outside:
            assert event["proposal"]["outside"]
            assert rounds[event["round"]]["breaks"] in rounds[event["round"]]["principles"]
            assert rounds[event["round"]]["breaks"] not in event["proposal"]["principles"]


def test_without_principles_none_is_learned() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=40, principles=False)
    search.run()
    assert "principle" not in kinds(search.journal.log.events)


def test_inside_rounds_propose_only_what_the_active_principles_allow() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=60, adapt_every=10, outside_share=0.0)
    search.run()
    active: list[str] = []
    for event in search.journal.log.events:
        if event["type"] == "proposed":
            active = event["principles"]
        if event["type"] == "proposal" and active:
            assert set(event["proposal"]["principles"]) == set(active)


def test_a_run_folder_holds_what_the_contract_says(tmp_path: Path) -> None:
    result = start(config(tmp_path / "runs"), evaluation=evaluation())
    folder = RunFolder(Path(result.run or ""))
    assert folder.config().budget == 14
    assert json.loads(folder.best_json.read_text())["best"]["arch"] == result.to_dict()["best"]["arch"]
    assert "class Network" in folder.best_source.read_text()
    events, _ = read_events(folder.events)
    assert kinds(events)[0] == "started"
    assert kinds(events)[-1] == "finished"
    assert kinds(events).count("outcome") == 14
    assert folder.checkpoints.exists()


def test_the_state_in_a_checkpoint_does_not_grow_with_the_search(tmp_path: Path) -> None:
    sizes = []
    for budget in (10, 60):
        out = start(config(tmp_path / f"runs{budget}", budget=budget), evaluation=evaluation())
        import sqlite3

        with sqlite3.connect(RunFolder(Path(out.run or "")).checkpoints) as connection:
            sizes.append(connection.execute("SELECT max(length(checkpoint)) FROM checkpoints").fetchone()[0])
    assert sizes[1] < 1.5 * sizes[0]


def test_ask_and_tell_give_the_same_search_as_one_call() -> None:
    whole = Search(TASK, space=Toy(), evaluation=evaluation(), budget=15, adapt_every=4, seed=3)
    whole.run()
    told = Search(TASK, space=Toy(), budget=15, adapt_every=4, seed=3)
    while proposals := told.ask():
        for proposal in proposals:
            told.tell(proposal, worth(proposal.architecture))
    assert told.result().curve == whole.result().curve
    assert told.best is not None


def test_asking_twice_gives_the_same_answer() -> None:
    search = Search(TASK, space=Toy(), budget=5)
    assert search.ask() == search.ask()


def test_a_failure_may_be_told() -> None:
    search = Search(TASK, space=Toy(), budget=3)
    (first,) = search.ask()
    search.tell(first, Failed(first.architecture, "it did not fit into memory; make it smaller", 1.0, 0, "mine"))
    (second,) = search.ask()
    assert second.architecture.id != first.architecture.id
    assert search.best is None


def test_telling_what_was_not_asked_for_is_refused() -> None:
    search = Search(TASK, space=Toy(), budget=3)
    (first,) = search.ask()
    search.tell(first, 50.0)
    with pytest.raises(ConfigError, match="was not asked for"):
        search.tell(first, 50.0)


def test_a_task_of_ones_own_cannot_run_without_something_that_measures() -> None:
    with pytest.raises(ConfigError, match="needs an `evaluation`"):
        Search(TASK, space=Toy()).run()


def test_a_metric_may_be_minimised() -> None:
    from dataclasses import replace

    task = replace(TASK, maximise=False)
    result = Search(task, space=Toy(), evaluation=replace(evaluation(), task=task), budget=40).run()
    assert isinstance(result.best, Measured)
    assert result.best.value == min(worth(architecture) for architecture in Toy().enumerate() or ())


@pytest.mark.parametrize("surrogate", ["structure", "none"])
def test_each_surrogate_can_be_chosen(surrogate: str) -> None:
    result = Search(TASK, space=Toy(), evaluation=evaluation(), budget=8, surrogate=surrogate).run()
    assert len(result.outcomes) == 8


def test_random_proposals_are_a_generator_too() -> None:
    result = Search(TASK, space=LargeToy(), evaluation=evaluation(), budget=8, generator="random").run()
    assert len(result.outcomes) == 8


def test_asking_after_a_finished_search_gives_nothing_and_opens_nothing() -> None:
    vault = TestVault()
    search = Search(TASK, space=Toy(), evaluation=evaluation(None, vault), budget=5)
    search.run()
    assert search.ask() == ()
    assert search.run().curve == search.result().curve
    assert len(vault.opened) == 1


def test_asking_instead_of_running_leaves_the_evaluator_and_the_test_split_alone() -> None:
    diary, vault = Diary(), TestVault()
    search = Search(TASK, space=Toy(), evaluation=evaluation(diary, vault), budget=4)
    while proposals := search.ask():
        for proposal in proposals:
            search.tell(proposal, 50.0)
    assert diary.calls == vault.opened == []
    assert search.result().evaluator == "told"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_telling_no_number_is_refused(value: float) -> None:
    search = Search(TASK, space=Toy(), budget=3)
    (first,) = search.ask()
    with pytest.raises(ConfigError, match="expected a finite value"):
        search.tell(first, value)


def test_telling_the_outcome_of_another_architecture_is_refused() -> None:
    search = Search(TASK, space=Toy(), budget=3)
    (first,) = search.ask()
    other = next(Toy().neighbours(first.architecture))
    with pytest.raises(ConfigError, match="expected an outcome of"):
        search.tell(first, Measured(other, 50.0, "x", 0.0, 0, "x"))
    assert search.ask() == (first,)


def test_a_region_where_everything_fails_is_left_alone() -> None:
    result = Search(TASK, space=Toy(), evaluation=evaluation(Diary(fail_on="wide")), budget=60).run()
    failed = [isinstance(outcome, Failed) for outcome in result.outcomes]
    assert sum(failed[:30]) < 27
    assert sum(failed[30:]) < 12, "three quarters of the space fail, and the search should know by now"


def test_a_proposal_is_outside_exactly_if_it_breaks_an_active_principle() -> None:
    search = Search(TASK, space=Small(), evaluation=evaluation(), budget=64, adapt_every=8)
    search.run()
    active: list[str] = []
    flags = []
    for event in search.journal.log.events:
        if event["type"] == "proposed":
            active = event["principles"]
        if event["type"] == "proposal" and not event["initial"]:
            broken = set(active) - set(event["proposal"]["principles"])
            assert event["proposal"]["outside"] == bool(broken)
            flags.append(bool(broken))
    assert any(flags)
    assert any(event.get("wider") for event in search.journal.log.events)


class Away(Diary):
    """An evaluator on another machine that does not answer at first."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        if self.times:
            self.times -= 1
            raise ConnectionError("the machine does not answer")
        return super().evaluate(architecture, seed=seed)


def test_an_evaluator_that_is_away_for_a_moment_is_asked_again() -> None:
    assert len(Search(TASK, space=Toy(), evaluation=evaluation(Away(1)), budget=3).run().outcomes) == 3


def test_an_evaluator_that_stays_away_is_an_error() -> None:
    with pytest.raises(ConnectionError, match="does not answer"):
        Search(TASK, space=Toy(), evaluation=evaluation(Away(100)), budget=3).run()


def test_a_bug_in_an_evaluator_is_not_tried_again() -> None:
    class Buggy(Diary):
        def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
            self.calls.append(architecture.id)
            raise RuntimeError("a bug")

    diary = Buggy()
    with pytest.raises(RuntimeError, match="a bug"):
        Search(TASK, space=Toy(), evaluation=evaluation(diary), budget=3).run()
    assert len(diary.calls) == 1


class Recalling:
    """A memory with one architecture; or one that cannot be read."""

    def __init__(self, text: str = "", error: Exception | None = None) -> None:
        self.text, self.error = text, error

    def recall(self) -> list[Json]:
        if self.error is not None:
            raise self.error
        architecture = {"space": "toy", "text": self.text, "id": "x"}
        return [{"kind": "architecture", "architecture": architecture, "task": "t", "why": "w"}]

    def remember(self, journal: Journal) -> str:
        return ""


def test_what_memory_holds_of_an_older_space_of_the_same_name_is_left_out_and_counted() -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=3, memory=Recalling("depth=2,width=8"))
    assert len(search.run().outcomes) == 3
    (recalled,) = [event for event in search.journal.log.events if event["type"] == "recalled"]
    assert recalled["items"] == []
    assert recalled["dropped"] == 1


def test_a_memory_that_cannot_be_read_means_a_cold_start_that_says_so() -> None:
    memory = Recalling(error=MemoryStoreError("the store is broken; run: nas-agent memory rebuild"))
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=3, memory=memory)
    assert len(search.run().outcomes) == 3
    (recalled,) = [event for event in search.journal.log.events if event["type"] == "recalled"]
    assert "memory rebuild" in recalled["problem"]


def test_a_negative_budget_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"budget: Input should be greater than or equal to 1, got -1"):
        Search(TASK, space=Toy(), budget=-1)
