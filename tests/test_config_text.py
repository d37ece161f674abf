"""The settings of a run as text."""

from __future__ import annotations

import tomllib

import pytest

from nas_agent.config import make_config, to_toml


@pytest.mark.parametrize("name", ["a\nb", 'a"b', "a\\b", "a\tb", "\x1b[0m", "a\x7fb", "é"])
def test_any_name_of_a_file_is_read_again_as_it_was_written(name: str) -> None:
    assert tomllib.loads(to_toml(make_config({"task": f"table:{name}.csv"})))["task"] == f"table:{name}.csv"
