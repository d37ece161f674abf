"""What the protocol compares, and how often: the crossing of texts, embedders, poolings, heads and blocks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from nas_agent.errors import ConfigError

SIZES = (14, 55, 220, 879, 3516)
BLOCKS = ("structure", "code", "joint")
LEAST = 3  # rows that a head can be fitted on

TARGETS = ("rank", "power")
TOGETHER = ("classes", "texts")


@dataclass(frozen=True, slots=True)
class Configuration:
    """One row of the tables; a head on structure alone has no text."""

    head: str
    blocks: str
    text: str = ""
    embedder: str = ""
    pooling: str = ""  # empty also where an embedder counts terms

    @property
    def name(self) -> str:
        """What `--reference` names it by."""
        return " ".join(filter(None, (self.head, self.blocks, self.text, self.embedder, self.pooling)))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is compared, and how often."""

    texts: tuple[str, ...] = ("canonical",)
    embedders: tuple[str, ...] = ("all-minilm",)
    poolings: tuple[str, ...] = ("auto",)
    heads: tuple[str, ...] = ("gp",)
    blocks: tuple[str, ...] = BLOCKS
    sizes: tuple[int, ...] = SIZES
    repeats: int = 20
    folds: int = 10
    test_folds: int | None = None  # folds held out one by one in each repeat; None: all
    together: str = "classes"  # isomorphic rows lie in one fold; "texts": all rows of the same canonical text do
    target: str = "power"
    components: int = 128
    seed: int = 0
    reference: str | None = None  # the name of a configuration; None: REFERENCE, which is added where it lacks

    def __post_init__(self) -> None:
        for flag, names in (
            ("text", self.texts), ("embedder", self.embedders), ("pooling", self.poolings), ("head", self.heads),
            ("blocks", self.blocks), ("n", self.sizes),
        ):  # fmt: skip
            if not names or len(set(names)) < len(names):
                raise ConfigError(f"--{flag}: expected at least one, each once, got {', '.join(map(str, names))!r}")
        for name in self.blocks:
            if name not in BLOCKS:
                raise ConfigError(f"--blocks {name}: expected some of {', '.join(BLOCKS)}")
        for flag, name, known in (("target", self.target, TARGETS), ("together", self.together, TOGETHER)):
            if name not in known:
                raise ConfigError(f"--{flag} {name}: expected one of {', '.join(known)}")
        if min(self.sizes) < LEAST:
            raise ConfigError(f"--n {min(self.sizes)}: expected at least {LEAST} rows to fit a head on")
        if self.folds < 2 or self.repeats < 1:
            raise ConfigError(
                f"expected --folds 2 or more and --repeats 1 or more, got {self.folds} and {self.repeats}"
            )
        if self.test_folds is not None and not 1 <= self.test_folds <= self.folds:
            raise ConfigError(f"--test-folds {self.test_folds}: expected 1 to the number of folds, {self.folds}")

    @property
    def held_out(self) -> int:
        """How many folds of each repeat are tested on."""
        return self.folds if self.test_folds is None else self.test_folds


REFERENCE = Configuration("gp", "structure")


def crossing(plan: Plan, embedders: Iterable[tuple[str, str]]) -> tuple[tuple[Configuration, ...], Configuration]:
    """List all configurations, each once, and the one that the others are compared with.

    `embedders` are pairs of a name and a pooling.
    """
    listed = list(embedders) or [("", "")]
    crossed = [
        Configuration(head, blocks, *(("", "", "") if blocks == "structure" else (text, *embedder)))
        for head, blocks, text, embedder in product(plan.heads, plan.blocks, plan.texts, listed)
    ]
    found = {configuration.name: configuration for configuration in crossed}
    if plan.reference is None:
        return tuple({REFERENCE.name: REFERENCE, **found}.values()), REFERENCE
    if plan.reference not in found:
        raise ConfigError(f"--reference {plan.reference!r}: expected one of {', '.join(map(repr, found))}")
    return tuple(found.values()), found[plan.reference]
