"""`pytorch`: any network that can be written as a class of torch, for the images of a task.

The text is read here and never run here: what it makes is looked at by an `Inspector`, in a sandbox. Two texts are one
architecture where the operators that they compute are the same (`pytorch_graph`); each keeps its own text. The intents
are those of LLMatic (Nasir et al., 2024), carried out on the syntax tree.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nas_agent.errors import ConfigError, InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Choices, Decision, short_hash
from nas_agent.spaces.cell_graph import CellGraph, Operation
from nas_agent.spaces.code import INTENTS, Descriptors
from nas_agent.spaces.features import Floats, size_block
from nas_agent.spaces.inspection import Inspection, Inspector, NetworkShape, Refusal
from nas_agent.spaces.pytorch_graph import KINDS, Profile, profile
from nas_agent.spaces.pytorch_template import DECISIONS, choices_of, drawn_choices, start_text, written
from nas_agent.spaces.pytorch_text import Program, read, stand_alone

if TYPE_CHECKING:
    from torch import nn

DRAWS = 500  # of choices, until they are a network
DRAWN = 0.1  # of the multiply-adds that are allowed: a draw says little of how much is needed
BUILT = 7  # tries to meet choices by the numbers within their options, before the last one
NEIGHBOURS = 8
REMEMBERED = 5_000


@dataclass(frozen=True, slots=True)
class _Known:
    architecture: Architecture
    inspection: Inspection
    profile: Profile


class Pytorch:
    """Texts of nn.Module classes. Without an inspector they are read only, and an id tells texts apart."""

    name: ClassVar[str] = "pytorch"
    decisions: ClassVar[tuple[Decision, ...]] = DECISIONS
    operations: ClassVar[tuple[Operation, ...]] = ()
    proposals: int = 12
    untrusted: ClassVar[bool] = True  # its networks are trained in the sandbox

    def __init__(self, shape: NetworkShape | None = None, inspector: Inspector | None = None) -> None:
        self.shape = shape or NetworkShape()
        self.inspector = inspector
        self._known: OrderedDict[str, _Known] = OrderedDict()  # a cache, not state

    def equipped(self, shape: NetworkShape | None, inspector: Inspector) -> Pytorch:
        """Return the space for images of this shape, None for its own, with somebody who looks at texts."""
        return Pytorch(shape or self.shape, inspector)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return how far its descriptors reach for these images."""
        return self.shape.ranges

    def start(self) -> Architecture:
        """Return LLMatic's first network: one 1x1 convolution and a linear layer."""
        return self.parse(start_text(self.shape))

    def sample(self, rng: Random) -> Architecture:
        """Draw choices, usual ones more often, until they are a network of the template that is not costly."""
        for _ in range(DRAWS):
            try:
                drawn = self.parse(written(drawn_choices(rng), self.shape, rng))
            except InvalidArchitecture:
                continue
            if self.inspection(drawn).flops <= DRAWN * self.shape.flops:
                return drawn
        raise InvalidArchitecture(f"no network of {self.shape} was found in {DRAWS} draws; allow more parameters")

    def mutate(self, architecture: Architecture, rng: Random) -> Architecture:
        """Carry out an intent drawn by chance; the architecture itself where none can be carried out."""
        single = [intent.name for intent in INTENTS if intent.parents == 1]
        for intent in rng.sample(single, len(single)):
            try:
                return self.vary(intent, [architecture], rng)
            except InvalidArchitecture:
                continue
        return architecture

    def crossover(self, first: Architecture, second: Architecture, rng: Random) -> Architecture:
        """Combine two networks; the first where they cannot be."""
        try:
            return self.vary("combine", [first, second], rng)
        except InvalidArchitecture:
            return first

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield up to NEIGHBOURS distinct networks that one intent makes of it, always the same ones."""
        rng, seen = Random(architecture.id), {architecture.id}
        for _ in range(2 * NEIGHBOURS):
            other = self.mutate(architecture, rng)
            if other.id not in seen:
                seen.add(other.id)
                yield other
            if len(seen) > NEIGHBOURS:
                return

    def vary(self, intent: str, parents: Sequence[Architecture], rng: Random) -> Architecture:
        """Carry out an intent; InvalidArchitecture with the reason where it cannot be, or nothing trainable came."""
        from nas_agent.spaces.pytorch_variation import varied

        wanted = next((one for one in INTENTS if one.name == intent), None)
        if wanted is None or len(parents) < wanted.parents:
            names = ", ".join(f"{one.name} ({one.parents})" for one in INTENTS)
            raise InvalidArchitecture(
                f"expected an intent with so many parents: {names}; got '{intent}' with {len(parents)}"
            )
        return varied(self, intent, parents, rng)

    def descriptors(self, architecture: Architecture) -> Descriptors:
        """Describe an architecture for archives."""
        known = self._look(architecture.text)
        found = known.profile
        return Descriptors(
            found.width / max(found.layers, 1), float(known.inspection.flops), float(known.inspection.parameters)
        )

    def parse(self, text: str) -> Architecture:
        """Read a text, see in the sandbox that it can be trained; InvalidArchitecture says what to change."""
        if self.inspector is None:
            plain = read(text).text
            return Architecture(self.name, plain, short_hash(plain))
        return self._look(text).architecture

    def refusal(self, text: str) -> Refusal | None:
        """Return why a text is no architecture, with the sizes that would mend it; None where it is one."""
        try:
            program = read(text)
        except InvalidArchitecture as error:
            return Refusal("read", str(error))
        found = self._inspect(program)
        return found if isinstance(found, Refusal) else None

    def inspection(self, architecture: Architecture) -> Inspection:
        """Return what was seen of an architecture in the sandbox."""
        return self._look(architecture.text).inspection

    def format(self, architecture: Architecture) -> str:
        """Write the text."""
        return architecture.text

    def canonical(self, architecture: Architecture) -> Architecture:
        """Return the architecture with its text written plainly: texts of one network keep their differences."""
        return self.parse(architecture.text)

    def choices(self, architecture: Architecture) -> dict[str, str]:
        """Return the option of each decision."""
        return choices_of(self._look(architecture.text).profile)

    def build(self, choices: Choices) -> Architecture:
        """Write a network with these options by the template, always the same one."""
        rng = Random(str(sorted(choices.items())))
        for last in (False,) * BUILT + (True,):
            try:
                made = self.parse(written(choices, self.shape, rng))
            except InvalidArchitecture:
                if last:
                    raise
                continue
            got = self.choices(made)
            wrong = [name for name, option in got.items() if choices.get(name) != option]
            if not wrong:
                return made
        raise InvalidArchitecture(
            f"expected {wrong[0]}={choices.get(wrong[0])}, got {got[wrong[0]]} with the other choices; "
            "change one of them"
        )

    def enumerate(self) -> Sequence[Architecture] | None:
        """Return None: there are too many."""
        return None

    def graph(self, architecture: Architecture) -> CellGraph | None:
        """Return None: there are no cells."""
        return None

    def features(self, architecture: Architecture) -> dict[str, Floats]:
        """Describe what the network computes by blocks of numbers."""
        known = self._look(architecture.text)
        found, inspection = known.profile, known.inspection
        count = [found.counts[kind] for kind in (*KINDS, "skip")]
        count += [found.kernels[side] for side in (1, 3, 5)] + [found.grouped]
        depth = [
            found.depth,
            found.layers,
            found.width,
            found.places,
            found.operators,
            found.width / max(found.layers, 1),
        ]
        return {
            "count": np.log1p(np.array(count, dtype=np.float64)),
            "depth": np.log1p(np.array(depth, dtype=np.float64)),
            "activation": np.array([float(kind in found.activations) for kind in ("relu", "gelu", "silu", "tanh")]),
            **size_block((inspection.flops, inspection.parameters)),
        }

    def source(self, architecture: Architecture) -> str:
        """Return the text: it is code already."""
        return architecture.text

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        """Write a file that needs nothing but torch; `Network` takes sizes, and keeps to those of the text."""
        return stand_alone(architecture.text, classes, self.shape.channels)

    def network(self, architecture: Architecture, *, classes: int, in_channels: int = 3, width: int = 16) -> nn.Module:
        """Refuse: the text may be anybody's, and this process has rights."""
        raise ConfigError(
            "a network of space 'pytorch' is built in the sandbox only; write it with `module_source` and run it there"
        )

    def _look(self, text: str) -> _Known:
        program = read(text)
        known = self._known.get(program.text)
        if known is None:
            found = self._inspect(program)
            if isinstance(found, Refusal):
                raise InvalidArchitecture(f"{found.step}: {found.reason}")
            try:
                seen = profile(found.nodes)
            except (LookupError, TypeError, ValueError) as error:  # it is what the text's own process claims
                raise InvalidArchitecture("reply: its operators cannot be read; propose a simpler network") from error
            known = _Known(Architecture(self.name, program.text, seen.identity), found, seen)
            self._known[program.text] = known
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known

    def _inspect(self, program: Program) -> Inspection | Refusal:
        if self.inspector is None:
            raise ConfigError(
                "space 'pytorch' looks at networks in the sandbox, for the images of a task; name the task: "
                "nas-agent run --task digits --space pytorch"
            )
        shape = self.shape
        return self.inspector.inspect(program.text, program.arguments(shape.classes, shape.channels), shape)
