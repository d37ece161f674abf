from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nas_agent.errors import ConfigError, MissingExtra, ModelError
from nas_agent.tools.embeddings import EmbeddingOptions, make_embedder
from nas_agent.tools.embeddings.transformer import batched
from tests.loopback import Body, Said, Server, server
from tests.tiny_model import tiny_model

__all__ = ["server", "tiny_model"]

TEXTS = ["class Cell(nn.Module): pass", "x", "def forward(self, x):\n    return self.edge1(x) + self.edge2(x)\n", "x"]
PLAIN = EmbeddingOptions(dtype="float32", device="cpu")


def options(**changes: object) -> EmbeddingOptions:
    return EmbeddingOptions(**{"dtype": "float32", "device": "cpu", **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def encoder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights, 3 layers of width 16, 64 positions, with marks at both ends of a text."""
    import torch
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("encoder") / "model"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    marks = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer.backend_tokenizer.post_processor = marks
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32}
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.5, **shape)
    BertModel(config).save_pretrained(folder)
    return folder


def states(folder: Path, text: str) -> np.ndarray:
    """(layers + 1, tokens, width), by transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.inference_mode():
        out = AutoModel.from_pretrained(folder)(
            input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], output_hidden_states=True
        )
    return torch.stack(out.hidden_states)[:, 0].numpy()


# -- models in this process --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", lambda layers: layers[-1].mean(axis=0)),
        ("auto", lambda layers: layers[-1].mean(axis=0)),
        ("last-token", lambda layers: layers[-1][-1]),
        ("cls", lambda layers: layers[-1][0]),
        ("mean-layers", lambda layers: layers[1:].mean(axis=(0, 1))),
        ("every-2", lambda layers: np.concatenate([layers[1].mean(axis=0), layers[3].mean(axis=0)])),
    ],
)
def test_pooling_reads_the_states_it_names(encoder: Path, pooling: str, expected: object) -> None:
    embedder = make_embedder(f"hf:{encoder}", options(pooling=pooling))
    vectors = embedder.embed(TEXTS)
    assert vectors.shape == (4, embedder.dimension)
    for text, vector in zip(TEXTS, vectors, strict=True):
        assert np.allclose(vector, expected(states(encoder, text)), atol=1e-5)  # type: ignore[operator]


def test_echo_reads_the_text_twice_and_pools_the_second_copy(encoder: Path) -> None:
    text = "class Cell: pass\n"  # the line's end keeps the copies' tokens apart
    vector = make_embedder(f"hf:{encoder}", options(pooling="echo")).embed([text])[0]
    layers = states(encoder, text * 2)
    copy = (layers.shape[1] - 2) // 2
    assert np.allclose(vector, layers[-1][1 + copy : 1 + 2 * copy].mean(axis=0), atol=1e-5)


def test_a_decoder_is_read_too_and_its_language_head_is_not_missed(tiny_model: Path) -> None:
    vectors = make_embedder(f"hf:{tiny_model}", options(pooling="last-token")).embed(TEXTS)
    assert np.allclose(vectors[0], states(tiny_model, TEXTS[0])[-1][-1], atol=1e-5)
    assert np.array_equal(vectors[1], vectors[3])


