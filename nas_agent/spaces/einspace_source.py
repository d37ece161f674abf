"""A derivation tree as PyTorch text: the class that models read, and a file that needs nothing but torch."""

from __future__ import annotations

from nas_agent.spaces.einspace_shapes import SIDE, START, Image, Shape, after, arm_shape, features_of, places_of, shapes
from nas_agent.spaces.einspace_tree import ADD, CONCAT, LINEAR, PATCHES, PRODUCT, TRANSPOSE, Branch, Module

TEMPLATE = '''"""A network of the space einspace found by nas-agent.

Tree: {text}

    from best import Network
    logits = Network(classes=10)(torch.randn(1, 3, 32, 32))
"""

import torch
import torch.nn.functional as F
from torch import nn


{body}


class Network(nn.Module):
    """Images (B, in_channels, H, W) -> logits (B, classes): larger images are averaged down to {side}x{side} pixels."""

    def __init__(self, classes={classes}, in_channels=3, width=16):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.AdaptiveAvgPool2d({side}),
        )
        C = width
        self.body = Body(C)
        self.head = nn.Sequential(nn.LayerNorm({features}), nn.Linear({features}, classes))

    def forward(self, images):
        return self.head(self.body(self.stem(images)).mean(dim={places}))
'''


def module_source(text: str, module: Module, classes: int) -> str:
    """Write the whole network: the notation, the class text, the default number of classes."""
    end = shapes(module, START)[-1]
    return TEMPLATE.format(
        text=text,
        body=class_source(module),
        classes=classes,
        side=SIDE,
        features=features_of(end).code(),
        places="(2, 3)" if isinstance(end, Image) else "1",
    )


def class_source(module: Module) -> str:
    """Write a tree as classes: `Body`, and before it the arms that are built several times; C is the width."""
    arms: list[str] = []
    body = _Class("Body", arms).write(module, START)
    return "\n\n\n".join([*arms, body])


class _Class:
    """One class while it is written."""

    def __init__(self, name: str, arms: list[str]) -> None:
        self.name, self.arms = name, arms
        self.layers: list[str] = []
        self.lines: list[str] = []
        self.numbers: dict[str, int] = {}

    def write(self, module: Module, shape: Shape) -> str:
        """Write the class of a sequence that is given this shape."""
        result = self._sequence(module, shape, "x", "x")
        return "\n".join(
            [
                f"class {self.name}(nn.Module):",
                "    def __init__(self, C):",
                "        super().__init__()",
                *(f"        {line}" for line in self.layers),
                "",
                f"    def forward(self, x):  # {_comment(shape)}",
                *(f"        {line}" for line in self.lines),
                f"        return {result}",
            ]
        )

    def _sequence(self, module: Module, shape: Shape, source: str, target: str) -> str:
        """Write the steps one after the other; return the name of the variable that holds the result."""
        for step in module:
            if isinstance(step, Branch):
                self._branch(step, shape, source, target)
            else:
                self._line(step, shape, source, target)
            shape, source = after(step, shape), target
        return source

    def _line(self, step: str, shape: Shape, source: str, target: str) -> None:
        image, features = isinstance(shape, Image), features_of(shape).code()
        if step in LINEAR:
            leaving = features_of(after(step, shape)).code()
            layer = f"nn.Conv2d({features}, {leaving}, 1)" if image else f"nn.Linear({features}, {leaving})"
            text = f"{self._layer('linear', layer)}({source})"
        elif step == "norm":
            layer = f"nn.BatchNorm2d({features})" if image else f"nn.LayerNorm({features})"
            text = f"{self._layer('norm', layer)}({source})"
        elif step == "position":
            if isinstance(shape, Image):
                sides = f"{features}, {shape.height}, {shape.width}"
            else:
                sides = f"{places_of(shape).code()}, {features}"
            text = f"{source} + {self._layer('position', f'nn.Parameter(0.02 * torch.randn({sides}))')}"
        elif step in PATCHES:
            side, stride = PATCHES[step]
            options = (f", stride={stride}" if stride > 1 else "") + (", padding=1" if side == 3 else "")
            text = f"F.unfold({source}, {side}{options}).transpose(1, 2)  # {_comment(after(step, shape))}"
        elif step == "softmax":
            text = f"F.softmax({source}, dim={_along(shape)})"
        elif step in ("relu", "gelu"):
            text = f"F.{step}({source})"
        elif step == TRANSPOSE:
            text = f"{source}.transpose(1, 2)"
        else:
            text = self._laid_out(step, shape, source)
        self.lines.append(f"{target} = {text}")

    def _laid_out(self, step: str, shape: Shape, source: str) -> str:
        image = after(step, shape)
        assert isinstance(image, Image)
        return f"{source}.transpose(1, 2).unflatten(2, ({image.height}, {image.width}))  # {_comment(image)}"

    def _layer(self, kind: str, text: str) -> str:
        name = self._name(kind)
        self.layers.append(f"self.{name} = {text}")
        return f"self.{name}"

    def _name(self, kind: str) -> str:
        self.numbers[kind] = self.numbers.get(kind, 0) + 1
        return f"{kind}{self.numbers[kind]}"

    def _branch(self, branch: Branch, shape: Shape, source: str, target: str) -> None:
        entry = arm_shape(branch, shape)
        result = shapes(branch.arms[0], entry)[-1]
        grouped = branch.split.startswith("group")
        if branch.copies > 1:
            self._repeated(branch, entry, source, target, grouped=grouped, along=_along(shape), join=_along(result))
            return
        first, second = self._name("a"), self._name("b")
        starts = (source, source)
        if grouped:
            self.lines.append(f"{first}, {second} = {source}.chunk(2, dim={_along(shape)})")
            starts = (first, second)
        one = self._sequence(branch.arms[0], entry, starts[0], first)
        other = self._sequence(branch.arms[1], entry, starts[1], second)
        self.lines.append(f"{target} = {_merge(branch, one, other, result)}")

    def _repeated(
        self, branch: Branch, entry: Shape, source: str, target: str, *, grouped: bool, along: int, join: int
    ) -> None:
        (arm,) = branch.arms
        name = f"Arm{len(self.arms) + 1}"
        self.arms.append("")  # its place is before the classes of the arms inside it are written
        place = len(self.arms) - 1
        self.arms[place] = _Class(name, self.arms).write(arm, entry)
        arms = self._layer("arms", f"nn.ModuleList({name}(C) for _ in range({branch.ways}))")
        results = f"[arm({source}) for arm in {arms}]"
        if grouped:
            results = f"[arm(part) for arm, part in zip({arms}, {source}.chunk({branch.ways}, dim={along}))]"
        self.lines.append(
            f"{target} = " + (f"sum({results})" if branch.merge == ADD else f"torch.cat({results}, dim={join})")
        )


def _merge(branch: Branch, one: str, other: str, result: Shape) -> str:
    if branch.merge == ADD:
        return f"{one} + {other}"
    if branch.merge == CONCAT:
        return f"torch.cat([{one}, {other}], dim={_along(result)})"
    if branch.merge == PRODUCT:
        return f"{one} @ {other}"
    return f"{one} @ {other}.transpose(1, 2) / {one}.shape[-1] ** 0.5"


def _along(shape: Shape) -> int:
    return 1 if isinstance(shape, Image) else -1


def _comment(shape: Shape) -> str:
    if isinstance(shape, Image):
        return f"(B, {shape.channels.code()}, {shape.height}, {shape.width})"
    return f"(B, {shape.length.code()}, {shape.features.code()})"
