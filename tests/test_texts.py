"""Texts of architectures: pinned by golden files, run as programs, alike for isomorphic cells."""

from __future__ import annotations

import importlib.util
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest

from nas_agent.errors import ConfigError, InvalidArchitecture, MissingExtra
from nas_agent.records import Architecture, Task
from nas_agent.spaces import CategoricalSpace, Decision, Space, load_space
from nas_agent.spaces.class_text import WritesClasses
from nas_agent.spaces.darts import Darts
from nas_agent.spaces.nasbench101 import LABELS, NasBench101
from nas_agent.spaces.nasbench101_graph import Cell
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.texts import make_text, text_names
from tests.contracts import some_member

GOLDEN = Path(__file__).parent / "golden" / "texts"
TASK = Task("cifar10", "image classification: 32x32 colour photographs of 10 classes", "accuracy")
# Each has what texts differ in: something dead, a skip, an empty node.
PINNED = {
    "nb201": "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|nor_conv_1x1~1|avg_pool_3x3~2|",
    "nb101": "conv3x3-bn-relu(0)|none(1)|maxpool3x3(0+1)|conv1x1-bn-relu(0)|none()|output(0+1+3)",
    "darts": "normal=[sep_conv_3x3(0)+skip_connect(1), none(0)+none(1), dil_conv_5x5(2)+max_pool_3x3(1), "
    "skip_connect(2)+none(3)] reduce=[skip_connect(0)+avg_pool_3x3(1), skip_connect(2)+sep_conv_5x5(1), "
    "none(2)+none(3), dil_conv_3x3(2)+max_pool_3x3(0)]",
    "trans101-micro": "64-41414-3_00_102",
    "trans101-macro": "64-1243-basic",
}
FIXED = ("canonical", "inline", "helper", "exclude-helper")
ADDED = ("inline+network", "helper+network", "canonical+network+docstring")
CASES = [(name, spec) for name in PINNED for spec in (*FIXED, "onnx")]
CASES += [("nb201", spec) for spec in ADDED]
SPACES = {name: load_space(name) for name in PINNED}
needs_onnx = pytest.mark.skipif(importlib.util.find_spec("onnx") is None, reason="the extra 'onnx' is not installed")


def written(space: Space, spec: str, architecture: Architecture) -> str:
    return make_text(spec, space, TASK)(architecture)


# -- golden texts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_a_text_is_exactly_the_golden_text(name: str, spec: str) -> None:
    if spec == "onnx":
        pytest.importorskip("onnx")
    file = GOLDEN / f"{name}.{spec}.txt"
    text = written(SPACES[name], spec, SPACES[name].parse(PINNED[name])) + "\n"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_every_golden_file_is_tested() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.{spec}.txt" for name, spec in CASES}


@pytest.mark.parametrize("name", PINNED)
def test_the_string_is_the_spaces_notation(name: str) -> None:
    architecture = SPACES[name].parse(PINNED[name])
    assert written(SPACES[name], "string", architecture) == architecture.text


# -- texts are programs -------------------------------------------------------------------------------------


def classes_of(text: str) -> dict[str, Callable]:
    """Run a text; one without a network has no imports of its own."""
    import torch

    scope: dict[str, Callable] = {}
    if "import torch" not in text:
        scope = {"torch": torch, "nn": torch.nn, "Tensor": torch.Tensor}
    exec(compile(text, "text", "exec"), scope)  # our own text
    return scope


def with_weights_of(theirs, ours):
    """Copy the weights of the space's network into that of a text, by place, or by name for nb101."""
    values = ours.state_dict()
    renamed = {re.sub(r"layers\.(\d+)\.", lambda f: f"op_{int(f[1]) + 1}.", k): v for k, v in values.items()}
    renamed = {re.sub(r"projections\.(\d+)\.", r"project_\1.", k): v for k, v in renamed.items()}
    if set(renamed) != set(theirs.state_dict()):
        assert len(values) == len(theirs.state_dict())
        renamed = dict(zip(theirs.state_dict(), values.values(), strict=True))
    theirs.load_state_dict(renamed)
    return theirs


