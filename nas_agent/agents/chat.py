"""A language model is one method. Recording makes its replies part of the run folder, and resume exact."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from nas_agent.agents.replies import read_reply
from nas_agent.errors import ModelError, StorageError
from nas_agent.records import Json

Method = str  # json_schema, function_calling, json_mode or text: how structure was asked for


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
    recorded: bool = False  # True: read from the record, no call was made


class CallsSpent(ModelError):
    """The calls of this run are used up; the search goes on without the model."""


class ChatModel(Protocol):
    """A language model."""

    @property
    def name(self) -> str:
        """What principles and reports name it by, e.g. `openai:gpt-4o-mini`."""
        ...

    def complete(self, prompt: str, schema: type[BaseModel] | None = None) -> Reply:
        """Answer a prompt, by the schema if there is one; ModelError where no answer can be had."""
        ...


class RecordedModel:
    """Keeps every prompt with its reply in a folder, and answers a prompt it has seen from there.

    A failed call is kept as well: a resumed run must not get an answer that the first one did not get.
    `max_calls` counts what is in the folder, so it holds over a resume too.
    """

    def __init__(self, model: ChatModel, folder: Path, max_calls: int | None = None) -> None:
        self.model = model
        self.folder = folder
        self.max_calls = max_calls

    @property
    def name(self) -> str:
        """The name of the model behind."""
        return self.model.name

    @property
    def calls(self) -> int:
        """How many calls this run has made so far."""
        return sum(1 for _ in self.folder.glob("*.json"))

    def key(self, prompt: str, schema: type[BaseModel] | None = None) -> str:
        """Return the content hash that names the record of this question to this model."""
        shape = None if schema is None else schema.model_json_schema()
        content = json.dumps([self.name, prompt, shape], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:24]

    def complete(self, prompt: str, schema: type[BaseModel] | None = None) -> Reply:
        """Answer from the record, else ask the model and record; CallsSpent beyond `max_calls`."""
        file = self.folder / f"{self.key(prompt, schema)}.json"
        known = _read(file)
        if known is not None:
            return _replay(known, schema)
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise CallsSpent(f"the model's calls are spent ({self.max_calls}); raise --max-calls to allow more")
        start = time.perf_counter()
        record: Json = {"model": self.name, "prompt": prompt}
        try:
            reply = self.model.complete(prompt, schema)
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


def _read(file: Path) -> dict[str, Any] | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or not ("reply" in data or "error" in data):
            raise ValueError("it holds neither a reply nor an error")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"the record of a model call {file} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{file} is no record of a model call ({error}); delete it to ask again") from error
    return data


def _replay(record: dict[str, Any], schema: type[BaseModel] | None) -> Reply:
    if "error" in record:
        raise ModelError(str(record["error"]))
    try:
        reply = Reply(**record["reply"], recorded=True)
    except TypeError as error:
        raise StorageError(f"a record of a model call has other fields than expected: {error}") from error
    return structured(reply, schema)


def structured(reply: Reply, schema: type[BaseModel] | None) -> Reply:
    """Read the text of a reply by the schema."""
    if schema is None:
        return reply
    parsed, problem = read_reply(reply.text, schema)
    return replace(reply, parsed=parsed, problem=problem)
