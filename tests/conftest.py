"""For all tests: nobody's own memory, caches, keys or tracing are touched, and one thread computes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.loopback import server as server  # a fixture for every test file
from tests.tiny_model import tiny_model as tiny_model

# Read when numpy is imported: more threads than cores make small matrices slow.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder for each test: memory, caches and the register of runs go there."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("NAS_AGENT_HOME", str(folder))
    for secret in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "LANGSMITH_API_KEY", "LANGSMITH_TRACING"):
        monkeypatch.delenv(secret, raising=False)
    return folder
