"""Asking the language model: what it is shown, and what becomes of its answer."""

from __future__ import annotations

from nas_agent.agents.learner import LearnContext, Recalled, Stage
from nas_agent.graphs.services import Services
from nas_agent.principles.principle import Principle
from nas_agent.records import Architecture, Json

SHOWN = 10  # best and worst architectures in a prompt


def recalled_ranking(use: Services) -> list[tuple[Architecture, float]]:
    """Return recalled architectures with their values on their own task, best first, for the model to read."""
    return [
        (Architecture.from_dict(item["architecture"]), float(item["value"]))
        for item in use.journal.recalled
        if item["kind"] == "architecture" and item["architecture"]["space"] == use.space.name
    ]


def consult_model(use: Services, stage: Stage, ranked: list[tuple[Architecture, float]]) -> None:
    """Show the model the best and the worst; what it says is checked like anybody's word."""
    assert use.model_learner is not None
    journal = use.journal
    lesson = use.model_learner.learn(
        LearnContext(
            task=use.task,
            best=ranked[:SHOWN],
            worst=ranked[SHOWN:][: -SHOWN - 1 : -1],
            principles=journal.library.active,
            recalled=[told(item) for item in journal.recalled],
            stage=stage,
        )
    )
    for call in lesson.calls:
        data = call.to_dict()
        wall = {"seconds": data.pop("seconds"), "recorded": data.pop("recorded")}
        journal.emit("model_call", stage=stage, wall=wall, **data)
    for failure in lesson.failures:
        journal.emit("model_failure", stage=stage, why=failure)
    journal.changes(journal.library.consider(lesson.drafts, journal.observations, len(journal.archive)))


def told(item: Json) -> Recalled:
    """Put a recalled item into words for the model."""
    if item["kind"] == "principle":
        principle = Principle.from_dict(item["principle"])
        return Recalled(item["task"], f"{principle.text} ({principle.constraint})", item["why"])
    what = f"architecture {item['architecture']['text']}: {item['value']:.2f} {item['unit']} there"
    return Recalled(item["task"], what, item["why"])
