"""What users read of a search in several fidelities: progress, reports, JSON, traces, and the flags."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from nas_agent.cli.candidate import as_document as candidate_document
from nas_agent.cli.candidate import tell
from nas_agent.cli.main import app
from nas_agent.cli.progress import Progress
from nas_agent.cli.report import end_of_run, whole_run
from nas_agent.cli.run_document import as_document
from nas_agent.cli.story import Story
from nas_agent.cli.trace import trace
from nas_agent.errors import RunFolderError
from nas_agent.run import start
from nas_agent.tools.event_log import read_events
from nas_agent.tools.run_folder import RunFolder
from tests.searching import Toy, config
from tests.test_fidelities import THREE, graded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    out = tmp_path_factory.mktemp("told")
    result = start(config(out / "runs", budget=8, seed=1), evaluation=graded())
    return RunFolder(Path(result.run or ""))


def shown(parts: list[object]) -> str:
    console = Console(file=io.StringIO(), width=100)
    for part in parts:
        console.print(part)
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_reports_say_what_was_spent_at_each_fidelity_and_what_the_best_is_of(folder: RunFolder) -> None:
    story, console = Story.read(folder), Console(file=io.StringIO(), width=100)
    for parts in (end_of_run(story, Toy(), console), whole_run(story, Toy(), console, running=False)):
        told = " ".join(shown(list(parts)).split())
        assert "of 8 full trainings" in told
        assert "1 epoch:" in told
        assert "9 epochs:" in told
        assert "0.11 of a full training" in told
        assert "the best and the curve are of the last one alone" in told
    assert story.best is not None
    assert story.best.at == THREE.full
    assert story.places[story.best.architecture.id] == story.evaluation(story.best)


def test_the_document_of_a_run_has_each_fidelity_in_numbers(folder: RunFolder) -> None:
    document = json.loads(json.dumps(as_document(Story.read(folder), running=False)))
    result = json.loads(folder.best_json.read_text())
    assert document["fidelities"] == result["fidelities"]
    assert document["spent"] == result["spent"] <= 8
    assert [rung["at"]["epochs"] for rung in document["fidelities"]] == [1, 3, 9]
    assert document["best"]["evaluation"] == result["best"]["evaluation"]
    assert document["evaluations"] == len(document["curve"]) == sum(r["evaluations"] for r in document["fidelities"])


def test_a_candidate_is_compared_with_those_of_its_own_fidelity(folder: RunFolder) -> None:
    story = Story.read(folder)
    assert story.best is not None
    first = next(o for o in story.archive if o.architecture.id == story.best.architecture.id)
    assert first.at == THREE.levels[0]
    low = candidate_document(story, first, None)
    high = candidate_document(story, story.best, None)
    assert high["rank"] == 1
    assert high["measured"] == len(story.archive.measured) < low["measured"]
    assert low["evaluation"] < high["evaluation"]
    told = shown(list(tell(story, story.best, Toy(), Console(width=100))))
    assert "measured in this run at 9 epochs" in told
    assert f"at 1 epoch (evaluation {low['evaluation']})" in " ".join(told.split())
    assert story.candidate(str(low["evaluation"])) is first
    assert story.candidate(story.best.architecture.id) is story.best


def test_progress_counts_full_trainings(folder: RunFolder) -> None:
    file = io.StringIO()
    progress = Progress(Console(file=file, width=200), live=False)
    events = read_events(folder.events)[0]
    for event in events:
        progress(event)
    told = file.getvalue()
    assert "8 full trainings" in told.splitlines()[0]
    assert "fidelities and their shares of a full training, which the budget counts: 1 epoch (0.11); 3 epochs" in told
    story = Story.read(folder)
    assert progress.spent == pytest.approx(story.archive.spent)
    assert progress.best is not None
    assert story.best is not None
    assert progress.best["value"] == story.best.value
    assert f"{story.archive.spent:.1f}/8]" in told.splitlines()[-1]
    halfway = Progress(Console(file=io.StringIO(), width=200), live=False)
    halfway.catch_up(events[: len(events) // 2])
    for event in events[len(events) // 2 :]:
        halfway(event)
    assert halfway.spent == progress.spent


def test_a_principle_is_traced_by_proposals_and_not_by_promotions(folder: RunFolder) -> None:
    events = read_events(folder.events)[0]
    names = {event["principle"]["id"] for event in events if event["type"] == "principle"}
    if not names:
        pytest.skip("this run has learned no principle")
    told = trace(events, sorted(names)[0])
    ids = [proposal["id"] for proposal in told.proposals]
    assert len(set(ids)) == len(ids)


def test_rungs_that_are_spoiled_in_the_log_are_one_clear_line(folder: RunFolder, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder.path, copy)
    lines = (copy / "events.jsonl").read_text().splitlines()
    begun = json.loads(lines[0])
    begun["fidelities"][0].pop("cost")
    (copy / "events.jsonl").write_text("\n".join([json.dumps(begun), *lines[1:]]) + "\n")
    with pytest.raises(RunFolderError, match="line 1: a 'started' event"):
        Story.read(RunFolder(copy))


def test_the_flag_is_planned_and_refused_before_anything_is_made(tmp_path: Path) -> None:
    asked = ["run", "--task", "digits", "--no-memory", "--out", str(tmp_path), "--dry-run"]
    planned = CliRunner().invoke(app, [*asked, "--fidelities", "1,2,6", "--budget", "5", "--json"])
    assert planned.exit_code == 0, planned.stderr
    document = json.loads(planned.stdout)
    assert [round(rung["cost"], 3) for rung in document["fidelities"]] == [0.167, 0.333, 1.0]
    told = CliRunner().invoke(app, [*asked, "--fidelities", "auto", "--budget", "5"])
    assert "worth 5 full trainings" in " ".join(told.stdout.split())
    assert "1 epoch, 16 channels (0.12); 3 epochs, 16 channels (0.38); 8 epochs, 16 channels (1)" in " ".join(
        told.stdout.split()
    )
    for rungs, message in (("6,2,1", "must"), ("1,9", "the last rung must be the full fidelity, 6 epochs")):
        refused = CliRunner().invoke(app, [*asked, "--fidelities", rungs, "--epochs", "6"])
        assert refused.exit_code == 2
        assert message in " ".join(refused.stderr.split())
    assert not list(tmp_path.iterdir())
