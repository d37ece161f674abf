"""The nouns of a search: small frozen dataclasses without torch, LangGraph or Chroma.

Every record turns itself into plain JSON types (`to_dict`) and back (`from_dict`), because that is
how it lives in the event log, in checkpoints and in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nas_agent.wording import plural

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Architecture:
    """One point of a space. Spaces make them; nobody else does."""

    space: str  # the name of the space it belongs to
    text: str  # in the space's own notation; `space.parse(text)` gives it back
    id: str  # canonical: equal exactly for isomorphic architectures

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"space": self.space, "text": self.text, "id": self.id}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Architecture:
        """The inverse of `to_dict`."""
        return cls(space=str(data["space"]), text=str(data["text"]), id=str(data["id"]))


@dataclass(frozen=True, slots=True)
class Task:
    """What is optimised: a dataset, a metric and its direction."""

    name: str  # as the user types it, e.g. "cifar100"
    description: str  # one sentence; memory finds similar tasks by it, and prompts quote it
    metric: str = "accuracy"
    unit: str = "%"
    maximise: bool = True

    def score(self, value: float) -> float:
        """Turn a value of the metric into a number where more is better."""
        return value if self.maximise else -value

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "name": self.name,
            "description": self.description,
            "metric": self.metric,
            "unit": self.unit,
            "maximise": self.maximise,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Task:
        """The inverse of `to_dict`."""
        return cls(**{key: data[key] for key in ("name", "description", "metric", "unit", "maximise")})


Provenance = Literal["measured", "predicted"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How much a training may cost: what a search in several fidelities varies."""

    epochs: int  # passes over the training images that are used
    width: int | None = None  # channels of the first stage; None: as published
    share: float = 1.0  # of the training images, each class in proportion
    resolution: int | None = None  # pixels of a side; None: as the images are

    def __post_init__(self) -> None:
        counts = (
            self.epochs,
            1 if self.width is None else self.width,
            1 if self.resolution is None else self.resolution,
        )
        if min(counts) < 1 or not 0.0 < self.share <= 1.0:
            raise ValueError(f"epochs, width and resolution are at least 1 and the share lies in (0, 1], got {self}")

    def __str__(self) -> str:
        parts = [plural(self.epochs, "epoch")]
        if self.width is not None:
            parts.append(plural(self.width, "channel"))
        if self.share < 1.0:
            parts.append(f"{100 * self.share:g} % of the images")
        if self.resolution is not None:
            parts.append(f"{self.resolution}x{self.resolution} pixels")
        return ", ".join(parts)

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"epochs": self.epochs, "width": self.width, "share": self.share, "resolution": self.resolution}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fidelity:
        """The inverse of `to_dict`."""
        return cls(**{key: data[key] for key in ("epochs", "width", "share", "resolution")})


@dataclass(frozen=True, slots=True)
class Legacy:
    """Trained weights that an evaluation has left for its children."""

    file: str  # SHA-256 of the safetensors file, which is its name in the run folder
    epochs: int  # behind them: of the evaluation itself, and of what it had taken over
    size: int  # bytes

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Legacy:
        """The inverse of `dataclasses.asdict`."""
        return cls(str(data["file"]), int(data["epochs"]), int(data["size"]))


