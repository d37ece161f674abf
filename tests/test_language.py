"""The language model of code sequences: what it learns, what it may draw, and what a killed training leaves behind."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from nas_agent.agents.generators.arch_llm.bases import Base, load_base
from nas_agent.agents.generators.arch_llm.generator import trained_on
from nas_agent.agents.generators.arch_llm.language import SequenceModel, memory_told
from nas_agent.agents.generators.arch_llm.metrics import Metrics, ceiling, measure
from nas_agent.agents.generators.arch_llm.prompts import OPEN, own_prompts, read_partial, written
from nas_agent.agents.generators.arch_llm.sequences import Indices, OwnTokens
from nas_agent.agents.generators.arch_llm.training import CHECKPOINTS, LanguageSettings, train_language
from nas_agent.errors import ConfigError, DataError, MissingExtra, ModelError, NasAgentError
from nas_agent.spaces import load_space
from tests.resumed import Killed
from tests.tiny_model import build

CODES, LENGTH = 7, 4
TINY = LanguageSettings(
    width=32, layers=1, heads=2, dropout=0.0, epochs=60, batch=64, learning_rate=1e-2, fill_share=0.5
)
SHORT = replace(TINY, epochs=6, batch=16)


def counting(n: int = 64) -> Indices:
    """Sequences that count upwards modulo seven: the first code decides all others."""
    return (np.arange(n)[:, None] + np.arange(LENGTH)) % CODES


def quiet(done: int, total: int, loss: float) -> None:
    """Show nothing."""


def trained(folder: Path, settings: LanguageSettings = SHORT, seed: int = 0, progress: Any = quiet) -> SequenceModel:
    return train_language(counting(), codes=CODES, settings=settings, seed=seed, progress=progress, folder=folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> SequenceModel:
    """A model that has learned to count."""
    return trained(tmp_path_factory.mktemp("counting"), replace(TINY, layers=2, epochs=200))


def filled(model: SequenceModel) -> float:
    """The share of sequences that go with a known code in the middle."""
    known = np.array([[OPEN, OPEN, code, OPEN] for code in range(CODES)]).repeat(20, axis=0)
    drawn = model.sample(len(known), temperature=0.3, seed=1, fill=known)
    assert (drawn[:, 2] == known[:, 2]).all()
    return counts_up(drawn)


def counts_up(drawn: Indices) -> float:
    return float(((drawn[:, 1:] - drawn[:, :-1]) % CODES == 1).all(axis=1).mean())


# -- sampling --------------------------------------------------------------------------------------------


def test_it_learns_the_rule_of_its_sequences(model):
    drawn = model.sample(300, temperature=0.7, seed=0)
    assert drawn.shape == (300, LENGTH)
    assert counts_up(drawn) > 0.97
    assert set(drawn[:, 0]) == set(range(CODES))
    # Only the first code is open: log 7 nats, a quarter of which falls on each code.
    assert model.loss(counting(70)) == pytest.approx(math.log(CODES) / LENGTH, abs=0.03)


def test_fill_keeps_what_is_known_and_completes_the_rest_by_the_rule(model):
    assert filled(model) > 0.9  # also before the known code: it was read, not only continued


def test_one_partial_sequence_stands_for_all_draws(model):
    drawn = model.sample(5, temperature=0.3, seed=1, fill=np.array([3, OPEN, OPEN, OPEN]))
    assert drawn.tolist() == [[3, 4, 5, 6]] * 5


def test_a_whole_sequence_comes_back_even_against_the_rule(model):
    assert model.sample(2, seed=0, fill=np.array([6, 6, 6, 6])).tolist() == [[6] * 4] * 2


def test_same_seed_same_draws_and_others_differ(model):
    first, again, other = (model.sample(50, temperature=1.5, seed=seed) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_heat_spreads_and_cold_and_top_p_sharpen(model):
    shares = {
        name: counts_up(model.sample(400, seed=2, **how))
        for name, how in {
            "hot": {"temperature": 20.0},
            "hot, top-p": {"temperature": 20.0, "top_p": 0.05},
            "cold": {"temperature": 0.01},
        }.items()
    }  # fmt: skip
    assert shares["hot"] < 0.3
    assert shares["hot, top-p"] > 0.9
    assert shares["cold"] == 1.0


def test_only_codes_are_drawn_however_hot(model):
    drawn = model.sample(2000, temperature=1e6, seed=0)
    assert drawn.min() == 0
    assert drawn.max() == CODES - 1


def test_cached_steps_give_what_one_pass_over_the_whole_sequence_gives(model):
    """The cache, positions and the slice of the logits are right exactly if the likeliest codes agree."""
    import torch

    drawn = model.sample(20, temperature=1e-4, seed=0, fill=np.array([OPEN, 2, OPEN, OPEN]))
    prompt = model.prompts.partial(np.tile([OPEN, 2, OPEN, OPEN], (20, 1)))
    batch = model.batch(prompt, drawn)
    with torch.inference_mode():
        logits = model.model(input_ids=batch["input_ids"]).logits[:, prompt.shape[1] - 1 : -1]
    likeliest = model._of_codes(logits).argmax(dim=-1).numpy()
    assert (likeliest[:, [0, 2, 3]] == drawn[:, [0, 2, 3]]).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_without_meaning_is_refused(model, temperature):
    with pytest.raises(ConfigError, match="expected a number above 0"):
        model.sample(1, temperature=temperature, seed=0)


@pytest.mark.parametrize("top_p", [0.0, -0.5, 1.01, math.nan])
def test_a_top_p_that_is_no_share_is_refused(model, top_p):
    with pytest.raises(ConfigError, match="--top-p"):
        model.sample(1, top_p=top_p, seed=0)


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        ([1, 2, 3], r"expected one sequence of 4 codes"),
        ([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]], r"expected one sequence of 4 codes or 2"),
        ([1, 2, 3, CODES], "from 0 to 6"),
        ([1, 2, 3, -2], "from 0 to 6"),
    ],
)
def test_a_partial_sequence_of_another_codebook_is_refused(model, fill, said):
    with pytest.raises(ConfigError, match=said):
        model.sample(2, seed=0, fill=np.array(fill))


# -- the text of a partial sequence ----------------------------------------------------------------------


@pytest.mark.parametrize("text", ["3 _ 17 _", "fill: 3 _ 17 _", " 3,_ , 17  _ "])
def test_a_partial_sequence_is_read_as_people_write_it(text):
    found = read_partial(text, codes=18, length=4)
    assert found.tolist() == [3, OPEN, 17, OPEN]
    assert written(found.tolist()) == "3 _ 17 _"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3 _ 17", "expected 4 codes or _, got 3"),
        ("", "expected 4 codes or _, got 0"),
        ("3 _ 18 _", "codes from 0 to 17 or _, got '18'"),
        ("3 _ -1 _", "got '-1'"),
        ("3 _ 1_7 _", "got '1_7'"),
        ("3 _ \N{SUPERSCRIPT TWO} _", "codes from 0 to 17"),
        ("3 _ \N{ARABIC-INDIC DIGIT TWO} _", "codes from 0 to 17"),
        (f"3 _ {'9' * 5000} _", "codes from 0 to 17"),
    ],
)
def test_a_wrong_partial_sequence_is_refused_in_one_short_line(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        read_partial(text, codes=18, length=4)
    assert len(str(caught.value)) < 250


def test_a_batch_has_losses_for_the_answer_alone(model):
    codes = counting(3)
    batch = model.batch(model.prompts.partial(np.where(codes == 2, OPEN, codes)), codes)
    answer = batch["labels"][:, -LENGTH:]
    assert (batch["labels"][:, :-LENGTH] == -100).all()
    assert (answer.numpy() == codes + model.prompts.first).all()
    assert (batch["input_ids"][:, -LENGTH:] == answer).all()


# -- training --------------------------------------------------------------------------------------------


def test_a_killed_training_goes_on_to_the_very_same_model(tmp_path):
    """Dropout too, whose chance must be restored."""
    settings = replace(SHORT, dropout=0.2)
    whole = trained(tmp_path / "whole", settings)

    def killer(done: int, total: int, loss: float) -> None:
        if done > total // 2:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "killed", settings, progress=killer)
    assert not (tmp_path / "killed" / "card.json").exists()
    seen: list[int] = []
    resumed = trained(tmp_path / "killed", settings, progress=lambda done, total, loss: seen.append(done))
    assert seen[0] > 5  # it did not begin anew
    for name, weight in whole.model.state_dict().items():
        assert (weight == resumed.model.state_dict()[name]).all(), name
    assert not (tmp_path / "killed" / CHECKPOINTS).exists()


def test_a_checkpoint_that_was_cut_off_is_passed_over(tmp_path):
    def killer(done: int, total: int, loss: float) -> None:
        if done > total // 2:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path, progress=killer)
    newest = tmp_path / CHECKPOINTS / "checkpoint-999"
    newest.mkdir()
    (newest / "trainer_state.json").write_text('{"epoch": 0.')
    trained(tmp_path)
    assert (tmp_path / "card.json").exists()


@pytest.mark.parametrize("changed", [{"seed": 1}, {"settings": replace(SHORT, width=16)}])
def test_the_half_of_another_training_is_no_beginning(tmp_path, changed):
    def killer(done: int, total: int, loss: float) -> None:
        raise Killed

    with pytest.raises(Killed):
        trained(tmp_path, progress=killer)
    with pytest.raises(ConfigError, match="expected the training that is asked for"):
        trained(tmp_path, **changed)


def test_a_finished_training_is_not_repeated_and_not_overwritten(tmp_path):
    trained(tmp_path)

    def never(done: int, total: int, loss: float) -> None:
        raise AssertionError("it trains again")

    again = trained(tmp_path, progress=never)
    assert again.about["sequences"] == 64
    with pytest.raises(ConfigError, match="there is a model of other sequences, settings or seed already"):
        trained(tmp_path, seed=5)


def test_training_reports_steps_and_a_falling_loss(tmp_path):
    told: list[tuple[int, int, float]] = []
    trained(tmp_path, replace(TINY, epochs=20), progress=lambda *step: told.append(step))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[-1][2] < 0.7 * told[0][2]


def test_training_leaves_torchs_chance_alone(tmp_path):
    import torch

    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    trained(tmp_path)
    assert torch.rand(1) == expected


def test_sequences_of_another_codebook_are_refused(tmp_path):
    for broken in (counting() + CODES, counting() - 1, counting()[:0]):
        with pytest.raises(ConfigError, match="from 0 to 6"):
            train_language(broken, codes=CODES, settings=SHORT, seed=0, progress=quiet, folder=tmp_path)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"batch": 0}, {"width": 30, "heads": 4}, {"learning_rate": math.nan}, {"fill_share": 1.5}]
)
def test_settings_without_meaning_are_refused(wrong):
    with pytest.raises(ConfigError):
        LanguageSettings(**wrong)


# -- files -----------------------------------------------------------------------------------------------


def test_what_was_saved_draws_the_same(model, tmp_path):
    model.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    loaded = SequenceModel.load(tmp_path)
    assert (loaded.sample(100, temperature=1.3, seed=4) == model.sample(100, temperature=1.3, seed=4)).all()


def damage_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])


def change_card(**fields: Any) -> Any:
    def change(folder: Path) -> None:
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({**card, **fields}))

    return change


def other_size(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "n_embd": 64}))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage_weights, "cannot be loaded"),
        (change_card(version=99), "expected version 1"),
        (change_card(kind="quantiser"), "expected the card of a sequence model, got 'quantiser'"),
        (change_card(length="four"), "mistakes"),
        (change_card(prompts={}), "lacks or mistakes"),
        (other_size, "its weights lack"),
        (lambda folder: (folder / "card.json").unlink(), "no trained sequence model"),
        (lambda folder: (folder / "card.json").write_text('{"kind":'), "cannot be read"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
    ],
)
def test_a_broken_model_is_one_clear_line(model, tmp_path, harm, said):
    model.save(tmp_path)
    harm(tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        SequenceModel.load(tmp_path)
    assert "\n" not in str(caught.value)


# -- other models to begin with --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def seq2seq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of random weights with the tokenizer of the tiny chat model."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    folder = build(tmp_path_factory.mktemp("t5") / "model")
    for file in folder.glob("*.safetensors"):
        file.unlink()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=640, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_decoder_layers=1, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, dropout_rate=0.0,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def learned(folder: Path, base: Base, *, epochs: int = 120, rate: float = 1e-2) -> SequenceModel:
    return trained(folder, replace(TINY, base=base, epochs=epochs, learning_rate=rate))


def test_a_causal_model_is_tuned_whole(tiny_model, tmp_path):
    made = learned(tmp_path, Base(str(tiny_model), offline=True))
    assert counts_up(made.sample(200, temperature=0.5, seed=0)) > 0.9
    assert filled(made) > 0.3  # by chance, one first code in seven goes with the known one
    assert made.sample(500, temperature=100.0, seed=0).max() == CODES - 1
    loaded = SequenceModel.load(tmp_path)
    assert (loaded.sample(20, seed=1) == made.sample(20, seed=1)).all()


def test_an_encoder_and_decoder_are_tuned_whole(seq2seq, tmp_path):
    made = learned(tmp_path, Base(str(seq2seq), offline=True))
    assert counts_up(made.sample(200, temperature=0.5, seed=0)) > 0.9
    assert filled(made) > 0.3  # by chance, one first code in seven goes with the known one
    assert made.loss(counting()) == pytest.approx(math.log(CODES) / LENGTH, abs=0.1)
    loaded = SequenceModel.load(tmp_path)
    assert (loaded.sample(20, seed=1) == made.sample(20, seed=1)).all()


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_low_rank_updates_leave_a_plain_model_behind(kind, request, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed")
    folder = request.getfixturevalue("tiny_model" if kind == "causal" else "seq2seq")
    made = learned(tmp_path, Base(str(folder), lora=True, offline=True), epochs=200, rate=15e-3)
    assert not any("lora" in name for name in made.model.state_dict())
    assert counts_up(made.sample(200, temperature=0.3, seed=0)) > 0.8
    loaded = SequenceModel.load(tmp_path)
    assert (loaded.sample(20, seed=1) == made.sample(20, seed=1)).all()


def test_a_killed_training_by_low_rank_updates_goes_on_to_the_very_same_model(tiny_model, tmp_path):
    pytest.importorskip("peft", reason="peft is not installed")
    settings = replace(SHORT, base=Base(str(tiny_model), lora=True, offline=True))
    whole = trained(tmp_path / "whole", settings)

    def killer(done: int, total: int, loss: float) -> None:
        if done > total // 2:
            raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "killed", settings, progress=killer)
    resumed = trained(tmp_path / "killed", settings)
    for name, weight in whole.model.state_dict().items():
        assert (weight == resumed.model.state_dict()[name]).all(), name


def test_low_rank_updates_train_few_weights(tiny_model):
    pytest.importorskip("peft", reason="peft is not installed")
    made, _ = load_base(Base(str(tiny_model), lora=True, offline=True), CODES, LENGTH, free=None)
    still = {name for name, weight in made.named_parameters() if not weight.requires_grad}
    assert any("embed_tokens" in name for name in still)
    assert any("q_proj.base_layer" in name for name in still)


def test_low_rank_updates_without_their_package_name_the_command(tiny_model, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "nas_agent.agents.generators.arch_llm.bases.find_spec", lambda name: None if name == "peft" else real(name)
    )
    with pytest.raises(MissingExtra, match=r"pip install 'nas-agent\[generator\]'"):
        load_base(Base(str(tiny_model), lora=True), CODES, LENGTH, free=None)


def test_a_base_that_does_not_fit_in_memory_is_refused_before_it_is_read(tiny_model, tmp_path):
    folder = tmp_path / "huge"
    folder.mkdir()
    for file in tiny_model.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    huge = {"hidden_size": 8192, "intermediate_size": 65536, "num_hidden_layers": 200, "head_dim": 2048}
    (folder / "config.json").write_text(json.dumps({**config, **huge}))
    with pytest.raises(ModelError, match=r"million weights takes about [\d.]+ GB of memory, 8.0 GB are free"):
        load_base(Base(str(folder), offline=True), CODES, LENGTH, free=8_000_000_000)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")]
)
def test_memory_that_runs_out_later_is_one_line_and_other_errors_stay(error):
    with pytest.raises(ModelError, match="out of memory: choose a smaller --base"), memory_told():
        raise error
    with pytest.raises(RuntimeError, match="shapes"), memory_told():
        raise RuntimeError("shapes do not fit")


def test_low_rank_updates_need_less_memory(tiny_model):
    pytest.importorskip("peft", reason="peft is not installed")
    load_base(Base(str(tiny_model), lora=True, offline=True), CODES, LENGTH, free=300_000)
    with pytest.raises(ModelError, match="or --lora"):
        load_base(Base(str(tiny_model), offline=True), CODES, LENGTH, free=300_000)


def test_a_base_that_reads_too_little_is_refused(tiny_model):
    with pytest.raises(ModelError, match="a sequence takes"):
        load_base(Base(str(tiny_model), offline=True), CODES, 20_000, free=None)


@pytest.mark.parametrize(
    ("source", "said"), [("no/such/folder/at/all", "there is no folder"), ("", "expected hf:FOLDER")]
)
def test_a_base_that_is_not_there_is_one_clear_line(source, said):
    with pytest.raises(NasAgentError, match=said):
        load_base(Base(source, offline=True), CODES, LENGTH, free=None)


# -- metrics and the plain way ---------------------------------------------------------------------------


def test_metrics_count_canonical_graphs():
    first, second, third = trained_on("nb201", 3, seed=0)
    found = measure([first, first, second, third, None], {second.id})
    assert found == Metrics(drawn=5, valid=4, distinct=3, novel=2)
    assert found.validity == 4 / 5
    assert found.uniqueness == 3 / 4
    assert found.novelty == 2 / 3
    assert (found.absolute_uniqueness, found.absolute_novelty) == (3 / 5, 2 / 5)


def test_isomorphic_spellings_are_one():
    space = load_space("nb201")
    cell = "|{}~0|+|none~0|none~1|+|{}~0|skip_connect~1|none~2|"  # two branches of equal rank
    pairs = (("nor_conv_3x3", "avg_pool_3x3"), ("avg_pool_3x3", "nor_conv_3x3"))
    spellings = [space.canonical(space.parse(cell.format(*pair))) for pair in pairs]
    assert spellings[0].text == spellings[1].text
    assert measure(spellings, set()).distinct == 1


def test_nothing_valid_has_no_uniqueness_but_absolute_ones():
    found = measure([None, None], set())
    assert (found.validity, found.absolute_uniqueness, found.absolute_novelty) == (0.0, 0.0, 0.0)
    assert math.isnan(found.uniqueness)
    assert math.isnan(found.novelty)


def test_the_ceiling_is_that_of_the_issue():
    unique, novel = ceiling(423_624, 42_362, 10_000)
    assert (round(unique, 3), round(novel, 3)) == (0.988, 0.889)
    assert round(ceiling(6_466, 3_233, 1_000)[0], 2) == 0.93
    assert ceiling(1, 0, 1) == (1.0, 1.0)


@pytest.mark.parametrize("name", ["nb201", "nb101", "darts"])
def test_own_tokens_come_back_as_the_same_architecture(name):
    space, tokens = load_space(name), OwnTokens(name)
    drawn = [space.sample(Random(seed)) for seed in range(20)]
    sequences = tokens.encode(drawn)
    assert sequences.shape == (20, tokens.length)
    assert sequences.max() < tokens.codes
    assert [one and one.id for one in tokens.decode(sequences)] == [one.id for one in drawn]


def test_own_tokens_that_mean_nothing_are_none():
    tokens = OwnTokens("nb101")
    nothing = np.zeros((2, tokens.length), dtype=np.int64)  # no edge at all
    nothing[1] = tokens.codes - 1  # an option that edges do not have
    assert tokens.decode(nothing) == [None, None]


def test_a_space_without_decisions_has_no_own_tokens():
    with pytest.raises(ConfigError, match="no decisions"):
        OwnTokens("einspace")


def test_a_training_set_has_an_end():
    assert [one.id for one in trained_on("nb201", 5, 1)] == [one.id for one in trained_on("nb201", None, 1)][:5]
    with pytest.raises(ConfigError, match="at most 3,233"):
        trained_on("nb201", 4_000, 1)


def test_prompts_say_what_is_open():
    prompts = own_prompts(5)
    assert prompts.unconditional(2).tolist() == [[0], [0]]
    assert prompts.partial(np.array([[4, OPEN]])).tolist() == [[1, 7, 8, 2]]
    assert prompts.size == 9
