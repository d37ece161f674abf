"""From the name of a Hugging Face model to where it is: a folder or a repository, the hub or the cache, a device."""

from __future__ import annotations

import re
from pathlib import Path

from nas_agent.errors import ModelError

HUB_TIMEOUT = 10.0  # seconds
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
)
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def locate(asked: str, name: str) -> str:
    """Return the folder or the repository that is named; `asked` is the option as typed, for the error's line."""
    expected = f"{asked}: expected hf:FOLDER or hf:NAME/REPOSITORY"
    try:
        path = Path(name).expanduser()
        if name and path.is_dir():
            return str(path)
        there = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{expected}, got a path that cannot be used ({error})") from error
    if there:
        raise ModelError(f"{expected}, got a file; name the folder that holds config.json")
    if not _REPOSITORY.fullmatch(name) or name.startswith("."):
        raise ModelError(f"{expected}; there is no folder '{name}'")
    return name


def check_folder(asked: str, source: str) -> None:
    """Raise ModelError where a model's folder lacks its configuration or its tokenizer."""
    folder = Path(source)
    if not folder.is_dir():
        return
    if not (folder / "config.json").is_file():
        raise ModelError(f"{asked}: expected a model folder, got one without config.json")
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ModelError(f"{asked}: the model folder has no tokenizer; save it there as well")


def why_cache_only(asked: str, source: str, *, revision: str | None, offline: bool) -> str:
    """Return why only the cache is used, "" where the hub is there; ModelError where it refuses the repository.

    Asked once and first: from then on the hub's own client would try each file five times, in over a minute.
    """
    if Path(source).is_dir():
        return ""
    if offline:
        return "no network is asked (--offline)"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(source, revision=revision, timeout=HUB_TIMEOUT)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 500)
        if status < 500 and status != 429:
            raise ModelError(f"{asked}: the Hugging Face hub refuses it: {line(error)}") from error
        return f"the Hugging Face hub is out of order ({status})"
    # The hub's HTTP library, and with it the classes of its errors, has changed with major versions.
    except Exception as error:
        return f"the Hugging Face hub cannot be reached ({line(error)})"
    return ""


def choose_device(asked: str, wanted: str, remedy: str) -> str:
    """Return the torch device; ModelError where this machine has none of the kind, with `remedy` as what to do."""
    if wanted == "cpu":
        return wanted
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, present in there.items() if present)
    if not there[wanted]:
        raise ModelError(f"{asked}: torch sees no {wanted} device here; use {remedy}")
    return wanted


def line(error: BaseException) -> str:
    """Return what an exception says, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
