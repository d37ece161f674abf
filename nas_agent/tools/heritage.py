"""Whose weights a child begins with, as the log alone decides it; and what a run has inherited, summed up.

Real et al. (2017, section 3.1) let a child keep its parent's weights wherever shapes match. A parent's weights are used
where its outcome was logged before the child was proposed: so the same search is made by any number of workers, and
after it was stopped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

from nas_agent.records import Heritage, Json, Legacy, Measured, Outcome
from nas_agent.tools.archive import Archive

KEPT = 2 * 2**30  # bytes of weights in a run folder, beyond which later trainings leave none


def heritage_of(archive: Archive, parents: Sequence[str]) -> Heritage:
    """Return what a child of these parents may begin with, and whether there is room for its own weights."""
    left = [_legacy(archive.get(parent)) for parent in parents]
    kept = sum(legacy.size for outcome in archive if (legacy := _legacy(outcome)) is not None)
    return Heritage(tuple(dict.fromkeys(legacy for legacy in left if legacy is not None)), leaves=kept < KEPT)


def told_inheritance(outcomes: Iterable[Outcome]) -> Json | None:
    """Count who has inherited, and how much; None for a search that does not inherit."""
    found = [one.inherited for one in outcomes if isinstance(one, Measured) and one.inherited is not None]
    if not found:
        return None
    heirs = [one for one in found if one.taken]
    return {
        "measured": len(found),
        "heirs": len(heirs),
        "share": fmean(one.taken / one.of for one in heirs) if heirs else None,
        "most_epochs": max((one.epochs for one in heirs), default=0),
        "kept": sum(one.legacy.size for one in found if one.legacy is not None),
        "notes": sum(bool(one.note) for one in found),
    }


def _legacy(outcome: Outcome | None) -> Legacy | None:
    return outcome.inherited.legacy if isinstance(outcome, Measured) and outcome.inherited is not None else None
