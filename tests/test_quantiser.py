"""Arch-LLM's quantiser: architectures as arrays, the auto-encoder's training, its folder; all cells of nb101."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from nas_agent.agents.generators.arch_llm.autoencoder import Batch, Bottleneck
from nas_agent.agents.generators.arch_llm.cells import SPACES, Codec, Graphs, codec_of
from nas_agent.agents.generators.arch_llm.fitting import FitSettings
from nas_agent.agents.generators.arch_llm.generator import QUANTISER, shipped
from nas_agent.agents.generators.arch_llm.model_files import CARD, TRAINING, WEIGHTS
from nas_agent.agents.generators.arch_llm.quantiser import CodeUse, Quantiser, QuantiserSettings, train_quantiser
from nas_agent.agents.generators.arch_llm.training_set import spelled, training_set
from nas_agent.errors import ConfigError, DataError, MissingExtra
from nas_agent.records import Architecture
from nas_agent.spaces import try_build
from nas_agent.spaces.nasbench101 import CLASSES, NasBench101
from nas_agent.spaces.nasbench101_enumeration import all_cells, draw_cells

TINY = QuantiserSettings(bits=4, fit=FitSettings(epochs=30, batch=32, rate=1e-2), width=24)


def drawn(codec: Codec, count: int, seed: int = 0) -> list[Architecture]:
    """Architectures of all kinds: half as the space samples, half uniform over decisions, which reaches odd ones."""
    rng, found = Random(seed), dict[str, Architecture]()
    while len(found) < count:
        choices = {decision.name: rng.choice(decision.options) for decision in codec.space.decisions}
        one = codec.space.sample(rng) if rng.random() < 0.5 else try_build(codec.space, choices)
        if one is not None:
            found[one.id] = one
    return list(found.values())


@pytest.fixture(scope="module")
def cells() -> list[Architecture]:
    return drawn(codec_of("nb201"), 500)


@pytest.fixture(scope="module")
def trained(cells: list[Architecture], tmp_path_factory: pytest.TempPathFactory) -> tuple[Quantiser, Path]:
    folder = tmp_path_factory.mktemp("quantiser")
    return train_quantiser("nb201", cells[:200], settings=TINY, held_out=cells[200:], folder=folder), folder


# -- architectures as arrays ----------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES)
def test_graphs_give_back_the_architectures_they_were_made_from(space: str) -> None:
    codec = codec_of(space)
    found = drawn(codec, 300)
    assert codec_of(space).decode(codec.encode(found)) == found


@pytest.mark.parametrize("space", SPACES)
def test_a_layout_holds_as_many_decisions_as_its_space(space: str) -> None:
    codec = codec_of(space)
    layout = codec.layout
    inputs = layout.choices or layout.open_edges
    assert len(inputs) + len(layout.operated) == len(codec.space.decisions)
    assert all(0 <= start < layout.vertices and 0 <= end < layout.vertices for start, end in layout.open_edges)
    assert not set(layout.open_edges) & set(layout.fixed_edges)


def test_isomorphic_cells_become_the_same_graph() -> None:
    codec = codec_of("nb101")
    first = codec.space.parse("conv3x3-bn-relu(0)|maxpool3x3(0)|none()|none()|none()|output(1+2)")
    second = codec.space.parse("maxpool3x3(0)|none()|conv3x3-bn-relu(0)|none()|none()|output(1+3)")
    assert codec.encode([first]).same(codec.encode([second])).all()


def test_a_graph_in_another_labelling_is_decoded_to_the_canonical_architecture() -> None:
    codec = codec_of("nb101")
    canonical = codec.space.canonical(
        codec.space.parse("conv1x1-bn-relu(0)|maxpool3x3(0)|none()|none()|none()|output(1+2)")
    )
    graph = codec.encode([canonical])
    swapped = Graphs(graph.edges, graph.operations[:, [1, 0, 2, 3, 4]])
    assert not graph.same(swapped).any()
    assert codec.decode(swapped) == [canonical]


def test_a_cell_without_a_path_to_its_output_is_no_architecture() -> None:
    codec = codec_of("nb101")
    graph = codec.encode(drawn(codec, 2))
    graph.edges[0, :] = False
    assert [found is None for found in codec.decode(graph)] == [True, False]


def test_a_darts_pair_that_reads_two_inputs_or_none_is_no_architecture() -> None:
    codec = codec_of("darts")
    graph = codec.encode(drawn(codec, 3))
    first, end = codec.layout.choices[5]
    graph.edges[0, first:end] = True
    graph.edges[1, first:end] = False
    assert [found is None for found in codec.decode(graph)] == [True, True, False]


def test_other_spaces_are_refused_with_those_that_are_there() -> None:
    with pytest.raises(ConfigError, match="nb201, nb101, darts, not for space 'einspace'"):
        codec_of("einspace")


# -- all cells of NAS-Bench-101 ---------------------------------------------------------------------------


def test_the_cells_of_nasbench101_are_those_that_its_hash_counts() -> None:
    cells = all_cells()
    assert len(cells) == 423_624
    assert tuple(np.unique(cells[:, 0], return_counts=True)[1].tolist()) == CLASSES


def test_drawn_cells_are_distinct_canonical_and_a_matter_of_the_seed() -> None:
    space = NasBench101()
    found = draw_cells(space, 2_000, Random(3))
    assert len({cell.id for cell in found}) == 2_000
    assert all(space.canonical(cell) == cell for cell in found)
    assert found[:9] == draw_cells(NasBench101(), 2_000, Random(3))[:9] != draw_cells(space, 9, Random(4))


def test_no_two_small_cells_have_the_same_hash() -> None:
    space = NasBench101()
    small = int((all_cells()[:, 0] <= 5).sum())
    # Whoever draws all places in turn has every cell of at most five vertices.
    taken = draw_cells(space, small, _InTurn())
    assert len({cell.id for cell in taken}) == small == 2_532
    assert all(space.cell(cell).vertices <= 5 for cell in taken)


class _InTurn(Random):
    def sample(self, population: range, k: int) -> list[int]:  # type: ignore[override]
        return list(population)[:k]


def test_half_of_nasbench201_is_trained_on_and_the_other_half_held_out() -> None:
    found = training_set("nb201", seed=1)
    train, held_out = ({cell.id for cell in part} for part in (found.train, found.held_out))
    assert (len(train), len(held_out), len(train & held_out)) == (3_233, 3_233, 0)
    assert found != training_set("nb201", seed=2)
    training_set.cache_clear()
    assert found == training_set("nb201", seed=1)


def test_darts_codebook_learns_from_cells_that_are_never_sampled_and_the_language_model_does_not() -> None:
    space = codec_of("darts").space
    odd = spelled(space, 200, Random(0))
    assert odd == [space.canonical(one) for one in odd]
    assert sum("none(0)" in one.text for one in odd) > 150
    assert any("skip_connect(1)+sep_conv_3x3(1)" in one.text for one in spelled(space, 2_000, Random(1)))
    assert "none" not in "".join(space.sample(Random(seed)).text for seed in range(50))


def test_the_shipped_codebook_of_darts_brings_back_cells_without_inputs_and_with_one_input_twice() -> None:
    quantiser = Quantiser.load(shipped("darts") / QUANTISER, space="darts")
    assert quantiser.reconstruction(spelled(quantiser.codec.space, 500, Random("test"))) > 0.99


# -- training ---------------------------------------------------------------------------------------------


def test_training_makes_reconstruction_perfect_even_of_cells_that_were_held_out(
    trained: tuple[Quantiser, Path], cells: list[Architecture]
) -> None:
    quantiser, _ = trained
    barely = train_quantiser("nb201", cells[:200], settings=replace(TINY, fit=FitSettings(1, 200, 1e-4)))
    assert barely.reconstruction(cells) < 0.1
    assert quantiser.reconstruction(cells) == 1.0
    assert quantiser.decode(quantiser.encode(cells)) == cells
    assert quantiser.about["held-out reconstruction"] == 1.0
    assert (quantiser.about["trained on"], quantiser.about["held out"]) == (200, 300)


def test_what_is_trained_gives_the_indices_that_the_library_gave_in_training(
    trained: tuple[Quantiser, Path], cells: list[Architecture]
) -> None:
    quantiser, _ = trained
    model, batch = quantiser.model, Batch.of(quantiser.codec.encode(cells))
    model.train()
    try:
        with torch.no_grad():
            vectors, indices, _ = model.bottleneck(model.encoder(batch))
    finally:
        model.eval()
    assert np.array_equal(indices.numpy(), quantiser.encode(cells))
    assert torch.equal(model.bottleneck.lookup(indices), vectors)


def test_different_cells_have_different_sequences_of_the_codes_there_are(
    trained: tuple[Quantiser, Path], cells: list[Architecture]
) -> None:
    quantiser, _ = trained
    sequences = quantiser.encode(cells)
    assert (sequences.dtype, sequences.shape, quantiser.codes) == (np.int64, (500, quantiser.length), 16)
    assert sequences.min() >= 0
    assert sequences.max() < 16
    assert len(np.unique(sequences, axis=0)) == 500


def test_any_sequence_decodes_to_a_canonical_architecture_or_to_none(trained: tuple[Quantiser, Path]) -> None:
    quantiser, _ = trained
    sequences = np.random.default_rng(0).integers(0, quantiser.codes, (300, quantiser.length))
    found = quantiser.decode(sequences)
    assert all(
        one is not None and quantiser.codec.space.canonical(one) == one for one in found
    )  # in nb201 all are valid
    assert quantiser.decode(sequences[:0]) == []


def test_sequences_of_another_length_or_with_unknown_codes_are_refused(trained: tuple[Quantiser, Path]) -> None:
    quantiser, _ = trained
    with pytest.raises(ValueError, match="sequences of 6 indices"):
        quantiser.decode(np.zeros((2, 5), dtype=np.int64))
    with pytest.raises(ValueError, match="indices from 0 to 15, got 0 to 16"):
        quantiser.decode(np.array([[0, 1, 2, 3, 4, 16]]))


def test_a_space_with_fewer_graphs_than_codes_is_learned_and_the_card_says_how_few_are_used(
    cells: list[Architecture],
) -> None:
    few = cells[:9]
    quantiser = train_quantiser("nb201", few, settings=replace(TINY, bits=12, fit=FitSettings(epochs=150, rate=1e-2)))
    assert quantiser.reconstruction(few) == 1.0
    assert quantiser.codes == 4096
    assert 5 <= quantiser.about["codes used"] <= 9 * 6
    assert 1.0 < quantiser.about["perplexity"] <= quantiser.about["codes used"]


def test_perplexity_counts_equally_likely_codes() -> None:
    assert CodeUse.of(np.array([[0, 3], [3, 0]]), 8) == CodeUse(used=2, perplexity=pytest.approx(2.0))


def test_a_tiny_quantiser_of_nasbench101_and_darts_learns() -> None:
    for space in ("nb101", "darts"):
        found = drawn(codec_of(space), 20)
        settings = QuantiserSettings(bits=10, fit=FitSettings(epochs=150, batch=20, rate=1e-2), width=32)
        quantiser = train_quantiser(space, found, settings=settings)
        assert quantiser.reconstruction(found) >= 0.9, space


def test_training_leaves_the_global_chance_alone(cells: list[Architecture]) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train_quantiser("nb201", cells[:20], settings=replace(TINY, fit=FitSettings(2)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_bottleneck_that_cannot_look_its_indices_up_is_refused_when_it_is_made() -> None:
    class Half(Bottleneck):
        def forward(self, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            return vectors, vectors, vectors

    with pytest.raises(TypeError, match="lookup"):
        Half()  # type: ignore[abstract]


def test_nothing_to_train_on_is_said(cells: list[Architecture]) -> None:
    with pytest.raises(ConfigError, match="at least one architecture"):
        train_quantiser("nb201", [])
    with pytest.raises(ConfigError, match="1 to 16 bits"):
        replace(TINY, bits=0)
    with pytest.raises(ConfigError, match="epochs and batch of at least 1"):
        FitSettings(0)
    with pytest.raises(ConfigError, match=r"the loss became nan in pass .*; lower the rate"):
        train_quantiser("nb201", cells[:50], settings=replace(TINY, fit=FitSettings(20, 10, 1e30)))


def test_without_the_library_training_says_what_to_install_and_a_trained_one_still_works(
    trained: tuple[Quantiser, Path], cells: list[Architecture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'nas-agent\[generator\]'"):
        train_quantiser("nb201", cells, settings=TINY)
    assert Quantiser.load(trained[1]).decode(trained[0].encode(cells)) == cells


# -- the folder --------------------------------------------------------------------------------------------


def test_a_loaded_quantiser_is_the_one_that_was_saved(
    trained: tuple[Quantiser, Path], cells: list[Architecture]
) -> None:
    quantiser, folder = trained
    loaded = Quantiser.load(folder, space="nb201")
    assert np.array_equal(loaded.encode(cells), quantiser.encode(cells))
    assert (loaded.settings, loaded.about, loaded.space) == (quantiser.settings, quantiser.about, "nb201")
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]
    card = json.loads((folder / CARD).read_text())
    assert (card["about"]["codes"], card["about"]["length"]) == (16, 6)
    assert card["about"]["codes used"] >= 5


def copied(folder: Path, target: Path) -> Path:
    for name in (CARD, WEIGHTS):
        (target / name).write_bytes((folder / name).read_bytes())
    return target


def changed(folder: Path, **values: object) -> None:
    path = folder / CARD
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_quantiser_of_another_space_version_or_kind_is_refused(
    trained: tuple[Quantiser, Path], tmp_path: Path
) -> None:
    folder = copied(trained[1], tmp_path)
    with pytest.raises(DataError, match="expected a quantiser of space 'darts', got one of 'nb201'"):
        Quantiser.load(folder, space="darts")
    changed(folder, version=99)
    with pytest.raises(DataError, match="expected version 1 of a quantiser, got 99; train it anew"):
        Quantiser.load(folder)
    changed(folder, kind="language model")
    with pytest.raises(DataError, match="expected the card of a quantiser, got 'language model'"):
        Quantiser.load(folder)


def test_damaged_files_are_one_clear_line(trained: tuple[Quantiser, Path], tmp_path: Path) -> None:
    folder = copied(trained[1], tmp_path)
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"got 1,000 other bytes \(cut off"):
        Quantiser.load(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(DataError, match="the weights cannot be read"):
        Quantiser.load(folder)
    (folder / WEIGHTS).write_bytes(whole)
    settings = json.loads((folder / CARD).read_text())["settings"]
    changed(folder, settings={**settings, "width": 48})
    with pytest.raises(DataError, match="card and weights do not fit"):
        Quantiser.load(folder)
    (folder / CARD).write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Quantiser.load(folder)
    (folder / CARD).unlink()
    with pytest.raises(DataError, match="there is no trained quantiser"):
        Quantiser.load(folder)


# -- a training that was killed -----------------------------------------------------------------------------


def stop_after(passes: int) -> object:
    def progress(done: int, _: int, __: float) -> None:
        if done == passes:
            raise KeyboardInterrupt

    return progress


SHORT = replace(TINY, fit=FitSettings(epochs=6, batch=32))


def test_a_killed_training_goes_on_to_the_same_weights(cells: list[Architecture], tmp_path: Path) -> None:
    whole = train_quantiser("nb201", cells[:100], settings=SHORT, seed=2)
    with pytest.raises(KeyboardInterrupt):
        train_quantiser("nb201", cells[:100], settings=SHORT, seed=2, folder=tmp_path, progress=stop_after(4))  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == [TRAINING]
    passes: list[int] = []
    resumed = train_quantiser(
        "nb201", cells[:100], settings=SHORT, seed=2, folder=tmp_path, progress=lambda done, *_: passes.append(done)
    )
    assert passes == [5, 6]
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
    assert resumed.about == whole.about
    assert not (tmp_path / TRAINING).exists()


def test_a_finished_training_is_not_done_again_and_no_other_one_takes_its_folder(
    cells: list[Architecture], tmp_path: Path
) -> None:
    train_quantiser("nb201", cells[:50], settings=SHORT, folder=tmp_path)
    again = train_quantiser("nb201", cells[:50], settings=SHORT, folder=tmp_path, progress=stop_after(1))  # type: ignore[arg-type]
    assert again.about["trained on"] == 50
    with pytest.raises(ConfigError, match="other graphs, settings or seed already; choose another folder"):
        train_quantiser("nb201", cells[:51], settings=SHORT, folder=tmp_path)


def test_a_begun_training_is_not_mixed_with_another_and_a_damaged_one_is_said(
    cells: list[Architecture], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_quantiser("nb201", cells[:50], settings=SHORT, folder=tmp_path, progress=stop_after(2))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got one of other graphs, settings or seed; delete the file"):
        train_quantiser("nb201", cells[:50], settings=SHORT, seed=1, folder=tmp_path)
    begun = tmp_path / TRAINING
    begun.write_bytes(begun.read_bytes()[:500])
    with pytest.raises(DataError, match=r"the training cannot go on .* delete the file"):
        train_quantiser("nb201", cells[:50], settings=SHORT, folder=tmp_path)
