"""Structure of a derivation tree as numbers of fixed length (ours).

`count`: steps by their word, splits and merges by theirs. `depth`: see DEPTH. `cost`: logarithms of the parameters, the
multiplications and the largest thing between two steps. `signal` and `mixing`: what reaches the head (einspace_flow).

`cost` is not called `size`, because larger trees hardly score better (docs/log.md).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from nas_agent.spaces.einspace_flow import mixing, signal
from nas_agent.spaces.einspace_grammar import WIDTH
from nas_agent.spaces.einspace_shapes import START, Image, features_of, places_of, shapes, size_of, visits
from nas_agent.spaces.einspace_tree import (
    IDENTITY,
    LINEAR,
    MERGES,
    SPLITS,
    WORDS,
    Branch,
    Module,
)
from nas_agent.spaces.features import Floats

DEPTH = (
    "steps",
    "branches",
    "branches inside each other",
    "arms that are built",
    "most linear layers on a path",
    "fewest",
    "most 3x3 patches on a path",
    "most activations and softmaxes on a path",
    "most norms on a path",
    "log2 of the places that are left",
    "log2 of the features at the end",
    "it ends in tokens",
)
_COUNTED = (*(word for word in WORDS if word != IDENTITY), *SPLITS, *MERGES)
_COLUMN = {word: column for column, word in enumerate(_COUNTED)}


@lru_cache(maxsize=50_000)
def tree_features(module: Module) -> dict[str, Floats]:
    """Describe a canonical tree; shared by all callers, who only read it."""
    count = np.zeros(len(_COUNTED))
    built = branches = 0
    for visit in visits(module):
        if isinstance(visit.step, Branch):
            branches += 1
            built += visit.step.ways * visit.copies
            count[[_COLUMN[visit.step.split], _COLUMN[visit.step.merge]]] += 1.0
        elif visit.step in _COLUMN:
            count[_COLUMN[visit.step]] += 1.0
    size, along, end = size_of(module, width=WIDTH), _along(module), shapes(module, START)[-1]
    depth = (
        size.steps,
        branches,
        size.nesting,
        built,
        along.linear,
        along.fewest,
        along.patches,
        along.activations,
        along.norms,
        math.log2(places_of(end).at(WIDTH)),
        math.log2(features_of(end).at(WIDTH)),
        float(not isinstance(end, Image)),
    )
    cost = np.log(np.array([size.parameters, size.products, size.elements], dtype=np.float64))
    known = {"count": count, "depth": np.array(depth, dtype=np.float64), "cost": cost}
    return {**known, "signal": signal(module), "mixing": mixing(module)}


class _Path(NamedTuple):
    """The most of each on a path through a module, and the fewest linear layers."""

    linear: float = 0.0
    fewest: float = 0.0
    patches: float = 0.0
    activations: float = 0.0
    norms: float = 0.0


def _along(module: Module) -> _Path:
    total = _Path()
    for step in module:
        if isinstance(step, Branch):
            arms = [_along(arm) for arm in step.arms]
            most = [max(values) for values in zip(*arms, strict=True)]
            found = _Path(*most)._replace(fewest=min(arm.fewest for arm in arms))
        else:
            linear, acting = float(step in LINEAR), float(step in ("relu", "gelu", "softmax"))
            found = _Path(linear, linear, float(step.startswith("patches_3")), acting, float(step == "norm"))
        total = _Path(*(a + b for a, b in zip(total, found, strict=True)))
    return total
