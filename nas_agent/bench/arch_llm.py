"""Arch-LLM's search by sequence modelling (Poddenige et al., arXiv 2503.22063) as a method of its own, and its parts.

`--generator vq` is the same inside an agent: there principles constrain it and the surrogate can step back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from nas_agent.agents.generators import Brief
from nas_agent.agents.generators.arch_llm.proposing import SearchSettings, SequenceGenerator, trained_model
from nas_agent.bench.baselines import Baseline, Candidates
from nas_agent.bench.methods import Meter, Method, Problem
from nas_agent.records import Measured
from nas_agent.tools.surrogates import make_surrogate


@dataclass(frozen=True)
class ArchLLMSearch(Baseline):
    """Ask the model, measure, fine-tune it on the best, ask again.

    The surrogate chooses among what the model writes, one at a time; without one, chance does. The first architecture
    is a fresh draw, as an agent's is.
    """

    settings: SearchSettings | None = None  # None: the generator's own
    screened: bool = True
    model: Path | None = None  # the folder of a trained generator; None: the one that comes with the package

    def search(self, problem: Problem, meter: Meter, rng: Random) -> None:
        """Go on until nothing is left."""
        seed = rng.getrandbits(32)
        generator = SequenceGenerator(trained_model(problem.space.name, self.model), self.settings, seed=seed)
        candidates = Candidates(problem, meter)
        surrogate = make_surrogate("structure", problem.space, candidates.listed, seed=seed) if self.screened else None
        scores: dict[str, float] = {}
        chosen = candidates.fresh(rng)
        while chosen is not None:
            scores[chosen.id] = meter.score(chosen)
            if surrogate is not None:
                surrogate.observe(chosen, scores[chosen.id])
            measured = [one.architecture for one in meter.outcomes() if isinstance(one, Measured)]
            ranked = sorted(((one, scores[one.id]) for one in measured), key=lambda pair: -pair[1])
            brief = Brief(problem.space, ranked, scores.keys(), candidates.listed, None, order=tuple(scores))
            found = [proposal.architecture for proposal in generator.propose(brief, rng)]
            if not found:
                return
            chosen = rng.choice(found) if surrogate is None else found[surrogate.rank(found, 1)[0].index]


ARCH_LLM: dict[str, Callable[[], Method]] = {
    "arch-llm": ArchLLMSearch,
    "arch-llm-unscreened": partial(ArchLLMSearch, screened=False),
    "arch-llm-untuned": partial(ArchLLMSearch, SearchSettings(steps=0)),
    "arch-llm-unfilled": partial(ArchLLMSearch, SearchSettings(fill_share=0.0)),
}
