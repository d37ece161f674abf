"""Operators of a language model on the space `pytorch`: its own reasons bring programs right, and the benchmark counts.

Texts are looked at in this process: they are ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import pytest

from benchmarks import operators_llm
from nas_agent import Search
from nas_agent.agents.operators import LanguageModelOperators, Parent, Request, Rules
from nas_agent.errors import InvalidArchitecture, ModelError
from nas_agent.records import Architecture, Failed, Measured, Outcome, Provenance
from nas_agent.spaces.code import INTENTS
from nas_agent.spaces.inspection import Inspection, NetworkShape, Refusal
from nas_agent.spaces.pytorch import Pytorch
from nas_agent.told import NoTestSplit
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.inspection import child
from nas_agent.tools.inspection.sandboxed import reading
from tests.fakes import ScriptedModel
from tests.searching import TASK

SHAPE = NetworkShape.of(10, 1, 8)


class Here:
    """Looks at texts without a sandbox."""

    def inspect(self, text: str, arguments: Mapping[str, int], shape: NetworkShape) -> Inspection | Refusal:
        return reading(*child.inspect({"text": text, "arguments": dict(arguments), "shape": asdict(shape)}, b""))


@pytest.fixture(scope="module")
def space() -> Pytorch:
    return Pytorch(SHAPE, Here())


GOOD = """```python
from torch import nn

class TinyNet(nn.Module):
    '''A small network.'''
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.flatten(1))

model = TinyNet()
print(model)
```"""
FAULTS = {
    GOOD.replace("from torch import nn", "import torch.hub\nfrom torch import nn"): "'import torch.hub' is not allowed",
    GOOD.replace("from torch import nn", "import os\nfrom torch import nn"): "'import os' is not allowed",
    GOOD.replace("128, 10", "128, 11").replace("4, 10", "4, 11"): "expected logits of the shape (batch, 10)",
    GOOD.replace("8 * 4 * 4", "8 * 8 * 8"): "would fit with in_features=128",
    GOOD.replace("    def forward", "    def fordward"): "forward",
    GOOD.replace("8 * 4 * 4, 10", "8 * 4 * 4, 2000000"): "parameters",
    GOOD.replace("return self.classifier(x.flatten(1))", "return x.new_zeros(x.shape[0], 10)"): "",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_reason_of_the_space_goes_back_to_the_model_and_the_next_program_is_a_network(
    space: Pytorch, fault: str
) -> None:
    assert fault != GOOD
    model = ScriptedModel([fault, GOOD])
    parent = Parent(space.start(), space.format(space.start()), 61.5)
    asking = LanguageModelOperators(model, TASK, Rules.of(SHAPE), space.parse)
    offspring = asking.vary(Request(INTENTS[0], [parent]))
    assert [attempt.came_back for attempt in offspring.attempts] == [True, True]
    assert offspring.attempts[0].problem
    assert FAULTS[fault] in offspring.attempts[0].problem
    assert json.dumps(offspring.attempts[0].problem, ensure_ascii=False) in model.prompts[1]
    assert offspring.child is not None
    assert offspring.child == space.parse(offspring.child.text)
    assert "class Network(nn.Module):" in offspring.child.text
    for words in ("shape (N, 1, 8, 8)", "shape (N, 10)", "at most 2,000,000 parameters", "at most 64,000,000 multiply"):
        assert words in model.prompts[0]


def test_edits_of_the_spaces_own_text_are_carried_out(space: Pytorch) -> None:
    edit = (
        "<<<<<<< SEARCH\n        self.conv = nn.Conv2d(1, 1, 1)\n        self.head = nn.Linear(64, 10)\n=======\n"
        "        self.conv = nn.Conv2d(1, 4, 3, padding=1)\n        self.head = nn.Linear(256, 10)\n>>>>>>> REPLACE"
    )
    parent = Parent(space.start(), space.format(space.start()))
    asking = LanguageModelOperators(ScriptedModel([edit]), TASK, Rules.of(SHAPE), space.parse, edits="blocks")
    child_ = asking.vary(Request(INTENTS[0], [parent])).child
    assert child_ is not None
    assert "nn.Conv2d(1, 4, 3, padding=1)" in child_.text


@dataclass
class Weigher:
    """An evaluator that trains nothing and likes weights; too many of them do not train."""

    space: Pytorch
    name: str = "weigher"
    provenance: Provenance = "measured"
    fidelity: str = "made up"

    def pool(self) -> Sequence[Architecture] | None:
        return None

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        weights = self.space.inspection(architecture).parameters
        if weights > 8_000:
            return Failed(architecture, f"the loss became nan with {weights:,} weights", 0.0, seed, self.name)
        return Measured(architecture, weights / 1000.0, self.fidelity, 0.0, seed, self.name)


def test_a_whole_search_of_pytorch_measures_what_the_model_writes_and_what_the_space_makes(space: Pytorch) -> None:
    def written(prompt: str) -> str:
        """Write a network of another width each time, edit the convolution, import what is not allowed, or talk."""
        rng = Random(prompt)
        kind, width = rng.random(), rng.randrange(2, 99)
        program = GOOD.replace("(1, 8, 3", f"(1, {width}, 3").replace("Norm2d(8)", f"Norm2d({width})")
        program = program.replace("8 * 4 * 4", f"{width} * 4 * 4")
        faulty = program.replace("from torch", "import torch.hub\nfrom torch", 1)
        return program if kind < 0.5 else faulty if kind < 0.8 else "It depends."

    model = ScriptedModel([written])
    settings: dict[str, Any] = {"generator": "code", "principles": False, "surrogate": "none", "niches": 20}
    found = Search(
        TASK,
        space=space,
        evaluation=Evaluation(TASK, Weigher(space), NoTestSplit(), "made up for a test"),
        model=model,
        budget=16,
        **settings,
    )
    result = found.run()
    assert len(result.outcomes) == 16
    counts = result.llm["operators"]["all"]
    assert 0 < counts["valid"] < counts["valid_after_repair"] <= counts["asked"] <= 15
    proposals = [event["proposal"] for event in found.journal.log.events if event["type"] == "proposal"]
    by = [each["variation"]["by"].partition(" / ")[0] for each in proposals if "variation" in each]
    assert by.count("language model scripted") == counts["valid_after_repair"]
    assert by.count("program") == 15 - counts["valid_after_repair"]
    assert any("'import torch.hub' is not allowed" in prompt for prompt in model.prompts)
    assert any("the loss became nan" in prompt for prompt in model.prompts)


def test_the_benchmark_counts_what_came_of_each_intent_and_what_the_space_makes_of_the_same_questions(
    space: Pytorch,
) -> None:
    rng = Random(0)

    def written(prompt: str) -> str:
        """Write a network of another width each time; often spoil the answer."""
        width, spoil = rng.randrange(2, 99), rng.random()
        program = GOOD.replace("(1, 8, 3", f"(1, {width}, 3").replace("Norm2d(8)", f"Norm2d({width})")
        program = program.replace("8 * 4 * 4", f"{width} * 4 * 4")
        if spoil < 0.4:
            return "It depends." if spoil < 0.2 else program.replace("from torch", "import os\nfrom torch", 1)
        return program

    report = operators_llm.measure(ScriptedModel([written]), space, 18)
    every = report.by_intent["all"]
    assert every.asked == 18 == sum(asked for asked, _ in report.control.values())
    assert 0 < every.valid < every.valid_after_repair <= 18
    assert every.valid <= every.came_back < 18
    assert 18 <= report.calls <= 54
    assert set(report.control) == {intent.name for intent in INTENTS}
    text = operators_llm.table(report)
    assert f"| all | 18 | {100 * every.came_back / 18:.1f} % | {100 * every.valid / 18:.1f} % |" in text
    assert json.loads(json.dumps(report.to_dict()))["by_intent"]["all"]["asked"] == 18
    silent = operators_llm.measure(ScriptedModel([ModelError("nobody is there")]), space, 18)
    assert silent.by_intent["all"].asked == 0
    assert operators_llm.table(silent).endswith("stopped: nobody is there")
    with pytest.raises(InvalidArchitecture):
        space.parse("x")
