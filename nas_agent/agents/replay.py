"""A model that says again what another run's model said: experiments can be repeated without the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from nas_agent.agents.chat import PLAIN, Manner, Reply, read_record, record_key, replay
from nas_agent.errors import ModelError


class ReplayModel:
    """Answers from a run's `llm` folder by the content hash of the question; it never asks anybody.

    It has the name of the model that was recorded, so that authors of principles, and with them the whole run, are
    the same again. Where several models were recorded, it is called by what the user typed.
    """

    def __init__(self, spec: str, run: Path) -> None:
        self.folder = run / "llm"
        if not self.folder.is_dir():
            raise ModelError(
                f"--llm {spec}: expected a run that asked a language model, got a folder without 'llm'; "
                "`nas-agent runs` lists runs"
            )
        records = [read_record(file) or {} for file in sorted(self.folder.glob("*.json"))]
        self._names = sorted({str(record.get("model", "")) for record in records})
        if not self._names:
            raise ModelError(f"--llm {spec}: that run has no record of a model call, so there is nothing to replay")
        self._spec = spec

    @property
    def name(self) -> str:
        """The recorded model's name."""
        return self._names[0] if len(self._names) == 1 else self._spec

    def prepare(self) -> None:
        """Need nothing more: the records have been read."""

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        """Answer as then, at no cost now; ModelError where the record is of a failure, or there is none."""
        for name in self._names:
            key = record_key(name, prompt, schema, manner)
            record = read_record(self.folder / f"{key}.json")
            if record is not None:
                reply = replay(record, schema)
                return replace(reply, cost_usd=0.0, prices=(0.0, 0.0), seconds=0.0, recorded=False)
        missing = record_key(self._names[0], prompt, schema, manner)
        raise ModelError(
            f"{self._spec} has no reply to this question (record {missing} of {self._names[0]}): the runs differ in "
            f"settings, seed, prompts or version; it begins: {' '.join(prompt[:80].split())}"
        )
