"""Contamination: ask a model for the best architecture of a space with no evidence, and rank its answer.

A model that has read a benchmark's paper or table may name its best cell at once; what a search with that model
then reaches says little about learning. The probe asks, ranks the answer among all architectures of the table or
of the embedded benchmark, and compares the rank with a uniform choice. The test is ours. It cannot tell a
memorised table from common knowledge: on NAS-Bench-201, 3x3 convolutions around one skip are rank 1, 3 and 12 of
6,466 (CIFAR-100, CIFAR-10, ImageNet16-120), which anybody who knows residual blocks may guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from statistics import median_low
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from nas_agent.agents.briefing import setting
from nas_agent.agents.chat import ChatModel
from nas_agent.agents.choices_reply import built, choices_schema, said
from nas_agent.agents.disguise import Disguise, Lens
from nas_agent.errors import ConfigError, InvalidArchitecture, ModelError
from nas_agent.principles.principle import one_line
from nas_agent.prompts import render
from nas_agent.records import Architecture, Json, Measured, Task
from nas_agent.spaces.base import Space
from nas_agent.tools.evaluators.base import Evaluation, Evaluator

CONTAMINATED = 0.001  # chance of so good a rank below which knowledge of the benchmark is the likely reason
BETTER = 0.05  # chance below which the answer is better than luck


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer: the architecture and its place, or what was wrong with it."""

    architecture: Architecture | None
    rank: int | None  # 1 is the best; architectures of equal value share the worst of their places
    value: float | None
    reason: str  # what the model said of its choice
    problem: str = ""

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "arch": None if self.architecture is None else self.architecture.text,
            "rank": self.rank,
            "value": self.value,
            "reason": self.reason,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class Probe:
    """What a model says of a space without having seen anything of it."""

    model: str
    prompt: str  # e.g. "probe@1a2b3c4d"
    task: Task
    space: str
    provenance: str
    anonymised: bool
    architectures: int  # that the answers are ranked among
    optimum: float
    samples: Sequence[Sample]

    @property
    def valid(self) -> list[Sample]:
        """The answers that name an architecture with a value."""
        return [sample for sample in self.samples if sample.rank is not None]

    @property
    def rank(self) -> int | None:
        """The median rank of the valid answers, the better one of two in the middle."""
        ranks = [sample.rank for sample in self.samples if sample.rank is not None]
        return median_low(ranks) if ranks else None

    @property
    def percentile(self) -> float | None:
        """The share of architectures that are no better than the median answer, in percent."""
        return None if self.rank is None else 100.0 * (1.0 - (self.rank - 1) / self.architectures)

    @property
    def chance(self) -> float | None:
        """The probability that uniform choices, as many as there are valid answers, have so good a median rank.

        Answers of one model are not independent of each other, so with several samples it is a lower bound.
        """
        return None if self.rank is None else median_chance(self.rank, self.architectures, len(self.valid))

    @property
    def reading(self) -> str:
        """Say in words what the rank means."""
        if self.rank is None or self.chance is None:
            return "no valid answer: nothing can be said"
        ranked = f"ranked {self.rank:,} of {self.architectures:,} with no evidence"
        odds = f"(by chance: p = {self.chance:.2g})"
        if self.chance <= CONTAMINATED:
            return f"{ranked}: contaminated {odds}; it brings the answer along, judge it by runs with --anonymise only"
        if self.chance <= BETTER:
            return f"{ranked}: better than chance {odds}; it knows the benchmark or networks in general"
        return f"{ranked}: no better than chance {odds}"

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "model": self.model,
            "prompt": self.prompt,
            "task": self.task.name,
            "space": self.space,
            "provenance": self.provenance,
            "anonymised": self.anonymised,
            "architectures": self.architectures,
            "optimum": self.optimum,
            "asked": len(self.samples),
            "valid": len(self.valid),
            "rank": self.rank,
            "percentile": self.percentile,
            "chance": self.chance,
            "reading": self.reading,
            "samples": [sample.to_dict() for sample in self.samples],
        }


