"""Archives of niches: what enters, what stays, and what pyribs would do silently."""

from __future__ import annotations

import math
import sys
from random import Random

import numpy as np
import pytest

from nas_agent.agents.generators.quality_diversity.niches import Axis, Kind, Niches
from nas_agent.errors import ConfigError, MissingExtra

AXES = (Axis("width", 0.0, 200.0), Axis("FLOPs", 1e3, 1e7, log=True))
KINDS: tuple[Kind, ...] = ("cvt", "grid", "sliding")
FIXED: tuple[Kind, ...] = ("cvt", "grid")


def drawn(number: int, seed: int = 0) -> list[tuple[str, float, tuple[float, float]]]:
    rng = Random(seed)
    return [
        (str(i), rng.gauss(0.0, 1.0), (rng.uniform(0.0, 200.0), 10 ** rng.uniform(3.0, 7.0))) for i in range(number)
    ]


@pytest.mark.parametrize("kind", FIXED)
def test_an_elite_is_never_replaced_by_a_worse_or_equal_one(kind: Kind) -> None:
    archive = Niches(AXES, kind=kind)
    for key, score, measures in drawn(400):
        niche = archive.niche(measures)
        before = archive.elites.get(niche)
        entered = archive.add(key, score, measures)
        assert entered is (before is None or score > before.score)
        assert archive.elites[niche].key == (key if before is None or entered else before.key)
    held = archive.elites[archive.niche((50.0, 1e5))]
    assert not archive.add("equal", held.score, held.measures)


@pytest.mark.parametrize("kind", FIXED)
def test_each_niche_holds_the_best_that_was_put_there(kind: Kind) -> None:
    archive, entries = Niches(AXES, kind=kind), drawn(400)
    for entry in entries:
        archive.add(*entry)
    best: dict[int, float] = {}
    for _, score, measures in entries:
        niche = archive.niche(measures)
        best[niche] = max(best.get(niche, -math.inf), score)
    assert {niche: elite.score for niche, elite in archive.elites.items()} == best
    assert archive.qd_score == pytest.approx(sum(best.values()))
    assert archive.coverage == len(best) / 100


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_of_all_is_never_lost(kind: Kind) -> None:
    archive, best = Niches(AXES, kind=kind), -math.inf
    for key, score, measures in drawn(350):
        archive.add(key, score, measures)
        best = max(best, score)
        assert archive.best is not None
        assert archive.best.score == best


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_entries_make_the_same_archive(kind: Kind) -> None:
    archives = [Niches(AXES, kind=kind) for _ in range(2)]
    for archive in archives:
        for entry in drawn(300):
            archive.add(*entry)
    first, second = archives
    assert list(first.elites.items()) == list(second.elites.items())
    assert first.name == second.name


def test_the_first_entry_always_enters_however_bad_it_is() -> None:
    archive = Niches(AXES)
    assert archive.add("bad", -1e9, (1.0, 1e4))
    assert archive.best is not None
    assert archive.best.key == "bad"


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="finite score"):
        Niches(AXES).add("x", score, (1.0, 1e4))


@pytest.mark.parametrize("measures", [(math.nan, 1e4), (1.0, math.inf)])
def test_measures_that_are_no_numbers_are_refused(measures: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="finite measure"):
        Niches(AXES).add("x", 1.0, measures)
    with pytest.raises(ValueError, match="expected 2 measures"):
        Niches(AXES).add("x", 1.0, (1.0,))


def test_what_lies_outside_the_ranges_is_counted_and_stands_at_the_border() -> None:
    archive = Niches(AXES)
    inside, outside = (200.0, 1e7), (5000.0, 1e12)
    assert archive.niche(outside) == archive.niche(inside)
    archive.add("in", 1.0, inside)
    assert archive.outside == 0
    archive.add("out", 2.0, outside)
    archive.add("none", 3.0, (1.0, 0.0))  # no FLOPs at all have no logarithm
    assert archive.outside == 2


def test_niches_of_raw_numbers_are_all_reachable() -> None:
    """The release looked raw numbers up among centroids in [0, 1]², where nearly all fall into one niche."""
    archive = Niches(AXES)
    middles = [[axis.value(place) for axis, place in zip(AXES, centre, strict=True)] for centre in archive.centres()]
    assert [archive.niche(measures) for measures in middles] == list(range(100))


@pytest.mark.parametrize("kind", FIXED)
def test_the_nearest_niches_are_filled_ones_in_order_of_distance(kind: Kind) -> None:
    archive = Niches(AXES, kind=kind)
    for entry in drawn(60):
        archive.add(*entry)
    niche = next(iter(archive.elites))
    centres = archive.centres()
    found = archive.nearest(niche, 3)
    apart = {n: float(np.linalg.norm(centres[n] - centres[niche])) for n in archive.elites if n != niche}
    assert [apart[n] for n in found] == pytest.approx(sorted(apart.values())[:3])
    assert niche not in found


def test_sliding_boundaries_spread_niches_over_crowded_measures() -> None:
    """Entries that share a tenth of the range fill a few niches of a grid, and many of an archive that slides."""
    rng = Random(1)
    crowd = [(str(i), rng.random(), (rng.uniform(0.0, 20.0), 10 ** rng.uniform(3.0, 3.4))) for i in range(400)]
    filled = {}
    for kind in ("grid", "sliding"):
        archive = Niches(AXES, kind=kind)
        for entry in crowd:
            archive.add(*entry)
        filled[kind] = len(archive.elites)
    assert filled["grid"] <= 4
    assert filled["sliding"] > 50


def test_an_axis_places_what_it_values() -> None:
    for axis in AXES:
        assert [axis.place(axis.value(place)) for place in (0.0, 0.3, 1.0)] == pytest.approx([0.0, 0.3, 1.0])


@pytest.mark.parametrize(
    ("low", "high", "log", "message"),
    [
        (1.0, 1.0, False, "rising order"),
        (2.0, 1.0, False, "rising order"),
        (0.0, math.inf, False, "finite ends"),
        (0.0, 1.0, True, "above 0"),
    ],
)
def test_ranges_that_are_none_are_refused(low: float, high: float, log: bool, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Axis("x", low, high, log)


def test_archives_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected an archive of cvt, grid, sliding"):
        Niches(AXES, kind="voronoi")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected a square, got 90"):
        Niches(AXES, cells=90, kind="grid")
    with pytest.raises(ConfigError, match="at least 2 niches"):
        Niches(AXES, cells=1)


def test_without_pyribs_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ribs", None)
    monkeypatch.setitem(sys.modules, "ribs.archives", None)
    with pytest.raises(MissingExtra, match=r"pip install 'nas-agent\[code\]'"):
        Niches(AXES, cells=9, kind="grid")
