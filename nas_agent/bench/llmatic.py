"""LLMatic (Nasir et al., GECCO 2024, arXiv 2306.01102) as a bench method, with programmatic operators; its control.

As in the paper: 100 niches each for networks and prompts, 100 networks a generation, the first ten fill the archives,
the search begins with one 1x1 convolution. Corrected: selection by validation (the release selects by the test split).
No surrogate and no language model. `--generator code` is the same inside an agent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from nas_agent.agents.generators.quality_diversity.breeding import breed
from nas_agent.agents.generators.quality_diversity.illumination import Illumination, Settings
from nas_agent.agents.generators.quality_diversity.niches import archives
from nas_agent.agents.generators.quality_diversity.ranges import Programs, axes_of, measures
from nas_agent.bench.baselines import Baseline, Candidates
from nas_agent.bench.methods import Meter, Method, Problem
from nas_agent.errors import ConfigError
from nas_agent.records import Proposal, Trial

GENERATION = 100  # networks
PAPER = Settings(generation=GENERATION)


@dataclass(frozen=True)
class Llmatic(Baseline):
    """Wish, vary, measure, reward."""

    settings: Settings = PAPER

    def __post_init__(self) -> None:
        archives()  # a missing package is told now

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Go on until nothing is left to spend or to find."""
        space, candidates = problem.space, Candidates(problem, meter)
        if not isinstance(space, Programs):
            raise ConfigError(f"llmatic: expected a space that varies its programs, e.g. nb201, got '{space.name}'")
        programs: Programs = space
        state = Illumination(problem.task, axes_of(programs), programs.start(), self.settings)
        known: set[str] = set()
        first = candidates.admit(state.start)
        batch = [Proposal(state.start if first is None else first, "start")]
        while batch:
            trials = []
            for proposal in batch:
                known.add(proposal.architecture.id)
                meter.score(proposal.architecture)
                described = replace(proposal, measures=measures(programs, proposal.architecture))
                trials.append(Trial(described, meter.outcomes()[-1]))
            state.follow(trials)
            left = self.settings.first - state.trials
            wanted, number = left if left > 0 else self.settings.generation, rng.getrandbits(64)
            brood = breed(state, programs, wanted, number, known, candidates.admit)
            state.follow(brood.misses)
            batch = brood.proposals
            if not batch and (fresh := candidates.fresh(rng)) is not None:
                batch = [Proposal(fresh, "sample")]


LLMATIC: dict[str, Callable[[], Method]] = {
    "llmatic": Llmatic,
    "llmatic-10": partial(Llmatic, replace(PAPER, generation=10)),  # ours: it learns from ten networks at a time
    "map-elites": partial(Llmatic, replace(PAPER, curiosity=False)),
}
