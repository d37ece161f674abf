"""The space of program texts: what is refused and why, what makes two texts one network, and the sixteen intents."""

from __future__ import annotations

import ast
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from nas_agent.errors import ConfigError, InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces import Mutates, Space, load_space
from nas_agent.spaces.code import INTENTS, Varies
from nas_agent.spaces.inspection import Inspected, NetworkShape
from nas_agent.spaces.pytorch import Pytorch
from nas_agent.spaces.pytorch_text import read
from nas_agent.tools.evaluators.candidate import stand_alone, writes_network
from tests.contracts import AnySpaceContract
from tests.inspecting import DIGITS, TrustingInspector

ROOT = Path(__file__).resolve().parent.parent
INSPECTOR = TrustingInspector()
SPACE = Pytorch(DIGITS, INSPECTOR)

RESNET = '''
"""A small residual network, as somebody wrote it."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, in_planes: int, planes: int, stride: int = 1):
        super(Block, self).__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride=stride), nn.BatchNorm2d(planes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class SmallResNet(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.layers = nn.Sequential(Block(16, 16), Block(16, 32, stride=2))
        self.fc = nn.Linear(32, num_classes)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.layers(x)
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(x.view(x.size(0), -1))
'''
LENET = """
import torch
from torch import nn

class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(8, 16, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def forward(self, x):
        return self.classifier(self.features(x))
"""
PLAIN = """
import torch
from torch import nn
import torch.nn.functional as F

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 8, 3, padding=1)
        self.b = nn.Conv2d(1, 8, 5, padding=2)
        self.rows = nn.LSTM(64, 16, batch_first=True)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        left = torch.relu(self.a(x))
        right = self.b(x)
        both = left + right
        steps, _ = self.rows(both.permute(0, 2, 1, 3).flatten(2))
        return self.head(steps[:, -1])
"""
# The same with other names, another order, comments, other spellings of the same operators, and something idle.
PLAIN_AGAIN = """
import torch
import torch.nn as nn

class Classifier(nn.Module):
    # made by somebody else
    def __init__(self, classes=10):
        super(Classifier, self).__init__()
        hidden = 16
        self.out = nn.Linear(hidden, classes)
        self.wide = nn.Conv2d(in_channels=1, out_channels=8, kernel_size=(5, 5), padding=(2, 2))
        self.act = nn.ReLU()
        self.narrow = nn.Conv2d(1, 8, 3, 1, 1)
        self.memory = nn.LSTM(64, hidden, batch_first=True)

    def forward(self, images):
        idle = images * 2
        second = self.wide(images)
        first = self.act(self.narrow(images))
        summed = torch.add(second, first)
        sequence = self.memory(summed.permute(0, 2, 1, 3).reshape(images.shape[0], 8, 64))[0]
        return self.out(sequence[:, -1])
"""


class TestContract(AnySpaceContract):
    @pytest.fixture
    def space(self) -> Space:
        return SPACE

    def member(self, space: Space, rng: Random) -> Architecture:
        return space.sample(Random(rng.randrange(6)))

    def same_class(self, space: Space, member: Architecture, rng: Random) -> Architecture:
        return space.parse("# another text\n" + member.text.replace("(self, x)", "(self, x: torch.Tensor)"))


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_it_varies_and_mutates_and_asks_for_an_inspector() -> None:
    assert isinstance(SPACE, Varies)
    assert isinstance(SPACE, Mutates)
    assert isinstance(SPACE, Inspected)
    assert isinstance(load_space("pytorch"), Pytorch)


def test_renamed_reordered_and_respelled_code_is_the_same_architecture() -> None:
    assert SPACE.parse(PLAIN).id == SPACE.parse(PLAIN_AGAIN).id
    for name in SPACE.features(SPACE.parse(PLAIN)):
        first, second = (SPACE.features(SPACE.parse(text))[name] for text in (PLAIN, PLAIN_AGAIN))
        assert (first == second).all()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("nn.Conv2d(1, 8, 3, padding=1)", "nn.Conv2d(1, 8, 1)"),
        ("nn.Conv2d(1, 8, 3, padding=1)", "nn.Conv2d(1, 8, 3, padding=1, bias=False)"),
        ("left + right", "left * right"),
        ("left + right", "left - right"),
        ("self.b(x)", "self.b(left[:, :1])"),
        ("torch.relu", "torch.tanh"),
        ("nn.LSTM", "nn.GRU"),
        ("steps[:, -1]", "steps[:, 0]"),
        ("right = self.b(x)", "right = self.a(x)\n        self.b = None"),
        ("both = left + right", "both = F.dropout(left + right, 0.1, self.training)"),
    ],
)
def test_another_operator_attribute_or_wiring_is_another_architecture(old: str, new: str) -> None:
    other = changed(PLAIN, old, new)
    if "self.b = None" in new:  # `b` is used no more: left idle, its weights would get no gradient
        other = changed(changed(PLAIN, "self.b(x)", "self.a(x)"), "self.b = nn.Conv2d(1, 8, 5, padding=2)\n", "\n")
    assert SPACE.parse(other).id != SPACE.parse(PLAIN).id


