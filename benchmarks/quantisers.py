"""Which bottleneck makes graphs into indices best, and what the shipped one reaches.

    python benchmarks/quantisers.py compare --space nb101 --steps 400 --rounds 1
    python benchmarks/quantisers.py defaults
    python benchmarks/quantisers.py meaning --space nb101

`compare` trains the same encoder and decoder with several bottlenecks of the library, as many steps each. `defaults`
trains the shipped settings, and times the decoding of distinct sequences, canonicalising included.
`meaning` asks whether a code of the shipped generators is another name for what a vertex does and reads.
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
from nas_agent.agents.generators.arch_llm.generator import QUANTISER, shipped
from nas_agent.agents.generators.arch_llm.quantiser import DEFAULTS, CodeUse, Indices, Quantiser, train_quantiser
from nas_agent.agents.generators.arch_llm.sequences import VertexTokens
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

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what goes on for these indices."""
        each = indices if self.depth == 1 else indices.unflatten(1, (-1, self.depth))
        vectors: Tensor = self.out(self.quantiser.get_output_from_indices(each))
        return vectors


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

    def lookup(self, indices: Tensor) -> Tensor:
        """Return what goes on for these indices."""
        vectors: Tensor = self.out(self.quantiser.indices_to_codes(indices))
        return vectors


def variants(bits: int) -> Iterator[tuple[str, Callable[[], Bottleneck]]]:
    """Yield a name and the bottleneck."""
    yield f"signs, {2**bits} codes", lambda: SignBottleneck(WIDTH, bits)
    yield f"signs, {2 ** (bits - 1)} codes", lambda: SignBottleneck(WIDTH, bits - 1)
    yield f"moving averages with revival, {2**bits} codes", lambda: Learned(2**bits)
    yield "residual, 2 x 32 codes", lambda: Learned(32, depth=2)
    yield "scalars of 8 levels, 512 codes", lambda: Levels(8, 8, 8)


def compare(space: str, steps: int, rounds: int | None, seed: int, found: TrainingSet) -> None:
    """Print a row for each variant."""
    codec, settings = codec_of(space), DEFAULTS[space]
    train, held_out = Batch.of(codec.encode(found.train)), codec.encode(found.held_out)
    epochs = max(1, round(steps * settings.fit.batch / len(train)))
    rounds = settings.rounds if rounds is None else rounds
    passes = f"{epochs} passes of batches of {settings.fit.batch}, seed {seed}"
    print(f"\n{space}: {len(train):,} graphs, rounds of messages: {rounds}; {passes}\n")
    print("| bottleneck | held-out reconstruction, % | codes used | perplexity | indices | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for name, make in variants(settings.bits):
        torch.manual_seed(seed)
        model = AutoEncoder(codec.layout, make(), WIDTH, rounds)
        began = time.process_time()
        fit(model, train, replace(settings.fit, epochs=epochs), seed=seed)
        seconds = time.process_time() - began
        sequences = model.indices(Batch.of(held_out))
        share = held_out.same(model.graphs(sequences)).mean()
        use = CodeUse.of(sequences.numpy(), int(model.bottleneck.codes))  # type: ignore[arg-type]
        row = (name, f"{100 * share:.2f}", use.used, f"{use.perplexity:.1f}", sequences.shape[1], f"{seconds:.0f}")
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


def meaning(space: str, found: TrainingSet) -> None:
    """Print for each position how codes and vertices numbered by hand belong together, in graphs that were held out."""
    quantiser, by_hand = Quantiser.load(shipped(space) / QUANTISER, space=space), VertexTokens(space)
    codes, tokens = quantiser.encode(found.held_out), by_hand.encode(found.held_out)
    print(f"\n{space}, {len(codes):,} held-out graphs\n")
    print("| position | codes | vertices | the vertex tells the code, % | the code tells the vertex, % |")
    print("|---|---|---|---|---|")
    for place in range(codes.shape[1]):
        pairs = codes[:, place], tokens[:, place]
        shares = (f"{100 * _usual(given, told):.2f}" for given, told in (pairs[::-1], pairs))
        print(f"| {place} | {len(np.unique(pairs[0]))} | {len(np.unique(pairs[1]))} | {' | '.join(shares)} |")


def _usual(given: Indices, told: Indices) -> float:
    """Return the share of draws in which `told` is what most often goes with `given`."""
    counts = np.zeros((given.max() + 1, told.max() + 1))
    np.add.at(counts, (given, told), 1)
    return float(counts.max(axis=1).sum() / len(given))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=("compare", "defaults", "meaning"))
    parser.add_argument("--space", choices=SPACES, action="append")
    parser.add_argument("--steps", type=int, default=400, help="of `compare`, for each bottleneck")
    parser.add_argument("--rounds", type=int, help="of messages in the encoder, in `compare` (default: as shipped)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for space in given.space or SPACES:
        found = training_set(space, given.seed)
        if given.mode == "compare":
            compare(space, given.steps, given.rounds, given.seed, found)
        elif given.mode == "meaning":
            meaning(space, found)
        else:
            defaults(space, given.seed, found)


if __name__ == "__main__":
    main()
