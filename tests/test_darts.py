from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_agent import Search
from nas_agent.errors import DataError, InvalidArchitecture
from nas_agent.records import Architecture, Failed, Measured, Task
from nas_agent.spaces import load_space
from nas_agent.spaces.darts import HALF, Darts
from nas_agent.spaces.darts_cells import NAMES, NODES, NONE, Cell, canonical_cell, network_size
from nas_agent.tools.benchmarks.base import Benchmark
from nas_agent.tools.benchmarks.darts import BENCHMARKS, NB301, REDUCED, embedded_darts
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.embedded_darts import UNKNOWN_NODE, DartsRegressor
from nas_agent.tools.evaluators.table import TableEvaluator, TableTestSplit
from nas_agent.tools.tables import BenchmarkTable
from tests.contracts import SpaceContract, some_member

SPACE = Darts()
DATA = os.environ.get("NAS_AGENT_DATA")
needs_tables = pytest.mark.skipif(not DATA, reason="NAS_AGENT_DATA is not set: no benchmark tables here")
# What DARTS found (second order), as its authors' code prints it.
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)
REDUCE = "reduce=[skip_connect(0)+skip_connect(1), none(0)+none(1), none(0)+none(1), none(0)+none(1)]"
ACTING = tuple(name for name in NAMES if name != NONE)


class TestDarts(SpaceContract):
    @pytest.fixture
    def space(self) -> Darts:
        return SPACE


def with_normal(nodes: str) -> Architecture:
    return SPACE.parse(f"normal=[{nodes}] {REDUCE}")


def cells(operations: tuple[str, ...]) -> st.SearchStrategy[Cell]:
    pairs = [st.tuples(st.integers(0, node - 1), st.sampled_from(operations)) for node in NODES]
    return st.tuples(*(st.tuples(pair, pair) for pair in pairs))


def relabelled(cell: Cell, rng: Random) -> Cell:
    """Swap pairs and number the nodes in another order in which each node comes after what it reads."""
    nodes = dict(zip(NODES, cell, strict=True))
    number = {0: 0, 1: 1}
    while len(number) < 6:
        ready = [n for n in NODES if n not in number and all(start in number for start, _ in nodes[n])]
        number[rng.choice(ready)] = len(number)
    back = {new: old for old, new in number.items()}
    moved = [[(number[start], operation) for start, operation in nodes[back[new]]] for new in NODES]
    return tuple((b, a) if rng.random() < 0.5 else (a, b) for a, b in moved)


@given(cells(NAMES), st.randoms(use_true_random=False))
def test_swapped_pairs_and_renumbered_nodes_are_the_same_cell(cell: Cell, rng: Random) -> None:
    assert canonical_cell(relabelled(cell, rng)) == canonical_cell(cell)


@given(cells(NAMES))
def test_the_canonical_cell_stays_what_it_is(cell: Cell) -> None:
    assert canonical_cell(canonical_cell(cell)) == canonical_cell(cell)


@settings(max_examples=50)
@given(cells(ACTING))
def test_without_none_the_canonical_cell_is_the_first_of_all_spellings(cell: Cell) -> None:
    spellings = []
    for order in itertools.permutations(NODES):
        number = {0: 0, 1: 1, **dict(zip(order, NODES, strict=True))}
        pairs = [sorted((number[s], NAMES.index(o)) for s, o in cell[old - 2]) for old in order]
        if all(start < new for new, node in zip(NODES, pairs, strict=True) for start, _ in node):
            spellings.append(pairs)
    first = min(spellings)
    assert canonical_cell(cell) == tuple(tuple((s, NAMES[o]) for s, o in node) for node in first)


@given(cells(ACTING), st.integers(0, 3), st.integers(0, 1), st.sampled_from(ACTING))
def test_another_operation_is_another_cell(cell: Cell, node: int, place: int, operation: str) -> None:
    pairs = list(cell[node])
    pairs[place] = (pairs[place][0], operation)
    changed = (*cell[:node], (pairs[0], pairs[1]), *cell[node + 1 :])
    assert (canonical_cell(changed) == canonical_cell(cell)) == (changed == cell)


@pytest.mark.parametrize("seed", range(20))
def test_isomorphic_pairs_of_cells_have_one_id_and_one_representative(seed: int) -> None:
    rng = Random(seed)
    member = some_member(SPACE, rng)
    twins = [relabelled(cell, rng) for cell in SPACE.cells(member)]
    options = [text for cell in twins for node in cell for start, op in node for text in (str(start), op)]
    other = SPACE.build(dict(zip((d.name for d in SPACE.decisions), options, strict=True)))
    assert other.id == member.id
    assert SPACE.canonical(other) == SPACE.canonical(member)


