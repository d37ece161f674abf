"""A language model is one method. Recording makes its replies part of the run folder, and resume exact.

RecordedModel(CappedModel(model, purse), folder): what is known is answered from the folder and costs nothing; what is
not known is asked while the purse allows it, and kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError

from nas_agent.agents.replies import read_reply
from nas_agent.errors import ModelError, StorageError
from nas_agent.records import Json

Method = str  # json_schema, function_calling, json_mode, constrained or text: how structure was asked for
Prices = tuple[float, float]  # US dollars for a million tokens: input, output
CUT = "the reply was cut off at the length limit; answer with a shorter JSON object"


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered."""

    text: str
    parsed: BaseModel | None = None  # None where no schema was asked for, or the text does not fit it
    problem: str = ""  # why `parsed` is None although a schema was asked for; the model can act on it
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None  # None where the price is not known
    method: Method = "text"
    seconds: float = 0.0
    sent: Json = field(default_factory=dict)  # what went over the wire, without the prompt and without any key
    prices: Prices | None = None  # those that `cost_usd` was reckoned with
    cut: bool = False  # the model was stopped at its length limit before it had finished
    recorded: bool = False  # True: read from the record, no call was made


@dataclass(frozen=True, slots=True)
class Manner:
    """How a question is put, besides its words."""

    temperature: float | None = None  # None: that of the run's configuration
    draw: int = 0  # the same words put again are another question by this number, which a record answers apart
    grammar: str = ""  # of the reply, in llguidance's Lark; models in this process keep to it, others do not see it


PLAIN = Manner()


class CallsSpent(ModelError):
    """The calls or the dollars of this run are used up; the search goes on without the model."""


