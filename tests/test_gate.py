"""The gate: a surrogate that is wrong steps back and says so, one that is right is left alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas_agent import Search
from nas_agent.cli.candidate import tell
from nas_agent.cli.gate_report import changed, chosen_how, gate_text
from nas_agent.cli.output import stdout
from nas_agent.cli.progress import Progress
from nas_agent.cli.report import end_of_run, whole_run
from nas_agent.cli.run_document import as_document
from nas_agent.cli.story import Story
from nas_agent.cli.trace import trace
from nas_agent.engine import Engine
from nas_agent.errors import ConfigError, RunFolderError
from nas_agent.graphs.checkpoints import events_seen
from nas_agent.records import Architecture, Json
from nas_agent.tools.event_log import EventLog, deterministic, read_events
from nas_agent.tools.run_folder import RunFolder, create
from nas_agent.tools.surrogates import Ranked, Surrogate
from nas_agent.tools.surrogates.gate import PAIRS, UNDISTURBED, WINDOW, Gate, normal_score, upper_bound
from nas_agent.tools.surrogates.structure import CellSurrogate
from nas_agent.tools.surrogates.transfer import Source
from tests.resumed import Killed, killed_at
from tests.searching import TASK, Diary, LargeToy, Toy, config, evaluation, worth


class Opposite:
    """A surrogate that predicts, and wants, the opposite of what is true."""

    name = "opposite"

    def __init__(self, inner: Surrogate, heals_at: float = math.inf) -> None:
        self.inner, self.heals_at, self.told = inner, heals_at, 0

    @property
    def agreement(self) -> dict[str, float]:
        return self.inner.agreement

    def inform(self, sources: Sequence[Source]) -> None:
        self.inner.inform(sources)

    def observe(self, architecture: Architecture, score: float) -> None:
        self.told += 1
        self.inner.observe(architecture, score)

    def predict(self, proposals: Sequence[Architecture]) -> list[Ranked]:
        sign = 1.0 if self.told >= self.heals_at else -1.0
        return [replace(item, mean=sign * (item.mean or 0.0)) for item in self.inner.predict(proposals)]

    def rank(
        self, proposals: Sequence[Architecture], keep: int, under_way: Sequence[Architecture] = ()
    ) -> list[Ranked]:
        return sorted(self.predict(proposals), key=lambda item: -(item.mean or 0.0))[:keep]


def proposed(
    key: str, number: int, mean: float | None, choice: str = "surrogate", *, outside: bool = False, place: int = 1
) -> Json:
    expected = None if mean is None else {"mean": mean, "deviation": 1.0, "gain": None}
    proposal = {"architecture": {"id": key}, "outside": outside}
    return {"type": "proposal", "evaluation": number, "choice": choice, "expected": expected, "proposal": proposal}


def measured(key: str, number: int, value: float | None) -> Json:
    outcome: Json = {"architecture": {"id": key}, "kind": "failed" if value is None else "measured"}
    return {"type": "outcome", "evaluation": number, "outcome": outcome | ({} if value is None else {"value": value})}


Steps = Sequence[tuple[float | None, float | None]]  # what was predicted, what came


def events(steps: Steps, choice: str = "surrogate") -> list[Json]:
    found: list[Json] = []
    for number, (mean, value) in enumerate(steps, start=1):
        found += [proposed(str(number), number, mean, choice), measured(str(number), number, value)]
    return found


def followed(steps: Steps, gate: Gate | None = None) -> Gate:
    """Live through the steps as a search does: before each round the gate may change."""
    gate = gate or Gate(TASK)
    for number, (mean, value) in enumerate(steps, start=len(gate._scores) + 1):
        change = gate.turn()
        if change is not None:
            gate.follow({"type": "gate", **change})
        gate.follow(proposed(str(number), number, mean, "order" if gate.away else "surrogate"))
        gate.follow(measured(str(number), number, value))
    return gate


def right(rng: Random, count: int, shift: float = 0.0) -> list[tuple[float, float]]:
    """Predictions of standard normal outcomes that explain most of them."""
    values = [rng.gauss(shift, 1.0) for _ in range(count)]
    return [(value * 0.8 + rng.gauss(0.0, 0.4), value) for value in values]


# -- the statistic ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_surrogate_that_claims_much_and_knows_nothing_steps_back_soon(seed: int) -> None:
    rng = Random(seed)
    gate = followed([(1.2 + rng.gauss(0, 0.2), rng.gauss(0, 1)) for _ in range(31)])
    assert gate.changes
    assert gate.changes[0]["action"] == "stepped back"
    assert PAIRS < gate.changes[0]["evaluations"] <= 30


@pytest.mark.parametrize("seed", range(20))
def test_a_surrogate_that_is_right_never_steps_back(seed: int) -> None:
    assert followed(right(Random(seed), 120)).changes == []


@pytest.mark.parametrize("seed", range(20))
def test_a_narrow_range_of_predictions_convicts_nobody(seed: int) -> None:
    """Late in a search: all picks are predicted alike and are all good, so their own rank correlation is nothing."""
    rng = Random(seed)
    early: Steps = [(None, rng.gauss(0, 1)) for _ in range(40)]
    late: Steps = [(1.1 + rng.gauss(0, 0.02), 1.2 + rng.gauss(0, 0.3)) for _ in range(25)]
    gate = followed([*early, *late])
    assert gate.changes == []
    means, scores = zip(*gate._pairs, strict=True)
    order = sum((a - b) * (c - d) > 0 for a, c in gate._pairs for b, d in gate._pairs) / (len(means) * (len(means) - 1))
    assert order < 0.75, "among the picks alone there is little order to be seen"
    assert len(set(scores)) > 5


@pytest.mark.parametrize("seed", range(10))
def test_small_claims_neither_convict_nor_acquit(seed: int) -> None:
    rng = Random(seed)
    gate = followed([(rng.gauss(0, 0.05), rng.gauss(0, 1)) for _ in range(100)])
    assert gate.changes == []
    standing = gate.standing()
    assert standing is not None
    assert standing.high - standing.low > 1.0


@pytest.mark.parametrize("seed", range(10))
def test_it_comes_back_when_it_is_right_again_and_every_change_needs_new_evidence(seed: int) -> None:
    rng = Random(seed)
    wrong = [(-mean, value) for mean, value in right(rng, 25)]
    gate = followed([*wrong, *right(rng, 60)])
    assert [change["action"] for change in gate.changes][:2] == ["stepped back", "came back"]
    assert not gate.away
    at = [change["evaluations"] for change in gate.changes]
    assert all(later - earlier >= PAIRS for earlier, later in pairwise(at))


def test_the_verdict_depends_on_ranks_alone() -> None:
    steps = [(mean, value) for mean, value in right(Random(3), 60)]
    wrong = [(-mean, value) for mean, value in steps]
    for chosen in (steps, wrong):
        plain = followed(chosen)
        bent = followed([(mean, math.exp(3.0 * (value or 0.0))) for mean, value in chosen])
        assert plain.changes == bent.changes
        assert plain.standing() == bent.standing()


def test_where_less_is_better_the_verdict_is_the_same() -> None:
    steps = [(-mean, value) for mean, value in right(Random(4), 40)]
    upwards = followed(steps)
    downwards = followed([(mean, -value) for mean, value in steps], Gate(replace(TASK, maximise=False)))
    assert upwards.changes
    assert upwards.changes == downwards.changes


def test_only_the_latest_predictions_count() -> None:
    rng = Random(1)
    gate = followed([*right(rng, 3 * WINDOW), *[(1.5, -1.0 - rng.random()) for _ in range(WINDOW)]])
    assert any(change["action"] == "stepped back" for change in gate.changes), "an old reputation protects nobody"


def test_predicting_nothing_or_exactly_zero_is_no_evidence() -> None:
    for steps in ([(None, 1.0)] * 40, [(0.0, 1.0)] * 40):
        gate = followed(steps)
        assert gate.standing() is None
        assert gate.changes == []


def test_all_outcomes_equal_give_a_standing_without_a_correlation() -> None:
    gate = Gate(TASK)
    for event in events([(1.0, 5.0)] * 12):
        gate.follow(event)
    standing = gate.standing()
    assert standing is not None
    assert (standing.pairs, standing.correlation, standing.share) == (11, 0.0, 0.0)


def test_a_failure_counts_as_worse_than_all_that_was_measured() -> None:
    gate = followed([(1.0, 50.0), (1.0, 60.0), (1.0, None)])
    assert gate._pairs[-1][1] < 0.0
    assert gate._pairs[-1][1] == normal_score(-math.inf, [50.0, 60.0])


def test_outcomes_of_one_batch_are_judged_by_what_was_known_when_they_were_chosen() -> None:
    gate = Gate(TASK)
    for event in events([(None, 50.0)]):
        gate.follow(event)
    for key in ("a", "b", "c"):
        gate.follow(proposed(key, 2, 1.0))
    for number, key in enumerate(("a", "b", "c"), start=2):
        gate.follow(measured(key, number, 60.0 + number))
    assert {score for _, score in gate._pairs} == {normal_score(60.0, [50.0])}


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_scores_of_ignorance_average_to_nothing(seed: int) -> None:
    rng = Random(seed)
    values = [rng.random() for _ in range(400)]
    scores = [normal_score(value, values[:place]) for place, value in enumerate(values) if place]
    assert abs(sum(scores) / len(scores)) < 4 / math.sqrt(len(scores))
    assert sum(score**2 for score in scores) / len(scores) < 1.2


def test_ties_share_their_mean_rank() -> None:
    assert normal_score(5.0, [5.0, 5.0]) == 0.0
    assert normal_score(5.0, [4.0]) == -normal_score(4.0, [5.0]) > 0.0


@pytest.mark.parametrize("cut", [0, 1, 7, 30, 61])
def test_a_gate_made_anew_from_the_log_is_the_same(cut: int) -> None:
    log: list[Json] = []

    class Kept(Gate):
        def follow(self, event: Json) -> None:
            log.append(json.loads(json.dumps(event)))
            super().follow(event)

    whole = followed([(-mean, value) for mean, value in right(Random(9), 35)], Kept(TASK))
    again = Gate(TASK)
    for event in log[:cut]:
        again.follow(event)
    for event in log[cut:]:
        again.follow(event)
    assert again.to_dict() == whole.to_dict()
    assert again.turn() == whole.turn()


def test_logs_older_than_the_gate_give_evidence_of_predictions_only() -> None:
    gate = Gate(TASK)
    for event in events(right(Random(2), 30)):
        gate.follow({key: value for key, value in event.items() if key != "choice"})
    assert gate.predicted == 29
    assert gate.rejections().measured == 0


# -- rejected proposals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.03, 0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_the_stated_share_of_evaluations_goes_to_rejected_proposals(share: float, batch: int) -> None:
    gate, number, where = Gate(TASK), 0, []
    rng = Random(0)
    while number < 200:
        owed = gate.owed(share, batch)
        choices = ["surrogate"] * (batch - owed) + ["rejected"] * owed
        keys = [str(number + place) for place in range(batch)]
        for place, choice in enumerate(choices):
            gate.follow(proposed(keys[place], number + place + 1, None, choice))
        for place, key in enumerate(keys):
            where += [number + place + 1] if choices[place] == "rejected" else []
            gate.follow(measured(key, number + place + 1, rng.random()))
        number += batch
    assert min(where, default=number) > UNDISTURBED - batch
    assert abs(len(where) - share * (number - UNDISTURBED)) <= 1.0


def test_none_is_owed_while_the_surrogate_stands_back() -> None:
    gate = Gate(TASK)
    for event in events([(None, 1.0)] * 100):
        gate.follow(event)
    assert gate.owed(0.5, 1) == 1
    gate.away = True
    assert gate.owed(0.5, 1) == 0


def test_a_rejected_proposal_is_a_false_rejection_if_it_beats_the_median_of_the_chosen() -> None:
    gate = Gate(TASK)
    story = [("surrogate", 1.0), ("surrogate", 2.0), ("surrogate", 3.0), ("rejected", 2.5), ("rejected", 1.5)]
    story += [("rejected", 9.0), ("order", 99.0), ("initial", 98.0)]
    for number, (choice, value) in enumerate(story, start=1):
        gate.follow(proposed(str(number), number, 0.1, choice))
        gate.follow(measured(str(number), number, value))
    gate.follow(proposed("x", 9, 0.1, outside=True))  # breaks a principle on purpose: not what the surrogate is for
    gate.follow(measured("x", 9, 50.0))
    found = gate.rejections()
    assert (found.measured, found.false, found.best) == (3, 2, 1)
    assert found.high == pytest.approx(0.983, abs=1e-3)


@pytest.mark.parametrize(("count", "of", "bound"), [(0, 1, 0.95), (0, 4, 0.527), (1, 10, 0.394), (5, 5, 1.0)])
def test_the_bound_on_false_rejections_is_clopper_and_pearsons(count: int, of: int, bound: float) -> None:
    assert upper_bound(count, of) == pytest.approx(bound, abs=1e-3)


# -- in a search --------------------------------------------------------------------------------------------


def engine(budget: int = 40, *, wrong: bool = True, heals_at: float = math.inf, **settings: Any) -> Engine:
    made = Engine(
        config(Path("unused"), budget=budget, **settings), Toy(), evaluation(), EventLog(),
    )  # fmt: skip
    if wrong:
        assert made.services.surrogate is not None
        made.services.surrogate = Opposite(made.services.surrogate, heals_at)
    return made


def of_kind(made: Engine, kind: str) -> list[Json]:
    return [event for event in made.journal.log.events if event["type"] == kind]


def test_a_wrong_surrogate_steps_back_says_why_and_predicts_on_in_silence() -> None:
    made = engine()
    made.run()
    (change,) = of_kind(made, "gate")
    assert change["action"] == "stepped back"
    assert change["evaluations"] <= 30
    assert change["standing"]["high"] < 0.6
    later = [event for event in of_kind(made, "proposal") if event["evaluation"] > change["evaluations"]]
    assert {event["choice"] for event in later} == {"order"}
    assert all(event["expected"]["mean"] is not None for event in later)
    assert {event["choice"] for event in of_kind(made, "proposal")[1:10]} == {"surrogate"}


@pytest.mark.parametrize("seed", range(3))
def test_a_search_with_a_wrong_surrogate_ends_better_with_the_gate(seed: int) -> None:
    ends = []
    for gate in (True, False):
        result = engine(60, gate=gate, seed=seed).run()
        assert result.best is not None
        ends.append(result.best.value)
    assert ends[0] > ends[1]


def test_a_surrogate_that_heals_comes_back_and_chooses_again() -> None:
    made = engine(80, heals_at=25)
    made.run()
    assert [event["action"] for event in of_kind(made, "gate")] == ["stepped back", "came back"]
    last = of_kind(made, "gate")[-1]["evaluations"]
    assert {e["choice"] for e in of_kind(made, "proposal") if e["evaluation"] > last} <= {"surrogate", "rejected"}


def test_with_the_gate_off_a_wrong_surrogate_goes_on() -> None:
    made = engine(gate=False)
    made.run()
    assert of_kind(made, "gate") == []
    assert {event["choice"] for event in of_kind(made, "proposal")[1:20]} == {"surrogate"}


@pytest.mark.parametrize("seed", range(4))
def test_a_right_surrogate_stays_and_one_evaluation_in_twenty_is_against_its_advice(seed: int) -> None:
    made = engine(85, wrong=False, seed=seed)
    made.run()
    assert of_kind(made, "gate") == []
    rejected = [event for event in of_kind(made, "proposal") if event["choice"] == "rejected"]
    assert len(rejected) == 3
    rounds = {event["round"]: event for event in of_kind(made, "proposed")}
    for event in rejected:
        assert event["evaluation"] >= 40
        assert 1 < event["expected"]["place"] <= event["expected"]["of"] == rounds[event["round"]]["proposals"]
        assert not rounds[event["round"]]["breaks"], "a round that tests a principle has its own question"
        assert not event["proposal"]["outside"]


def test_without_a_share_nothing_is_measured_against_advice() -> None:
    made = engine(80, wrong=False, rejected_share=0.0)
    made.run()
    assert {event["choice"] for event in of_kind(made, "proposal")} == {"initial", "surrogate"}


def test_without_a_surrogate_chance_chooses_and_there_is_nothing_to_judge() -> None:
    made = engine(50, wrong=False, surrogate="none")
    result = made.run()
    assert {event["choice"] for event in of_kind(made, "proposal")} == {"initial", "chance"}
    assert "gate" not in result.to_dict()


def test_the_result_says_how_the_surrogate_stands() -> None:
    told = engine().run().to_dict()["gate"]
    assert told["away"] is True
    assert told["predicted"] == 39
    assert json.loads(json.dumps(told)) == told


def test_a_space_that_cannot_be_listed_is_searched_in_the_same_way() -> None:
    search = Search(TASK, space=LargeToy(), evaluation=evaluation(), budget=45, rejected_share=0.2)
    search.run()
    choices = [e["choice"] for e in search.journal.log.events if e["type"] == "proposal"]
    assert 4 <= choices.count("rejected") <= 5  # one waits for a round that tests no principle
    assert search.journal.gate.to_dict()["rejected"]["measured"] == choices.count("rejected")


def test_what_is_predicted_is_what_ranking_predicts_and_asking_changes_nothing() -> None:
    for space, pool in ((Toy(), list(Toy().enumerate() or ())), (LargeToy(), None)):
        rng = Random(0)
        told, asked = CellSurrogate(space, pool), CellSurrogate(space, pool)
        drawn = [space.sample(rng) for _ in range(40)]
        distinct = list({architecture.id: architecture for architecture in drawn}.values())
        for architecture in distinct[:12]:
            asked.predict(distinct[12:])
            for surrogate in (told, asked):
                surrogate.observe(architecture, worth(architecture))
        ranked = {item.index: (item.mean, item.deviation) for item in told.rank(distinct[12:], 1)}
        predicted = asked.predict(distinct[12:])
        assert [item.index for item in predicted] == list(range(len(distinct) - 12))
        assert all((predicted[place].mean, predicted[place].deviation) == found for place, found in ranked.items())
        assert asked.rank(distinct[12:], 3) == told.rank(distinct[12:], 3)
        assert asked.predict([]) == []


@pytest.mark.parametrize("value", [-0.1, 1.5, "often"])
def test_a_share_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="rejected_share"):
        Search(TASK, space=Toy(), rejected_share=value)


# -- resume and reports -------------------------------------------------------------------------------------


SETTINGS: dict[str, Any] = {"budget": 34, "rejected_share": 0.4, "gate": True}


def in_folder(folder: RunFolder, log: EventLog, heals_at: float, *listeners: Callable[[Json], None]) -> Engine:
    """Search in a folder with a surrogate that is wrong at first; a new process has to learn that it has healed."""
    made = Engine(folder.config(), Toy(), evaluation(Diary()), log, folder=folder, listeners=listeners)
    assert made.services.surrogate is not None
    made.services.surrogate = Opposite(made.services.surrogate, heals_at)
    return made


@pytest.fixture(scope="module")
def stepped_back(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = create(config(tmp_path_factory.mktemp("runs"), budget=45), "0")
    in_folder(folder, EventLog(folder.events), math.inf).run()
    return folder


@pytest.mark.parametrize(("heals_at", "kind"), [(16, "gate"), (0, "rejected")])
@pytest.mark.parametrize("offset", [-1, 0, 1, 2])
def test_killed_around_a_change_or_a_rejected_proposal_it_goes_on_as_if_never_stopped(
    tmp_path: Path, heals_at: int, kind: str, offset: int
) -> None:
    whole = create(config(tmp_path / "whole", **SETTINGS), "0")
    in_folder(whole, EventLog(whole.events), heals_at).run()
    expected = [deterministic(event) for event in read_events(whole.events)[0]]
    points = [place for place, e in enumerate(expected, 1) if kind in {e["type"], e.get("choice")}]
    assert points
    for number, point in enumerate(points[:3]):
        folder = create(config(tmp_path / f"{number}", **SETTINGS), "0")
        with pytest.raises(Killed):
            in_folder(folder, EventLog(folder.events), heals_at, killed_at(point + offset)).run()
        log = EventLog.reopen(folder.events, events_seen(folder.checkpoints) or 0)
        in_folder(folder, log, heals_at).run()
        assert [deterministic(event) for event in read_events(folder.events)[0]] == expected
        assert not (folder.path / "events.discarded.jsonl").exists()


def plain(parts: Sequence[object]) -> str:
    console = stdout()
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    return " ".join(captured.get().split())


def test_the_reports_say_in_plain_words_that_the_surrogate_stepped_back(stepped_back: RunFolder) -> None:
    story = Story.read(stepped_back)
    for told in (end_of_run(story, Toy(), stdout()), whole_run(story, Toy(), stdout(), running=False)):
        text = plain(told)
        assert "the surrogate stepped back after" in text
        assert "of the differences that it predicted came true" in text
        assert "it stands back" in text
    document = as_document(story, running=False)
    assert document["gate"]["away"] is True
    assert document["gate"]["changes"][0]["action"] == "stepped back"


def test_after_a_few_predictions_no_report_says_what_share_of_them_came_true() -> None:
    steps = [(1.0, float(number)) for number in range(6)]  # the first has nothing to be compared with
    few, enough = (str(gate_text(followed(steps[:count]))) for count in (5, 6))
    assert few == "4 predictions so far, too few to tell whether they come true"
    assert "over its last 5 predictions" in enough


def test_the_story_of_a_candidate_says_that_the_surrogate_did_not_choose_it(stepped_back: RunFolder) -> None:
    story = Story.read(stepped_back)
    text = plain(tell(story, story.candidate("45"), Toy(), stdout()))
    assert "the surrogate stood back: it was next in the generator's order" in text
    assert "the surrogate stood back" not in plain(tell(story, story.candidate("3"), Toy(), stdout()))


def test_a_trace_says_of_each_proposal_who_chose_it(stepped_back: RunFolder) -> None:
    events, _ = read_events(stepped_back.events)
    (name, *_) = [event["principle"]["id"] for event in events if event["type"] == "principle"]
    assert {entry["choice"] for entry in trace(events, name).proposals} <= {"surrogate", "order", "rejected"}


def test_the_progress_tells_of_the_change_when_it_happens(stepped_back: RunFolder) -> None:
    from io import StringIO

    from rich.console import Console

    shown = StringIO()
    progress = Progress(Console(file=shown), live=False)
    for event in read_events(stepped_back.events)[0]:
        progress(event)
    lines = shown.getvalue().splitlines()
    (place,) = [place for place, line in enumerate(lines) if line.startswith("the surrogate stepped back after")]
    assert any("opposite stands back, expects" in line for line in lines[place:])
    assert not any("stands back" in line for line in lines[:place])


def test_false_rejections_are_told_with_their_bound() -> None:
    made = engine(85, wrong=False)
    made.run()
    text = gate_text(made.journal.gate).plain
    assert "3 rejected proposals measured all the same: " in text
    assert "(95 %)" in text
    assert "stands back" not in text
    rejected = next(event for event in of_kind(made, "proposal") if event["choice"] == "rejected")
    words = chosen_how("rejected", rejected["expected"])
    assert words.startswith("against the surrogate, which ranked it ")
    assert chosen_how("surrogate", rejected["expected"]) == chosen_how(None, None) == ""


def test_coming_back_is_told_as_such() -> None:
    made = engine(80, heals_at=25)
    made.run()
    assert "came back after" in changed(of_kind(made, "gate")[-1])
    assert gate_text(made.journal.gate).plain.count("\n") >= 2


def test_a_spoiled_change_in_a_log_is_one_clear_line(stepped_back: RunFolder, tmp_path: Path) -> None:
    folder = create(config(tmp_path / "runs", budget=45), "0")
    lines = []
    for line in stepped_back.events.read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "gate":
            event["standing"]["share"] = "much"
        lines.append(json.dumps(event))
    folder.events.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFolderError, match="a 'gate' event lacks or misuses 'share'"):
        Story.read(folder)
