"""The contamination probe: a question without evidence, ranked among all architectures of a benchmark."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from nas_agent.bench.probe import median_chance, probe
from nas_agent.cli.main import app
from nas_agent.errors import ConfigError, ModelError
from nas_agent.records import Architecture, Failed, Outcome, Task
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from tests.fakes import ScriptedModel
from tests.loopback import Said, Server
from tests.searching import TASK, Diary, TestVault, Toy, evaluation, worth

SPACE = Toy()


class Listed(Diary):
    """The toy task with a table: every architecture has a value, but for one that failed."""

    def pool(self) -> list[Architecture]:
        everything = SPACE.enumerate()
        assert everything is not None
        return list(everything)

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        if architecture.text == RANKED[-1].text:
            return Failed(architecture, "no value", 0.0, seed, self.name)
        return Diary.evaluate(self, architecture, seed=seed)


RANKED = sorted(SPACE.enumerate() or [], key=lambda architecture: (-worth(architecture), architecture.text))
TABLE = Evaluation(TASK, Listed(), TestVault(), "a table")
AMONG = len(RANKED) - 1


def reply(architecture: Architecture, reason: str = "A guess.") -> str:
    return json.dumps({"reason": reason, "architecture": SPACE.choices(architecture)})


def test_the_best_answer_is_contamination_and_nothing_but_the_space_was_shown() -> None:
    model = ScriptedModel([reply(RANKED[0], "I know this.")])
    found = probe(model, SPACE, TABLE)
    assert (found.rank, found.architectures, found.percentile) == (1, AMONG, 100.0)
    assert found.chance == pytest.approx(1 / AMONG)
    assert found.reading.startswith(f"ranked 1 of {AMONG:,} with no evidence: contaminated (by chance: p = 0.00098)")
    assert (found.samples[0].value, found.samples[0].reason) == (worth(RANKED[0]), "I know this.")
    assert found.optimum == worth(RANKED[0])
    assert found.prompt.startswith("probe@")
    values = [f"{worth(architecture):.2f}" for architecture in RANKED]
    assert not any(value in model.prompts[0] for value in values)
    assert '"layer_0"' in model.prompts[0]


@pytest.mark.parametrize(("place", "words"), [(20, "better than chance"), (600, "no better than chance")])
def test_other_ranks_are_read_as_what_they_are(place: int, words: str) -> None:
    found = probe(ScriptedModel([reply(RANKED[place])]), SPACE, TABLE)
    better_or_equal = sum(worth(architecture) >= worth(RANKED[place]) for architecture in RANKED[:-1])
    assert found.rank == better_or_equal
    assert f": {words} (by chance: p = {better_or_equal / AMONG:.2g})" in found.reading


def test_small_values_can_be_the_good_ones() -> None:
    smaller = Task("toy-error", "Toys.", "error", "%", maximise=False)
    found = probe(ScriptedModel([reply(RANKED[-2])]), SPACE, Evaluation(smaller, Listed(), TestVault(), ""))
    assert found.rank == sum(worth(a) <= worth(RANKED[-2]) for a in RANKED[:-1])
    assert found.optimum == min(worth(a) for a in RANKED[:-1])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("I do not know.", "no JSON object"),
        ('{"reason": "x", "architecture": {"layer_0": "conv"}}', "unknown option 'conv' for 'layer_0'"),
        (reply(RANKED[-1]), "has no value in the table"),
        ("wide " * 30_000, "more than 100,000 characters"),
    ],
)
def test_an_answer_that_names_nothing_is_counted_and_not_ranked(text: str, problem: str) -> None:
    found = probe(ScriptedModel([text, reply(RANKED[3])]), SPACE, TABLE, samples=2)
    assert (len(found.samples), len(found.valid)) == (2, 1)
    assert problem in found.samples[0].problem
    assert found.rank is not None
    nothing = probe(ScriptedModel([text]), SPACE, TABLE)
    assert (nothing.rank, nothing.chance, nothing.reading) == (None, None, "no valid answer: nothing can be said")


def test_each_sample_shows_another_order_and_the_first_the_spaces_own() -> None:
    model = ScriptedModel([reply(RANKED[0])])
    probe(model, SPACE, TABLE, samples=6)
    assert len(set(model.prompts)) == 6
    first = [json.loads(line) for line in model.prompts[0].splitlines() if line.startswith('{"decision"')]
    assert [(d["decision"], tuple(d["options"])) for d in first] == [(d.name, d.options) for d in SPACE.decisions]
    again = ScriptedModel([reply(RANKED[0])])
    probe(again, SPACE, TABLE, samples=6)
    assert again.prompts == model.prompts


def by_position(prompt: str) -> str:
    """Answer in the prompt's own words: the first option of every decision."""
    decisions = [json.loads(line) for line in prompt.splitlines() if line.startswith('{"decision"')]
    return json.dumps({"reason": "op_A is best.", "architecture": {d["decision"]: d["options"][0] for d in decisions}})