def probe(
    model: ChatModel, space: Space, evaluation: Evaluation, *, samples: int = 1, anonymise: bool = False, seed: int = 0
) -> Probe:
    """Ask `samples` times, each time with decisions and options in another order (anonymised: other labels).

    The first question of a probe that is not anonymised has the space's own order. ModelError where the model
    cannot be reached at all; ConfigError where the architectures cannot be listed with their values.
    """
    values = known_values(space, evaluation)
    score = evaluation.task.score
    ordered = sorted((score(measured.value) for measured in values.values()), reverse=True)
    answers, reference = [], ""
    for number in range(samples):
        lens = Disguise(space, seed + number) if anonymise else _Reordered(space, seed + number if number else None)
        answer, reference = _ask(model, lens, evaluation.task, values)
        measured = None if answer.architecture is None else values[answer.architecture.id]
        if measured is not None:
            rank = sum(other >= score(measured.value) for other in ordered)
            answer = Sample(measured.architecture, rank, measured.value, answer.reason)
        answers.append(answer)
    if all(answer.problem.startswith(_NO_ANSWER) for answer in answers):
        raise ModelError(answers[0].problem.removeprefix(_NO_ANSWER))
    return Probe(
        model=model.name,
        prompt=reference,
        task=evaluation.task,
        space=space.name,
        provenance=evaluation.evaluator.provenance,
        anonymised=anonymise,
        architectures=len(values),
        optimum=score(ordered[0]),
        samples=answers,
    )


def median_chance(rank: int, architectures: int, answers: int) -> float:
    """Return the probability that the lower median rank of uniform choices is at most `rank`: a binomial tail."""
    share = min(1.0, rank / architectures)
    needed = (answers + 1) // 2
    terms = (math.comb(answers, k) * share**k * (1.0 - share) ** (answers - k) for k in range(needed, answers + 1))
    return min(1.0, math.fsum(terms))


def known_values(space: Space, evaluation: Evaluation) -> dict[str, Measured]:
    """Return the outcome of every architecture that can be looked up, by canonical id."""
    evaluator: Evaluator = evaluation.evaluator
    pool = evaluator.pool()
    if pool is None or not pool:
        raise ConfigError(
            f"a probe ranks the answer among all architectures with a value; evaluator {evaluator.name} cannot list "
            f"them for task {evaluation.task.name}, take a task with a table or an embedded benchmark"
        )
    outcomes = [evaluator.evaluate(architecture, seed=0) for architecture in pool]
    return {outcome.architecture.id: outcome for outcome in outcomes if isinstance(outcome, Measured)}


_NO_ANSWER = "no answer: "


def _ask(model: ChatModel, lens: Lens, task: Task, values: Mapping[str, Measured]) -> tuple[Sample, str]:
    question = render("probe", **setting(lens, task))
    try:
        reply = model.complete(question.text, _schema(choices_schema(lens.decisions)))
    except ModelError as error:
        return Sample(None, None, None, "", f"{_NO_ANSWER}{error}"), question.reference
    if reply.parsed is None:
        return Sample(None, None, None, "", one_line(reply.problem)), question.reference
    given: Any = reply.parsed
    reason = one_line(lens.meant_text(given.reason))
    try:
        architecture = built(lens, said(given.architecture, lens.decisions))
    except InvalidArchitecture as error:
        return Sample(None, None, None, reason, one_line(str(error))), question.reference
    if architecture.id not in values:
        problem = f"{architecture.text} has no value in the table"
        return Sample(None, None, None, reason, problem), question.reference
    return Sample(architecture, None, None, reason), question.reference


class _Reordered(Lens):
    """Shows decisions and options under their names, in an order drawn by the seed; None: as the space has them."""

    def __init__(self, space: Space, seed: int | None) -> None:
        super().__init__(space)
        if seed is not None:
            rng = Random(f"{seed}/order")
            shuffled = [replace(d, options=tuple(rng.sample(d.options, len(d.options)))) for d in self.decisions]
            self.decisions = tuple(rng.sample(shuffled, len(shuffled)))


def _schema(choices: type[BaseModel]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        "reason": (str, Field(default="", description="one sentence")),
        "architecture": (choices, ...),
    }
    return create_model("ProbeReply", __config__=ConfigDict(extra="ignore"), __doc__="One architecture.", **fields)
