"""A language model as an operator on programs: it varies one network, or combines two or three, by sixteen intents.

The intents are those of LLMatic (Nasir et al., 2024, arXiv 2306.01102, section 3). That an answer is asked for again
with the reason why it cannot be used, and that edits may stand for the whole program, is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Literal

from nas_agent.agents.chat import CallsSpent, ChatModel, Manner, Reply
from nas_agent.agents.learner import ModelCall, called
from nas_agent.agents.operators.grammar import class_grammar
from nas_agent.agents.operators.programs import Form, read_program
from nas_agent.errors import InvalidArchitecture, ModelError
from nas_agent.principles.principle import one_line
from nas_agent.prompts import Rendered, render
from nas_agent.records import Architecture, Json, Task
from nas_agent.spaces.code import Intent
from nas_agent.spaces.inspection import NetworkShape

Edits = Literal["auto", "whole", "blocks"]

REPAIRS = 2  # further questions about one answer that cannot be used
MOST_PARENTS = 3
LATELY = 5  # of what went wrong, in a prompt
QUOTED = 8000  # characters of a bad answer that are sent back
PROBLEM = 600  # characters of a reason

# Providers of models large enough to keep the lines under SEARCH as they are. Models in this process, and those of a
# server of one's own, are often small, and write a short program anew more surely than they quote it.
HOSTED = ("anthropic:", "deepseek:", "google_genai:", "google_vertexai:", "mistralai:", "openai:", "xai:")


@dataclass(frozen=True, slots=True)
class Rules:
    """What every program must keep to, as the prompt says it."""

    shape: tuple[int, int, int]  # of an image: channels, height, width
    classes: int
    imports: tuple[str, ...] = ("torch", "torch.nn", "torch.nn.functional", "math")
    limits: tuple[str, ...] = ()  # a sentence each, e.g. "It has at most 1,000,000 parameters."
    class_name: str = "Network"

    @classmethod
    def of(cls, shape: NetworkShape) -> Rules:
        """Say what the space `pytorch` asks of networks of this shape."""
        limits = (
            f"It has at most {shape.parameters:,.0f} parameters.",
            f"It takes at most {shape.flops:,.0f} multiply-adds for one image.",
            "It has no `try`, `with` and `while`, and no names with two underscores in front but `__init__`.",
        )
        return cls((shape.channels, shape.side, shape.side), shape.classes, limits=limits)


@dataclass(frozen=True, slots=True)
class Parent:
    """A network that an answer starts from."""

    architecture: Architecture
    code: str
    value: float | None = None  # on the validation split, in the task's unit; None where it has none


@dataclass(frozen=True, slots=True)
class Request:
    """One question: what is wanted of which networks."""

    intent: Intent
    parents: Sequence[Parent]  # of a crossover the best one first
    temperature: float | None = None  # None: the run's
    draw: int = 0  # tells the same request, put again, from the first one
    lately: Sequence[Json] = ()  # what went wrong lately, the newest last: the intent and why
    known: Container[str] = ()  # canonical ids of networks that need no proposal

    def __post_init__(self) -> None:
        if not self.intent.parents <= len(self.parents) <= MOST_PARENTS:
            raise ValueError(
                f"'{self.intent.name}' takes {self.intent.parents} to {MOST_PARENTS} networks, got {len(self.parents)}"
            )


@dataclass(frozen=True, slots=True)
class Attempt:
    """One reply, as far as it got."""

    came_back: bool  # there was a Python program with a class in it
    problem: str  # why it is no network of the space; "" where it is one
    form: Form | None = None  # None where nothing could be read


@dataclass(slots=True)
class Offspring:
    """What came of one request."""

    intent: str
    author: str
    child: Architecture | None = None
    attempts: list[Attempt] = field(default_factory=list)
    calls: list[ModelCall] = field(default_factory=list)
    silent: str = ""  # why the model gave no answer: its calls are spent, or it cannot be reached

    @property
    def why(self) -> str:
        """Say why there is no child; "" where there is one."""
        if self.child is not None:
            return ""
        return self.silent or self.attempts[-1].problem

    def to_dict(self) -> Json:
        """As plain JSON types; the calls have records of their own."""
        return {
            "intent": self.intent,
            "author": self.author,
            "child": None if self.child is None else self.child.to_dict(),
            "attempts": [{"came_back": a.came_back, "problem": a.problem, "form": a.form} for a in self.attempts],
            "silent": self.silent,
        }


class LanguageModelOperators:
    """Asks a model for variations of programs.

    `read` makes the canonical architecture of a program, or raises InvalidArchitecture with a reason that the model
    can act on; all that runs what the model wrote is behind it. `edits` says how models are asked to answer: the whole
    program, SEARCH/REPLACE blocks, or auto, which is by the model. Either is understood whatever was asked for.
    """

    def __init__(
        self,
        model: ChatModel,
        task: Task,
        rules: Rules,
        read: Callable[[str], Architecture],
        *,
        edits: Edits = "auto",
        repairs: int = REPAIRS,
    ) -> None:
        self.model = model
        self.edits: Form = form_for(model.name) if edits == "auto" else edits
        self.repairs = repairs
        self._task, self._rules, self._read = task, rules, read

    def question(self, request: Request, edits: Form | None = None) -> Rendered:
        """Return the prompt that `vary` sends first; of a crossover the whole program is always asked for."""
        task, rules = self._task, self._rules
        better = "larger" if task.maximise else "smaller"
        about = {"metric": task.metric, "unit": task.unit, "better": better}
        return render(
            f"vary/{file_name(request.intent)}",
            wish=request.intent.wish,
            task={"task": task.name, "description": task.description, **about},
            class_name=rules.class_name,
            shape=rules.shape,
            classes=rules.classes,
            imports=rules.imports,
            limits=rules.limits,
            parents=[{"code": parent.code, "value": parent.value} for parent in request.parents],
            lately=list(request.lately)[-LATELY:],
            edits="whole" if len(request.parents) > 1 else edits or self.edits,
        )

    def vary(self, request: Request) -> Offspring:
        """Ask, read and repair. The model's nonsense never raises, nor does a model that gives no answer."""
        prompt = self.question(request)
        offspring = Offspring(request.intent.name, f"language model {self.model.name} / prompt {prompt.reference}")
        whole = len(request.parents) > 1 or self.edits == "whole"
        for attempt in range(self.repairs + 1):
            try:
                reply = self.model.complete(prompt.text, None, self._manner(request, whole))
            except ModelError as error:
                if not isinstance(error, CallsSpent):  # then no call was made
                    offspring.calls.append(called(self.model.name, prompt, Reply("", method="none"), str(error)))
                offspring.silent = str(error)
                return offspring
            code, found = self._take(reply, request, offspring)
            offspring.calls.append(called(self.model.name, prompt, reply, found.problem))
            if offspring.child is not None or attempt == self.repairs:
                return offspring
            # A repair is the whole program, since the lines to be searched would be those of a program that failed.
            whole = True
            prompt = self._repair(request, reply, code, found.problem)
        raise AssertionError("the last attempt returns")

    def _manner(self, request: Request, whole: bool) -> Manner:
        return Manner(request.temperature, request.draw, class_grammar(self._rules.class_name) if whole else "")

    def _repair(self, request: Request, reply: Reply, code: str, problem: str) -> Rendered:
        question = self.question(request, "whole").text
        said = (code or reply.text)[:QUOTED]
        return render("vary/repair", question=question, code=bool(code), reply=said, problems=[problem])

    def _take(self, reply: Reply, request: Request, offspring: Offspring) -> tuple[str, Attempt]:
        """Read one reply: the program that came back, "" where none did, and how far it got."""
        try:
            program = read_program(reply, request.parents[0].code, self._rules.class_name)
        except InvalidArchitecture as error:
            offspring.attempts.append(Attempt(False, one_line(str(error), PROBLEM)))
            return "", offspring.attempts[-1]
        problem = ""
        try:
            child = self._read(program.text)
            problem = _refusal(child, request)
            offspring.child = None if problem else child
        except InvalidArchitecture as error:
            problem = one_line(str(error), PROBLEM) or "it is no network of the space"
        offspring.attempts.append(Attempt(True, problem, program.form))
        return program.text, offspring.attempts[-1]


def file_name(intent: Intent) -> str:
    """Return the name of the file that holds the prompt of an intent."""
    return intent.name.replace(" ", "_").replace("-", "_")


def form_for(name: str) -> Form:
    """Return how the model of this name is asked to answer where nobody says."""
    return "blocks" if name.startswith(HOSTED) else "whole"


def _refusal(child: Architecture, request: Request) -> str:
    """Say why a network need not be measured; "" where it is new."""
    for number, parent in enumerate(request.parents, start=1):
        if child.id == parent.architecture.id:
            which = "the network above" if len(request.parents) == 1 else f"network {number}"
            return f"this computes the same as {which}, perhaps written otherwise; carry out what is wanted"
    if child.id in request.known:
        return "this network was evaluated before, perhaps written otherwise; carry out what is wanted in another way"
    return ""
