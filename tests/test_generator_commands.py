"""`generator train`, `sample` and `eval` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from nas_agent.agents.generators.arch_llm.generator import SETTINGS, SHIPPED, ArchLLM, load, shipped, trained_on
from nas_agent.agents.generators.arch_llm.language import SequenceModel
from nas_agent.agents.generators.arch_llm.prompts import own_prompts
from nas_agent.agents.generators.arch_llm.sequences import OwnTokens
from nas_agent.agents.generators.arch_llm.training_set import training_set
from nas_agent.bench import generator_eval as bench
from nas_agent.bench import generator_plot, generator_report
from nas_agent.cli.main import app
from nas_agent.errors import ConfigError, DataError, StorageError
from nas_agent.spaces import load_space

SMALL = ("--codes", "tokens", "-n", "300", "--epochs", "2", "--batch", "50")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["generator", *map(str, words)])


def refused(*words: str | Path) -> str:
    """The one line of a refusal."""
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator on the space's own decisions, which needs no quantiser."""
    out = tmp_path_factory.mktemp("generator") / "nb201"
    result = run("train", "--space", "nb201", *SMALL, "--out", out)
    assert result.exit_code == 0, result.output
    return out


# -- train -----------------------------------------------------------------------------------------------


def test_training_shows_progress_and_loss_and_says_how_to_go_on(tmp_path):
    result = run("train", "--space", "nb201", *SMALL, "--out", tmp_path / "made")
    assert "language model: 12/12, loss 1." in result.stderr
    assert "nas-agent generator sample --space nb201 -n 10 --temperature 0.7 --model" in result.stdout
    assert "trained on 300 architectures" in result.stdout


def test_a_folder_has_weights_as_safetensors_a_card_for_people_and_no_pickle(folder):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"README.md", "language/model.safetensors", "language/card.json", "language/config.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    card = (folder / "README.md").read_text()
    assert "library_name: transformers" in card
    assert "300 architectures of nb201" in card
    assert f"{load(folder, 'nb201').language.parameters:,} weights" in card


