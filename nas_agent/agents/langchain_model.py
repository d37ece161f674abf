"""A LangChain chat model as a search uses it: asked for structure, retried within bounds, with its costs counted."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nas_agent.agents.chat import PLAIN, Manner, Prices, Reply, structured
from nas_agent.agents.replies import LONGEST, strict_schema
from nas_agent.errors import ModelError
from nas_agent.records import Json

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage

METHODS = ("json_schema", "function_calling", "json_mode", "text")
GREETING = 10.0  # seconds in which a server must say that it is there
RETRIES = 3
LONGEST_WAIT = 60.0  # seconds; a server that asks for more is given up
# Error statuses by which servers say that they do not know a way of asking for structure.
_NOT_SUPPORTED = {400, 404, 405, 415, 422, 501}


class LangChainModel:
    """A LangChain chat model that is asked for structure in the best way it supports."""

    def __init__(
        self,
        name: str,
        chat: BaseChatModel,
        wire: list[Json],
        *,
        prices: Prices | None = None,
        retries: int = RETRIES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._name = name
        self._chat = chat
        self._wire = wire  # filled by the HTTP client with the body of each request
        self._prices = prices
        self._retries = retries
        self._sleep = sleep
        self._method = 0  # index into METHODS: what this server is known not to support is not tried again

    @property
    def name(self) -> str:
        """What the user typed."""
        return self._name

    def prepare(self) -> None:
        """Greet the server: list its models where it speaks OpenAI's protocol, else have one word said."""
        client = getattr(self._chat, "root_client", None)
        patient = None if client is None else client.with_options(timeout=GREETING, max_retries=0)
        try:
            self._chat.invoke("Say OK.") if patient is None else patient.models.list()
        # As in `_send`: SDKs share no base class. An HTTP status is a sign of life, unless it refuses the key.
        except Exception as error:
            status = getattr(error, "status_code", None)
            if patient is None or status in {None, 401, 403}:
                raise ModelError(
                    f"{self._told(error, 1, status is not None)}; check the address and the key, "
                    "or go without a model by --llm none"
                ) from error

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        """Answer a prompt; ModelError where the model cannot be reached or keeps failing."""
        chat = self._warmed(manner.temperature)
        if schema is None:
            return self._reply(self._send(chat, prompt), "text")
        while METHODS[self._method] != "text":
            method = METHODS[self._method]
            try:
                message = self._send(self._shaped(chat, schema, method), prompt)
            except _Unsupported:
                self._method += 1
                continue
            return structured(self._reply(message, method), schema)
        return structured(self._reply(self._send(chat, prompt), "text"), schema)

    def _warmed(self, temperature: float | None) -> BaseChatModel:
        """Return the client with this temperature; models that take none (their client has dropped it) keep theirs."""
        if temperature is None or getattr(self._chat, "temperature", None) in {None, temperature}:
            return self._chat
        return self._chat.model_copy(update={"temperature": temperature})

    def _shaped(self, chat: BaseChatModel, schema: type[BaseModel], method: str) -> Any:
        """Bind the schema as a plain dict, so that a reply that does not fit it still reaches us as text."""
        strict: dict[str, Any] = {} if method == "json_mode" else {"strict": True}
        for options in (strict, {}):
            try:
                shaped = chat.with_structured_output(strict_schema(schema), method=method, include_raw=True, **options)
            except (ValueError, TypeError, NotImplementedError):
                continue  # this provider has no such method, or no `strict`
            return _RawPart(shaped)
        raise _Unsupported

    def _send(self, target: Any, prompt: str) -> BaseMessage:
        """Call, with bounded retries where the failure may pass; waits as long as the server asks for."""
        from langchain_core.exceptions import LangChainException

        self._wire.clear()
        for attempt in range(self._retries + 1):
            try:
                with warnings.catch_warnings():
                    # OpenAI's client warns where a server's token counts are no numbers; we count them as 0.
                    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
                    message: BaseMessage = target.invoke(prompt)
                return message
            # A provider's SDK shares no base class with the next one, and what a server sends can break any of
            # them in any way; all of it means that there is no answer, which a search survives.
            except Exception as error:
                if type(error).__name__ == "LengthFinishReasonError":
                    return _cut(error)
                status = getattr(error, "status_code", None)
                if isinstance(target, _RawPart) and (
                    status in _NOT_SUPPORTED or isinstance(error, NotImplementedError)
                ):
                    raise _Unsupported from error
                wait = _wait(error, attempt)
                if not _may_pass(error) or attempt == self._retries or wait > LONGEST_WAIT:
                    known = isinstance(error, LangChainException) or status is not None
                    raise ModelError(self._told(error, attempt + 1, known)) from error
                self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _told(self, error: Exception, attempts: int, known: bool) -> str:
        tries = "" if attempts == 1 else f" after {attempts} attempts"
        kind = "" if known else f"{type(error).__name__}: "
        text = " ".join(str(error).split())[:300] or type(error).__name__
        return f"{self._name} gave no answer{tries}: {kind}{text}"

    def _reply(self, message: BaseMessage, method: str) -> Reply:
        usage: Any = getattr(message, "usage_metadata", None) or {}
        tokens = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
        cost = None
        if self._prices is not None:
            cost = (tokens[0] * self._prices[0] + tokens[1] * self._prices[1]) / 1e6
        sent = self._wire[-1] if self._wire else {"method": method}
        return Reply(
            # One character more than is read, so that the record of a cut reply is refused as well; and nothing
            # that UTF-8 has no bytes for, since the text is quoted in prompts and logs.
            text=_text(message)[: LONGEST + 1].encode("utf-8", "replace").decode("utf-8"),
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            cost_usd=cost,
            method=method,
            sent=dict(sent),
            prices=self._prices,
            cut=message.response_metadata.get("finish_reason") == "length",
        )