def test_the_two_cells_are_not_exchanged() -> None:
    one = "sep_conv_3x3(0)+sep_conv_3x3(1), " + ", ".join(["skip_connect(0)+skip_connect(1)"] * 3)
    two = ", ".join(["skip_connect(0)+skip_connect(1)"] * 4)
    assert SPACE.parse(f"normal=[{one}] reduce=[{two}]").id != SPACE.parse(f"normal=[{two}] reduce=[{one}]").id


def test_what_reads_a_zero_node_is_zero_and_where_none_reads_means_nothing() -> None:
    rest = "skip_connect(0)+skip_connect(1), max_pool_3x3(0)+skip_connect(1)"
    silent = with_normal(f"none(0)+none(1), none(0)+none(1), {rest}")
    assert with_normal(f"none(1)+none(1), sep_conv_5x5(2)+none(2), {rest}").id == silent.id
    assert with_normal(f"none(1)+none(1), sep_conv_5x5(2)+skip_connect(1), {rest}").id != silent.id


def test_a_sample_is_what_darts_would_derive() -> None:
    rng = Random(0)
    for _ in range(100):
        for cell in SPACE.cells(SPACE.sample(rng)):
            assert all(first[0] != second[0] for first, second in cell)
            assert all(operation != NONE for node in cell for _, operation in node)


def test_any_combination_of_options_builds() -> None:
    rng = Random(1)
    for _ in range(200):
        member = some_member(SPACE, rng)
        assert SPACE.parse(member.text) == member


def test_the_genotype_of_darts_is_read_and_written() -> None:
    found = SPACE.parse(DARTS_V2)
    assert found.text.startswith("normal=[sep_conv_3x3(0)+sep_conv_3x3(1), sep_conv_3x3(0)+sep_conv_3x3(1), ")
    assert SPACE.parse(SPACE.genotype(found)) == found
    assert SPACE.genotype(found) == DARTS_V2.replace("[2, 3, 4, 5]", "range(2, 6)")


