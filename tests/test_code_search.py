"""`--generator code` with a language model, whole runs: what it says is measured, frozen, and done without."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nas_agent import Search, roles
from nas_agent.agents.chat import CappedModel, Purse
from nas_agent.cli import plan
from nas_agent.cli.main import app
from nas_agent.config import Config
from nas_agent.errors import ConfigError, ModelError
from nas_agent.records import Json
from nas_agent.run import resume, start
from nas_agent.spaces import load_space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.told import NoTestSplit
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.run_folder import RunFolder
from tests.fakes import Scripted, ScriptedModel
from tests.loopback import Said, Server
from tests.programs import Reader, ToyPrograms, answering
from tests.resumed import Killed, killed_at
from tests.searching import TASK, config

SPACE = f"{Path(__file__).with_name('programs.py')}:ToyPrograms"
SETTINGS: dict[str, Any] = {"generator": "code", "principles": False, "surrogate": "none", "niches": 20}


def evaluation(reader: Reader | None = None) -> Evaluation:
    return Evaluation(TASK, reader or Reader(), NoTestSplit(), "made up for a test")


def search(*replies: Scripted, **settings: Any) -> tuple[Search, ScriptedModel]:
    model = ScriptedModel(replies)
    given = {"budget": 40, **SETTINGS, **settings}
    return Search(TASK, space=ToyPrograms(), evaluation=evaluation(), model=model, **given), model


def events(found: Search, kind: str) -> list[Json]:
    return [event for event in found.journal.log.events if event["type"] == kind]


def authors(found: Search) -> list[str]:
    """Who made each measured network of which one was asked for by a wish."""
    made = [event["proposal"].get("variation") for event in events(found, "proposal")]
    return [variation["by"].partition(" / ")[0] for variation in made if variation is not None]


def test_what_the_model_writes_is_measured_and_what_it_cannot_is_told_and_counted() -> None:
    found, model = search(answering)
    result = found.run()
    assert len(result.outcomes) == 40
    made = authors(found)
    assert made.count("language model scripted") > 20
    assert made.count("program") > 3  # where the model's answer was of no use, the next wish is the space's
    misses = [miss for event in events(found, "proposed") for miss in event.get("misses", ())]
    assert any("attention" in miss["why"] for miss in misses if miss["variation"]["by"].startswith("language"))
    counts = result.llm["operators"]
    answers = [answer for event in events(found, "varied") for answer in event["answers"]]
    assert counts["all"]["asked"] == len(answers) == sum(c["asked"] for n, c in counts.items() if n != "all")
    assert 0 < counts["all"]["valid"] < counts["all"]["valid_after_repair"] < counts["all"]["asked"]
    assert counts["all"]["came_back"] < counts["all"]["asked"]
    assert result.llm["calls"] == len(model.prompts) == len(events(found, "model_call"))
    assert result.llm["calls"] == sum(len(answer["attempts"]) for answer in answers)
    assert list(result.llm["roles"]) == ["generator"]
    later = [prompt for prompt in model.prompts if "What went wrong lately" in prompt]
    assert any("expected five layers of wide, narrow, skip, pool" in prompt for prompt in later)
    assert any("the training failed: the loss became nan" in prompt for prompt in later)
    assert len({manner.temperature for manner in model.manners}) > 5


def test_each_prompt_shows_the_parents_of_its_wish_the_best_one_first_with_its_value() -> None:
    found, model = search(answering, budget=60)
    found.run()
    values = {
        measured.architecture.text.splitlines()[-1]: measured.value for measured in found.journal.archive.measured
    }
    combined = [prompt for prompt in model.prompts if prompt.startswith("# Vary a neural network: combine")]
    assert combined
    for prompt in combined:
        shown = prompt.partition("## The networks to combine")[2].partition("## ")[0]
        lines = [line for line in shown.splitlines() if "LAYERS = " in line]
        assert 2 <= len(lines) <= 3
        assert [values[line] for line in lines] == sorted((values[line] for line in lines), reverse=True)
        assert f"with the value {values[lines[0]]:.4f}" in shown


def test_a_surrogate_chooses_among_the_children_of_the_model_and_those_of_the_space() -> None:
    found, _ = search(answering, surrogate="structure", principles=True, adapt_every=10, batch=2)
    result = found.run()
    assert len(result.outcomes) == 40
    assert {"language model scripted", "program"} <= set(authors(found))
    proposed = [event["proposals"] for event in events(found, "proposed")]
    assert max(proposed) == 8


@pytest.mark.parametrize(
    ("reply", "why"),
    [(ModelError("nobody is there"), "nobody is there"), ("Prose, always prose.", "there is no class in the answer")],
)
def test_a_model_that_is_of_no_use_costs_no_evaluation(reply: Scripted, why: str) -> None:
    found, model = search(reply, budget=30)
    assert len(found.run().outcomes) == 30
    assert set(authors(found)) == {"program"}
    told = [event["why"] for event in events(found, "model_failure")]
    misses = [miss["why"] for event in events(found, "proposed") for miss in event.get("misses", ())]
    assert any(why in text for text in [*told, *misses])
    if isinstance(reply, Exception):  # it is asked again now and then, and not in every round
        assert 2 <= len(model.prompts) <= 5


def test_when_calls_run_out_the_space_carries_the_wishes_out() -> None:
    model = ScriptedModel([answering])
    given = {"budget": 40, **SETTINGS}
    capped = CappedModel(model, Purse(max_calls=9))
    found = Search(TASK, space=ToyPrograms(), evaluation=evaluation(), model=capped, **given)
    result = found.run()
    assert (len(result.outcomes), len(model.prompts), result.llm["calls"]) == (40, 9, 9)
    made = authors(found)
    assert made.index("program") < 12
    assert set(made[15:]) == {"program"}
    assert any("calls are spent (9)" in event["why"] for event in events(found, "model_failure"))


def scripted(server: Server) -> None:
    server.script = [lambda body: Said(text=answering(body["messages"][0]["content"]))]


def of(run: str | None) -> list[Json]:
    found, _ = read_events(RunFolder(Path(run or "")).events)
    return found


def test_a_replayed_run_is_the_same_search_without_its_model(server: Server, tmp_path: Path) -> None:
    scripted(server)
    settings = config(tmp_path / "runs", SPACE, llm=f"{server.url}#m", **{**SETTINGS, "budget": 25})
    first = start(settings, evaluation=evaluation())
    asked = len(server.asked)
    assert asked > 15
    assert len({body["temperature"] for body in server.asked}) > 3
    again = start(settings.model_copy(update={"llm": f"replay:{first.run}"}), evaluation=evaluation())
    assert len(server.asked) == asked
    assert again.curve == first.curve
    assert [deterministic(event) for event in of(again.run)] == [deterministic(event) for event in of(first.run)]
    assert again.llm["operators"] == first.llm["operators"]
    shown = CliRunner().invoke(app, ["show", str(first.run), "--json"])
    assert json.loads(shown.stdout)["llm"]["operators"] == first.llm["operators"]
    every = first.llm["operators"]["all"]
    line = f"{every['asked']} asked, {every['came_back']} with a class, {every['valid']} networks, "
    line += f"{every['valid_after_repair']} after repair"
    assert line in " ".join(CliRunner().invoke(app, ["show", str(first.run)]).stdout.split())


def test_a_dry_run_says_what_the_model_would_be_asked(server: Server) -> None:
    given = {"task": "digits", "generator": "code", "principles": False, "edits": "blocks", "niches": 20}
    planned = plan.make(Config(space=SPACE, llm=f"{server.url}#m", budget=50, **given))["llm"]
    generator = planned["roles"]["generator"]
    assert (generator["calls"], generator["repairs"], planned["most_calls"]) == (49, 2, 147)
    assert "LAYERS = ('pool', 'pool', 'pool', 'pool', 'pool')" in generator["first_prompt"]
    assert ">>>>>>> REPLACE" in generator["first_prompt"]
    assert server.asked == []


@pytest.mark.parametrize("after", [3, 12, 17])
def test_a_run_that_was_stopped_goes_on_to_the_same_end_and_asks_nothing_twice(
    server: Server, tmp_path: Path, after: int
) -> None:
    scripted(server)
    settings = config(tmp_path / "whole", SPACE, llm=f"{server.url}#m", **{**SETTINGS, "budget": 20})
    whole = start(settings, evaluation=evaluation())
    asked = len(server.asked)

    kill = killed_at(1, lambda event: event["type"] == "varied" and event["round"] == after)
    with pytest.raises(Killed):
        start(settings.model_copy(update={"out": tmp_path / "killed"}), [kill], evaluation=evaluation())
    (folder,) = (tmp_path / "killed").iterdir()
    resumed = resume(RunFolder(folder), evaluation=evaluation())
    assert [deterministic(event) for event in of(resumed.run)] == [deterministic(event) for event in of(whole.run)]
    assert len(server.asked) == 2 * asked


def test_a_model_is_refused_where_it_cannot_write_the_spaces_architectures() -> None:
    nb201 = NasBench201()
    with pytest.raises(ConfigError, match=r"writes programs, and those of space 'nb201' .* --llm.generator none"):
        roles.check_space(Config(generator="code", llm="openai:m"), nb201)
    roles.check_space(Config(generator="code", llm="openai:m", llm_generator="none"), nb201)
    roles.check_space(Config(generator="code"), nb201)
    with pytest.raises(ConfigError, match="--anonymise cannot hide the names in programs"):
        roles.check_space(Config(generator="code", llm="openai:m", anonymise=True), load_space(SPACE))
    assert roles.specs(Config(generator="code", llm="openai:m", principles=False)) == {"generator": "openai:m"}
    assert roles.specs(Config(generator="code", principles=False)) == {}