@pytest.mark.parametrize("spec", ["inline+network", "helper+network", "inline+network+docstring"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", PINNED)
def test_a_whole_text_is_the_network_of_the_space(name: str, seed: int, spec: str) -> None:
    import torch

    space = SPACES[name]
    # The network of DARTS is that of the canonical cells; of the others it is as written, dead edges too.
    rng = Random(seed)
    architecture = space.sample(rng) if name == "darts" else some_member(space, rng)
    torch.manual_seed(0)
    ours = space.network(architecture, classes=7, in_channels=3, width=8).eval()
    depth = {"cells": 5} if name == "darts" else {}
    made = classes_of(written(space, spec, architecture))["Network"](classes=7, width=8, **depth).eval()
    assert sum(w.numel() for w in made.parameters()) == sum(w.numel() for w in ours.parameters())
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(with_weights_of(made, ours)(images), ours(images))


@pytest.mark.parametrize("spec", ["inline", "helper"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["nb201", "nb101", "trans101-micro"])
def test_a_cell_text_is_the_cell_of_the_space(name: str, seed: int, spec: str) -> None:
    import torch

    space = SPACES[name]
    architecture = some_member(space, Random(seed))
    torch.manual_seed(0)
    ((ours, inputs),) = space.cell_modules(architecture, width=6).values()  # type: ignore[attr-defined]
    arguments = {"nb201": (6,), "nb101": (6, 6), "trans101-micro": (6, 12, 2)}[name]
    made = classes_of(written(space, spec, architecture))["Cell"](*arguments).eval()
    values = [torch.randn_like(value) for value in inputs]
    torch.testing.assert_close(with_weights_of(made, ours.eval())(*values), ours(*values))


@pytest.mark.parametrize("spec", ["inline", "helper"])
@pytest.mark.parametrize("seed", range(4))
def test_darts_cells_as_written_run_whatever_is_zero_in_them(seed: int, spec: str) -> None:
    import torch

    space = SPACES["darts"]
    found = classes_of(written(space, spec, some_member(space, Random(seed))))
    for reduced in (False, True):
        inputs = torch.randn(2, 16, 18 if reduced else 9, 18 if reduced else 9), torch.randn(2, 16, 9, 9)
        assert found["NormalCell"](16, 16, 4, reduced)(*inputs).shape == (2, 16, 9, 9)
        assert found["ReductionCell"](16, 16, 4, reduced)(*inputs).shape == (2, 16, 5, 5)


@pytest.mark.parametrize("name", PINNED)
def test_only_the_whole_texts_define_what_they_use(name: str) -> None:
    space = SPACES[name]
    architecture = space.parse(PINNED[name])
    helpers = space.class_text(architecture).helpers  # type: ignore[attr-defined]
    names = [re.match(r"class (\w+)", helper)[1] for helper in helpers]  # type: ignore[index]
    for spec in ("helper", "helper+network"):
        assert all(helper in written(space, spec, architecture) for helper in helpers)
    for spec in ("exclude-helper", "exclude-helper+network", "canonical", "canonical+network"):
        text = written(space, spec, architecture)
        assert not any(f"class {name}" in text for name in names)
        assert any(f"{name}(" in text for name in names)
    for spec in ("inline", "inline+network"):
        text = written(space, spec, architecture)
        assert all(f"class {name}" in text for name in names if f"{name}(" in text)
        assert "ConvBN" not in text


def test_a_description_of_any_kind_stays_inside_the_docstring() -> None:
    task = Task("mine", 'quotes """ and a backslash \\ and more"')
    text = make_text("inline+docstring", SPACES["nb201"], task)(SPACES["nb201"].parse(PINNED["nb201"]))
    assert "class Cell" in text
    assert "Cell" in classes_of(text)
    assert text.count('"""') == 2


# -- isomorphic spellings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nb201", "trans101-micro"])
def test_all_spellings_of_a_class_have_one_canonical_text_and_many_as_written(name: str) -> None:
    space = SPACES[name]
    canonical, as_written = make_text("canonical", space), make_text("exclude-helper", space)
    texts: dict[str, set[str]] = {}
    others = set()
    rng = Random(0)
    for _ in range(3000):
        architecture = some_member(space, rng)
        texts.setdefault(architecture.id, set()).add(canonical(architecture))
        others.add(as_written(architecture))
    assert len(texts) > 500
    assert all(len(found) == 1 for found in texts.values())
    assert len(others) > len(texts)


def test_the_benchmarks_classes_of_nb201_are_finer_than_its_networks() -> None:
    """A figure that docs/decisions.md states: texts follow the benchmark, which tells some equal cells apart."""
    space = NasBench201()
    texts: dict[str, set[str]] = {}
    for architecture in space.enumerate() or ():
        node: list[tuple[str, ...]] = [("x",), (), (), ()]  # each as the sum of its terms
        graph = space.graph(architecture)
        for edge in sorted(graph.edges, key=lambda edge: edge.end):
            terms = node[edge.start]
            if edge.operation != "none" and terms:
                copied = edge.operation == "skip_connect"
                added = terms if copied else (f"({'+'.join(terms)})@{edge.operation}",)
                node[edge.end] = tuple(sorted((*node[edge.end], *added)))
        texts.setdefault("+".join(node[3]), set()).add(space.source(architecture))
    assert len(space.enumerate() or ()) == 6466
    assert len(texts) == 4930
    assert len(set().union(*texts.values())) == 6242
    assert sum(len(found) > 1 for found in texts.values()) == 621


def respelled_nb101(architecture: Architecture, rng: Random) -> str:
    """Number the inner vertices in another order that keeps edges forward."""
    cell = NasBench101().cell(architecture)
    last = cell.vertices - 1
    orders = [
        order
        for order in permutations(range(1, last))
        if all(s == 0 or order.index(s) < order.index(v) for v in order for s in cell.sources[v - 1])
    ]
    order = rng.choice(orders)
    place = {0: 0, **{vertex: number for number, vertex in enumerate(order, 1)}}
    labels = tuple(cell.labels[v - 1] for v in order)
    sources = tuple(tuple(sorted(place[s] for s in cell.sources[v - 1])) for v in (*order, last))
    return notation(Cell(labels, sources))


def notation(cell: Cell) -> str:
    inner = [f"{LABELS[o]}({'+'.join(map(str, s))})" for o, s in zip(cell.labels, cell.sources[:-1], strict=True)]
    inner += ["none()"] * (5 - len(inner))
    return "|".join([*inner, f"output({'+'.join(map(str, cell.sources[-1]))})"])


def respelled_darts(architecture: Architecture, rng: Random) -> str:
    """Swap the pairs of nodes and renumber nodes."""
    halves = []
    for half in re.findall(r"\[(.*?)\]", architecture.text):
        nodes = [re.findall(r"(\w+)\((\d)\)", node) for node in half.split(",")]
        orders = [
            order
            for order in permutations(range(4))
            if all(int(s) < 2 or order.index(int(s) - 2) < order.index(n) for n in order for _, s in nodes[n])
        ]
        order = rng.choice(orders)
        place = {0: 0, 1: 1, **{old + 2: new + 2 for new, old in enumerate(order)}}
        sums = [[f"{o}({place[int(s)]})" for o, s in nodes[n]] for n in order]
        halves.append(", ".join("+".join(rng.sample(pairs, 2)) for pairs in sums))
    return f"normal=[{halves[0]}] reduce=[{halves[1]}]"


@pytest.mark.parametrize(
    ("space", "respelled"), [(NasBench101(), respelled_nb101), (Darts(), respelled_darts)], ids=["nb101", "darts"]
)
def test_renumbered_cells_have_one_canonical_text(space: Space, respelled: Callable[..., str]) -> None:
    rng = Random(1)
    changed = 0
    for _ in range(150):
        first = space.sample(rng)
        second = space.parse(respelled(first, rng))
        assert written(space, "canonical", first) == written(space, "canonical", second)
        assert written(space, "canonical+network", first) == written(space, "canonical+network", second)
        changed += written(space, "inline", first) != written(space, "inline", second)
    assert changed > 100


# -- ONNX ---------------------------------------------------------------------------------------------------


@needs_onnx
@pytest.mark.parametrize("seed", range(5))
def test_the_onnx_text_has_the_live_layers_of_the_cell(seed: int) -> None:
    space = NasBench201()
    architecture = some_member(space, Random(seed))
    graph = space.graph(architecture)
    live = [edge.operation for edge, alive in zip(graph.edges, graph.live(), strict=True) if alive]
    text = written(space, "onnx", architecture)
    assert text.count(" Conv(") == sum("conv" in operation for operation in live)
    assert text.count("[8,8,3,3]") == live.count("nor_conv_3x3")
    assert written(space, "onnx", architecture) == text


@needs_onnx
def test_the_onnx_text_of_a_network_holds_its_cells_fifteen_times() -> None:
    architecture = SPACES["nb201"].parse(PINNED["nb201"])
    cell, network = (written(SPACES["nb201"], spec, architecture) for spec in ("onnx", "onnx+network"))
    assert "Network(x0[1,3,32,32]):" in network
    assert network.count("AveragePool(") - 3 == 15 * cell.count("AveragePool(")  # two shortcuts and the head


@needs_onnx
def test_an_export_leaves_the_random_numbers_alone() -> None:
    import torch

    before = torch.get_rng_state()
    written(SPACES["nb201"], "onnx", SPACES["nb201"].parse(PINNED["nb201"]))
    assert torch.equal(torch.get_rng_state(), before)


class Unusual(CategoricalSpace):
    """A space of a user's with a layer that ONNX does not have."""

    name: ClassVar[str] = "unusual"
    decisions: ClassVar[tuple[Decision, ...]] = (Decision("layer", ("eigenvalues", "broken", "linear")),)

    def network(self, architecture, *, classes, in_channels, width):
        import torch

        class Eigenvalues(torch.nn.Module):
            def forward(self, images):
                return torch.linalg.eigvals(images).real

        class Broken(torch.nn.Module):
            def forward(self, images):
                raise KeyError("several\nlines")

        linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, classes))
        layers = {"eigenvalues": Eigenvalues(), "broken": Broken(), "linear": linear}
        return layers[self.choices(architecture)["layer"]]

    def texts(self) -> Mapping[str, Callable[[Architecture], str]]:
        return {"derivation": lambda architecture: f"derived {architecture.text}"}


@needs_onnx
def test_what_cannot_be_exported_is_an_invalid_architecture_with_the_reason_in_one_line() -> None:
    space = Unusual()
    make = make_text("onnx", space)
    for layer in ("eigenvalues", "broken"):
        with pytest.raises(InvalidArchitecture, match=rf"layer={layer}.*cannot be exported to ONNX \(.+\)") as raised:
            make(space.parse(f"layer={layer}"))
        assert "\n" not in str(raised.value)
    assert "Gemm(" in make(space.parse("layer=linear"))


def test_without_the_package_the_onnx_text_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"nas-agent\[onnx\]"):
        make_text("onnx", SPACES["nb201"])


