"""What the README and the examples show works as it stands."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from nas_agent.spaces import load_space

ROOT = Path(__file__).resolve().parent.parent


def test_the_example_of_an_own_space_finds_its_best(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / "own_space.py"), run_name="__main__")
    assert "best after 15: depth=16,width=128" in capsys.readouterr().out


def test_the_example_space_can_be_named_on_the_command_line() -> None:
    assert load_space(f"{ROOT / 'examples' / 'own_space.py'}:Stack").name == "stack"


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