@dataclass(frozen=True, slots=True)
class Heritage:
    """What a training may begin with, and whether its weights are kept for children."""

    parents: tuple[Legacy, ...] = ()  # in the order of the parents
    leaves: bool = True

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Heritage:
        """The inverse of `dataclasses.asdict`."""
        return cls(tuple(map(Legacy.from_dict, data["parents"])), bool(data["leaves"]))


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a training has taken over of its parents, and what it left."""

    taken: int  # numbers that began as a parent's training had left them
    of: int  # all numbers that could be inherited: what is trained, and running statistics
    epochs: int = 0  # the most that are behind what was taken; its own are not counted
    legacy: Legacy | None = None
    note: str = ""  # why it had less than its parents had left, or left nothing itself

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Inherited:
        """The inverse of `dataclasses.asdict`."""
        legacy = None if data["legacy"] is None else Legacy.from_dict(data["legacy"])
        return cls(int(data["taken"]), int(data["of"]), int(data["epochs"]), legacy, str(data["note"]))


@dataclass(frozen=True, slots=True)
class Measured:
    """An evaluation that finished."""

    architecture: Architecture
    value: float  # the task's metric on the validation split (percent for accuracies); never the test split
    fidelity: str  # how it was obtained, e.g. "200 epochs"
    seconds: float  # cost of the evaluation
    seed: int
    evaluator: str
    provenance: Provenance = "measured"  # "predicted" where a regressor stands in for training
    simulated: bool = False  # True where `seconds` is read from a table instead of a clock
    at: Fidelity | None = None  # the fidelity in numbers, where it was trained here or the search has several
    sandbox: str | None = None  # what confined it, where its code is trusted by nobody
    repeats: tuple[float, ...] = ()  # all values, where it was measured under several seeds; `value` is the lowest
    inherited: Inherited | None = None  # where the search inherits weights
    curve: tuple[float, ...] = ()  # mean training loss of each epoch, where curves are compared (tools/curves.py)
    expected: float | None = (
        None  # where its curve stopped it, what the whole training would have reached, by its curve
    )

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"a measured value is a finite number, got {self.value}; record a Failed instead")

    @property
    def stands_alone(self) -> bool:
        """Whether a training from scratch has reached the value: then it means something outside its search."""
        return self.inherited is None or not self.inherited.taken or bool(self.repeats)

    @property
    def stopped(self) -> bool:
        """Whether its learning curve ended the training early: `value` is of that moment, and never the best."""
        return self.expected is not None

    @property
    def worth(self) -> float:
        """What it counts as beside trainings that ended: the value, or what a stopped one was expected to reach."""
        return self.value if self.expected is None else self.expected

    def to_dict(self) -> Json:
        """As plain JSON types, with `kind` to tell it from a Failed."""
        return {
            "kind": "measured",
            "architecture": self.architecture.to_dict(),
            "value": self.value,
            "fidelity": self.fidelity,
            "seconds": self.seconds,
            "seed": self.seed,
            "evaluator": self.evaluator,
            "provenance": self.provenance,
            "simulated": self.simulated,
            **({} if self.at is None else {"at": self.at.to_dict()}),
            **({} if self.sandbox is None else {"sandbox": self.sandbox}),
            **({"repeats": list(self.repeats)} if self.repeats else {}),
            **({} if self.inherited is None else {"inherited": asdict(self.inherited)}),
            **({"curve": list(self.curve)} if self.curve else {}),
            **({} if self.expected is None else {"expected": self.expected}),
        }


@dataclass(frozen=True, slots=True)
class Failed:
    """An evaluation that did not finish. It has a reason and, on purpose, no value."""

    architecture: Architecture
    reason: str  # the generator may read this, so it is written as advice
    seconds: float
    seed: int
    evaluator: str
    at: Fidelity | None = None  # as of a Measured, where the search has several
    sandbox: str | None = None  # what confined it, where its code is trusted by nobody

    def to_dict(self) -> Json:
        """As plain JSON types, with `kind` to tell it from a Measured."""
        return {
            "kind": "failed",
            "architecture": self.architecture.to_dict(),
            "reason": self.reason,
            "seconds": self.seconds,
            "seed": self.seed,
            "evaluator": self.evaluator,
            **({} if self.at is None else {"at": self.at.to_dict()}),
            **({} if self.sandbox is None else {"sandbox": self.sandbox}),
        }


Outcome = Measured | Failed


def outcome_from_dict(data: Mapping[str, Any]) -> Outcome:
    """The inverse of `Measured.to_dict` and `Failed.to_dict`."""
    fields = {key: value for key, value in data.items() if key != "kind"}
    fields["architecture"] = Architecture.from_dict(fields["architecture"])
    if fields.get("at") is not None:
        fields["at"] = Fidelity.from_dict(fields["at"])
    for several in ("repeats", "curve"):
        if several in fields:
            fields[several] = tuple(fields[several])
    if "inherited" in fields:
        fields["inherited"] = Inherited.from_dict(fields["inherited"])
    return Measured(**fields) if data["kind"] == "measured" else Failed(**fields)


@dataclass(frozen=True, slots=True)
class Variation:
    """How a child was made by an intent: what quality diversity learns from (LLMatic, arXiv 2306.01102)."""

    intent: str  # one of the sixteen of `spaces/code.py`
    temperature: float  # of the language model; programmatic operators have none and ignore it
    by: str  # "program", or the language model and its prompt
    curious: bool = False  # True: intent and temperature were the most curious ones, False: drawn by chance
    island: int = 0  # the archive that its parents are from

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Variation:
        """The inverse of `to_dict`."""
        return cls(**data)


@dataclass(frozen=True, slots=True)
class Proposal:
    """An architecture that somebody thinks is worth a measurement, and why."""

    architecture: Architecture
    author: str  # e.g. "mutation", "crossover", "sample", "recalled from cifar10"
    parents: tuple[str, ...] = ()  # ids of the architectures it was made from
    principles: tuple[str, ...] = ()  # "id@version" of each active principle that it obeys
    outside: bool = False  # True: breaks an active principle on purpose, so that a wrong one shows
    at: Fidelity | None = None  # how it is to be measured; None: the search has one fidelity
    variation: Variation | None = None  # by which intent it was made, where it was
    measures: tuple[float, ...] | None = None  # what an archive of niches bins it by, where there is one
    heritage: Heritage | None = None  # what its training may begin with, where the search inherits weights

    def to_dict(self) -> Json:
        """As plain JSON types; `variation`, `measures` and `heritage` only where there are some."""
        return {
            "architecture": self.architecture.to_dict(),
            "author": self.author,
            "parents": list(self.parents),
            "principles": list(self.principles),
            "outside": self.outside,
            **({} if self.at is None else {"at": self.at.to_dict()}),
            **({} if self.variation is None else {"variation": self.variation.to_dict()}),
            **({} if self.measures is None else {"measures": list(self.measures)}),
            **({} if self.heritage is None else {"heritage": asdict(self.heritage)}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Proposal:
        """The inverse of `to_dict`; lists become tuples again (a checkpoint returns lists)."""
        return cls(
            architecture=Architecture.from_dict(data["architecture"]),
            author=str(data["author"]),
            parents=tuple(data["parents"]),
            principles=tuple(data["principles"]),
            outside=bool(data["outside"]),
            at=None if data.get("at") is None else Fidelity.from_dict(data["at"]),
            variation=None if data.get("variation") is None else Variation.from_dict(data["variation"]),
            measures=None if data.get("measures") is None else tuple(map(float, data["measures"])),
            heritage=None if data.get("heritage") is None else Heritage.from_dict(data["heritage"]),
        )


@dataclass(frozen=True, slots=True)
class Miss:
    """An attempt at a child of which no new network came, so that nothing was measured."""

    variation: Variation
    parents: tuple[str, ...]  # ids
    why: str
    known: bool = False  # True: a network came of it that had been proposed or measured before

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "variation": self.variation.to_dict(), "parents": list(self.parents), "why": self.why, "known": self.known,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Miss:
        """The inverse of `to_dict`."""
        variation = Variation.from_dict(data["variation"])
        return cls(variation, tuple(data["parents"]), str(data["why"]), bool(data["known"]))


@dataclass(frozen=True, slots=True)
class Trial:
    """A proposal that was measured, and what came of it."""

    proposal: Proposal
    outcome: Outcome
