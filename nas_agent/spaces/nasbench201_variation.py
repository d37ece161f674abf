"""NAS-Bench-201's cells as code: the sixteen intents of `spaces/code.py` as edits of a cell's six edges.

| intent | edit |
|---|---|
| add layer | an edge that is zero or a skip becomes a convolution or a pooling |
| delete layer | a convolution or a pooling becomes a skip or zero |
| improve | one edge takes another operation |
| smaller | two or three convolutions shrink: 3x3 to 1x1 or a skip, 1x1 to a skip or zero |
| larger | two or three edges grow to a 3x3 convolution |
| fully connected | one edge becomes a 1x1 convolution: fully connected at each pixel |
| convolution | one edge becomes a 3x3 convolution |
| pooling | one edge becomes a pooling |
| residual | an edge past a node becomes a skip |
| multi-residual | two edges past nodes become skips |
| dropout | an edge is dropped: zero |
| normalisation | a pooling or skip becomes a convolution, which brings batch normalisation |
| recurrent | the chain 0-1-2-3 applies one operation three times |
| width | a path is opened or closed: an edge turns from zero to an operation, or to zero |
| activation | two edges change places, and with them where the ReLUs are |
| combine | each edge from one of the parents |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from nas_agent.errors import InvalidArchitecture
from nas_agent.spaces.code import Descriptors

if TYPE_CHECKING:
    from nas_agent.spaces.cell_graph import CellGraph

Options = tuple[str, ...]
ZERO, SKIP, SMALL, LARGE, POOL = "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"
ALL = (ZERO, SKIP, SMALL, LARGE, POOL)
LAYERS = (SMALL, LARGE, POOL)
CHAIN, PAST = (0, 2, 5), (1, 3, 4)  # edges to the next node, and those past one: 0-2, 0-3, 1-3
CELLS = 5  # of a stage; a network has three
CHANNELS = 64  # of the last stage
SHRINKS = {LARGE: (SMALL, SKIP), SMALL: (SKIP, ZERO)}
# Widest to narrowest network of the space; the ratio and the FLOPs spread evenly by their logarithms.
RANGES = {"width_to_depth": (1.3, 130.0), "flops": (7.5e6, 2.25e8)}


def _one(options: Options, places: Sequence[int], to: Sequence[str], rng: Random, many: int = 1) -> Options:
    """Give some of the places another of these operations; refuse where none of them can take one."""
    able = [place for place in places if set(to) - {options[place]}]
    if not able:
        raise InvalidArchitecture("there is no edge in the cell that this could be done to")
    changed = list(options)
    for place in rng.sample(able, min(many, len(able))):
        changed[place] = rng.choice([operation for operation in to if operation != options[place]])
    return tuple(changed)


def _holding(options: Options, *held: str) -> list[int]:
    return [place for place, operation in enumerate(options) if operation in held]


def _smaller(options: Options, rng: Random) -> Options:
    places = _holding(options, *SHRINKS)
    if not places:
        raise InvalidArchitecture("the cell has no convolution that could shrink")
    changed = list(options)
    for place in rng.sample(places, min(rng.choice((2, 3)), len(places))):
        changed[place] = rng.choice(SHRINKS[options[place]])
    return tuple(changed)


def _width(options: Options, rng: Random) -> Options:
    place = rng.randrange(len(options))
    return _one(options, [place], ALL[1:] if options[place] == ZERO else (ZERO,), rng)


def _recurrent(options: Options, rng: Random) -> Options:
    operation = rng.choice((SMALL, LARGE))
    return tuple(operation if place in CHAIN else option for place, option in enumerate(options))


def _swapped(options: Options, rng: Random) -> Options:
    first = rng.randrange(len(options))
    others = [place for place, operation in enumerate(options) if operation != options[first]]
    if not others:
        raise InvalidArchitecture("all edges have the same operation, so changing places changes nothing")
    second, changed = rng.choice(others), list(options)
    changed[first], changed[second] = options[second], options[first]
    return tuple(changed)


_EVERY = range(6)
EDITS: dict[str, Callable[[Options, Random], Options]] = {
    "add layer": lambda o, rng: _one(o, _holding(o, ZERO, SKIP), LAYERS, rng),
    "delete layer": lambda o, rng: _one(o, _holding(o, *LAYERS), (SKIP, ZERO), rng),
    "improve": lambda o, rng: _one(o, _EVERY, ALL, rng),
    "smaller": _smaller,
    "larger": lambda o, rng: _one(o, _EVERY, (LARGE,), rng, rng.choice((2, 3))),
    "fully connected": lambda o, rng: _one(o, _EVERY, (SMALL,), rng),
    "convolution": lambda o, rng: _one(o, _EVERY, (LARGE,), rng),
    "pooling": lambda o, rng: _one(o, _EVERY, (POOL,), rng),
    "residual": lambda o, rng: _one(o, PAST, (SKIP,), rng),
    "multi-residual": lambda o, rng: _one(o, PAST, (SKIP,), rng, 2),
    "dropout": lambda o, rng: _one(o, _EVERY, (ZERO,), rng),
    "normalisation": lambda o, rng: _one(o, _holding(o, POOL, SKIP), (SMALL, LARGE), rng),
    "recurrent": _recurrent,
    "width": _width,
    "activation": _swapped,
}


def varied(intent: str, parents: Sequence[Options], rng: Random) -> Options:
    """Carry an intent out; InvalidArchitecture with the reason where the cell leaves no room for it."""
    if intent == "combine":
        if len(parents) < 2:
            raise InvalidArchitecture("'combine' starts from two networks or more")
        return tuple(rng.choice(column) for column in zip(*parents, strict=True))
    if intent not in EDITS:
        raise InvalidArchitecture(f"unknown intent '{intent}'; choose from {', '.join([*EDITS, 'combine'])}")
    return EDITS[intent](parents[0], rng)


def descriptors(graph: CellGraph, flops: float, parameters: float) -> Descriptors:
    """Describe a network by its cell: paths side by side times channels, over layers with weights one after the other.

    All networks of the space have the same channels and nearly as many layers, so the ratio of `Descriptors` says
    nothing here; width and depth of the cell (Shu et al., ICLR 2020) do.
    """
    paths = graph.paths()
    weights = {operation.name for operation in graph.operations if operation.kind == "conv"}
    deepest = max((sum(graph.edges[edge].operation in weights for edge in path) for path in paths), default=0)
    depth = 2 + 3 * CELLS * deepest  # stem and classifier
    return Descriptors(CHANNELS * max(1, len(paths)) / depth, flops, parameters)
