"""A small space whose notation is a program, so that a language model can write it; nothing of it is ever run."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture, Failed, Measured, Outcome
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.spaces.code import Descriptors
from nas_agent.spaces.inspection import Inspector, NetworkShape
from tests.searching import WORTH, Diary

if TYPE_CHECKING:
    from torch import nn

PROGRAM = """import torch
from torch import nn


class Network(nn.Module):
    LAYERS = {layers}
"""


class ToyPrograms(CategoricalSpace):
    """Five layers of four kinds, as a class text."""

    name = "toy-programs"
    decisions = tuple(Decision(f"layer_{i}", tuple(WORTH)) for i in range(5))
    ranges: ClassVar[dict[str, tuple[float, float]]] = {"width_to_depth": (0.1, 10.0), "flops": (1.0, 1000.0)}
    shape = NetworkShape(10, 1, 8)
    inspector: Inspector | None = None
    proposals = 8

    def equipped(self, shape: NetworkShape | None, inspector: Inspector) -> ToyPrograms:
        return self

    def write(self, options: tuple[str, ...]) -> str:
        return PROGRAM.format(layers=options)

    def read(self, text: str) -> tuple[str, ...]:
        found = re.search(r"LAYERS = (\([^()]*\))", text)
        if found is None:
            raise InvalidArchitecture("expected a class with LAYERS; write one")
        options = ast.literal_eval(found[1])
        if len(options) != 5 or not set(options) <= set(WORTH):
            raise InvalidArchitecture(f"expected five layers of {', '.join(WORTH)}, got {options}")
        return tuple(options)

    def network(self, architecture: Architecture, *, classes: int, in_channels: int, width: int) -> nn.Module:
        raise NotImplementedError("nothing of it is ever run")

    def start(self) -> Architecture:
        return self.build({decision.name: "pool" for decision in self.decisions})

    def vary(self, intent: str, parents: Sequence[Architecture], rng: Random) -> Architecture:
        if intent == "recurrent":
            raise InvalidArchitecture("there is no recurrent layer here")
        if len(parents) > 1:
            return self.crossover(parents[0], parents[1], rng)
        return rng.choice(list(self.neighbours(parents[0])))

    def descriptors(self, architecture: Architecture) -> Descriptors:
        layers = [WORTH[option] for option in self.choices(architecture).values()]
        return Descriptors(max(layers) / len(set(layers)), sum(layers) * 20.0, 10.0)


@dataclass
class Reader(Diary):
    """An evaluator that likes wide layers early; three skips do not train."""

    name: str = "reader"

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        self.calls.append(architecture.id)
        options = ToyPrograms().read(architecture.text)
        if options.count("skip") >= 3:
            return Failed(architecture, "the loss became nan; use fewer skips", 0.0, seed, self.name)
        value = 50.0 + sum(4.0 * WORTH[option] / (1 + place) for place, option in enumerate(options))
        return Measured(architecture, value, self.fidelity, 0.0, seed, self.name)


def answering(prompt: str) -> str:
    """Stand in for a language model: mostly a network, sometimes prose, an unknown layer, or edits."""
    rng = Random(prompt)
    asked = prompt.rpartition("# Your last answer could not be used")[0] or prompt
    given = re.findall(r"LAYERS = (\([^()]*\))", asked)
    kind = rng.random()
    if kind < 0.2 or not given:
        return "I would need to know more about the images."
    layers = list(ast.literal_eval(given[0]))
    before = PROGRAM.format(layers=tuple(layers)).splitlines()[-1]
    layers[rng.randrange(5)] = "attention" if kind < 0.35 else rng.choice(list(WORTH))
    program = PROGRAM.format(layers=tuple(layers))
    if kind < 0.6:
        return f"<<<<<<< SEARCH\n{before}\n=======\n{program.splitlines()[-1]}\n>>>>>>> REPLACE"
    return f"Like this:\n\n```python\n{program}```"