class Disguised(ast.NodeTransformer):
    """Renames what a text names itself, by chance."""

    def __init__(self, rng: Random) -> None:
        self._rng, self._names = rng, dict[str, str]()

    def _name(self, old: str) -> str:
        return self._names.setdefault(old, f"{self._rng.choice('abcdef')}_{len(self._names)}")

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return ast.Attribute(node.value, self._name(node.attr), node.ctx)
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._name(node.id), node.ctx) if node.id.startswith(("x", "skip")) else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._name(node.arg)) if node.arg == "x" else node


def disguised(text: str, rng: Random) -> str:
    """Write a text of straight statements with other names, layers made in another order, and comments."""
    tree = ast.parse(text)
    for owner in (part for part in tree.body if isinstance(part, ast.ClassDef) and part.name == "Network"):
        maker = owner.body[0]
        assert isinstance(maker, ast.FunctionDef)
        layers = maker.body[1:]
        rng.shuffle(layers)
        maker.body[1:] = layers
        Disguised(rng).visit(owner)
    lines = ast.unparse(ast.fix_missing_locations(tree)).split("\n")
    return "\n".join(f"{line}  # {rng.random()}" if line.strip() else line for line in lines)


@pytest.mark.parametrize("seed", range(10))
def test_disguised_offspring_is_the_same_architecture_and_another_width_is_not(seed: int) -> None:
    rng = Random(seed)
    child = SPACE.sample(rng)
    for intent in rng.sample([one.name for one in INTENTS if one.parents == 1], 3):
        with suppress(InvalidArchitecture):
            child = SPACE.vary(intent, [child], rng)
    other = disguised(child.text, rng)
    assert other != child.text
    assert SPACE.parse(other).id == child.id
    with suppress(InvalidArchitecture):
        assert SPACE.vary("width", [child], rng).id != child.id


def test_shared_weights_are_not_two_layers_of_one_shape() -> None:
    text = changed(PLAIN, "nn.Conv2d(1, 8, 5, padding=2)", "nn.Conv2d(8, 8, 3, padding=1)")
    text = changed(changed(text, "right = self.b(x)", "right = self.b(left)"), "nn.Conv2d(1, 8, 3", "nn.Conv2d(1, 8, 3")
    apart = changed(text, "both = left + right", "both = self.c(right)")
    apart = changed(apart, "self.rows =", "self.c = nn.Conv2d(8, 8, 3, padding=1)\n        self.rows =")
    shared = changed(text, "both = left + right", "both = self.b(right)")
    assert SPACE.parse(apart).id != SPACE.parse(shared).id


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Here is the network:\n\nclass", "syntax error"),
        ("x = 1", "class derived from nn.Module"),
        (changed(PLAIN, "import torch\n", "import os\n"), "'import os' is not allowed"),
        (changed(PLAIN, "import torch\n", "from torch.hub import load\n"), "not allowed"),
        (changed(PLAIN, "left = ", "open('/etc/passwd')\n        left = "), "'open' is not allowed"),
        (changed(PLAIN, "left = ", "torch.hub.load('a', 'b')\n        left = "), "'torch.hub.load' is not allowed"),
        (changed(PLAIN, "left = ", "x.__class__.__bases__\n        left = "), "'__bases__' is not allowed"),
        (changed(PLAIN, "left = ", "nn.Conv2d.forward = 1\n        left = "), "set attributes of self only"),
        (changed(PLAIN, "left = ", "F.relu = torch.tanh\n        left = "), "set attributes of self only"),
        (changed(PLAIN, "left = ", "nn.functional._threshold\n        left = "), "_threshold' is not allowed"),
        (changed(PLAIN, "left = ", "y = undefined\n        left = "), "'undefined' is not defined"),
        (changed(PLAIN, "left = ", "while True: pass\n        left = "), "'while' is not allowed"),
        (changed(PLAIN, "def forward", "def forwards"), "method forward"),
        (changed(PLAIN, "def __init__(self)", "def __init__(self, what)"), "'what'"),
        ("#" * 30_000, "at most 20000 characters"),
        (f"x = {'-' * 5000}1", "syntax error|nested"),
        (f"x = {'(' * 150}1{')' * 150}\nclass A: pass", "derived from nn.Module"),
        (f"x = a{'.a' * 500}", "nested"),
        ("\ud800", "syntax error"),
    ],
)
def test_what_is_refused_unseen_is_refused_with_advice(text: str, wanted: str) -> None:
    before = INSPECTOR.asked
    with pytest.raises(InvalidArchitecture, match=wanted):
        SPACE.parse(text)
    assert INSPECTOR.asked == before  # nothing of it has been run


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("nn.Linear(16, 10)", "nn.Linear(17, 10)", "in_features=17, and would fit with in_features=16"),
        ("nn.Linear(16, 10)", "nn.Linear(16, 11)", r"logits of the shape \(batch, 10\), got \(batch, 11\)"),
        ("return self.head(steps[:, -1])", "return self.head(steps)", r"got \(batch, 8, 10\)"),
        ("return self.head", "return None if True else self.head", "one tensor of logits, got NoneType"),
        ("left + right", "left[:, :4] + right", "line 17: 'both = .*': forward raises RuntimeError"),
        ("nn.Conv2d(1, 8, 3", "nn.Conv2d(1, 0, 3", "would fit|raises|expected"),
        ("nn.Linear(16, 10)", "nn.Linear(16, 10)\n        self.idle = nn.Linear(999, 99)", "no gradient reaches idle"),
        ("self.head(steps[:, -1])", "self.head(steps[:, -1].detach())", "no gradient reaches"),
        ("self.head(steps[:, -1])", "self.head(steps[:, -1]) * 1e39", "finite"),
        ("torch.relu(", "F.dropout(", "other logits each time"),
        ("nn.LSTM(64, 16, batch_first=True)", "nn.LSTM(64, 16)", "batch_first=True"),
        ("nn.LSTM(64, 16", "nn.LSTM(64, 4096", "at most 2,000,000 parameters"),
        ("both = left + right", "both = left + right\n        x[:, 5]", "IndexError"),
        ("self.a = nn", "self.a = nn.Foo()\n        self.a = nn", "the constructor raises AttributeError"),
    ],
)
def test_what_fails_in_the_sandbox_comes_back_with_a_reason(old: str, new: str, wanted: str) -> None:
    with pytest.raises(InvalidArchitecture, match=wanted):
        SPACE.parse(changed(PLAIN, old, new))


