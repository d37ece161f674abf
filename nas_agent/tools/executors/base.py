"""What carries evaluations out: here, on some workers of this machine, or on many machines.

An executor is told of work and asked for outcomes one by one, in the order of the search and not of arrival: so what
a search does is the same whatever the number of workers. How many evaluations are under way at once is a term of the
search (`Config.ahead`), not of the executor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from nas_agent.records import Architecture, Fidelity, Heritage, Json, Outcome
from nas_agent.tools.curves import Bar, Stops
from nas_agent.tools.evaluators.base import Evaluator


@dataclass(frozen=True, slots=True)
class Work:
    """One evaluation that is to be made."""

    architecture: Architecture
    seed: int
    fidelity: Fidelity | None = None  # None: the evaluator's own
    heritage: Heritage | None = None  # None: it inherits nothing, and leaves nothing
    bar: Bar | None = None  # what its learning curve is compared with; None: nothing stops it

    def to_dict(self) -> Json:
        """As plain JSON types; `heritage` only where there is one."""
        fidelity = None if self.fidelity is None else self.fidelity.to_dict()
        heritage = {} if self.heritage is None else {"heritage": asdict(self.heritage)}
        bar = {} if self.bar is None else {"bar": self.bar.to_dict()}
        given = {"architecture": self.architecture.to_dict(), "seed": self.seed, "fidelity": fidelity}
        return {**given, **heritage, **bar}

    @classmethod
    def from_dict(cls, data: Json) -> Work:
        """The inverse of `to_dict`."""
        fidelity = None if data["fidelity"] is None else Fidelity.from_dict(data["fidelity"])
        heritage = None if data.get("heritage") is None else Heritage.from_dict(data["heritage"])
        bar = None if data.get("bar") is None else Bar.from_dict(data["bar"])
        return cls(Architecture.from_dict(data["architecture"]), int(data["seed"]), fidelity, heritage, bar)


# Hears of each outcome as it arrives, in any order and from any thread, with the name of the worker.
Arrived = Callable[[Work, Outcome, str], None]


class Executor(Protocol):
    """Evaluates on one worker or on many. A bad candidate is a Failed; a broken machine is an exception."""

    @property
    def workers(self) -> int:
        """How many evaluations it makes at the same time."""
        ...

    def begin(self, arrived: Arrived) -> None:
        """Name who hears of outcomes as they arrive; before anything is submitted."""
        ...

    def submit(self, work: Work) -> None:
        """Have it done; returns at once. What was submitted before and is not yet taken changes nothing."""
        ...

    def take(self, work: Work) -> Outcome:
        """Wait for the outcome of submitted work and hand it over, once; raise what went wrong with the machine."""
        ...

    def close(self) -> None:
        """End the workers, and what they are doing; a second time changes nothing."""
        ...


@runtime_checkable
class Multiplies(Protocol):
    """An evaluator that several workers can have at once; any other is called by several threads at the same time."""

    def beside(self, device: str | None) -> Evaluator:
        """Return one that measures the same, by a process of its own, on this device (None: on the same)."""
        ...

    def stop(self) -> None:
        """End what it is doing, for another thread too, which then gets an exception."""
        ...


@runtime_checkable
class Varies(Protocol):
    """An evaluator that measures at the fidelity it is asked for."""

    def evaluate(self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None) -> Outcome:
        """Measure one architecture on the validation split."""
        ...


@runtime_checkable
class Inherits(Protocol):
    """An evaluator whose trainings begin with weights that earlier ones have left."""

    def keep_in(self, folder: Path) -> None:
        """Name the folder in which weights are kept; before anything is evaluated."""
        ...

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int,
        fidelity: Fidelity | None = None,
        heritage: Heritage | None = None,
    ) -> Outcome:
        """Measure one architecture on the validation split."""
        ...


def perform(evaluator: Evaluator, work: Work) -> Outcome:
    """Evaluate here and now."""
    if work.heritage is not None:
        assert isinstance(evaluator, Inherits)
        return evaluator.evaluate(work.architecture, seed=work.seed, fidelity=work.fidelity, heritage=work.heritage)
    if work.bar is not None:
        assert isinstance(evaluator, Stops)
        return evaluator.evaluate(work.architecture, seed=work.seed, bar=work.bar)
    if work.fidelity is None:
        return evaluator.evaluate(work.architecture, seed=work.seed)
    assert isinstance(evaluator, Varies)
    return evaluator.evaluate(work.architecture, seed=work.seed, fidelity=work.fidelity)
