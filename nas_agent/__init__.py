"""nas-agent: LLM agents that search for neural architectures.

From Python the engine is `nas_agent.Search`; from a terminal it is `nas-agent run`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nas_agent.version import __version__

if TYPE_CHECKING:
    from nas_agent.result import Result
    from nas_agent.run import Search

# Read by langgraph when it is imported: refuse to build unknown types from a checkpoint (CVE-2026-28277).
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

__all__ = ["Result", "Search", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the engine on first use, so that `nas-agent --help` stays quick."""
    if name == "Search":
        from nas_agent.run import Search

        return Search
    if name == "Result":
        from nas_agent.result import Result

        return Result
    raise AttributeError(f"module 'nas_agent' has no attribute {name!r}")