def test_the_same_command_again_trains_nothing(folder):
    before = (folder / "language/model.safetensors").stat().st_mtime_ns
    again = run("train", "--space", "nb201", *SMALL, "--out", folder, "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["architectures"] == 300
    assert (folder / "language/model.safetensors").stat().st_mtime_ns == before


def test_without_a_folder_it_goes_home_and_the_next_command_names_it(own_home):
    home = own_home / "generators/nb201"
    made = run("train", *SMALL)
    assert made.exit_code == 0
    assert (home / "language/card.json").exists()
    assert f"--model {home}" in made.stdout


@pytest.mark.parametrize("space", SETTINGS)
def test_without_a_folder_the_one_that_comes_with_the_package_draws(space):
    result = run("sample", "--space", space, "-n", "200", "--json")
    assert result.exit_code == 0, result.output
    drawn = [row["architecture"] for row in json.loads(result.stdout)["draws"]]
    texts = {one["text"] for one in drawn if one is not None}
    assert len(texts) > 180  # of 200: valid, and hardly any twice
    assert all(load_space(space).parse(text) for text in texts)


@pytest.mark.parametrize("space", SETTINGS)
def test_what_comes_with_the_package_brings_held_out_graphs_back_and_says_so(space):
    made = load(shipped(space), space)
    held_out = training_set(space, 0).held_out[:500]
    assert made.sequencer.decode(made.sequencer.encode(held_out)) == held_out
    card = (shipped(space) / "README.md").read_text()
    assert "come back whole" in card
    assert "draws at temperature 1" in card


def test_what_comes_with_the_package_is_small():
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*") if file.is_file()) < 5_000_000


def test_drawing_needs_none_of_the_packages_that_training_needs():
    program = """
import sys
for name in ("vector_quantize_pytorch", "peft", "accelerate"):
    sys.modules[name] = None
from nas_agent.agents.generators.arch_llm.generator import load, shipped
made = load(shipped("nb201"), "nb201")
print(sum(one is not None for one in made.sample(20, seed=0).architectures))
made.sequencer.encode([one for one in made.sample(20, seed=0).architectures if one])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "20\n"


def test_a_model_of_hugging_face_is_a_beginning(tiny_model, tmp_path):
    made = run("train", *SMALL, "--base", f"hf:{tiny_model}", "--offline", "--out", tmp_path / "made", "--json")
    assert made.exit_code == 0, made.output
    assert "began with" in (tmp_path / "made/README.md").read_text()
    drawn = json.loads(run("sample", "-n", "5", "--model", tmp_path / "made", "--json").stdout)["draws"]
    assert {code for row in drawn for code in row["codes"]} <= set(range(5))


@pytest.mark.skipif(find_spec("vector_quantize_pytorch") is None, reason="vector-quantize-pytorch is not installed")
def test_a_learned_codebook_is_trained_with_it(tmp_path):
    out = tmp_path / "made"
    made = run("train", "--space", "nb201", "-n", "200", "--epochs", "3", "--batch", "50", "--out", out)
    assert made.exit_code == 0, made.output
    assert "quantiser: " in made.stderr
    drawn = json.loads(run("sample", "-n", "50", "--model", out, "--json").stdout)["draws"]
    assert all(row["architecture"]["text"].startswith("|") for row in drawn)
    (out / "quantiser/model.safetensors").write_bytes(b"\x08")
    assert "quantiser/model.safetensors" in refused("sample", "--model", out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--space", "einspace"), "expected one of nb201, nb101, darts"),
        (("--codes", "words"), "expected vq or tokens"),
        (("--lora",), "expected --base"),
        (("--base", "gpt2"), "expected hf:FOLDER"),
        (("--base", "hf:no/where/at/all", *SMALL), "there is no folder"),
        (("-n", "9999", "--codes", "tokens"), "at most 3,233"),
        ((*SMALL, "--learning-rate", "nan"), "expected a number above 0"),
    ],
)
def test_a_training_that_cannot_be_is_refused(words, said, tmp_path):
    assert said in refused("train", "--out", tmp_path / "made", *words)


def test_a_base_that_does_not_fit_in_memory_is_refused_in_one_line(tiny_model, tmp_path):
    huge = tmp_path / "huge"
    huge.mkdir()
    for file in tiny_model.glob("*.json"):
        (huge / file.name).write_bytes(file.read_bytes())
    config = json.loads((huge / "config.json").read_text())
    sizes = {"hidden_size": 65536, "intermediate_size": 524288, "num_hidden_layers": 4, "head_dim": 16384}
    (huge / "config.json").write_text(json.dumps({**config, **sizes}))
    said = refused("train", *SMALL, "--base", f"hf:{huge}", "--offline", "--out", tmp_path / "made")
    assert "GB of memory" in said
    assert "choose a smaller model, or --lora" in said


@pytest.mark.skipif(find_spec("vector_quantize_pytorch") is None, reason="vector-quantize-pytorch is not installed")
def test_fewer_architectures_than_codes_are_learned_all_the_same(tmp_path):
    out = tmp_path / "made"
    made = run("train", "--space", "nb201", "-n", "9", "--epochs", "2", "--out", out, "--json")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["codes"] == 16
    drawn = json.loads(run("sample", "-n", "5", "--model", out, "--json").stdout)["draws"]
    assert all(row["architecture"] for row in drawn)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("vector_quantize_pytorch") is None, reason="vector-quantize-pytorch is not installed")
def test_a_command_that_was_killed_goes_on_to_the_very_same_generator(tmp_path):
    """By SIGKILL, which no program can answer."""
    words = ["train", "--space", "nb201", "-n", "200", "--epochs", "60", "--batch", "20", "--out"]
    program = [sys.executable, "-m", "nas_agent.cli.main", "generator", *words]
    killed = tmp_path / "killed"
    with subprocess.Popen([*program, str(killed)], stderr=subprocess.PIPE) as running:
        while not list(killed.glob("language/checkpoints/checkpoint-*/whole")):
            assert running.poll() is None, "it ended before its first checkpoint"
            time.sleep(0.02)
        running.kill()
    assert not (killed / "language/card.json").exists()
    assert "there is no trained" in refused("sample", "--model", killed)
    resumed, whole = run(*words, killed), run(*words, tmp_path / "whole")
    assert resumed.exit_code == whole.exit_code == 0, resumed.output
    assert "quantiser: " not in resumed.stderr  # it was done
    for part in ("quantiser", "language"):
        weights = Path(part, "model.safetensors")
        assert (killed / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refused("train", *SMALL, "--out", tmp_path / "file" / "below")


# -- sample ----------------------------------------------------------------------------------------------


def test_samples_are_lines_of_codes_and_architectures(folder):
    result = run("sample", "-n", "4", "--model", folder, "--seed", "3")
    lines = result.stdout.splitlines()
    assert len(lines) == 4
    space, tokens = load_space("nb201"), OwnTokens("nb201")
    for line in lines:
        codes, text = line.split("  ", 1)
        assert tokens.decode(np.array([[int(code) for code in codes.split()]]))[0] == space.parse(text)
    assert "4 drawn, 4 valid" in result.stderr
    assert run("sample", "-n", "4", "--model", folder, "--seed", "3").stdout == result.stdout
    assert run("sample", "-n", "4", "--model", folder, "--seed", "4").stdout != result.stdout


def test_a_partial_sequence_is_completed(folder):
    rows = json.loads(run("sample", "-n", "9", "--fill", "3 _ _ 1 _ 4", "--model", folder, "--json").stdout)["draws"]
    assert {(row["codes"][0], row["codes"][3], row["codes"][5]) for row in rows} == {(3, 1, 4)}
    assert len({tuple(row["codes"]) for row in rows}) > 3


def test_architectures_are_drawn_as_graphs(folder):
    shown = run("sample", "-n", "1", "--fill", "3 3 3 3 3 3", "--draw", "--model", folder).stdout
    assert "( 0 )" in shown
    assert "( 3 )" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--temperature", "0"), "expected a number above 0"),
        (("--temperature", "-0.7"), "expected a number above 0"),
        (("--temperature", "nan"), "expected a number above 0"),
        (("--top-p", "0"), "expected a share"),
        (("--fill", "1 2 3"), "expected 6 codes or _, got 3"),
        (("--fill", "1 2 3 4 5 _"), "expected codes from 0 to 4 or _, got '5'"),
        (("--fill", "1 2 3 x 4 _"), "got 'x'"),
    ],
)
def test_a_question_without_meaning_is_refused(folder, words, said):
    assert said in refused("sample", "--model", folder, *words)


def test_no_generator_names_the_command_that_makes_one(tmp_path):
    said = refused("sample", "--space", "nb101", "--model", tmp_path / "nowhere")
    assert f"run: nas-agent generator train --space nb101 --out {tmp_path / 'nowhere'}" in said
    assert "no trained sequence model" in refused("sample", "--model", tmp_path)


def test_a_generator_of_another_space_is_refused(folder):
    assert "expected a generator of space 'nb101', got one of 'nb201'" in refused(
        "sample", "--space", "nb101", "--model", folder
    )


def test_truncated_weights_are_one_line(folder, tmp_path):
    for file in folder.rglob("*"):
        if file.is_file():
            copy = tmp_path / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes()[: 3_000 if file.suffix == ".safetensors" else None])
    assert "cannot be loaded" in refused("sample", "--model", tmp_path)


def test_codec_and_model_of_different_codebooks_are_refused():
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    other = own_prompts(9)
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 1, "bos_token_id": None, "eos_token_id": None}
    model = SequenceModel(GPT2LMHeadModel(GPT2Config(vocab_size=other.size, **shape)), other, 6, {})
    with pytest.raises(DataError, match="5 codes in sequences of 6 against 9 in 6"):
        ArchLLM(OwnTokens("nb201"), model)


# -- eval ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def document(folder: Path) -> Any:
    generator = load(folder, "nb201")
    found = bench.evaluate(
        generator, load_space("nb201"), drawn=200, temperatures=[0.5, 1.0], seeds=2,
        others={"grammar": None, "itself": generator}, told=lambda *_: None,
    )  # fmt: skip
    return bench.document(found, name="tokens", command="nas-agent generator eval")


def test_an_evaluation_counts_what_it_says(folder, document):
    """Against a count by hand, from the same draws."""
    generator = load(folder, "nb201")
    known = {one.id for one in trained_on("nb201", 300, 0)}
    draws = generator.sample(200, temperature=0.5, seed=1)
    ids = {one.id for one in draws.architectures if one is not None}
    at = document["methods"]["tokens"]["temperatures"][0]
    assert at["temperature"] == 0.5
    assert at["validity"]["values"][1] == 1.0
    assert at["absolute_uniqueness"]["values"][1] == len(ids) / 200
    assert at["absolute_novelty"]["values"][1] == len(ids - known) / 200


def test_a_generator_is_no_better_than_itself(document):
    itself = next(row for row in document["differences"] if row["against"] == "itself")
    assert itself["mean"] == 0.0
    assert itself["low"] < 0.0 < itself["high"]
    assert document["methods"]["itself"] == document["methods"]["tokens"]


def test_the_grammar_has_no_temperature_and_the_ceiling_is_that_of_uniform_draws(document):
    assert len(document["methods"]["grammar"]["temperatures"]) == 1
    assert document["ceiling"]["absolute_uniqueness"] == pytest.approx(0.985, abs=0.001)
    assert document["ceiling"]["absolute_novelty"] == pytest.approx(0.985 * (1 - 300 / 6466), abs=0.001)


def test_codes_are_counted_by_position(folder, document):
    draws = [load(folder, "nb201").sample(200, temperature=1.0, seed=seed).sequences for seed in (0, 1)]
    expected = (np.concatenate(draws)[:, 2] == 4).mean()
    assert document["codes"]["shares"][2][4] == pytest.approx(expected, abs=1e-6)
    assert np.array(document["codes"]["shares"]).sum(axis=1) == pytest.approx(np.ones(6), abs=1e-5)


def test_tables_and_pictures_are_made(document, tmp_path):
    text = generator_report.markdown(document)
    assert "| abs. unique |" in text
    assert "`nas-agent generator eval`" in text
    generator_plot.plot_metrics(document, tmp_path / "metrics.png")
    generator_plot.plot_codes(document, tmp_path / "codes.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("metrics.png", "codes.png"))
    with pytest.raises(StorageError, match="--plot"):
        generator_plot.plot_metrics(document, tmp_path / "none" / "metrics.png")


def test_eval_as_a_command(folder, tmp_path):
    words = ("eval", "-n", "50", "--temperatures", "0.5..1.0:0.5", "--seeds", "2", "--against", "grammar")
    files = ("--plot", tmp_path / "a.png", "--heat-map", tmp_path / "b.png", "--markdown", tmp_path / "c.md")
    result = run(*words, "--against", folder, *files, "--model", folder, "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["methods"]) == {"tokens", "grammar", str(folder)}
    assert all((tmp_path / name).stat().st_size for name in ("a.png", "b.png", "c.md"))
    shown = run(*words, "--model", folder).stdout
    assert all(name in shown for name in ("valid", "abs. novel", "uniform over classes", "grammar"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0.3..2.0:0.85", [0.3, 1.15, 2.0]),
        ("1.0,0.5,1.0", [0.5, 1.0]),
        ("0.7", [0.7]),
        ("0.5..0.5", [0.5]),
        ("0.3..0.75:0.2", [0.3, 0.5, 0.7]),
    ],
)
def test_temperatures_are_read(text, found):
    assert bench.temperatures_of(text) == found
    assert len(bench.temperatures_of("0.3..2.0")) == 18


@pytest.mark.parametrize(
    "text", ["", "a", "0..1", "-1,2", "2..1", "0.3..2:0", "0.3..2:-1", "1..1e9", "nan", "0.5..inf", "1..2..3"]
)
def test_temperatures_without_meaning_are_refused(text):
    with pytest.raises(ConfigError, match="--temperatures"):
        bench.temperatures_of(text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--temperatures", "0..2"), "--temperatures"),
        (("--plot", "no-such-folder/a.png"), "there is no folder"),
        (("--against", "no-such-folder"), "there is no generator"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused(folder, words, said):
    assert said in refused("eval", "--model", folder, "-n", "5", *words)
