"""Baselines for two objectives, of which one is a cost that is known: an evolution and a local search for fronts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from nas_agent.bench.baselines import STUCK, Baseline, Candidates
from nas_agent.bench.methods import Meter, Problem
from nas_agent.objectives import front
from nas_agent.records import Architecture

Point = tuple[float, float, Architecture]


def measure(problem: Problem, meter: Meter, architecture: Architecture) -> Point:
    """Return score, cost and architecture; an unknown cost is infinite."""
    assert problem.costs is not None
    assert problem.objective is not None
    cost = problem.costs.of(problem.objective)(architecture)
    return meter.score(architecture), math.inf if cost is None else cost, architecture


def sorted_by_fronts(points: list[Point]) -> list[Point]:
    """Order points by non-dominated sorting, and within a front by crowding distance, the loneliest first."""
    left, ordered = list(points), list[Point]()
    while left:
        best = front(left)
        ordered += sorted(best, key=lambda point: -_crowding(best, best.index(point)))
        taken = {architecture.id for _, _, architecture in best}
        left = [point for point in left if point[2].id not in taken]
    return ordered


def _crowding(members: list[Point], place: int) -> float:
    """Sum the gaps to both neighbours on a front, each as a part of the front's extent; infinite at its ends."""
    if place in (0, len(members) - 1):
        return math.inf
    total = 0.0
    for axis in (0, 1):
        extent = abs(float(members[-1][axis]) - float(members[0][axis]))  # type: ignore[arg-type]
        gap = abs(float(members[place + 1][axis]) - float(members[place - 1][axis]))  # type: ignore[arg-type]
        total += gap / extent if 0.0 < extent < math.inf else 0.0
    return total


@dataclass(frozen=True)
class FrontEvolution(Baseline):
    """NSGA-II (Deb et al., 2002), one child at a time, by mutation: the worst by fronts and crowding leaves.

    What is known needs no evaluation; after `STUCK` known children in a row a fresh draw enters (ours).
    """

    population: int = 20

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Mutate the winner of a tournament of two, for ever."""
        candidates, alive, stuck = Candidates(problem, meter), list[Point](), 0
        while not candidates.exhausted:
            child = candidates.fresh(rng)
            if len(alive) >= self.population and stuck < STUCK:
                around = candidates.neighbours(alive[min(rng.sample(range(len(alive)), 2))][2])
                child = rng.choice(around) if around else child
            if child is None:
                return
            if meter.knows(child):
                stuck += 1
                continue
            stuck = 0
            alive = sorted_by_fronts([*alive, measure(problem, meter, child)])[: self.population]


@dataclass(frozen=True)
class FrontLocalSearch(Baseline):
    """Pareto local search (Paquete et al., 2004): measure around each member of the front, then start afresh."""

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Explore the neighbourhoods of the front in random order."""
        candidates, known, explored = Candidates(problem, meter), list[Point](), set[str]()
        while (start := candidates.fresh(rng)) is not None:
            known = front([*known, measure(problem, meter, start)])
            while open_ := [point for point in known if point[2].id not in explored]:
                centre = rng.choice(open_)[2]
                explored.add(centre.id)
                around = candidates.neighbours(centre)
                rng.shuffle(around)
                for neighbour in around:
                    if not meter.knows(neighbour):
                        known = front([*known, measure(problem, meter, neighbour)])