class ChatModel(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """What principles and reports name it by, e.g. `openai:gpt-4o-mini`."""
        ...

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        """Answer a prompt, by the schema if there is one; ModelError where no answer can be had."""
        ...


@dataclass(frozen=True, slots=True)
class Models:
    """The language models of a run by their role; one object may have several."""

    learner: ChatModel | None = None
    generator: ChatModel | None = None
    prices: dict[str, Prices | None] = field(default_factory=dict)  # role -> prices, of the roles that have a model

    def about(self) -> Json:
        """Return the snapshot that the event log keeps: each role's model and its prices (null: not known)."""
        roles = {"learner": self.learner, "generator": self.generator}
        return {
            role: {"model": model.name, "prices": self.prices.get(role)}
            for role, model in roles.items()
            if model is not None
        }


@dataclass(slots=True)
class Purse:
    """What one run may spend on its models; all roles pay from it."""

    max_calls: int | None = None
    max_cost: float | None = None  # US dollars; a call begins only while less than this is spent
    calls: int = 0
    cost_usd: float = 0.0

    @classmethod
    def after(cls, folder: Path, max_calls: int | None, max_cost: float | None) -> Purse:
        """Return the purse of a run that has recorded calls already; caps hold over a resume."""
        purse = cls(max_calls, max_cost)
        for file in sorted(folder.glob("*.json")):
            record = read_record(file) or {}
            purse.calls += 1
            purse.cost_usd += record.get("reply", {}).get("cost_usd") or 0.0
        return purse

    def check(self) -> None:
        """Raise CallsSpent where no further call may begin."""
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise CallsSpent(f"the model's calls are spent ({self.max_calls}); raise --max-calls to allow more")
        if self.max_cost is not None and self.cost_usd >= self.max_cost:
            raise CallsSpent(
                f"{self.cost_usd:.4f} USD are spent on models; raise --max-cost ({self.max_cost:g}) to allow more"
            )


class CappedModel:
    """Asks a model while the purse allows it; a call that fails is a call."""

    def __init__(self, model: ChatModel, purse: Purse) -> None:
        self.model = model
        self.purse = purse

    @property
    def name(self) -> str:
        """The name of the model behind."""
        return self.model.name

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        """Ask and pay; CallsSpent where a cap is reached."""
        self.purse.check()
        self.purse.calls += 1
        reply = self.model.complete(prompt, schema, manner)
        self.purse.cost_usd += reply.cost_usd or 0.0
        return reply


class RecordedModel:
    """Keeps every prompt with its reply in a folder, and answers a prompt it has seen from there.

    A failed call is kept as well: a resumed run must not get an answer that the first one did not get. That a cap
    is reached is not kept: a resumed run may have a higher one.
    """

    def __init__(self, model: ChatModel, folder: Path) -> None:
        self.model = model
        self.folder = folder

    @property
    def name(self) -> str:
        """The name of the model behind."""
        return self.model.name

    def key(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> str:
        """Return the content hash that names the record of this question to this model."""
        return record_key(self.name, prompt, schema, manner)

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        """Answer from the record, else ask the model and record."""
        file = self.folder / f"{self.key(prompt, schema, manner)}.json"
        known = read_record(file)
        if known is not None:
            return replay(known, schema)
        start = time.perf_counter()
        record: Json = {"model": self.name, "prompt": prompt}
        if manner != PLAIN:
            record["manner"] = asdict(manner)
        try:
            reply = self.model.complete(prompt, schema, manner)
        except CallsSpent:
            raise
        except ModelError as error:
            self._write(file, {**record, "error": str(error), "seconds": time.perf_counter() - start})
            raise
        reply = replace(reply, seconds=reply.seconds or time.perf_counter() - start)
        kept = {key: value for key, value in asdict(replace(reply, parsed=None)).items() if key not in _NOT_KEPT}
        self._write(file, {**record, "reply": kept})
        return reply

    def _write(self, file: Path, record: Json) -> None:
        """Write the record in one step: a half-written file would change what a resumed run reads.

        In ASCII: a reply may hold half a surrogate pair, which UTF-8 has no bytes for.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(record, indent=1), encoding="utf-8")
            os.replace(partial, file)
        except OSError as error:
            raise StorageError(f"the model's reply cannot be kept in {file}: {error.strerror}") from error


_NOT_KEPT = {"parsed", "problem", "recorded"}


def record_key(model: str, prompt: str, schema: type[BaseModel] | None, manner: Manner = PLAIN) -> str:
    """Return the content hash that names the record of a question to the model of this name."""
    shape = None if schema is None else schema.model_json_schema()
    how = [] if manner == PLAIN else [asdict(manner)]
    content = json.dumps([model, prompt, shape, *how], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:24]


def read_record(file: Path) -> dict[str, Any] | None:
    """Read one record; None where there is none, StorageError where it is spoiled."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or not ("reply" in data or "error" in data):
            raise ValueError("it holds neither a reply nor an error")
        if "error" not in data:
            _reply_of(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"the record of a model call {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{file} is no record of a model call ({error}); delete it to ask again") from error
    return data


def replay(record: dict[str, Any], schema: type[BaseModel] | None) -> Reply:
    """Return the reply of a record, or raise the ModelError that it holds."""
    if "error" in record:
        raise ModelError(str(record["error"]))
    return structured(replace(_reply_of(record), recorded=True), schema)


def _reply_of(record: Json) -> Reply:
    """Read the reply of a record; ValueError where it has other fields than a reply, or fields of another type."""
    try:
        Reply(**record["reply"])
        return TypeAdapter(Reply).validate_python(record["reply"])
    except TypeError as error:
        raise ValueError(f"its reply has other fields than expected: {error}") from error
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ValueError(f"its reply is not as expected: {found}") from error


def structured(reply: Reply, schema: type[BaseModel] | None) -> Reply:
    """Read the text of a reply by the schema."""
    if schema is None:
        return reply
    parsed, problem = read_reply(reply.text, schema)
    return replace(reply, parsed=parsed, problem=CUT if problem and reply.cut else problem)
