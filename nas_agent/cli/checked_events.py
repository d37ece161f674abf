"""Events of a log as reports read them: a value of another kind is an error, which `Story` tells with its line."""

from __future__ import annotations

from nas_agent.records import Failed, Json, Outcome, Task, outcome_from_dict


def check(value: object, name: str, kinds: type | tuple[type, ...]) -> None:
    """Raise TypeError for a value of another kind."""
    if not isinstance(value, kinds):
        raise TypeError(f"'{name}': {value!r}")


def task_of(started: Json) -> Task:
    """Read the task of a `started` event."""
    task = Task.from_dict(started["task"])
    for name in ("name", "description", "metric", "unit"):
        check(getattr(task, name), name, str)
    for name in ("space_name", "evaluator", "provenance", "fidelity", "note"):
        check(started.get(name), name, (str, type(None)))
    return task


def outcome_of(event: Json) -> Outcome:
    """Read an `outcome` event."""
    outcome = outcome_from_dict(event["outcome"])
    check(event["evaluation"], "evaluation", int)
    check(outcome.architecture.id, "id", str)
    check(outcome.architecture.text, "text", str)
    check(outcome.seconds, "seconds", (int, float))
    check(outcome.sandbox, "sandbox", (str, type(None)))
    if isinstance(outcome, Failed):
        check(outcome.reason, "reason", str)
    else:
        for value in (outcome.value, *outcome.repeats):
            check(value, "value", (int, float))
    return outcome


def check_proposal(event: Json) -> None:
    """Check what a report reads of a `proposal` event."""
    proposal = event["proposal"]
    check(event["evaluation"], "evaluation", int)
    for name in ("id", "text"):
        check(proposal["architecture"][name], name, str)
    check(proposal["author"], "author", str)
    check(proposal["outside"], "outside", bool)
    check(proposal["parents"], "parents", list)
    for reference in proposal["principles"]:
        int(reference.rpartition("@")[2])


def check_gate(event: Json) -> None:
    """Check what a report reads of a `gate` event."""
    check(event["evaluations"], "evaluations", int)
    for name in ("pairs", "correlation", "share", "low", "high", "claimed"):
        check(event["standing"][name], name, (int, float))


def check_embedding(event: Json) -> None:
    """Check what a report reads of a `embedding` event, or of one of an embedder that failed."""
    check(event["evaluations"], "evaluations", int)
    for name, kind in (("why", str),) if event["type"] == "embedder_failure" else (("texts", int), ("embedder", str)):
        check(event[name], name, kind)