def test_of_an_encoder_decoder_the_encoder_is_read(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    shape = {"d_model": 16, "d_ff": 32, "d_kv": 4, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4}
    config = T5Config(vocab_size=len(tokenizer), decoder_start_token_id=0, **shape)
    model = T5ForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    tokens = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    expected = model.get_encoder()(input_ids=tokens).last_hidden_state[0].mean(dim=0).detach().numpy()
    embedder = make_embedder(f"hf:{tmp_path}", options())
    assert np.allclose(embedder.embed(TEXTS[:1])[0], expected, atol=1e-5)
    layered = make_embedder(f"hf:{tmp_path}", options(pooling="every-2"))
    assert layered.embed(TEXTS).shape == (4, layered.dimension) == (4, 16)


def test_a_vector_does_not_depend_on_its_company_nor_on_threads(encoder: Path) -> None:
    import torch

    threads = torch.get_num_threads()
    texts = [f"self.edge{number} = nn.Conv2d({'C, ' * (number % 7)}3)" for number in range(40)]
    embedder = make_embedder(f"hf:{encoder}", PLAIN)
    alone = np.concatenate([embedder.embed([text]) for text in texts])
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            assert np.array_equal(embedder.embed(texts[::-1])[::-1], alone)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


def test_batches_change_vectors_by_rounding_only(encoder: Path) -> None:
    texts = [f"self.edge{number} = nn.Conv2d({'C, ' * (number % 7)}3)" for number in range(40)]
    alone = make_embedder(f"hf:{encoder}", PLAIN).embed(texts)
    assert np.allclose(make_embedder(f"hf:{encoder}", options(batch=8)).embed(texts), alone, atol=1e-5)


def test_batches_hold_texts_of_one_length_or_of_near_ones() -> None:
    lengths = [3, 9, 3, 5, 9, 3, 4]
    assert batched(lengths, 2, alike=True) == [[1, 4], [3], [6], [0, 2], [5]]
    assert batched(lengths, 3, alike=False) == [[1, 4, 3], [6, 0, 2], [5]]


def test_padding_changes_nothing_where_lengths_differ(encoder: Path) -> None:
    """What a GPU gets, computed on the CPU: a padded batch."""
    import torch

    from nas_agent.tools.embeddings.transformer import TransformerEmbedder

    embedder = TransformerEmbedder(f"hf:{encoder}", PLAIN)
    tokenizer, network = embedder._load()
    tokens = embedder._tokenise(tokenizer, TEXTS[:3])
    for pad in (0, 5):
        with torch.inference_mode():
            padded = embedder._forward(network, tokens, pad)
        assert np.allclose(padded, embedder.embed(TEXTS[:3]), atol=1e-5)


@pytest.mark.parametrize(("dtype", "near"), [("bfloat16", 0.99), ("int8", 0.9), ("float16", 0.99)])
def test_number_formats_are_near_float32_and_have_names_of_their_own(encoder: Path, dtype: str, near: float) -> None:
    exact = make_embedder(f"hf:{encoder}", PLAIN)
    rounded = make_embedder(f"hf:{encoder}", options(dtype=dtype))
    one, other = exact.embed(TEXTS), rounded.embed(TEXTS)
    assert not np.array_equal(one, other)
    cosine = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.min() > near
    assert rounded.name == f"{exact.name}/{dtype}"


def test_int8_is_refused_where_it_is_not_built() -> None:
    from nas_agent.tools.embeddings.loading import number_format

    with pytest.raises(ConfigError, match="int8 is built for the CPU"):
        number_format("hf:x/y", "int8", "cuda")


def test_whatever_changes_vectors_changes_the_name(encoder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    other = shutil.copytree(encoder, tmp_path / encoder.name)
    weights = load_file(other / "model.safetensors")
    weights["encoder.layer.2.output.dense.bias"] += 1
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    named = [
        make_embedder(spec, options(**changes)).name
        for spec, changes in [
            (f"hf:{encoder}", {}),
            (f"hf:{other}", {}),
            (f"random:hf:{encoder}", {}),
            (f"random:hf:{encoder}", {"seed": 1}),
            (f"hf:{encoder}", {"pooling": "echo"}),
            (f"hf:{encoder}", {"max_tokens": 32}),
        ]
    ]
    assert len(set(named)) == len(named)
    assert make_embedder(f"hf:{encoder}", options(seed=1, batch=4)).name == named[0]


def test_random_weights_follow_from_the_seed_and_leave_chance_elsewhere_alone(encoder: Path) -> None:
    import torch

    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first = make_embedder(f"random:hf:{encoder}", options(seed=3)).embed(TEXTS)
    assert torch.equal(torch.rand(1), expected)
    make_embedder(f"hf:{encoder}", PLAIN).embed(TEXTS)  # another model is loaded in between
    assert np.array_equal(make_embedder(f"random:hf:{encoder}", options(seed=3)).embed(TEXTS), first)
    assert not np.array_equal(make_embedder(f"random:hf:{encoder}", options(seed=4)).embed(TEXTS), first)


@pytest.mark.parametrize("pooling", ["mean", "echo"])
def test_a_text_over_the_limit_is_cut_counted_and_said(
    encoder: Path, pooling: str, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = make_embedder(f"hf:{encoder}", options(pooling=pooling))
    long = "zq" * 100
    vectors = embedder.embed([long, "short", long + "zq", long])
    assert np.array_equal(vectors[0], vectors[2])
    assert set(embedder.truncated) == {long, long + "zq"}
    assert "2 of 3 texts are longer than 64 tokens" in caplog.text


# -- sentence-transformers ---------------------------------------------------------------------------


def sentence_model(encoder: Path, folder: Path, pooling: dict[str, object], *more: str) -> Path:
    import shutil

    shutil.copytree(encoder, folder)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *((f"{n}_{kind}", kind) for n, kind in enumerate(more, 2))]
    listed = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 20}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    return folder


@pytest.mark.parametrize(
    "pooling", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, {"pooling_mode": "cls"}]
)
def test_a_sentence_models_own_pooling_limit_and_length_are_respected(
    encoder: Path, tmp_path: Path, pooling: dict[str, object]
) -> None:
    folder = sentence_model(encoder, tmp_path / "model", pooling, "Normalize")
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"code": "code: "}, "default_prompt_name": "code"})
    )
    embedder = make_embedder(f"hf:{folder}", PLAIN)
    vector = embedder.embed(["x = 1"])[0]
    expected = states(encoder, "code: x = 1")[-1][0]
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
    assert "/cls/20" in embedder.name
    assert "/mean/64" in make_embedder(f"hf:{folder}", options(pooling="mean", max_tokens=64)).name


