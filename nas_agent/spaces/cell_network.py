"""A cell of operations on edges as a PyTorch module: what the networks of several spaces are made of."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from nas_agent.spaces.cell_graph import CellGraph, Edge


class EdgeCell(nn.Module):
    """Sums over the edges that arrive at each node. Every edge but `none` is built, dead ones too, as in benchmarks."""

    def __init__(self, graph: CellGraph, layer: Callable[[Edge], nn.Module], zero: Callable[[Tensor], Tensor]) -> None:
        """Build `layer` for each edge; `zero` gives the output, from the input, where nothing reaches it."""
        super().__init__()
        self.nodes = graph.nodes
        kept = [edge for edge in graph.edges if edge.operation != "none"]
        self.wiring = [(edge.start, edge.end) for edge in kept]
        self.layers = nn.ModuleList(layer(edge) for edge in kept)
        self.zero = zero

    def forward(self, x: Tensor) -> Tensor:
        """Sum what arrives at each node; a node that nothing reaches is zero."""
        node: list[Tensor | None] = [x] + [None] * (self.nodes - 1)
        for (start, end), layer in zip(self.wiring, self.layers, strict=True):
            source = node[start]
            if source is None:
                continue
            term = layer(source)
            known = node[end]
            node[end] = term if known is None else known + term
        result = node[-1]
        return self.zero(x) if result is None else result
