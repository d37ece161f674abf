"""A Hugging Face chat model in this process: replies that fit their schema, and faults told in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from nas_agent.agents.chat import CUT, Manner, RecordedModel
from nas_agent.agents.models import PreparedModel, resolve
from nas_agent.agents.operators import LanguageModelOperators, Parent, Request, Rules
from nas_agent.agents.operators.grammar import class_grammar
from nas_agent.agents.operators.programs import CUT_CODE
from nas_agent.agents.replies import LessonReply, Sum, bounded_schema
from nas_agent.config import Config
from nas_agent.errors import MissingExtra, ModelError, NasAgentError
from nas_agent.records import Architecture, Task
from nas_agent.spaces.code import INTENTS
from tests.loopback import Said, Server


class Pair(BaseModel):
    """A question that leaves room for many answers."""

    model_config = ConfigDict(extra="forbid")

    word: str
    numbers: list[int]


def model(folder: Path | str, **settings: Any) -> PreparedModel:
    found = resolve(f"hf:{folder}", Config(**settings))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def local(tiny_model: Path) -> PreparedModel:
    """One model with its compiled schemas for the tests that need no settings of their own."""
    return model(tiny_model)


# -- replies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", ["What is 2 + 3?", "", "Answer in prose, never in JSON!", '"}]{'])
def test_any_prompt_gets_a_reply_that_fits_the_schema(local: PreparedModel, prompt: str) -> None:
    for schema in (Sum, Pair):
        reply = local.complete(prompt, schema)
        assert isinstance(reply.parsed, schema), reply.text
        assert (reply.method, reply.problem, reply.cut) == ("constrained", "", False)
        assert json.loads(reply.text) == reply.parsed.model_dump()


def test_tokens_are_counted_and_a_model_of_ones_own_costs_nothing(local: PreparedModel) -> None:
    short, long = (local.complete("word " * times, Sum) for times in (1, 50))
    assert long.input_tokens >= short.input_tokens + 49
    assert 0 < short.output_tokens < 60
    assert (short.cost_usd, short.prices) == (0.0, (0.0, 0.0))
    assert short.seconds > 0.0
    assert short.sent["device"] == "cpu"
    assert short.sent["dtype"] == "float32"
    assert short.sent["schema"] == bounded_schema(Sum)


def test_without_a_schema_the_model_says_what_it_likes(local: PreparedModel, tiny_model: Path) -> None:
    reply = model(tiny_model, hf_max_tokens=12).complete("Hello?")
    assert (reply.method, reply.parsed, reply.output_tokens) == ("text", None, 12)


def test_chance_follows_from_seed_and_prompt_alone(tiny_model: Path) -> None:
    import torch

    def said(seed: int, temperature: float) -> str:
        torch.manual_seed(99 + seed)  # what others draw must not matter
        return model(tiny_model, seed=seed, temperature=temperature).complete("Name a word.", Pair).text

    before = torch.get_rng_state()
    cold, warm = said(0, 0.0), said(0, 1.5)
    assert said(1, 0.0) == cold
    assert said(0, 1.5) == warm
    assert said(1, 1.5) != warm
    torch.set_rng_state(before)


def test_a_reply_that_is_cut_off_says_so_and_again_when_it_is_read_from_the_record(
    tiny_model: Path, tmp_path: Path
) -> None:
    recorded = RecordedModel(model(tiny_model, hf_max_tokens=4), tmp_path)
    first, again = (recorded.complete("Hi?", Sum) for _ in range(2))
    assert (first.parsed, first.problem, first.output_tokens) == (None, CUT, 4)
    assert (again.parsed, again.problem, again.recorded) == (None, CUT, True)


def test_a_whole_lesson_of_a_random_model_fits_its_schema(tiny_model: Path) -> None:
    reply = model(tiny_model, hf_max_tokens=20_000, temperature=1.0).complete("Which principles hold?", LessonReply)
    assert isinstance(reply.parsed, LessonReply), reply.problem


def test_every_part_of_a_bounded_schema_ends() -> None:
    def nodes(node: Any) -> list[dict[str, Any]]:
        if isinstance(node, list):
            return [found for item in node for found in nodes(item)]
        if not isinstance(node, dict):
            return []
        return [node, *(found for item in node.values() for found in nodes(item))]

    found = nodes(bounded_schema(LessonReply))
    kinds = [node.get("type") for node in found]
    assert {"string", "array", "integer"} <= {kind for kind in kinds if isinstance(kind, str)}
    assert all("maxLength" in node or "enum" in node for node in found if node.get("type") == "string")
    assert all("maxItems" in node for node in found if node.get("type") == "array")
    assert all({"minimum", "maximum"} <= set(node) for node in found if node.get("type") == "integer")


# -- faults -----------------------------------------------------------------------------------------------


def without(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink(missing_ok=True)

    return change


def no_template(folder: Path) -> None:
    without("chat_template.jinja")(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def broken_template(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")


def spoiled(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:100])  # type: ignore[return-value]


def immense(folder: Path) -> None:
    """Declare a layer of petabytes, of which the file holds nothing."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "mlp" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "intermediate_size": 10**13}))