class _Unsupported(Exception):
    """The server or its client does not know this way of asking for structure."""


class _RawPart:
    """A structured runnable of which only the message is wanted: we read it ourselves.

    LangChain builds it as {"raw": model} | parser. The parser is left out where that shape is found: on long prose
    it takes time in the square of its length (94 s for 100 kB).
    """

    def __init__(self, runnable: Any) -> None:
        steps = getattr(getattr(runnable, "first", None), "steps__", None)
        self._model = steps.get("raw") if isinstance(steps, Mapping) else None
        self._runnable = runnable

    def invoke(self, prompt: str) -> BaseMessage:
        message: BaseMessage
        message = self._runnable.invoke(prompt)["raw"] if self._model is None else self._model.invoke(prompt)
        return message


def _cut(error: Any) -> BaseMessage:
    """Return the reply that OpenAI's client holds back because it was cut off: the model can be asked to be brief."""
    from langchain_core.messages import AIMessage

    completion = error.completion
    asked, said = (_count(getattr(completion.usage, f"{kind}_tokens", 0)) for kind in ("prompt", "completion"))
    return AIMessage(
        content=str(completion.choices[0].message.content or ""),
        response_metadata={"finish_reason": "length"},
        usage_metadata={"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said},
    )


def _count(tokens: Any) -> int:
    """Read what a server says of tokens; anything that is no count is 0."""
    return tokens if isinstance(tokens, int) and tokens > 0 else 0


def _text(message: BaseMessage) -> str:
    """Return what the model said: the arguments of a tool call, a refusal, or the text."""
    calls = getattr(message, "tool_calls", None)
    if calls:
        return json.dumps(calls[0]["args"])
    broken = getattr(message, "invalid_tool_calls", None)
    if broken:
        return str(broken[0].get("args") or "")
    refusal = message.additional_kwargs.get("refusal")
    return f"(refused) {refusal}" if refusal else str(message.text)


def _may_pass(error: Exception) -> bool:
    """Tell whether the same request may succeed later: 429, 5xx, a timeout or a lost connection."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return status in {408, 409, 429} or status >= 500
    if getattr(error, "is_retryable", False) or isinstance(error, (ConnectionError, TimeoutError)):
        return True
    return type(error).__name__ in {"APIConnectionError", "APITimeoutError", "ConnectError", "ReadTimeout"}


def _wait(error: Exception, attempt: int) -> float:
    """Return the seconds the server asks for in `retry-after`, else 1, 2, 4, ..."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        return float(2**attempt)
