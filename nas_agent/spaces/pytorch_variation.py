"""Intents tried until something comes of them that can be trained: change, mend sizes, look, or try elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.inspection import Inspection
from nas_agent.spaces.pytorch_calls import NotHere
from nas_agent.spaces.pytorch_combine import side_by_side, spliced
from nas_agent.spaces.pytorch_draft import Draft
from nas_agent.spaces.pytorch_intents import SEVERAL, SINGLE, Change
from nas_agent.spaces.pytorch_text import read

if TYPE_CHECKING:
    from nas_agent.spaces.pytorch import Pytorch

TRIES = 12  # of one intent
WHOLE = 6  # of them, until networks are combined side by side
MENDED = 4  # rounds in which sizes are made to fit
SIZED = ("smaller", "larger")


def varied(
    space: Pytorch, intent: str, parents: Sequence[Architecture], rng: Random, *, tries: int = TRIES
) -> Architecture:
    """Carry out an intent on canonical parents; InvalidArchitecture where no try gives anything new and trainable."""
    known = {parent.id for parent in parents}
    last = ""
    for number in range(tries):
        try:
            if intent == "combine":
                child = _combined(space, parents, rng, whole=number >= WHOLE)
            else:
                change, times = SEVERAL.get(intent, (SINGLE.get(intent), 1))
                assert change is not None
                child = parents[0]
                for _ in range(times):
                    child = _changed(space, child, change, rng)
        except (InvalidArchitecture, NotHere) as error:
            last = str(error)
            continue
        if child.id in known:
            last = "it changed nothing that the network computes"
        elif intent in SIZED and (_cost(space, child) > _cost(space, parents[0])) is not (intent == "larger"):
            last = f"the network became no {intent}"
        else:
            return child
    raise InvalidArchitecture(f"'{intent}' cannot be carried out on this network: {last}")


def _cost(space: Pytorch, architecture: Architecture) -> int:
    """Weigh what a network computes and what it holds: for "larger" and "smaller" one of them may fall or rise."""
    found = space.inspection(architecture)
    return found.flops + found.parameters


def _changed(space: Pytorch, parent: Architecture, change: Change, rng: Random) -> Architecture:
    draft = change(Draft(space.canonical(parent).text, space.inspection(parent)), rng)
    return mended(space, draft.text)


def _combined(space: Pytorch, parents: Sequence[Architecture], rng: Random, *, whole: bool) -> Architecture:
    """Begin as one and end as another; after that has failed often, or with a third, put networks side by side."""
    order = rng.sample(list(parents), len(parents))
    texts = [(space.canonical(one).text, space.inspection(one)) for one in order]
    if whole:
        return mended(space, side_by_side(texts[:3]))
    child = mended(space, spliced(texts[0], texts[1], rng))
    for other in texts[2:3]:
        child = mended(space, spliced((child.text, space.inspection(child)), other, rng))
    return child


def mended(space: Pytorch, text: str) -> Architecture:
    """Read a text, giving layers the sizes that make it fit together; InvalidArchitecture where that does not do."""
    for _ in range(MENDED):
        plain = read(text).text
        refusal = space.refusal(plain)
        if refusal is None:
            return space.parse(plain)
        if not refusal.wishes:
            raise InvalidArchitecture(f"{refusal.step}: {refusal.reason}")
        text = Draft(plain, Inspection((), 0, 0)).granted(refusal.wishes).text
    raise InvalidArchitecture("its sizes could not be made to fit together")