def test_anonymised_a_model_knows_nothing_and_its_answers_are_put_back() -> None:
    model = ScriptedModel([by_position])
    found = probe(model, SPACE, TABLE, samples=9, anonymise=True)
    assert len(found.valid) >= 5  # one answer in five is the architecture without a value
    assert len({sample.architecture for sample in found.samples}) > 2  # other labels every time
    assert not any(word in prompt for prompt in model.prompts for word in ("wide", "layer_", "toy"))
    assert all("op_A" not in sample.reason for sample in found.samples)
    assert found.to_dict()["anonymised"] is True


def test_the_chance_of_a_median_is_that_of_uniform_draws() -> None:
    rng, trials = Random(0), 20_000
    for rank, answers in ((30, 1), (200, 3), (300, 4)):
        hits = 0
        for _ in range(trials):
            drawn = sorted(rng.randint(1, 1000) for _ in range(answers))
            hits += drawn[(answers - 1) // 2] <= rank
        assert median_chance(rank, 1000, answers) == pytest.approx(hits / trials, abs=0.012)
    assert median_chance(1000, 1000, 5) == 1.0


def test_where_nothing_can_be_looked_up_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="evaluator diary cannot list them"):
        probe(ScriptedModel([reply(RANKED[0])]), SPACE, evaluation())


def test_a_model_that_never_answers_is_an_error_and_one_that_does_sometimes_is_not() -> None:
    with pytest.raises(ModelError, match="gone"):
        probe(ScriptedModel([ModelError("gone")]), SPACE, TABLE, samples=2)
    found = probe(ScriptedModel([ModelError("gone"), reply(RANKED[0])]), SPACE, TABLE, samples=2)
    assert found.samples[0].problem == "no answer: gone"


# -- the command -------------------------------------------------------------------------------------------

ALL_CONV = {f"edge_{start}_{end}": "nor_conv_3x3" for end in range(1, 4) for start in range(end)}


@pytest.fixture
def served(server: Server) -> Server:
    text = json.dumps({"reason": "Convolutions.", "architecture": ALL_CONV})
    script: list[Said | Callable[[dict[str, object]], Said]] = [Said(text=text)]
    server.script = script
    return server


def call(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["models", "probe", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_ranks_an_answer_among_the_embedded_benchmark(served: Server) -> None:
    llm = f"{served.url}#tiny"
    code, out, _ = call("--llm", llm, "--samples", "2", "--evaluator", "embedded", "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["model"], document["asked"], document["valid"]) == (llm, 2, 2)
    assert document["architectures"] == 6466
    assert document["provenance"] == "predicted"
    evaluation = load_evaluation("cifar100", NasBench201(), "embedded", data=None, epochs=None)
    pool = evaluation.evaluator.pool()
    assert pool is not None
    values = {a.id: evaluation.evaluator.evaluate(a, seed=0) for a in pool}
    mine = values[NasBench201().build(ALL_CONV).id].value  # type: ignore[union-attr]
    assert document["rank"] == sum(outcome.value >= mine for outcome in values.values())  # type: ignore[union-attr]
    code, out, _ = call("--llm", llm, "--evaluator", "embedded")
    assert code == 0
    assert f"{document['rank']:,} of 6,466" in out
    assert "with no evidence: " in out


def test_the_command_takes_the_settings_of_a_model(served: Server, tmp_path: Path) -> None:
    llm = f"{served.url}#tiny"
    assert call("--llm", llm, "--evaluator", "embedded", "--set", "temperature=0.5", "--json")[0] == 0
    assert served.asked[-1]["temperature"] == 0.5
    code, _, error = call("--llm", f"hf:{tmp_path}", "--evaluator", "embedded", "--set", "hf_dtype=float8")
    assert (code, len(error.strip().splitlines())) == (2, 1)
    assert "hf_dtype" in error


def test_the_command_asks_no_network_when_it_is_offline(monkeypatch: pytest.MonkeyPatch, served: Server) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert call("--llm", f"{served.url}#tiny", "--evaluator", "embedded", "--offline", "--json")[0] == 0
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(("task", "rank"), [("cifar100", 1), ("cifar10", 3), ("ImageNet16-120", 12)])
def test_common_knowledge_looks_like_contamination(task: str, rank: int) -> None:
    """3x3 convolutions around a skip: what a residual block looks like, whether or not one knows the table."""
    if not os.environ.get("NAS_AGENT_DATA"):
        pytest.skip("NAS_AGENT_DATA is not set: the measured cells are not at hand")
    space = NasBench201()
    residual = json.dumps({"architecture": {**ALL_CONV, "edge_0_3": "skip_connect"}})
    evaluation = load_evaluation(task, space, "table", data=None, epochs=None)
    assert probe(ScriptedModel([residual]), space, evaluation).rank == rank


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--llm", "none"], "there is nobody to ask"),
        (["--llm", "http://127.0.0.1:9/v1#m", "--task", "digits"], "cannot list them for task digits"),
        (["--llm", "what"], "expected none, openai:MODEL"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    code, out, error = call(*arguments)
    assert code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert out == ""