def test_a_sentence_model_with_other_modules_is_refused_by_name(encoder: Path, tmp_path: Path) -> None:
    folder = sentence_model(encoder, tmp_path / "model", {"pooling_mode": "mean"}, "Dense")
    with pytest.raises(ModelError, match="asks for Dense, which is not built here"):
        make_embedder(f"hf:{folder}", PLAIN).embed(["x"])
    folder = sentence_model(encoder, tmp_path / "other", {"pooling_mode": "weightedmean"})
    with pytest.raises(ModelError, match=r"its own pooling, weightedmean, .* --pooling mean"):
        make_embedder(f"hf:{folder}", PLAIN).embed(["x"])
    (folder / "modules.json").write_text('{"no": "list"}')
    with pytest.raises(ModelError, match=r"modules\.json or a file that it names cannot be understood"):
        make_embedder(f"hf:{folder}", PLAIN).embed(["x"])


# -- bad input ---------------------------------------------------------------------------------------


def test_a_model_without_a_tokenizer_is_one_line(encoder: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("config.json", "model.safetensors"):
        shutil.copy(encoder / name, tmp_path)
    with pytest.raises(ModelError, match="the model folder has no tokenizer"):
        make_embedder(f"hf:{tmp_path}", PLAIN).embed(["x"])


def test_a_model_without_weights_or_with_half_a_file_of_them_is_one_line(encoder: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(encoder, tmp_path / "model")
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        make_embedder(f"hf:{folder}", PLAIN).embed(["x"])
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be loaded"):
        make_embedder(f"hf:{folder}", PLAIN).embed(["x"])


def test_weights_that_lack_a_tensor_are_refused_and_not_drawn_at_random(encoder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(encoder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 tensors, encoder\.layer\.1\.output\.dense\.weight among them"):
        make_embedder(f"hf:{folder}", PLAIN).embed(["x"])


def test_nan_is_an_error_that_names_text_and_model_and_is_never_cached(encoder: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(encoder, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["encoder.layer.2.output.LayerNorm.bias"][3] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    embedder = make_embedder(f"hf:{folder}", PLAIN, cache=tmp_path / "cache")
    with pytest.raises(ModelError, match=r"model/.* NaN .* begins with 'class Cell"):
        embedder.embed(TEXTS[:1])
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("spec", ["minilm", "hf", "random:tfidf", "random:openai:x", "", "http://x#y"])
def test_an_unknown_embedder_names_those_that_there_are(spec: str) -> None:
    with pytest.raises(ConfigError, match="all-minilm, hf:REPO_OR_PATH, openai:MODEL, tfidf"):
        make_embedder(spec)


def test_a_folder_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ModelError, match=r"--embedder hf:no-such: expected hf:FOLDER .* there is no folder 'no-such'"):
        make_embedder("hf:no-such").embed(["x"])


def test_offline_a_repository_that_is_not_cached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"no network is asked .* download it first: hf download nobody/nothing"):
        make_embedder("hf:nobody/nothing", options(offline=True)).embed(["x"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"pooling": "max"},
        {"pooling": "every-1"},
        {"pooling": "every-x"},
        {"dtype": "int4"},
        {"batch": 0},
        {"device": "tpu"},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        options(**wrong)


def test_a_limit_beyond_the_models_positions_is_refused(encoder: Path) -> None:
    with pytest.raises(ConfigError, match="reads 64 tokens at most; max_tokens is 100"):
        make_embedder(f"hf:{encoder}", options(max_tokens=100)).embed(["x"])
    with pytest.raises(ConfigError, match="reads 512 tokens at most"):
        make_embedder("all-minilm", options(max_tokens=513)).embed(["x"])
    with pytest.raises(ModelError, match="2 tokens leave no room for a text"):
        make_embedder(f"hf:{encoder}", options(max_tokens=2)).embed(["x"])


def test_a_text_of_no_tokens_is_refused_where_a_model_marks_no_ends(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="has no token for the text ''"):
        make_embedder(f"hf:{tiny_model}", PLAIN).embed(["x", ""])


# -- counts ------------------------------------------------------------------------------------------


def test_word_counts_count_words_and_pairs() -> None:
    embedder = make_embedder("tfidf")
    vectors = embedder.embed(["a b a b", "a", "b a", ""])
    assert embedder.counts
    assert vectors.shape == (4, embedder.dimension)
    assert sorted(vectors[0][vectors[0] > 0]) == [1, 2, 2, 2]  # b-a; a, b, a-b
    assert vectors[2].sum() == 3
    assert not vectors[3].any()
    assert np.array_equal(embedder.embed(["b a"])[0], vectors[2])


def test_character_sequences_tell_the_order_of_words() -> None:
    embedder = make_embedder("char-ngrams")
    vectors = embedder.embed(["conv pool skip", "conv  pool\n skip", "skip pool conv"])
    assert np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[0], vectors[2])
    assert vectors[0].sum() == 12 + 11 + 10


# -- a service ---------------------------------------------------------------------------------------


def embeddings(body: Body) -> Said:
    rows = [{"object": "embedding", "index": at, "embedding": [len(t), at, 1.0]} for at, t in enumerate(body["input"])]
    reply = {
        "object": "list",
        "model": body["model"],
        "data": rows[::-1],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    return Said(raw=json.dumps(reply).encode())


@pytest.fixture
def service(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.script = [embeddings]
    return server


def test_a_service_is_asked_in_batches_and_answers_in_any_order(service: Server, tmp_path: Path) -> None:
    embedder = make_embedder("openai:tiny", EmbeddingOptions(batch=2), cache=tmp_path)
    vectors = embedder.embed(["a", "bb", "ccc", "a"])
    assert vectors[:, 0].tolist() == [1, 2, 3, 1]
    assert [body["input"] for body in service.asked] == [["a", "bb"], ["ccc"]]
    assert service.keys == ["Bearer sk-secret"] * 2
    assert embedder.dimension == 3
    assert service.url in embedder.name
    assert "secret" not in embedder.name
    asked = len(service.asked)
    assert np.array_equal(make_embedder("openai:tiny", cache=tmp_path).embed(["ccc", "bb"]), vectors[[2, 1]])
    assert len(service.asked) == asked


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Said(status=401, text="wrong key"), "gave no embedding: .*wrong key"),
        (Said(status=400, text="maximum context length is 8192 tokens"), "gave no embedding: .*8192 tokens"),
        (Said(raw=b'{"data": []}'), "asked for 1 embeddings and sent 0"),
        (Said(raw=b'{"data": [{"index": 0, "embedding": [1.0, NaN]}]}'), "NaN .* begins with 'x'"),
        (Said(raw=b"<html>no</html>"), "sent no embeddings|gave no embedding"),
    ],
)
def test_a_service_that_fails_is_one_line(service: Server, said: Said, told: str) -> None:
    service.script = [said]
    with pytest.raises(ModelError, match=told) as caught:
        make_embedder("openai:tiny").embed(["x"])
    assert "\n" not in str(caught.value)


def test_a_service_needs_a_key_and_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    for wrong, told in [
        ({"offline": True}, "--offline"),
        ({"pooling": "echo"}, "are the service's"),
        ({"max_tokens": 5}, "are the service's"),
    ]:
        with pytest.raises(ConfigError, match=told):
            make_embedder("openai:tiny", EmbeddingOptions(**wrong))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected openai:MODEL"):
        make_embedder("openai:")
    assert make_embedder("openai:text-embedding-3-large").dimension == 3072
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        make_embedder("openai:tiny")


def test_a_missing_client_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setitem(__import__("sys").modules, "openai", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=r"pip install 'nas-agent\[openai\]'"):
        make_embedder("openai:tiny").embed(["x"])


# -- all-minilm --------------------------------------------------------------------------------------


def test_the_fast_minilm_and_the_exact_one_never_share_vectors() -> None:
    exact = make_embedder("all-minilm", PLAIN)
    assert exact.name == "all-MiniLM-L6-v2/53aa5117/mean/512"  # memories and packaged vectors hold this name
    assert make_embedder("all-minilm", options(dtype="bfloat16")).name == f"{exact.name}/bfloat16"
    assert make_embedder("random:all-minilm", PLAIN).name == f"random-0:{exact.name}"
    assert make_embedder("all-minilm", options(pooling="every-2")).dimension == 3 * 384


@pytest.mark.slow
def test_bfloat16_is_the_model_to_four_digits() -> None:
    one = make_embedder("all-minilm", PLAIN).embed(TEXTS)
    other = make_embedder("all-minilm", options(dtype="bfloat16")).embed(TEXTS)
    assert (one * other).sum(axis=1).min() > 0.999
