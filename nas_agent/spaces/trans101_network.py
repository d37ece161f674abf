"""The networks of TransNAS-Bench-101, from the same parts that are written into `best.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from nas_agent.spaces.cell_graph import CellGraph, Edge
from nas_agent.spaces.cell_network import EdgeCell
from nas_agent.spaces.trans101_parts import BasicBlock, Classifier, ReLUConvBN, Skip, Zero

Stage = tuple[int, int, int]  # channels before and after, as multiples of the first, and the stride
Block = Callable[[int, int, int], nn.Module]  # channels in, channels out, stride


def micro_cell(graph: CellGraph, channels_in: int, channels_out: int, stride: int) -> EdgeCell:
    """Build a cell: (B, channels_in, H, W) -> (B, channels_out, H / stride, W / stride)."""

    def layer(edge: Edge) -> nn.Module:
        if edge.start == 0:
            return _layer(edge.operation, channels_in, channels_out, stride)
        return _layer(edge.operation, channels_out, channels_out, 1)

    return EdgeCell(graph, layer, Zero(channels_out, stride))


def _layer(operation: str, channels_in: int, channels_out: int, stride: int) -> nn.Module:
    match operation:
        case "skip":
            return Skip(channels_in, channels_out, stride)
        case "conv1x1":
            return ReLUConvBN(channels_in, channels_out, 1, stride)
        case "conv3x3":
            return ReLUConvBN(channels_in, channels_out, 3, stride)
    raise ValueError(f"no layer for operation {operation!r}")


def micro_network(graph: CellGraph, stages: Sequence[Stage], classes: int, in_channels: int, width: int) -> nn.Module:
    """Build the network in which a cell is trained."""
    return _network(partial(micro_cell, graph), stages, classes, in_channels, width)


def macro_network(stages: Sequence[Stage], classes: int, in_channels: int, width: int) -> nn.Module:
    """Build a network of residual blocks."""
    return _network(BasicBlock, stages, classes, in_channels, width)


def _network(block: Block, stages: Sequence[Stage], classes: int, in_channels: int, width: int) -> nn.Module:
    blocks = []
    for before, after, stride in stages:
        blocks += [block(before * width, after * width, stride), block(after * width, after * width, 1)]
    return Classifier(nn.Sequential(*blocks), stages[-1][1] * width, classes, in_channels, width)
