"""The principle learner: a language model reads architectures as code and suggests principles (LAPT, section 3).

It may answer anything at all. What fits the space is kept, what does not is named and sent back once or
twice, and what is then still wrong is a recorded failure: a search never dies of a bad reply.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nas_agent.agents.briefing import PROBLEM, LearnContext, Stage, evidence
from nas_agent.agents.chat import CallsSpent, ChatModel, Reply
from nas_agent.agents.disguise import Lens
from nas_agent.agents.replies import LessonReply, PrincipleReply
from nas_agent.errors import ModelError, PrincipleError
from nas_agent.principles.constraint import Constraint, constraint_from_dict
from nas_agent.principles.principle import Draft, one_line
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.prompts import Rendered, render
from nas_agent.records import Json
from nas_agent.spaces.base import Decision, Space
from nas_agent.wording import plural

PROMPT: dict[Stage, str] = {"learn": "learn", "improved": "adapt_improved", "stuck": "adapt_stuck"}
MOST = 8  # principles one reply may hold; those beyond are not read
QUOTED = 4000  # characters of a bad reply that are sent back


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

    def __init__(self, model: ChatModel, space: Space, repairs: int = 2, lens: Lens | None = None) -> None:
        self.model = model
        self.lens = lens or Lens(space)
        self.repairs = repairs

    def question(self, context: LearnContext) -> Rendered:
        """Return the prompt that `learn` sends first."""
        return render(PROMPT[context.stage], **evidence(self.lens, context), most=MOST)

    def learn(self, context: LearnContext) -> Lesson:
        """Ask, check and repair; the model's nonsense never raises."""
        lesson = self._ask(self.question(context))
        meant = [replace(d, text=self._text(d), constraint=self.lens.meant(d.constraint)) for d in lesson.drafts]
        return Lesson(meant, lesson.calls, lesson.failures)

    def _text(self, draft: Draft) -> str:
        return one_line(self.lens.meant_text(draft.text)) or str(self.lens.meant(draft.constraint))

    def _ask(self, question: Rendered) -> Lesson:
        """Return the lesson in the words of the prompt: what is wrong with a reply is said in these too."""
        lesson = Lesson([], [], [])
        prompt, author = question, f"{self.model.name} / prompt {question.reference}{self.lens.note}"
        problems: list[str] = []
        for attempt in range(self.repairs + 1):
            try:
                reply = self.model.complete(prompt.text, LessonReply)
            except ModelError as error:
                if not isinstance(error, CallsSpent):  # then no call was made
                    lesson.calls.append(called(self.model.name, prompt, Reply("", method="none"), str(error)))
                lesson.failures.extend(f"not used: {problem}" for problem in problems)
                lesson.failures.append(str(error))
                return lesson
            drafts, problems = self._check(reply, lesson.drafts, author)
            lesson.drafts.extend(drafts)
            lesson.calls.append(called(self.model.name, prompt, reply, "; ".join(problems)))
            if not problems:
                return lesson
            if attempt == self.repairs:
                lesson.failures.extend(
                    f"not used, after {plural(attempt, 'repair')}: {problem}" for problem in problems
                )
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
                problems.append(one_line(f"principle {number}: {error}", PROBLEM))
                continue
            if constraint not in constraints:
                constraints.append(constraint)
                drafts.append(Draft(principle.text, constraint, author))
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
        return self.lens.decisions


def called(model: str, prompt: Rendered, reply: Reply, problem: str) -> ModelCall:
    """Return the record of a call and what was wrong with its answer."""
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
