"""The language model as a generator: what it proposes is checked, told back, and measured in its rounds."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas_agent import Search
from nas_agent.agents.briefing import LearnContext
from nas_agent.agents.disguise import Disguise, Lens
from nas_agent.agents.generators.language_model import MOST, READ, LanguageModelGenerator, ProposeContext
from nas_agent.config import Config
from nas_agent.errors import ConfigError, ModelError
from nas_agent.principles.constraint import Allowed
from nas_agent.principles.principle import Principle
from nas_agent.principles.refinement import Refinement
from nas_agent.records import Json
from nas_agent.run import resume, start
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.run_folder import RunFolder
from tests.fakes import Scripted, ScriptedModel
from tests.loopback import Said, Server
from tests.resumed import Killed, killed_at
from tests.searching import TASK, Diary, LargeToy, Toy, config, evaluation, worth
from tests.test_learner import answer as lesson

BEST = {"layer_0": "wide", "layer_1": "wide", "layer_2": "wide", "layer_3": "wide", "layer_4": "skip"}


def reply(*architectures: Json, **others: Any) -> str:
    return json.dumps({"analysis": "Wide first.", "architectures": list(architectures), **others})


def draws(number: int, seed: int = 0, space: CategoricalSpace | None = None) -> list[Json]:
    space, rng = space or Toy(), Random(seed)
    drawn = {architecture.id: space.choices(architecture) for architecture in (space.sample(rng) for _ in range(999))}
    return list(drawn.values())[:number]


def fresh(prompt: str) -> str:
    """Eight architectures that are other ones for another prompt; to lessons it has nothing to say."""
    return reply(*draws(8, seed=len(prompt))) if prompt.startswith("# Propose") else lesson()


def context(refinement: Refinement | None = None, measured: frozenset[str] = frozenset()) -> ProposeContext:
    return ProposeContext(LearnContext(TASK), [], measured, None, refinement)


def asked(*replies: Scripted) -> tuple[LanguageModelGenerator, ScriptedModel]:
    model = ScriptedModel(replies)
    return LanguageModelGenerator(model, Lens(Toy())), model


def events(search: Search, kind: str) -> list[Json]:
    return [event for event in search.journal.log.events if event["type"] == kind]


def run(*replies: Scripted, **settings: Any) -> tuple[Search, ScriptedModel]:
    model = ScriptedModel(replies)
    settings = {"space": Toy(), "budget": 30, "principles": False, **settings}
    search = Search(TASK, evaluation=evaluation(), model=model, generator="llm", **settings)
    search.run()
    return search, model


# -- one question ------------------------------------------------------------------------------------------


def test_a_good_reply_is_a_list_of_architectures_with_model_and_prompt_as_author() -> None:
    generator, model = asked(reply(BEST, *draws(3)))
    answer = generator.ask(context())
    assert [Toy().choices(architecture) for architecture in answer.accepted] == [BEST, *draws(3)]
    assert answer.author.startswith("language model scripted / prompt propose@")
    assert (answer.refused, answer.failures, len(model.prompts)) == ([], [], 1)
    assert answer.calls[0].prompt.startswith("propose@")


def test_each_fault_is_named_and_the_good_part_is_kept() -> None:
    space = Toy()
    known = space.build(BEST)
    principle = Principle("P3", 2, "End thin.", Allowed("layer_4", ("skip", "narrow")), "person", "active")
    good = {**BEST, "layer_0": "narrow"}
    given = [
        BEST,
        good,
        good,
        {**BEST, "layer_4": "pool"},
        {**BEST, "layer_1": "conv" * 500},
        {"layer_0": "wide"},
        {**BEST, "layer_9": "wide", "layer_1": "pool"},  # a decision too many does no harm
    ]
    generator, model = asked(reply(*given))
    answer = generator.ask(context(Refinement(space.decisions, [principle]), frozenset({known.id})))
    assert [space.choices(a) for a in answer.accepted] == [good, {**BEST, "layer_1": "pool"}]
    told = [(refused.fault, refused.why) for refused in answer.refused]
    assert [fault for fault, _ in told] == ["duplicate", "duplicate", "against the principles", "invalid", "invalid"]
    assert "was evaluated before" in told[0][1]
    assert "twice" in told[1][1]
    assert told[2][1] == "it breaks P3@2"
    assert told[3][1].startswith("unknown option 'convconv")
    assert told[3][1].endswith("'layer_1'; choose from wide, narrow, skip, pool")
    assert len(told[3][1]) < 150
    assert told[4][1].startswith("no option for 'layer_1'")
    assert len(model.prompts) == 1  # what is good is used; the rest is told with the next question


NOTHING = {
    "prose": ("Let us go wide.", "no JSON object"),
    "another schema": ('{"principles": []}', "architectures: Field required"),
    "no architecture": (reply(), "there is no architecture in the reply"),
    "only nonsense": (reply({"layer_0": "x"}), "unknown option 'x' for 'layer_0'"),
    "a refusal": ("(refused) No.", "the model refused"),
    "100 kB of prose": ("wide " * 20_480, "more than 100,000 characters"),
    "100 kB of JSON": (reply(analysis="wide " * 20_480), "more than 100,000 characters"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_where_nothing_can_be_used_the_question_is_put_again_once(case: str) -> None:
    bad, problem = NOTHING[case]
    generator, model = asked(bad, reply(BEST))
    answer = generator.ask(context())
    assert len(answer.accepted) == 1
    assert answer.failures == []
    assert problem in answer.calls[0].problem
    assert problem in model.prompts[1]
    assert len(model.prompts[1]) < len(model.prompts[0]) + 10_000
    stubborn, model = asked(bad)
    answer = stubborn.ask(context())
    assert answer.accepted == []
    assert len(model.prompts) == 2
    assert problem in answer.failures[0]


def test_of_a_reply_with_a_thousand_architectures_the_first_are_read() -> None:
    given = [{**BEST, "layer_1": f"o{number}"} for number in range(900)]
    generator, _ = asked(reply(BEST, *given))
    answer = generator.ask(context())
    assert len(answer.accepted) + len(answer.refused) == READ
    assert f"901 architectures are too many, the first {READ} were read" in answer.calls[0].problem


def test_numbers_are_read_as_options_and_the_schema_lists_them() -> None:
    class Widths(CategoricalSpace):
        name = "widths"
        decisions = (Decision("depth", ("2", "4")), Decision("width", ("16", "32")))

    model = ScriptedModel([reply({"depth": 4, "width": "16"})])
    generator = LanguageModelGenerator(model, Lens(Widths()))
    (found,) = generator.ask(context()).accepted
    assert Widths().choices(found) == {"depth": "4", "width": "16"}
    schema = json.dumps(generator._schema.model_json_schema())
    assert '"enum": ["2", "4"]' in schema


# -- in a search -------------------------------------------------------------------------------------------


def test_proposals_of_the_model_are_measured_in_its_rounds_and_evolve_has_the_others() -> None:
    search, _ = run(fresh)
    proposals = [event for event in events(search, "proposal") if not event["initial"]]
    by_model = [event for event in proposals if event["proposal"]["author"].startswith("language model scripted")]
    assert {event["round"] % 2 for event in by_model} == {0}
    assert len(by_model) == sum(event["round"] % 2 == 0 for event in proposals)
    assert all("propose@" in event["proposal"]["author"] for event in by_model)
    others = {event["proposal"]["author"] for event in proposals if event not in by_model}
    assert others <= {"mutation", "crossover", "sweep"}
    given = {a["id"] for event in events(search, "offered") for a in event["proposals"]}
    assert {event["proposal"]["architecture"]["id"] for event in by_model} <= given
    assert all(event["surrogate"] for event in by_model)  # the surrogate chose among them


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_rounds_that_test_a_principle_do_not_take_the_models_turns(share: float) -> None:
    search, _ = run(fresh, principles=True, budget=90, adapt_every=5, outside_share=share)
    proposed = events(search, "proposed")
    inside = {event["round"] for event in proposed if event["principles"] and not event["breaks"]}
    assert len(inside) >= 8
    by_model = [e for e in events(search, "proposal") if e["proposal"]["author"].startswith("language model")]
    assert any(event["round"] in inside for event in by_model)
    breaking = {event["round"] for event in proposed if event["breaks"]}
    assert not any(event["round"] in breaking for event in by_model)


def test_one_call_is_worth_several_rounds() -> None:
    search, model = run(fresh, budget=50)
    offers = events(search, "offered")
    assert len(model.prompts) == len(offers) == len(events(search, "model_call"))
    assert {event["role"] for event in events(search, "model_call")} == {"generator"}
    spent = [offer["evaluations"] for offer in offers]
    assert all(later - earlier >= 8 for earlier, later in pairwise(spent))
    assert 5 <= len(offers) <= 7


def test_the_best_of_an_answer_is_measured_first_and_half_of_it_is_passed_over() -> None:
    search, _ = run(fresh, budget=40)
    for offer in events(search, "offered")[:-1]:
        given = [a["id"] for a in offer["proposals"]]
        measured = [key for key in given if key in search.journal.archive]
        assert len(given) // 2 <= len(measured) < len(given)


def test_what_became_of_its_proposals_is_told_to_the_model() -> None:
    first = draws(8, seed=3)
    bad = [{**BEST, "layer_2": "conv7x7"}, first[0]]
    search, model = run(reply(*first, *bad), fresh, budget=20)
    lines = [json.loads(line) for line in model.prompts[1].splitlines() if '"became"' in line]
    became = {json.dumps(line["choices"]): line["became"] for line in lines}
    assert any(value.startswith("evaluated: value ") for value in became.values())
    assert any(value.startswith("not chosen by the surrogate") for value in became.values())
    assert became[json.dumps(bad[0])].startswith("invalid: unknown option 'conv7x7' for 'layer_2'")
    assert sum(line["became"].startswith("duplicate: ") for line in lines) >= 1
    values = {json.dumps(Toy().choices(o.architecture)): worth(o.architecture) for o in search.journal.archive}
    for choices, value in became.items():
        if value.startswith("evaluated"):
            assert value.startswith(f"evaluated: value {values[choices]:.4f}, rank ")


def test_what_is_refused_never_reaches_the_surrogate_nor_the_evaluator() -> None:
    diary = Diary()
    model = ScriptedModel([reply({**BEST, "layer_0": "x"}), lesson()])
    search = Search(TASK, space=Toy(), evaluation=evaluation(diary), model=model, generator="llm", budget=12)
    search.run()
    assert [event["offered"] for event in events(search, "proposed")] == [0] * 11
    assert {event["fault"] for offer in events(search, "offered") for event in offer["refused"]} == {"invalid"}


def test_a_failed_architecture_is_told_with_its_reason() -> None:
    with_pool = [{**BEST, "layer_1": "pool"}, {**BEST, "layer_2": "pool"}]
    model = ScriptedModel([reply(*with_pool), fresh])
    measured = evaluation(Diary(fail_on="pool"))
    Search(TASK, space=Toy(), evaluation=measured, model=model, generator="llm", budget=20, principles=False).run()
    assert "failed: pool does not train; leave it out" in model.prompts[1]


@pytest.mark.parametrize("bad", [ModelError("gone"), "prose", reply({"layer_0": "x"})], ids=["gone", "prose", "wrong"])
def test_a_model_that_fails_leaves_every_round_to_evolve(bad: Scripted) -> None:
    search, _ = run(bad, budget=25)
    plain = Search(TASK, space=Toy(), evaluation=evaluation(), budget=25, principles=False)
    assert search.journal.archive.curve == list(plain.run().curve)
    failures = events(search, "model_failure")
    assert failures
    assert {event["role"] for event in failures} == {"generator"}
    assert len(events(search, "offered")) <= 4  # and it is not asked again in every round


def test_the_models_proposals_obey_the_principles_of_the_moment() -> None:
    search, _ = run(fresh, budget=60, principles=True, adapt_every=5)
    assert any(event["principles"] for event in events(search, "proposed"))
    offered = [e["proposal"] for e in events(search, "proposal") if e["proposal"]["author"].startswith("language")]
    assert len(offered) >= 8
    assert not any(proposal["outside"] for proposal in offered)
    faults = [refused["fault"] for offer in events(search, "offered") for refused in offer["refused"]]
    assert "against the principles" in faults


@pytest.mark.parametrize(
    "settings", [{"batch": 6}, {"surrogate": "none"}, {"space": LargeToy()}], ids=["batch", "no surrogate", "unlisted"]
)
def test_it_works_in_batches_without_a_surrogate_and_where_nothing_can_be_listed(settings: Json) -> None:
    def answer(prompt: str) -> str:
        return reply(*draws(8, len(prompt), settings.get("space")))

    search, _ = run(answer, budget=30, **settings)
    ids = [event["proposal"]["architecture"]["id"] for event in events(search, "proposal")]
    assert len(ids) == len(set(ids)) == 30
    authors = [event["proposal"]["author"] for event in events(search, "proposal")]
    assert 8 <= sum(author.startswith("language model") for author in authors) <= 17


def test_a_good_model_finds_the_best_architecture_sooner_and_asks_with_the_evidence() -> None:
    search, model = run(reply(BEST, *draws(4)), budget=6)
    assert search.best is not None
    assert Toy().choices(search.best.architecture) == BEST
    assert "Best 1: rank 1 of 1, measured value" in model.prompts[0]


def test_ask_and_tell_works_with_a_model_that_proposes() -> None:
    search = Search(TASK, space=Toy(), model=ScriptedModel([fresh]), generator="llm", budget=10, principles=False)
    authors = []
    while proposals := search.ask():
        for proposal in proposals:
            authors.append(proposal.author)
            search.tell(proposal, worth(proposal.architecture))
    assert sum(author.startswith("language model") for author in authors) == 5


# -- stopped and resumed -------------------------------------------------------------------------------------


def serve(body: Json) -> Said:
    return Said(text=fresh(body["messages"][0]["content"]))


@pytest.mark.parametrize("anonymise", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.35, 0.6, 0.85])
def test_a_resumed_run_goes_on_with_the_recorded_replies(
    server: Server, tmp_path: Path, share: float, anonymise: bool
) -> None:
    script: list[Said | Callable[[Json], Said]] = [serve]
    if anonymise:
        labels = Disguise(Toy(), 0)
        lens = [labels.choices(Toy().build(choices)) for choices in draws(400)]
        script = [lambda body: Said(text=reply(*Random(len(str(body))).sample(lens, 8)))]
    server.script = script
    settings = config(
        tmp_path / "runs", budget=20, generator="llm", principles=False, anonymise=anonymise, llm=f"{server.url}#tiny"
    )
    whole = start(settings, evaluation=evaluation())
    folder = RunFolder(Path(whole.run or ""))
    expected = [deterministic(event) for event in read_events(folder.events)[0]]
    assert any("language model" in str(event.get("proposal")) for event in expected)
    count = len(server.asked)
    for file in [*folder.path.glob("checkpoints*"), folder.best_json]:
        file.unlink()
    lines = folder.events.read_bytes().splitlines(keepends=True)
    folder.events.write_bytes(b"".join(lines[: int(len(lines) * share)]))
    again = resume(folder, evaluation=evaluation())
    assert len(server.asked) == count
    assert again.curve == whole.curve
    assert [deterministic(event) for event in read_events(folder.events)[0]] == expected


@pytest.mark.parametrize("point", [4, 7, 9, 12, 20, 31])
def test_killed_after_any_event_it_goes_on_as_if_never_stopped(server: Server, tmp_path: Path, point: int) -> None:
    server.script = [serve]
    shape: Json = {"budget": 12, "generator": "llm", "adapt_every": 4, "llm": f"{server.url}#tiny"}
    whole = start(config(tmp_path / "whole", **shape), evaluation=evaluation())
    expected = [deterministic(e) for e in read_events(RunFolder(Path(whole.run or "")).events)[0]]
    with pytest.raises(Killed):
        start(config(tmp_path / "cut", **shape), [killed_at(point)], evaluation=evaluation())
    (path,) = (tmp_path / "cut").iterdir()
    again = resume(RunFolder(path), evaluation=evaluation())
    assert again.curve == whole.curve
    assert [deterministic(event) for event in read_events(RunFolder(path).events)[0]] == expected
    assert not (path / "events.discarded.jsonl").exists()


def test_the_report_counts_what_was_accepted_and_what_was_refused(server: Server, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from nas_agent.cli.main import app

    bad = {**BEST, "layer_2": "conv7x7"}
    server.script = [Said(text=reply(*draws(5), draws(1)[0], bad, bad))]
    settings = config(
        tmp_path / "runs", budget=5, generator="llm", principles=False, llm=f"{server.url}#tiny", surrogate="none"
    )
    result = start(settings, evaluation=evaluation())
    assert result.run is not None
    document = json.loads(CliRunner().invoke(app, ["show", result.run, "--json"]).stdout)
    counted = document["llm"]["proposals"]
    assert sum(counted.values()) == 8
    assert counted["invalid"] == 2
    assert counted["duplicate"] >= 1
    shown = CliRunner().invoke(app, ["show", result.run]).stdout
    assert f"by the language model: {counted['accepted']} accepted" in shown


def test_without_a_model_it_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--generator llm needs a language model.*--llm openai:"):
        start(config(tmp_path / "runs", generator="llm"), evaluation=evaluation())
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ConfigError, match="--generator llm needs a language model"):
        Search(TASK, space=Toy(), evaluation=evaluation(), generator="llm")
    assert Config().generator == "evolve"
    assert MOST == 8
