"""An archive of niches: the best of each kind, by pyribs behind an interface of our own.

What pyribs does silently is refused or counted here: measures outside the ranges land in the niches at the border and
are counted (`outside`), numbers that are not finite are an error of the caller.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nas_agent.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from nas_agent.records import Json

Kind = Literal["cvt", "grid", "sliding"]
Floats = npt.NDArray[np.float64]
SAMPLES = 10_000  # points that the centroids of a CVT are the means of; pyribs' own 100,000 take five times as long
SEED = 0  # of the centroids: niches belong to the task, not to a run, so that archives of several seeds compare
REMAP = 100  # entries after which sliding boundaries move


@dataclass(frozen=True, slots=True)
class Axis:
    """One measure and its range, fixed before a search."""

    name: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"axis '{self.name}': expected finite ends in rising order, got {self.low} to {self.high}"
            )
        if self.log and self.low <= 0.0:
            raise ConfigError(f"axis '{self.name}': a logarithmic range begins above 0, got {self.low}")

    def place(self, value: float) -> float:
        """Return where a value stands: 0 at the low end of the range, 1 at its high end, beyond them outside it."""
        if not math.isfinite(value):
            raise ValueError(f"axis '{self.name}': expected a finite measure, got {value}")
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        tiny = math.log(max(value, self.low * 1e-9))
        return (tiny - math.log(self.low)) / (math.log(self.high) - math.log(self.low))

    def value(self, place: float) -> float:
        """Return the value at a place: the inverse of `place`."""
        if not self.log:
            return self.low + place * (self.high - self.low)
        return math.exp(math.log(self.low) + place * (math.log(self.high) - math.log(self.low)))

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"name": self.name, "low": self.low, "high": self.high, "log": self.log}


@dataclass(frozen=True, slots=True)
class Elite:
    """The best of one niche."""

    key: str  # what the caller names it by
    score: float  # more is better
    measures: tuple[float, ...]  # as given, not normalised


class Niches:
    """The best entry of each niche. An entry takes a niche only where that is empty or its holder scores less."""

    def __init__(self, axes: Sequence[Axis], *, cells: int = 100, kind: Kind = "cvt") -> None:
        if kind not in get_args(Kind):
            raise ConfigError(f"expected an archive of {', '.join(get_args(Kind))}, got '{kind}'")
        if cells < 2 or not axes:
            raise ConfigError(f"expected at least 2 niches and one axis, got {cells} and {len(axes)}")
        self.axes, self.kind = tuple(axes), kind
        self._ribs = _make(kind, len(axes), cells)
        self.cells: int = int(self._ribs.cells)
        self.outside = 0  # entries beyond the ranges, which stand at the border
        self.qd_score = 0.0  # sum of the elites' scores; scores below 0 make it meaningless
        self._entries: list[Elite] = []
        self._elites: dict[int, Elite] = {}
        # Where niches stay as they are, what is near what and which measures belong where need be found out only once.
        self._known: dict[tuple[float, ...], int] = {}
        self._near: dict[int, list[int]] = {}

    def add(self, key: str, score: float, measures: Sequence[float]) -> bool:
        """Tell whether the entry took a niche."""
        if not math.isfinite(score):
            raise ValueError(f"expected a finite score, got {score}: a failure has no place in an archive")
        point = self._point(measures)
        self.outside += bool((point < 0.0).any() or (point > 1.0).any())
        place = np.clip(point, 0.0, 1.0)
        self._entries.append(Elite(key, score, tuple(map(float, measures))))
        added = self._ribs.add_single(len(self._entries) - 1, score, place)
        entered = bool(added["status"])
        if self.kind == "sliding":  # an entry can move all boundaries, and with them who holds what
            self._reread()
        elif entered:
            niche = self.niche(measures)
            before = self._elites.get(niche)
            self.qd_score += score - (0.0 if before is None else before.score)
            self._elites[niche] = self._entries[-1]
        return entered

    @property
    def name(self) -> str:
        """What the niches are told by: two archives of one name have the same ones to begin with."""
        where = self.centres().round(6).tobytes()
        return f"{self.kind} {self.cells} {hashlib.sha256(where).hexdigest()[:8]}"

    @property
    def elites(self) -> dict[int, Elite]:
        """The holders, by niche; in the order in which niches were first filled, so that chance can be repeated."""
        return self._elites

    @property
    def coverage(self) -> float:
        """Share of the niches that are filled."""
        return len(self._elites) / self.cells

    @property
    def best(self) -> Elite | None:
        """The holder with the highest score."""
        return max(self._elites.values(), key=lambda elite: elite.score, default=None)

    def niche(self, measures: Sequence[float]) -> int:
        """Return the niche that these measures belong to, filled or not."""
        key = tuple(measures)
        known = self._known.get(key)
        if known is None:
            known = int(self._ribs.index_of_single(np.clip(self._point(measures), 0.0, 1.0)))
            if self.kind != "sliding":
                self._known[key] = known
        return known

    def nearest(self, niche: int, many: int) -> list[int]:
        """Return the filled niches nearest to one, itself left out, nearest first."""
        order = self._near.get(niche)
        if order is None:
            centres = self.centres()
            apart = ((centres - centres[niche]) ** 2).sum(axis=1)
            order = [other for other in np.argsort(apart, kind="stable").tolist() if other != niche]
            if self.kind != "sliding":
                self._near[niche] = order
        return list(islice((other for other in order if other in self._elites), many))

    def centres(self) -> Floats:
        """Return the middle of each niche in places (cells, axes), as they are now."""
        if self.kind == "cvt":
            return np.asarray(self._ribs.centroids, dtype=np.float64)
        middles = [(edges[1:] + edges[:-1]) / 2 for edges in self.edges()]
        return np.stack([block.ravel() for block in np.meshgrid(*middles, indexing="ij")], axis=1)

    def edges(self) -> list[Floats]:
        """Return the boundaries along each axis in places; a CVT has none."""
        return [] if self.kind == "cvt" else [np.asarray(line, dtype=np.float64) for line in self._ribs.boundaries]

    def _point(self, measures: Sequence[float]) -> Floats:
        if len(measures) != len(self.axes):
            raise ValueError(f"expected {len(self.axes)} measures, got {len(measures)}")
        return np.array([axis.place(value) for axis, value in zip(self.axes, measures, strict=True)])

    def _reread(self) -> None:
        held = self._ribs.data(["index", "solution"], return_type="dict")
        pairs = sorted(zip(held["index"].tolist(), held["solution"].tolist(), strict=True), key=lambda pair: pair[1])
        self._elites = {index: self._entries[entry] for index, entry in pairs}
        self.qd_score = sum(elite.score for elite in self._elites.values())


def _make(kind: Kind, axes: int, cells: int) -> Any:
    ribs = archives()
    ranges = [(0.0, 1.0)] * axes
    shape: dict[str, Any] = {"solution_dim": (), "solution_dtype": np.int64, "ranges": ranges}
    if kind == "cvt":
        return ribs.CVTArchive(centroids=_centroids(cells, axes), **shape)
    side = side_of(kind, cells, axes)
    if kind == "grid":
        return ribs.GridArchive(dims=[side] * axes, **shape)
    return ribs.SlidingBoundariesArchive(dims=[side] * axes, remap_frequency=REMAP, **shape)


def side_of(kind: Kind, cells: int, axes: int) -> int:
    """Return the niches along an axis; ConfigError where not as many fit along each."""
    side: int = round(cells ** (1.0 / axes))
    if side**axes != cells:
        raise ConfigError(
            f"an archive of kind {kind} has as many niches along each axis: expected a square, got {cells}"
        )
    return side


@lru_cache(maxsize=8)
def _centroids(cells: int, axes: int) -> Floats:
    """Return the centroids of a Voronoi tessellation of the unit cube; once a process, for they take a second."""
    ranges = [(0.0, 1.0)] * axes
    made = archives().CVTArchive(solution_dim=(), centroids=cells, ranges=ranges, seed=SEED, samples=SAMPLES)
    return np.asarray(made.centroids, dtype=np.float64)


def archives() -> Any:
    """Return the archives of pyribs; MissingExtra where it is not installed."""
    try:
        import ribs.archives
    except ImportError as error:
        raise MissingExtra("ribs", "code", "quality diversity") from error
    return ribs.archives
