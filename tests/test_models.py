"""The resolver, and OpenAI's real client against a server on this machine that also misbehaves."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas_agent.agents import models
from nas_agent.agents.chat import CUT, ChatModel, RecordedModel
from nas_agent.agents.langchain_model import LangChainModel
from nas_agent.agents.learner import LanguageModelLearner
from nas_agent.agents.models import prices, resolve
from nas_agent.agents.replies import LessonReply, read_reply, strict_schema
from nas_agent.errors import MissingExtra, ModelError
from nas_agent.spaces.nasbench201 import NasBench201
from tests.loopback import Body, Said, Server, payload
from tests.test_learner import CONV, answer, context

GOOD = Said(text=answer(CONV))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses between attempts; keys of the machine are kept out of the test."""
    for name in ("OPENAI_API_KEY", "NAS_AGENT_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return []


def client(server: Server, waits: list[float], *, timeout: float = 10.0, name: str = "tiny") -> LangChainModel:
    chat, wire = models._openai(name, timeout, 0.0, base_url=server.url, api_key="none", use_responses_api=False)
    return LangChainModel(f"{server.url}#{name}", chat, wire, retries=2, sleep=waits.append, prices=(1.0, 10.0))


def asked_for(body: Body) -> str:
    """How the request asks for structure."""
    if "tools" in body:
        return "function_calling"
    return {"json_schema": "json_schema", "json_object": "json_mode"}.get(
        body.get("response_format", {}).get("type", ""), "text"
    )


# -- resolving ------------------------------------------------------------------------------------------


def test_none_is_no_model() -> None:
    assert resolve("none") is None


@pytest.mark.parametrize("spec", ["", "gpt", "openai:", ":x", "None"])
def test_a_text_that_is_no_model_lists_the_forms(spec: str) -> None:
    with pytest.raises(ModelError, match=r"expected none, openai:MODEL, PROVIDER:MODEL .*http://HOST/v1#MODEL"):
        resolve(spec)


def test_an_unknown_provider_lists_the_forms(waits: list[float]) -> None:
    with pytest.raises(ModelError, match="unknown provider 'nobody'; expected none, openai:MODEL"):
        resolve("nobody:model")


@pytest.mark.parametrize(
    "spec", ["http://[::1#m", "http://#m", "http://:80#m", "http://h:70000/v1#m", "http://a\0b/v1#m", "http://a b#m"]
)
def test_an_address_that_no_server_can_have_is_refused(spec: str) -> None:
    with pytest.raises(ModelError, match=r"expected http://HOST/v1#MODEL"):
        resolve(spec)


def test_a_url_without_a_model_says_where_to_write_it() -> None:
    with pytest.raises(ModelError, match="which model"):
        resolve("http://localhost:8000/v1")


def test_a_missing_key_names_the_variable(waits: list[float]) -> None:
    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        resolve("openai:gpt-4o-mini")


def test_a_missing_provider_package_says_what_to_install(waits: list[float]) -> None:
    with pytest.raises(ModelError, match="pip install langchain-anthropic"):
        resolve("anthropic:claude-sonnet-4-5")


def test_a_missing_openai_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setitem(__import__("sys").modules, "langchain_openai", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match=r"pip install 'nas-agent\[openai\]'"):
        resolve("openai:gpt-4o-mini")


def test_prices_come_from_the_bundled_list() -> None:
    known = prices("openai", "gpt-4o-mini")
    assert known is not None
    assert 0 < known[0] < known[1] < 100
    assert prices("openai", "no-such-model") is None
    assert prices("nobody", "model") is None


def test_a_key_for_openai_is_never_sent_to_another_server(
    server: Server, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    server.script = [GOOD]
    model: ChatModel | None = resolve(f"{server.url}#tiny")
    assert model is not None
    model.complete("Hi?", LessonReply)
    monkeypatch.setenv("NAS_AGENT_API_KEY", "for-this-server")
    other = resolve(f"{server.url}#tiny")
    assert other is not None
    other.complete("Hi?")
    assert server.keys == ["Bearer none", "Bearer for-this-server"]


# -- the real client ------------------------------------------------------------------------------------


def test_a_schema_is_sent_and_the_reply_parsed_counted_and_priced(server: Server, waits: list[float]) -> None:
    server.script = [GOOD]
    reply = client(server, waits).complete("Hi?", LessonReply)
    assert isinstance(reply.parsed, LessonReply)
    assert reply.parsed.principles[0].constraint.decision == "edge_2_3"
    assert (reply.input_tokens, reply.output_tokens, reply.method) == (120, 30, "json_schema")
    assert reply.cost_usd == pytest.approx((120 * 1.0 + 30 * 10.0) / 1e6)
    body = server.asked[0]
    assert body["messages"] == [{"role": "user", "content": "Hi?"}]
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["temperature"] == 0.0
    assert reply.sent == {name: value for name, value in body.items() if name != "messages"}


def test_what_was_really_sent_shows_what_the_client_dropped(server: Server, waits: list[float]) -> None:
    server.script = [Said(text="Hello.")]
    reply = client(server, waits, name="gpt-5").complete("Hi?")
    assert reply.text == "Hello."
    assert reply.sent["model"] == "gpt-5"
    assert "temperature" not in reply.sent  # asked for as 0, and dropped in silence


@pytest.mark.parametrize("works", ["function_calling", "json_mode", "text"])
def test_structure_falls_back_to_what_the_server_knows_and_remembers_it(
    server: Server, waits: list[float], works: str
) -> None:
    def reply(body: Body) -> Said:
        if asked_for(body) != works:
            return Said(status=400, text=f"{asked_for(body)} is not supported")
        if works == "function_calling":
            function = {"name": body["tools"][0]["function"]["name"], "arguments": answer(CONV)}
            call = {"id": "1", "type": "function", "function": function}
            return Said(message={"content": None, "tool_calls": [call]})
        return Said(text=f"Sure:\n```json\n{answer(CONV)}\n```" if works == "text" else answer(CONV))

    server.script = [reply]
    model = client(server, waits)
    first = model.complete("Answer in JSON.", LessonReply)
    assert isinstance(first.parsed, LessonReply)
    assert first.method == works
    before = len(server.asked)
    assert model.complete("Answer in JSON.", LessonReply).method == works
    assert len(server.asked) == before + 1
    assert waits == []


def test_429_waits_as_long_as_the_server_asks(server: Server, waits: list[float]) -> None:
    server.script = [Said(429, "slow down", {"retry-after": "7"}), GOOD]
    assert client(server, waits).complete("Hi?", LessonReply).parsed is not None
    assert waits == [7.0]


def test_a_server_that_asks_for_an_hour_is_given_up(server: Server, waits: list[float]) -> None:
    server.script = [Said(429, "quota is used up", {"retry-after": "3600"})]
    with pytest.raises(ModelError, match=r"gave no answer: .*quota is used up"):
        client(server, waits).complete("Hi?", LessonReply)
    assert waits == []
    assert len(server.asked) == 1


def test_500_is_tried_again_within_bounds(server: Server, waits: list[float]) -> None:
    server.script = [Said(500, "oops")]
    with pytest.raises(ModelError, match=r"after 3 attempts: .*oops"):
        client(server, waits).complete("Hi?", LessonReply)
    assert waits == [1.0, 2.0]
    assert len(server.asked) == 3


def test_a_stream_that_breaks_off_is_tried_again(server: Server, waits: list[float]) -> None:
    server.script = [Said(text=GOOD.text, cut=True), GOOD]
    assert client(server, waits).complete("Hi?", LessonReply).parsed is not None
    assert waits == [1.0]


@pytest.mark.parametrize("works", ["json_schema", "json_mode"])
def test_a_reply_that_was_cut_at_the_length_limit_is_told_so(server: Server, waits: list[float], works: str) -> None:
    half = Said(text=GOOD.text[:40], finish="length")
    server.script = [lambda body: half if asked_for(body) == works else Said(400, "not supported")]
    reply = client(server, waits).complete("Hi?", LessonReply)
    assert (reply.text, reply.parsed, reply.problem, reply.cut) == (GOOD.text[:40], None, CUT, True)
    assert (reply.input_tokens, reply.output_tokens) == (120, 30)
    whole = Said(text=GOOD.text, finish="length")  # the limit was met exactly
    server.script = [lambda body: whole if asked_for(body) == works else Said(400, "not supported")]
    assert client(server, waits).complete("Hi?", LessonReply).parsed is not None


def test_a_slow_server_times_out(server: Server, waits: list[float]) -> None:
    server.script = [Said(delay=0.5, text="late")]
    with pytest.raises(ModelError, match=r"after 3 attempts: .*[Tt]imed out"):
        client(server, waits, timeout=0.1).complete("Hi?")
    assert len(waits) == 2


def test_a_slow_answer_is_followed_by_a_good_one(server: Server, waits: list[float]) -> None:
    server.script = [Said(delay=0.5, text="late"), GOOD]
    assert client(server, waits, timeout=0.2).complete("Hi?", LessonReply).parsed is not None


def test_a_server_that_is_not_there_is_a_model_error(waits: list[float]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModelError, match=r"after 3 attempts: .*[Cc]onnection"):
        client(Server(f"http://127.0.0.1:{port}/v1", []), waits).complete("Hi?")


def test_a_refused_key_is_not_tried_again(server: Server, waits: list[float]) -> None:
    server.script = [Said(401, "bad key")]
    with pytest.raises(ModelError, match="bad key"):
        client(server, waits).complete("Hi?", LessonReply)
    assert len(server.asked) == 1


@pytest.mark.parametrize("raw", [b"<html>busy</html>", b"{}", b'{"choices": []}', b'{"choices": null}', b""])
def test_an_answer_that_is_no_chat_completion_is_a_model_error(server: Server, waits: list[float], raw: bytes) -> None:
    server.script = [Said(raw=raw)]
    with pytest.raises(ModelError, match="gave no answer"):
        client(server, waits).complete("Hi?", LessonReply)


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        (Said(text="I would use convolutions."), "no JSON object"),
        (Said(text=answer(CONV)[:-15]), "JSON is broken"),
        (Said(text='{"answer": 42}'), "Field required"),
        (Said(message={"content": None, "refusal": "I cannot help with that."}), "no JSON object"),
        (Said(message={"content": None}), "no JSON object"),
    ],
    ids=["prose", "broken JSON", "wrong schema", "refusal", "empty"],
)
def test_an_answer_that_does_not_fit_is_returned_as_text_with_what_is_wrong(
    server: Server, waits: list[float], said: Said, problem: str
) -> None:
    server.script = [said]
    reply = client(server, waits).complete("Hi?", LessonReply)
    assert reply.parsed is None
    assert problem in reply.problem
    assert reply.text == (said.text or (said.message.get("refusal") and "(refused) I cannot help with that.") or "")
    assert len(server.asked) == 1


