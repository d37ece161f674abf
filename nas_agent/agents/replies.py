"""What a model is asked to answer, as a schema, and how its text is read however it is wrapped."""

from __future__ import annotations

import json
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

STARTS = 50  # opening braces at which an answer is looked for
LONGEST = 100_000  # characters of a reply; a longer one is not read
# What a constrained decoder may write at most, so that every reply ends: characters of a sentence and of an item of a
# list, items of a list, and the largest number.
MOST_TEXT, MOST_ITEM, MOST_ITEMS, MOST_NUMBER = 400, 60, 8, 999

Schema = TypeVar("Schema", bound=BaseModel)


class ThenReply(BaseModel):
    """The consequence of a `when`."""

    model_config = ConfigDict(extra="forbid")

    decision: str = Field(description="the decision that is constrained")
    options: list[str] = Field(description="the options it may take")


class ConstraintReply(BaseModel):
    """The checkable part of a principle; fields that a kind does not use are null."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["allowed", "count", "when"]
    decision: str | None = Field(default=None, description="allowed, when: the name of a decision")
    options: list[str] = Field(description="allowed: may be chosen; count: are counted; when: the condition")
    at_least: int | None = Field(default=None, description="count: the least number of decisions, or null")
    at_most: int | None = Field(default=None, description="count: the largest number of decisions, or null")
    then: ThenReply | None = Field(default=None, description="when: what must hold where the condition does")

    def to_dict(self) -> dict[str, Any]:
        """In the notation of `constraint_from_dict`."""
        match self.kind:
            case "allowed":
                return {"kind": "allowed", "decision": self._named(), "options": self.options}
            case "count":
                bounds = {"at_least": self.at_least or 0, "at_most": self.at_most}
                return {"kind": "count", "options": self.options, **bounds}
            case "when":
                if self.then is None:
                    raise ValueError("a constraint of kind 'when' needs 'then' with a decision and its options")
                then = {"kind": "allowed", "decision": self.then.decision, "options": self.then.options}
                return {"kind": "when", "decision": self._named(), "options": self.options, "then": then}

    def _named(self) -> str:
        if self.decision is None:
            raise ValueError(f"a constraint of kind '{self.kind}' needs a 'decision'")
        return self.decision


class PrincipleReply(BaseModel):
    """One suggested principle."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="one sentence that a person understands")
    constraint: ConstraintReply


class LessonReply(BaseModel):
    """The whole answer, in the order in which it is to be thought through."""

    model_config = ConfigDict(extra="forbid")

    information_flow: str = Field(description="how information flows through the best and the worst architectures")
    patterns: str = Field(description="what the best share and the worst lack, or the other way round")
    principles: list[PrincipleReply]


class Sum(BaseModel):
    """The answer to the one question by which a model is tried out."""

    model_config = ConfigDict(extra="forbid")

    answer: int = Field(description="the sum, a whole number")


def read_reply(text: str, schema: type[Schema]) -> tuple[Schema | None, str]:
    """Find the JSON object of a reply and check it: (the parsed reply, "") or (None, what is wrong with it)."""
    if len(text) > LONGEST:
        return None, f"the reply has more than {LONGEST:,} characters; answer with one short JSON object"
    problems: list[str] = []
    start = text.find("{")
    while start >= 0 and len(problems) < STARTS:
        end = start + 1
        try:
            data, end = json.JSONDecoder().raw_decode(text, start)
            return schema.model_validate(_encodable(data, text)), ""
        except ValidationError as error:
            items = error.errors()[:5]
            problems.append("; ".join(f"{'.'.join(map(str, i['loc'])) or 'the reply'}: {i['msg']}" for i in items))
        except json.JSONDecodeError as error:
            problems.append(f"the JSON is broken at character {error.pos}: {error.msg}; answer with one JSON object")
        except ValueError:  # Python refuses to convert integers of thousands of digits
            return None, "the JSON holds a number that is too long; answer with one JSON object of short numbers"
        except RecursionError:
            return None, "the JSON is nested too deeply; answer with one flat JSON object"
        start = text.find("{", end)
    # The first brace opens the answer, if there is one; what is wrong with it is what the model should hear.
    none = "there is no JSON object in the reply; answer with one JSON object and nothing else"
    return None, problems[0] if problems else none


def _encodable(data: Any, text: str) -> Any:
    """Replace halves of surrogate pairs: JSON can spell them by an escape, and no file can hold them."""
    if "\\ud" not in text.lower():
        return data
    return json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))


def strict_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON schema with every field required, which is what strict structured output asks for."""
    data = schema.model_json_schema()

    def tighten(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                tighten(item)
        elif isinstance(node, dict):
            node.pop("default", None)
            if isinstance(node.get("properties"), dict):
                node["required"] = list(node["properties"])
                node["additionalProperties"] = False
            for item in node.values():
                tighten(item)

    tighten(data)
    data.setdefault("description", schema.__doc__ or schema.__name__)
    return data


def bounded_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the strict schema with every string, list and number bounded: what a constrained decoder is given."""
    data = strict_schema(schema)

    def bound(node: Any, longest: int) -> None:
        if isinstance(node, list):
            for item in node:
                bound(item, longest)
        elif isinstance(node, dict):
            match node.get("type"):
                case "string" if "enum" not in node and "const" not in node:
                    node.setdefault("maxLength", longest)
                case "array":
                    node.setdefault("maxItems", MOST_ITEMS)
                case "integer" | "number":
                    node.setdefault("minimum", 0)
                    node.setdefault("maximum", MOST_NUMBER)
            for key, item in node.items():
                bound(item, MOST_ITEM if key == "items" else longest)

    bound(data, MOST_TEXT)
    return data
