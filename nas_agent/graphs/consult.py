"""Asking the language model: what it is shown, and what becomes of its answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from nas_agent.agents.briefing import (
    Elsewhere,
    Failure,
    LearnContext,
    Recalled,
    RecalledArchitecture,
    RecalledPrinciple,
    Shown,
    Stage,
)
from nas_agent.agents.generators.language_model import ProposeContext
from nas_agent.agents.learner import ModelCall
from nas_agent.graphs.services import Services
from nas_agent.principles.principle import Principle, one_line
from nas_agent.records import Architecture, Json, Proposal
from nas_agent.tools.journal import Journal

Role = Literal["learner", "generator"]

SHOWN = 10  # best and worst architectures in a prompt
REASONS = 5  # distinct reasons of failures in a prompt
RETIRED = 8  # refuted principles in a prompt, the latest ones
PAUSE = 8  # evaluations between two questions for architectures: one answer is worth several rounds
TOLD = 2  # earlier answers of which a prompt tells what became of them
UNASKED = "not asked: nothing has a value here and nothing was recalled, so there is nothing to learn from"


def consult_model(use: Services, stage: Stage) -> None:
    """Show the model the best and the worst; what it says is checked like anybody's word.

    Where there is nothing to show, the reason is recorded and no call is made.
    """
    assert use.model_learner is not None
    journal = use.journal
    context = learn_context(use, stage)
    if not context.best and not context.elsewhere:
        journal.emit("model_failure", stage=stage, why=UNASKED)
        return
    lesson = use.model_learner.learn(context)
    log_calls(journal, "learner", stage, lesson.calls, lesson.failures)
    journal.changes(journal.library.consider(lesson.drafts, journal.observations, len(journal.archive)))


def consult_generator(use: Services) -> None:
    """Ask the model for architectures, unless it was asked a moment ago or earlier ones still wait."""
    assert use.model_generator is not None
    journal, evaluations = use.journal, len(use.journal.archive)
    if offered(use) or (journal.offers and evaluations - journal.offers[-1]["evaluations"] < PAUSE):
        return
    answer = use.model_generator.ask(propose_context(use))
    log_calls(journal, "generator", "propose", answer.calls, answer.failures)
    journal.emit(
        "offered",
        evaluations=evaluations,
        author=answer.author,
        proposals=[architecture.to_dict() for architecture in answer.accepted],
        refused=[refused.to_dict() for refused in answer.refused],
    )


def offered(use: Services) -> list[Proposal]:
    """Return what the model proposed last and may still be measured.

    Once half of an answer has been measured the rest has been passed over by the surrogate, and is dropped.
    """
    if not use.journal.offers:
        return []
    offer, library = use.journal.offers[-1], use.journal.library
    given = [Architecture.from_dict(data) for data in offer["proposals"]]
    done = use.journal.refused.keys() | use.journal.known
    left = [architecture for architecture in given if architecture.id not in done]
    if len(left) <= len(given) // 2:
        return []
    if library.active:  # they may have changed since
        left = [architecture for architecture in left if library.refinement().allows(use.space.choices(architecture))]
    return [Proposal(architecture, offer["author"]) for architecture in left]


def log_calls(journal: Journal, role: Role, stage: str, calls: Sequence[ModelCall], failures: Sequence[str]) -> None:
    """Write down what was asked and what went wrong."""
    for call in calls:
        data = call.to_dict()
        wall = {"seconds": data.pop("seconds"), "recorded": data.pop("recorded")}
        journal.emit("model_call", role=role, stage=stage, wall=wall, **data)
    for failure in failures:
        journal.emit("model_failure", role=role, stage=stage, why=failure)


def propose_context(use: Services) -> ProposeContext:
    """Gather what the model is shown to propose from, and what its proposals are checked against."""
    active = use.journal.library.active
    ranked = ranking(use.journal)
    return ProposeContext(
        known=context_of(use, ranked[:SHOWN], [], active, "learn"),
        lately=lately(use),
        measured=use.journal.known,
        pool=None if use.pool is None else {architecture.id: architecture for architecture in use.pool},
        refinement=use.journal.library.refinement() if active else None,
        refusal=None if use.wishes is None else use.wishes.refusal,
    )


def lately(use: Services) -> list[Json]:
    """Tell what became of the model's latest proposals, in the words of its prompts."""
    assert use.model_generator is not None
    lens, journal = use.model_generator.lens, use.journal
    ranks = {shown.architecture.id: shown for shown in ranking(journal)}
    failed = {failure.architecture.id: failure.reason for failure in journal.failures()}
    told: list[Json] = []
    for offer in journal.offers[-TOLD:]:
        for data in offer["proposals"]:
            architecture = Architecture.from_dict(data)
            shown, reason = ranks.get(architecture.id), failed.get(architecture.id)
            became = "not chosen by the surrogate, or shut out by a principle since"
            if architecture.id in journal.under_way:
                became = "being evaluated"
            if shown is not None:
                became = f"evaluated: value {shown.value:.4f}, rank {shown.rank} of {shown.of}"
            elif reason is not None:
                became = f"failed: {lens.label('reason', one_line(reason))}"
            told.append({"choices": lens.choices(architecture), "became": became})
        told += [{"choices": item["choices"], "became": f"{item['fault']}: {item['why']}"} for item in offer["refused"]]
    return told