def test_a_whole_lesson_through_the_real_client_survives_a_misbehaving_server(
    server: Server, waits: list[float], tmp_path: Path
) -> None:
    server.script = [
        Said(429, "slow down", {"retry-after": "3"}),
        Said(text="Let me think about it."),
        Said(500, "oops"),
        Said(text=answer({**CONV, "options": ["conv5x5"]})),
        GOOD,
    ]
    recorded = RecordedModel(client(server, waits), tmp_path / "llm")
    lesson = LanguageModelLearner(recorded, NasBench201()).learn(context())
    assert len(lesson.drafts) == 1
    assert lesson.failures == []
    assert [bool(call.problem) for call in lesson.calls] == [True, True, False]
    assert waits == [3.0, 1.0]
    assert "conv5x5" in server.asked[-1]["messages"][0]["content"]
    asked = len(server.asked)
    again = LanguageModelLearner(recorded, NasBench201()).learn(context())
    assert (again.drafts, len(server.asked)) == (lesson.drafts, asked)
    texts = "".join(file.read_text() for file in (tmp_path / "llm").iterdir())
    assert "Bearer" not in texts
    assert "api_key" not in texts


# -- schema and parser ----------------------------------------------------------------------------------


def test_the_strict_schema_requires_every_field_and_allows_no_other() -> None:
    def objects(node: Any) -> Iterator[Body]:
        if isinstance(node, dict):
            if "properties" in node:
                yield node
            for value in node.values():
                yield from objects(value)
        elif isinstance(node, list):
            for value in node:
                yield from objects(value)

    found = list(objects(strict_schema(LessonReply)))
    assert len(found) == 4
    for node in found:
        assert node["required"] == list(node["properties"])
        assert node["additionalProperties"] is False


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": ' + "9" * 5000 + "}", "a number that is too long"),
        ("prose " * 50_000, "more than 100,000 characters"),
        ("word { [ " * 10_000, "the JSON is broken"),
    ],
    ids=["digits", "prose", "brackets"],
)
def test_a_reply_that_is_hard_to_read_is_a_problem_and_no_error(
    server: Server, waits: list[float], text: str, words: str
) -> None:
    server.script = [Said(text=text)]
    reply = client(server, waits).complete("Hi?", LessonReply)
    assert reply.parsed is None
    assert words in reply.problem
    assert len(reply.text) <= 200_001
    assert read_reply(reply.text, LessonReply) == (None, reply.problem)  # as a resumed run reads it


