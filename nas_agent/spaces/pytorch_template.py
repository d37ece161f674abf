"""Networks written from a few choices: the start, uniform draws, and what principles ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from nas_agent.errors import InvalidArchitecture
from nas_agent.spaces.base import Decision
from nas_agent.spaces.inspection import NetworkShape
from nas_agent.spaces.pytorch_graph import Profile

MANY = 1 << 30
# Decision -> its options as (name, least, most).
_BINS: dict[str, tuple[tuple[str, int, int], ...]] = {
    "convolutions": (("0", 0, 0), ("1", 1, 1), ("2", 2, 2), ("3-4", 3, 4), ("5-8", 5, 8), ("9+", 9, MANY)),
    "linear": (("0", 0, 0), ("1", 1, 1), ("2", 2, 2), ("3+", 3, MANY)),
    "recurrent": (("0", 0, 0), ("1", 1, 1), ("2+", 2, MANY)),
    "pooling": (("0", 0, 0), ("1", 1, 1), ("2", 2, 2), ("3+", 3, MANY)),
    "normalisation": (("0", 0, 0), ("1", 1, 1), ("2-3", 2, 3), ("4+", 4, MANY)),
    "activation": (("0", 0, 0), ("1-2", 1, 2), ("3-5", 3, 5), ("6+", 6, MANY)),
    "dropout": (("0", 0, 0), ("1+", 1, MANY)),
    "skips": (("0", 0, 0), ("1", 1, 1), ("2-3", 2, 3), ("4+", 4, MANY)),
    "kernel": (("none", 0, 0), ("1", 1, 1), ("2-3", 2, 3), ("4+", 4, MANY)),
    "depth": (("0-1", 0, 1), ("2", 2, 2), ("3-4", 3, 4), ("5-8", 5, 8), ("9+", 9, MANY)),
    "width": (("1-15", 1, 15), ("16-31", 16, 31), ("32-63", 32, 63), ("64-127", 64, 127), ("128+", 128, MANY)),
}
_MEANING = {
    "convolutions": "how many convolutions", "linear": "how many fully connected layers, the last one included",
    "recurrent": "how many recurrent layers", "pooling": "how many poolings, the global one included",
    "normalisation": "how many normalisation layers", "activation": "how many activations",
    "dropout": "how many dropout layers", "skips": "how many sums or joins of two paths",
    "kernel": "the side of the largest convolution kernel", "depth": "layers with weights on the longest path",
    "width": "the most channels or features of a layer",
}  # fmt: skip
DECISIONS = tuple(
    Decision(
        name,
        tuple(option for option, _, _ in bins),
        _MEANING[name],
        "depth" if name == "depth" else "width" if name == "width" else "other",
    )
    for name, bins in _BINS.items()
)


def choices_of(found: Profile) -> dict[str, str]:
    """Return the option of each decision that a network has, whoever wrote it."""
    counts = found.counts
    values = {
        "convolutions": counts["convolution"], "linear": counts["linear"], "recurrent": counts["recurrent"],
        "pooling": counts["pooling"], "normalisation": counts["normalisation"], "activation": counts["activation"],
        "dropout": counts["dropout"], "skips": counts["skip"], "kernel": max(found.kernels, default=0),
        "depth": found.depth, "width": max(found.width, 1),
    }  # fmt: skip
    return {name: next(o for o, least, most in _BINS[name] if least <= value <= most) for name, value in values.items()}


# How often options are drawn, in the order of the bins; the depth follows from the others.
_LIKELY: dict[str, tuple[float, ...]] = {
    "convolutions": (0.5, 2, 3, 3, 1, 0.2), "linear": (0, 4, 3, 1), "recurrent": (8, 1, 0.3), "pooling": (1, 2, 3, 2),
    "normalisation": (2, 1, 3, 2), "activation": (0.5, 2, 3, 1), "dropout": (3, 1), "skips": (4, 2, 1, 0.3),
    "kernel": (1, 1, 5, 1), "depth": (1, 1, 1, 1, 1), "width": (1, 3, 4, 2, 0.5),
}  # fmt: skip


def drawn_choices(rng: Random) -> dict[str, str]:
    """Draw an option of each decision, those of usual networks more often (ours)."""
    return {one.name: rng.choices(one.options, _LIKELY[one.name])[0] for one in DECISIONS}


def start_text(shape: NetworkShape) -> str:
    """Write LLMatic's first network: one 1x1 convolution and a linear layer."""
    text = _Text(shape)
    text.layer("conv", f"nn.Conv2d({shape.channels}, 1, 1)")
    text.steps.append("x = torch.flatten(x, 1)")
    return text.closed("head", f"nn.Linear({shape.side**2}, {shape.classes})")


