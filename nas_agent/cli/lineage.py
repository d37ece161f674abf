"""A principle across tasks: the runs that it came from, and the runs that took it over, read from their folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nas_agent.cli.story import Story
from nas_agent.cli.trace import trace
from nas_agent.errors import NasAgentError
from nas_agent.principles.principle import Origin, Principle

Json = dict[str, Any]
AUTHORED = {"created", "revised"}


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a principle came from, the nearest run first, and what became of it in other runs, oldest run first."""

    origin: list[Json]
    elsewhere: list[Json]

    def to_dict(self) -> Json:
        """As plain JSON: `origin` is the nearest step, or null, and each step holds the one before as `earlier`."""
        nested: Json | None = None
        for step in reversed(self.origin):
            nested = {**step, "earlier": nested}
        return {"origin": nested, "elsewhere": self.elsewhere}


def lineage(story: Story, principle: Principle) -> Lineage:
    """Follow a principle back to the run that learned it, and forward to the runs that took it over."""
    steps = () if principle.origin is None else principle.origin.steps
    others = list(_other_stories(story, principle))
    return Lineage([_step(step, _given(story, step, principle.id)) for step in steps], others)


# -- back ------------------------------------------------------------------------------------------------


def _step(origin: Origin, given: Principle | None) -> Json:
    """Tell of one run that it came from: from the run's folder, else from what this run was given of it."""
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import find

    step: Json = {"run": origin.run or None, "principle": origin.principle, "task": origin.task, "told": str(origin)}
    if not origin.run:
        told = {} if given is None else _told(given)
        return {**step, **told, "learned": None, "now": None, "missing": None}
    try:
        story = Story.read(find(home(), origin.run))
        there = story.version(origin.principle)
    except (NasAgentError, ValueError) as error:
        told = {} if given is None else _told(given)
        return {**step, **told, "learned": None, "now": None, "missing": str(error)}
    made = [c for c in story.changes if c.principle.id == there.id and c.action in AUTHORED]
    learned = [{"action": c.action, "why": c.why, "evaluations": c.evaluations} for c in made]
    now = story.principles[there.id]
    last = [change for change in story.changes if change.principle.id == there.id][-1]
    return {
        **step,
        **_told(there),
        "unit": story.task.unit,
        "learned": learned,
        "now": {"principle": now.reference, "status": now.status, "last": last.action, "why": last.why},
        "missing": None,
    }


def _told(principle: Principle) -> Json:
    return {
        "text": principle.text,
        "constraint": principle.constraint.to_dict(),
        "author": principle.author,
        "prompt": principle.author.partition(" / prompt ")[2] or None,
        "evidence": principle.evidence.to_dict(),
        "unit": "",
    }


def _given(story: Story, origin: Origin, identity: str) -> Principle | None:
    """Return the principle as it was recalled from there, which this run's log keeps."""
    demanded = story.version(f"{identity}@1").constraint  # as it was taken over; a table gives all the same reference
    for item in story.recalled:
        if item["kind"] == "principle" and item.get("run") == origin.run:
            principle = Principle.from_dict(item["principle"])
            if principle.reference == origin.principle and (origin.run or principle.constraint == demanded):
                return principle
    for entry in (story.started.get("imported") or {}).get("principles", []):
        principle = Principle.from_dict(entry["principle"])
        if principle.origin is not None and principle.origin == origin:
            return principle
    return None


# -- forward ---------------------------------------------------------------------------------------------


def _other_stories(story: Story, principle: Principle) -> Iterator[Json]:
    """Tell of every known run that took the principle over, from this run or through others."""
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import known_folders

    name = story.folder.path.name
    for folder in known_folders(home()):
        if folder.path == story.folder.path or not _mentions(folder.events, name):
            continue
        try:
            other = Story.read(folder)
        except NasAgentError:
            continue  # `runs` says what is wrong with it
        found = [each for each in other.principles.values() if _comes_from(each, name, principle.id)]
        yield from (_followed(other, each, name) for each in found)
        if not found and _was_recalled(other, name, principle.id):
            yield {"run": folder.path.name, "task": other.task.name, "taken_over": False}


def _mentions(events: Any, name: str) -> bool:
    """Tell cheaply whether a log holds the name of a run; most do not, and need not be parsed."""
    try:
        return name.encode() in events.read_bytes()
    except OSError:
        return False


def _comes_from(principle: Principle, run: str, identity: str) -> bool:
    steps = () if principle.origin is None else principle.origin.steps
    return any(step.run == run and step.principle.partition("@")[0] == identity for step in steps)


def _was_recalled(story: Story, run: str, identity: str) -> bool:
    principles = (item for item in story.recalled if item["kind"] == "principle" and item.get("run") == run)
    return any(item["principle"]["id"] == identity for item in principles)


def _followed(story: Story, principle: Principle, name: str) -> Json:
    """Sum up what happened to a principle in a run that took it over."""
    told = trace(story.events, principle.id)
    assert principle.origin is not None
    through = [step.run for step in principle.origin.steps]
    last = [step for step in told.history if step["action"] != "credited"][-1]
    actions = [step["action"] for step in told.history]
    return {
        "run": story.folder.path.name,
        "task": story.task.name,
        "taken_over": True,
        "through": through[: through.index(name)][::-1],
        "principle": principle.reference,
        "status": principle.status,
        "text": principle.text,
        "constraint": principle.constraint.to_dict(),
        "active_at_once": any(s["action"] == "activated" and s["evaluations"] == 0 for s in told.history),
        "credited": actions.count("credited"),
        "revised": actions.count("revised"),
        "last": {"action": last["action"], "why": last["why"], "evaluations": last["evaluations"]},
        "evidence": principle.evidence.to_dict(),
        "unit": story.task.unit,
        "proposals": {side: told.scores[side]["all"] for side in ("followed", "not_followed")},
    }
