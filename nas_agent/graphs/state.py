"""What a checkpoint holds: counters and the few architectures of the current round, as plain JSON types.

Outcomes, principles and proposals live in the event log; `events` says how much of it this state has seen.
"""

from __future__ import annotations

from random import Random
from typing import TypedDict

from nas_agent.records import Json

Update = dict[str, object]


class SearchState(TypedDict):
    """Replaced key by key; nothing in it grows with the length of the search."""

    round: int  # rounds begun; with the seed and a node's name it fixes the node's random stream
    events: int  # events logged when this state was written
    seeds: list[Json]  # proposals of the initial design that still wait
    breaks: str  # the principle ("P3@2") that this round tests by breaking it; empty inside the principles
    shortlist: list[Json]  # proposals to be measured in this round
    adapted_at: int  # evaluations when the principles were last adapted
    best_at_adapt: float | None  # best score then: tells "improved" from "stuck"
    stopped: str  # empty while the search goes on, then why it ended


def first_state() -> SearchState:
    """The state before anything has happened."""
    return SearchState(
        round=0,
        events=0,
        seeds=[],
        breaks="",
        shortlist=[],
        adapted_at=0,
        best_at_adapt=None,
        stopped="",
    )


def stream(seed: int, name: str, step: int) -> Random:
    """Return the random stream of one node in one round.

    It is a function of its arguments alone, so the counter in the checkpoint is all of its state.
    """
    return Random(stream_name(seed, name, step))  # a text is hashed by SHA-512: the same on every machine


def stream_name(seed: int, name: str, step: int) -> str:
    """What the event log names a random stream by; `random.Random(NAME)` makes it again."""
    return f"{seed}/{name}/{step}"
