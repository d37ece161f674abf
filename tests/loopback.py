"""An OpenAI-compatible server on this machine that answers by a script and can misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Body = dict[str, Any]


@dataclass
class Said:
    """One scripted HTTP answer."""

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    message: Body = field(default_factory=dict)  # fields that replace or join those of the message
    raw: bytes | None = None  # instead of a chat completion
    cut: bool = False  # half of the body is sent, and the connection closed
    finish: str = "stop"  # the finish_reason


@dataclass
class Server:
    """What the loopback server was asked, and what it will say."""

    url: str
    script: list[Said | Callable[[Body], Said]]
    asked: list[Body] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    greeted: list[str] = field(default_factory=list)  # paths of GET requests: clients that look whether it is there
    greeting: Said = field(default_factory=lambda: Said(raw=b'{"object": "list", "data": []}'))


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server("", [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.greeted.append(self.path)
            self.answer(state.greeting)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.asked.append(body)
            state.keys.append(self.headers["authorization"])
            said = state.script[min(len(state.asked), len(state.script)) - 1]
            said = said(body) if callable(said) else said
            self.answer(said)

        def answer(self, said: Said) -> None:
            time.sleep(said.delay)
            body = payload(said) if said.raw is None else said.raw
            try:
                self.send_response(said.status)
                for name, value in {"content-type": "application/json", **said.headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) // 2] if said.cut else body)
            except OSError:
                pass  # the client gave up waiting, as it should

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/v1"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def payload(said: Said) -> bytes:
    if said.status != 200:
        return json.dumps({"error": {"message": said.text, "type": "test"}}).encode()
    message = {"role": "assistant", "content": said.text, **said.message}
    choice = {"index": 0, "message": message, "finish_reason": said.finish}
    usage = {"prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150}
    reply = {"id": "x", "object": "chat.completion", "created": 1, "model": "tiny", "choices": [choice], "usage": usage}
    return json.dumps(reply).encode()
