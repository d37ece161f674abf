"""Constraints over decisions: the part of a principle that a machine can check.

    Allowed("edge_2_3", ("nor_conv_3x3", "nor_conv_1x1"))     this decision takes one of these options
    Count(("nor_conv_3x3",), at_least=2)                      this many decisions take one of these options
    When("edge_0_1", ("none",), Allowed(...))                 where that holds, this must hold too

All are plain data: `to_dict` and `constraint_from_dict` turn them into JSON and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas_agent.errors import PrincipleError
from nas_agent.records import Json
from nas_agent.spaces.base import Choices, Decision


@dataclass(frozen=True, slots=True)
class Allowed:
    """One decision takes one of these options."""

    decision: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(set(self.options))))

    def holds(self, choices: Choices) -> bool:
        """Tell whether an architecture with these choices obeys."""
        return choices[self.decision] in self.options

    def check(self, decisions: Sequence[Decision]) -> None:
        """Raise PrincipleError where the space has no such decision or option, or nothing would be left."""
        known = {decision.name: decision for decision in decisions}
        if self.decision not in known:
            raise PrincipleError(f"unknown decision '{self.decision}'; choose from {', '.join(known)}")
        if not self.options:
            raise PrincipleError(f"no option is left for '{self.decision}'; allow at least one")
        _check_options(self.options, known[self.decision].options, f"decision '{self.decision}'")

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {"kind": "allowed", "decision": self.decision, "options": list(self.options)}

    def __str__(self) -> str:
        return f"{self.decision} in {{{', '.join(self.options)}}}"


@dataclass(frozen=True, slots=True)
class Count:
    """At least, or at most, this many decisions take one of these options."""

    options: tuple[str, ...]
    at_least: int = 0
    at_most: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(set(self.options))))

    def holds(self, choices: Choices) -> bool:
        """Tell whether an architecture with these choices obeys."""
        number = sum(option in self.options for option in choices.values())
        return number >= self.at_least and (self.at_most is None or number <= self.at_most)

    def check(self, decisions: Sequence[Decision]) -> None:
        """Raise PrincipleError where the space has no such option, or nothing would be left."""
        known = tuple(dict.fromkeys(option for decision in decisions for option in decision.options))
        if not self.options:
            raise PrincipleError("a count needs at least one option to count")
        _check_options(self.options, known, "this space")
        able = sum(any(option in self.options for option in decision.options) for decision in decisions)
        forced = sum(all(option in self.options for option in decision.options) for decision in decisions)
        most = able if self.at_most is None else self.at_most
        if self.at_least > able or most < forced or most < self.at_least or self.at_least < 0:
            raise PrincipleError(f"no architecture has {self}; the space allows {forced} to {able}")

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "kind": "count",
            "options": list(self.options),
            "at_least": self.at_least,
            "at_most": self.at_most,
        }

    def __str__(self) -> str:
        bounds = f">= {self.at_least}" if self.at_most is None else f"in [{self.at_least}, {self.at_most}]"
        return f"count({', '.join(self.options)}) {bounds}"


@dataclass(frozen=True, slots=True)
class When:
    """Where one decision takes one of these options, another one is constrained: an interaction."""

    decision: str
    options: tuple[str, ...]
    then: Allowed

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(sorted(set(self.options))))

    def holds(self, choices: Choices) -> bool:
        """Tell whether an architecture with these choices obeys; it does where the condition fails."""
        return choices[self.decision] not in self.options or self.then.holds(choices)

    def check(self, decisions: Sequence[Decision]) -> None:
        """Raise PrincipleError where the space has no such decision or option."""
        Allowed(self.decision, self.options).check(decisions)
        self.then.check(decisions)
        if self.then.decision == self.decision:
            raise PrincipleError(f"'{self.decision}' cannot be its own condition; name another decision")

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "kind": "when",
            "decision": self.decision,
            "options": list(self.options),
            "then": self.then.to_dict(),
        }

    def __str__(self) -> str:
        return f"{self.decision} in {{{', '.join(self.options)}}} -> {self.then}"


Constraint = Allowed | Count | When


def constraint_from_dict(data: Mapping[str, Any]) -> Constraint:
    """The inverse of `to_dict`; raise PrincipleError where the data are no constraint."""
    try:
        match data["kind"]:
            case "allowed":
                return Allowed(str(data["decision"]), tuple(data["options"]))
            case "count":
                most = data.get("at_most")
                return Count(
                    tuple(data["options"]), int(data.get("at_least") or 0), None if most is None else int(most)
                )
            case "when":
                then = constraint_from_dict(data["then"])
                if not isinstance(then, Allowed):
                    raise PrincipleError("the 'then' of a 'when' must be of kind 'allowed'")
                return When(str(data["decision"]), tuple(data["options"]), then)
    except KeyError as error:
        raise PrincipleError(f"a constraint lacks or misuses {error}, got {dict(data)}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise PrincipleError(f"a constraint cannot be read ({error}), got {str(data)[:200]}") from error
    raise PrincipleError(f"unknown kind of constraint {data['kind']!r}; choose from allowed, count, when")


def _check_options(given: Sequence[str], known: Sequence[str], where: str) -> None:
    for option in given:
        if option not in known:
            raise PrincipleError(f"unknown option '{option}' for {where}; choose from {', '.join(known)}")
