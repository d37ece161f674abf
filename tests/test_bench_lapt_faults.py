"""`bench lapt`: what cannot be run is told before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas_agent.cli.main import app


@pytest.fixture(autouse=True)
def no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--transfer", "cifar10->darts-nb301"], "the best of the target must be known (evaluator embedded: no nb301"),
        (["--transfer", "darts-nb301->cifar10"], "the architectures of the source cannot be listed"),
        (["--transfer", "nowhere:cifar10->nb201:cifar100"], "unknown space 'nowhere'"),
        (["--transfer", "cifar10->cifar100", "--arms", ";"], "--arms: expected names of arms"),
    ],
)
def test_a_transfer_that_cannot_be_run_stops_the_command_before_the_others_have_run(
    flags: list[str], words: str
) -> None:
    first = ["--transfer", "cifar100->cifar10", "--budget", "1", "--seeds", "1", "--jobs", "1"]
    told = CliRunner().invoke(app, ["bench", "lapt", *first, *flags])
    assert told.exit_code == 2
    assert words in told.stderr
    assert told.stderr.count("\n") == 1  # nothing was done before
