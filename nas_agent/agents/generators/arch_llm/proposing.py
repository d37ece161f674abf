"""Architecture search by sequence modelling (Arch-LLM, arXiv 2503.22063): the generator `vq` of a search.

It begins with the unconditional model. After every few evaluations that model is fine-tuned on the best sequences
found so far, and asked anew: some draws by `generate`, the others by `fill:` of the best ones with some codes hidden.
The surrogate chooses among them. Ours, where the paper leaves it open: all figures of `SearchSettings`
(docs/results/arch_llm_search.md), shares by rank, and that each fine-tuning begins with the unconditional model. So
what is proposed follows from the outcomes, their order and the seed: a resumed run makes the same models again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np

from nas_agent.agents.generators.arch_llm.cells import SPACES
from nas_agent.agents.generators.arch_llm.generator import ArchLLM, Draws, load, shipped
from nas_agent.agents.generators.arch_llm.language import check_sampling
from nas_agent.agents.generators.arch_llm.prompts import OPEN
from nas_agent.agents.generators.arch_llm.sequences import Bools, Indices
from nas_agent.agents.generators.arch_llm.tuning import by_rank, fine_tuned, one_thread
from nas_agent.agents.generators.base import Brief
from nas_agent.agents.generators.evolve import RandomDraws
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture, Proposal

FEW = 8  # proposals: where the model finds fewer, uniform draws join them


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How the model is asked. The shares are measured, see the module."""

    every: int = 2  # evaluations after which it is fine-tuned and asked anew
    draws: int = 1000  # sequences that are drawn then
    fill_share: float = 0.5  # of the draws: completions of the best ones; 0: `generate` alone
    elites: int = 16  # the best ones: what it is fine-tuned on and what is completed
    steps: int = 10  # of fine-tuning; 0: the unconditional model stays
    batch: int = 16  # sequences a step
    learning_rate: float = 1e-3
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_sampling(self.temperature, 1.0)
        if min(self.every, self.draws, self.elites, self.batch) < 1 or self.steps < 0:
            raise ConfigError(f"expected whole numbers above 0 (steps: at least 0), got {self}")
        if not 0.0 <= self.fill_share <= 1.0 or self.learning_rate <= 0.0:
            raise ConfigError(f"expected a share from 0 to 1 and a learning rate above 0, got {self}")


LISTED = SearchSettings()
# Where candidates cannot be listed, the surrogate has to describe each one anew: as many as `evolve` proposes there.
UNLISTED = SearchSettings(every=5, draws=400)


@lru_cache(maxsize=4)
def trained_model(space: str, folder: Path | None) -> ArchLLM:
    """Load the model of a folder, or the shipped one; once a process, for a comparison makes many searches."""
    if space not in SPACES:
        raise ConfigError(
            f"--generator vq: expected a space with trained sequences ({', '.join(SPACES)}), got '{space}'; "
            "leave --generator out"
        )
    return load(shipped(space) if folder is None else folder, space)


Side = tuple[object, ...]  # the principles that constrain, and whether they are to be broken


