"""Inspection in the real sandbox: the same answers as without walls, hostile texts, and what a search is handed."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import pytest

from nas_agent import Search
from nas_agent.errors import ConfigError, InvalidArchitecture
from nas_agent.records import Task
from nas_agent.spaces import load_space
from nas_agent.spaces.inspection import Inspection, NetworkShape, Refusal
from nas_agent.spaces.pytorch import Pytorch
from nas_agent.spaces.pytorch_text import read
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.inspection import SandboxInspector, equipped
from nas_agent.tools.inspection.sandboxed import reading
from nas_agent.tools.sandbox import backends
from tests.inspecting import DIGITS, TrustingInspector
from tests.test_pytorch import LENET, PLAIN, RESNET, changed

confined = pytest.mark.skipif(backends.obstacle() is not None, reason=f"no sandbox here: {backends.obstacle()}")


@pytest.fixture(scope="module")
def inspector() -> Iterator[SandboxInspector]:
    found = SandboxInspector()
    yield found
    found.close()


@confined
@pytest.mark.parametrize("text", [RESNET, LENET, PLAIN, changed(PLAIN, "nn.Linear(16", "nn.Linear(17")])
def test_the_sandbox_sees_what_is_seen_without_walls(inspector: SandboxInspector, text: str) -> None:
    program = read(text)
    found = inspector.inspect(program.text, program.arguments(10, 1), DIGITS)
    assert found == TrustingInspector().inspect(program.text, program.arguments(10, 1), DIGITS)


@confined
def test_an_inspector_that_has_looked_goes_to_other_machines_without_its_sandbox(inspector: SandboxInspector) -> None:
    space = equipped(Pytorch(), None, inspector)
    text = space.sample(Random(0)).text
    assert pickle.loads(pickle.dumps(space)).parse(text).text == text


@confined
def test_one_warm_parent_answers_and_a_text_is_looked_at_once(inspector: SandboxInspector) -> None:
    space = Pytorch(DIGITS, inspector)
    text = changed(LENET, "32", "24")
    before = len(inspector.seconds)
    assert space.parse(text) == space.parse(text) == Pytorch(DIGITS, inspector).parse(f"# again\n{text}")
    assert len(inspector.seconds) == before + 1


# What reads like a network, gets by the checks of the text, and must be met by the walls.
HOSTILE = [
    ("self.big = [torch.zeros(1000, 1000) for _ in range(3000)]", "memory|cannot allocate"),
    ("[0 for _ in range(10**12)]", "stopped after|more than|cpu|MemoryError"),
    ("self.forward.__init__.__self__", "not allowed"),
    ("self.x = str.format('{0.__globals__}', self.forward)", "."),
    ("self.y = 'a' * 10**10", "memory|MemoryError"),
]


@confined
@pytest.mark.parametrize(("line", "wanted"), HOSTILE, ids=[line[:24] for line, _ in HOSTILE])
def test_a_hostile_text_is_one_refusal_and_the_next_text_is_answered(
    inspector: SandboxInspector, line: str, wanted: str
) -> None:
    space = Pytorch(DIGITS, inspector)
    text = changed(PLAIN, "self.a = nn", f"{line}\n        self.a = nn")
    if "format" in line:  # no more than a text: it is allowed, and leads nowhere
        assert space.parse(text).id == space.parse(PLAIN).id
    else:
        with pytest.raises(InvalidArchitecture, match=wanted):
            space.parse(text)
    assert space.parse(PLAIN.replace("16", str(17 + HOSTILE.index((line, wanted))))).text


@pytest.mark.parametrize(
    ("result", "blob"),
    [
        (None, b""),
        ({}, b"{}"),
        ({"parameters": 1, "flops": 1}, b"not json"),
        ({"parameters": "many", "flops": 1}, b'{"nodes": [], "layers": [], "points": {}}'),
        ({"step": "x"}, b""),
        ({"step": "x", "reason": "y", "wishes": [{"span": [1]}]}, b""),
        ([1, 2], b""),
        ({"parameters": 1, "flops": 1}, b'{"nodes": [{}], "layers": [], "points": {}}'),
        ({"parameters": 1, "flops": 1}, b'{"nodes": [{"op": "a", "attrs": [], "inputs": [7], "shape": []}]}'),
        ({"parameters": -5, "flops": 1}, b'{"nodes": [], "layers": [], "points": {}}'),
    ],
)
def test_an_answer_that_is_none_is_a_refusal(result: object, blob: bytes) -> None:
    found = reading(result, blob)
    assert isinstance(found, Refusal)
    assert "propose a simpler network" in found.reason


def test_a_reason_from_the_sandbox_cannot_steer_a_terminal() -> None:
    found = reading({"step": "x", "reason": "bad\x1b[2J\ntext" + "y" * 5000, "wishes": []}, b"")
    assert isinstance(found, Refusal)
    assert found.reason.isprintable()
    assert len(found.reason) <= 600


def test_the_task_gives_the_space_its_images() -> None:
    loaded = load_space("pytorch")
    evaluation = load_evaluation("digits", loaded, "train", data=None, epochs=1)
    space = equipped(loaded, evaluation, TrustingInspector())
    assert isinstance(space, Pytorch)
    assert space.shape == NetworkShape.of(10, 1, 8)
    assert equipped(space, evaluation) is space
    plain = load_space("nb201")
    assert equipped(plain, None) is plain


def test_costs_are_those_that_the_sandbox_counted() -> None:
    from nas_agent.objectives import Quantity
    from nas_agent.tools.costs import Costs

    loaded = load_space("pytorch")
    evaluation = load_evaluation("digits", loaded, "train", data=None, epochs=1)
    space = equipped(loaded, evaluation, TrustingInspector())
    assert isinstance(space, Pytorch)
    costs, start = Costs(space, evaluation), space.start()
    assert costs.of(Quantity("params"))(start) == 652
    assert costs.of(Quantity("flops"))(start) == 704
    with pytest.raises(ConfigError, match="sandbox"):
        costs.of(Quantity("latency"))


def test_evolve_proposes_as_few_as_the_space_asks_for() -> None:
    from nas_agent.agents.generators import Brief, make_generator

    space = Pytorch(DIGITS, TrustingInspector())
    start, other = space.start(), space.parse(LENET)
    brief = Brief(space, [(other, 90.0), (start, 60.0)], {start.id, other.id}, None, None)
    found = make_generator("evolve", "pytorch", seed=0).propose(brief, Random(0))
    assert 0 < len(found) <= space.proposals
    assert {proposal.author for proposal in found} <= {"sample", "mutation", "crossover"}


@confined
@pytest.mark.slow
def test_a_search_trains_programs_in_the_sandbox(tmp_path: Path) -> None:
    from nas_agent.config import make_config
    from nas_agent.run import start

    settings = {"task": "digits", "space": "pytorch", "budget": 3, "epochs": 1, "out": tmp_path, "memory": False}
    result = start(make_config({**settings, "recall": "none"}))
    assert len(result.outcomes) == 3
    assert result.best is not None
    assert "class Network" in (Path(str(result.run)) / "best.py").read_text()


def test_a_process_that_describes_no_network_gives_no_architecture() -> None:
    class Lying(TrustingInspector):
        def inspect(self, text: str, arguments: Mapping[str, int], shape: NetworkShape) -> Inspection | Refusal:
            images = {"op": "images", "attrs": [], "inputs": [], "shape": []}
            strange = {"op": "aten.convolution", "attrs": [], "inputs": [0], "shape": []}
            return Inspection((images, strange, {"op": "logits", "attrs": [], "inputs": [1], "shape": []}), 1, 1)

    with pytest.raises(InvalidArchitecture, match="its operators cannot be read"):
        Pytorch(DIGITS, Lying()).parse(LENET)


@pytest.mark.slow
def test_a_search_over_programs_learns_principles_and_breeds_within_them() -> None:
    space = Pytorch(DIGITS, TrustingInspector())
    search = Search(Task("mine", "My own digits."), space=space, budget=6, adapt_every=3, seed=1)
    authors = set[str]()
    while proposals := search.ask():
        for proposal in proposals:
            authors.add(proposal.author)
            pooled = space.choices(proposal.architecture)["pooling"] != "0"
            search.tell(proposal, 90.0 + pooled + space.descriptors(proposal.architecture).flops / 1e9)
    found = search.result()
    assert len({outcome.architecture.id for outcome in found.outcomes}) == 6
    assert found.best is not None
    assert authors & {"mutation", "crossover"}
