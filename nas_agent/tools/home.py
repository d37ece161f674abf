"""Where what outlives runs is kept: memory, caches, imported tables and the register of run folders."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return NAS_AGENT_HOME where it is set, else the user's data folder; nothing is created."""
    chosen = os.environ.get("NAS_AGENT_HOME")
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("nas-agent", appauthor=False))
