"""An archive of networks as a file: `archive.json`, whole enough to go on from, and `archive.csv` for spreadsheets.

The file holds what the niches are (kind, ranges, centroids or boundaries, seed of the centroids) and who holds them.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nas_agent.agents.generators.quality_diversity.niches import SEED, Axis, Niches
from nas_agent.errors import ConfigError, DataError
from nas_agent.records import Architecture, Json

FORMAT = "nas-agent archive 1"


@dataclass(frozen=True, slots=True)
class Saved:
    """An archive read back."""

    space: str
    niches: Niches
    members: dict[str, Architecture]  # by id: the holders


def document(niches: Niches, members: Mapping[str, Architecture], about: Json) -> Json:
    """Return the archive as plain JSON types; `about` names the run, the task and whatever else is worth knowing."""
    return {
        "format": FORMAT,
        **about,
        "kind": niches.kind,
        "niches": niches.cells,
        "seed": SEED,
        "axes": [axis.to_dict() for axis in niches.axes],
        "centres": niches.centres().tolist(),
        "edges": [line.tolist() for line in niches.edges()],
        "filled": len(niches.elites),
        "coverage": niches.coverage,
        "qd_score": niches.qd_score,
        "outside": niches.outside,
        "elites": [
            {"niche": niche, "score": elite.score, "measures": list(elite.measures), **members[elite.key].to_dict()}
            for niche, elite in sorted(niches.elites.items())
        ],
    }


def as_csv(archive: Json) -> str:
    """Return the holders, one a line."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["niche", "id", "score", *(axis["name"] for axis in archive["axes"])])
    for elite in archive["elites"]:
        writer.writerow([elite["niche"], elite["id"], elite["score"], *elite["measures"]])
    return out.getvalue()


def read_archive(path: Path) -> Saved:
    """Read `archive.json`; DataError says what is wrong with it.

    The holders are entered anew, so a niche whose boundaries have moved since may change hands.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: the archive cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: expected the JSON of an archive, got something else ({error})") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        came = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise DataError(f"{path}: expected '{FORMAT}' under 'format', got {came!r}; give the archive.json of a run")
    try:
        return _read(data)
    except (ConfigError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: the archive is broken: {type(error).__name__} {error}; write it anew") from error


def _read(data: Json) -> Saved:
    axes = [Axis(str(a["name"]), float(a["low"]), float(a["high"]), bool(a["log"])) for a in data["axes"]]
    niches = Niches(axes, cells=int(data["niches"]), kind=data["kind"])
    members: dict[str, Architecture] = {}
    for elite in data["elites"]:
        member = Architecture.from_dict(elite)
        if not math.isfinite(elite["score"]):
            raise ValueError(f"elite {member.id}: expected a finite score, got {elite['score']}")
        members[member.id] = member
        niches.add(member.id, float(elite["score"]), [float(value) for value in elite["measures"]])
    return Saved(str(data["space"]), niches, members)
