"""LLMatic's loop (Nasir et al., GECCO 2024, arXiv 2306.01102, section 3): two archives that bring each other forward.

Networks are varied by prompts: an intent and a temperature. A network enters its niche where it is better; the prompt
is rewarded for that (curiosity) and for beating the previous generation (fitness). All that is here follows from the
trials it was told, in their order, and from the random stream of each wish: a resumed run tells them again.

Ours, where the paper leaves it open: curiosity and fitness belong to the prompt's niche; the temperature of a curious
prompt is its own, that of another one the search's; a crossover has two or three parents; what is already known counts
like what did not enter; of several children bred for each network that is measured, those of empty niches are taken,
then those whose niche has the worst holder, for where a child stands is known before it is trained
(`Settings.children`; 1 is the paper's loop). Corrected: descriptors are normalised (the release looks raw numbers up
among centroids in [0, 1]², so that one to four of its hundred niches can be reached), and what cannot be trained is
punished.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from nas_agent.agents.generators.quality_diversity.niches import Axis, Kind, Niches, side_of
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Measured, Miss, Task, Trial, Variation
from nas_agent.spaces.code import INTENTS

ENTERED, DID_NOT, UNTRAINABLE = 1.0, -0.5, -1.0  # what a prompt's curiosity gains
MIGRANTS = 5  # elites that an island sends to the next one, its best
_PLACE = {intent.name: place for place, intent in enumerate(INTENTS)}
MUTATIONS = tuple(intent.name for intent in INTENTS if intent.parents == 1)
CROSSOVERS = tuple(intent.name for intent in INTENTS if intent.parents > 1)


@dataclass(frozen=True, slots=True)
class Settings:
    """The paper's figures; `generation` is 100 there, less where fewer are measured in a round."""

    archive: Kind = "cvt"
    niches: int = 100
    first: int = 10  # networks that fill the archives before anything is selected
    generation: int = 10  # networks after which the temperature moves and a new best is to be beaten
    crossover: float = 0.3  # share of the wishes; the others are mutations
    by_chance: float = 0.5  # share of the wishes whose prompt is drawn instead of the most curious one
    curiosity: bool = True  # False: all prompts are drawn, which is plain MAP-Elites
    temperature: float = 0.6
    step: float = 0.05  # up where a generation is at least as good as the one before, else down
    jittered: float = 0.5  # share of the wishes whose temperature is moved by chance
    jitter: float = 0.1  # at most so far
    low: float = 0.1
    high: float = 1.0
    islands: int = 1
    migration: int = 5  # generations between two migrations
    children: int = 1  # bred for each one that is measured

    def __post_init__(self) -> None:
        shares = (self.crossover, self.by_chance, self.jittered)
        if not all(0.0 <= share <= 1.0 for share in shares):
            raise ConfigError(f"quality diversity: expected shares from 0 to 1, got {shares}")
        if min(self.first, self.generation, self.islands, self.migration, self.children) < 1:
            raise ConfigError(f"quality diversity: expected counts of at least 1, got {self}")
        if not 0.0 < self.low <= self.temperature <= self.high:
            raise ConfigError(f"quality diversity: expected {self.low} <= temperature <= {self.high}, got {self}")

    def check_archive(self) -> None:
        """Raise ConfigError where there is no archive of this kind with so many niches."""
        if self.archive != "cvt":
            side_of(self.archive, self.niches, 2)


