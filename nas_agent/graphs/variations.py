"""Asking a language model to carry out the wishes of `--generator code`: what comes of them is frozen in the log.

The model has the first wishes of a round, one for each architecture that is measured in it; the space's own operators
have the others, and those that the model leaves without an answer.
"""

from __future__ import annotations

import math

from nas_agent.agents.generators.quality_diversity import CodeGenerator
from nas_agent.agents.generators.quality_diversity.breeding import Answer
from nas_agent.agents.generators.quality_diversity.illumination import Wish
from nas_agent.agents.operators import Parent, Request
from nas_agent.graphs.consult import log_calls
from nas_agent.graphs.services import Services
from nas_agent.graphs.state import stream
from nas_agent.principles.principle import one_line
from nas_agent.records import Architecture, Failed, Json, Trial
from nas_agent.spaces.code import INTENTS

REST = 8  # rounds in which a model that gave no answer is left alone: waiting for it costs more than a training
_INTENT = {intent.name: intent for intent in INTENTS}


def consult_operators(use: Services, number: int, wanted: int) -> None:
    """Have the model carry out the first wishes of a round, unless it was silent a moment ago."""
    assert use.model_operators is not None
    assert isinstance(use.generator, CodeGenerator)
    if any(number - REST <= round_ < number and _silent(use, round_) for round_ in use.journal.varied):
        return
    history, known = use.journal.tried.before(number), {*use.journal.known, *use.journal.refused}
    answers: list[Json] = []
    for place in range(wanted):
        wish = use.generator.wish(history, stream(use.config.seed, "propose", number), place)
        request = _request(use, wish, number, known)
        offspring = use.model_operators.vary(request)
        told = [offspring.silent] if offspring.silent else []
        log_calls(use.journal, "generator", "vary", offspring.calls, told)
        parents = [parent.architecture.id for parent in request.parents]
        answers.append({"place": place, "parents": parents, **offspring.to_dict()})
        if offspring.silent:
            break
        known |= set() if offspring.child is None else {offspring.child.id}
    use.journal.emit("varied", round=number, answers=answers)


def answers_of(use: Services, number: int) -> dict[int, Answer]:
    """Return what the model made of the wishes of a round, by their place; those that it left open are not there."""
    return {answer["place"]: _answer(answer) for answer in use.journal.varied.get(number, ()) if not answer["silent"]}


def _answer(answer: Json) -> Answer:
    if answer["child"] is None:
        return Answer(None, answer["author"], answer["attempts"][-1]["problem"])
    return Answer(Architecture.from_dict(answer["child"]), answer["author"])


def _silent(use: Services, number: int) -> bool:
    return any(answer["silent"] for answer in use.journal.varied[number])


def _request(use: Services, wish: Wish, number: int, known: set[str]) -> Request:
    """Put a wish into the words of the operators; the same wish of the same parents is another draw each time."""
    values = {measured.architecture.id: measured.value for measured in use.journal.archive.measured}
    scores = {key: use.task.score(value) for key, value in values.items()}
    best_first = sorted(wish.parents, key=lambda parent: -scores.get(parent.id, -math.inf))
    parents = [Parent(parent, use.space.format(parent), values.get(parent.id)) for parent in best_first]
    before = [answer for round_, answers in use.journal.varied.items() if round_ < number for answer in answers]
    ids = [parent.id for parent in best_first]
    return Request(
        _INTENT[wish.variation.intent],
        parents,
        temperature=wish.variation.temperature,
        draw=sum((answer["intent"], answer["parents"]) == (wish.variation.intent, ids) for answer in before),
        lately=lately(use, number),
        known=frozenset(known),
    )


def lately(use: Services, number: int) -> list[Json]:
    """Tell what went wrong with the model's programs before a round: those that were refused and those that failed."""
    journal = use.journal
    wrong = [
        (round_, {"intent": answer["intent"], "why": answer["attempts"][-1]["problem"]})
        for round_, answers in journal.varied.items()
        for answer in answers
        if answer["child"] is None and answer["attempts"]
    ]
    children = {answer["child"]["id"] for answers in journal.varied.values() for answer in answers if answer["child"]}
    for round_, trial in journal.tried.by_round():
        if isinstance(trial, Trial) and isinstance(trial.outcome, Failed):
            variation = trial.proposal.variation
            if variation is not None and trial.outcome.architecture.id in children:
                why = one_line(f"the training failed: {trial.outcome.reason}")
                wrong.append((round_, {"intent": variation.intent, "why": why}))
    return [told for round_, told in sorted(wrong, key=lambda item: item[0]) if round_ < number]