# -- asking for a text --------------------------------------------------------------------------------------


def test_a_space_offers_texts_of_its_own_and_what_every_space_has() -> None:
    space = Unusual()
    assert not isinstance(space, WritesClasses)
    assert text_names(space) == ("canonical", "onnx", "string", "derivation")
    architecture = space.parse("layer=linear")
    assert written(space, "derivation", architecture) == "derived layer=linear"
    assert written(space, "canonical", architecture) == space.source(architecture)


def test_additions_are_named_in_a_fixed_order() -> None:
    assert make_text("inline+docstring+network", SPACES["nb201"], TASK).name == "inline+network+docstring"


@pytest.mark.parametrize(
    ("space", "spec", "message"),
    [
        (NasBench201(), "derivation", r"'nb201' has no text 'derivation'; choose from canonical\[\+network\]"),
        (NasBench201(), "", "has no text ''"),
        (NasBench201(), "Inline", "has no text 'Inline'"),
        (NasBench201(), "string+network", r"'string' of space 'nb201' takes no '\+network'; choose from"),
        (NasBench201(), "onnx+docstring", r"takes no '\+docstring'"),
        (NasBench201(), "inline+", r"takes no '\+'"),
        (NasBench201(), "inline+network+network", r"takes no '\+network' twice"),
        (load_space("trans101-macro"), "onnx+network", r"takes no '\+network'"),
        (Unusual(), "inline", "has no text 'inline'; choose from canonical, onnx, string, derivation"),
        (Unusual(), "canonical+network", r"takes no '\+network'"),
    ],
)
def test_a_text_that_the_space_does_not_have_is_refused_with_those_it_has(
    space: Space, spec: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_text(spec, space, TASK)


def test_a_docstring_without_a_task_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"describes a task; name one, or leave '\+docstring' out"):
        make_text("inline+docstring", SPACES["nb201"])


@pytest.mark.parametrize("spec", ["inline+network+docstring", "canonical", "string", "onnx"])
def test_a_text_maker_can_be_sent_to_another_process(spec: str) -> None:
    if spec == "onnx":
        pytest.importorskip("onnx")
    space = SPACES["nb201"]
    architecture = space.parse(PINNED["nb201"])
    make = make_text(spec, space, TASK)
    assert pickle.loads(pickle.dumps(make))(architecture) == make(architecture)


def test_texts_are_made_without_torch_until_one_is_exported() -> None:
    code = (
        "import sys; from nas_agent.tools.texts import make_text; from nas_agent.spaces import load_space;"
        "s = load_space('darts'); a = s.parse(sys.argv[1]); make_text('inline+network', s)(a); make_text('onnx', s);"
        "print([name for name in ('torch', 'onnx', 'transformers') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code, PINNED["darts"]], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
