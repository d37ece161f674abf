"""Where a Hugging Face model comes from, a folder, the cache or the hub, and on which device it runs."""

from __future__ import annotations

import re
from pathlib import Path

from nas_agent.config import Config
from nas_agent.errors import ModelError

HUB_TIMEOUT = 10.0  # seconds
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def source_of(spec: str) -> str:
    """Return the folder or the repository that a spec names."""
    text = spec.removeprefix("hf:")
    expected = f"--llm {spec}: expected hf:FOLDER or hf:NAME/REPOSITORY"
    try:
        path = Path(text).expanduser()
        if text and path.is_dir():
            return str(path)
        there = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{expected}, got a path that cannot be used ({error})") from error
    if there:
        raise ModelError(f"{expected}, got a file; name the folder that holds config.json")
    if not _REPOSITORY.fullmatch(text) or text.startswith("."):
        raise ModelError(f"{expected}; there is no folder '{text}'")
    return text


def why_cache_only(spec: str, source: str, config: Config) -> str:
    """Return why only the cache is used, "" where the hub is there; ModelError where it refuses the repository.

    Asked once and first: from then on the hub's own client would try each file five times, in over a minute.
    """
    if Path(source).is_dir():
        return ""
    if config.offline:
        return "no network is asked (--offline)"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().model_info(source, revision=config.hf_revision, timeout=HUB_TIMEOUT)
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 500)
        if status < 500 and status != 429:
            raise ModelError(f"--llm {spec}: the Hugging Face hub refuses it: {line_of(error)}") from error
        return f"the Hugging Face hub is out of order ({status})"
    # The hub's HTTP library, and with it the classes of its errors, has changed with major versions.
    except Exception as error:
        return f"the Hugging Face hub cannot be reached ({line_of(error)})"
    return ""


def device_of(spec: str, wanted: str) -> str:
    """Return the torch device; ModelError where this machine has none of the kind."""
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, present in there.items() if present)
    if not there[wanted]:
        raise ModelError(f"--llm {spec}: torch sees no {wanted} device here; use --set hf_device=auto")
    return wanted


def line_of(error: BaseException) -> str:
    """Write an error on one line of a readable length."""
    return " ".join(str(error).split())[:300] or type(error).__name__
