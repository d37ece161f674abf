"""What the README and the examples show works as it stands."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas_agent.cli.main import app
from nas_agent.spaces import load_space

ROOT = Path(__file__).resolve().parent.parent


def test_the_example_of_an_own_space_finds_its_best(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "own_space.py"), run_name="__main__")
    assert "best after 15: depth=16,width=128" in capsys.readouterr().out


def test_the_example_space_can_be_named_on_the_command_line() -> None:
    assert load_space(f"{ROOT / 'examples' / 'own_space.py'}:Stack").name == "stack"


def test_the_example_of_transfer_finds_the_best_sooner_than_a_search_from_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    runpy.run_path(str(ROOT / "examples" / "transfer.py"), run_name="__main__")
    said = capsys.readouterr().out
    cold, warm = (int(number) for number in re.findall(r"at evaluation (\d+) of 20", said))
    assert warm < cold
    assert "cifar10 agrees" in said


def test_the_example_of_principles_keeps_the_sound_one_and_retires_the_wrong_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    runpy.run_path(str(ROOT / "examples" / "principles.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "active: Keep the skip connection" in said
    assert "retired: Average pooling" in said


def commands_of(document: Path) -> list[list[str]]:
    """Return the arguments of every `nas-agent` command in code, blocks and spans."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"(?m)^(?:\$ )?nas-agent (.+)$", text)
    spans = re.findall(r"`nas-agent ([^`]+)`", text)
    return [shlex.split(line.split("  #")[0]) for line in [*blocks, *spans]]


@pytest.mark.parametrize("arguments", commands_of(ROOT / "README.md"), ids=" ".join)
def test_a_command_of_the_readme_is_one_that_the_program_takes(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--help"])  # reads the command and its options, runs nothing
    assert result.exit_code == 0, result.output


def test_the_folder_tree_in_the_readme_names_what_is_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme[readme.index("nas_agent/\n") :].split("```")[0]
    shown = set(re.findall(r"^  (\w+)/", tree, flags=re.M))
    real = {path.parent.name for path in (ROOT / "nas_agent").glob("*/__init__.py")}
    assert shown == real
    files = re.findall(r"(\w+\.py)\b", tree)
    assert {path.name for path in (ROOT / "nas_agent").glob("*.py")} - {"__init__.py"} == set(files)


def test_the_links_of_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([\w./-]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