@pytest.mark.parametrize("half", ["\ud800", "\\ud800"], ids=["raw", "escaped"])
def test_half_a_surrogate_pair_is_recorded_and_read_again(
    server: Server, waits: list[float], tmp_path: Path, half: str
) -> None:
    server.script = [Said(text=answer(CONV, text="Convolve.").replace("Convolve", half))]
    recorded = RecordedModel(client(server, waits), tmp_path)
    first, again = (recorded.complete("Hi?", LessonReply) for _ in range(2))
    assert isinstance(first.parsed, LessonReply)
    assert first.parsed.principles[0].text == "?."
    assert (again.parsed, again.recorded) == (first.parsed, True)


@pytest.mark.parametrize("tokens", ["x", -5, None, 2.5])
def test_a_count_of_tokens_that_is_none_is_0(server: Server, waits: list[float], tokens: Any) -> None:
    body = json.loads(payload(GOOD))
    body["usage"]["prompt_tokens"] = tokens
    server.script = [Said(raw=json.dumps(body).encode())]
    reply = client(server, waits).complete("Hi?", LessonReply)
    assert (reply.input_tokens, reply.output_tokens) == (0, 30)
    assert reply.parsed is not None


def test_the_first_object_that_fits_is_the_answer() -> None:
    parsed, problem = read_reply(f'{{"note": 1}} and then {answer(CONV)}', LessonReply)
    assert parsed is not None
    assert problem == ""


def test_a_text_of_many_braces_is_read_in_bounded_time() -> None:
    assert read_reply("{" * 200_000, LessonReply)[0] is None
