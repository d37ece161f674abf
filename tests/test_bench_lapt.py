"""`bench lapt`: which arms there are, and those that ask a language model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from nas_agent.bench.compare import Setting
from nas_agent.bench.lapt import ARMS, MODEL_ARMS, Pair, arms
from nas_agent.cli.main import app
from nas_agent.errors import ConfigError
from nas_agent.records import Json
from tests.loopback import Said, Server
from tests.test_sources import OPS

PAIR = Pair(Setting("cifar10", "nb201"), Setting("cifar100", "nb201"))
LESSON = json.dumps({"information_flow": "It flows.", "patterns": "Some.", "principles": []})
NAMES = "transfer; agent, model; transfer, model; transfer, model, anonymised"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small nb201.npz of two tasks that agree, but for the optimum: no search finds that in eleven evaluations."""
    folder = tmp_path_factory.mktemp("lapt")
    rng = np.random.default_rng(0)
    ops = np.unique(rng.integers(0, 5, (300, 6)), axis=0)
    good = 60.0 + 4.0 * (ops == 3).sum(axis=1) - 3.0 * (ops == 0).sum(axis=1) + rng.random(len(ops))
    values = {f"val_{short}_200": good + rng.random(len(ops)) for short in ("c10", "c100")}
    values["val_c100_200"][np.argmin(good)] = 99.0
    np.savez(folder / "nb201.npz", ops=ops, op_names=np.array(OPS), **values)
    return folder


def lapt(data: Path, *arguments: str) -> Result:
    shape = ("--transfer", "nb201:cifar10->nb201:cifar100", "--budget", "11", "--seeds", "1", "--jobs", "1")
    return CliRunner().invoke(app, ["bench", "lapt", *shape, "--data", str(data), *arguments])


def answers(server: Server, said: Said) -> str:
    server.script = [lambda body: said]
    return f"{server.url}#tiny"


def test_without_a_model_no_arm_asks_one() -> None:
    assert list(arms(PAIR, 50)) == list(ARMS)
    assert list(arms(PAIR, 50, llm="replay:x")) == [*ARMS, *MODEL_ARMS]
    for name in MODEL_ARMS:
        with pytest.raises(ConfigError, match=f"^--arms {name}: needs a language model; add e.g. --llm "):
            arms(PAIR, 50, [name])
    with pytest.raises(ConfigError, match=r"got transfer with a model$"):
        arms(PAIR, 50, ["transfer with a model"], "replay:x")


def test_across_spaces_the_arms_with_a_model_stay() -> None:
    apart = Pair(Setting("cifar10", "nb201"), Setting("cifar10", "nb101"))
    assert set(MODEL_ARMS) < set(arms(apart, 50, llm="replay:x"))


def test_arms_with_a_model_ask_it_and_what_they_cost_is_told(data: Path, server: Server) -> None:
    llm = answers(server, Said(text=LESSON))
    result = lapt(data, "--llm", llm, "--arms", NAMES, "--json", "--markdown", str(data / "lapt.md"))
    assert result.exit_code == 0, result.output
    (document,) = json.loads(result.stdout)["transfers"]
    asked: dict[str, Json] = {name: arm["model"] for name, arm in document["arms"].items()}
    assert document["llm"] == llm
    assert asked["transfer"] == {"calls": 0, "failures": 0, "tokens": 0, "cost_usd": 0.0}
    assert sum(model["calls"] for model in asked.values()) == len(server.asked)
    # With a source the model is asked before the first outcome too; all are asked at the tenth.
    assert [asked[name]["calls"] for name in MODEL_ARMS] == [2, 2, 1]
    for name in MODEL_ARMS:
        assert asked[name]["tokens"] == 150 * asked[name]["calls"]
        assert (asked[name]["failures"], asked[name]["cost_usd"]) == (0, 0.0)
    assert "asked about 6 times in 3 runs, more" in result.stderr
    # One worker, so the arms ask one after the other; labels hide names in the anonymised one alone.
    assert ["nor_conv_3x3" in json.dumps(body) for body in server.asked] == [True, True, False, False, True]
    text = (data / "lapt.md").read_text()
    assert f"language model {llm}; " in text
    assert "| transfer, model, anonymised | 2, 300, 0.0000 USD |" in text
    assert "| transfer | 0" not in text


def test_a_model_that_gives_no_answer_costs_no_run_and_the_verdict_says_so(data: Path, server: Server) -> None:
    llm = answers(server, Said(text="I would rather not."))
    result = lapt(data, "--llm", llm, "--arms", "agent; agent, model")
    assert result.exit_code == 0, result.output
    told = " ".join(result.stdout.split())
    assert "agent, model on cifar10 -> cifar100: model calls 3; questions that came to nothing 1" in told
    assert "Language model: calls, tokens and US dollars in all runs" in told


@pytest.mark.parametrize("llm", ["openai:gpt-4o-mini", "http://127.0.0.1:9/v1#m", "nonsense"])
def test_a_model_that_cannot_be_asked_is_one_line_before_any_run(data: Path, llm: str) -> None:
    result = lapt(data, "--llm", llm, "--arms", NAMES)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert llm in result.stderr
    assert result.stdout == ""


def test_each_run_keeps_to_the_cap_of_calls(data: Path, server: Server) -> None:
    llm = answers(server, Said(text="I would rather not."))
    result = lapt(data, "--llm", llm, "--arms", "agent, model", "--max-calls", "1", "--json")
    assert result.exit_code == 0, result.output
    arm = json.loads(result.stdout)["transfers"][0]["arms"]["agent, model"]
    assert arm["model"]["calls"] == len(server.asked) == 1
    assert f"{llm}: asked about 1 time in 1 run, " in result.stderr


def test_a_cap_on_the_cost_that_cannot_be_kept_is_refused_before_any_run(data: Path) -> None:
    result = lapt(data, "--llm", "https://127.0.0.1:9/v1#m", "--arms", NAMES, "--max-cost", "1")
    assert result.exit_code == 2
    assert "--max-cost 1 cannot be kept: the price of https://127.0.0.1:9/v1#m is not known" in result.stderr


def test_a_model_is_not_asked_for_arms_that_need_none(data: Path) -> None:
    result = lapt(data, "--llm", "http://127.0.0.1:9/v1#m", "--arms", "random", "--json")
    assert result.exit_code == 0, result.output
    assert list(json.loads(result.stdout)["transfers"][0]["arms"]) == ["random"]