@dataclass
class _Text:
    """A network's class as it grows."""

    shape: NetworkShape
    layers: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)

    def layer(self, name: str, made: str, *, skip: bool = False) -> None:
        """Add a layer that x goes through, around which a shortcut may lead."""
        self.layers.append(f"self.{name} = {made}")
        self.steps.append(f"x = x + self.{name}(x)" if skip else f"x = self.{name}(x)")

    def closed(self, name: str, made: str) -> str:
        """Return the whole text, which ends in this layer."""
        self.layers.append(f"self.{name} = {made}")
        made_lines = "\n        ".join(self.layers)
        steps = "\n        ".join([*self.steps, f"return self.{name}(x)"])
        return (
            "import torch\nfrom torch import nn\n\nclass Network(nn.Module):\n\n    def __init__(self):\n"
            f"        super().__init__()\n        {made_lines}\n\n    def forward(self, x):\n        {steps}\n"
        )


def written(choices: Mapping[str, str], shape: NetworkShape, rng: Random) -> str:
    """Write a network with these options; InvalidArchitecture where no template has all of them together."""
    plan = _planned(choices, rng)
    text, channels, side, features = _Text(shape), shape.channels, shape.side, 0
    convs = plan["convolutions"]
    width, kernel = plan["width"], plan["kernel"]
    poolings, norms, acts, skips = plan["pooling"], plan["normalisation"], plan["activation"], plan["skips"]
    drops = plan["dropout"]
    for number in range(1, convs + 1):
        leaving = width if number > 1 or convs == 1 or skips else rng.choice((max(4, width // 2), width))
        size = kernel if number == 1 else rng.choice((kernel, min(kernel, 3)))
        skip = skips > 0 and channels == leaving
        skips -= skip
        padding = f", padding={size // 2}" if size > 1 else ""
        text.layer(f"conv{number}", f"nn.Conv2d({channels}, {leaving}, {size}{padding})", skip=skip)
        channels = leaving
        if norms:
            norms -= 1
            text.layer(f"norm{number}", f"nn.BatchNorm2d({channels})")
        if acts:
            acts -= 1
            text.layer(f"act{number}", "nn.ReLU()")
        if poolings and side >= 2 and (side >= 4 or number == convs) and convs - number < 2 * poolings:
            poolings -= 1
            side //= 2
            text.layer(f"pool{number}", "nn.MaxPool2d(2)")
    while poolings and side >= 2:
        poolings -= 1
        whole = not poolings and plan["recurrent"] == 0 and rng.random() < 0.5
        side = 1 if whole else side // 2
        text.layer(f"pool{convs + poolings + 1}", "nn.AdaptiveAvgPool2d(1)" if whole else "nn.AvgPool2d(2)")
    for number in range(1, plan["recurrent"] + 1):
        taken = features or channels * side
        if number == 1:
            text.steps.append("x = x.permute(0, 2, 3, 1).flatten(2)")
        text.layers.append(f"self.rows{number} = nn.{rng.choice(('LSTM', 'GRU'))}({taken}, {width}, batch_first=True)")
        text.steps.append(f"x, _ = self.rows{number}(x)")
        features = width
    if plan["recurrent"]:
        text.steps.append("x = x[:, -1]")
    else:
        text.steps.append("x = torch.flatten(x, 1)")
        features = channels * side * side
    for number in range(1, plan["linear"]):
        skip = skips > 0 and features == width
        skips -= skip
        text.layer(f"fc{number}", f"nn.Linear({features}, {width})", skip=skip)
        features = width
        if norms:
            norms -= 1
            text.layer(f"norm{convs + number}", f"nn.LayerNorm({features})")
        if acts:
            acts -= 1
            text.layer(f"act{convs + number}", "nn.ReLU()")
    for number in range(drops):
        text.layer(f"dropout{number + 1}", f"nn.Dropout({rng.choice((0.1, 0.2))})")
    if poolings or norms or acts or skips:
        left = {"pooling": poolings, "normalisation": norms, "activation": acts, "skips": skips}
        name = next(name for name, count in left.items() if count)
        raise InvalidArchitecture(
            f"expected fewer of '{name}' for so few layers, got {dict(choices)}; choose more convolutions"
        )
    return text.closed("head", f"nn.Linear({features}, {shape.classes})")


def _planned(choices: Mapping[str, str], rng: Random) -> dict[str, int]:
    """Choose a number within each option so that they go together."""
    plan = {}
    for decision in DECISIONS:
        option = choices.get(decision.name)
        found = next(((least, most) for o, least, most in _BINS[decision.name] if o == option), None)
        if found is None:
            raise InvalidArchitecture(
                f"expected '{decision.name}' as one of {', '.join(decision.options)}, got {option!r}; choose from these"
            )
        least, most = found
        if decision.name == "width":
            plan["width"] = {1: 12, 16: 24, 32: 48, 64: 96, 128: 160}[least] - rng.choice((0, 4, 8))
        elif decision.name == "kernel":
            plan["kernel"] = {0: 0, 1: 1, 2: 3, 4: 5}[least]
        elif decision.name != "depth":
            plan[decision.name] = rng.randint(
                least, min(most, least + (2 if most == MANY and least > 1 else most - least if most < MANY else 0))
            )
    if plan["linear"] == 0:
        raise InvalidArchitecture("expected at least one linear layer, the last one, got 0; choose linear=1")
    if (plan["convolutions"] == 0) != (plan["kernel"] == 0):
        raise InvalidArchitecture("expected kernel=none exactly without convolutions; change one of the two")
    return plan
