"""What a sentence-transformers repository says of itself: modules.json and the files that it names."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_agent.errors import ModelError

_MODES = {"mean": "mean", "cls": "cls", "lasttoken": "last-token"}
_OLD_MODES = {"mean_tokens": "mean", "cls_token": "cls", "lasttoken": "lasttoken"}  # pooling_mode_...: true


@dataclass(frozen=True, slots=True)
class SentenceModules:
    """How a sentence model wants to be read; the defaults are for a model that says nothing."""

    pooling: str | None = None
    max_tokens: int | None = None
    normalise: bool = False
    prefix: str = ""  # put before every text
    folder: str = ""  # of the transformer, inside the repository


def read_modules(asked: str, source: str, where: dict[str, Any]) -> SentenceModules:
    """Read modules.json of a folder or repository; ModelError where it holds what is not built here."""
    listed = _json(source, "modules.json", where)
    if listed is None:
        return SentenceModules()
    try:
        kinds = {str(item["type"]).rsplit(".", 1)[-1]: str(item["path"]) for item in listed}
        if other := sorted(kinds.keys() - {"Transformer", "Pooling", "Normalize"}):
            raise ModelError(f"{asked}: its modules.json asks for {', '.join(other)}, which is not built here")
        folder = kinds.get("Transformer", "")
        config = _json(source, _join(folder, "sentence_bert_config.json"), where) or {}
        prompts = _json(source, "config_sentence_transformers.json", where) or {}
        pooling = _json(source, _join(kinds["Pooling"], "config.json"), where) if "Pooling" in kinds else None
        limit = config.get("max_seq_length")
        chosen = prompts.get("default_prompt_name")
        return SentenceModules(
            pooling=None if pooling is None else _mode(asked, pooling),
            max_tokens=None if limit is None else int(limit),
            normalise="Normalize" in kinds,
            prefix=str(prompts["prompts"][chosen]) if chosen else "",
            folder=folder,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{asked}: its modules.json or a file that it names cannot be understood ({error})") from error


def _mode(asked: str, config: dict[str, Any]) -> str:
    """Return our name of a pooling; the older form has one switch for each."""
    mode = config.get("pooling_mode")
    if mode is None:
        on = [
            key.removeprefix("pooling_mode_") for key, value in config.items() if key.startswith("pooling_") and value
        ]
        mode = _OLD_MODES.get(on[0], on[0]) if len(on) == 1 else on
    if isinstance(mode, list) and len(mode) == 1:
        mode = mode[0]
    if not isinstance(mode, str) or mode not in _MODES:
        raise ModelError(f"{asked}: its own pooling, {mode}, is not built here; choose one, e.g. --pooling mean")
    return _MODES[mode]


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _json(source: str, name: str, where: dict[str, Any]) -> Any:
    """Return the content of a file; None where there is none."""
    path = Path(source) / name
    if not Path(source).is_dir():
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            path = Path(hf_hub_download(source, name, **where))
        except EntryNotFoundError:
            return None
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
