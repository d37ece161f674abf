"""A run as one JSON document, and the names by which the command line speaks of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nas_agent.cli.curve_report import curves_document
from nas_agent.cli.fidelity_report import fidelities_document
from nas_agent.cli.heritage_report import heritage_document
from nas_agent.cli.output import short

if TYPE_CHECKING:
    from nas_agent.cli.story import Story
    from nas_agent.records import Measured
    from nas_agent.tools.run_folder import RunFolder

Json = dict[str, Any]
TOP = 10  # architectures in a list


def as_document(story: Story, *, running: bool) -> Json:
    """Build the JSON of `show RUN`: unrounded, and the same keys whether the run is finished or not."""
    best = story.best
    return {
        "run": str(story.folder.path),
        "status": status(story, running=running),
        "resume": None if story.finished is not None or running else resume_command(story),
        "task": story.task.name,
        "space": story.config.space,
        "evaluator": story.started.get("evaluator", story.config.evaluator),
        "provenance": story.started.get("provenance"),
        "fidelity": story.started.get("fidelity"),
        "note": story.started.get("note"),
        "seed": story.config.seed,
        "budget": story.config.budget,
        "evaluations": len(story.archive),
        "best": None if best is None else _best_document(story, best),
        "curve": story.archive.curve,
        "top": [{**_outcome(story, outcome), "rank": i} for i, outcome in enumerate(story.ranked()[:TOP], start=1)],
        "failures": [
            {"evaluation": story.places[f.architecture.id], **f.architecture.to_dict(), "reason": f.reason}
            for f in story.failures()
        ],
        "principles": [principle.to_dict() for principle in story.principles.values()],
        "pending": [change.to_dict() for change in story.pending.values()] if story.finished is None else [],
        "gate": story.gate.to_dict(),
        "embedding": [{k: v for k, v in event.items() if k != "wall"} for event in story.embedding],
        "recalled": story.recalled,
        "recall_problem": story.recall_problem,
        "sources": list(story.sources.values()),
        "llm": {
            **story.model_use.to_dict(),
            "failures": story.model_failures,
            "proposals": story.offered,
            **_tallies(story),
        },
        "simulated_seconds": story.simulated_seconds,
        "seconds": story.active_seconds,
        "why": None if story.finished is None else story.finished["why"],
        **_wishes(story),
        **fidelities_document(story),
        **heritage_document(story),
        **curves_document(story),
        **({"sandboxes": story.sandboxes} if story.sandboxes else {}),
    }


def _tallies(story: Story) -> Json:
    """Build what came of a language model's programs; nothing where it wrote none."""
    if not story.tallies:
        return {}
    return {"operators": {intent: counts.to_dict() for intent, counts in story.tallies.items()}}


def _wishes(story: Story) -> Json:
    """Build what limits and objectives add; nothing without them."""
    found: Json = {}
    if story.started.get("limits"):
        refused = [{"id": key, "why": why} for key, why in story.refused.items()]
        within = story.started.get("within_limits", {})
        found["limits"] = {"limits": story.started["limits"], "refused": refused, **within}
    if story.started.get("costs"):
        found["costs"] = story.started["costs"]
        best = story.best
        found["best_costs"] = None if best is None else story.costs.get(best.architecture.id)
    if story.front is not None:
        found |= story.front.to_dict(story.places, (story.finished or {}).get("front_tests"))
    return found


def status(story: Story, *, running: bool) -> str:
    """Say where a run stands: finished, running, waiting for review, or stopped (then it can be resumed)."""
    if story.finished is not None or running:
        return "running" if running else "finished"
    return "waiting for review" if story.pending else "stopped"


def resume_command(story: Story) -> str:
    """Return the exact command that goes on with a run."""
    return f"nas-agent resume {short(story.folder.path)}"


def handle(folder: RunFolder) -> str:
    """Return the shortest name by which the command line finds a run: the end of its name, or its path."""
    from nas_agent.tools.home import home
    from nas_agent.tools.run_folder import known_folders

    name = folder.path.name.rpartition("-")[2]
    known = [other.path for other in known_folders(home()) if other.path.name.endswith(f"-{name}")]
    return name if known == [folder.path] and not os.path.exists(name) else short(folder.path)


def _best_document(story: Story, best: Measured) -> Json:
    return {
        "id": best.architecture.id,
        "arch": best.architecture.text,
        "val": best.value,
        "test": None if story.test is None else story.test["value"],
        "evaluation": story.places[best.architecture.id],
        "provenance": best.provenance,
        **({"repeats": list(best.repeats)} if best.repeats else {}),
    }


def _outcome(story: Story, outcome: Measured) -> Json:
    event = story.proposal(outcome.architecture.id)
    return {
        "id": outcome.architecture.id,
        "arch": outcome.architecture.text,
        "val": outcome.value,
        "evaluation": story.places[outcome.architecture.id],
        "author": None if event is None else event["proposal"]["author"],
    }
