"""The built-in space, and spaces of the user's own."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_agent.errors import ConfigError, InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces import CategoricalSpace, Decision, load_space, space_names, try_build
from nas_agent.spaces.categorical import REMEMBERED
from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.spaces.features import structure_features
from nas_agent.spaces.nasbench201 import EDGES, OPERATIONS, NasBench201
from tests.contracts import SpaceContract

NAMES = [operation.name for operation in OPERATIONS]
SPACE = NasBench201()
cells = st.tuples(*[st.sampled_from(NAMES)] * 6)
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


class Stack(CategoricalSpace):
    """A space without cells: what a user might bring."""

    name = "stack"
    decisions = (
        Decision("depth", ("2", "4", "8")),
        Decision("width", ("16", "32", "64")),
        Decision("activation", ("relu", "gelu")),
    )


class Deep(CategoricalSpace):
    """Too large to be listed, and the order of its layers means nothing."""

    name = "deep"
    decisions = tuple(Decision(f"layer_{place}", ("a", "b", "c", "d")) for place in range(12))

    def canonical_options(self, options: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(options))


class Triangle(CategoricalSpace):
    """Cells of three nodes: a graph and a size, and nothing else."""

    name = "triangle"
    operations = (
        Operation("none", "zero"),
        Operation("skip", "identity", kernel=1),
        Operation("conv", "conv", kernel=3, cost=9.0),
        Operation("pool", "pool", kernel=3),
    )
    decisions = tuple(Decision(f"edge_{i}", ("none", "skip", "conv", "pool")) for i in range(3))

    def graph(self, architecture: Architecture) -> CellGraph:
        ends = ((0, 1), (0, 2), (1, 2))
        options = self.choices(architecture).values()
        return CellGraph(
            3, tuple(Edge(*pair, option) for pair, option in zip(ends, options, strict=True)), self.operations
        )

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        return (1.0 + 9.0 * architecture.text.count("conv"),)


class TestALargeSpaceWithIsomorphisms(SpaceContract):
    @pytest.fixture
    def space(self) -> Deep:
        return Deep()


class TestAUsersCells(SpaceContract):
    @pytest.fixture
    def space(self) -> Triangle:
        return Triangle()


class TestNasBench201(SpaceContract):
    @pytest.fixture
    def space(self) -> NasBench201:
        return SPACE


class TestAUsersSpace(SpaceContract):
    @pytest.fixture
    def space(self) -> Stack:
        return Stack()


def cell(options: tuple[str, ...]) -> Architecture:
    return SPACE.build({f"edge_{s}_{e}": o for (s, e), o in zip(EDGES, options, strict=True)})


def test_there_are_6466_isomorphism_classes() -> None:
    assert len(SPACE.enumerate()) == 6466


def test_classes_are_those_of_the_benchmark() -> None:
    folder = os.environ.get("NAS_AGENT_DATA")
    if not folder:
        pytest.skip("NAS_AGENT_DATA is not set: the benchmark's own classes are not at hand")
    with np.load(Path(folder) / "nb201.npz") as table:
        pairs = {
            (cell(tuple(NAMES[k] for k in row)).id, int(representative))
            for row, representative in zip(table["ops"], table["iso"], strict=True)
        }
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs}) == 6466


def test_the_representative_is_the_cheapest_measured_member() -> None:
    folder = os.environ.get("NAS_AGENT_DATA")
    if not folder:
        pytest.skip("NAS_AGENT_DATA is not set: parameter counts are not at hand")
    with np.load(Path(folder) / "nb201.npz") as table:
        size = {
            cell(tuple(NAMES[k] for k in row)).text: p for row, p in zip(table["ops"], table["params_M"], strict=True)
        }
    for text, parameters in size.items():
        assert size[SPACE.canonical(SPACE.parse(text)).text] <= parameters + 1e-6


@given(cells)
def test_a_dead_edge_does_not_change_the_class(options: tuple[str, ...]) -> None:
    # Node 1 gets nothing, so whatever leaves it is dead.
    silent = ("none", *options[1:])
    others = [(*silent[:2], second, silent[3], fourth, silent[5]) for second in NAMES for fourth in NAMES]
    assert {cell(other).id for other in others} == {cell(silent).id}


@given(st.sampled_from(NAMES), st.sampled_from(NAMES))
def test_two_branches_from_the_same_input_may_change_places(first: str, second: str) -> None:
    # Node 1 is a skip of node 0, so edges 0->3 and 1->3 start from the same feature map.
    one = cell(("skip_connect", "none", "none", first, second, "none"))
    other = cell(("skip_connect", "none", "none", second, first, "none"))
    assert one.id == other.id


@given(cells)
def test_the_canonical_cell_keeps_the_class_and_never_costs_more(options: tuple[str, ...]) -> None:
    architecture = cell(options)
    canonical = SPACE.canonical(architecture)
    chosen = tuple(SPACE.choices(canonical).values())
    assert canonical.id == architecture.id
    assert SPACE.cost(chosen) <= SPACE.cost(options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BEST.replace("nor_conv_3x3~1", "conv5x5~1", 1), r"unknown option 'conv5x5' for 'edge_1_2'; choose from none"),
        (BEST[:-1], "expected a cell written as"),
        (BEST.replace("~2", "~1"), "expected a cell written as"),
        (BEST + "+|none~0|", "expected a cell written as"),
    ],
)
def test_a_broken_cell_is_refused_with_what_to_do(text: str, message: str) -> None:
    with pytest.raises(InvalidArchitecture, match=message):
        SPACE.parse(text)


def test_white_space_in_a_cell_is_forgiven() -> None:
    assert SPACE.parse(f"  {BEST.replace('+', ' + ')}\n").text == BEST


def test_the_source_drops_dead_edges_and_reuses_variables_for_skips() -> None:
    text = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_1x1~2|"
    assert SPACE.source(SPACE.parse(text)) == (
        "class Cell(nn.Module):\n"
        "    def __init__(self, C):\n"
        "        super().__init__()\n"
        "        self.op_0_1 = ReLUConvBN(C, C, kernel_size=3, padding=1)\n"
        "        self.op_1_3 = nn.AvgPool2d(kernel_size=3, stride=1, padding=1, count_include_pad=False)\n"
        "\n"
        "    def forward(self, x0):\n"
        "        x1 = self.op_0_1(x0)\n"
        "        return x0 + self.op_1_3(x1)"
    )


def test_a_cell_that_nothing_passes_is_zero() -> None:
    empty = cell(("none",) * 6)
    assert "torch.zeros_like(x0)" in SPACE.source(empty)


def test_counted_parameters_and_flops_are_those_of_the_table() -> None:
    folder = os.environ.get("NAS_AGENT_DATA")
    if not folder:
        pytest.skip("NAS_AGENT_DATA is not set: parameter counts are not at hand")
    with np.load(Path(folder) / "nb201.npz") as table:
        for row in range(0, 15625, 97):
            architecture = cell(tuple(NAMES[k] for k in table["ops"][row]))
            assert SPACE.parameters(architecture) / 1e6 == pytest.approx(float(table["params_M"][row]), abs=1e-6)
            assert SPACE.flops(architecture) / 1e6 == pytest.approx(float(table["flops_M"][row]), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_the_network_has_as_many_parameters_as_are_counted(seed: int) -> None:
    architecture = SPACE.sample(Random(seed))
    network = SPACE.network(architecture, classes=7, in_channels=3, width=8)
    counted = SPACE.parameters(architecture, classes=7, width=8)
    assert sum(p.numel() for p in network.parameters()) == counted


@pytest.mark.parametrize("seed", range(3))
def test_the_network_has_the_parameters_of_the_table(seed: int) -> None:
    folder = os.environ.get("NAS_AGENT_DATA")
    if not folder:
        pytest.skip("NAS_AGENT_DATA is not set: parameter counts are not at hand")
    with np.load(Path(folder) / "nb201.npz") as table:
        row = Random(seed).randrange(15625)
        architecture = cell(tuple(NAMES[k] for k in table["ops"][row]))
        expected = float(table["params_M"][row])
    network = SPACE.network(architecture, classes=10, in_channels=3, width=16)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_the_stand_alone_module_computes_what_the_network_computes(seed: int) -> None:
    import torch

    architecture = SPACE.canonical(SPACE.sample(Random(seed)))
    scope: dict[str, object] = {}
    exec(compile(SPACE.module_source(architecture, classes=7), "best.py", "exec"), scope)  # our own template
    theirs = scope["Network"]()  # type: ignore[operator]
    ours = SPACE.network(architecture, classes=7, in_channels=3, width=16)
    # The network also builds edges that nothing reaches; only live weights are in the file.
    live = [
        o for o, alive in zip(SPACE.graph(architecture).edges, SPACE.graph(architecture).live(), strict=True) if alive
    ]
    kept = [edge for edge in SPACE.graph(architecture).edges if edge.operation != "none"]
    if [edge for edge in kept if edge not in live]:
        pytest.skip("this representative has a dead edge")
    assert [w.shape for w in ours.parameters()] == [w.shape for w in theirs.parameters()]
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine)
        images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_a_space_in_a_file_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from nas_agent.spaces import CategoricalSpace, Decision\n"
        "class Mine(CategoricalSpace):\n"
        "    name = 'mine'\n"
        "    decisions = (Decision('depth', ('1', '2')), Decision('width', ('8', '16')))\n"
    )
    space = load_space(f"{file}:Mine")
    assert [a.text for a in space.enumerate() or []] == [
        f"depth={d},width={w}" for d, w in itertools.product("12", ("8", "16"))
    ]


OWN = "from nas_agent.spaces import CategoricalSpace, Decision\nclass Mine(CategoricalSpace):\n    name = 'mine'\n"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "Mine", "there is no file"),
        ("raise ValueError('broken')", "Mine", "could not be imported.*broken"),
        ("x = 1", "Mine", "has no class 'Mine'"),
        ("Mine = 3", "Mine", "expected a class"),
        ("class Mine:\n    def __init__(self, a): ...", "Mine", "could not be made without arguments"),
        ("class Mine: ...", "Mine", "is no space, it lacks .*sample"),
        ("raise SystemExit(3)", "Mine", r"could not be imported: SystemExit\(3\)"),
        ("def Mine(): raise SystemExit", "Mine", "could not be made without arguments: SystemExit"),
        (OWN + "    decisions = (Decision('a', (1, 2)),)", "Mine", r"its name and options are texts, got \(1, 2\)"),
        (OWN + "    decisions = (Decision('a', 'bc'),)", "Mine", "several texts, got the one text 'bc'"),
        (OWN + "    decisions = 2 * (Decision('a', ('b', 'c')),)", "Mine", "two decisions are called 'a'"),
        (OWN + "    decisions = (('a', ('b', 'c')),)", "Mine", r"must be Decision\(name, options\), got \('a'"),
        (OWN + "    decisions = 3", "Mine", "decisions could not be read: TypeError"),
    ],
)
def test_a_broken_space_file_is_one_clear_line(tmp_path: Path, content: str | None, name: str, message: str) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        load_space(f"{file}:{name}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["a" * 300 + ".py", "nul\0.py"])
def test_a_path_that_cannot_be_a_file_is_one_clear_line(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_space(f"{path}:Mine")
    assert len(str(caught.value)) < 500


def test_a_key_pressed_to_stop_is_no_fault_of_the_space(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load_space(f"{tmp_path / 'mine.py'}:Mine")


def test_an_unknown_space_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown space 'nb2001'; choose from nb201"):
        load_space("nb2001")


def test_a_decision_needs_distinct_options() -> None:
    with pytest.raises(ValueError, match="distinct options"):
        Decision("d", ("a", "a"))


def test_a_large_space_is_searched_without_listing_it() -> None:
    class Large(CategoricalSpace):
        name = "large"
        decisions = tuple(Decision(f"d{i}", ("a", "b", "c", "d")) for i in range(12))

    space = Large()
    assert space.enumerate() is None
    assert len(list(space.neighbours(space.sample(Random(0))))) == 36


class Narrowing(CategoricalSpace):
    """Widths that must not grow: most combinations are no architecture."""

    name = "narrowing"
    decisions = tuple(Decision(f"width_{i}", ("1", "2", "3")) for i in range(4))

    def check(self, options: tuple[str, ...]) -> None:
        if list(options) != sorted(options, reverse=True):
            raise InvalidArchitecture(f"expected widths that do not grow, got {', '.join(options)}; lower a later one")


class ManyNarrowing(Narrowing):
    """The same, too large to be listed."""

    name = "many-narrowing"
    decisions = tuple(Decision(f"width_{i}", tuple("123456789")) for i in range(5))


class TestNarrowing(SpaceContract):
    @pytest.fixture(params=[Narrowing, ManyNarrowing])
    def space(self, request: pytest.FixtureRequest) -> CategoricalSpace:
        return request.param()


def test_options_that_do_not_go_together_are_no_architecture() -> None:
    space = Narrowing()
    listed = space.enumerate()
    assert listed is not None
    assert len(listed) == 15  # multisets of four among three
    with pytest.raises(InvalidArchitecture, match="expected widths that do not grow, got 1, 2, 1, 1"):
        space.parse("width_0=1,width_1=2,width_2=1,width_3=1")
    choices = space.choices(listed[0])
    assert try_build(space, choices) == listed[0]
    assert try_build(space, {**choices, "width_3": "3"}) is None


def test_a_space_whose_draws_are_never_an_architecture_says_so() -> None:
    class Nothing(ManyNarrowing):
        def check(self, options: tuple[str, ...]) -> None:
            raise InvalidArchitecture("expected something else")

    with pytest.raises(InvalidArchitecture, match=r"1,000 draws .* give its class a method 'sample'"):
        Nothing().sample(Random(0))


def test_texts_of_one_class_lead_to_one_representative_in_a_large_space() -> None:
    space = Deep()
    assert space.enumerate() is None
    one, other = (
        space.parse(",".join(f"layer_{i}={o}" for i, o in enumerate(text))) for text in ("aabbccddaabb", "bbaaddccbbaa")
    )
    assert one != other
    assert one.id == other.id
    assert space.canonical(one) == space.canonical(other)
    # Two spaces, so that none can answer with what it remembers of the class.
    assert Deep().features(one)["choices"].tolist() == Deep().features(other)["choices"].tolist()


def test_a_long_search_of_a_large_space_does_not_remember_it_all() -> None:
    space, rng = Deep(), Random(0)
    first = space.sample(rng)
    features = space.features(first)
    for _ in range(REMEMBERED + 500):
        space.features(space.sample(rng))
    caches = [value for value in vars(space).values() if isinstance(value, dict)]
    assert caches
    assert all(len(cache) <= REMEMBERED for cache in caches)
    # What was forgotten is made again, and is the same.
    assert space.choices(first) == Deep().choices(first)
    np.testing.assert_array_equal(space.features(first)["choices"], features["choices"])


def test_without_a_graph_features_are_choices_and_counts() -> None:
    space = Stack()
    blocks = space.features(space.parse("depth=4,width=16,activation=gelu"))
    assert {name: block.tolist() for name, block in blocks.items()} == {
        "choices": [0, 1, 0, 1, 0, 0, 0, 1],
        "counts": [0, 1, 0, 1, 0, 0, 0, 1],
    }


def test_with_a_graph_features_are_those_of_the_cell() -> None:
    space = Triangle()
    architecture = space.parse("edge_0=conv,edge_1=skip,edge_2=none")
    expected = structure_features(space.graph(architecture), (10.0,))
    assert {name: block.tolist() for name, block in space.features(architecture).items()} == {
        name: block.tolist() for name, block in expected.items()
    }


def test_the_features_of_a_cell_worked_out_by_hand() -> None:
    # 0 -conv3x3-> 1 -conv1x1-> 3, 0 -skip-> 3, 1 -pool-> 2 -skip-> 3, and 0 -none-> 2.
    text = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|skip_connect~2|"
    blocks = structure_features(SPACE.graph(SPACE.parse(text)), (np.e, 1.0))
    # Operations but for none, in the space's order: skip, 1x1, 3x3, pool.
    assert blocks["edge"].reshape(6, 4).tolist() == [
        [0, 0, 1, 0],  # 0 -> 1
        [0, 0, 0, 0],  # 0 -> 2
        [0, 0, 0, 1],  # 1 -> 2
        [1, 0, 0, 0],  # 0 -> 3
        [0, 1, 0, 0],  # 1 -> 3
        [1, 0, 0, 0],  # 2 -> 3
    ]
    assert blocks["count"].tolist() == [2, 1, 1, 1]
    # Paths: skip; conv3x3, conv1x1; conv3x3, pool, skip.
    assert blocks["depth"].tolist() == pytest.approx([2, 0, 1, np.log2(3), 3, 1, 4, (0 + 2 + 4) / 3, 0])
    assert blocks["size"].tolist() == pytest.approx([1, 0])


def test_a_dead_edge_and_a_dead_cell_have_no_features() -> None:
    # Node 1 is reached and goes nowhere; node 2 goes on and is never reached.
    half = structure_features(
        SPACE.graph(cell(("nor_conv_3x3", "none", "none", "skip_connect", "none", "nor_conv_1x1")))
    )
    assert half["count"].tolist() == [1, 0, 0, 0]
    dead = structure_features(SPACE.graph(cell(("nor_conv_3x3", *["none"] * 5))))
    assert not any(block.any() for block in dead.values())
    assert "size" not in dead


class Weighed(Stack):
    """A space without cells that knows how large a network is."""

    name = "weighed"

    def sizes(self, architecture: Architecture) -> tuple[float, ...]:
        choices = self.choices(architecture)
        return (float(choices["depth"]) * float(choices["width"]) ** 2,)


def test_a_space_without_cells_may_know_sizes_too() -> None:
    space = Weighed()
    features = space.features(space.build({"depth": "8", "width": "16", "activation": "relu"}))
    assert features["size"] == pytest.approx([np.log(2048.0)])
    assert "size" not in Stack().features(Stack().sample(Random(0)))


def test_an_installed_package_brings_its_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brought_spaces.py").write_text(
        "from nas_agent.spaces import CategoricalSpace, Decision\n"
        "class Brought(CategoricalSpace):\n"
        "    name = 'brought'\n"
        "    decisions = (Decision('depth', ('1', '2')),)\n"
        "not_a_space = 3\n"
    )
    info = tmp_path / "brought-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[nas_agent.spaces]\nbrought = brought_spaces:Brought\nwrong = brought_spaces:not_a_space\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert {"nb201", "brought", "wrong"} <= set(space_names())
    assert load_space("brought").name == "brought"
    with pytest.raises(ConfigError, match="expected a class"):
        load_space("wrong")
    with pytest.raises(ConfigError, match=r"unknown space 'bought'; choose from .*brought"):
        load_space("bought")