GOOD = "skip_connect(0)+skip_connect(1), none(0)+none(1), none(0)+none(1), none(0)+none(1)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"normal=[{GOOD}]", "expected two cells written as"),
        (f"{REDUCE} normal=[{GOOD}]", "expected two cells written as"),
        (f"normal=[{GOOD}] {REDUCE} and more", "expected two cells written as"),
        (f"normal=[{GOOD.replace('+', ', ')}] {REDUCE}", "expected two cells written as"),
        (DARTS_V2.replace("[2, 3, 4, 5]", "range(3, 6)"), "expected two cells written as"),
        (f"normal=[{GOOD.replace('skip_connect(0)', 'conv_9x9(0)')}] {REDUCE}", "unknown option 'conv_9x9' .* choose"),
        (f"normal=[{GOOD.replace('connect(0)', 'connect(2)')}] {REDUCE}", "unknown option '2' .* choose from 0, 1$"),
        ("none(0)" * 10_000, "expected two cells written as"),
    ],
)
def test_a_broken_architecture_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(InvalidArchitecture, match=message) as caught:
        SPACE.parse(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_space_is_found_by_its_name_and_says_what_each_decision_is_about() -> None:
    assert isinstance(load_space("darts"), Darts)
    roles = [decision.role for decision in SPACE.decisions]
    assert roles == ["input", "operation"] * HALF
    last = SPACE.decisions[-2]
    assert (last.name, last.options) == ("reduce_5_b_input", ("0", "1", "2", "3", "4"))
    assert last.meaning.startswith("the second input of node 5 of the reduction cell: 0 the output of the cell before")
    assert {option for d in SPACE.decisions if d.role == "operation" for option in d.options} == set(NAMES)


def test_the_size_is_the_published_one() -> None:
    # "param size = 3.349342MB" is what DARTS' own training prints for this cell, without the auxiliary head.
    assert SPACE.sizes(SPACE.parse(DARTS_V2))[0] == 3_349_342


@pytest.mark.parametrize("seed", range(4))
def test_network_and_stand_alone_module_compute_the_same_and_have_the_size_that_is_stated(seed: int) -> None:
    import torch

    rng = Random(seed)
    architecture = some_member(SPACE, rng) if seed % 2 else SPACE.sample(rng)
    scope: dict[str, Callable[..., torch.nn.Module]] = {}
    exec(compile(SPACE.module_source(architecture), "best.py", "exec"), scope)  # our own template
    assert sum(w.numel() for w in scope["Network"]().parameters()) == SPACE.sizes(architecture)[0]
    ours = SPACE.network(architecture, classes=10, in_channels=3, width=4).eval()
    theirs = scope["Network"](width=4, cells=5).eval()
    normal, reduction = SPACE.cells(architecture)
    assert sum(w.numel() for w in ours.parameters()) == network_size(normal, reduction, cells=5, width=4)[0]
    values = zip(theirs.state_dict(), ours.state_dict().values(), strict=True)
    theirs.load_state_dict(dict(values))
    for side in (32, 9):  # an odd side too: halves are rounded up
        images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(theirs(images), ours(images))


def test_a_network_through_which_nothing_passes_still_answers() -> None:
    import torch

    dead = SPACE.build({d.name: NONE if d.role == "operation" else "0" for d in SPACE.decisions})
    scope: dict[str, Callable[..., torch.nn.Module]] = {}
    exec(compile(SPACE.module_source(dead), "best.py", "exec"), scope)  # our own template
    images = torch.ones(2, 3, 32, 32)
    for network in (SPACE.network(dead, classes=10, width=4), scope["Network"]()):
        logits = network(images)
        assert logits.shape == (2, 10)
        assert torch.equal(logits[0], logits[1])


def test_multiplications_are_those_that_torch_counts() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    architecture = SPACE.sample(Random(5))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        SPACE.network(architecture, classes=10, width=4).eval()(torch.zeros(1, 3, 32, 32))
    normal, reduction = SPACE.cells(architecture)
    assert 2 * network_size(normal, reduction, cells=5, width=4)[1] == counter.get_total_flops()


def test_the_source_drops_none_and_unread_inputs_and_reuses_variables_for_skips() -> None:
    found = with_normal(
        "skip_connect(1)+none(0), dil_conv_5x5(2)+max_pool_3x3(1), none(0)+none(0), skip_connect(2)+skip_connect(3)"
    )
    assert SPACE.source(found).split("\n\n\n")[0] == (
        "class NormalCell(nn.Module):\n"
        "    def __init__(self, C0, C1, C, reduced):\n"
        "        super().__init__()\n"
        "        self.fit1 = ReLUConvBN(C1, C)\n"
        "        self.op_4_a = nn.MaxPool2d(3, stride=1, padding=1)\n"
        "        self.op_4_b = DilConv(C, kernel_size=5, stride=1)\n"
        "        self.C = C\n"
        "\n"
        "    def forward(self, s0, s1):\n"
        "        x1 = self.fit1(s1)\n"
        "        x2 = s1.new_zeros(len(s1), self.C, *s1.shape[2:])\n"
        "        x3 = x1\n"
        "        x4 = self.op_4_a(x1) + self.op_4_b(x3)\n"
        "        x5 = x3 + x4\n"
        "        return torch.cat([x2, x3, x4, x5], dim=1)"
    )


def test_the_graph_is_a_normal_cell_followed_by_a_reduction_cell() -> None:
    graph = SPACE.graph(SPACE.parse(DARTS_V2))
    assert (graph.nodes, len(graph.edges)) == (12, 25)
    assert all(graph.live())
    found = {(edge.start, edge.end, edge.operation) for edge in graph.edges}
    assert {(2, 5, "dil_conv_3x3"), (1, 7, "max_pool_3x3"), (6, 7, "max_pool_3x3"), (7, 8, "skip_connect")} <= found
    assert {(0, 1, "cell"), (5, 6, "concat"), (10, 11, "concat")} <= found


def test_the_features_of_a_cell_worked_out_by_hand() -> None:
    blocks = SPACE.features(SPACE.parse(DARTS_V2))
    assert blocks["normal count"].tolist() == [0, 0, 2, 5, 0, 1, 0]
    assert blocks["reduce count"].tolist() == [5, 0, 3, 0, 0, 0, 0]
    assert blocks["normal from"].reshape(3, 7)[2].tolist() == [0, 0, 0, 0, 0, 1, 0]  # from a node: the dilated one
    chain = blocks["normal chain"].reshape(7, 7)
    assert (chain.sum(), chain[3, 5]) == (2, 2)  # two separable convolutions lead into it
    assert blocks["normal depth"][[0, 1]].tolist() == [2, 0]  # most and fewest weighted operations on a path
    np.testing.assert_allclose(np.exp(blocks["size"]), SPACE.sizes(SPACE.parse(DARTS_V2)))


# -- the tables ------------------------------------------------------------------------------------------------

ROW = [[0, 4], [1, 4], [0, 4], [2, 3], [1, 6], [3, 7], [0, 1], [4, 2]]  # indices into the file's names


def write_reduced(folder: Path, **changes: object) -> Path:
    rows = np.array([ROW, [[1, 4], [0, 4], *ROW[2:]], [[0, 0], [1, 0], *ROW[2:]]], dtype=np.uint8)
    arrays = {"normal": rows, "reduce": rows, "op_names": np.array(NAMES), "val_acc": np.float32([80, 81, 70])}
    np.savez(folder / "darts_1000.npz", **{k: v for k, v in {**arrays, **changes}.items() if v is not None})  # type: ignore[arg-type]
    return folder / "darts_1000.npz"


def write_nb301(folder: Path, **changes: object) -> Path:
    cell = np.array(ROW, dtype=np.int8) - np.array([0, 1], dtype=np.int8)
    arrays = {"arch": np.stack([cell, cell])[None], "val_cifar10": np.float32([93.5])}
    np.savez(folder / "nb301_zc_725.npz", **{**arrays, **changes})  # type: ignore[arg-type]
    return folder / "nb301_zc_725.npz"


def load(benchmark: Benchmark, path: Path) -> BenchmarkTable:
    return benchmark.load(path, benchmark.tasks[0], SPACE, None)


def test_the_surrogates_table_says_everywhere_that_it_predicts(tmp_path: Path) -> None:
    table = load(BENCHMARKS[0], write_nb301(tmp_path))
    evaluator = TableEvaluator(table)
    outcome = evaluator.evaluate(table.pool()[0], seed=0)
    assert isinstance(outcome, Measured)
    assert (outcome.value, outcome.provenance, outcome.fidelity) == (93.5, "predicted", "NAS-Bench-301's surrogate")
    assert evaluator.provenance == "predicted"
    assert "every value is predicted, not measured" in table.note
    assert "predicts, not measured" in table.task.description
    tested = TableTestSplit(table).open(table.pool()[0], seed=0)
    assert (tested.value, tested.provenance) == (None, "predicted")
    assert "no test value" in tested.note


def test_trained_cells_are_measured_and_isomorphic_rows_answer_once(tmp_path: Path) -> None:
    table = load(BENCHMARKS[1], write_reduced(tmp_path))
    assert [architecture.text for architecture in table.pool()] == [
        SPACE.canonical(architecture).text for architecture in table.pool()
    ]
    assert table.rows == 3
    values = [TableEvaluator(table).evaluate(architecture, seed=0) for architecture in table.pool()]
    assert [(v.value, v.provenance) for v in values if isinstance(v, Measured)] == [(80, "measured"), (70, "measured")]
    assert "predicted" not in table.note
    assert isinstance(TableEvaluator(table).evaluate(SPACE.parse(DARTS_V2), seed=0), Failed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_acc": None}, "expected the array 'val_acc', which it lacks; copy the file again"),
        ({"normal": np.zeros((3, 8), np.uint8), "reduce": np.zeros((3, 8), np.uint8)}, "shape .rows, 2, 8, 2."),
        ({"reduce": np.zeros((2, 8, 2), np.uint8)}, "expected as many rows in 'normal' as in 'reduce'"),
        ({"normal": np.array(1), "reduce": np.array(1)}, "expected as many rows"),
        ({"op_names": np.array(3)}, "expected a row of texts in 'op_names'"),
        ({"op_names": np.array(NAMES[:4])}, "must hold 32 indices into 9 names"),
        ({"op_names": np.array(["conv", *NAMES[1:]])}, "does not fit space 'darts': unknown option 'conv'"),
        ({"val_acc": np.float32([1, 2])}, "one number for each of 3 rows"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load(BENCHMARKS[1], write_reduced(tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("place", "value"), [((0, 0, 0, 0), 2), ((0, 0, 0, 1), 7), ((0, 1, 7, 0), -1)])
def test_a_row_that_is_no_cell_is_refused(tmp_path: Path, place: tuple[int, ...], value: int) -> None:
    cell = np.array(ROW, dtype=np.int8) - np.array([0, 1], dtype=np.int8)
    rows = np.stack([cell, cell])[None].copy()
    rows[place] = value
    with pytest.raises(DataError, match="'arch'"):
        load(BENCHMARKS[0], write_nb301(tmp_path, arch=rows))


@needs_tables
@pytest.mark.parametrize(("benchmark", "rows", "classes"), [(BENCHMARKS[0], 725, 725), (BENCHMARKS[1], 1000, 999)])
def test_every_row_of_the_tables_is_an_architecture_of_the_space(benchmark: Benchmark, rows: int, classes: int) -> None:
    assert DATA is not None
    table = load(benchmark, Path(DATA) / benchmark.file)
    assert (table.rows, len(table.pool())) == (rows, classes)
    for architecture in table.pool():
        assert SPACE.parse(architecture.text) == architecture
        assert SPACE.parse(SPACE.genotype(architecture)) == architecture
    assert table.optimum() == pytest.approx(94.4889 if benchmark is BENCHMARKS[0] else 86.61, abs=1e-4)


@needs_tables
def test_the_sizes_order_the_surrogates_cells_as_its_own_counts_do() -> None:
    assert DATA is not None
    table = load(BENCHMARKS[0], Path(DATA) / BENCHMARKS[0].file)
    rows = list(table.members())
    ours = [network_size(*SPACE.cells(row.architecture), cells=8, width=32)[0] for row in rows]
    theirs = [row.params or 0.0 for row in rows]
    assert np.corrcoef(ours, theirs)[0, 1] > 0.99999


# -- the embedded regressors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [NB301, REDUCED])
def test_the_embedded_regressor_answers_for_every_cell_without_data(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    evaluation = embedded_darts(SPACE, task, "as asked")
    assert evaluation.evaluator.pool() is None
    rng = Random(0)
    for _ in range(20):
        member = some_member(SPACE, rng)
        outcome = evaluation.evaluator.evaluate(member, seed=0)
        assert isinstance(outcome, Measured)
        assert (outcome.provenance, outcome.seconds) == ("predicted", 0.0)
        assert 0 <= outcome.value <= 100
        twin = evaluation.evaluator.evaluate(SPACE.canonical(member), seed=1)
        assert isinstance(twin, Measured)
        assert twin.value == outcome.value
    assert evaluation.test_split.open(SPACE.sample(rng), seed=0).value is None
    card = DartsRegressor(SPACE, task.name).card
    assert f"Kendall tau {card['scores']['kendall_tau']:.2f}" in evaluation.note
    assert "every value is predicted, not measured" in evaluation.note
    assert card["scope"] in evaluation.note


def test_what_the_surrogate_never_saw_is_not_put_ahead() -> None:
    regressor = DartsRegressor(SPACE, NB301.name)
    rng = Random(0)
    derived = [regressor.value(SPACE.sample(rng), NB301, "val") for _ in range(100)]
    mostly_none = []
    for _ in range(100):
        choices = SPACE.choices(SPACE.sample(rng))
        choices |= {name: NONE for name in choices if name.endswith("_op") and rng.random() < 0.7}
        mostly_none.append(regressor.value(SPACE.build(choices), NB301, "val"))
    assert max(mostly_none) < np.median(derived)
    whole, repeated = "skip_connect(0)+skip_connect(1)", "skip_connect(0)+skip_connect(0)"
    cell = with_normal(", ".join([whole] * 4)), with_normal(", ".join([whole] * 3 + [repeated]))
    first, second = (regressor.value(one, NB301, "val") for one in cell)
    assert second < first - UNKNOWN_NODE / 2


@needs_tables
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_card_states_the_error_on_the_cells_that_were_kept_out(benchmark: Benchmark) -> None:
    from scipy.stats import kendalltau

    assert DATA is not None
    table = load(benchmark, Path(DATA) / benchmark.file)
    task = benchmark.tasks[0]
    regressor = DartsRegressor(SPACE, task.name)
    kept = [architecture for architecture in table.pool() if int(architecture.id, 16) % 5 == 0]
    truth = np.array([row.value for row in map(table.row, kept) if row is not None])
    guess = np.array([regressor.value(architecture, task, "val") for architecture in kept])
    scores, held_out = regressor.card["scores"], regressor.card["held_out"]
    assert held_out["cells"] == len(kept)
    assert scores["kendall_tau"] == pytest.approx(kendalltau(guess, truth).statistic, abs=2e-3)
    assert scores["rmse"] == pytest.approx(float(np.sqrt(((guess - truth) ** 2).mean())), abs=2e-3)


@pytest.mark.parametrize("task", [NB301, REDUCED])
def test_a_search_with_the_embedded_regressor_beats_its_first_draws(task: Task) -> None:
    evaluation: Evaluation = embedded_darts(SPACE, task, "as asked")
    result = Search(task, space=SPACE, evaluation=evaluation, budget=25).run()
    assert result.best is not None
    assert result.best.provenance == "predicted"
    rng = Random(0)
    draws = [DartsRegressor(SPACE, task.name).value(SPACE.sample(rng), task, "val") for _ in range(25)]
    assert result.best.value > max(draws)
