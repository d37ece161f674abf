"""What a learned codebook is compared with: a Gaussian auto-encoder, vertices numbered by hand, and the table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from nas_agent.agents.generators.arch_llm.autoencoder import Batch
from nas_agent.agents.generators.arch_llm.cells import SPACES, codec_of
from nas_agent.agents.generators.arch_llm.fitting import FitSettings
from nas_agent.agents.generators.arch_llm.gaussian import GaussianGenerator, GaussianSettings, train_gaussian
from nas_agent.agents.generators.arch_llm.generator import load, train
from nas_agent.agents.generators.arch_llm.model_files import CARD, TRAINING, WEIGHTS
from nas_agent.agents.generators.arch_llm.quantiser import Quantiser
from nas_agent.agents.generators.arch_llm.sequences import OwnTokens, VertexTokens
from nas_agent.agents.generators.arch_llm.training import LanguageSettings
from nas_agent.bench.generator_baselines import Draw, Method, Trained, compare, sheets
from nas_agent.errors import ConfigError, DataError
from nas_agent.records import Architecture
from nas_agent.spaces import load_space, try_build

TINY = GaussianSettings(FitSettings(epochs=40, batch=32, rate=5e-3), latent=8, beta=0.05, width=24, hidden=32)
SHORT = replace(TINY, fit=FitSettings(epochs=6, batch=32), warm=20)


def drawn(space: str, count: int, seed: int = 0) -> list[Architecture]:
    """Half as the space samples, half uniform over decisions, which reaches odd ones."""
    made, rng, found = codec_of(space).space, Random(seed), dict[str, Architecture]()
    while len(found) < count:
        choices = {decision.name: rng.choice(decision.options) for decision in made.decisions}
        one = made.sample(rng) if rng.random() < 0.5 else try_build(made, choices)
        if one is not None:
            found[one.id] = one
    return list(found.values())


@pytest.fixture(scope="module")
def cells() -> list[Architecture]:
    return drawn("nb201", 300)


@pytest.fixture(scope="module")
def trained(cells: list[Architecture], tmp_path_factory: pytest.TempPathFactory) -> tuple[GaussianGenerator, Path]:
    folder = tmp_path_factory.mktemp("gaussian")
    return train_gaussian("nb201", cells[:200], settings=TINY, held_out=cells[200:], folder=folder), folder


# -- the Gaussian auto-encoder ------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [True, False])
def test_it_learns_to_give_cells_back_that_it_has_not_seen(cells: list[Architecture], whole: bool) -> None:
    made = train_gaussian("nb201", cells[:200], settings=replace(TINY, whole=whole))
    barely = train_gaussian("nb201", cells[:200], settings=replace(TINY, whole=whole, fit=FitSettings(1, 200, 1e-4)))
    assert barely.reconstruction(cells[200:]) < 0.1
    assert made.reconstruction(cells[200:]) > 0.4


def test_draws_are_canonical_architectures_of_the_codec_and_a_matter_of_the_seed(
    trained: tuple[GaussianGenerator, Path],
) -> None:
    made, _ = trained
    found = made.sample(200, seed=1)
    space = load_space("nb201")
    assert all(one is not None and space.canonical(one) == one for one in found)
    assert found == made.sample(200, seed=1) != made.sample(200, seed=2)
    latent = torch.randn((200, 1, 8), generator=torch.Generator().manual_seed(1))
    assert found == codec_of("nb201").decode(made.model.graphs(latent))
    assert made.sample(0, seed=1) == []


def test_a_narrow_latent_gives_fewer_different_cells(trained: tuple[GaussianGenerator, Path]) -> None:
    made, _ = trained
    narrow, wide = ({one.id for one in made.sample(300, temperature=at, seed=0) if one} for at in (0.1, 1.0))
    assert len(narrow) < len(wide) / 2
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="expected a number above 0"):
            made.sample(1, temperature=wrong, seed=0)


def test_the_divergence_is_that_of_the_textbook_rises_and_leaves_free_nats_alone(cells: list[Architecture]) -> None:
    def asked(**changed: float) -> list[float]:
        made = train_gaussian("nb201", cells[:64], settings=replace(SHORT, warm=4, beta=1.0, fit=FitSettings(1, 64)))
        bottleneck = made.model.bottleneck
        bottleneck.settings = replace(bottleneck.settings, **changed)
        bottleneck.steps.zero_()
        with torch.no_grad():
            bottleneck.into.weight.zero_()
            bottleneck.into.bias[:8], bottleneck.into.bias[8:] = 3.0, float(np.log(4.0))  # N(3, 4) in each number
            made.model.train()
            batch = Batch.of(made.codec.encode(cells[:64]))
            return [float(made.model.bottleneck(made.model.encoder(batch))[2]) for _ in range(6)]

    one = (9 + 4 - 1 - np.log(4.0)) / 2
    assert asked() == pytest.approx([8 * one * share for share in (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)], rel=1e-5)
    assert asked(beta=0.5)[-1] == pytest.approx(4 * one, rel=1e-5)
    assert asked(free=100.0)[-1] == pytest.approx(800.0)


def test_a_weighty_divergence_costs_reconstruction(cells: list[Architecture]) -> None:
    heavy = train_gaussian("nb201", cells[:200], settings=replace(TINY, beta=10.0))
    assert heavy.reconstruction(cells) < 0.2


def test_a_killed_training_goes_on_to_the_same_weights(cells: list[Architecture], tmp_path: Path) -> None:
    def kill(done: int, _: int, __: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole = train_gaussian("nb201", cells[:100], settings=SHORT, seed=2)
    with pytest.raises(KeyboardInterrupt):
        train_gaussian("nb201", cells[:100], settings=SHORT, seed=2, folder=tmp_path, progress=kill)
    assert [path.name for path in tmp_path.iterdir()] == [TRAINING]
    with pytest.raises(ConfigError, match="got one of other graphs, settings or seed; delete the file"):
        train_gaussian("nb201", cells[:100], settings=SHORT, seed=3, folder=tmp_path)
    resumed = train_gaussian("nb201", cells[:100], settings=SHORT, seed=2, folder=tmp_path)
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
    assert expected["bottleneck.steps"] == 24


def test_a_loaded_one_draws_as_the_saved_one(trained: tuple[GaussianGenerator, Path]) -> None:
    made, folder = trained
    again = GaussianGenerator.load(folder, space="nb201")
    assert again.sample(50, seed=4) == made.sample(50, seed=4)
    assert (again.settings, again.about) == (made.settings, made.about)
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]


def test_a_finished_training_is_not_done_again_and_no_other_one_takes_its_folder(
    trained: tuple[GaussianGenerator, Path], cells: list[Architecture]
) -> None:
    made, folder = trained
    assert train_gaussian("nb201", cells[:200], settings=TINY, folder=folder).about == made.about
    with pytest.raises(ConfigError, match="other graphs, settings or seed already; choose another folder"):
        train_gaussian("nb201", cells[:199], settings=TINY, folder=folder)


def test_folders_of_another_space_or_kind_or_damaged_are_one_line(
    trained: tuple[GaussianGenerator, Path], tmp_path: Path
) -> None:
    _, folder = trained
    with pytest.raises(DataError, match="expected a Gaussian auto-encoder of space 'darts', got one of 'nb201'"):
        GaussianGenerator.load(folder, space="darts")
    with pytest.raises(DataError, match="expected the card of a quantiser, got 'Gaussian auto-encoder'"):
        Quantiser.load(folder)
    for name in (CARD, WEIGHTS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:900])
    with pytest.raises(DataError, match=r"got 900 other bytes \(cut off"):
        GaussianGenerator.load(tmp_path, space="nb201")
    (tmp_path / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    card = json.loads((folder / CARD).read_text())
    card["settings"]["latent"] = 9
    (tmp_path / CARD).write_text(json.dumps(card))
    with pytest.raises(DataError, match="card and weights do not fit"):
        GaussianGenerator.load(tmp_path, space="nb201")


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(ConfigError, match="sizes of at least 1"):
        replace(TINY, latent=0)
    with pytest.raises(ConfigError, match="no weight below 0"):
        replace(TINY, beta=-1.0)
    with pytest.raises(ConfigError, match="at least one architecture"):
        train_gaussian("nb201", [])


def test_where_one_input_of_several_is_read_the_likeliest_is() -> None:
    cells = drawn("darts", 30)
    made = train_gaussian("darts", cells, settings=replace(TINY, fit=FitSettings(2, 30), rounds=0))
    assert all(one is not None for one in made.sample(30, seed=0))
    assert not all(made.sample(30, seed=0, likeliest=False))  # by thresholds, hardly any


# -- tokens without a codebook ------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("made", [OwnTokens, VertexTokens])
def test_tokens_give_back_the_canonical_architectures(space: str, made: type[OwnTokens | VertexTokens]) -> None:
    tokens, found = made(space), drawn(space, 200)
    rows = tokens.encode(found)
    assert rows.shape == (200, tokens.length)
    assert 0 <= rows.min() <= rows.max() < tokens.codes
    assert len(np.unique(rows, axis=0)) == 200
    assert tokens.decode(rows) == found


def test_isomorphic_cells_have_the_same_tokens_edges_before_operations() -> None:
    space = load_space("nb101")
    first = space.parse("conv3x3-bn-relu(0)|maxpool3x3(0)|none()|none()|none()|output(1+2)")
    second = space.parse("maxpool3x3(0)|none()|conv3x3-bn-relu(0)|none()|none()|output(1+3)")
    for tokens in (OwnTokens("nb101"), VertexTokens("nb101")):
        one, other = tokens.encode([first, second])
        assert one.tolist() == other.tolist()
    written = OwnTokens("nb101").encode([first])[0]
    canonical = space.choices(space.canonical(first))
    assert [name[:2] for name in canonical] == ["ed"] * 21 + ["op"] * 5
    assert written[:21].sum() == 4
    assert sorted(written[21:].tolist()) == [0, 0, 0, 1, 3]


def test_a_vertex_is_one_code_of_what_it_reads_and_does() -> None:
    tokens = VertexTokens("nb101")
    assert (tokens.length, tokens.codes) == (6, 128)  # the fifth vertex: five edges, four operations
    assert (VertexTokens("darts").length, VertexTokens("darts").codes) == (
        16,
        40,
    )  # one of five inputs, of 8 operations
    assert (VertexTokens("nb201").length, VertexTokens("nb201").codes) == (6, 5)
    chain = "conv3x3-bn-relu(0)|maxpool3x3(1)|none()|none()|none()|output(1+2)"
    cell = load_space("nb101").canonical(load_space("nb101").parse(chain))
    changed = tokens.encode([cell])
    changed[0, 1] += 4 - 2 * (changed[0, 1] >= 8)  # another set of sources
    assert tokens.decode(changed) != [cell]


def test_a_code_that_a_vertex_has_not_is_no_architecture() -> None:
    tokens = VertexTokens("nb101")
    rows = np.repeat(tokens.encode(drawn("nb101", 1)), 2, axis=0)
    rows[0, 0] = 8  # the first vertex has one edge and four operations
    assert [one is None for one in tokens.decode(rows)] == [True, False]


@pytest.mark.parametrize("kind", ["tokens", "vertices"])
def test_a_generator_without_a_codebook_is_found_again_and_refused_for_another_space(kind: str, tmp_path: Path) -> None:
    settings = LanguageSettings(width=16, layers=1, heads=2, epochs=1, batch=50)
    made = train("nb201", tmp_path, kind=kind, count=100, settings=settings, seed=0, told=lambda *_: None)  # type: ignore[arg-type]
    again = load(tmp_path, "nb201")
    assert made.kind == again.kind == kind
    assert again.sample(20, seed=1).architectures == made.sample(20, seed=1).architectures
    with pytest.raises(DataError, match="expected a generator of space 'darts', got one of 'nb201'"):
        load(tmp_path, "darts")


# -- the table ----------------------------------------------------------------------------------------------

POOL = drawn("nb201", 60)


def fake(valid_at: dict[float, int], *, distinct: int) -> Draw:
    """Of ten draws, so many valid by temperature, the first `distinct` of POOL in turn; more in later samples."""

    def draw(count: int, temperature: float, seed: int) -> Sequence[Architecture | None]:
        valid = valid_at[temperature] * count // 10
        good: list[Architecture | None] = [POOL[place % (distinct + seed % 2)] for place in range(valid)]
        return [*good, *[None] * (count - valid)]

    return draw


def test_the_table_counts_each_method_at_the_temperature_that_is_best_for_it() -> None:
    known = {one.id for one in POOL[:5]}
    sure = Method("vq", [Trained(fake({0.5: 6, 1.0: 10}, distinct=10), known, weights=1_000, seconds=12.0)], (0.5, 1.0))
    poor = Method("vae", [Trained(fake({0.5: 8, 1.0: 4}, distinct=10), known, weights=2_000)], (0.5, 1.0))
    plain = Method("grammar", [Trained(fake({1.0: 10}, distinct=2), known)], (1.0,))
    found = compare(
        [sure, poor, plain], space="nb201", trained=5, drawn=10, samples=2, command="python x", told=lambda _: None
    )
    rows = found["methods"]
    assert [rows[name]["temperature"] for name in ("vq", "vae", "grammar")] == [1.0, 0.5, 1.0]
    assert rows["vq"]["metrics"]["absolute_uniqueness"]["values"] == [1.0, 1.0]
    assert rows["vq"]["metrics"]["absolute_novelty"]["mean"] == 0.5
    assert rows["vae"]["metrics"]["validity"]["mean"] == 0.8
    assert rows["grammar"]["metrics"]["absolute_uniqueness"]["values"] == pytest.approx([0.2, 0.3])
    against = {row["against"]: row for row in found["differences"]}
    assert against["vae"]["mean"] == pytest.approx(0.2)
    assert against["grammar"]["mean"] == pytest.approx(0.75)
    assert against["grammar"]["low"] < 0.75 < against["grammar"]["high"]
    table, differences = sheets(found)
    assert {len(row) for row in (table.header, *table.rows)} == {len(table.header)}
    assert table.rows[0][:6] == ("vq", "1", "1,000", "12", "1", "100.0 ±0.0")
    assert table.rows[-1][0] == "uniform over classes"
    assert differences.rows[0] == ("vae", "+20.00", "+20.00 to +20.00", "samples", "+8")
    assert differences.rows[1][0] == "grammar"
    assert differences.rows[1][-1] == "-"


def test_of_several_trainings_each_counts_once_whatever_the_number_of_samples() -> None:
    trainings = [Trained(fake({1.0: valid}, distinct=10), (), weights=1) for valid in (10, 8, 6)]
    other = Method("tokens", [Trained(fake({1.0: 6}, distinct=10), (), weights=1)] * 2, (1.0,))
    found = compare(
        [Method("vq", trainings, (1.0,)), other], space="darts", trained=5, drawn=10, samples=4, command="",
        told=lambda _: None,
    )  # fmt: skip
    assert found["methods"]["vq"]["metrics"]["validity"]["values"] == pytest.approx([1.0, 0.8, 0.6])
    assert found["methods"]["vq"]["metrics"]["validity"]["deviation"] == pytest.approx(0.2)
    assert (found["ceiling"], found["claim"]) == (None, None)
    assert sheets(found)[1].rows[0][3] == "trainings"


def test_temperatures_are_chosen_on_other_draws_than_those_that_count() -> None:
    asked: list[tuple[int, float, int]] = []

    def draw(count: int, temperature: float, seed: int) -> Sequence[Architecture | None]:
        asked.append((count, temperature, seed))
        return POOL[:count]

    method = Method("vq", [Trained(draw, ())], (0.5, 1.0))
    compare([method], space="nb201", trained=1, drawn=20, samples=2, command="", told=lambda _: None)
    choosing, counted = asked[:2], asked[2:]
    assert {(count, at) for count, at, _ in choosing} == {(20, 0.5), (20, 1.0)}
    assert counted == [(20, 0.5, 0), (20, 0.5, 1)]
    assert not {seed for *_, seed in choosing} & {seed for *_, seed in counted}
