"""Where what outlives runs is kept: memory, caches, imported tables and the register of run folders."""

from __future__ import annotations

import os
from pathlib import Path

from nas_agent.errors import ConfigError


def home() -> Path:
    """Return NAS_AGENT_HOME where it is set, else the user's data folder; nothing is created."""
    chosen = os.environ.get("NAS_AGENT_HOME")
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError as error:
            raise ConfigError(
                f"NAS_AGENT_HOME={chosen}: expected a folder, got one of a user whom nobody knows; give its full path"
            ) from error
    from platformdirs import user_data_dir

    return Path(user_data_dir("nas-agent", appauthor=False))
