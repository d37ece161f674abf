"""Stand-ins that tests pass in: a chat model that follows a script and keeps a diary of its prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pydantic import BaseModel

from nas_agent.agents.chat import PLAIN, Manner, Reply, structured

Scripted = str | Exception | Callable[[str], str]


class ScriptedModel:
    """Answers with the next reply of its script: a text, an exception to raise, or a function of the prompt.

    The last reply is repeated for ever, so that an oracle needs to be written once.
    """

    def __init__(self, replies: Iterable[Scripted], name: str = "scripted") -> None:
        self.name = name
        self.prompts: list[str] = []
        self.manners: list[Manner] = []
        self._replies = list(replies)

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        self.prompts.append(prompt)
        self.manners.append(manner)
        reply = self._replies[min(len(self.prompts), len(self._replies)) - 1]
        if isinstance(reply, Exception):
            raise reply
        text = reply(prompt) if callable(reply) else reply
        sizes = len(prompt) // 4, len(text) // 4
        return structured(Reply(text, input_tokens=sizes[0], output_tokens=sizes[1], method="text"), schema)


def outside_fences(prompt: str) -> list[str]:
    """Return the lines of a prompt that stand outside of ``` fences, all of which are closed."""
    outside, fence = [], ""
    for line in prompt.splitlines():
        ticks = line[: len(line) - len(line.lstrip("`"))]
        if fence:
            fence = "" if line == fence else fence
        elif len(ticks) >= 3:
            fence = ticks
        else:
            outside.append(line)
    assert fence == ""
    return outside
