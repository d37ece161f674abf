"""A corpus of hostile code: routes to a module, deeds done with it, and bombs; all of them, and a thousand snippets."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.hostile.bombs import BOMBS, NO_GAIN
from tests.hostile.deeds import DEEDS, OFTEN_REFUSED
from tests.hostile.routes import PLAIN, ROUTES

SNIPPETS = 1000


@dataclass(frozen=True)
class Snippet:
    """One hostile source text."""

    name: str
    source: str
    bomb: bool = False
    gains: bool = True  # with the sandbox off it shows evidence
    certain: bool = True  # on every system


def _done(deed: str, route: str = "") -> Snippet:
    name = f"{deed}, by {route}" if route else deed
    source = (ROUTES[route] if route else PLAIN) + DEEDS[deed]
    return Snippet(name, source, certain=deed not in OFTEN_REFUSED)


TECHNIQUES = (
    *(_done("open a key by the os module", route) for route in ROUTES),
    *(_done(deed) for deed in DEEDS if deed != "open a key by the os module"),
    *(Snippet(name, source, bomb=True, gains=name not in NO_GAIN) for name, source in BOMBS.items()),
)


def corpus() -> list[Snippet]:
    """Return the techniques and, drawn always alike, so many of their products that there are a thousand."""
    known = {snippet.source for snippet in TECHNIQUES}
    product = [_done(deed, route) for deed in DEEDS for route in ROUTES]
    product = [snippet for snippet in product if snippet.source not in known]
    return [*TECHNIQUES, *Random(0).sample(product, SNIPPETS - len(TECHNIQUES))]
