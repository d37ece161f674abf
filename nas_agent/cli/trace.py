"""The whole story of one principle, computed from the event log alone.

A proposal counts as following the principle where its event says that it obeyed a version of it, and as not
following where the principle was active and the event does not name it. A proposal of the outside share breaks at
least one active principle, this one or another: the only proposals that can speak against a principle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas_agent.errors import ConfigError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """A principle from its first suggestion to the end of the log."""

    id: str
    text: str
    status: str
    version: int
    author: str
    constraint: Json
    evidence: Json  # the latest
    history: list[Json]  # each change: when, what, why, and the evidence at that moment; "held": it waited for a person
    proposals: list[Json]  # each proposal made while it was active
    scores: Json  # followed / not_followed -> all / inside / outside -> count, failed, mean, low, high, min, max

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return asdict(self)


def trace(events: Sequence[Json], identity: str) -> Trace:
    """Tell the story of the principle; raise ConfigError that lists the principles of the log."""
    wanted = identity.partition("@")[0]
    history: list[Json] = []
    proposals: list[Json] = []
    waiting: dict[int, Json] = {}
    known: dict[str, None] = {}
    status = ""
    for event in events:
        if event["type"] == "principle":
            known[event["principle"]["id"]] = None
            if event["principle"]["id"] == wanted:
                status = event["principle"]["status"]
                history.append(_step(event))
        elif event["type"] == "held" and event["principle"]["id"] == wanted:
            history.append({**_step(event), "action": "held", "status": status})
        elif event["type"] == "proposal" and event.get("choice") != "promoted":  # those were proposed before
            entry = _entry(event, wanted)
            if status == "active" or entry["followed"]:
                proposals.append(entry)
                waiting[entry["evaluation"]] = entry
        elif event["type"] == "outcome" and event["evaluation"] in waiting:
            outcome = event["outcome"]
            came = {"value": outcome.get("value"), "failed": outcome.get("reason")}
            if "sandbox" in outcome:
                came["sandbox"] = outcome["sandbox"]
            waiting.pop(event["evaluation"]).update(came)
    if not history:
        raise ConfigError(f"there is no principle '{identity}' in this run; it has {', '.join(known) or 'none'}")
    latest = [step for step in history if step["action"] != "held"][-1]
    return Trace(
        id=wanted,
        text=latest["text"],
        status=latest["status"],
        version=latest["version"],
        author=latest["author"],
        constraint=latest["constraint"],
        evidence=latest["evidence"],
        history=history,
        proposals=proposals,
        scores=_scores(proposals),
    )


def _step(event: Json) -> Json:
    principle = event["principle"]
    same = ("version", "status", "text", "constraint", "author", "evidence")
    return {
        "evaluations": event["evaluations"],
        "action": event["action"],
        "why": event["why"],
        **{key: principle[key] for key in same},
        "time": event.get("wall", {}).get("time"),
    }


def _entry(event: Json, wanted: str) -> Json:
    proposal = event["proposal"]
    versions = [int(ref.rpartition("@")[2]) for ref in proposal["principles"] if ref.rpartition("@")[0] == wanted]
    return {
        "evaluation": event["evaluation"],
        "id": proposal["architecture"]["id"],
        "arch": proposal["architecture"]["text"],
        "author": proposal["author"],
        "outside": proposal["outside"],
        "choice": event.get("choice"),  # by whom: the surrogate, or in spite of it; None in older logs
        "followed": bool(versions),
        "version": versions[0] if versions else None,
        "value": None,
        "failed": None,
    }


def _scores(proposals: Sequence[Json]) -> Json:
    sides = {"followed": True, "not_followed": False}
    shares: dict[str, tuple[bool, ...]] = {"all": (False, True), "inside": (False,), "outside": (True,)}
    return {
        side: {
            share: summary([p for p in proposals if p["followed"] is followed and p["outside"] in outside])
            for share, outside in shares.items()
        }
        for side, followed in sides.items()
    }


def summary(proposals: Sequence[Json]) -> Json:
    """Count proposals and summarise their values; the interval is Student's, 95 %, None below two values."""
    values = [float(proposal["value"]) for proposal in proposals if proposal["value"] is not None]
    size = len(values)
    mean = sum(values) / size if size else None
    half = None
    if mean is not None and size > 1:
        from nas_agent.principles.evidence import t_quantile

        variance = sum((value - mean) ** 2 for value in values) / (size - 1)
        half = t_quantile(size - 1) * math.sqrt(variance / size)
    return {
        "count": len(proposals),
        "failed": sum(proposal["failed"] is not None for proposal in proposals),
        "mean": mean,
        "low": None if mean is None or half is None else mean - half,
        "high": None if mean is None or half is None else mean + half,
        "min": min(values, default=None),
        "max": max(values, default=None),
    }
