"""LLMatic's loop: what prompts are rewarded for, what is tried next, and that all of it follows from the journal."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from nas_agent.agents.generators.base import Brief
from nas_agent.agents.generators.quality_diversity import (
    CodeGenerator,
    Illumination,
    Settings,
    first_of,
    read_archive,
    settings_of,
)
from nas_agent.agents.generators.quality_diversity.breeding import Answer, wished
from nas_agent.agents.generators.quality_diversity.illumination import CROSSOVERS, MUTATIONS
from nas_agent.agents.generators.quality_diversity.ranges import axes_of, measures
from nas_agent.bench.compare import METHODS
from nas_agent.bench.llmatic import Llmatic
from nas_agent.bench.methods import Problem
from nas_agent.config import Config, make_config
from nas_agent.errors import ConfigError, DataError, InvalidArchitecture, MissingExtra, NasAgentError
from nas_agent.graphs.state import stream
from nas_agent.records import Architecture, Failed, Json, Measured, Miss, Outcome, Proposal, Task, Trial, Variation
from nas_agent.run import resume, start
from nas_agent.spaces.code import INTENTS, Varies
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.base import TestResult as Opened
from nas_agent.tools.event_log import EventLog, deterministic, read_events
from nas_agent.tools.journal import Journal
from nas_agent.tools.run_folder import open_folder
from tests.resumed import Killed, killed_at
from tests.searching import Toy

SPACE = NasBench201()
TASK = Task("made up", "Likes weights, and a pooling.")


def worth(architecture: Architecture) -> float:
    return 50.0 + SPACE.flops(architecture) / 1e7 + 3.0 * ("avg_pool" in architecture.text)


class Weigher:
    """An evaluator that refuses cells with three skips."""

    name, fidelity = "weigher", "made up"
    provenance = "measured"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pool(self) -> None:
        return None

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        self.calls.append(architecture.id)
        if architecture.text.count("skip_connect") >= 3:
            return Failed(architecture, "too many skips", 0.0, seed, self.name)
        return Measured(architecture, worth(architecture), self.fidelity, 0.0, seed, self.name)


def state(settings: Settings = Settings()) -> Illumination:  # noqa: B008 - frozen
    return Illumination(TASK, axes_of(SPACE), SPACE.start(), settings)


def trial(architecture: Architecture, value: float | None, variation: Variation | None = None) -> Trial:
    outcome: Outcome = Failed(architecture, "does not train", 0.0, 0, "x")
    if value is not None:
        outcome = Measured(architecture, value, "made up", 0.0, 0, "x")
    where = measures(SPACE, architecture)
    return Trial(Proposal(architecture, "mutation", variation=variation, measures=where), outcome)


def here(one: Trial) -> Trial:
    """Move a trial to where all meet."""
    return replace(one, proposal=replace(one.proposal, measures=(10.0, 1e8)))


def draws(number: int, seed: int = 0) -> list[Architecture]:
    rng = Random(seed)
    found = {one.id: one for one in (SPACE.sample(rng) for _ in range(3 * number))}
    return list(found.values())[:number]


def prompt(intent: str = "improve", temperature: float = 0.6, island: int = 0) -> Variation:
    return Variation(intent, temperature, "program", island=island)


def begun(settings: Settings = Settings(), number: int = 40) -> Illumination:  # noqa: B008 - frozen
    found = state(settings)
    found.follow([trial(one, worth(one), prompt(MUTATIONS[i % 15])) for i, one in enumerate(draws(number))])
    return found


# -- rewards ------------------------------------------------------------------------------------------------------


def test_curiosity_gains_one_for_a_network_that_entered_and_loses_half_for_one_that_did_not() -> None:
    found, one = state(), draws(1)[0]
    niche = found.prompts.niche((2.0, 0.6))  # "improve" is the third intent
    found.follow([trial(one, 50.0, prompt())])
    assert found.curiosity == {niche: 1.0}
    found.follow([trial(one, 49.0, prompt())])  # its niche is held by a better one
    assert found.curiosity == {niche: 0.5}
    found.follow([Miss(prompt(), ("x",), "measured before", known=True)])
    assert found.curiosity == {niche: 0.0}


def test_what_cannot_be_trained_or_not_even_made_costs_its_prompt_a_whole_point() -> None:
    found = state()
    found.follow([trial(draws(1)[0], None, prompt()), Miss(prompt(), ("x",), "no room")])
    assert list(found.curiosity.values()) == [-2.0]
    assert not found.networks.elites


def test_a_prompt_wins_its_niche_by_beating_the_generation_before() -> None:
    found = state(Settings(first=2, generation=2))
    cells = draws(5)
    found.follow([trial(cells[0], 10.0, prompt("width")), trial(cells[1], 20.0, prompt("width"))])
    assert [elite.score for elite in found.prompts.elites.values()] == [0.0]  # there was nothing to beat
    found.follow([trial(cells[2], 20.0, prompt("width"))])
    assert [elite.score for elite in found.prompts.elites.values()] == [0.0]  # as good is not better
    places = (place / 100 for place in range(10, 100) if place != 60)
    near = next(t for t in places if found.prompts.niche((13.0, t)) == found.prompts.niche((13.0, 0.6)))
    found.follow([trial(cells[3], 21.0, prompt("width", near))])
    (elite,) = found.prompts.elites.values()
    assert (elite.key, elite.score, elite.measures[1]) == ("width", 1.0, near)


def test_the_temperature_follows_the_generations_and_stays_in_its_range() -> None:
    found = state(Settings(first=1, generation=1))
    cells, heard = draws(40), []
    for cell, value in zip(cells, [1.0, 1.0, 0.5, 0.7, *([0.8] * 20)], strict=False):
        found.follow([trial(cell, value)])
        heard.append(round(found.temperature, 2))
    assert heard[:4] == [0.65, 0.7, 0.65, 0.7]
    assert heard[-1] == 1.0
    falling = state(Settings(first=1, generation=1))
    falling.follow([trial(cell, -float(place)) for place, cell in enumerate(cells)])
    assert falling.temperature == 0.1


def test_a_minimised_task_prefers_the_smaller_value() -> None:
    error = Task("error", "", maximise=False)
    found = Illumination(error, axes_of(SPACE), SPACE.start(), Settings())
    found.follow([here(trial(one, value)) for one, value in zip(draws(3), (5.0, 7.0, 4.0), strict=True)])
    assert [elite.key for elite in found.networks.elites.values()] == [draws(3)[2].id]


# -- wishes -------------------------------------------------------------------------------------------------------


def test_the_first_ten_are_all_made_from_the_start() -> None:
    found = state()
    found.follow([trial(SPACE.start(), 40.0), *(trial(one, 60.0) for one in draws(8))])
    assert found.trials == 9
    wishes = [found.wish(Random(i)) for i in range(50)]
    assert {wish.parents for wish in wishes} == {(SPACE.start(),)}
    assert not any(wish.variation.curious for wish in wishes)
    found.follow([trial(draws(9)[-1], 60.0)])
    assert len({found.wish(Random(i)).parents for i in range(50)}) > 5


def test_recalled_networks_stand_in_for_a_start_that_was_never_measured() -> None:
    found, recalled = state(), draws(2)
    found.follow([trial(one, 60.0) for one in recalled])
    assert {found.wish(Random(i)).parents[0].id for i in range(30)} <= {one.id for one in recalled}


def test_shares_of_crossovers_and_curious_prompts_are_the_papers() -> None:
    found = begun()
    wishes = [found.wish(Random(i), i) for i in range(2000)]
    crossed = [wish for wish in wishes if len(wish.parents) > 1]
    assert 0.27 < len(crossed) / 2000 < 0.33
    assert {wish.variation.intent for wish in crossed} == set(CROSSOVERS)
    mutations = [wish for wish in wishes if len(wish.parents) == 1]
    assert 0.45 < sum(wish.variation.curious for wish in mutations) / len(mutations) < 0.55
    assert {wish.variation.intent for wish in mutations if not wish.variation.curious} == set(MUTATIONS)


def test_a_crossover_takes_a_random_network_and_its_nearest_niches() -> None:
    found = begun()
    places = {elite.key: niche for niche, elite in found.networks.elites.items()}
    sizes = Counter()
    for number in range(400):
        parents = found.wish(Random(number)).parents
        if len(parents) > 1:
            niches = [places[parent.id] for parent in parents]
            assert niches[1:] == found.networks.nearest(niches[0], len(parents) - 1)
            sizes[len(parents)] += 1
    assert set(sizes) == {2, 3}


def test_curious_wishes_take_the_prompt_that_was_worth_most_and_without_curiosity_there_are_none() -> None:
    found = begun()
    found.follow([trial(one, 1000.0 + i, prompt("recurrent", 0.9)) for i, one in enumerate(draws(60, seed=5)[:20])])
    wishes = [found.wish(Random(i)) for i in range(300)]
    curious = [wish for wish in wishes if wish.variation.curious and len(wish.parents) == 1]
    assert {wish.variation.intent for wish in curious} == {"recurrent"}
    plain = begun(Settings(curiosity=False))
    assert not any(plain.wish(Random(i)).variation.curious for i in range(300))


def test_half_of_the_temperatures_are_moved_a_little() -> None:
    found = begun(Settings(curiosity=False))
    heard = [found.wish(Random(i)).variation.temperature for i in range(400)]
    usual = round(found.temperature, 2)
    assert 0.4 < sum(one == usual for one in heard) / 400 < 0.65  # one in twenty moves by less than is told
    assert max(abs(one - found.temperature) for one in heard) <= 0.105


def test_islands_share_nothing_until_they_migrate() -> None:
    settings = Settings(islands=2, first=4, generation=4, migration=2)
    found, cells = state(settings), draws(40)
    found.follow([trial(one, worth(one), prompt(island=i % 2)) for i, one in enumerate(cells[:7])])
    keys = [{elite.key for elite in island.elites.values()} for island in found.islands]
    assert keys[0].isdisjoint(keys[1])
    assert keys[0] | keys[1] >= {elite.key for elite in found.networks.elites.values()}
    wishes = [found.wish(Random(i), i) for i in range(40)]
    for wish in wishes:
        assert wish.parents == (SPACE.start(),) or {p.id for p in wish.parents} <= keys[wish.variation.island]
    found.follow([trial(cells[7], worth(cells[7]), prompt(island=1))])
    best = [max(island.elites.values(), key=lambda e: e.score) for island in found.islands]
    assert best[0].key == best[1].key  # the best of each went to the other one


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="shares from 0 to 1"):
        Settings(crossover=1.5)
    with pytest.raises(ConfigError, match="counts of at least 1"):
        Settings(islands=0)
    with pytest.raises(ConfigError, match="temperature"):
        Settings(temperature=0.05)


# -- the generator ------------------------------------------------------------------------------------------------


def history_of(number: int = 40) -> list[Trial | Miss]:
    return [trial(one, worth(one), prompt(MUTATIONS[i % 15])) for i, one in enumerate(draws(number))]


def brief(history: Sequence[Trial | Miss], **changes: object) -> Brief:
    known = {one.outcome.architecture.id for one in history if isinstance(one, Trial)}
    plain = Brief(SPACE, [], known, None, None, history=history, wanted=8)
    return replace(plain, **changes)  # type: ignore[arg-type]


def generator() -> CodeGenerator:
    return CodeGenerator(SPACE, TASK, Settings())


def test_proposals_are_new_distinct_and_as_many_as_are_wanted() -> None:
    told = brief(history_of())
    found = generator().propose(told, Random(0))
    ids = [proposal.architecture.id for proposal in found]
    assert len(ids) == len(set(ids)) == 8
    assert not set(ids) & set(told.known)  # type: ignore[call-overload]
    assert all(SPACE.canonical(one.architecture) == one.architecture for one in found)
    assert all(one.variation is not None and one.variation.by == "program" for one in found)


def test_the_rng_and_the_history_are_the_only_chance() -> None:
    told, other = brief(history_of()), brief(history_of(39))
    found = [generator().propose(b, Random(seed)) for b, seed in ((told, 7), (told, 7), (told, 8), (other, 7))]
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert found[0] != found[3]


def test_a_history_that_grows_and_one_told_at_once_lead_to_the_same() -> None:
    history = history_of()
    live = generator()
    for size in (5, 12, 30, 40):
        live.propose(brief(history[:size]), Random(size))
    assert live.propose(brief(history), Random(1)) == generator().propose(brief(history), Random(1))
    assert live.state(history).curve == generator().state(history).curve


def test_another_history_is_not_mixed_with_the_first() -> None:
    mine, history = generator(), history_of()
    mine.propose(brief(history), Random(0))
    other = history[:10][::-1]
    assert mine.propose(brief(other), Random(0)) == generator().propose(brief(other), Random(0))


def test_what_was_tried_in_vain_is_told() -> None:
    misses: list[Miss] = []
    generator().propose(brief(history_of(), note=misses.append, wanted=30), Random(0))
    assert misses
    assert {miss.known for miss in misses} <= {True, False}
    assert all(miss.why and miss.parents for miss in misses)


def aiming(history: list[Trial], children: int = 4, **changes: object) -> list[Proposal]:
    """Eight children, of so many bred for each."""
    return CodeGenerator(SPACE, TASK, Settings(children=children)).propose(brief(history, **changes), Random(5))


def test_of_several_children_those_of_empty_niches_are_measured_then_those_of_the_worst_holders() -> None:
    history = history_of()
    held = generator().state(history).networks
    bred = aiming(history, children=1, wanted=32)  # the same wishes: no model, no chance in between
    empty = {held.niche(measures(SPACE, one.architecture)) for one in bred} - set(held.elites)
    assert 0 < len(empty) < 8
    found = aiming(history)
    niches = [held.niche(measures(SPACE, one.architecture)) for one in found]
    assert len(found) == 8
    assert set(niches[: len(empty)]) == empty
    assert {one.architecture.id for one in found} <= {one.architecture.id for one in bred}
    assert len(set(niches)) == 8
    holders = [held.elites[niche].score for niche in niches[len(empty) :]]
    others = {held.niche(measures(SPACE, one.architecture)) for one in bred} - set(niches)
    assert holders == sorted(holders)
    assert holders[-1] <= min(held.elites[niche].score for niche in others)


def test_a_child_that_a_language_model_was_paid_for_is_measured_wherever_it_stands() -> None:
    history = history_of()
    taken = {trial.proposal.architecture.id for trial in history}
    held = generator().state(history).networks
    crowded = next(
        one for one in draws(400, 9) if one.id not in taken and held.niche(measures(SPACE, one)) in held.elites
    )
    found = aiming(history, answers={3: Answer(crowded, "model")})
    assert found[0].architecture == crowded


def test_only_members_of_the_pool_are_proposed() -> None:
    pool = [one for one in SPACE.enumerate() or () if "avg_pool" in one.text]
    found = generator().propose(brief(history_of(), pool=pool), Random(0))
    assert found
    assert {one.architecture for one in found} <= set(pool)


def test_where_no_wish_leads_to_a_new_network_there_are_uniform_draws() -> None:
    everything = SPACE.enumerate() or ()
    only = everything[-1]
    known = {one.id for one in everything} - {only.id}
    found = generator().propose(brief([], known=known, pool=everything), Random(0))
    assert [one.architecture for one in found] == [only]


def test_an_answer_of_a_language_model_takes_the_place_of_the_wish_it_was_asked() -> None:
    history = history_of()
    mine = generator()
    plain = mine.propose(brief(history), Random(3))
    wish = mine.wish(history, Random(3), 0)
    fresh = next(one for one in draws(300, seed=9) if one.id not in {p.architecture.id for p in plain})
    misses: list[Miss] = []
    answers = {0: Answer(fresh, "model"), 1: Answer(None, "model", "a class that never ends")}
    found = mine.propose(brief(history, answers=answers, note=misses.append), Random(3))
    assert found[0].architecture == fresh
    assert found[0].variation == replace(wish.variation, by="model")
    assert found[0].parents == tuple(parent.id for parent in wish.parents)
    assert misses[0].why == "a class that never ends"
    assert misses[0].variation == replace(mine.wish(history, Random(3), 1).variation, by="model")


def test_a_space_without_programs_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="expected a space that varies its programs"):
        CodeGenerator(Toy(), TASK, Settings())
    with pytest.raises(ConfigError, match="expected a space that varies its programs"):
        Llmatic().run(Problem(Toy(), TASK, Weigher()), 0, 3)


# -- a whole search -----------------------------------------------------------------------------------------------


def configured(out: Path, **settings: object) -> Config:
    chosen = {"task": "toy", "space": "nb201", "budget": 24, "batch": 4, "generator": "code", "out": out, "seed": 3}
    return make_config({**chosen, "surrogate": "none", "memory": False, "principles": False, **settings})


def events(folder: Path) -> list[Json]:
    return [deterministic(event) for event in read_events(folder / "events.jsonl")[0]]


class Vault:
    def open(self, architecture: Architecture, *, seed: int) -> Opened:
        return Opened(worth(architecture) - 1.0, "measured", "made up")


def measured_by(weigher: Weigher) -> Evaluation:
    return Evaluation(TASK, weigher, Vault(), "made up")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))


def test_a_search_begins_with_the_first_network_and_improves_on_it(tmp_path: Path) -> None:
    result = start(configured(tmp_path / "runs"), evaluation=measured_by(Weigher()))
    assert result.outcomes[0].architecture == SPACE.start()
    assert len(result.outcomes) == 24
    curve = [value for value in result.curve if value is not None]
    assert curve[-1] > curve[0] + 5


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Json]]:
    found = {}
    for surrogate in ("none", "structure"):
        out = tmp_path_factory.mktemp(surrogate)
        os.environ["NAS_AGENT_HOME"] = str(out / "home")
        run = start(configured(out, surrogate=surrogate), evaluation=measured_by(Weigher())).run
        found[surrogate] = events(Path(run or ""))
    return found


POINTS = [("none", point) for point in (3, 9, *range(14, 26), 31, 45)] + [("structure", p) for p in (16, 21, 22, 40)]


@pytest.mark.parametrize(("surrogate", "point"), POINTS)
def test_stopped_after_any_event_it_goes_on_as_if_never_stopped(
    tmp_path: Path, unbroken: dict[str, list[Json]], surrogate: str, point: int
) -> None:
    whole = unbroken[surrogate]
    assert any(event.get("misses") for event in whole if event["type"] == "proposed")
    with pytest.raises(Killed):
        start(configured(tmp_path / "runs", surrogate=surrogate), [killed_at(point)], evaluation=measured_by(Weigher()))
    (folder,) = (tmp_path / "runs").iterdir()
    resume(open_folder(folder), evaluation=measured_by(Weigher()))
    assert events(folder) == whole
    assert not (folder / "events.discarded.jsonl").exists()


def test_the_journal_read_back_has_the_same_trials(tmp_path: Path) -> None:
    folder = Path(start(configured(tmp_path / "runs"), evaluation=measured_by(Weigher())).run or "")
    log = open_folder(folder)
    reread = Journal.begin(TASK, SPACE, EventLog.reopen(log.events, len(events(folder))))
    found = generator().state(reread.tried.items)
    assert found.trials == 24
    assert sum(isinstance(one, Trial) for one in reread.tried.items) == 24
    assert found.networks.best is not None
    assert reread.archive.best is not None
    assert found.networks.best.key == reread.archive.best.architecture.id


def test_the_rounds_stream_is_the_one_that_wishes_are_asked_again_with(tmp_path: Path) -> None:
    """A language model is asked before the round is bred: both must mean the same wishes."""
    start(configured(tmp_path / "runs", batch=1, budget=14), evaluation=measured_by(Weigher()))
    (folder,) = (tmp_path / "runs").iterdir()
    journal = Journal.begin(TASK, SPACE, EventLog.reopen(folder / "events.jsonl", len(events(folder))))
    last = max(journal.tried.rounds)
    asked = [generator().wish(journal.tried.before(last), stream(3, "propose", last), place) for place in range(40)]
    tried = [one for one, number in zip(journal.tried.items, journal.tried.rounds, strict=True) if number == last]
    made = [one.variation if isinstance(one, Miss) else one.proposal.variation for one in tried]
    assert made
    assert set(made) <= {replace(wish.variation, by="program") for wish in asked}


def test_archives_that_cannot_be_are_refused_before_a_run_folder_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a square"):
        start(configured(tmp_path / "runs", archive="grid", niches=90), evaluation=measured_by(Weigher()))
    assert not (tmp_path / "runs").exists()
    assert settings_of(configured(tmp_path, batch=50)).generation == 50
    with pytest.raises(ConfigError, match="compares networks at one fidelity"):
        start(configured(tmp_path / "runs", fidelities=("auto",)), evaluation=measured_by(Weigher()))
    assert not (tmp_path / "runs").exists()


# -- the bench method ---------------------------------------------------------------------------------------------


def test_the_methods_are_named_and_repeat_themselves() -> None:
    for name in ("llmatic", "llmatic-10", "map-elites"):
        runs = [METHODS[name]().run(Problem(SPACE, TASK, Weigher()), seed, 150) for seed in (1, 1, 2)]
        assert runs[0] == runs[1]
        assert runs[0] != runs[2]
        assert len(runs[0].values) == 150
        assert runs[0].architectures[0] == SPACE.start()
        assert runs[0].repeats == 0


def test_it_finds_better_networks_than_as_many_draws() -> None:
    problem = Problem(SPACE, TASK, Weigher())
    ours = [max(v for v in METHODS["llmatic"]().run(problem, seed, 120).values if v is not None) for seed in range(3)]
    drawn = [max(v for v in METHODS["random"]().run(problem, seed, 120).values if v is not None) for seed in range(3)]
    assert sum(ours) > sum(drawn)


# -- cells as code ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
def test_every_intent_makes_canonical_cells_by_the_given_chance_alone(intent: object) -> None:
    name, parents = intent.name, draws(30)  # type: ignore[attr-defined]
    assert isinstance(SPACE, Varies)
    made = 0
    for number in range(29):
        pair = parents[number : number + 2]
        try:
            children = [SPACE.vary(name, pair, Random(number)) for _ in range(2)]
        except InvalidArchitecture:
            continue
        assert children[0] == children[1] == SPACE.canonical(children[0])
        made += 1
    assert made > 20


def test_intents_do_what_they_say() -> None:
    flops: Callable[[Architecture], float] = SPACE.flops
    cells = [one for one in draws(60) if "nor_conv_3x3" in one.text]
    for number, cell in enumerate(cells):
        rng = Random(number)
        assert flops(SPACE.vary("smaller", [cell], rng)) < flops(cell)
        pooled = SPACE.vary("pooling", [cell], rng)
        assert pooled == cell or "avg_pool" in pooled.text or "avg_pool" in cell.text  # a dead edge changes nothing
        options = SPACE.choices(SPACE.vary("recurrent", [cell], rng))
        assert len({options[f"edge_{i}_{i + 1}"] for i in range(3)}) == 1
    mother, father = cells[:2]
    child = SPACE.choices(SPACE.vary("combine", [mother, father], Random(1)))
    assert set(child) == set(SPACE.choices(mother))


def test_what_leaves_no_room_is_refused_with_the_reason() -> None:
    empty = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    with pytest.raises(InvalidArchitecture, match="no edge"):
        SPACE.vary("delete layer", [empty], Random(0))
    with pytest.raises(InvalidArchitecture, match="no convolution"):
        SPACE.vary("smaller", [empty], Random(0))
    with pytest.raises(InvalidArchitecture, match="two networks"):
        SPACE.vary("combine", [empty], Random(0))
    with pytest.raises(InvalidArchitecture, match="unknown intent"):
        SPACE.vary("make it nice", [empty], Random(0))


def test_all_cells_lie_within_the_ranges_of_the_archive() -> None:
    for cell in list(SPACE.enumerate() or ())[::7]:
        for axis, value in zip(axes_of(SPACE), measures(SPACE, cell), strict=True):
            assert axis.low <= value <= axis.high


def test_wishes_asked_again_are_the_same() -> None:
    found = begun()
    assert [wished(found, 5, place) for place in range(20)] == [wished(found, 5, place) for place in range(20)]


# -- saved archives -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished")
    os.environ["NAS_AGENT_HOME"] = str(out / "home")
    return Path(start(configured(out / "runs"), evaluation=measured_by(Weigher())).run or "")


def test_a_finished_run_leaves_its_archive_and_it_can_be_read_back(finished: Path) -> None:
    saved = read_archive(finished / "archive.json")
    assert saved.space == "nb201"
    journal = Journal.begin(TASK, SPACE, EventLog.reopen(finished / "events.jsonl", len(events(finished))))
    live = generator().state(journal.tried.items).networks
    assert saved.niches.elites == dict(sorted(live.elites.items()))
    assert saved.niches.qd_score == pytest.approx(live.qd_score)
    rows = (finished / "archive.csv").read_text().splitlines()
    assert rows[0] == "niche,id,score,width to depth,FLOPs"
    assert len(rows) == 1 + len(live.elites)


def test_a_search_can_begin_with_the_networks_of_a_saved_archive(tmp_path: Path, finished: Path) -> None:
    saved = read_archive(finished / "archive.json")
    settings = configured(tmp_path / "runs", archive_file=finished / "archive.json")
    result = start(settings, evaluation=measured_by(Weigher()))
    best_first = sorted(saved.niches.elites.values(), key=lambda elite: -elite.score)
    wanted = [elite.key for elite in best_first]
    assert [one.architecture.id for one in result.outcomes[: len(wanted)]] == wanted
    assert result.curve[0] == max(elite.score for elite in best_first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the JSON of an archive"),
        ("{", "expected the JSON of an archive"),
        ("[]", "expected 'nas-agent archive 1' under 'format', got 'list'"),
        ('{"format": "other"}', "got 'other'"),
        ('{"format": "nas-agent archive 1"}', "the archive is broken: KeyError"),
        ('{"format": "nas-agent archive 1", "axes": 3}', "the archive is broken: TypeError"),
    ],
)
def test_a_file_that_is_no_archive_is_refused_before_a_run_folder_is_made(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "archive.json"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        start(configured(tmp_path / "runs", archive_file=file), evaluation=measured_by(Weigher()))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["elites"][0].update(score=float("nan")), "expected a finite score"),
        (lambda data: data["elites"][0].update(measures=[1.0]), "expected 2 measures"),
        (lambda data: data["elites"][0].update(text="|x~0|"), "what is no network of space 'nb201'"),
        (
            lambda data: data.update(space="darts"),
            "expected an archive of networks of space 'nb201', got one of 'darts'",
        ),
        (lambda data: data["axes"][0].update(low=500.0), "rising order"),
    ],
)
def test_a_damaged_archive_is_refused_with_what_is_wrong(
    tmp_path: Path, finished: Path, change: Callable[[Json], None], message: str
) -> None:
    data = json.loads((finished / "archive.json").read_text())
    change(data)
    (tmp_path / "archive.json").write_text(json.dumps(data))
    with pytest.raises(NasAgentError, match=message):
        first_of(tmp_path / "archive.json", SPACE)


def test_an_archive_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        first_of(tmp_path / "none.json", SPACE)


@pytest.mark.parametrize(
    "settings", [{"archive": "sliding"}, {"archive": "grid", "curiosity": False}, {"islands": 3, "migration": 1}]
)
def test_other_archives_and_islands_are_resumed_alike(tmp_path: Path, settings: dict[str, object]) -> None:
    whole = start(configured(tmp_path / "whole", **settings), evaluation=measured_by(Weigher()))
    assert whole.run is not None
    with pytest.raises(Killed):
        start(configured(tmp_path / "runs", **settings), [killed_at(33)], evaluation=measured_by(Weigher()))
    (folder,) = (tmp_path / "runs").iterdir()
    resume(open_folder(folder), evaluation=measured_by(Weigher()))
    assert events(folder) == events(Path(whole.run))
    assert (folder / "archive.csv").read_text() == (Path(whole.run) / "archive.csv").read_text()


def test_without_pyribs_a_search_says_what_to_install_before_a_run_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ribs", None)
    monkeypatch.setitem(sys.modules, "ribs.archives", None)
    with pytest.raises(MissingExtra, match=r"pip install 'nas-agent\[code\]'"):
        start(configured(tmp_path / "runs"), evaluation=measured_by(Weigher()))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(MissingExtra, match="ribs"):
        METHODS["llmatic"]()
