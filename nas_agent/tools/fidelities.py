"""The rungs of a search: fidelities from the cheapest to the full one, and what share of a full training each costs.

A rung is written as its epochs, or as what differs from the full fidelity: `3`, `epochs=3 share=0.25`,
`epochs=3 resolution=16 width=8`. Costs are shares of the full training's arithmetic: epochs and images count as they
are, pixels and channels by their squares. The clock is not asked, so that the same search spends the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas_agent.errors import ConfigError
from nas_agent.records import Fidelity, Json

FLAG = "--fidelities"
AUTO = "auto"
AUTO_RUNGS = 3  # of a training
FACTOR = 3  # between them, where nothing is said
ADVICE = "write epochs from low to full, e.g. 1,3,9, or auto"
KINDS = {"epochs": int, "share": float, "resolution": int, "width": int}


@dataclass(frozen=True, slots=True)
class Rungs:
    """Fidelities and their costs, both rising; the last one is the full fidelity and costs 1."""

    levels: tuple[Fidelity, ...]
    costs: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.levels)

    @property
    def full(self) -> Fidelity:
        """What counts: the result of a search is chosen among outcomes of this fidelity."""
        return self.levels[-1]

    def level(self, at: Fidelity | None) -> int:
        """Return the place of a fidelity, 0 for the cheapest; ValueError for one that is no rung."""
        if at not in self.levels:
            raise ValueError(f"expected an outcome at one of {', '.join(map(str, self.levels))}, got {at}")
        return self.levels.index(at)

    def to_list(self) -> list[Json]:
        """As plain JSON types."""
        return [{"at": at.to_dict(), "cost": cost} for at, cost in zip(self.levels, self.costs, strict=True)]

    @classmethod
    def from_list(cls, data: Sequence[Mapping[str, Any]]) -> Rungs:
        """The inverse of `to_list`."""
        levels = tuple(Fidelity.from_dict(item["at"]) for item in data)
        return cls(levels, tuple(float(item["cost"]) for item in data))


def cost(at: Fidelity, full: Fidelity, side: int | None = None) -> float:
    """Return which share of a full training's arithmetic a training takes; `side` of an image where one is scaled."""
    share = at.epochs / full.epochs * at.share / full.share
    if at.width is not None and full.width is not None:
        share *= (at.width / full.width) ** 2
    whole = full.resolution or side
    if at.resolution is not None and whole is not None:
        share *= (at.resolution / whole) ** 2
    return share


def make_rungs(levels: Sequence[Fidelity], side: int | None = None) -> Rungs:
    """Check that fidelities rise to the last one, in cost and in no part above it; ConfigError says which does not."""
    full = levels[-1]
    if len(levels) < 2:
        raise ConfigError(f"{FLAG}: expected at least two rungs, got {full}; {ADVICE}, or leave {FLAG} out")
    for at in levels[:-1]:
        above = [name for name, most in _parts(full, side).items() if (_parts(at, side)[name] or 0) > (most or 0)]
        if above:
            raise ConfigError(
                f"{FLAG}: {at} is above the full fidelity, {full}, in {' and '.join(above)}; {ADVICE}, "
                "or raise the full one"
            )
    costs = [cost(at, full, side) for at in levels]
    for lower, higher, at, after in zip(costs, costs[1:], levels, levels[1:], strict=False):
        if lower >= higher:
            raise ConfigError(f"{FLAG}: {after} must cost more than {at}, which stands before it; {ADVICE}")
    return Rungs(tuple(levels), tuple(costs))


def _parts(at: Fidelity, side: int | None) -> dict[str, float | None]:
    resolution = at.resolution if at.resolution is not None else side
    return {"epochs": at.epochs, "share": at.share, "width": at.width, "resolution": resolution}


def rungs_of_training(texts: Sequence[str], full: Fidelity, *, side: int, factor: int) -> Rungs:
    """Read the rungs of a search that trains; `auto` divides the full epochs by the factor, twice at most."""
    if tuple(texts) == (AUTO,):
        below = (round(full.epochs / factor**steps) for steps in range(AUTO_RUNGS - 1, 0, -1))
        epochs = sorted({count for count in below if 1 <= count < full.epochs})
        return make_rungs([*(replace(full, epochs=count) for count in epochs), full], side)
    levels = [read(text, full) for text in texts]
    if levels[-1] != full:
        raise ConfigError(
            f"{FLAG}: the last rung must be the full fidelity, {full}, got {levels[-1]}; change it, or --epochs, "
            "--width, --resolution or --set data_share"
        )
    return make_rungs(levels, side)


def rungs_of_columns(texts: Sequence[str], full: int, columns: Sequence[int], title: str) -> Rungs:
    """Read the rungs of a search in a table that has columns for some numbers of epochs."""
    held = sorted(column for column in columns if column <= full)
    told = f"the {title} table holds {' and '.join(map(str, sorted(columns)))} epochs" if columns else ""
    if len(held) < 2:
        raise ConfigError(
            f"{FLAG}: {told or f'the {title} table holds one value an architecture'}, so there is nothing below the "
            f"full fidelity; leave {FLAG} out, or add --evaluator train"
        )
    if tuple(texts) == (AUTO,):
        return make_rungs([Fidelity(epochs) for epochs in held])
    levels = [read(text, Fidelity(full)) for text in texts]
    for at in levels:
        if at != Fidelity(at.epochs) or at.epochs not in columns:
            raise ConfigError(f"{FLAG}: {at} is not in the data; {told}, choose among them")
    if levels[-1].epochs != full:
        raise ConfigError(
            f"{FLAG}: the last rung must be the full fidelity, {full} epochs, got {levels[-1]}; change it, or --epochs"
        )
    return make_rungs(levels)


def own_rungs(texts: Sequence[str]) -> Rungs:
    """Read the rungs of a caller who measures by himself: the last one is full."""
    if tuple(texts) == (AUTO,):
        raise ConfigError(f"{FLAG} auto: what is measured by the caller has no full fidelity that is known; {ADVICE}")
    full = read(texts[-1], None)
    return make_rungs([read(text, full) for text in texts])


def full_epochs(texts: Sequence[str]) -> int | None:
    """Return the epochs of the last rung; None where the rungs follow from the full fidelity."""
    return None if not texts or tuple(texts) == (AUTO,) else read(texts[-1], None).epochs


def read(text: str, full: Fidelity | None) -> Fidelity:
    """Read one rung; what it does not say is as in the full fidelity. ConfigError says what was expected."""
    said: dict[str, Any] = {}
    for part in text.split():
        name, equals, amount = part.partition("=")
        if not equals:
            name, amount = "epochs", part
        if name not in KINDS or name in said:
            raise ConfigError(
                f"{FLAG} '{text}': expected epochs, or some of {', '.join(f'{kind}=NUMBER' for kind in KINDS)}, each "
                f"once, got '{part}'; {ADVICE}"
            )
        try:
            said[name] = KINDS[name](amount)
        except ValueError:
            raise ConfigError(f"{FLAG} '{text}': expected a number for {name}, got '{amount}'; {ADVICE}") from None
    if not said or (full is None and "epochs" not in said):
        raise ConfigError(f"{FLAG} '{text}': expected a number of epochs; {ADVICE}")
    try:
        return Fidelity(**said) if full is None else replace(full, **said)
    except ValueError as error:
        raise ConfigError(f"{FLAG} '{text}': {error}") from None
