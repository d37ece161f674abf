"""The language model as a generator: it proposes whole architectures under the principles, several with each call.

What it says is checked here: only architectures that can be measured, are new and obey the active principles are
accepted. The others are counted by kind and told back with the next question. The search decides when to ask and
which of the accepted ones are measured (graphs/rounds.py). Ours: in LAPT (arXiv 2408.11330) the model writes
principles, and regularised evolution proposes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from nas_agent.agents.briefing import PROBLEM, LearnContext, evidence
from nas_agent.agents.chat import CallsSpent, ChatModel, Reply
from nas_agent.agents.choices_reply import built, choices_schema, said
from nas_agent.agents.disguise import Lens
from nas_agent.agents.learner import QUOTED, ModelCall, called
from nas_agent.errors import InvalidArchitecture, ModelError
from nas_agent.principles.principle import one_line
from nas_agent.principles.refinement import Refinement
from nas_agent.prompts import Rendered, render
from nas_agent.records import Architecture, Json

MOST = 8  # architectures a question asks for
READ = 2 * MOST  # of a reply; those beyond are not looked at
REPAIRS = 1  # questions asked again where nothing of a reply can be used

Fault = Literal["invalid", "duplicate", "over a limit", "against the principles"]


@dataclass(frozen=True, slots=True)
class ProposeContext:
    """What the model is shown, and what its answer is checked against."""

    known: LearnContext
    lately: Sequence[Json]  # what became of earlier proposals, in the words of the prompt
    measured: Container[str]  # canonical ids that need no proposal
    pool: Mapping[str, Architecture] | None  # id -> the member that can be measured, where these are listed
    refinement: Refinement | None  # None where no principle is active
    refusal: Callable[[Architecture], str] | None = None  # which limit is broken, "" where none; None without limits


@dataclass(frozen=True, slots=True)
class Refused:
    """A proposal that is not worth a look of the surrogate."""

    fault: Fault
    choices: Mapping[str, str]  # in the words of the prompt
    why: str

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"fault": self.fault, "choices": dict(self.choices), "why": self.why}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question."""

    author: str
    accepted: list[Architecture] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    calls: list[ModelCall] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class LanguageModelGenerator:
    """Asks a model for architectures of one space."""

    def __init__(self, model: ChatModel, lens: Lens, most: int = MOST) -> None:
        self.model = model
        self.lens = lens
        self.most = most
        self._schema = _schema(choices_schema(lens.decisions))

    def question(self, context: ProposeContext) -> Rendered:
        """Return the prompt that `ask` sends first."""
        example = {decision.name: decision.options[0] for decision in self.lens.decisions}
        values = evidence(self.lens, context.known)
        return render("propose", **values, lately=context.lately, most=self.most, example=example)

    def ask(self, context: ProposeContext) -> Answer:
        """Ask and check; the question is put again once where nothing of the reply can be used.

        A model that cannot be reached, or may not be called any more, raises nothing: it stands in `failures`.
        """
        question = self.question(context)
        answer = Answer(f"language model {self.model.name} / prompt {question.reference}{self.lens.note}")
        prompt = question
        for attempt in range(REPAIRS + 1):
            try:
                reply = self.model.complete(prompt.text, self._schema)
            except ModelError as error:
                if not isinstance(error, CallsSpent):  # then no call was made
                    answer.calls.append(called(self.model.name, prompt, Reply("", method="none"), str(error)))
                answer.failures.append(str(error))
                return answer
            problems = self._take(reply, context, answer)
            answer.calls.append(called(self.model.name, prompt, reply, "; ".join(problems)))
            if answer.accepted:
                return answer
            if attempt < REPAIRS:
                prompt = render("repair", question=question.text, reply=reply.text[:QUOTED], problems=problems)
        answer.failures.extend(f"no proposal could be used, after {REPAIRS} repair: {problem}" for problem in problems)
        return answer

    def _take(self, reply: Reply, context: ProposeContext, answer: Answer) -> list[str]:
        """Add what a reply proposes to the answer; return what is wrong with it."""
        if reply.parsed is None:
            refused = reply.text.startswith("(refused)")
            return [f"the model refused: {reply.text[:200]}" if refused else one_line(reply.problem, PROBLEM)]
        given: list[BaseModel] = getattr(reply.parsed, "architectures")  # noqa: B009 - a field of a made schema
        if not given:
            return [f"there is no architecture in the reply; give {self.most}"]
        problems = []
        for number, choices in enumerate(given[:READ], start=1):
            words = said(choices, self.lens.decisions)
            found = self._check(words, context, answer)
            if isinstance(found, Architecture):
                answer.accepted.append(found)
            else:
                answer.refused.append(found)
                problems.append(f"architecture {number}, {found.fault}: {found.why}")
        if len(given) > READ:
            problems.append(f"{len(given)} architectures are too many, the first {READ} were read; give {self.most}")
        return problems

    def _check(self, words: Mapping[str, str], context: ProposeContext, answer: Answer) -> Architecture | Refused:
        """Return the member of the pool that is meant, or why it is refused."""
        try:
            architecture = built(self.lens, words)
        except InvalidArchitecture as error:
            return Refused("invalid", words, one_line(str(error), PROBLEM))
        if context.refusal is not None and (why := context.refusal(architecture)):
            return Refused("over a limit", words, why)
        if context.pool is not None:
            if architecture.id not in context.pool:
                return Refused("invalid", words, "it is not among the architectures that can be measured here")
            architecture = context.pool[architecture.id]
        if architecture.id in context.measured:
            return Refused("duplicate", words, "this network was evaluated before, perhaps written otherwise")
        if any(architecture.id == other.id for other in answer.accepted):
            return Refused("duplicate", words, "this network stands in the reply twice, perhaps written otherwise")
        if context.refinement is not None:
            choices = self.lens.space.choices(architecture)
            broken = [p.reference for p in context.refinement.principles if not p.constraint.holds(choices)]
            if broken:
                return Refused("against the principles", words, f"it breaks {', '.join(broken)}")
        return architecture


def _schema(choices: type[BaseModel]) -> type[BaseModel]:
    """Return the schema of a whole reply, in the order in which it is to be thought through."""
    fields: dict[str, Any] = {
        "analysis": (str, Field(description="what the evaluated architectures say, and what is worth a try")),
        "architectures": (list[choices], Field(description="the most promising first")),  # type: ignore[valid-type]
    }
    return create_model("ProposalsReply", __config__=ConfigDict(extra="ignore"), __doc__="Proposals.", **fields)
