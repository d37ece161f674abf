"""Whole architectures in a model's reply: the schema that a space asks for, and what becomes of each one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model

from nas_agent.agents.disguise import Lens
from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture
from nas_agent.spaces.base import Decision

QUOTED = 40  # characters of an unknown option that are quoted

# A reply is read leniently, one architecture at a time; the options stand in the schema alone, where constrained
# decoding finds them.
_LENIENT = ConfigDict(extra="ignore", coerce_numbers_to_str=True)


def choices_schema(decisions: Sequence[Decision]) -> type[BaseModel]:
    """Return the schema of one architecture: an option for each decision, by the decision's name."""
    fields: dict[str, Any] = {
        f"choice_{place}": (
            str,
            Field(default="", alias=decision.name, json_schema_extra={"enum": list(decision.options)}),
        )
        for place, decision in enumerate(decisions)
    }
    return create_model("Choices", __config__=_LENIENT, __doc__="One option for each decision.", **fields)


def said(choices: BaseModel, decisions: Sequence[Decision]) -> dict[str, str]:
    """Return what a reply says for each decision, cut to a length that can be quoted; "" where it says nothing."""
    values = choices.model_dump(by_alias=True)
    return {decision.name: _short(values[decision.name]) for decision in decisions}


def built(lens: Lens, said: Mapping[str, str]) -> Architecture:
    """Return the canonical architecture that is meant; InvalidArchitecture in words that the model can act on."""
    for decision in lens.decisions:
        option = said[decision.name]
        if not option:
            raise InvalidArchitecture(f"no option for '{decision.name}'; choose from {', '.join(decision.options)}")
        if option not in decision.options:
            raise InvalidArchitecture(
                f"unknown option '{option}' for '{decision.name}'; choose from {', '.join(decision.options)}"
            )
    try:
        return lens.space.canonical(lens.space.build(lens.meant_choices(said)))
    except InvalidArchitecture as error:
        raise InvalidArchitecture(lens.label("reason", str(error))) from error


def _short(text: str) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * QUOTED]).split())
    return line if len(line) <= QUOTED else line[: QUOTED - 1] + "…"
