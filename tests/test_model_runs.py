"""Models in whole runs: by role, within caps, replayed, gone at the start, and with real inference to the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nas_agent import Search, roles
from nas_agent.agents.chat import CallsSpent, Models, RecordedModel, Reply
from nas_agent.agents.replies import LessonReply
from nas_agent.cli import plan
from nas_agent.cli.main import app
from nas_agent.config import Config
from nas_agent.errors import ConfigError, ModelError
from nas_agent.records import Json
from nas_agent.result import Result
from nas_agent.run import resume, start
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.run_folder import RunFolder
from tests.fakes import ScriptedModel
from tests.loopback import Said, Server
from tests.searching import TASK, Toy, config, evaluation
from tests.test_experience import GOOD

PRICES = (1.0, 10.0)  # dollars for a million tokens


class Paid:
    """A model that bills a cent a call."""

    name = "paid"

    def __init__(self) -> None:
        self.calls = 0

    def complete(self, prompt: str, schema: object = None, manner: object = None) -> Reply:
        self.calls += 1
        return Reply("Hello.", input_tokens=10, output_tokens=5, cost_usd=0.01, prices=PRICES)


def events_of(result: Result, *kinds: str) -> list[Json]:
    events, _ = read_events(RunFolder(Path(result.run or "")).events)
    return [event for event in events if not kinds or event["type"] in kinds]


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


# -- roles ------------------------------------------------------------------------------------------------


def test_a_role_takes_its_own_model_and_else_the_common_one(server: Server) -> None:
    assert roles.specs(Config(llm="openai:a")) == {"learner": "openai:a"}
    assert roles.specs(Config(llm="openai:a", llm_learner="openai:b")) == {"learner": "openai:b"}
    assert roles.specs(Config(llm="openai:a", llm_learner="none")) == {}
    assert roles.specs(Config(llm="openai:a", principles=False)) == {}
    proposing = Config(llm="openai:a", llm_generator="openai:c", generator="llm")
    assert roles.specs(proposing) == {"learner": "openai:a", "generator": "openai:c"}
    found = roles.models(Config(llm=f"{server.url}#m", generator="llm"))
    assert found.learner is found.generator is not None
    assert found.prices == {"learner": (0.0, 0.0), "generator": (0.0, 0.0)}


def test_a_model_for_proposals_that_nobody_asks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--llm\.generator openai:c: expected --generator llm .* got evolve"):
        roles.specs(Config(llm_generator="openai:c"))


@pytest.mark.parametrize("spec", ["foo:bar", "hf:no/such/folder", "http://127.0.0.1:9/v1", "nonsense"])
@pytest.mark.parametrize("role", ["learner", "generator"])
def test_an_error_names_the_flag_that_gave_the_model(role: str, spec: str) -> None:
    given = {f"llm_{role}": spec, "generator": "llm" if role == "generator" else "evolve"}
    with pytest.raises(ModelError, match=rf"^--llm\.{role} {re.escape(spec)}[ :]"):
        roles.models(Config(**given, principles=role == "learner"))
    with pytest.raises(ModelError, match=rf"^--llm {re.escape(spec)}[ :]"):
        roles.models(Config(llm=spec, **given))


def test_two_roles_ask_two_models_and_each_has_its_part_of_the_cost(server: Server, tmp_path: Path) -> None:
    architecture = {f"layer_{i}": "wide" for i in range(5)}
    proposals = Said(text=json.dumps({"analysis": "wide", "architectures": [architecture]}))
    server.script = [lambda body: proposals if body["model"] == "proposes" else Said(text=GOOD)]
    settings = config(
        tmp_path, llm=f"{server.url}#learns", llm_generator=f"{server.url}#proposes", generator="llm", budget=20
    )
    result = start(settings, evaluation=evaluation())
    asked = [body["model"] for body in server.asked]
    parts = result.llm["roles"]
    assert set(parts) == {"learner", "generator"}
    assert set(asked) == {"learns", "proposes"}
    assert {event["model"] for event in events_of(result, "model_call") if event["role"] == "generator"} == {
        f"{server.url}#proposes"
    }
    for key in ("calls", "input_tokens", "output_tokens", "cost_usd", "seconds"):
        assert result.llm[key] == pytest.approx(sum(part[key] for part in parts.values()))
    planned = plan.make(settings.model_copy(update={"task": "cifar100", "space": "nb201", "evaluator": "embedded"}))
    assert {role: part["model"] for role, part in planned["llm"]["roles"].items()} == {
        "learner": f"{server.url}#learns",
        "generator": f"{server.url}#proposes",
    }


def test_the_model_of_a_role_is_the_one_that_is_asked(server: Server, tmp_path: Path) -> None:
    server.script = [Said(text=GOOD)]
    settings = config(tmp_path, llm="http://127.0.0.1:9/v1#common", llm_learner=f"{server.url}#mine")
    result = start(settings, evaluation=evaluation())
    assert {body["model"] for body in server.asked} == {"mine"}
    assert events_of(result, "started")[0]["models"] == {
        "learner": {"model": f"{server.url}#mine", "prices": [0.0, 0.0]}
    }
    calls = events_of(result, "model_call")
    assert {event["role"] for event in calls} == {"learner"}
    part = result.llm["roles"]["learner"]
    assert part == {key: value for key, value in result.llm.items() if key != "roles"}
    assert (part["calls"], part["cost_usd"]) == (len(calls), 0.0)
    assert part["input_tokens"] == 120 * len(calls)
    assert part["seconds"] > 0.0


# -- caps -------------------------------------------------------------------------------------------------


def test_all_roles_pay_from_one_purse_and_it_holds_over_a_resume(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    paid = Paid()

    def both(**caps: Any) -> Models:
        return roles.capped(Models(paid, paid), Config(**caps), folder)

    models = both(max_cost=0.025)
    assert models.learner is not None
    assert models.generator is not None
    models.learner.complete("a")
    models.generator.complete("b")
    resumed = both(max_cost=0.025)
    assert resumed.generator is not None
    resumed.generator.complete("c")  # 0.02 dollars were spent, so a third call may begin
    with pytest.raises(CallsSpent, match=r"0\.0300 USD are spent on models; raise --max-cost \(0\.025\)"):
        resumed.generator.complete("d")
    assert resumed.generator.complete("a").recorded
    assert paid.calls == 3
    with pytest.raises(CallsSpent, match=r"calls are spent \(3\)"):
        (both(max_calls=3).learner or paid).complete("d")
    assert (both(max_calls=4).learner or paid).complete("d").recorded is False


def test_a_cap_stops_calls_and_never_a_measurement(tmp_path: Path) -> None:
    models = {name: Search(TASK, space=Toy(), evaluation=evaluation(), budget=30, adapt_every=5, model=Paid(), **caps)
              for name, caps in {"free": {}, "capped": {"max_cost": 0.02}}.items()}  # fmt: skip
    free, capped = (models[name].run() for name in ("free", "capped"))
    assert free.llm["calls"] == 15
    assert (capped.llm["calls"], capped.llm["cost_usd"]) == (2, 0.02)
    assert capped.curve == free.curve  # a model that only says Hello changes nothing
    told = [event["why"] for event in models["capped"].journal.log.events if event["type"] == "model_failure"]
    assert any("raise --max-cost" in why for why in told)


def test_a_cost_that_is_not_known_is_null_and_cannot_be_capped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(TASK, space=Toy(), evaluation=evaluation(), budget=12, model=ScriptedModel([GOOD]))
    llm = search.run().llm
    assert (llm["calls"], llm["cost_usd"], llm["roles"]["learner"]["cost_usd"]) == (1, None, None)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for spec in ("openai:no-such-model", "https://example.org/v1#m"):
        with pytest.raises(ConfigError, match=rf"--max-cost 2 cannot be kept: the price of {spec} is not known"):
            start(config(tmp_path / "runs", llm=spec, max_cost=2.0), evaluation=evaluation())
    assert not (tmp_path / "runs").exists()
    assert roles.prices(Config(llm="hf:a/b", max_cost=2.0)) == {"learner": (0.0, 0.0)}
    known = roles.prices(Config(llm="openai:gpt-4o-mini", max_cost=2.0))["learner"]
    assert known is not None


def test_each_record_holds_the_prices_it_was_reckoned_with(tmp_path: Path) -> None:
    RecordedModel(Paid(), tmp_path).complete("a")
    (record,) = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    assert record["reply"]["prices"] == list(PRICES)


@pytest.mark.parametrize("cost", ["-1", "nan", "inf", "much"])
def test_a_cap_that_is_no_amount_is_refused(cost: str) -> None:
    result = call("run", "--max-cost", cost)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


# -- replay -----------------------------------------------------------------------------------------------


def test_a_replayed_run_is_the_same_run_without_its_model(server: Server, tmp_path: Path) -> None:
    server.script = [Said(text=GOOD), Said(text="No."), Said(400, "out of order"), Said(text=GOOD)]
    first = start(config(tmp_path / "runs", llm=f"{server.url}#tiny"), evaluation=evaluation())
    asked = len(server.asked)
    again = start(config(tmp_path / "runs", llm=f"replay:{first.run}"), evaluation=evaluation())
    third = start(config(tmp_path / "runs", llm="replay:last"), evaluation=evaluation())  # a replay of a replay
    assert len(server.asked) == asked > 0
    for result in (again, third):
        assert result.curve == first.curve
        assert [deterministic(e) for e in events_of(result)] == [deterministic(e) for e in events_of(first)]
        assert result.llm["input_tokens"] == first.llm["input_tokens"]
    kept = RunFolder(Path(third.run or "")).config()
    assert kept.llm == f"replay:{again.run}"  # `last` has become the run that it meant


def test_a_question_that_was_never_asked_is_a_failure_and_the_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.script = [Said(text=GOOD)]
    first = start(config(tmp_path / "runs", llm=f"{server.url}#tiny"), evaluation=evaluation())
    other = start(config(tmp_path / "runs", llm=f"replay:{first.run}", seed=7), evaluation=evaluation())
    assert len(other.outcomes) == 14
    why = [event["why"] for event in events_of(other, "model_failure")]
    assert why
    assert all("has no reply to this question (record " in text for text in why)


@pytest.mark.parametrize("what", ["nothing", "no records", "missing"])
def test_a_run_that_cannot_be_replayed_is_refused_at_the_start(tmp_path: Path, what: str) -> None:
    done = start(config(tmp_path / "runs"), evaluation=evaluation())
    run = Path(done.run or "")
    if what == "no records":
        (run / "llm").mkdir(exist_ok=True)
    name = "no-such-run" if what == "missing" else str(run)
    runs = sorted((tmp_path / "runs").iterdir())
    with pytest.raises((ModelError, ConfigError), match=r"there is no run|without 'llm'|nothing to replay"):
        start(config(tmp_path / "runs", llm=f"replay:{name}"), evaluation=evaluation())
    assert sorted((tmp_path / "runs").iterdir()) == runs


# -- the start --------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_server_that_is_not_there_ends_the_start_with_2_and_one_line(tmp_path: Path) -> None:
    spec = f"http://127.0.0.1:{free_port()}/v1#m"
    result = call("run", "--llm", spec, "--budget", "3", "--no-memory", "--out", str(tmp_path / "runs"))
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert f"{spec} gave no answer" in line
    assert "check the address" in line
    assert not (tmp_path / "runs").exists()
    planned = call("run", "--llm", spec, "--budget", "31", "--dry-run", "--json")
    assert json.loads(planned.stdout)["llm"]["roles"]["learner"]["calls"] == 3


def test_a_server_is_greeted_once_and_before_there_is_a_run_folder(server: Server, tmp_path: Path) -> None:
    server.script = [Said(text=GOOD)]
    settings = config(tmp_path / "runs", llm=f"{server.url}#m")
    result = start(settings, evaluation=evaluation())
    assert server.greeted == ["/v1/models"]
    resume(RunFolder(Path(result.run or "")), evaluation=evaluation())
    assert server.greeted == ["/v1/models"]
    server.greeting = Said(401, "who are you?")
    with pytest.raises(ModelError, match=r"who are you\?.*check the address and the key"):
        start(settings, evaluation=evaluation())
    server.greeting = Said(raw=b"<html>A shop</html>")
    with pytest.raises(ModelError, match="check the address"):
        start(settings, evaluation=evaluation())
    assert len(list((tmp_path / "runs").iterdir())) == 1


@pytest.mark.parametrize("greeting", [Said(404, "no such page"), Said(500, "later")])
def test_a_server_that_knows_no_list_of_models_is_a_server(server: Server, tmp_path: Path, greeting: Said) -> None:
    server.greeting, server.script = greeting, [Said(text=GOOD)]
    result = start(config(tmp_path / "runs", llm=f"{server.url}#m"), evaluation=evaluation())
    assert result.llm["calls"] > 0


# -- the command `models` ---------------------------------------------------------------------------------


def test_models_lists_what_works_here_and_shows_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-shown")
    for arguments in (["models", "--json"], ["models", "list", "--json"]):
        document = json.loads(call(*arguments).stdout)
        assert set(document) == {"providers", "device", "cached"}
        found = {each["form"]: each for each in document["providers"]}
        assert found["openai:MODEL"]["ready"]
        assert found["hf:REPO_OR_PATH"]["ready"]
        assert not found["anthropic:MODEL"]["installed"]
        assert not found["anthropic:MODEL"]["ready"]
    shown = call("models")
    assert shown.exit_code == 0
    assert "OPENAI_API_KEY is set" in shown.stdout
    assert "sk-not-to-be-shown" not in shown.stdout + json.dumps(document)


def test_models_test_asks_each_model_one_question(server: Server, tiny_model: Path) -> None:
    server.script = [Said(text='{"answer": 5}')]
    good = call("models", "test", f"{server.url}#m", f"hf:{tiny_model}", "--json")
    assert good.exit_code == 0, good.stderr
    document = json.loads(good.stdout)
    assert document["ok"]
    assert [each["method"] for each in document["models"]] == ["json_schema", "constrained"]
    assert document["models"][0]["reply"] == '{"answer": 5}'
    assert len(server.asked) == 1
    server.script = [Said(text="five")]
    bad = call("models", "test", f"{server.url}#m", "hf:no/such/folder", "none", "--json")
    assert bad.exit_code == 2
    assert [each["ok"] for each in json.loads(bad.stdout)["models"]] == [False] * 3
    (line,) = bad.stderr.splitlines()
    for words in ("no JSON object", "there is no folder 'no/such/folder'", "'none' is no model"):
        assert words in line


# -- real inference, to the end ---------------------------------------------------------------------------

RUN = ["run", "--task", "cifar100", "--evaluator", "embedded", "--surrogate", "none", "--no-memory", "--budget", "11"]


def test_a_run_with_a_model_in_this_process_goes_to_its_end(tiny_model: Path, tmp_path: Path) -> None:
    settings = ["--set", "hf_max_tokens=3000", "--set", "temperature=1.0", "--max-calls", "2", "--offline"]
    result = call(*RUN, "--llm", f"hf:{tiny_model}", *settings, "--out", str(tmp_path / "runs"), "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["evaluations"] == 11
    learner = document["llm"]["roles"]["learner"]
    assert learner["calls"] > 0
    assert learner["input_tokens"] > 1000
    assert learner["output_tokens"] > 0
    assert (learner["cost_usd"], document["llm"]["calls"]) == (0.0, learner["calls"])
    records = [json.loads(file.read_text()) for file in Path(document["run"]).glob("llm/*.json")]
    assert {record["reply"]["method"] for record in records} == {"constrained"}
    assert any(LessonReply.model_validate_json(record["reply"]["text"]) for record in records)


def test_a_model_in_this_process_proposes_architectures_that_are_measured(tiny_model: Path, tmp_path: Path) -> None:
    settings = ["--set", "hf_max_tokens=4000", "--set", "temperature=1.0", "--generator", "llm", "--no-principles"]
    result = call(*RUN, "--llm", f"hf:{tiny_model}", *settings, "--out", str(tmp_path / "runs"), "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert list(document["llm"]["roles"]) == ["generator"]
    shown = json.loads(call("show", document["run"], "--json").stdout)
    authors = {item["author"] for item in shown["top"]}
    assert any(author.startswith(f"language model hf:{tiny_model} / prompt propose@") for author in authors)


def test_a_dry_run_loads_no_weights_and_says_what_each_role_would_ask(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    planned = json.loads(call(*RUN, "--llm", f"hf:{folder}", "--dry-run", "--json").stdout)["llm"]
    learner = planned["roles"]["learner"]
    assert (learner["model"], learner["calls"], learner["cost_usd"]) == (f"hf:{folder}", 1, 0.0)
    assert (planned["calls"], planned["tokens"], planned["cost_usd"]) == (1, learner["tokens"], 0.0)
    shown = call(*RUN, "--llm", f"hf:{folder}", "--max-cost", "3", "--dry-run").stdout
    assert "none after 3 USD" in " ".join(shown.split())


def test_a_model_folder_is_found_again_from_another_folder(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.parent)
    assert roles.absolute(f"hf:{tiny_model.name}") == f"hf:{tiny_model}"
    assert roles.absolute("hf:owner/name") == "hf:owner/name"
    assert roles.absolute("openai:gpt-4o-mini") == "openai:gpt-4o-mini"


def test_a_model_folder_without_a_template_ends_the_start_with_2(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    result = call(*RUN, "--llm", f"hf:{tmp_path}", "--out", str(tmp_path / "runs"))
    assert result.exit_code == 2
    assert "has no tokenizer" in result.stderr.splitlines()[0]
    assert not (tmp_path / "runs").exists()


def test_a_run_with_a_server_that_misbehaves_goes_to_its_end(server: Server, tmp_path: Path) -> None:
    lesson = json.dumps({"information_flow": "f", "patterns": "p", "principles": []})
    server.script = [
        Said(429, "slow down", {"retry-after": "0"}),
        Said(text=lesson, cut=True),
        Said(text="Let me think. " * 8000),
        Said(text=lesson[:30], finish="length"),
        Said(text=lesson),
    ]
    result = call(*RUN, "--llm", f"{server.url}#tiny", "--out", str(tmp_path / "runs"), "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["evaluations"], document["llm"]["calls"], len(server.asked)) == (11, 3, 5)
    assert "cut off at the length limit" in server.asked[-1]["messages"][0]["content"]


@pytest.fixture
def serving(tiny_model: Path, tmp_path: Path) -> Iterator[str]:
    """Run `transformers serve` with the tiny model; its URL."""
    pytest.importorskip("fastapi", reason="transformers serve needs fastapi")
    program = Path(sys.executable).with_name("transformers")
    if not program.exists():
        pytest.skip("there is no `transformers` program beside this Python")
    port = free_port()
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    log = (tmp_path / "serve.log").open("w")
    command = [str(program), "serve", str(tiny_model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log, subprocess.Popen(command, stdout=log, stderr=log, env=settings) as process:
        try:
            for _ in range(600):
                with socket.socket() as knock:
                    if knock.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None:
                    pytest.fail((tmp_path / "serve.log").read_text()[-2000:])
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1#{tiny_model}"
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.mark.slow
def test_a_run_with_transformers_serve_goes_to_its_end(serving: str, tmp_path: Path) -> None:
    result = call(*RUN, "--llm", serving, "--max-calls", "2", "--out", str(tmp_path / "runs"), "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["evaluations"] == 11
    records = [json.loads(file.read_text()) for file in Path(document["run"]).glob("llm/*.json")]
    assert 1 <= len(records) <= 2
    assert all(record["reply"]["text"] for record in records)  # nonsense, by real inference
    assert all(record["reply"]["input_tokens"] > 1000 for record in records)
