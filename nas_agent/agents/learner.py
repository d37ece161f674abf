"""The principle learner: a language model reads architectures as code and suggests principles (LAPT, section 3).

It may answer anything at all. What fits the space is kept, what does not is named and sent back once or
twice, and what is then still wrong is a recorded failure: a search never dies of a bad reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nas_agent.agents.chat import CallsSpent, ChatModel, Reply
from nas_agent.agents.replies import LessonReply, PrincipleReply
from nas_agent.errors import ModelError, PrincipleError
from nas_agent.principles.constraint import Constraint, constraint_from_dict
from nas_agent.principles.principle import Draft, Principle
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.prompts import Rendered, render
from nas_agent.records import Architecture, Json, Provenance, Task
from nas_agent.spaces.base import Decision, Space

Stage = Literal["learn", "improved", "stuck"]
PROMPT: dict[Stage, str] = {"learn": "learn", "improved": "adapt_improved", "stuck": "adapt_stuck"}
MOST = 8  # principles one reply may hold; those beyond are not read
SENTENCE = 300  # characters of a principle's text, or of a failure's reason, that are kept
QUOTED = 4000  # characters of a bad reply that are sent back


@dataclass(frozen=True, slots=True)
class Recalled:
    """Something from another task: a principle or an architecture, and why it was recalled."""

    task: str
    what: str  # e.g. the principle's sentence and constraint, or an architecture's text and value
    why: str


@dataclass(frozen=True, slots=True)
class Shown:
    """An architecture that the model reads."""

    architecture: Architecture
    value: float  # of the metric, as it is: smaller may be better
    rank: int  # 1 is the best of those that were evaluated in the same way
    of: int
    provenance: Provenance = "measured"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Architectures of one other task whose values compare: obtained in one way, best first."""

    task: str
    metric: str
    unit: str
    maximise: bool
    obtained: str  # e.g. "table, 200 epochs"
    best: Sequence[Shown]


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason why architectures could not be evaluated, with one of them."""

    reason: str
    times: int
    architecture: Architecture


@dataclass(frozen=True, slots=True)
class LearnContext:
    """All that the model is shown."""

    task: Task
    best: Sequence[Shown] = ()  # of this task, best first
    worst: Sequence[Shown] = ()  # of this task, worst first
    elsewhere: Sequence[Elsewhere] = ()  # other tasks, shown in full: where this one has little to show
    failures: Sequence[Failure] = ()
    principles: Sequence[Principle] = ()  # active ones and those worth a thought
    recalled: Sequence[Recalled] = ()
    stage: Stage = "learn"


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call as the event log keeps it; the texts lie in the run's `llm` folder."""

    model: str
    prompt: str  # e.g. "learn@1a2b3c4d"
    method: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    seconds: float
    recorded: bool  # True: answered from the record, nothing was spent now
    problem: str = ""  # what was wrong with the answer, "" where all of it was used

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Lesson:
    """What came of asking: principles to be checked against evidence, the calls made, and what went wrong."""

    drafts: list[Draft]
    calls: list[ModelCall]
    failures: list[str]


