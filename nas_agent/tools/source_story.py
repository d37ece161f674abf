"""What became of the sources of a search, as its events tell it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nas_agent.records import Json

OTHER_SPACE = "its architectures are of another space; what they have in common was taken along, translated"
ONLY_PREDICTED = "its values are predicted, those of this search are measured"


def told_sources(events: Iterable[Json]) -> list[Json]:
    """Return for each source what was read of it, how far it agrees, and why it is not used or no longer."""
    sources: dict[str, Json] = {}
    begun: Json = {}
    for event in events:
        begun = event if event["type"] == "started" else begun
        follow(sources, event, begun)
    return list(sources.values())


def follow(sources: dict[str, Json], event: Json, begun: Mapping[str, Any]) -> None:
    """Take one event in; `begun` is the first one of the log."""
    match event["type"]:
        case "recalled":
            items = [item for item in event["items"] if item["kind"] == "source"]
            sources.update((item["name"], read_of(item, begun["space_name"], begun["provenance"])) for item in items)
        case "sources":
            for name, agreement in event["agreement"].items():
                # One that was dropped is back where the surrogate that dropped it has lost its embedder.
                sources[name].update(agreement=float(agreement), dropped=None)
            for name in event["dropped"]:
                sources[name]["dropped"] = {"evaluations": int(event["evaluations"]), "why": str(event["why"])}


def read_of(item: Json, space: str, provenance: str) -> Json:
    """Say what was read of one source, and why its outcomes tell the search of this space nothing, if so."""
    unused = ""
    if item["space"] != space:
        unused = OTHER_SPACE
    elif provenance == "measured" and item["provenance"] == "predicted":
        unused = ONLY_PREDICTED
    return {
        **{key: item[key] for key in ("name", "task", "space", "provenance", "of", "best_only", "why", "refused")},
        "rows": len(item["rows"]),
        "unused": "" if item["refused"] else unused,
        "agreement": None,  # with the outcomes of this search, as last logged; None: not compared
        "dropped": None,
    }
