"""Which bottleneck makes graphs into indices best, and what the shipped one reaches.

    python benchmarks/quantisers.py compare --space nb101 --epochs 6
    python benchmarks/quantisers.py defaults

`compare` trains the same encoder and decoder with several bottlenecks of the library, and the chosen one with other
sizes. `defaults` trains the shipped settings, and times the decoding of distinct sequences, canonicalising included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ, ResidualVQ, VectorQuantize

from nas_agent.agents.generators.arch_llm.autoencoder import AutoEncoder, Batch, Bottleneck
from nas_agent.agents.generators.arch_llm.bottleneck import SignBottleneck
from nas_agent.agents.generators.arch_llm.cells import SPACES, codec_of
from nas_agent.agents.generators.arch_llm.fitting import fit
from nas_agent.agents.generators.arch_llm.quantiser import DEFAULTS, CodeUse, train_quantiser
from nas_agent.agents.generators.arch_llm.training_set import UNSAMPLED, TrainingSet, spelled, training_set

WIDTH, NARROW = 64, 16  # of vertices, of codes


class Learned(Bottleneck):
    """A codebook of moving averages with revival (k-means at the start), `depth` residual codes a vertex."""

    def __init__(self, codes: int, depth: int = 1) -> None:
        super().__init__()
        self.codes, self.depth = codes, depth
        self.into, self.out = nn.Linear(WIDTH, NARROW), nn.Linear(NARROW, WIDTH)
        shared = {"codebook_size": codes, "decay": 0.9, "kmeans_init": True, "threshold_ema_dead_code": 2}
        self.quantiser: nn.Module
        if depth == 1:
            self.quantiser = VectorQuantize(dim=NARROW, commitment_weight=0.25, **shared)
        else:
            self.quantiser = ResidualVQ(dim=NARROW, num_quantizers=depth, **shared)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what goes on, the indices, and the commitment."""
        quantised, indices, asked = self.quantiser(self.into(vectors))
        return self.out(quantised), indices.flatten(1), asked.sum()


class Levels(Bottleneck):
    """Finite scalar quantisation with any levels."""

    def __init__(self, *levels: int) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(WIDTH, len(levels)), nn.Linear(len(levels), WIDTH)
        self.quantiser = FSQ(list(levels), preserve_symmetry=True)
        self.codes = int(np.prod(levels))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what goes on, the indices, and no loss."""
        quantised, indices = self.quantiser(self.into(vectors))
        return self.out(quantised), indices.long(), vectors.new_zeros(())


def variants(bits: int) -> Iterator[tuple[str, int, Callable[[], Bottleneck]]]:
    """Yield a name, rounds of messages and the bottleneck."""
    for more in (-1, 0, 1):
        yield f"signs, {2 ** (bits + more)} codes", 1, lambda more=more: SignBottleneck(WIDTH, bits + more)
    for rounds in (0, 2):
        yield f"signs, {2**bits} codes, {rounds} rounds", rounds, lambda: SignBottleneck(WIDTH, bits)
    yield f"moving averages, {2**bits} codes", 1, lambda: Learned(2**bits)
    yield f"moving averages, {2**bits} codes, 0 rounds", 0, lambda: Learned(2**bits)
    yield f"moving averages, {2 ** (bits + 1)} codes", 1, lambda: Learned(2 ** (bits + 1))
    yield "residual, 2 x 32 codes", 1, lambda: Learned(32, depth=2)
    yield "scalars of 8 levels, 512 codes", 1, lambda: Levels(8, 8, 8)


def reconstruction(model: AutoEncoder, batch: Batch) -> tuple[float, Tensor]:
    """Return the share of graphs that come back whole, and their sequences."""
    whole, sequences = 0, []
    with torch.inference_mode():
        for first in range(0, len(batch), 4096):
            part = batch[slice(first, first + 4096)]
            vectors, indices, _ = model.bottleneck(model.encoder(part))
            edges, operations = model.decoder(vectors)
            same = ((edges > 0) == (part.edges > 0)).all(1) & (operations.argmax(-1) == part.operations).all(1)
            whole += int(same.sum())
            sequences.append(indices)
    return whole / len(batch), torch.cat(sequences)


def compare(space: str, epochs: int, seed: int, found: TrainingSet) -> None:
    """Print a row for each variant."""
    codec, settings = codec_of(space), DEFAULTS[space]
    train, held_out = (Batch.of(codec.encode(part)) for part in (found.train, found.held_out))
    print("| bottleneck | held-out reconstruction, % | codes used | perplexity | indices | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for name, rounds, make in variants(settings.bits):
        torch.manual_seed(seed)
        model = AutoEncoder(codec.layout, make(), WIDTH, rounds)
        if isinstance(model.bottleneck, SignBottleneck):
            model.bottleneck.prepare_training()
        began = time.process_time()
        fit(model, train, replace(settings.fit, epochs=epochs), seed=seed)
        seconds = time.process_time() - began
        share, sequences = reconstruction(model, held_out)
        use = CodeUse.of(sequences.numpy(), int(model.bottleneck.codes))  # type: ignore[arg-type]
        row = (name, f"{100 * share:.2f}", use.used, f"{use.perplexity:.0f}", sequences.shape[1], f"{seconds:.0f}")
        print("|", " | ".join(map(str, row)), "|", flush=True)


def defaults(space: str, seed: int, found: TrainingSet) -> None:
    """Train the shipped settings and print what they reach."""
    began, clock = time.process_time(), time.perf_counter()
    quantiser = train_quantiser(space, [*found.train, *found.codebook], seed=seed, held_out=found.held_out)
    print(f"{space}: {time.process_time() - began:.0f} CPU seconds, {time.perf_counter() - clock:.0f} on the clock")
    print(f"  {quantiser.codes} codes, {quantiser.length} indices; {quantiser.about}")
    if found.codebook:
        odd = spelled(quantiser.codec.space, UNSAMPLED, Random(f"odd, {seed}"))
        print(
            f"  of {len(odd):,} with decisions drawn uniformly, {100 * quantiser.reconstruction(odd):.2f} % come back"
        )
    sequences = quantiser.encode(found.held_out)
    quantiser.codec = codec_of(space)  # nothing remembered
    began = time.process_time()
    decoded = quantiser.decode(sequences)
    rate = len(decoded) / (time.process_time() - began)
    print(f"  decoded {rate:,.0f} a CPU second, canonical")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("compare", "defaults"))
    parser.add_argument("--space", choices=SPACES, action="append")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for space in given.space or SPACES:
        found = training_set(space, given.seed)
        if given.mode == "compare":
            compare(space, given.epochs, given.seed, found)
        else:
            defaults(space, given.seed, found)


if __name__ == "__main__":
    main()