class LanguageModelLearner:
    """Asks a model for principles of one space."""

    def __init__(self, model: ChatModel, space: Space, repairs: int = 2) -> None:
        self.model = model
        self.space = space
        self.repairs = repairs

    def question(self, context: LearnContext) -> Rendered:
        """Return the prompt that `learn` sends first."""
        return render(
            PROMPT[context.stage],
            task=context.task.to_dict(),
            space=self.space.name,
            decisions=[{"decision": d.name, "options": list(d.options), "meaning": d.meaning} for d in self._decisions],
            groups=self._groups(context),
            failures=[self._failure(failure) for failure in context.failures],
            basis=_basis([*context.best, *context.worst]),
            principles=[_known(principle) for principle in context.principles],
            recalled=[{"task": r.task, "what": r.what, "why": r.why} for r in context.recalled],
            most=MOST,
        )

    def learn(self, context: LearnContext) -> Lesson:
        """Ask, check and repair; the model's nonsense never raises."""
        question = self.question(context)
        lesson = Lesson([], [], [])
        prompt, author = question, f"{self.model.name} / prompt {question.reference}"
        problems: list[str] = []
        for attempt in range(self.repairs + 1):
            try:
                reply = self.model.complete(prompt.text, LessonReply)
            except ModelError as error:
                if not isinstance(error, CallsSpent):  # then no call was made
                    lesson.calls.append(_call(self.model.name, prompt, Reply("", method="none"), str(error)))
                lesson.failures.extend(f"not used: {problem}" for problem in problems)
                lesson.failures.append(str(error))
                return lesson
            drafts, problems = self._check(reply, lesson.drafts, author)
            lesson.drafts.extend(drafts)
            lesson.calls.append(_call(self.model.name, prompt, reply, "; ".join(problems)))
            if not problems:
                return lesson
            if attempt == self.repairs:
                lesson.failures.extend(f"not used, after {attempt} repairs: {problem}" for problem in problems)
                return lesson
            prompt = render("repair", question=question.text, reply=reply.text[:QUOTED], problems=problems)
        raise AssertionError("the last attempt returns")

    def _check(self, reply: Reply, kept: Sequence[Draft], author: str) -> tuple[list[Draft], list[str]]:
        """Return the new drafts that fit the space and each other, and what is wrong with the rest."""
        lesson = reply.parsed
        if not isinstance(lesson, LessonReply):
            refused = reply.text.startswith("(refused)")
            return [], [f"the model refused: {reply.text[:200]}" if refused else reply.problem]
        drafts: list[Draft] = []
        problems: list[str] = []
        constraints: list[Constraint] = [draft.constraint for draft in kept]
        for number, principle in enumerate(lesson.principles[:MOST], start=1):
            try:
                constraint = self._constraint(principle, constraints)
            except (PrincipleError, ValueError) as error:
                problems.append(f"principle {number}: {error}")
                continue
            if constraint not in constraints:
                constraints.append(constraint)
                drafts.append(Draft(_sentence(principle.text) or str(constraint), constraint, author))
        if len(lesson.principles) > MOST:
            problems.append(f"{len(lesson.principles)} principles are too many; give at most {MOST}")
        return drafts, problems

    def _constraint(self, principle: PrincipleReply, others: Sequence[Constraint]) -> Constraint:
        constraint = constraint_from_dict(principle.constraint.to_dict())
        constraint.check(self._decisions)
        if not forbids(constraint, self._decisions):
            raise PrincipleError(f"'{constraint}' forbids nothing; leave it out or allow less")
        if not satisfiable(self._decisions, [*others, constraint]):
            raise PrincipleError(f"no architecture obeys '{constraint}' together with the principles before it")
        return constraint

    @property
    def _decisions(self) -> Sequence[Decision]:
        return self.space.decisions

    def _groups(self, context: LearnContext) -> list[Json]:
        """Return what may be compared together: this task first, then each of the others."""
        task, groups = context.task, list[Json]()
        if context.best or context.worst:
            about = {"task": task.name, "metric": task.metric, "unit": task.unit}
            groups.append(self._group(about, task.maximise, context.best, context.worst, here=True))
        for other in context.elsewhere:
            about = {"task": other.task, "metric": other.metric, "unit": other.unit, "obtained": other.obtained}
            groups.append(self._group(about, other.maximise, other.best, (), here=False))
        return groups

    def _group(self, about: Json, maximise: bool, best: Sequence[Shown], worst: Sequence[Shown], *, here: bool) -> Json:
        return {
            "here": here,
            "basis": _basis([*best, *worst]),
            "maximise": maximise,
            "about": about,
            "best": [self._shown(shown) for shown in best],
            "worst": [self._shown(shown) for shown in worst],
        }

    def _shown(self, shown: Shown) -> Json:
        return {
            "code": self.space.source(shown.architecture),
            "choices": self.space.choices(shown.architecture),
            "value": shown.value,
            "rank": shown.rank,
            "of": shown.of,
            "provenance": shown.provenance,
        }

    def _failure(self, failure: Failure) -> Json:
        choices = self.space.choices(failure.architecture)
        return {"reason": _sentence(failure.reason), "times": failure.times, "choices": choices}


def _basis(shown: Sequence[Shown]) -> str:
    """Say what values rest on, in words of ours: it stands outside of the fences."""
    return " and ".join(sorted({each.provenance for each in shown})) or "no"


def _known(principle: Principle) -> Json:
    evidence = principle.evidence
    numbers = {"effect": evidence.effect, "low": evidence.low, "high": evidence.high}
    return {
        "id": principle.reference,
        "status": principle.status,
        "text": principle.text,
        "constraint": principle.constraint.to_dict(),
        "obeying": len(evidence.supporting) + len(evidence.opposing),
        "others": evidence.others,
        **{name: None if value is None else round(value, 4) for name, value in numbers.items()},
    }


def _sentence(text: str) -> str:
    """Make one printable line of what a model or an evaluator wrote."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= SENTENCE else line[: SENTENCE - 1] + "…"


def _call(model: str, prompt: Rendered, reply: Reply, problem: str) -> ModelCall:
    return ModelCall(
        model=model,
        prompt=prompt.reference,
        method=reply.method,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        cost_usd=reply.cost_usd,
        seconds=reply.seconds,
        recorded=reply.recorded,
        problem=problem,
    )
