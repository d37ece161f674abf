"""Finite scalar quantisation (Mentzer et al., arXiv 2309.15505) with two levels: a code is the signs of a few numbers.

Measured against codebooks with moving averages, revival and residuals: docs/log.md and benchmarks/quantisers.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas_agent.agents.generators.arch_llm.autoencoder import Bottleneck
from nas_agent.errors import MissingExtra


class SignBottleneck(Bottleneck):
    """Vectors (B, L, width) to `bits` numbers each, of which only the signs go on.

    Training takes the library's quantiser; what is trained works without it.
    """

    powers: Tensor

    def __init__(self, width: int, bits: int) -> None:
        super().__init__()
        self.codes = 2**bits
        self.into = nn.Linear(width, bits)
        self.out = nn.Linear(bits, width)
        self.register_buffer("powers", 2 ** torch.arange(bits), persistent=False)
        self._quantiser: nn.Module | None = None

    def prepare_training(self) -> None:
        """Fetch the library that passes gradients through the signs; raise MissingExtra where there is none."""
        try:
            from vector_quantize_pytorch import FSQ
        except ImportError as error:
            raise MissingExtra("vector-quantize-pytorch", "generator", "training a quantiser") from error
        self._quantiser = FSQ([2] * len(self.powers), preserve_symmetry=True)  # has no weights

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (B, L, width), the indices (B, L), and no loss."""
        numbers: Tensor = self.into(vectors)
        nothing = vectors.new_zeros(())
        if self.training:
            if self._quantiser is None:
                raise RuntimeError("call prepare_training before training")
            signs, indices = self._quantiser(numbers)
            return self.out(signs), indices.long(), nothing
        # As the library rounds: a number so small that it is lost beside 1 counts as positive.
        indices = (torch.floor(numbers.tanh() / 2 + 1).long() * self.powers).sum(dim=-1)
        return self.lookup(indices), indices, nothing

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what the decoder is given for these indices."""
        signs = (indices.unsqueeze(-1) // self.powers % 2) * 2.0 - 1.0
        vectors: Tensor = self.out(signs)
        return vectors
