"""TransNAS-Bench-101: the cell space, the macro space, their tables, and what is said when something is wrong."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas_agent.config import make_config
from nas_agent.errors import ConfigError, DataError, InvalidArchitecture
from nas_agent.run import start
from nas_agent.spaces import load_space
from nas_agent.spaces.trans101 import EDGES, OPERATIONS, Trans101Micro
from nas_agent.spaces.trans101_macro import KINDS, Trans101Macro
from nas_agent.tools.benchmarks.registry import benchmark_of, named_space, tasks_in
from nas_agent.tools.benchmarks.trans101 import MACRO_FILE, MICRO_FILE, TASKS
from nas_agent.tools.evaluators.resolve import load_evaluation
from tests.contracts import SpaceContract

DATA = os.environ.get("NAS_AGENT_DATA")
needs_tables = pytest.mark.skipif(not DATA, reason="NAS_AGENT_DATA is not set: no benchmark tables here")
MICRO, MACRO = Trans101Micro(), Trans101Macro()
NAMES = [operation.name for operation in OPERATIONS]
RESNET = "64-1234-basic"


class TestMicro(SpaceContract):
    @pytest.fixture
    def space(self) -> Trans101Micro:
        return MICRO


class TestMacro(SpaceContract):
    @pytest.fixture
    def space(self) -> Trans101Macro:
        return MACRO


def cell(digits: str):
    return MICRO.parse(f"64-41414-{digits[0]}_{digits[1:3]}_{digits[3:]}")


def rows(file: str) -> dict[str, np.ndarray]:
    with np.load(Path(DATA or "") / file) as table:
        return {name: table[name] for name in table.files}


# -- cells --------------------------------------------------------------------------------------------------


def test_a_cell_is_written_as_the_benchmark_writes_it() -> None:
    best = cell("102333")
    assert best.text == "64-41414-1_02_333"
    assert list(MICRO.choices(best).values()) == ["skip", "none", "conv1x1", "conv3x3", "conv3x3", "conv3x3"]


def test_there_are_1229_different_cells() -> None:
    everything = [MICRO.build(dict(zip(MICRO.choices(cell("000000")), options, strict=True)))
                  for options in itertools.product(NAMES, repeat=6)]  # fmt: skip
    assert len({architecture.text for architecture in everything}) == 4096
    assert len({architecture.id for architecture in everything}) == len(MICRO.enumerate()) == 1229


@given(st.sampled_from("0123"), st.sampled_from("0123"), st.sampled_from("0123"))
def test_what_follows_a_node_that_nothing_reaches_does_not_change_the_cell(a: str, b: str, c: str) -> None:
    assert cell(f"02{a}3{b}2").id == cell(f"02{c}302").id


def test_a_skip_from_the_input_is_an_operation_and_a_skip_inside_is_none() -> None:
    # In a block that changes the shape the first skip is a convolution: 1_00_0[2]0 is two layers deep, 0_00_200 one.
    assert cell("100020").id != cell("000200").id
    assert cell("300010").id == cell("000300").id
    assert cell("300010").id == cell("030001").id


def test_the_two_middle_nodes_may_change_places() -> None:
    assert cell("320021").id == cell("230012").id


def same_output(first, second, space) -> bool:
    """Whether one network computes what another does when each live layer gets the same weights."""
    outputs = []
    for architecture in (first, second):
        torch.manual_seed(0)
        network = space.network(architecture, classes=3, in_channels=3, width=4)
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        outputs.append(network.eval()(torch.ones(2, 3, 32, 32)))
    return bool(torch.allclose(outputs[0], outputs[1]))


@pytest.mark.parametrize(("first", "second"), [("320021", "230012"), ("300010", "000300"), ("013300", "010300")])
def test_cells_of_one_id_compute_the_same(first: str, second: str) -> None:
    assert cell(first).id == cell(second).id
    assert same_output(cell(first), cell(second), MICRO)


def test_the_source_drops_dead_edges_and_names_the_blocks_own_shape() -> None:
    assert MICRO.source(cell("301201")) == (
        "class Cell(nn.Module):\n"
        "    def __init__(self, C_in, C, stride):\n"
        "        super().__init__()\n"
        "        self.op_0_2 = ReLUConvBN(C_in, C, kernel_size=1, stride=stride)\n"
        "        self.op_0_3 = ReLUConvBN(C_in, C, kernel_size=3, stride=stride)\n"
        "\n"
        "    def forward(self, x0):\n"
        "        x2 = self.op_0_2(x0)\n"
        "        return self.op_0_3(x0) + x2"
    )


# -- macro networks -----------------------------------------------------------------------------------------


def valid(codes: str) -> bool:
    return 1 <= sum(c in "24" for c in codes) <= 3 and 1 <= sum(c in "34" for c in codes) <= 4


def test_there_are_3256_networks_and_they_are_the_benchmarks() -> None:
    counted = [codes for n in (4, 5, 6) for codes in map("".join, itertools.product("1234", repeat=n)) if valid(codes)]
    assert len(counted) == 3256
    assert {architecture.text for architecture in MACRO.enumerate()} == {f"64-{codes}-basic" for codes in counted}


def test_a_network_is_written_as_the_benchmark_writes_it() -> None:
    choices = MACRO.choices(MACRO.parse(RESNET))
    assert list(choices.values()) == ["4", "plain", "widen", "shrink", "widen_shrink", "absent", "absent"]
    assert MACRO.build(choices).text == RESNET


@given(st.sampled_from("456"), st.tuples(*[st.sampled_from(KINDS[1:])] * 4, *[st.sampled_from(KINDS)] * 2))
def test_every_combination_is_taken_for_a_network_of_the_same_depth(depth: str, kinds: tuple[str, ...]) -> None:
    names = [decision.name for decision in MACRO.decisions]
    network = MACRO.build(dict(zip(names, (depth, *kinds), strict=True)))
    codes = network.text.split("-")[1]
    assert valid(codes)
    assert len(codes) == int(depth)
    meant = "".join(str(max(KINDS.index(kind), 1)) for kind in kinds[: int(depth)])
    if valid(meant):
        assert codes == meant
    assert MACRO.build(MACRO.choices(network)) == network


@pytest.mark.parametrize("text", ["64-1111-basic", "64-2222-basic", "64-22221-basic", "64-333332-basic"])
def test_a_network_that_the_benchmark_has_not_is_refused_with_its_rule(text: str) -> None:
    with pytest.raises(InvalidArchitecture, match=r"one to 3 modules of 2 or 4 .* one to 4 of 3 or 4"):
        MACRO.parse(text)


@pytest.mark.parametrize(
    "text", ["64-141-basic", "64-1414141-basic", "64-1514-basic", "32-1414-basic", "64-1414-3_33_333"]
)
def test_another_notation_is_refused_with_the_right_one(text: str) -> None:
    with pytest.raises(InvalidArchitecture, match=r"expected 64-CODES-basic .*1 plain, 2 widen, 3 shrink"):
        MACRO.parse(text)


def test_a_network_without_cells_is_described_by_its_choices_and_its_size() -> None:
    small, large = (MACRO.features(MACRO.parse(f"64-{codes}-basic")) for codes in ("3142", "2311"))
    assert MACRO.graph(MACRO.parse(RESNET)) is None
    assert set(small) == {"choices", "counts", "size"}
    assert small["size"][0] < large["size"][0]  # the one that shrinks late computes more
    assert small["choices"].sum() == 7


def test_the_source_spells_out_channels_and_strides() -> None:
    lines = MACRO.source(MACRO.parse("64-1243-basic")).splitlines()
    assert [line.strip() for line in lines[3:-1]] == [
        "BasicBlock(C, C, stride=1),",
        "BasicBlock(C, C, stride=1),",
        "BasicBlock(C, 2 * C, stride=1),",
        "BasicBlock(2 * C, 2 * C, stride=1),",
        "BasicBlock(2 * C, 4 * C, stride=2),",
        "BasicBlock(4 * C, 4 * C, stride=1),",
        "BasicBlock(4 * C, 4 * C, stride=2),",
        "BasicBlock(4 * C, 4 * C, stride=1),",
    ]


# -- networks -----------------------------------------------------------------------------------------------

SOME = [
    (MICRO, "64-41414-3_33_333"),
    (MICRO, "64-41414-0_30_001"),
    (MICRO, "64-41414-0_00_000"),
    (MICRO, "64-41414-1_11_111"),
    (MACRO, "64-1314-basic"),
    (MACRO, "64-244331-basic"),
]


@pytest.mark.parametrize(("space", "text"), SOME)
@pytest.mark.parametrize("side", [32, 64])
def test_the_network_classifies_images(space, text: str, side: int) -> None:
    network = space.network(space.parse(text), classes=5, in_channels=3, width=8)
    logits = network(torch.randn(2, 3, side, side))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    if text != "64-41414-0_00_000":
        assert network.stem[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("space", "text"), SOME)
def test_the_file_of_the_winner_is_the_same_network_and_needs_torch_alone(space, text: str) -> None:
    architecture = space.canonical(space.parse(text))
    written = space.module_source(architecture, classes=7)
    assert "nas_agent" not in written
    names: dict[str, object] = {}
    exec(compile(written, "best.py", "exec"), names)  # our own text, in our own test
    from_file = names["Network"](width=8)
    network = space.network(architecture, classes=7, in_channels=3, width=8)
    assert from_file(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    shapes = [sorted(tuple(p.shape) for p in n.parameters()) for n in (from_file, network)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(("space", "text"), SOME)
def test_the_counted_parameters_are_those_of_the_network(space, text: str) -> None:
    network = space.network(space.parse(text), classes=5, in_channels=3)
    assert space.parameters(space.parse(text)) == sum(p.numel() for p in network.encoder.parameters())


@needs_tables
@pytest.mark.parametrize("task", [task.name for task in TASKS])
def test_the_counted_parameters_are_the_benchmarks_but_for_stem_and_head(task: str) -> None:
    table = rows(MICRO_FILE)
    ours = [MICRO.parameters(cell("".join(map(str, row)))) / 1e6 for row in table["arch"].tolist()]
    assert np.ptp(table[f"params_M_{task}"] - np.array(ours)) < 1e-4
    flops = [MICRO.flops(cell("".join(map(str, row)))) / 1e6 for row in table["arch"].tolist()]
    assert np.corrcoef(flops, table[f"flops_M_{task}"])[0, 1] > 0.99999


@needs_tables
def test_the_counted_sizes_of_macro_networks_are_the_benchmarks_but_for_stem_and_head() -> None:
    table = rows(MACRO_FILE)
    known = np.isfinite(table["val_class_scene"])
    texts = [f"64-{''.join(str(c) for c in row if c)}-basic" for row in table["arch"][known].tolist()]
    parsed = [MACRO.parse(text) for text in texts]
    # The classifier's weights grow with the last channels: 47 classes on 128 to 512 of them.
    assert np.ptp(table["params_M_class_scene"][known] - np.array([MACRO.parameters(a) for a in parsed]) / 1e6) < 0.03
    assert np.corrcoef([MACRO.flops(a) for a in parsed], table["flops_M_class_scene"][known])[0, 1] > 0.9999


# -- tables -------------------------------------------------------------------------------------------------


@needs_tables
@pytest.mark.parametrize(
    ("name", "task", "counts"),
    [
        ("trans101-micro", "jigsaw", (711, 331, 0)),
        ("trans101-micro", "class_scene", (711, 331, 0)),
        ("trans101-macro", "jigsaw", (725, 725, 0)),
        ("trans101-macro", "class_object", (662, 662, 63)),
    ],
)
def test_every_row_of_the_tables_is_read(name: str, task: str, counts: tuple[int, int, int]) -> None:
    space = load_space(name)
    benchmark, known = benchmark_of(task, space)
    table = benchmark.load(Path(DATA or "") / benchmark.file, known, space, None)
    assert (table.rows, len(table.pool()), table.left_out) == counts
    for member in table.members():
        assert space.parse(member.architecture.text) == member.architecture
        assert space.build(space.choices(member.architecture)) == member.architecture


@needs_tables
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("name", ["trans101-micro", "trans101-macro"])
def test_each_task_is_answered_by_the_measured_rows_and_says_so(name: str, task) -> None:
    evaluation = load_evaluation(task.name, load_space(name), "auto", data=Path(DATA or ""), epochs=None)
    assert evaluation.task.maximise
    values = rows(MICRO_FILE if name == "trans101-micro" else MACRO_FILE)[f"val_{task.name}"]
    assert np.nanmin(values) <= evaluation.optimum <= np.nanmax(values)
    said = "711 of 4,096 cells" if name == "trans101-micro" else "725 of 3,256 networks"
    assert f"{said} were measured; the search is over these" in evaluation.note
    assert ("left out" in evaluation.note) == (name == "trans101-macro" and task.name.startswith("class_"))
    opened = evaluation.test_split.open(evaluation.evaluator.pool()[0], seed=0)
    assert opened.value is None  # the files hold validation results only


@needs_tables
def test_the_cheapest_measured_cell_answers_for_its_class() -> None:
    table = rows(MICRO_FILE)
    evaluation = load_evaluation("jigsaw", MICRO, "table", data=Path(DATA or ""), epochs=None)
    groups: dict[str, list[int]] = {}
    for index, row in enumerate(table["arch"].tolist()):
        groups.setdefault(cell("".join(map(str, row))).id, []).append(index)
    sizes, values = table["params_M_jigsaw"], table["val_jigsaw"]
    for architecture in evaluation.evaluator.pool():
        members = groups[architecture.id]
        found = np.float32(evaluation.evaluator.evaluate(architecture, seed=0).value)
        answering = [index for index in members if values[index] == found]
        assert min(sizes[index] for index in answering) == min(sizes[index] for index in members)


def test_metrics_and_units_are_those_of_each_task() -> None:
    told = {task.name: (task.metric, task.unit) for task in TASKS}
    assert told == {
        "class_scene": ("top-1 accuracy", "%"),
        "class_object": ("top-1 accuracy", "%"),
        "jigsaw": ("top-1 accuracy", "%"),
        "room_layout": ("minus loss", ""),
        "segmentsemantic": ("pixel accuracy", "%"),
        "normal": ("SSIM", ""),
        "autoencoder": ("SSIM", ""),
    }


def test_auto_takes_the_cells_and_both_spaces_are_known_to_have_the_tasks() -> None:
    assert named_space("auto", "jigsaw") == "trans101-micro"
    assert tasks_in(MACRO) == tasks_in(MICRO) == tuple(task.name for task in TASKS)


@pytest.mark.parametrize(
    ("task", "space", "kind", "epochs", "message"),
    [
        (
            "jigsaw",
            "nb201",
            "auto",
            None,
            r"jigsaw was measured in space trans101-micro, trans101-macro, not in",
        ),
        (
            "cifar10",
            "trans101-micro",
            "auto",
            None,
            r"not in 'trans101-micro'; .* --task class_scene, class_object,",
        ),
        (
            "jigsaw",
            "trans101-micro",
            "auto",
            None,
            rf"no {MICRO_FILE} in .*\(--data\).*give --data DIR or set NAS",
        ),
        ("jigsaw", "trans101-macro", "table", None, rf"--evaluator table: no {MACRO_FILE} in"),
        ("jigsaw", "trans101-macro", "embedded", None, "--evaluator embedded: none was fitted for TransNAS"),
        ("jigsaw", "trans101-micro", "train", None, "--task jigsaw: there are no images of it"),
        ("Jigsaws", "trans101-micro", "auto", None, "unknown task 'Jigsaws'; choose from .*jigsaw"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(tmp_path, monkeypatch, task, space, kind, epochs, message) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match=message) as caught:
        load_evaluation(task, load_space(space), kind, data=tmp_path, epochs=epochs)
    assert "\n" not in str(caught.value)


def small(path: Path, **changed: object) -> Path:
    arrays: dict[str, object] = {
        "arch": np.array([[3, 3, 3, 3, 3, 3], [1, 0, 0, 0, 3, 0]], dtype=np.int8),
        "val_jigsaw": np.array([90.0, 50.0], dtype=np.float32),
        **changed,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize(
    ("space", "file", "changed", "message"),
    [
        (MICRO, MICRO_FILE, {"val_jigsaw": None}, "expected the array 'val_jigsaw', which it lacks"),
        (MICRO, MICRO_FILE, {"arch": np.full((2, 6), 4, dtype=np.int8)}, "'arch' must hold 6 indices into 4 names"),
        (MICRO, MICRO_FILE, {"arch": np.zeros((2, 5), dtype=np.int8)}, "'arch' must hold 6 indices"),
        (MICRO, MICRO_FILE, {"val_jigsaw": np.zeros(3, dtype=np.float32)}, "one number for each of 2 rows"),
        (MICRO, MICRO_FILE, {"val_jigsaw": np.full(2, np.nan, dtype=np.float32)}, "no row with a value for jigsaw"),
        (MACRO, MACRO_FILE, {"arch": np.full((2, 6), 5, dtype=np.int8)}, "'arch' must hold module codes 0-4"),
        (
            MACRO,
            MACRO_FILE,
            {"arch": np.ones((2, 6), dtype=np.int8)},
            "row 0: no architecture of space",
        ),
        (MACRO, MACRO_FILE, {"arch": np.array([[1, 0, 4, 1, 1, 1]] * 2)}, "row 0: no architecture of space"),
    ],
)
def test_a_file_that_does_not_hold_together_is_one_clear_line(tmp_path, space, file, changed, message) -> None:
    small(tmp_path / file, **changed)
    with pytest.raises(DataError, match=message):
        load_evaluation("jigsaw", space, "auto", data=tmp_path, epochs=None)


def test_epochs_cannot_be_chosen(tmp_path) -> None:
    small(tmp_path / MICRO_FILE)
    with pytest.raises(ConfigError, match=r"--epochs 12: the TransNAS-Bench-101 .* one value an architecture"):
        load_evaluation("jigsaw", MICRO, "auto", data=tmp_path, epochs=12)


@needs_tables
def test_a_search_for_jigsaw_runs_over_the_measured_cells(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))
    result = start(make_config({"task": "jigsaw", "budget": 15, "out": tmp_path / "runs", "memory": False}))
    assert (result.space, result.evaluator, len(result.outcomes)) == ("trans101-micro", "table", 15)
    assert result.best.value > 80.0
    folder = Path(result.run)
    assert 'space = "trans101-micro"' in (folder / "config.toml").read_text()
    assert "class Cell" in (folder / "best.py").read_text()
    assert len(EDGES) == len(MICRO.choices(result.best.architecture))