def learn_context(use: Services, stage: Stage) -> LearnContext:
    """Gather what the model is shown: this run's values where there are any, else those of other tasks."""
    journal = use.journal
    ranked, library = ranking(journal), journal.library
    principles = [*library.active, *library.candidates, *library.retired[-RETIRED:]]
    return context_of(use, ranked[:SHOWN], ranked[SHOWN:][: -SHOWN - 1 : -1], principles, stage)


def context_of(
    use: Services, best: Sequence[Shown], worst: Sequence[Shown], principles: Sequence[Principle], stage: Stage
) -> LearnContext:
    """Add what failed and what was recalled; where nothing has a value here, other tasks are shown in full."""
    elsewhere = [] if best else recalled_ranking(use)
    in_full = {shown.architecture.id for group in elsewhere for shown in group.best}
    return LearnContext(
        task=use.task,
        best=best,
        worst=worst,
        elsewhere=elsewhere,
        failures=failures(use.journal),
        principles=principles,
        recalled=[told(item) for item in use.journal.recalled if not _is_among(item, in_full)],
        stage=stage,
    )


def ranking(journal: Journal) -> list[Shown]:
    """Return this run's architectures with their values, best first; the earlier one first among equals."""
    best_first = sorted(journal.archive.measured, key=lambda measured: -journal.task.score(measured.value))
    of = len(best_first)
    return [
        Shown(measured.architecture, measured.value, rank, of, measured.provenance)
        for rank, measured in enumerate(best_first, start=1)
    ]


def recalled_ranking(use: Services) -> list[Elsewhere]:
    """Return recalled architectures, apart for each task and way of obtaining values, best first in each."""
    groups: dict[tuple[str, str, str], list[Json]] = {}
    for item in use.journal.recalled:
        if item["kind"] == "architecture" and item["architecture"]["space"] == use.space.name:
            obtained = f"{item['evaluator']}, {item['fidelity']}"
            groups.setdefault((item["task"], item["provenance"], obtained), []).append(item)
    found = []
    for (task, _, obtained), items in groups.items():
        items.sort(key=lambda item: item["rank"])
        shown = [
            Shown(Architecture.from_dict(i["architecture"]), i["value"], i["rank"], i["of"], i["provenance"])
            for i in items[:SHOWN]
        ]
        first = items[0]
        found.append(Elsewhere(task, first["metric"], first["unit"], first["maximise"], obtained, shown))
    return found


def failures(journal: Journal) -> list[Failure]:
    """Return the most frequent reasons of failures, each with the first architecture that failed with it."""
    failed = journal.failures()
    first = {failure.reason: failure.architecture for failure in reversed(failed)}
    counted = Counter(failure.reason for failure in failed).most_common(REASONS)
    return [Failure(reason, times, first[reason]) for reason, times in counted]


def told(item: Json) -> Recalled:
    """Return a recalled item with the evidence that it had on its task."""
    if item["kind"] == "principle":
        return RecalledPrinciple(item["task"], Principle.from_dict(item["principle"]), item["provenance"], item["why"])
    return RecalledArchitecture(
        task=item["task"],
        architecture=Architecture.from_dict(item["architecture"]),
        value=item["value"],
        metric=item["metric"],
        unit=item["unit"],
        maximise=item["maximise"],
        rank=item["rank"],
        of=item["of"],
        provenance=item["provenance"],
        why=item["why"],
    )


def _is_among(item: Json, architectures: set[str]) -> bool:
    return item["kind"] == "architecture" and item["architecture"]["id"] in architectures