def test_limits_are_those_of_the_images() -> None:
    tight = Pytorch(NetworkShape(10, 1, 8, flops=1000.0), TrustingInspector())
    with pytest.raises(InvalidArchitecture, match="at most 1,000 multiply-adds an image"):
        tight.parse(PLAIN)
    assert NetworkShape.of(10, 3, 32).flops == 5e9


def test_flops_parameters_and_widths_are_those_of_the_formula() -> None:
    start = SPACE.start()
    found = SPACE.descriptors(start)
    assert (found.flops, found.parameters, found.width_to_depth) == (64 + 640, 2 + 650, 10 / 2)
    lenet = SPACE.descriptors(SPACE.parse(LENET))
    assert lenet.flops == 64 * 9 * 8 + 16 * 9 * 8 * 16 + 64 * 32 + 320
    assert lenet.width_to_depth == 32 / 4
    assert SPACE.inspection(SPACE.parse(PLAIN)).flops == 64 * 9 * 8 + 64 * 25 * 8 + 8 * (64 * 64 + 64 * 16) + 160


def test_decisions_count_what_a_text_computes() -> None:
    found = SPACE.choices(SPACE.parse(RESNET))
    assert found == {
        "convolutions": "5-8", "linear": "1", "recurrent": "0", "pooling": "1", "normalisation": "4+",
        "activation": "3-5", "dropout": "0", "skips": "2-3", "kernel": "2-3", "depth": "5-8", "width": "32-63",
    }  # fmt: skip


def test_a_network_is_built_from_choices_or_refused() -> None:
    wanted = {
        **SPACE.choices(SPACE.start()),
        "convolutions": "2",
        "normalisation": "2-3",
        "depth": "3-4",
        "kernel": "2-3",
    }
    made = SPACE.build(wanted)
    assert SPACE.choices(made) == wanted
    assert SPACE.build(wanted) == made
    with pytest.raises(InvalidArchitecture, match="expected kernel=none exactly without convolutions"):
        SPACE.build({**wanted, "kernel": "none"})
    with pytest.raises(InvalidArchitecture, match="expected 'width' as one of"):
        SPACE.build({**wanted, "width": "wide"})


@pytest.mark.parametrize("text", [RESNET, LENET, PLAIN])
def test_the_stand_alone_file_makes_the_network_with_the_sizes_of_any_space(text: str) -> None:
    import torch

    source = SPACE.module_source(SPACE.parse(text), classes=10)
    sizes = {"classes": 10, "in_channels": 1, "width": 16}
    assert writes_network(source, sizes)
    assert stand_alone(source, sizes)(torch.zeros(3, 1, 8, 8)).shape == (3, 10)


