"""Asking the language model: what it is shown, and what becomes of its answer."""

from __future__ import annotations

from collections import Counter

from nas_agent.agents.learner import Elsewhere, Failure, LearnContext, Recalled, Shown, Stage
from nas_agent.graphs.services import Services
from nas_agent.principles.principle import Principle
from nas_agent.records import Architecture, Json
from nas_agent.tools.journal import Journal

SHOWN = 10  # best and worst architectures in a prompt
REASONS = 5  # distinct reasons of failures in a prompt
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
    for call in lesson.calls:
        data = call.to_dict()
        wall = {"seconds": data.pop("seconds"), "recorded": data.pop("recorded")}
        journal.emit("model_call", role="learner", stage=stage, wall=wall, **data)
    for failure in lesson.failures:
        journal.emit("model_failure", stage=stage, why=failure)
    journal.changes(journal.library.consider(lesson.drafts, journal.observations, len(journal.archive)))


def learn_context(use: Services, stage: Stage) -> LearnContext:
    """Gather what the model is shown: this run's values where there are any, else those of other tasks."""
    journal = use.journal
    ranked = ranking(journal)
    elsewhere = [] if ranked else recalled_ranking(use)
    in_full = {shown.architecture.id for group in elsewhere for shown in group.best}
    return LearnContext(
        task=use.task,
        best=ranked[:SHOWN],
        worst=ranked[SHOWN:][: -SHOWN - 1 : -1],
        elsewhere=elsewhere,
        failures=failures(journal),
        principles=journal.library.active,
        recalled=[told(item) for item in journal.recalled if not _is_among(item, in_full)],
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
    """Put a recalled item into words for the model."""
    if item["kind"] == "principle":
        principle = Principle.from_dict(item["principle"])
        return Recalled(item["task"], f"{principle.text} ({principle.constraint})", item["why"])
    value = f"{item['provenance']} {item['metric']} {item['value']:.4g} {item['unit']}".rstrip()
    better = "larger" if item["maximise"] else "smaller"
    rank = f"rank {item['rank']} of {item['of']} on {item['task']}"
    what = f"architecture {item['architecture']['text']}: {value} there ({better} is better), {rank}"
    return Recalled(item["task"], what, item["why"])


def _is_among(item: Json, architectures: set[str]) -> bool:
    return item["kind"] == "architecture" and item["architecture"]["id"] in architectures
