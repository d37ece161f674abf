"""Fine-tuning the sequence model on the best sequences found so far (Arch-LLM, arXiv 2503.22063: its NAS algorithm)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from nas_agent.agents.generators.arch_llm.language import SequenceModel
from nas_agent.agents.generators.arch_llm.prompts import OPEN
from nas_agent.agents.generators.arch_llm.sequences import Indices
from nas_agent.spaces.base import Floats


def by_rank(count: int) -> Floats:
    """Return shares that add up to one, the first the largest: 1, 1/2, 1/3 ... of the first one (ours)."""
    weights = 1.0 / np.arange(1, count + 1)
    found: Floats = weights / weights.sum()
    return found


def fine_tuned(
    model: SequenceModel, sequences: Indices, *, steps: int, batch: int, learning_rate: float, seed: int
) -> SequenceModel:
    """Return a copy that took a few steps of Adam on sequences, the best first, drawn with shares by rank.

    Each step asks `generate` for one half of its batch and `fill:` for the other. Without dropout, on one thread:
    the same model, sequences and seed give the same copy, to the last bit.
    """
    import torch

    made = SequenceModel(copy.deepcopy(model.model), model.prompts, model.length, model.about)
    chance = np.random.default_rng(seed)
    adam = torch.optim.Adam(made.model.parameters(), lr=learning_rate)
    shares = by_rank(len(sequences))
    with one_thread():
        for _ in range(steps):
            rows = sequences[chance.choice(len(sequences), size=batch, p=shares)]
            asked, filled = rows[: batch // 2], rows[batch // 2 :]
            hidden = chance.random(filled.shape) < chance.random((len(filled), 1))
            lost = made.surprise(model.prompts.unconditional(len(asked)), asked).sum()
            lost = lost + made.surprise(model.prompts.partial(np.where(hidden, OPEN, filled)), filled).sum()
            adam.zero_grad()
            (lost / rows.size).backward()
            adam.step()
    return made


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: the last bits of a product depend on how many there are; small models lose nothing."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