def test_no_network_is_built_outside_of_the_sandbox() -> None:
    with pytest.raises(ConfigError, match="sandbox only"):
        SPACE.network(SPACE.start(), classes=10)
    with pytest.raises(ConfigError, match="name the task"):
        load_space("pytorch").choices(SPACE.start())


@pytest.mark.parametrize("intent", [intent.name for intent in INTENTS])
@pytest.mark.parametrize("text", [RESNET, LENET, PLAIN], ids=["resnet", "lenet", "plain"])
def test_each_intent_is_carried_out_on_code_that_somebody_wrote(intent: str, text: str) -> None:
    parent, other = SPACE.parse(text), SPACE.parse(LENET if text != LENET else PLAIN)
    child = SPACE.vary(intent, [parent, other], Random(1))
    assert child.id not in (parent.id, other.id)
    assert SPACE.parse(child.text) == child
    assert SPACE.vary(intent, [parent, other], Random(1)) == child
    before, after = (SPACE.inspection(one) for one in (parent, child))
    counts = {
        "convolution": "Conv2d", "fully connected": "Linear", "dropout": "Dropout", "pooling": "Pool2d",
        "normalisation": "Norm", "recurrent": "",
    }  # fmt: skip
    if counts.get(intent):
        kinds = [sum(counts[intent] in layer.kind for layer in seen.layers) for seen in (before, after)]
        assert kinds[1] > kinds[0]
    if intent == "recurrent":
        assert sum(layer.kind in ("LSTM", "GRU") for layer in after.layers) > ("LSTM(" in parent.text)
    if intent == "smaller":
        assert after.flops + after.parameters < before.flops + before.parameters
    if intent == "larger":
        assert after.flops + after.parameters > before.flops + before.parameters
    if intent == "delete layer":
        assert len(after.layers) < len(before.layers) or "Identity" in child.text


def test_residual_connections_are_added_as_sums() -> None:
    parent = SPACE.parse(LENET)
    one = SPACE.vary("residual", [parent], Random(0))
    assert SPACE.choices(parent)["skips"] == "0"
    assert SPACE.choices(one)["skips"] == "1"
    assert SPACE.choices(SPACE.vary("multi-residual", [parent], Random(0)))["skips"] == "2-3"


def test_three_networks_are_combined() -> None:
    parents = [SPACE.parse(text) for text in (RESNET, LENET, PLAIN)]
    children = {SPACE.vary("combine", parents, Random(seed)).id for seed in range(4)}
    assert len(children) > 1
    assert not children & {parent.id for parent in parents}


def test_an_intent_that_does_not_apply_says_why() -> None:
    linear = """
import torch
from torch import nn

class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(x.flatten(1))
"""
    with pytest.raises(InvalidArchitecture, match="'delete layer' cannot be carried out"):
        SPACE.vary("delete layer", [SPACE.parse(linear)], Random(0))
    with pytest.raises(InvalidArchitecture, match="expected an intent"):
        SPACE.vary("deeper", [SPACE.start()], Random(0))
    with pytest.raises(InvalidArchitecture, match="expected an intent"):
        SPACE.vary("combine", [SPACE.start()], Random(0))


def test_a_misfit_is_refused_with_the_size_that_would_mend_it() -> None:
    refusal = SPACE.refusal(changed(PLAIN, "nn.Linear(16, 10)", "nn.Linear(12, 9)"))
    assert refusal is not None
    assert {(wish.argument, wish.value) for wish in refusal.wishes} == {("in_features", 16), ("out_features", 10)}
    assert SPACE.refusal(PLAIN) is None


@pytest.mark.parametrize(
    "name",
    [
        "functional",
        "perceptron",
        "recurrent",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("inception", "mobilenet", "resnet", "transformer", "vgg")),
    ],
)
def test_programs_as_people_write_them_are_read_and_varied(name: str) -> None:
    parent = SPACE.parse((ROOT / "examples" / "networks" / f"{name}.py").read_text())
    carried = 0
    intents = [one.name for one in INTENTS if one.parents == 1]
    for intent in intents:
        with suppress(InvalidArchitecture):
            carried += SPACE.vary(intent, [parent], Random(0)).id != parent.id
    assert carried >= len(intents) - 2


def test_the_plain_text_has_neither_comments_nor_docstrings_and_runs_as_before() -> None:
    plain = read(RESNET).text
    assert '"""' not in plain
    assert "class Network(nn.Module)" in plain
    assert "SmallResNet" not in plain
    assert ast.unparse(ast.parse(plain)) == plain.rstrip("\n")
    assert read(plain).text == plain
