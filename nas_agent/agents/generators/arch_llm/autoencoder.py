"""Graph encoder, bottleneck, decoder: one index sequence for each graph.

Ours, where the paper (arXiv 2503.22063) leaves it open: one vector for each vertex about which anything is open, so
that an index says what a vertex does and reads, seen with its surroundings as far as rounds of messages carry.
Shapes: B graphs, V vertices, L of them coded, W the width of vertices, D that of codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nas_agent.agents.generators.arch_llm.cells import Graphs, Layout

CHUNK = 4096  # graphs at once outside training


@dataclass(frozen=True, slots=True)
class Batch:
    """Graphs as tensors."""

    edges: Tensor  # (B, open edges), 0 or 1
    operations: Tensor  # (B, operated vertices), int64

    @classmethod
    def of(cls, graphs: Graphs) -> Batch:
        """Copy them."""
        return cls(torch.from_numpy(graphs.edges.astype(np.float32)), torch.from_numpy(graphs.operations))

    def __len__(self) -> int:
        return len(self.operations)

    def __getitem__(self, rows: Tensor | slice) -> Batch:
        return Batch(self.edges[rows], self.operations[rows])


class Bottleneck(nn.Module, ABC):
    """What lies between encoder and decoder: (B, L, W) to (B, L, W)."""

    def prepare_training(self) -> None:
        """Fetch what only training needs; by default nothing."""

    @abstractmethod
    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what goes on, the indices (B, length of a sequence), and a loss of its own."""

    @abstractmethod
    def lookup(self, indices: Tensor) -> Tensor:
        """Return what goes on for these indices."""


class Encoder(nn.Module):
    """Vertices with their operation and what they read; rounds of messages along edges, both ways."""

    adjacency: Tensor
    edge_places: Tensor
    operated: Tensor
    coded: Tensor

    def __init__(self, layout: Layout, width: int, rounds: int) -> None:
        super().__init__()
        count = layout.vertices
        fixed = torch.zeros(count, count)
        for start, end in layout.fixed_edges:
            fixed[start, end] = 1.0
        self.register_buffer("adjacency", fixed, persistent=False)
        places = torch.tensor([start * count + end for start, end in layout.open_edges], dtype=torch.int64)
        self.register_buffer("edge_places", places, persistent=False)
        self.register_buffer("operated", torch.tensor(layout.operated), persistent=False)
        self.register_buffer("coded", torch.tensor(layout.coded), persistent=False)
        self.places = nn.Parameter(torch.randn(count, width) / width**0.5)
        self.operation = nn.Embedding(layout.operations, width)
        self.read = nn.Linear(count, width, bias=False)
        self.rounds = nn.ModuleList([_Round(width) for _ in range(rounds)])
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: Batch) -> Tensor:
        """Return (B, L, W)."""
        count = len(self.adjacency)
        adjacency = self.adjacency.reshape(1, -1).repeat(len(batch), 1)
        adjacency[:, self.edge_places] = batch.edges
        adjacency = adjacency.reshape(-1, count, count)  # (B, start, end)
        arriving = adjacency.transpose(1, 2)
        hidden = self.places + self.read(arriving)
        hidden = hidden.index_add(1, self.operated, self.operation(batch.operations))
        for layer in self.rounds:
            hidden = layer(hidden, adjacency, arriving)
        normed: Tensor = self.norm(hidden[:, self.coded])
        return normed


class _Round(nn.Module):
    """One exchange of messages: what a vertex is, what it reads and what reads it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(3 * width, 2 * width)
        self.out = nn.Linear(2 * width, width)

    def forward(self, hidden: Tensor, adjacency: Tensor, arriving: Tensor) -> Tensor:
        normed = self.norm(hidden)
        told = torch.cat([normed, arriving @ normed, adjacency @ normed], dim=-1)
        out: Tensor = hidden + self.out(functional.gelu(self.mix(told)))
        return out


class Decoder(nn.Module):
    """Codes to logits of open edges and operations, each code by itself.

    So a code that a language model gets wrong spoils one vertex, and no more.
    """

    edge_slots: Tensor
    edge_starts: Tensor
    operated_slots: Tensor

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        slot = {vertex: place for place, vertex in enumerate(layout.coded)}
        for name, values in (
            ("edge_slots", [slot[end] for _, end in layout.open_edges]),
            ("edge_starts", [start for start, _ in layout.open_edges]),
            ("operated_slots", [slot[vertex] for vertex in layout.operated]),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)
        self.places = nn.Parameter(torch.randn(len(slot), width) / width**0.5)
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.edges = nn.Linear(2 * width, layout.vertices)
        self.operations = nn.Linear(2 * width, layout.operations)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (B, open edges) and (B, operated vertices, operations)."""
        hidden = self.hidden(vectors + self.places)
        edges: Tensor = self.edges(hidden)[:, self.edge_slots, self.edge_starts]
        operations: Tensor = self.operations(hidden)[:, self.operated_slots]
        return edges, operations


class AutoEncoder(nn.Module):
    """Encoder, bottleneck and decoder of one layout."""

    def __init__(self, layout: Layout, bottleneck: Bottleneck, width: int, rounds: int) -> None:
        super().__init__()
        self.encoder = Encoder(layout, width, rounds)
        self.bottleneck = bottleneck
        self.decoder = Decoder(layout, width)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of the reconstruction, in nats a graph, and what the bottleneck asks for."""
        vectors, _, asked = self.bottleneck(self.encoder(batch))
        edges, operations = self.decoder(vectors)
        lost = functional.binary_cross_entropy_with_logits(edges, batch.edges, reduction="sum")
        lost = lost + functional.cross_entropy(operations.flatten(0, 1), batch.operations.flatten(), reduction="sum")
        return lost / len(batch), asked

    @torch.inference_mode()
    def indices(self, batch: Batch) -> Tensor:
        """Return the index sequences of the graphs."""
        firsts = range(0, max(len(batch), 1), CHUNK)
        return torch.cat([self.bottleneck(self.encoder(batch[first : first + CHUNK]))[1] for first in firsts])

    def decoded(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return the decoder's logits for index sequences."""
        logits: tuple[Tensor, Tensor] = self.decoder(self.bottleneck.lookup(indices))
        return logits

    @torch.inference_mode()
    def graphs(self, indices: Tensor, exactly_one: tuple[tuple[int, int], ...] = ()) -> Graphs:
        """Decode index sequences or latent vectors: of each open edge and operation, what is likelier.

        Of runs of edges (see `Layout.choices`) in `exactly_one`, the likeliest is taken instead.
        """
        edges, operations = [], []
        for first in range(0, max(len(indices), 1), CHUNK):
            edge_logits, operation_logits = self.decoded(indices[first : first + CHUNK])
            there = edge_logits > 0
            for start, end in exactly_one:
                there[:, start:end] = functional.one_hot(edge_logits[:, start:end].argmax(dim=1), end - start).bool()
            edges.append(there.numpy())
            operations.append(operation_logits.argmax(dim=-1).numpy())
        return Graphs(np.concatenate(edges), np.concatenate(operations))