@dataclass(frozen=True, slots=True)
class Wish:
    """A child that is wanted: by which intent, at which temperature, of which parents."""

    variation: Variation
    parents: tuple[Architecture, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """What the archive of networks held after so many evaluations."""

    evaluations: int
    filled: int
    qd_score: float
    best: float | None


class Illumination:
    """The state of a search for the best of each kind."""

    def __init__(
        self,
        task: Task,
        axes: Sequence[Axis],
        start: Architecture,
        settings: Settings,
    ) -> None:
        self.task, self.settings, self.start = task, settings, start

        def archive(of: Sequence[Axis]) -> Niches:
            return Niches(of, cells=settings.niches, kind=settings.archive)

        self.networks = archive(axes)  # of all islands together
        self.islands = [self.networks] if settings.islands == 1 else [archive(axes) for _ in range(settings.islands)]
        last = float(len(INTENTS) - 1)
        # The boundaries of prompts stay: there is nothing to learn about how sixteen names are spread.
        self.prompts = Niches([Axis("intent", 0.0, last), Axis("temperature", 0.0, 1.0)], cells=settings.niches)
        self.curiosity: dict[int, float] = {}  # by niche of a prompt
        self.temperature = settings.temperature
        self.trials = 0
        self.curve: list[Point] = []
        self.members: dict[str, Architecture] = {}  # by id: what was measured
        self.entered: set[str] = set()  # ids of those that took a niche
        self._before = -math.inf  # best score of the generation before
        self._best = -math.inf  # and of this one
        self._in_generation = 0
        self._generations = 0

    # -- what was tried ---------------------------------------------------------------------------------------

    def follow(self, told: Sequence[Trial | Miss]) -> None:
        """Take in what was tried, in its order."""
        for one in told:
            if isinstance(one, Miss):
                self._judge(one.variation, DID_NOT if one.known else UNTRAINABLE, beat=False)
            else:
                self._take(one)

    def _take(self, trial: Trial) -> None:
        variation, outcome = trial.proposal.variation, trial.outcome
        island = self.trials if variation is None else variation.island
        self.trials += 1
        entered, score = False, -math.inf
        if isinstance(outcome, Measured):
            score = self.task.score(outcome.value)
            self.members[outcome.architecture.id] = outcome.architecture
            measures = trial.proposal.measures
            if measures is None:
                raise ValueError(f"{outcome.architecture.id}: expected a proposal with its measures, got none")
            entered = self.islands[island % len(self.islands)].add(outcome.architecture.id, score, measures)
            if entered:
                self.entered.add(outcome.architecture.id)
            if len(self.islands) > 1:
                self.networks.add(outcome.architecture.id, score, measures)
        if variation is not None:
            gain = UNTRAINABLE if not isinstance(outcome, Measured) else ENTERED if entered else DID_NOT
            self._judge(variation, gain, beat=score > self._before > -math.inf)
        self._best = max(self._best, score)
        self._in_generation += 1
        if self._in_generation >= (self.settings.generation if self._generations else self.settings.first):
            self._end_generation()
        best = self.networks.best
        point = (len(self.networks.elites), self.networks.qd_score, None if best is None else best.score)
        self.curve.append(Point(self.trials, *point))

    def _judge(self, variation: Variation, gain: float, *, beat: bool) -> None:
        """Reward the prompt's niche; a prompt of it that beats the generation before stands for it from now on."""
        measures = (float(_PLACE[variation.intent]), variation.temperature)
        niche = self.prompts.niche(measures)
        holder = self.prompts.elites.get(niche)
        fitness = 0.0 if holder is None else holder.score
        if holder is None or beat:
            self.prompts.add(variation.intent, fitness + beat, measures)
        self.curiosity[niche] = self.curiosity.get(niche, 0.0) + gain

    def _end_generation(self) -> None:
        use = self.settings
        better = self._best >= self._before
        self.temperature = min(use.high, max(use.low, self.temperature + (use.step if better else -use.step)))
        self._before, self._best, self._in_generation = self._best, -math.inf, 0
        self._generations += 1
        if len(self.islands) > 1 and self._generations % use.migration == 0:
            self._migrate()

    def _migrate(self) -> None:
        """Send the best of each island to the next one; all leave before one arrives."""
        leaving = [sorted(i.elites.values(), key=lambda elite: -elite.score)[:MIGRANTS] for i in self.islands]
        for place, elites in enumerate(leaving):
            for elite in elites:
                self.islands[(place + 1) % len(self.islands)].add(elite.key, elite.score, elite.measures)

    # -- what is to be tried ----------------------------------------------------------------------------------

    def wish(self, rng: Random, place: int = 0) -> Wish:
        """Draw what to try next; `place` counts the wishes of one asking, so that islands take turns."""
        island = (self.trials + place) % len(self.islands)
        elites = self.islands[island].elites
        begun = bool(elites) and self.trials >= self.settings.first
        crossed = begun and len(elites) > 1 and rng.random() < self.settings.crossover
        chosen = rng.choice(list(elites)) if begun else None
        near = [] if chosen is None or not crossed else self.islands[island].nearest(chosen, rng.choice((1, 2)))
        keys = [elites[niche].key for niche in ([] if chosen is None else [chosen, *near])]
        parents = tuple(self.members[key] for key in keys) or (self._first(rng),)
        curious = begun and self.settings.curiosity and rng.random() >= self.settings.by_chance
        intent, temperature, curious = self._prompt(CROSSOVERS if crossed else MUTATIONS, curious, rng)
        if rng.random() < self.settings.jittered:
            temperature += rng.uniform(-self.settings.jitter, self.settings.jitter)
        temperature = round(min(self.settings.high, max(self.settings.low, temperature)), 2)
        return Wish(Variation(intent, temperature, "", curious, island), parents)

    def _first(self, rng: Random) -> Architecture:
        """Return what the first networks are made from; where the search began with others, one of them."""
        others = list(self.networks.elites.values()) if self.start.id not in self.members else []
        return self.members[rng.choice(others).key] if others else self.start

    def _prompt(self, intents: Sequence[str], curious: bool, rng: Random) -> tuple[str, float, bool]:
        known = [niche for niche, elite in self.prompts.elites.items() if elite.key in intents] if curious else []
        if not known:
            return rng.choice(intents), self.temperature, False
        most = max(self.curiosity[niche] for niche in known)
        prompt = self.prompts.elites[rng.choice([niche for niche in known if self.curiosity[niche] == most])]
        return prompt.key, prompt.measures[1], True