class SequenceGenerator:
    """Proposes what a fine-tuned sequence model writes."""

    def __init__(self, base: ArchLLM, settings: SearchSettings | None = None, *, seed: int) -> None:
        self._base, self._given, self._seed = base, settings, seed
        self.name = f"vq {base.fingerprint}"
        # Caches, not state: both follow from the order of evaluations.
        self._model: tuple[int, ArchLLM] | None = None
        self._asked: tuple[int, dict[Side, list[Proposal]]] = (-1, {})
        self._members: tuple[Sequence[Architecture], dict[str, Architecture]] | None = None

    def propose(self, brief: Brief, rng: Random) -> list[Proposal]:
        """Return what the model drew and is not known yet, completions first; where that is little, uniform draws."""
        settings = self._given or (UNLISTED if brief.pool is None else LISTED)
        start = len(brief.order) // settings.every * settings.every
        principles = () if brief.refinement is None else tuple(one.reference for one in brief.refinement.principles)
        side = (brief.outside, *principles)
        if self._asked[0] != start:
            self._asked = (start, {})
        if side not in self._asked[1]:
            self._asked[1][side] = self._ask(brief, settings, start)
        found = [proposal for proposal in self._asked[1][side] if proposal.architecture.id not in brief.known]
        if len(found) < FEW:
            taken = {proposal.architecture.id for proposal in found}
            found += [one for one in RandomDraws().propose(brief, rng) if one.architecture.id not in taken]
        return found

    def _ask(self, brief: Brief, settings: SearchSettings, start: int) -> list[Proposal]:
        """Return all distinct architectures that the model draws, on the side of the principles that is asked for."""
        first = set(brief.order[:start])
        elites = [architecture for architecture, _ in brief.ranked if architecture.id in first]
        elites = elites[: settings.elites]
        model, chance = self._tuned(settings, elites, start), np.random.default_rng(self._number(start, "draws"))
        found: dict[str, Proposal] = {}
        with one_thread():
            allowed = self._admitted(brief)
            completed = round(settings.draws * settings.fill_share) if elites else 0
            if completed:
                parents = chance.choice(len(elites), size=completed, p=by_rank(len(elites)))
                known = self._hidden(model.sequencer.encode(elites)[parents], allowed, chance)
                drawn = self._draw(model, settings, completed, start, allowed, known)
                self._keep(brief, found, drawn, "fill", [elites[parent].id for parent in parents])
            if completed < settings.draws:
                drawn = self._draw(model, settings, settings.draws - completed, start, allowed, None)
                self._keep(brief, found, drawn, "generate", None)
        return list(found.values())

    def _tuned(self, settings: SearchSettings, elites: Sequence[Architecture], start: int) -> ArchLLM:
        """Return the model of this asking; one beginning serves all sides of the principles."""
        if not elites or not settings.steps:
            return self._base
        if self._model is None or self._model[0] != start:
            language = fine_tuned(
                self._base.language, self._base.sequencer.encode(elites), steps=settings.steps,
                batch=settings.batch, learning_rate=settings.learning_rate,
                seed=self._number(start, "steps"),
            )  # fmt: skip
            self._model = (start, replace(self._base, language=language))
        return self._model[1]

    def _admitted(self, brief: Brief) -> Bools | None:
        """Return which codes the principles leave, None for all.

        A code is shut out where, as it stands, it gives a decision an option that no architecture left has. What
        relates several codes (counts, conditions), and what breaks a principle on purpose, is sorted out by rejection.
        """
        if brief.refinement is None or brief.outside:
            return None
        domains = {decision.name: brief.refinement.allowed(decision) for decision in brief.space.decisions}
        allowed = self._base.sequencer.admitted(domains)
        allowed[~allowed.any(axis=1)] = True  # a place where no code says what is wanted: rejection decides
        return allowed

    def _hidden(self, sequences: Indices, allowed: Bools | None, chance: np.random.Generator) -> Indices:
        """Hide one code of each sequence to half of them, each place as likely, and those that are shut out."""
        order = chance.random(sequences.shape).argsort(axis=1).argsort(axis=1)
        many = chance.integers(1, max(1, sequences.shape[1] // 2) + 1, size=(len(sequences), 1))
        hidden = order < many
        if allowed is not None:
            hidden |= ~allowed[np.arange(sequences.shape[1]), sequences]
        return np.where(hidden, OPEN, sequences)

    def _draw(
        self,
        model: ArchLLM,
        settings: SearchSettings,
        count: int,
        start: int,
        allowed: Bools | None,
        fill: Indices | None,
    ) -> Draws:
        seed = self._number(start, "generate" if fill is None else "fill")
        return model.sample(count, temperature=settings.temperature, seed=seed, fill=fill, allowed=allowed)

    def _keep(
        self, brief: Brief, found: dict[str, Proposal], drawn: Draws, author: str, parents: Sequence[str] | None
    ) -> None:
        """Add what is an architecture that can be measured, new, and on the right side."""
        members = self._candidates(brief)
        for row, one in enumerate(drawn.architectures):
            if one is None or one.id in found or one.id in brief.known:
                continue
            member = one if members is None else members.get(one.id)
            if member is not None and brief.allows(member):
                found[one.id] = Proposal(member, author, () if parents is None else (parents[row],))

    def _candidates(self, brief: Brief) -> dict[str, Architecture] | None:
        if brief.pool is None:
            return None
        if self._members is None or self._members[0] is not brief.pool:
            self._members = (brief.pool, {member.id: member for member in brief.pool})
        return self._members[1]

    def _number(self, start: int, what: str) -> int:
        return Random(f"{self._seed}/vq/{start}/{what}").getrandbits(48)