def configured(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        settings = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**settings, **changes}))

    return change


def lacking_tensors(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if "lm_head" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


FAULTS = [
    (shutil.rmtree, "there is no folder"),
    (without("config.json"), "without config.json"),
    (without("tokenizer.json", "tokenizer_config.json"), "has no tokenizer"),
    (no_template, "no chat template"),
    (broken_template, "roles must alternate"),
    (spoiled("tokenizer.json"), "tokenizer that cannot be read"),
    (spoiled("config.json"), "cannot be (read|loaded)"),
    (without("model.safetensors"), "cannot be loaded"),
    (spoiled("model.safetensors"), "cannot be loaded"),
    (configured(hidden_size="many"), "cannot be read: .*expected int"),
    (configured(model_type="unheard-of"), "cannot be loaded"),
    (configured(hidden_size=64), "in the shape that config.json says"),
    (lacking_tensors, "1 tensors, lm_head.weight among them, are not in its weights"),
    (immense, "out of memory on cpu; choose a smaller model"),
]


@pytest.mark.parametrize(("change", "words"), FAULTS, ids=[words for _, words in FAULTS])
def test_a_model_folder_that_cannot_be_used_is_told_in_one_line(
    tiny_model: Path, tmp_path: Path, change: Callable[[Path], None], words: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    change(folder)
    with pytest.raises(ModelError, match=words) as told:
        model(folder).complete("Hi?", Sum)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 700


def test_a_template_that_refuses_every_chat_is_found_before_anything_is_measured(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    broken_template(folder)
    with pytest.raises(ModelError, match="chat template that cannot be used: roles must alternate"):
        model(folder)


@pytest.mark.parametrize("text", ["", "nosuch", "/no/such/folder", "./no/such", "a b/c", "x" * 5000, "\0", "~nobody/x"])
def test_a_text_that_names_no_model_is_refused_without_asking_a_network(text: str) -> None:
    with pytest.raises(ModelError, match=r"expected hf:FOLDER or hf:NAME/REPOSITORY"):
        resolve(f"hf:{text}")


def test_a_file_is_no_model_folder(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="got a file; name the folder"):
        model(tiny_model / "config.json")


def test_offline_a_repository_that_is_not_cached_says_how_to_get_it() -> None:
    with pytest.raises(ModelError, match=r"\(--offline\), .*\(revision v1\); .* hf download nobody/nothing"):
        model("nobody/nothing", offline=True, hf_revision="v1")


@pytest.mark.slow
@pytest.mark.parametrize("hub", ["gone", "refuses", "out of order"])
def test_a_hub_that_does_not_give_the_model_is_told_at_once(server: Server, tmp_path: Path, hub: str) -> None:
    answers = {"refuses": Said(404, "no", {"x-error-code": "RepoNotFound"}), "out of order": Said(503, "busy")}
    server.greeting = answers.get(hub, server.greeting)
    address = "http://127.0.0.1:9" if hub == "gone" else server.url
    result = subprocess.run(
        [sys.executable, "-m", "nas_agent.cli.main", "models", "test", "hf:nobody/nothing", "--json"],
        env={**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    (tried,) = json.loads(result.stdout)["models"]
    words = {"gone": "cannot be reached", "refuses": "hub refuses it", "out of order": "out of order (503)"}
    assert words[hub] in tried["problem"]
    assert sum("nobody" in path for path in server.greeted) <= 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("package", ["outlines", "llguidance"])
def test_a_missing_package_names_the_extra(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=rf"'{package}'.*pip install 'nas-agent\[hf\]'"):
        model(tiny_model)


def test_quantised_weights_need_their_package(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=r"hf_quantise = 4bit .*pip install 'nas-agent\[quantise\]'"):
        model(tiny_model, hf_quantise="4bit")


def test_a_device_that_is_not_there_is_refused(tiny_model: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="torch sees no cuda device here"):
        model(tiny_model, hf_device="cuda")


@pytest.mark.parametrize("setting", [{"hf_device": "abacus"}, {"hf_dtype": "int3"}, {"temperature": -1.0}])
def test_unknown_settings_are_refused(setting: dict[str, Any]) -> None:
    from nas_agent.config import make_config

    with pytest.raises(NasAgentError, match=next(iter(setting))):
        make_config(setting)


def test_number_formats_are_those_asked_for(tiny_model: Path) -> None:
    assert model(tiny_model, hf_dtype="bfloat16").complete("Hi?", Sum).sent["dtype"] == "bfloat16"


def test_a_prompt_that_is_too_long_for_the_model_is_refused(local: PreparedModel) -> None:
    with pytest.raises(ModelError, match=r"the prompt has [\d,]+ tokens and the model reads 32,768 at most"):
        local.complete("word " * 40_000, Sum)


def test_nothing_is_loaded_before_it_is_needed(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").unlink()
    lazy = model(folder)  # as --dry-run does
    with pytest.raises(ModelError, match="cannot be loaded"):
        lazy.prepare()


# -- programs ---------------------------------------------------------------------------------------------


def test_by_a_grammar_even_a_model_of_random_weights_answers_with_a_class(local: PreparedModel) -> None:
    manner = Manner(temperature=1.0, grammar=class_grammar("Network", lines=2))
    reply = local.complete("Write a network.", None, manner)
    assert (reply.method, reply.cut) == ("constrained", False)
    assert reply.sent["temperature"] == 1.0
    assert reply.text.startswith("```python\nimport torch\nfrom torch import nn\n")
    assert reply.text.count("\n\nclass Network(nn.Module):\n    def __init__(self):\n        super().__init__()\n") == 1
    assert "\n    def forward(self, x):\n" in reply.text.partition("class Network")[2]
    assert reply.text.split("\n")[-2].lstrip().startswith("return ")
    assert reply.text.split("\n")[-1] == "```"


def test_the_grammar_takes_programs_as_good_models_write_them(tiny_model: Path) -> None:
    import llguidance.hf
    from transformers import AutoTokenizer

    from benchmarks.constrained_decoding import PROGRAM

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    for program, whole in ((PROGRAM, True), (PROGRAM.replace("class Network", "class Other"), False)):
        grammar = llguidance.grammar_from("lark", class_grammar("Network"))
        matcher = llguidance.LLMatcher(llguidance.hf.from_tokenizer(tokenizer), grammar)
        tokens = tokenizer.encode(program, add_special_tokens=False)
        assert (matcher.validate_tokens(tokens) == len(tokens)) is whole


def test_draws_of_one_question_differ_and_each_is_the_same_again(local: PreparedModel) -> None:
    def draw(number: int) -> str:
        return local.complete("Write.", None, Manner(1.0, number, "start: /[a-z]{10,30}/")).text

    assert draw(0) == draw(0) != draw(1) == draw(1)


def test_an_operator_asks_a_model_in_this_process_and_tells_what_is_wrong_with_its_programs(tiny_model: Path) -> None:
    small = model(tiny_model, hf_max_tokens=80)
    code = "import torch\nfrom torch import nn\n\n\nclass Network(nn.Module):\n    pass\n"
    parent = Parent(Architecture("x", code, "parent"), code, 50.0)
    task = Task("toys", "Small pictures of toys.")
    asking = LanguageModelOperators(small, task, Rules((1, 8, 8), 10), lambda text: Architecture("x", text, text))
    offspring = asking.vary(Request(INTENTS[0], [parent], temperature=0.7))
    assert [call.method for call in offspring.calls] == ["constrained"] * 3
    assert all(call.output_tokens == 80 for call in offspring.calls)
    assert offspring.why == CUT_CODE
