"""What people see of transfer: while it runs, in reports and JSON, in a plan, and why a principle waits."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from nas_agent.cli.main import app
from nas_agent.cli.progress import Progress
from nas_agent.cli.transfer_report import announced, sources_text
from nas_agent.records import Json
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.source_story import ONLY_PREDICTED, OTHER_SPACE, read_of, told_sources
from tests.searching import Toy
from tests.test_sources import OPS, table_items, tabled, target
from tests.test_transfer_search import BEST, WORST, searched, source

READ = "the best 50 of {of} rows (table, 200 epochs), no other row read"
REFUSED = "its best architectures have no more in common than random ones: there is nothing to learn from them"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def answer(*arguments: str) -> Json:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    document: Json = json.loads(result.stdout)
    return document


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small nb201.npz in which ImageNet16-120 is noise, and one finished search from both other tasks."""
    place = tmp_path_factory.mktemp("seen")
    rng = np.random.default_rng(0)
    ops = np.unique(rng.integers(0, 5, (600, 6)), axis=0)
    good = 60.0 + 4.0 * (ops == 3).sum(axis=1) - 3.0 * (ops == 0).sum(axis=1) + rng.random(len(ops))
    values = {"val_c10_200": good + 20.0, "val_c100_200": good, "val_in16_200": rng.permutation(good)}
    np.savez(place / "nb201.npz", ops=ops, op_names=np.array(OPS), **values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_AGENT_HOME", str(place / "home"))
        patch.setenv("NAS_AGENT_DATA", str(place))
        patch.setenv("COLUMNS", "80")
        patch.chdir(place)
        yield place


SEARCH = ("--task", "cifar100", "--from", "cifar10", "--from", "ImageNet16-120", "--no-memory", "--budget", "12")


@pytest.fixture(scope="module")
def ran(folder: Path) -> Result:
    result = call("run", *SEARCH, "--json")
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def run(ran: Result) -> str:
    return str(json.loads(ran.stdout)["run"])


def test_the_start_says_what_is_read_of_each_source_and_why_one_is_refused(ran: Result) -> None:
    of = json.loads(ran.stdout)["sources"][0]["of"]
    lines = ran.stderr.splitlines()
    assert f"transfers from cifar10: {READ.format(of=of)}" in lines
    assert f"no transfer from ImageNet16-120: {READ.format(of=of)}; refused: {REFUSED}" in lines
    assert any(line.startswith("recalled 10 architectures and ") for line in lines)


def test_both_documents_tell_what_became_of_each_source(ran: Result, run: str) -> None:
    end, shown = json.loads(ran.stdout), answer("show", run)
    assert end["sources"] == shown["sources"]
    used, refused = shown["sources"]
    assert (used["name"], used["rows"], used["refused"], used["unused"], used["dropped"]) == (
        "cifar10",
        50,
        "",
        "",
        None,
    )
    assert 0.0 < used["agreement"] <= 1.0
    assert (refused["name"], refused["refused"], refused["agreement"]) == ("ImageNet16-120", REFUSED, None)
    assert {item["kind"] for item in shown["recalled"]} == {"architecture", "principle"}
    assert json.loads((Path(end["run"]) / "best.json").read_text())["sources"] == end["sources"]


@pytest.mark.parametrize("columns", [80, 120])
def test_the_report_fits_the_terminal_and_tells_sources_principles_and_why_they_wait(
    run: str, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = call("show", run).stdout
    told = [line for line in shown.splitlines() if not line.startswith(("|", "  nas-agent", "  /"))]
    assert max(map(len, told)) <= columns
    text = flat(shown)
    agreement = answer("show", run)["sources"][0]["agreement"]
    assert f"rows, no other row read; agreement {agreement:.2f} of at most 1" in text
    assert f"no other row read; refused: {REFUSED}" in text
    assert "waits: the surrogate knows the outcomes behind it" in text
    assert "of the best 50 of cifar10 obey, " in text
    assert "this is its rank" not in text  # rows are not listed one by one


def test_a_principle_that_stands_is_not_said_to_wait(run: str) -> None:
    listed = answer("principles", "list", run)["principles"]
    waiting = [p for p in listed if p["status"] == "candidate" and p["author"].startswith("statistics (best 50 of ")]
    assert waiting
    assert call("principles", "list", run).stdout.count("waits: ") == len(waiting)


def test_a_candidate_says_which_source_it_is_from(run: str) -> None:
    first = answer("show", run, "1")
    assert first["author"] == "best of cifar10"
    taken = first["taken_from"]
    assert (taken["name"], taken["rank"], taken["provenance"]) == ("cifar10", 1, "measured")
    assert taken["value"] == pytest.approx(first["outcome"]["value"] + 20.0)  # its value there, not the one here
    text = flat(call("show", run, "1").stdout)
    assert f"as one of the best of cifar10: rank 1 of {taken['of']} there ({taken['value']:.2f} %, measured)" in text
    later = answer("show", run, "12")
    assert later["taken_from"] is None
    assert f"by {later['author']}" in flat(call("show", run, "12").stdout)


def test_a_plan_says_what_would_be_read_and_makes_nothing(folder: Path) -> None:
    runs = sorted((folder / "runs").glob("*")) if (folder / "runs").exists() else []
    planned = answer("run", *SEARCH, "--dry-run")
    assert [(each["name"], each["rows"], each["refused"]) for each in planned["sources"]] == [
        ("cifar10", 50, ""),
        ("ImageNet16-120", 50, REFUSED),
    ]
    assert planned["memory"] is None
    text = flat(call("run", *SEARCH, "--dry-run").stdout)
    assert "transfers from cifar10: the best 50 of " in text
    assert "refused: its best" in text
    assert "the best few of the sources before the surrogate is asked" in text
    assert (sorted((folder / "runs").glob("*")) if (folder / "runs").exists() else []) == runs
    both = flat(call("run", "--task", "cifar100", "--from", "cifar10", "--from", "memory", "--dry-run").stdout)
    assert "nothing from memory: it is empty, no run has finished yet" in both


# -- while it runs ---------------------------------------------------------------------------------------------

STARTED: Json = {
    "type": "started",
    "task": {"name": "t", "description": "", "metric": "m", "unit": "%", "maximise": True},
    "space": "toy", "space_name": "toy", "budget": 40, "evaluator": "table", "provenance": "measured",
    "fidelity": "as listed", "note": "a note",
}  # fmt: skip


def recalled(*items: Json, problem: str = "") -> Json:
    return {"type": "recalled", "items": list(items), "dropped": 0, "problem": problem}


def judged(agreement: dict[str, float], dropped: list[str], evaluations: int) -> Json:
    why = "agreed less than 0.1 with the outcomes of this task" if dropped else ""
    return {"type": "sources", "agreement": agreement, "dropped": dropped, "why": why, "evaluations": evaluations}


EVENTS = [
    STARTED,
    recalled(source("good", BEST[:50]), source("bad", WORST[:50]), source("noise", BEST[:5], refused="it is noise")),
    judged({"good": 0.5, "bad": 0.3}, [], 3),
    judged({"good": 0.75}, ["bad"], 12),
]


def test_a_source_that_is_dropped_is_told_when_it_is_and_why() -> None:
    file = io.StringIO()
    progress = Progress(Console(file=file, width=80), live=False)
    for event in EVENTS:
        progress(event)
    assert file.getvalue().splitlines()[2:] == [
        "transfers from good",
        "transfers from bad",
        "no transfer from noise; refused: it is noise",
        "no longer transfers from bad: after 12 evaluations it agreed less than 0.1 with the outcomes of this task",
    ]
    file.truncate(0)
    file.seek(0)
    Console(file=file, width=80, force_terminal=True, color_system=None).print(progress.panel())
    assert "good agrees 0.75, bad dropped, noise refused" in file.getvalue()


def test_a_memory_that_could_not_be_read_is_told() -> None:
    file = io.StringIO()
    progress = Progress(Console(file=file, width=80), live=False)
    for event in (STARTED, recalled(problem="the store is broken")):
        progress(event)
    assert file.getvalue().splitlines()[2:] == ["nothing was recalled: the store is broken"]


def test_the_story_of_sources_has_the_last_agreement_and_when_one_was_dropped() -> None:
    good, bad, noise = told_sources(EVENTS)
    assert (good["agreement"], good["dropped"]) == (0.75, None)
    why = "agreed less than 0.1 with the outcomes of this task"
    assert bad["dropped"] == {"evaluations": 12, "why": why}
    assert (noise["refused"], noise["agreement"]) == ("it is noise", None)
    text = str(sources_text([good, bad, noise]))
    assert text.splitlines() == [
        "good: the best 50 of 50 rows, no other row read; agreement 0.75 of at most 1",
        f"bad: the best 50 of 50 rows, no other row read; dropped after 12 evaluations: it {why}",
        "noise: the best 5 of 5 rows, no other row read; refused: it is noise",
    ]


def test_a_search_that_drops_a_source_says_so_in_its_result() -> None:
    events = searched(source("good", BEST[::20]), source("bad", WORST[::20]), budget=40, initial=8)
    good, bad = told_sources(events)
    assert good["agreement"] > 0.7
    assert 8 <= bad["dropped"]["evaluations"] < 40
    assert told_sources(searched()) == []


# -- what cannot be used ---------------------------------------------------------------------------------------


def test_a_source_whose_rows_mean_nothing_here_says_why() -> None:
    guessed = source("guessed", BEST[:50], provenance="predicted")
    assert read_of(guessed, "toy", "measured")["unused"] == ONLY_PREDICTED
    assert read_of(guessed, "toy", "predicted")["unused"] == ""
    elsewhere = read_of(source("one", BEST[:50]), "another", "measured")
    assert announced(elsewhere) == f"transfers from one; {OTHER_SPACE}"
    assert OTHER_SPACE in str(sources_text([elsewhere]))


def test_a_source_of_another_space_is_told_and_begins_no_search() -> None:
    class Elsewhere(Toy):
        name = "elsewhere"

    found, _ = tabled(Elsewhere())
    items = table_items(found, Elsewhere(), target())
    told, cold = searched(*items), searched()
    assert [(each["name"], each["rows"]) for each in told_sources(told)] == [("elsewhere:other-toy", 50)]
    assert [e for e in told if e["type"] != "recalled"] == [e for e in cold if e["type"] != "recalled"]


def test_a_spoiled_sources_event_is_one_line(run: str, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "copy")
    copy.path.mkdir()
    for name in ("run.json", "config.toml"):
        (copy.path / name).write_text((Path(run) / name).read_text())
    events: list[dict[str, Any]] = [json.loads(line) for line in (Path(run) / "events.jsonl").read_text().splitlines()]
    next(event for event in events if event["type"] == "sources")["agreement"] = {"nobody": 0.5}
    copy.events.write_text("".join(json.dumps(event) + "\n" for event in events))
    result = call("show", str(copy.path))
    assert result.exit_code == 2
    assert "a 'sources' event lacks or misuses 'nobody'" in result.stderr
