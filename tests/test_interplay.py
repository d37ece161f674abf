"""Options together: whatever is combined, the workers change no event, a stopped search ends the same, promises hold.

Each combination is searched alone, by two and by four workers, and stopped at several places and resumed.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from random import Random

import pytest

from nas_agent.objectives import Quantity
from nas_agent.records import Architecture, Failed, Fidelity, Json, Measured, Outcome
from nas_agent.run import Search, resume, start
from nas_agent.spaces import CategoricalSpace
from nas_agent.told import NoTestSplit
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.table import TableEvaluator
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.fidelities import make_rungs
from nas_agent.tools.run_folder import open_folder
from nas_agent.tools.tables import load_user_table
from tests import programs, searching
from tests.resumed import Killed, killed_at
from tests.searching import TASK, WORTH, Diary, Toy, config

RUNGS = make_rungs([Fidelity(1), Fidelity(3), Fidelity(9)])
WALLS = "fake: walls"
LIMIT = 2000.0  # a thousand for each wide layer


def layers(architecture: Architecture) -> list[str]:
    """The options of an architecture, whether it is written as choices or as a program."""
    space: CategoricalSpace = programs.ToyPrograms() if "LAYERS" in architecture.text else Toy()
    return list(space.choices(architecture).values())


class Wide:
    """A thousand for each wide layer, known of each architecture that is asked about."""

    effort = "built"
    origin = "made up"

    def of(self, quantity: Quantity) -> Wide:
        return self

    def remember(self, quantity: Quantity, values: object) -> None: ...

    def __call__(self, architecture: Architecture) -> float:
        return 1000.0 * layers(architecture).count("wide")


@dataclass
class Rig(Diary):
    """An evaluator that varies fidelities, fails now and then, takes unequal times, and may be confined."""

    confined: bool = False
    uneven: bool = False  # what was asked for first takes longest
    asked: list[tuple[str, int, int]] = field(default_factory=list)  # id, epochs, seed
    name: str = "rig"

    def evaluate(self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None) -> Outcome:
        epochs = 9 if fidelity is None else fidelity.epochs
        self.asked.append((architecture.id, epochs, seed))
        if self.uneven:
            time.sleep(0.004 if len(self.asked) % 3 == 1 else 0.0)
        at, walls = fidelity, WALLS if self.confined else None
        options = layers(architecture)
        if epochs > 1 and Random(architecture.id).random() < 0.2:
            return Failed(architecture, "it does not train for long", 0.0, seed, self.name, at=at, sandbox=walls)
        chance = Random(f"{architecture.id}{epochs}{seed}").gauss(0.0, 0.5)
        value = 50.0 + sum(4.0 * WORTH[option] / (1 + place) for place, option in enumerate(options)) - 20.0 / epochs
        return Measured(architecture, value + chance, str(at), 0.0, seed, self.name, at=at, sandbox=walls)


@dataclass(frozen=True)
class Combination:
    """What is switched on together."""

    fidelities: bool = False
    confined: bool = False
    limits: bool = False
    principles: bool = False
    code: bool = False  # programs by quality diversity, instead of choices by evolution
    surrogate: str = "none"
    batch: int = 1

    def __str__(self) -> str:
        switched = [name for name in ("fidelities", "confined", "limits", "principles", "code") if getattr(self, name)]
        return "-".join([*switched, self.surrogate, str(self.batch)])

    def settings(self, ahead: int) -> Json:
        return {
            "space": f"{(programs if self.code else searching).__file__}:{'ToyPrograms' if self.code else 'Toy'}",
            "budget": 4 if self.fidelities else 20 if self.principles else 14,
            "batch": self.batch,
            "ahead": ahead,
            "surrogate": self.surrogate,
            "principles": self.principles,
            "generator": "code" if self.code else "evolve",
            **({"niches": 9} if self.code else {}),
            **({"limits": ("params<=2k",)} if self.limits else {}),
            **({"fidelities": ("1", "3", "9")} if self.fidelities else {}),
        }

    def evaluation(self, rig: Rig) -> Evaluation:
        made = Evaluation(TASK, rig, NoTestSplit(), "made up", rungs=RUNGS if self.fidelities else None)
        return replace(made, costs=Wide()) if self.limits else made  # type: ignore[arg-type]

    def rig(self, *, uneven: bool = False) -> Rig:
        return Rig(confined=self.confined, uneven=uneven)


PLAIN = [
    Combination(fidelities, confined, limits, principles)
    for fidelities, confined, limits, principles in product((False, True), repeat=4)
    if fidelities + confined + limits + principles in (2, 4)
]
COMBINATIONS = [
    *PLAIN,
    Combination(fidelities=True, confined=True, surrogate="structure", batch=2),
    Combination(limits=True, confined=True, principles=True, surrogate="structure", batch=3),
    Combination(code=True, confined=True, principles=True),
    Combination(code=True, confined=True, limits=True, batch=2),
]
every = pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
AHEAD = 3


def events_of(out: Path) -> list[Json]:
    (path,) = out.iterdir()
    return [deterministic(event) for event in read_events(open_folder(path).events)[0]]


def searched(combination: Combination, out: Path, rig: Rig, **settings: object) -> list[Json]:
    start(
        config(out, **{**combination.settings(AHEAD), **settings}),  # type: ignore[arg-type]
        evaluation=combination.evaluation(rig),
    )
    return events_of(out)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Combination], tuple[list[Json], Rig]]:
    """The events of each combination, searched by this process alone with as many under way."""
    folder = tmp_path_factory.mktemp("alone")
    os.environ["NAS_AGENT_HOME"] = str(folder / "home")
    known: dict[Combination, tuple[list[Json], Rig]] = {}

    def found(combination: Combination) -> tuple[list[Json], Rig]:
        if combination not in known:
            rig = combination.rig()
            known[combination] = searched(combination, folder / str(len(known)), rig), rig
        return known[combination]

    return found


Alone = Callable[[Combination], tuple[list[Json], Rig]]


@every
@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.slow), 4])
def test_workers_change_no_event(tmp_path: Path, alone: Alone, combination: Combination, workers: int) -> None:
    rig = combination.rig(uneven=True)
    assert searched(combination, tmp_path, rig, workers=workers) == alone(combination)[0]
    assert Counter(rig.asked) == Counter(alone(combination)[1].asked)


@every
@pytest.mark.parametrize("share", [pytest.param(0.35, marks=pytest.mark.slow), 0.7])
def test_a_stopped_search_ends_the_same_and_measures_nothing_twice_that_was_recorded(
    tmp_path: Path, alone: Alone, combination: Combination, share: float
) -> None:
    whole = alone(combination)[0]
    point = max(2, round(share * len(whole)))

    first, second = combination.rig(), combination.rig()
    asked = config(tmp_path, workers=2, **combination.settings(AHEAD))
    with pytest.raises(Killed):
        start(asked, [killed_at(point)], evaluation=combination.evaluation(first))
    recorded = {
        (item["architecture"]["id"], level(item), seed)
        for item in outcomes(events_of(tmp_path))
        for seed in range(2 if "repeats" in item else 1)
    }
    (path,) = tmp_path.iterdir()
    resume(open_folder(path), evaluation=combination.evaluation(second))
    assert events_of(tmp_path) == whole
    assert not (path / "events.discarded.jsonl").exists()
    assert not recorded & set(second.asked)


# -- what each option promises, beside the others ----------------------------------------------------------------


def outcomes(events: list[Json]) -> list[Json]:
    return [event["outcome"] for event in events if event["type"] == "outcome"]


def level(item: Json) -> int:
    return 9 if item.get("at") is None else int(item["at"]["epochs"])


@every
def test_nothing_is_measured_twice_at_a_fidelity_and_a_failure_is_not_promoted(
    alone: Alone, combination: Combination
) -> None:
    events, rig = alone(combination)
    assert max(Counter(rig.asked).values()) == 1
    failed: set[str] = set()
    for event in events:
        if event["type"] == "proposal":
            assert event["proposal"]["architecture"]["id"] not in failed
        if event["type"] == "outcome" and "reason" in event["outcome"]:
            failed.add(event["outcome"]["architecture"]["id"])


def test_some_of_what_is_measured_fails_in_most_combinations(alone: Alone) -> None:
    failing = [any("reason" in item for item in outcomes(alone(each)[0])) for each in COMBINATIONS]
    assert sum(failing) > len(COMBINATIONS) // 2


@every
def test_the_budget_is_kept_while_several_are_under_way(alone: Alone, combination: Combination) -> None:
    events = alone(combination)[0]
    cost = dict(zip((1, 3, 9), RUNGS.costs, strict=True))
    spent = sum(cost[level(item)] for item in outcomes(events)) if combination.fidelities else len(outcomes(events))
    budget = combination.settings(AHEAD)["budget"]
    assert budget - 1.0 < spent <= budget + 1e-9
    under_way, most = 0, 0
    for event in events:
        under_way += (event["type"] == "proposal") - (event["type"] == "outcome")
        most = max(most, under_way)
    assert (under_way, most) == (0, max(AHEAD, combination.batch))


@every
def test_what_is_confined_is_best_only_by_the_lower_of_two_values(alone: Alone, combination: Combination) -> None:
    events, rig = alone(combination)
    best: float | None = None
    for item in outcomes(events):
        value = item.get("value")
        if level(item) != 9 or value is None:
            assert "repeats" not in item
            continue
        first = item["repeats"][0] if "repeats" in item else value
        twice = combination.confined and (best is None or first > best)
        assert ("repeats" in item) is twice
        assert not twice or value == min(item["repeats"])
        best = value if best is None else max(best, value)
    again = [key for key, _, seed in rig.asked if seed == 1]
    assert bool(again) is combination.confined
    assert len(again) == len(set(again))


@every
def test_nothing_over_a_limit_is_measured_and_principles_are_learned_where_they_are_on(
    alone: Alone, combination: Combination
) -> None:
    events = alone(combination)[0]
    costs = [Wide()(Architecture.from_dict(item["architecture"])) for item in outcomes(events)]
    assert max(costs) <= LIMIT if combination.limits else max(costs) > 0.0
    kinds = {event["type"] for event in events}
    assert combination.principles or "principle" not in kinds
    if combination.principles and not combination.limits and not combination.fidelities:  # else too few for evidence
        assert "principle" in kinds


# -- screens: on a table, which knows the proxy and the limit ----------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableEvaluator:
    every = Toy().enumerate() or ()
    rows = [f'"{each.text}",{searching.worth(each)},{Wide()(each) + 1.0}' for each in every]
    lines = ["architecture,val,params", *rows]
    file = tmp_path_factory.mktemp("table") / "toy.csv"
    file.write_text("\n".join(lines) + "\n")
    return TableEvaluator(load_user_table(file, Toy()))


SCREENED = [
    {"surrogate": surrogate, "batch": batch, **limits}
    for surrogate, batch, limits in (
        ("none", 1, {"limits": ("params<=2.5k",)}),
        ("structure", 1, {}),
        ("structure", 3, {"limits": ("params<=2.5k",)}),
    )
]


@pytest.mark.parametrize("settings", SCREENED, ids=str)
def test_screens_limits_and_several_under_way_go_together(
    tmp_path: Path, table: TableEvaluator, settings: Json
) -> None:
    found = Evaluation(table.table.task, table, NoTestSplit(), "made up")
    logs = []
    for workers in ({}, {"workers": 2}):
        out = tmp_path / str(len(logs))
        start(config(out, budget=12, screen="params", ahead=AHEAD, **workers, **settings), evaluation=found)
        logs.append(events_of(out))
    assert logs[0] == logs[1]
    measured = [Architecture.from_dict(item["architecture"]) for item in outcomes(logs[0])]
    assert len({architecture.id for architecture in measured}) == 12
    if "limits" in settings:
        assert max(Wide()(architecture) for architecture in measured) <= LIMIT


# -- ask and tell ------------------------------------------------------------------------------------------------


def test_a_caller_who_measures_confined_programs_is_asked_once_for_each() -> None:
    search, rig = Search(TASK, space=Toy(), budget=6, principles=False), Rig(confined=True)
    while proposals := search.ask():
        for proposal in proposals:
            search.tell(proposal, rig.evaluate(proposal.architecture, seed=0))
    assert len(rig.asked) == len(search.result().outcomes) == 6
    assert all(not getattr(outcome, "repeats", ()) for outcome in search.result().outcomes)
