"""NAS-Bench-101: the space, its table, its embedded benchmark."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_agent import Search
from nas_agent.agents.generators.base import Brief
from nas_agent.agents.generators.evolve import Evolve
from nas_agent.bench.baselines import Evolution, LocalSearch, RandomSearch, Tpe
from nas_agent.bench.methods import Problem
from nas_agent.errors import DataError, InvalidArchitecture
from nas_agent.records import Architecture, Measured
from nas_agent.spaces import load_space, try_build
from nas_agent.spaces.nasbench101 import ABSENT, CLASSES, EDGES, LABELS, MOST_EDGES, PRESENT, VERTICES, NasBench101
from nas_agent.spaces.nasbench101_graph import Cell, colours, digest, prune
from nas_agent.tools.benchmarks.nb101 import BENCHMARKS, CIFAR10, FILE, embedded_nb101, load_nb101
from nas_agent.tools.evaluators.embedded import held_out
from nas_agent.tools.tables import BenchmarkTable
from tests.contracts import SpaceContract

SPACE = NasBench101()
DATA = os.environ.get("NAS_AGENT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="needs NAS_AGENT_DATA, the folder of benchmark tables")
# A cell like a residual block: two convolutions around a third, and the input added at the end.
RESIDUAL = "conv1x1-bn-relu(0)|conv3x3-bn-relu(1)|conv1x1-bn-relu(2)|none()|none()|output(0+3)"


class TestNasBench101(SpaceContract):
    @pytest.fixture
    def space(self) -> NasBench101:
        return SPACE


def text_of(cell: Cell, order: tuple[int, ...], places: tuple[int, ...]) -> str:
    """Write a cell with its inner vertices in another order at these places of the seven."""
    place = {0: 0, **dict(zip(order, places, strict=True))}
    vertices = dict.fromkeys(range(1, VERTICES - 1), ("none", ""))
    for vertex in order:
        sources = "+".join(str(place[start]) for start in cell.sources[vertex - 1])
        vertices[place[vertex]] = (LABELS[cell.labels[vertex - 1]], sources)
    output = "+".join(str(place[start]) for start in cell.sources[-1])
    return "|".join([*(f"{name}({sources})" for name, sources in vertices.values()), f"output({output})"])


def orders(cell: Cell) -> Iterator[tuple[int, ...]]:
    """Yield the orders of the inner vertices in which each comes after those it reads."""
    for order in permutations(range(1, cell.vertices - 1)):
        if all(order.index(s) < order.index(v) for v in order for s in cell.sources[v - 1] if s):
            yield order


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_relabelled_cells_have_one_id_and_one_representative(seed: int, data: st.DataObject) -> None:
    architecture = SPACE.sample(Random(seed))
    cell = SPACE.cell(architecture)
    order = data.draw(st.sampled_from(list(orders(cell))))
    inner = cell.vertices - 2
    places = data.draw(st.permutations(range(1, VERTICES - 1)).map(lambda drawn: tuple(sorted(drawn[:inner]))))
    other = SPACE.parse(text_of(cell, order, places))
    assert other.id == architecture.id
    assert NasBench101().canonical(other) == architecture
    assert SPACE.canonical(architecture) == architecture
    assert len({SPACE.parameters(architecture), SPACE.parameters(other)}) == 1 or len(cell.sources[-1]) >= 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_dead_vertices_change_nothing(seed: int) -> None:
    rng = Random(seed)
    architecture = SPACE.sample(rng)
    choices = SPACE.choices(architecture)
    for vertex in range(1, VERTICES - 1):
        if choices[f"op_{vertex}"] == "none":  # reached, but leading nowhere
            choices |= {f"op_{vertex}": rng.choice(LABELS), f"edge_0_{vertex}": PRESENT}
    assert NasBench101().canonical(SPACE.build(choices)) == architecture


def test_nothing_passes_a_vertex_that_is_left_out() -> None:
    assert SPACE.canonical(SPACE.parse("maxpool3x3(0)|none(0+1)|none()|none()|none()|output(0+2)")).text == (
        "none()|none()|none()|none()|none()|output(0)"
    )


def test_symmetric_vertices_of_other_surroundings_get_one_order() -> None:
    """Five equal vertices side by side, and one of them twice as deep: many orders, one representative."""
    wide = "|".join(["conv3x3-bn-relu(0)"] * 4 + ["none()"])
    assert SPACE.canonical(SPACE.parse(f"{wide}|output(1+2+3+4)")).text == f"{wide}|output(1+2+3+4)"
    ids = {
        SPACE.canonical(SPACE.parse(f"{'|'.join(['conv3x3-bn-relu(0)'] * 3)}|maxpool3x3({v})|none()|output({rest}+4)"))
        for v, rest in ((1, "2+3"), (2, "1+3"), (3, "1+2"))
    }
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("none()|none()|none()|none()|none()|output()", "expected a path"),
        ("maxpool3x3(0)|none()|none()|none()|none()|output()", "expected a path"),
        ("maxpool3x3()|none()|none()|none()|none()|output(1)", "expected a path"),
        ("none(0)|none()|none()|none()|none()|output(1)", "expected a path"),
        (
            "maxpool3x3(0)|maxpool3x3(0+1)|maxpool3x3(0+1+2)|maxpool3x3(0+3)|none()|output(1+4)",
            "expected at most 9 edges on paths from input to output, got 10",
        ),
        ("maxpool3x3(1)|none()|none()|none()|none()|output(1)", "expected vertex 1 to read distinct vertices before"),
        ("maxpool3x3(0+0)|none()|none()|none()|none()|output(1)", "expected vertex 1 to read distinct"),
        ("maxpool5x5(0)|none()|none()|none()|none()|output(1)", "unknown option 'maxpool5x5'.*choose from none, conv"),
        ("maxpool3x3(0)|none()|none()|none()|output(1)", "expected a cell written as"),
        ("maxpool3x3(9)|none()|none()|none()|none()|output(1)", "expected vertex 1"),
        ("maxpool3x3(" + "9" * 5000 + ")|none()|none()|none()|none()|output(1)", "expected a cell written as"),
        ("maxpool3x3(0)|none()|none()|none()|none()|result(1)", "expected a cell written as"),
    ],
)
def test_what_is_no_cell_is_refused_in_one_line_with_advice(text: str, message: str) -> None:
    with pytest.raises(InvalidArchitecture, match=message) as caught:
        SPACE.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_samples_have_as_many_vertices_as_the_cells_of_the_space() -> None:
    rng = Random(0)
    drawn = [SPACE.sample(rng) for _ in range(1000)]
    assert len({architecture.id for architecture in drawn}) > 990
    cells = [SPACE.cell(architecture) for architecture in drawn]
    assert all(1 <= cell.edges <= MOST_EDGES for cell in cells)
    seven = sum(cell.vertices == 7 for cell in cells) / 1000
    assert abs(seven - 359_082 / 423_624) < 0.04
    assert {label for cell in cells for label in cell.labels} == {0, 1, 2}


def test_the_smallest_cells_are_as_many_as_are_drawn_by() -> None:
    """All matrices of up to four vertices, by brute force."""
    for vertices, expected in zip((2, 3, 4), CLASSES, strict=False):
        inside = [edge for edge in EDGES if edge[1] < vertices]
        found = set()
        for bits in range(1 << len(inside)):
            present = [edge for place, edge in enumerate(inside) if bits >> place & 1]
            for names in product(LABELS, repeat=vertices - 2):
                sources = tuple(tuple(s for s, e in present if e == end) for end in range(1, vertices))
                cell = prune(tuple(LABELS.index(name) for name in names), sources)
                if cell is not None and cell.vertices == vertices:
                    found.add(digest(colours(cell)))
        assert len(found) == expected


def test_a_single_edge_is_a_cell_and_a_projection() -> None:
    import torch

    edge = SPACE.parse("none()|none()|none()|none()|none()|output(0)")
    assert "return self.project_1(x0)" in SPACE.source(edge)
    assert SPACE.network(edge, classes=4, width=8)(torch.zeros(2, 3, 8, 8)).shape == (2, 4)


@pytest.mark.parametrize("seed", range(6))
def test_the_network_the_source_and_the_count_agree(seed: int) -> None:
    """Width 9 is divided unevenly among two outputs, so that truncation is tried too."""
    import torch

    architecture = SPACE.sample(Random(seed))
    width = max(9, len(SPACE.cell(architecture).sources[-1]))
    network = SPACE.network(architecture, classes=7, in_channels=3, width=width)
    names: dict[str, Any] = {}
    exec(SPACE.module_source(architecture, classes=7), names)  # the file that a run writes as best.py
    written = names["Network"](width=width)
    count = SPACE.parameters(architecture, classes=7, width=width)
    for module in (network, written):
        assert sum(p.numel() for p in module.parameters()) == count
        logits = module(torch.randn(2, 3, 32, 32))
        logits.sum().backward()
        assert logits.shape == (2, 7)
        assert torch.isfinite(logits).all()
        assert all(p.grad is not None for p in module.parameters())
    shapes = sorted(tuple(p.shape) for p in network.parameters())
    assert shapes == sorted(tuple(p.shape) for p in written.parameters())


def test_the_source_of_the_residual_cell_reads_like_one() -> None:
    source = SPACE.source(SPACE.parse(RESIDUAL))
    assert source.endswith("return x3 + self.project_4(x0)")
    assert "self.op_2 = ConvBNReLU(C, C, kernel_size=3)" in source


def test_the_graph_splits_each_vertex_into_an_edge() -> None:
    graph = SPACE.graph(SPACE.parse(RESIDUAL))
    assert (graph.nodes, len(graph.edges)) == (12, 26)
    live = [edge for edge, alive in zip(graph.edges, graph.live(), strict=True) if alive]
    assert {(e.start, e.end): e.operation for e in live if e.operation != "wire"} == {
        (1, 2): "conv1x1-bn-relu",
        (3, 4): "conv3x3-bn-relu",
        (5, 6): "conv1x1-bn-relu",
    }
    assert {(e.start, e.end) for e in live if e.operation == "wire"} == {
        (0, 1),
        (2, 3),
        (4, 5),
        (6, 11),
        (0, 11),
    }


def test_features_count_what_follows_what() -> None:
    features = SPACE.features(SPACE.parse(RESIDUAL))
    pairs = features["pairs"].reshape(5, 5)  # conv3x3, conv1x1, maxpool, input, output
    assert {(int(a), int(b)): pairs[a, b] for a, b in zip(*np.nonzero(pairs), strict=True)} == {
        (0, 1): 1,
        (1, 0): 1,
        (1, 4): 1,
        (3, 1): 1,
        (3, 4): 1,
    }
    assert features["triples"].reshape(5, 5, 5)[1, 0, 1] == 1
    assert features["triples"].sum() == 3


def test_decisions_say_what_they_are_about() -> None:
    roles = [decision.role for decision in SPACE.decisions]
    assert roles == ["input"] * 21 + ["operation"] * 5
    known = {operation.name for operation in SPACE.operations}
    assert all(set(d.options) <= known for d in SPACE.decisions if d.role == "operation")
    assert load_space("nb101").name == "nb101"


# -- searching where not all choices go together ------------------------------------------------------


def test_choices_that_are_no_cell_build_nothing() -> None:
    choices = SPACE.choices(SPACE.parse(RESIDUAL))
    assert try_build(SPACE, choices) == SPACE.canonical(SPACE.parse(RESIDUAL))
    assert try_build(SPACE, {**choices, "edge_0_1": ABSENT, "edge_0_6": ABSENT}) is None


def test_the_generator_proposes_cells_only_and_fills_its_round() -> None:
    rng = Random(1)
    elites = [(SPACE.sample(rng), float(-place)) for place in range(20)]
    brief = Brief(SPACE, tuple(elites), frozenset(a.id for a, _ in elites), None, None, False)
    proposals = Evolve().propose(brief, rng)
    assert len(proposals) >= 100
    assert {"mutation", "crossover", "sample"} <= {proposal.author for proposal in proposals}
    assert all(SPACE.canonical(proposal.architecture) == proposal.architecture for proposal in proposals)


def worth(architecture: Architecture) -> float:
    return float(sum(label == 0 for label in SPACE.cell(architecture).labels))


class Counting:
    """Scores a cell by its 3x3 convolutions; for some cells only, where `pool` is given."""

    name = "counting"
    provenance = "measured"
    fidelity = "as counted"

    def __init__(self, pool: list[Architecture] | None) -> None:
        self._pool = pool

    def pool(self) -> list[Architecture] | None:
        return self._pool

    def evaluate(self, architecture: Architecture, *, seed: int) -> Measured:
        return Measured(architecture, worth(architecture), self.fidelity, 0.0, seed, self.name)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("method", [RandomSearch(), Evolution(), LocalSearch(), Tpe()], ids=lambda m: type(m).__name__)
def test_every_baseline_searches_the_space(method: Any, listed: bool) -> None:
    rng = Random(2)
    pool = list({a.id: a for a in (SPACE.sample(rng) for _ in range(300))}.values()) if listed else None
    trace = method.run(Problem(SPACE, CIFAR10, Counting(pool)), seed=0, budget=30)
    assert len(trace.values) == 30


# -- the embedded benchmark -----------------------------------------------------------------------------


def test_the_embedded_benchmark_answers_for_every_cell_without_data() -> None:
    evaluation = embedded_nb101(NasBench101(), CIFAR10, "as asked")
    assert evaluation.evaluator.pool() is None
    assert "predicted, not measured" in evaluation.note
    residual = SPACE.parse(RESIDUAL)
    outcome = evaluation.evaluator.evaluate(residual, seed=0)
    assert isinstance(outcome, Measured)
    assert (outcome.provenance, outcome.fidelity) == ("predicted", "108 epochs")
    assert 85.0 < outcome.value < 96.0
    pooled = SPACE.parse("maxpool3x3(0)|maxpool3x3(1)|none()|none()|none()|output(2)")
    worse = evaluation.evaluator.evaluate(pooled, seed=0)
    assert isinstance(worse, Measured)
    assert worse.value < outcome.value
    test = evaluation.test_split.open(residual, seed=0)
    assert test.value is None
    assert "no test accuracy" in test.note


def test_isomorphic_cells_are_predicted_alike() -> None:
    evaluator = embedded_nb101(NasBench101(), CIFAR10, "as asked").evaluator
    rng = Random(3)
    for _ in range(20):
        architecture = SPACE.sample(rng)
        cell = SPACE.cell(architecture)
        other = SPACE.parse(text_of(cell, list(orders(cell))[-1], tuple(range(1, cell.vertices - 1))))
        values = [evaluator.evaluate(a, seed=0) for a in (architecture, other)]
        assert len({outcome.value for outcome in values if isinstance(outcome, Measured)}) == 1


def test_a_search_with_the_embedded_benchmark_beats_random_draws_of_its_size() -> None:
    space = NasBench101()
    evaluation = embedded_nb101(space, CIFAR10, "as asked")
    result = Search(CIFAR10, space=space, evaluation=evaluation, budget=30, seed=1).run()
    rng = Random(5)
    drawn = [evaluation.evaluator.evaluate(space.sample(rng), seed=0) for _ in range(300)]
    ranked = sorted(outcome.value for outcome in drawn if isinstance(outcome, Measured))
    assert len(result.curve) == 30
    assert result.curve[-1] > ranked[-4]  # better than 99 % of what chance draws


# -- the table ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(Path(str(DATA)) / FILE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def table() -> BenchmarkTable:
    return load_nb101(Path(str(DATA)) / FILE, CIFAR10, SPACE)


@needs_data
def test_every_key_of_the_table_is_ours(arrays: dict[str, np.ndarray], table: BenchmarkTable) -> None:
    keys = [SPACE.canonical_key(tuple(SPACE.choices(member).values())) for member in table.pool()]
    assert keys == [bytes(key).hex() for key in arrays["key"]]
    assert table.rows == len(table.pool()) == len(set(keys)) == 20_001


@needs_data
def test_parameters_are_the_tables_up_to_the_order_of_vertices(table: BenchmarkTable) -> None:
    differing = []
    for row in table.members():
        ours = SPACE.parameters(row.architecture)
        if ours != row.params:
            differing.append(row.architecture)
            assert row.params is not None
            assert abs(ours / row.params - 1.0) < 0.02
    # Only channels that three or five vertices divide unevenly depend on the order.
    assert all(len([v for v in SPACE.cell(a).sources[-1] if v]) in (3, 5) for a in differing)
    assert len(differing) < 0.06 * table.rows


@needs_data
@pytest.mark.parametrize(("epochs", "best"), [(None, 94.912), (108, 94.912), (36, 93.640), (12, 87.790), (4, 72.256)])
def test_the_table_holds_four_training_lengths(epochs: int | None, best: float) -> None:
    loaded = load_nb101(Path(str(DATA)) / FILE, CIFAR10, SPACE, epochs)
    assert loaded.optimum() == pytest.approx(best, abs=1e-3)
    row = loaded.row(loaded.pool()[0])
    assert row is not None
    assert row.test is None
    assert loaded.fidelity == f"{epochs or 108} epochs"
    assert loaded.simulated is (epochs in (None, 108))


@needs_data
def test_the_embedded_benchmark_ranks_held_out_cells_as_its_card_says(table: BenchmarkTable) -> None:
    from scipy.stats import kendalltau

    evaluator = embedded_nb101(SPACE, CIFAR10, "as asked").evaluator
    kept = [row for row in table.members() if held_out(row.architecture)][:600]
    guesses = [evaluator.evaluate(row.architecture, seed=0) for row in kept]
    values = [outcome.value for outcome in guesses if isinstance(outcome, Measured)]
    assert kendalltau(values, [row.value for row in kept]).statistic > 0.85


@pytest.fixture
def small() -> dict[str, np.ndarray]:
    """Two cells as the file holds them: one edge of two vertices, one convolution of three."""
    return {
        "n_vertices": np.array([2, 3], np.uint8),
        "edges": np.array([0b1, 0b1 | 1 << EDGES.index((1, 2))], np.uint32),
        "ops": np.array([[255] * 5, [0, 255, 255, 255, 255]], np.uint8),
        "op_names": np.array(LABELS),
        "val_108": np.array([0.5, 0.9], np.float32),
        "params": np.array([1, 2], np.int32),
    }


def test_smaller_cells_keep_their_output(tmp_path: Path, small: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / FILE, **small)  # type: ignore[arg-type]
    loaded = load_nb101(tmp_path / FILE, CIFAR10, SPACE)
    assert [member.text for member in loaded.pool()] == [
        "none()|none()|none()|none()|none()|output(0)",
        "conv3x3-bn-relu(0)|none()|none()|none()|none()|output(1)",
    ]
    assert loaded.optimum() == pytest.approx(90.0)
    assert BENCHMARKS[0].epochs[0] == 108


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_vertices", np.array([2, 8]), "row 1 expects 2 to 7 vertices"),
        ("n_vertices", np.array([2, 0]), "row 1 expects 2 to 7 vertices"),
        ("n_vertices", np.array([2.0, 3.0]), "expected one whole number a row"),
        ("edges", np.array([1, 0b11]), "row 0 and row 1 are the same architecture"),
        ("edges", np.array([1, 0b1]), "does not fit space 'nb101': expected a path"),
        ("edges", np.array([1, 1 << 20]), "row 1 expects 2 to 7 vertices and edges among them"),
        ("edges", np.array([1]), "expected one whole number a row"),
        ("ops", np.full((2, 5), 255, np.uint8), "'ops' must hold 26 indices"),
        ("n_vertices", np.array(3), "expected one whole number a row"),
        ("op_names", np.array(3), "expected a row of texts in 'op_names'"),
        ("params", np.array(["1", "2"]), "'params' must hold one number for each"),
        ("val_108", np.array(["a", "b"]), "'val' must hold one number for each"),
        ("val_108", np.array([0.5j, 0.9]), "'val' must hold one number for each"),
        ("val_108", np.array([0.5]), "one number for each of 2 rows"),
        ("val_108", None, "expected the array 'val_108'"),
        ("val_108", np.array([50.0, 90.0]), "'val_108' as fractions of 1, got values from 50 to 90; copy"),
        ("val_108", np.array([-0.1, 0.9]), "'val_108' as fractions of 1, got values from -0.1"),
    ],
)
def test_a_damaged_table_is_one_clear_line(
    tmp_path: Path, small: dict[str, np.ndarray], name: str, value: np.ndarray | None, message: str
) -> None:
    changed = {key: array for key, array in small.items() if key != name}
    np.savez(tmp_path / FILE, **(changed if value is None else {**changed, name: value}))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message) as caught:
        load_nb101(tmp_path / FILE, CIFAR10, SPACE)
    assert "\n" not in str(caught.value)
