"""Published benchmarks: which task was measured where, and what is said when something does not fit."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from nas_agent.config import make_config
from nas_agent.errors import ConfigError
from nas_agent.run import Search, start
from nas_agent.spaces import CategoricalSpace, Decision, load_space, space_names
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.benchmarks.registry import (
    BENCHMARKS,
    benchmark_of,
    measured_in,
    named_space,
    task_names,
    tasks_in,
)
from nas_agent.tools.evaluators.resolve import load_evaluation


class Widths(CategoricalSpace):
    name = "widths"
    decisions = (Decision("depth", ("2", "4")), Decision("width", ("16", "32")))


class Mine(NasBench201):
    """A user's variant: the same cells in a network of their own."""

    name = "mine"


@pytest.fixture
def no_tables(tmp_path, monkeypatch):
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: f"{benchmark.space}-{benchmark.file}")
def test_a_benchmark_names_a_space_that_exists_and_its_tasks_are_told_apart(benchmark):
    assert benchmark.space in space_names()
    names = [task.name for task in benchmark.tasks]
    assert names
    assert len({name.lower() for name in names}) == len(names)
    for task in benchmark.tasks:
        assert task.description
        assert benchmark_of(task.name, load_space(benchmark.space)) is not None


def test_one_task_has_one_spelling_in_all_benchmarks():
    names = [task.name for benchmark in BENCHMARKS for task in benchmark.tasks]
    assert len({name.lower() for name in names}) == len(set(names)) == len(task_names())


def test_tasks_are_known_in_any_case_and_get_their_own_spelling():
    spelled = [measured_in(name)[0][1].name for name in ("CIFAR10", "Cifar100", "imagenet16-120")]
    assert spelled == ["cifar10", "cifar100", "ImageNet16-120"]
    assert measured_in("mnist") == ()


def test_auto_is_where_the_task_was_measured_first_and_nb201_for_all_else():
    assert named_space("auto", "CIFAR100") == "nb201"
    assert {named_space("auto", task) for task in ("digits", "table:x.csv", "mine")} == {"nb201"}
    assert named_space("FILE.py:Nets", "cifar100") == "FILE.py:Nets"


def test_a_users_variant_of_a_space_is_answered_by_the_benchmark_of_that_space():
    found = benchmark_of("cifar100", Mine())
    assert found is not None
    assert found[0].title == "NAS-Bench-201"
    assert "cifar100" in tasks_in(Mine())
    assert benchmark_of("cifar100", Widths()) is None
    assert tasks_in(Widths()) == ()


def test_the_wrong_space_is_told_with_the_right_ones(no_tables):
    with pytest.raises(ConfigError, match=r"cifar10 was measured in space nb201.*, not in 'widths'; leave --space out"):
        load_evaluation("cifar10", Widths(), "auto", data=None, epochs=None)


def test_a_search_without_a_space_finds_its_own(no_tables):
    result = Search("cifar10", budget=2, evaluator="embedded").run()
    assert result.space == "nb201"


def test_the_run_folder_names_the_space_that_auto_found(no_tables, tmp_path):
    result = start(make_config({"task": "cifar10", "budget": 2, "out": tmp_path / "runs", "memory": False}))
    assert result.space == "nb201"
    config = tomllib.loads((Path(result.run) / "config.toml").read_text())
    assert config["space"] == "nb201"
    assert '"space":"nb201"' in (Path(result.run) / "events.jsonl").read_text().replace(" ", "")
