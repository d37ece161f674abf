"""The network of a derivation tree: a stem, the tree, the mean over all places, a linear layer.

The stem and the head are ours; the paper's networks begin with the tree itself.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from nas_agent.spaces.einspace_shapes import (
    SIDE,
    START,
    Image,
    Shape,
    after,
    arm_shape,
    features_of,
    places_of,
    shapes,
)
from nas_agent.spaces.einspace_tree import (
    ADD,
    CONCAT,
    IDENTITY,
    IMAGE,
    LINEAR,
    PATCHES,
    PRODUCT,
    TRANSPOSE,
    Branch,
    Module,
    Step,
)


class Patches(nn.Module):
    """(B, C, H, W) -> (B, places, C * side * side)."""

    def __init__(self, side: int, stride: int) -> None:
        super().__init__()
        self.side, self.stride = side, stride

    def forward(self, x: Tensor) -> Tensor:
        """Cut an image into patches."""
        padding = 1 if self.side == 3 else 0
        return unfold(x, self.side, stride=self.stride, padding=padding).transpose(1, 2)


class LaidOut(nn.Module):
    """(B, side * side, C) -> (B, C, side, side)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Lay tokens out as an image."""
        return x.transpose(1, 2).reshape(len(x), -1, self.side, self.side)


class Transposed(nn.Module):
    """(B, T, D) -> (B, D, T)."""

    def forward(self, x: Tensor) -> Tensor:
        """Exchange tokens and features."""
        return x.transpose(1, 2)


class Position(nn.Module):
    """Adds a learned number to each place and feature; of the shape that it is given."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(shape))

    def forward(self, x: Tensor) -> Tensor:
        """Mark the places."""
        return x + self.position


class Fork(nn.Module):
    """A branch: split, arms, merge."""

    def __init__(self, branch: Branch, shape: Shape, width: int) -> None:
        super().__init__()
        entry = arm_shape(branch, shape)
        result = shapes(branch.arms[0], entry)[-1]
        self.ways = branch.ways
        self.grouped, self.merge = branch.split.startswith("group"), branch.merge
        self.split_along = 1 if isinstance(shape, Image) else -1
        self.join_along = 1 if isinstance(result, Image) else -1
        self.arms = nn.ModuleList(chain(arm, entry, width) for _ in range(branch.copies) for arm in branch.arms)

    def forward(self, x: Tensor) -> Tensor:
        """Compute each arm and merge."""
        parts = x.chunk(self.ways, dim=self.split_along) if self.grouped else [x] * self.ways
        results: list[Tensor] = [arm(part) for arm, part in zip(self.arms, parts, strict=True)]
        if self.merge == ADD:
            return sum(results[1:], results[0])
        if self.merge == CONCAT:
            return torch.cat(results, dim=self.join_along)
        if self.merge == PRODUCT:
            return results[0] @ results[1]
        scores: Tensor = results[0] @ results[1].transpose(1, 2) / results[0].shape[-1] ** 0.5
        return scores


def chain(module: Module, shape: Shape, width: int) -> nn.Sequential:
    """Build a sequence of steps for the shape that it is given."""
    along = shapes(module, shape)
    return nn.Sequential(*(layer(step, before, width) for step, before in zip(module, along, strict=False)))


def layer(step: Step, shape: Shape, width: int) -> nn.Module:
    """Build one step for the shape that it is given."""
    if isinstance(step, Branch):
        return Fork(step, shape, width)
    features, image = features_of(shape).at(width), isinstance(shape, Image)
    if step in LINEAR:
        leaving = features_of(after(step, shape)).at(width)
        return nn.Conv2d(features, leaving, 1) if image else nn.Linear(features, leaving)
    if step in PATCHES:
        return Patches(*PATCHES[step])
    match step:
        case "norm":
            return nn.BatchNorm2d(features) if image else nn.LayerNorm(features)
        case "relu":
            return nn.ReLU()
        case "gelu":
            return nn.GELU()
        case "softmax":
            return nn.Softmax(dim=1 if image else -1)
        case "position" if isinstance(shape, Image):
            return Position(features, shape.height, shape.width)
        case "position":
            return Position(places_of(shape).at(width), features)
        case step if step == TRANSPOSE:
            return Transposed()
        case step if step == IMAGE:
            return LaidOut(math.isqrt(places_of(shape).times))
        case step if step == IDENTITY:
            return nn.Identity()
    raise ValueError(f"no layer for step {step!r}")


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes)."""

    def __init__(self, module: Module, *, classes: int, in_channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(SIDE)
        )
        self.body = chain(module, START, width)
        end = shapes(module, START)[-1]
        self.places = (2, 3) if isinstance(end, Image) else (1,)
        features = features_of(end).at(width)
        # Without the norm, trees that end in large or small numbers would be learned at another pace, or not at all.
        self.head = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Classify a batch."""
        logits: Tensor = self.head(self.body(self.stem(images)).mean(dim=self.places))
        return logits
