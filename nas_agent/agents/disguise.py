"""What a model is shown of a space, and what its words mean: as it is, or under neutral labels.

A model may know a benchmark's best cell by heart. Under `--anonymise` everything that names something is
replaced before a prompt is written and put back when the reply has been checked: operations and other options
(op_A, op_B, ...), decisions (d1, d2, ...), the space, tasks, metrics, reasons of failures. Sentences that others
wrote cannot be translated word by word, so a principle is told by its constraint alone and a reason by a label.
The control is ours; LAPT has none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from random import Random

from nas_agent.errors import PrincipleError
from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.statistics import sentence
from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces.base import Choices, Decision, Space

WITHHELD = "withheld"


class Lens:
    """Shows a space and what was measured in it as they are; `Disguise` shows them under labels.

    What is shown goes through `task` to `claim`; a reply that fits what was shown comes back through the three `meant`.
    """

    note = ""  # what authors of principles and proposals are marked with
    code_is = "PyTorch code"

    def __init__(self, space: Space) -> None:
        self.space = space
        self.name = space.name
        self.decisions: tuple[Decision, ...] = tuple(space.decisions)

    # -- what is shown --------------------------------------------------------------------------------

    def task(self, task: Task) -> Json:
        """Describe the task at hand."""
        return task.to_dict()

    def label(self, kind: str, text: str) -> str:
        """Show a name, a sentence or a number with a meaning of its own; `kind` says of what, e.g. "task"."""
        return text

    def code(self, architecture: Architecture) -> str:
        """Write an architecture as code."""
        return self.space.source(architecture)

    def choices(self, architecture: Architecture) -> dict[str, str]:
        """Return the option of each decision."""
        return self.space.choices(architecture)

    def constraint(self, constraint: Constraint) -> Constraint | None:
        """Show a constraint; None where it speaks of what this space does not have."""
        try:
            constraint.check(self.space.decisions)
        except PrincipleError:
            return None
        return constraint

    def claim(self, text: str, shown: Constraint) -> str:
        """Show the sentence of a principle whose constraint is shown like this."""
        return text

    # -- what is read ---------------------------------------------------------------------------------

    def meant(self, said: Constraint) -> Constraint:
        """Return the constraint that is meant by one in the model's words."""
        return said

    def meant_choices(self, said: Choices) -> dict[str, str]:
        """Return the options that are meant; each is one that was shown."""
        return dict(said)

    def meant_text(self, said: str) -> str:
        """Return a sentence of the model in the words of the space."""
        return said


class Disguise(Lens):
    """Shows everything under labels dealt out by a shuffle that the seed fixes, so that their order tells nothing."""

    note = ", anonymised"
    code_is = "a formula for each node of its graph, from the input x0 to the last node, the output"

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space)
        self._seed = seed
        self.name = self.label("space", space.name)
        rng = Random(f"{seed}/disguise")
        options = list(dict.fromkeys(option for decision in space.decisions for option in decision.options))
        names = [decision.name for decision in space.decisions]
        labels = [f"op_{_letters(place)}" for place in range(len(options))], [f"d{n + 1}" for n in range(len(names))]
        self._option = dict(zip(rng.sample(options, len(options)), labels[0], strict=True))
        self._decision = dict(zip(rng.sample(names, len(names)), labels[1], strict=True))
        self._meant = {label: name for names in (self._option, self._decision) for name, label in names.items()}
        place = {label: at for at, label in enumerate([*labels[0], *labels[1]])}
        shown = [
            Decision(
                self._decision[decision.name],
                tuple(sorted((self._option[option] for option in decision.options), key=place.__getitem__)),
                role=decision.role,
            )
            for decision in space.decisions
        ]
        self.decisions = tuple(sorted(shown, key=lambda decision: place[decision.name]))

    def task(self, task: Task) -> Json:
        """Tell of a task no more than the direction of its metric."""
        name = self.label("task", task.name)
        return {"name": name, "description": WITHHELD, "metric": "score", "unit": "", "maximise": task.maximise}

    def label(self, kind: str, text: str) -> str:
        """Return a label that is the same for the same text, and says nothing of it."""
        fixed = {"metric": "score", "unit": "", "why": WITHHELD}
        if kind in fixed:
            return fixed[kind]
        return f"{kind}_{hashlib.sha256(f'{self._seed}/{kind}/{text}'.encode()).hexdigest()[:6]}"

    def code(self, architecture: Architecture) -> str:
        """Write the formulas of the nodes; where there is no graph, or one of other operations, the choices."""
        graph = self.space.graph(architecture)
        chosen = self.space.choices(architecture)
        if graph is None or any(edge.operation not in self._option for edge in graph.edges):
            return "\n".join(f"{name} = {option}" for name, option in self.choices(architecture).items())
        # Where each edge is a decision, the formula says which.
        edges = [edge.operation for edge in graph.edges]
        deciding = [self._decision[name] for name in chosen] if list(chosen.values()) == edges else []
        lines = []
        for node in range(1, graph.nodes):
            terms, decisions = [], []
            for place, (edge, alive) in enumerate(zip(graph.edges, graph.live(), strict=True)):
                if alive and edge.end == node:
                    terms.append(f"{self._option[edge.operation]}(x{edge.start})")
                    decisions += deciding[place : place + 1]
            if terms or node == graph.nodes - 1:
                comment = f"  # {', '.join(decisions)}" if decisions else ""
                lines.append(f"x{node} = {' + '.join(terms) or '0'}{comment}")
        return "\n".join(lines)

    def choices(self, architecture: Architecture) -> dict[str, str]:
        """Return the labels of the options, by the labels of the decisions, in the order in which these are shown."""
        chosen = {self._decision[n]: self._option[o] for n, o in self.space.choices(architecture).items()}
        return {decision.name: chosen[decision.name] for decision in self.decisions}

    def constraint(self, constraint: Constraint) -> Constraint | None:
        """Say a constraint in labels."""
        known = super().constraint(constraint)
        return None if known is None else _renamed(known, self._decision, self._option)

    def claim(self, text: str, shown: Constraint) -> str:
        """Say what the constraint says: the sentence names things that are not to be named."""
        return sentence(shown, self.decisions)

    def meant(self, said: Constraint) -> Constraint:
        """Put the names back; the constraint has been checked against `decisions`."""
        return _renamed(said, self._meant, self._meant)

    def meant_choices(self, said: Choices) -> dict[str, str]:
        """Put the names back."""
        return {self._meant[name]: self._meant[option] for name, option in said.items()}

    def meant_text(self, said: str) -> str:
        """Put the names back wherever a label stands as a word."""
        return re.sub(r"\b(?:op_[A-Z]+|d\d+)\b", lambda found: self._meant.get(found[0], found[0]), said)


def _renamed(constraint: Constraint, decisions: Mapping[str, str], options: Mapping[str, str]) -> Constraint:
    kept = tuple(options[option] for option in constraint.options)
    match constraint:
        case Allowed():
            return Allowed(decisions[constraint.decision], kept)
        case Count():
            return replace(constraint, options=kept)
        case When():
            then = Allowed(decisions[constraint.then.decision], tuple(options[o] for o in constraint.then.options))
            return When(decisions[constraint.decision], kept, then)


def _letters(number: int) -> str:
    """Return A, B, ..., Z, AA, AB, ... for 0, 1, ..."""
    first, last = divmod(number, 26)
    return (_letters(first - 1) if first else "") + chr(ord("A") + last)
