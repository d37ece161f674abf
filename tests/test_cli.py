"""The command line, as its users meet it: answers on stdout, one-line errors, exit codes, and how to go on."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from nas_agent.cli.main import app
from nas_agent.cli.progress import Progress
from nas_agent.tools.benchmarks.registry import BENCHMARKS

Json = dict[str, Any]

SPACE = """
from nas_agent.spaces import CategoricalSpace, Decision

class Nets(CategoricalSpace):
    name = "nets"
    decisions = tuple(Decision(name, ("a", "b", "c", "d")) for name in ("depth", "width", "act", "norm", "pool"))
"""
LETTERS = "abcd"
DESIGN_KEYS = {"run", "task", "space", "evaluator", "evaluations", "best", "curve", "principles", "llm", "seconds"}


def table() -> str:
    """All 1,024 points; `depth=d` and `width=d` are good, the others matter little."""
    lines = ["architecture,val,test"]
    for code in range(4**5):
        digits = [code // 4**place % 4 for place in range(5)]
        names = zip(("depth", "width", "act", "norm", "pool"), digits, strict=True)
        text = ",".join(f"{name}={LETTERS[digit]}" for name, digit in names)
        value = 40 + 8 * digits[0] + 5 * digits[1] + digits[2] * digits[3] / 3 + digits[4] / 10 + code % 7 / 100
        lines.append(f'"{text}",{value:.4f},{value - 1:.4f}')
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Place:
    """Where the runs of this file live."""

    folder: Path
    run: Path  # a finished run of 40 evaluations

    @property
    def task(self) -> list[str]:
        """The flags of a small search without memory, which would load a language model."""
        return [
            "--task", f"table:{self.folder / 'nets.csv'}", "--space", f"{self.folder / 'nets.py'}:Nets",
            "--out", str(self.folder / "runs"), "--no-memory",
        ]  # fmt: skip


def call(*args: str) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def answer(*args: str) -> Json:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.stderr
    document: Json = json.loads(result.stdout)
    return document


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_AGENT_HOME", str(folder / "home"))
        for name in ("NAS_AGENT_DATA", "OPENAI_API_KEY", "LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
            patch.delenv(name, raising=False)
        patch.setenv("COLUMNS", "80")
        patch.chdir(folder)
        (folder / "nets.csv").write_text(table())
        (folder / "nets.py").write_text(SPACE)
        here = Place(folder, folder)
        document = answer("run", *here.task, "--budget", "40", "--set", "adapt_every=5")
        yield Place(folder, Path(document["run"]))


# -- help and start-up ----------------------------------------------------------------------------------


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom nas_agent.cli.main import app\n"
        "try:\n    app(['run', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'langgraph', 'langchain', 'chromadb', 'pandas', 'sklearn', 'numpy', 'nas_agent.config'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--budget" in done.stdout


COMMANDS = (
    "run, resume, runs, runs rm, show, principles list, principles show, principles trace, "
    "principles diff, principles export, principles import, principles review, memory stats, "
    "memory search, memory rebuild, memory forget, data status, data import, models list, models test, "
    "models probe, bench, bench lapt, surrogate eval, surrogate cache stats, surrogate cache clear, doctor"
)


@pytest.mark.parametrize("command", COMMANDS.split(", "))
def test_every_command_has_help_and_takes_json(command: str) -> None:
    result = call(*command.split(), "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout


def test_the_defaults_that_help_states_are_those_of_the_settings() -> None:
    from nas_agent.config import Config

    words = " ".join(call("run", "--help").stdout.split())
    config = Config()
    stated = {"budget": r"default (\d+)\)", "seed": r"choice \(default (\d+)\)", "task": r"(\w+) \(the default\)"}
    for name, pattern in stated.items():
        found = re.search(rf"--{name} .*?{pattern}", words)
        assert found is not None, name
        assert found.group(1) == str(getattr(config, name))
    for name in ("generator", "surrogate", "evaluator", "llm", "space"):
        found = re.search(rf"--{name} <\w+> (\w+) \(the default\)|--{name} \w+ (\w+) \(the default\)", words)
        assert found is not None, name
        assert getattr(config, name) in found.groups()


def test_the_version_is_that_of_the_package() -> None:
    import nas_agent

    assert call("--version").stdout == f"nas-agent {nas_agent.__version__}\n"


# -- run and resume ---------------------------------------------------------------------------------------


def test_run_prints_one_document_with_the_keys_of_the_design(place: Place) -> None:
    result = call("run", *place.task, "--budget", "6", "--json")
    document = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert DESIGN_KEYS <= set(document) <= DESIGN_KEYS | {"why"}
    assert {"id", "arch", "val", "test", "evaluation"} <= set(document["best"])
    assert set(document["principles"]) == {"active", "retired"}
    assert set(document["llm"]) == {"calls", "input_tokens", "output_tokens", "cost_usd", "seconds", "roles"}
    assert document["evaluations"] == len(document["curve"]) == 6
    assert document["curve"] == sorted(document["curve"])
    assert document["best"]["val"] == document["curve"][-1]
    assert document["best"]["test"] == pytest.approx(document["best"]["val"] - 1)
    assert "[6/6]" in result.stderr  # progress has its own stream


def test_the_report_shows_the_winner_its_values_where_it_lies_and_commands_that_work(place: Place) -> None:
    result = call("run", *place.task, "--budget", "12", "--set", "adapt_every=4")
    assert result.exit_code == 0
    run = Path(answer("runs")["runs"][-1]["run"])
    shown = answer("show", str(run))
    assert f"{shown['best']['val']:.2f} %  measured" in result.stdout
    assert f"{shown['best']['test']:.2f} %" in result.stdout
    assert shown["best"]["arch"] in result.stdout.splitlines()  # on a line of its own, to be copied
    assert str(run.relative_to(place.folder)) in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines() if line.strip() != shown["best"]["arch"])
    commands = re.findall(r"^  nas-agent (.*)$", result.stdout, re.M)
    assert len(commands) >= 1
    for command in commands:
        assert call(*command.split()).exit_code == 0, command


def test_resume_of_a_finished_run_prints_its_result(place: Place) -> None:
    first = json.loads((place.run / "best.json").read_text())
    again = answer("resume", str(place.run))
    assert {k: v for k, v in again.items() if k != "seconds"} == {k: v for k, v in first.items() if k != "seconds"}


def test_flags_win_over_set_which_wins_over_the_file(place: Place) -> None:
    file = place.folder / "search.toml"
    file.write_text('task = "nothing"\nbudget = 3\nseed = 1\ninitial = 2\n')
    planned = answer("run", *place.task, "--config", str(file), "--set", "budget=4", "--set", "initial=3", "--dry-run")
    assert planned["evaluations"] == 4
    assert planned["initial"] == 3
    assert planned["task"] == "table:nets.csv"
    assert answer("run", *place.task, "--set", "budget=4", "--budget", "5", "--dry-run")["evaluations"] == 5


def test_the_task_is_cifar100_unless_another_is_named(place: Place) -> None:
    planned = answer("run", "--dry-run")
    assert (planned["task"], planned["evaluator"], planned["provenance"]) == ("cifar100", "embedded", "predicted")


def test_memory_that_is_asked_by_name_and_has_nothing_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))
    task = [*place.task[:4], "--out", str(tmp_path / "runs"), "--set", "memory=false"]  # read, and left as it was
    run = ("run", *task, "--from", "memory", "--budget", "2")
    assert "nothing from memory: it is empty, no run has finished yet" in call(*run, "--dry-run").stdout
    result = call(*run)
    assert result.exit_code == 0, result.output
    cold = "memory holds no run that this task could learn from; the search starts cold"
    assert f"nothing was recalled: {cold}" in result.stderr
    assert f"recalled nothing: {cold}" in " ".join(result.stdout.split())
    folder = next((tmp_path / "runs").iterdir())
    assert answer("show", str(folder))["recall_problem"] == cold
    store = tmp_path / "home" / "memory" / f"chroma-{1:020d}"
    store.mkdir(parents=True)
    (store / "chroma.sqlite3").write_text("no database")
    planned = answer(*run, "--dry-run")
    assert "memory rebuild" in planned["memory_problem"]
    assert "recall_problem" in answer("show", str(place.run))
    assert answer("run", *place.task, "--dry-run")["memory_problem"] == ""  # asked as always: no reason to look


def test_a_report_in_a_narrow_terminal_cuts_nothing_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = call("show", str(place.run)).stdout.splitlines()
    listed = lines[lines.index("Best architectures") : lines.index("Files")]
    assert max(map(len, listed)) <= 40
    assert not [line for line in listed if 0 < len(line.strip()) < 3]  # no columns of single letters
    assert " ".join(" ".join(listed).split()).count("evaluation ") == 10
    files = lines[lines.index("Files") + 2 : lines.index("Next")]
    assert all(line.startswith("    ") for line in files if line)


def test_a_dry_run_writes_nothing_and_shows_the_first_prompt(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(place.folder.rglob("*"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-shown")
    planned = answer(
        "run", *place.task, "--llm", "openai:gpt-4o-mini", "--budget", "31", "--max-calls", "2", "--dry-run"
    )
    assert sorted(place.folder.rglob("*")) == before
    assert planned["llm"]["calls"] == 2
    assert planned["llm"]["cost_usd"] > 0
    assert '"depth"' in planned["llm"]["first_prompt"]
    told = call("run", *place.task, "--llm", "openai:gpt-4o-mini", "--dry-run").stdout
    assert "depth" in told
    assert "sk-not-to-be-shown" not in told + json.dumps(planned)


def test_a_dry_run_counts_the_calls_for_proposals_and_shows_the_anonymised_prompt(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-shown")
    run = ("run", *place.task, "--llm", "openai:gpt-4o-mini", "--budget", "41", "--dry-run")
    lessons = answer(*run)["llm"]["calls"]
    planned = answer(*run, "--generator", "llm", "--anonymise")
    assert planned["llm"]["calls"] == lessons + 5
    assert "depth" not in planned["llm"]["first_prompt"].split("## How to answer")[0]
    assert '"d1"' in planned["llm"]["first_prompt"]
    alone = answer(*run, "--generator", "llm", "--no-principles")
    assert alone["llm"]["calls"] == 5


def test_paths_of_a_run_hold_from_another_folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    document = answer(
        "run", "--task", "table:nets.csv", "--space", "nets.py:Nets", "--budget", "4", "--no-memory", "--out", "runs"
    )
    (place.folder / "elsewhere").mkdir()
    monkeypatch.chdir(place.folder / "elsewhere")
    assert answer("resume", document["run"])["best"] == document["best"]
    assert answer("show", document["run"], "best")["id"] == document["best"]["id"]


def test_a_predicted_value_is_never_shown_as_measured(place: Place) -> None:
    result = call("run", "--task", "cifar10", "--budget", "3", "--no-memory", "--out", str(place.folder / "predicted"))
    assert result.exit_code == 0, result.stderr
    values = [line for line in result.stdout.splitlines() if re.match(r"validation|test", line)]
    assert len(values) == 2
    assert all("predicted" in line for line in values)
    assert "(predicted, " in result.stderr


# -- interruption -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_with_130_and_the_command_that_goes_on(place: Place, number: signal.Signals) -> None:
    program = [sys.executable, "-m", "nas_agent.cli.main", "run", *place.task, "--budget", "120", "--json"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("[ 10/120]"):
                process.send_signal(number)
                break
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("nas-agent resume ")
    run = last.removeprefix("nas-agent resume ")
    spent = answer("show", run)
    assert spent["status"] == "stopped"
    assert 10 <= spent["evaluations"] < 120
    assert spent["resume"] == last
    ended = answer("resume", run)
    assert ended["evaluations"] == 120
    events = [json.loads(line) for line in (place.folder / run / "events.jsonl").read_text().splitlines()]
    measured = [event["outcome"]["architecture"]["id"] for event in events if event["type"] == "outcome"]
    assert len(measured) == len(set(measured)) == ended["evaluations"]


def test_a_reader_that_goes_away_is_no_error(place: Place) -> None:
    program = [sys.executable, "-m", "nas_agent.cli.main", "show", str(place.run)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `| head -0` does
        errors = process.stderr.read()
        process.wait(timeout=60)
    assert (process.returncode, errors) == (0, "")


# -- mistakes -----------------------------------------------------------------------------------------------

MISTAKES = [
    ("run --task nope", "unknown task 'nope'; choose from cifar10, cifar100"),
    ("run --space nope", "unknown space 'nope'; choose from nb201"),
    ("run --space missing.py:Nets", "there is no file {folder}/missing.py"),
    ("run --space {folder}/nets.py:Other", "has no class 'Other'"),
    ("run --task table:missing.csv", "there is no such file"),
    ("run --task cifar100 --space {folder}/nets.py:Nets", "cifar100 was measured in space nb201"),
    ("run --task digits --evaluator table", "--evaluator table"),
    ("run --data {folder}/nowhere", "--data"),
    ("run --evaluator table", "no nb201.npz in"),
    ("run --epochs 12", "--epochs 12"),
    ("run --budget 0", "budget"),
    ("run --budget many", "got 'many'; see nas-agent run --help"),
    ("run --surrogate magic", "got 'magic'"),
    ("run --recall some", "got 'some'"),
    ("run --set initial", "expected KEY=VALUE"),
    ("run --set nonsense=1", "nonsense"),
    ("run --config missing.toml", "--config missing.toml: cannot be read"),
    ("run --config {folder}/nets.py", "expected TOML"),
    ("run --llm openai:gpt-4o-mini", "set OPENAI_API_KEY"),
    ("run --llm what", "expected none, openai:MODEL"),
    ("run --generator llm", "--generator llm needs a language model"),
    ("run --generator llm --dry-run", "--generator llm needs a language model"),
    ("run --generator magic", "got 'magic'"),
    ("models probe", "--llm"),
    ("models probe --llm none", "there is nobody to ask"),
    ("run --out {folder}/nets.csv --no-memory --evaluator embedded", "--out"),
    ("run --nope", "--nope"),
    ("walk", "No such command 'walk'"),
    ("principles walk", "No such command 'walk'"),
    ("show", "RUN"),
    ("show nothing", "there is no run 'nothing'"),
    ("show {run} zzz", "has no candidate 'zzz'"),
    ("show {run} 99", "an evaluation from 1 to 40"),
    ("resume nothing", "there is no run 'nothing'"),
    ("resume {folder}", "is no run folder"),
    ("principles list nothing", "there is no run 'nothing'"),
    ("principles show P99 --run {run}", "there is no principle 'P99'"),
    ("principles trace P99 --run {run}", "there is no principle 'P99' in this run; it has P1"),
    ("principles show P1@99 --run {run}", "principle P1 has no version '99'"),
    ("principles trace P1@99 --run {run}", "principle P1 has no version '99'"),
    ("show {long}", "expected a run folder or the name of a run"),
    ("runs rm {run}", "add --yes"),
    ("runs rm nothing --yes", "there is no run 'nothing'"),
    ("memory forget", "exactly one"),
    ("memory forget --run nope", "memory knows no run 'nope'"),
    ("memory forget --task nope", "memory knows no task 'nope'"),
    ("run --dry-run --evaluator embedded --from nope", "--from nope: expected a task that was measured, a run folder"),
    ("run --dry-run --evaluator embedded --from cifar100", "--from cifar100: this is the task itself"),
    ("run --dry-run --evaluator embedded --from nb202:cifar10", "--from nb202:cifar10: expected a task"),
    ("run --dry-run --evaluator embedded --from {long}", "File name too long"),
    ("run --dry-run --evaluator embedded --from memory --recall none", "memory is switched off"),
    ("run --dry-run --evaluator embedded --set source_rows=51", "source_rows"),
    ("run --dry-run --evaluator embedded --llm http://[::1#m", "cannot be read"),
    ("data import missing.pth", "missing.pth"),
    ("data status --data {folder}/nowhere", "there is no such folder"),
    ("bench --methods nope", "expected some of agent"),
    ("bench --seeds 0", "--seeds"),
    ("bench --methods random --encoding path", "of the method bananas, got random"),
    ("bench --methods bananas --encoding paths", "expected some of path, cole, structure, joint"),
    ("bench --methods bananas --predictor gp", "--predictor goes with --encoding"),
    ("bench --methods bananas --encoding path --predictor svm", "expected one of mlp, gp, paper"),
    ("bench --methods random --set initial=5", "--set is of the methods agent"),
    ("bench --methods agent --set budget=5", "use --budget"),
    ("bench --methods agent --set nope=5", "nope"),
    ("bench --methods random --plot {folder}/nowhere/x.png", "there is no folder"),
    ("bench --methods random --plot {folder}", "expected a file, got a folder"),
    ("bench --methods random --markdown {folder}", "expected a file, got a folder"),
    ("bench --methods random --task nope --seeds 1", "unknown task 'nope'"),
]


@pytest.mark.parametrize(("command", "expected"), MISTAKES, ids=[command for command, _ in MISTAKES])
@pytest.mark.parametrize("as_json", [False, True], ids=["", "json"])
def test_a_mistake_is_one_line_on_stderr_and_exit_2(place: Place, command: str, expected: str, as_json: bool) -> None:
    args = command.format(folder=place.folder, run=place.run, long="x" * 5000).split()
    result = call(*args, *(["--json"] if as_json and args[0] != "walk" and args[1:] != ["walk"] else []))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert expected.format(folder=place.folder) in lines[0]


@pytest.mark.parametrize(
    ("name", "expected"), [("", "expected a run, got ''"), ("a\0b", "no run")], ids=["empty", "NUL"]
)
def test_a_name_that_no_run_can_have_is_refused_and_never_this_folder(place: Place, name: str, expected: str) -> None:
    result = call("runs", "rm", name, "--yes")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert expected in result.stderr
    assert place.run.is_dir()


def test_a_home_of_an_unknown_user_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_AGENT_HOME", "~nobody-of-this-name/x")
    result = call("runs")
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "NAS_AGENT_HOME=~nobody-of-this-name/x" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [["--help"], ["show"], ["show", "--json"]], ids=" ".join)
def test_a_full_output_is_one_line_and_exit_2(place: Place, command: list[str]) -> None:
    args = [*command[:1], *([str(place.run)] if command[0] == "show" else []), *command[1:]]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "nas_agent.cli.main", *args],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "the output cannot be written" in done.stderr


def test_a_closed_output_and_one_of_ascii_are_no_errors(place: Place) -> None:
    program = [sys.executable, "-m", "nas_agent.cli.main", "show", str(place.run)]
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *program], stderr=subprocess.PIPE, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(program, capture_output=True, text=True, check=False, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


def test_a_number_that_json_lacks_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    from nas_agent.cli import output

    output.document({"a": [float("nan"), 1.5], "ü": float("inf")})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"a": [None, 1.5], "ü": None}


def test_a_bug_is_no_mistake_of_the_user_and_keeps_its_traceback(place: Place) -> None:
    space = SPACE + "\n    def choices(self, architecture):\n        raise ZeroDivisionError('a bug')\n"
    (place.folder / "buggy.py").write_text(space)
    result = call("run", *place.task, "--space", str(place.folder / "buggy.py:Nets"))
    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.fixture
def copy(place: Place, tmp_path: Path) -> Path:
    """A copy of the finished run, to be spoiled."""
    folder = tmp_path / place.run.name
    shutil.copytree(place.run, folder)
    return folder


def change_first(events: Path, kind: str, change: Callable[[Json], object]) -> None:
    """Change the first event of a kind."""
    log = [json.loads(line) for line in events.read_text().splitlines()]
    change(next(event for event in log if event["type"] == kind))
    events.write_text("".join(json.dumps(event) + "\n" for event in log))


def spoil(folder: Path, fault: str) -> str:
    """Spoil a run folder; return what the error must say."""
    events = folder / "events.jsonl"
    match fault:
        case "half-written":
            (folder / "run.json").unlink()
            return "cut off while it was made"
        case "newer":
            about = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps(about | {"format": 99, "version": "9.0"}))
            return "upgrade nas-agent"
        case "broken line":
            lines = events.read_text().splitlines(keepends=True)
            events.write_text("".join([*lines[:3], "{oops\n", *lines[3:]]))
            return "line 4: expected one JSON event"
        case "wrong event":
            lines = events.read_text().splitlines(keepends=True)
            events.write_text("".join([*lines[:2], '{"type":"outcome","evaluation":1}\n', *lines[2:]]))
            return "line 3: a 'outcome' event lacks"
        case "no settings":
            (folder / "config.toml").unlink()
            return f"{folder}: its settings cannot be used"
        case "task without metric":
            change_first(events, "started", lambda event: event["task"].pop("metric"))
            return "line 1: a 'started' event lacks or misuses 'metric'"
        case "null outcome":
            change_first(events, "outcome", lambda event: event.update(outcome=None))
            return "a 'outcome' event lacks or misuses"
        case "no wall":
            change_first(events, "proposal", lambda event: event.pop("wall"))
            return "a 'proposal' event lacks or misuses 'wall'"
        case "value of text":
            change_first(events, "outcome", lambda event: event["outcome"].update(value="x"))
            return "line 4: a 'outcome' event lacks or misuses"
    (folder / "config.toml").write_text("budget = 'many'\n")
    return "budget"


FAULTS = ["half-written", "newer", "broken line", "wrong event", "settings", "no settings"]
EVENT_FAULTS = ["task without metric", "null outcome", "no wall", "value of text"]


@pytest.mark.parametrize("fault", FAULTS + EVENT_FAULTS)
@pytest.mark.parametrize("command", ["show", "principles list", "resume"])
def test_a_spoiled_run_folder_is_one_line_and_exit_2(copy: Path, fault: str, command: str) -> None:
    expected = spoil(copy, fault)
    result = call(*command.split(), str(copy))
    assert result.exit_code == 2, result.output
    assert len(result.stderr.splitlines()) == 1
    assert expected in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("fault", FAULTS[1:] + EVENT_FAULTS)
def test_one_spoiled_run_is_listed_as_broken_beside_the_others(
    place: Place, copy: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copy.parent / "home"
    home.mkdir()
    (home / "runs.txt").write_bytes(f"{place.run}\n".encode() + b"\xff\xfe\n" + b"y" * 5000 + f"\n{copy}\n".encode())
    monkeypatch.setenv("NAS_AGENT_HOME", str(home))
    expected = spoil(copy, fault)
    whole, broken = answer("runs")["runs"]
    assert whole["status"] == "finished"
    assert broken["status"] == "broken"
    assert expected in broken["problem"]


def test_a_run_that_cannot_be_locked_is_one_line_for_resume_and_stopped_for_show(copy: Path) -> None:
    cut(copy, 20)
    (copy / ".lock").unlink(missing_ok=True)
    (copy / ".lock").mkdir()  # as good as one without permission, and it holds for root too
    refused = call("resume", str(copy))
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert "cannot be locked" in refused.stderr
    assert answer("show", str(copy))["status"] == "stopped"


def test_a_run_that_another_process_holds_is_refused_and_shown_as_running(copy: Path) -> None:
    from nas_agent.tools.run_folder import RunFolder

    cut(copy, 20)
    with RunFolder(copy).locked():
        refused = call("resume", str(copy))
        assert answer("show", str(copy))["status"] == "running"
    assert refused.exit_code == 2
    assert "is in use by another process" in refused.stderr
    assert answer("show", str(copy))["status"] == "stopped"


# -- runs and show --------------------------------------------------------------------------------------------


def cut(folder: Path, outcomes: int, half_line: bool = False) -> None:
    """Leave the folder as a process that was killed after some outcomes would."""
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    places = [i for i, line in enumerate(lines) if json.loads(line)["type"] == "outcome"]
    kept = lines[: places[outcomes - 1] + 1] + ([lines[places[outcomes - 1] + 1][:25]] if half_line else [])
    (folder / "events.jsonl").write_text("".join(kept))
    for name in ("best.json", "best.py", "checkpoints.sqlite"):
        (folder / name).unlink(missing_ok=True)


def test_show_tells_of_an_unfinished_run_and_how_to_go_on(copy: Path) -> None:
    cut(copy, 17, half_line=True)
    shown = call("show", str(copy))
    assert shown.exit_code == 0
    assert "17 of 40 evaluations" in shown.stdout
    assert "was stopped before its end" in shown.stdout
    assert f"nas-agent resume {copy}" in shown.stdout
    document = answer("show", str(copy))
    assert document["status"] == "stopped"
    assert document["best"]["test"] is None  # the test split is opened at the end only
    assert answer("resume", str(copy))["evaluations"] == 40


def test_show_of_a_run_has_the_curve_the_best_ten_and_the_principles(place: Place) -> None:
    document = answer("show", str(place.run))
    assert document["status"] == "finished"
    assert len(document["curve"]) == 40
    values = [entry["val"] for entry in document["top"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 10
    assert document["best"]["id"] == document["top"][0]["id"]
    shown = call("show", str(place.run)).stdout
    assert document["top"][9]["id"] in shown
    for principle in document["principles"]:
        assert f"{principle['id']}@{principle['version']}" in shown
    assert re.search("[▁▂▃▄▅▆▇█]{20}", shown)


def test_failures_are_shown_with_their_reasons(copy: Path) -> None:
    lines = (copy / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    place = next(i for i, event in enumerate(events) if event["type"] == "outcome" and event["evaluation"] == 30)
    outcome = events[place]["outcome"]
    failed = {key: outcome[key] for key in ("architecture", "seconds", "seed", "evaluator")}
    events[place]["outcome"] = {"kind": "failed", **failed, "reason": "loss became infinite; use fewer layers"}
    (copy / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    assert "loss became infinite; use fewer layers" in call("show", str(copy)).stdout
    document = answer("show", str(copy))
    assert [entry["evaluation"] for entry in document["failures"]] == [30]
    candidate = answer("show", str(copy), "30")
    assert candidate["outcome"]["kind"] == "failed"
    assert candidate["rank"] is None
    assert "failed: loss became infinite" in call("show", str(copy), "30").stdout


def test_a_candidate_is_found_by_best_number_and_the_beginning_of_its_id(place: Place) -> None:
    best = answer("show", str(place.run), "best")
    assert answer("show", str(place.run), str(best["evaluation"])) == best
    assert answer("show", str(place.run), best["id"][:9]) == best
    assert best["rank"] == 1
    keys = {"run", "id", "arch", "evaluation", "author", "parents", "principles", "outside", "surrogate", "expected"}
    assert keys | {"outcome", "improved", "rank", "source"} <= set(best)


def test_a_candidates_story_has_parents_expectation_and_what_came(place: Place) -> None:
    events = [json.loads(line) for line in (place.run / "events.jsonl").read_text().splitlines()]
    born = next(e for e in events if e["type"] == "proposal" and e["proposal"]["parents"] and e["expected"])
    identity = born["proposal"]["architecture"]["id"]
    document = answer("show", str(place.run), identity)
    assert [parent["id"] for parent in document["parents"]] == born["proposal"]["parents"]
    assert document["expected"] == born["expected"]
    shown = " ".join(call("show", str(place.run), identity).stdout.split())
    assert f"by {born['proposal']['author']}" in shown
    assert "standard deviations" in shown
    assert f"rank {document['rank']} of 40 measured" in shown


def test_show_without_the_users_space_file_tells_all_but_the_drawing(place: Place, copy: Path) -> None:
    config = copy / "config.toml"
    config.write_text(config.read_text().replace("nets.py", "gone.py"))
    shown = call("show", str(copy))
    assert shown.exit_code == 0
    assert "no drawing" in shown.stderr
    assert "40 of 40 evaluations" in shown.stdout


def test_runs_lists_finished_stopped_and_broken_runs_and_rm_removes_one(place: Place) -> None:
    run = Path(answer("run", *place.task, "--budget", "4")["run"])
    rows = {row["run"]: row for row in answer("runs")["runs"]}
    assert rows[str(run)]["status"] == "finished"
    assert rows[str(run)]["evaluations"] == rows[str(run)]["budget"] == 4
    (run / "events.jsonl").write_text("oops\n")
    rows = {row["run"]: row for row in answer("runs")["runs"]}
    assert rows[str(run)]["status"] == "broken"
    assert "line 1" in rows[str(run)]["problem"]
    assert "broken" in call("runs").stdout
    assert answer("runs", "rm", str(run), "--yes") == {"removed": str(run)}
    assert not run.exists()
    assert str(run) not in {row["run"] for row in answer("runs")["runs"]}


# -- principles -------------------------------------------------------------------------------------------------


def test_principles_are_listed_shown_and_traced(place: Place) -> None:
    listed = answer("principles", "list", str(place.run))["principles"]
    assert listed, "forty evaluations of this space teach something"
    identity = listed[0]["id"]
    shown = answer("principles", "show", identity, "--run", str(place.run))
    assert shown["evidence"] == listed[0]["evidence"]
    traced = answer("principles", "trace", identity, "--run", str(place.run))
    assert {"id", "text", "evidence", "history", "proposals", "scores"} <= set(traced)
    assert traced["id"] == identity
    assert traced["evidence"] == listed[0]["evidence"]
    for command in (["list", str(place.run)], ["show", identity, "--run", str(place.run)]):
        result = call("principles", *command)
        assert identity in result.stdout
        assert listed[0]["constraint_text"] in " ".join(result.stdout.split()) or command[0] == "list"


def test_a_readable_trace_has_the_history_and_both_sides(place: Place) -> None:
    principles = answer("principles", "list", str(place.run))["principles"]
    active = next(p["id"] for p in principles if p["status"] == "active")
    traced = answer("principles", "trace", active, "--run", str(place.run))
    text = call("principles", "trace", active, "--run", str(place.run)).stdout
    for step in traced["history"]:
        assert step["action"] in text
    assert "followed it" in text
    assert "did not" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    events = [json.loads(line) for line in (place.run / "events.jsonl").read_text().splitlines()]
    obeyed = [
        event["evaluation"]
        for event in events
        if event["type"] == "proposal" and any(r.startswith(f"{active}@") for r in event["proposal"]["principles"])
    ]
    assert [p["evaluation"] for p in traced["proposals"] if p["followed"]] == obeyed


# -- the other commands ---------------------------------------------------------------------------------------


def test_memory_and_data_answer_on_a_fresh_machine(place: Place) -> None:
    assert answer("memory", "stats")["runs"] == 0
    assert answer("memory", "forget", "--all") == {"forgotten": 0}
    assert answer("memory", "search", "deep")["hits"] == []
    status = answer("data", "status")
    assert status["tables"] == []
    assert "predicted" in " ".join(call("data", "status").stdout.split())


def test_bench_prints_one_document_and_writes_its_files(place: Place) -> None:
    files = ["--markdown", str(place.folder / "bench.md"), "--plot", str(place.folder / "bench.png")]
    task = [*place.task[:4], "--methods", "random,evolution", "--budget", "5", "--seeds", "2", "--jobs", "1"]
    document = answer("bench", *task, *files)
    assert set(document["methods"]) == {"random", "evolution"}
    assert document["seeds"] == [0, 1]
    assert "random" in (place.folder / "bench.md").read_text()
    assert (place.folder / "bench.png").read_bytes().startswith(b"\x89PNG")


def test_doctor_names_keys_without_their_values(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-value")
    monkeypatch.setenv("LANGSMITH_TRACING", "true")
    result = call("doctor")
    assert result.exit_code == 0, result.output
    assert "OPENAI_API_KEY" in result.stdout
    assert "sent to LangSmith" in " ".join(result.stdout.split())
    assert "sk-secret-value" not in result.output
    document = answer("doctor")
    assert document["ok"] is True
    assert {"python", "torch", "device", "data", "memory", "model keys", "tracing", "sandbox"} <= {
        check["name"] for check in document["checks"]
    }


def test_doctor_tells_of_every_benchmark_and_a_broken_table_is_to_be_mended(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checks = {check["name"]: check for check in answer("doctor")["checks"]}
    for benchmark in BENCHMARKS:
        assert checks[benchmark.title]["state"] == "note"
        assert checks[benchmark.title]["detail"].startswith(f"no {benchmark.file}: ")
    assert checks["data"]["detail"].startswith(f"0 of {len(BENCHMARKS)} benchmark tables in ")
    (tmp_path / "nb101_20k.npz").write_text("no archive")
    monkeypatch.setenv("NAS_AGENT_DATA", str(tmp_path))
    result = call("doctor", "--json")
    assert result.exit_code == 2
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert (checks["data"]["state"], checks["NAS-Bench-101"]["state"]) == ("ok", "mend")
    assert "nb101_20k.npz cannot be used" in checks["NAS-Bench-101"]["detail"]
    assert "NAS-Bench-101" in result.stderr


def test_doctor_reads_headers_of_tables_only(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NAS_AGENT_DATA", str(tmp_path))
    arrays = {"n_vertices": np.array([9, 9, 9]), "edges": np.zeros(3), "ops": np.zeros(3), "op_names": np.zeros(3)}
    np.savez(tmp_path / "nb101_20k.npz", **arrays, val_108=np.zeros(3))  # no cell of it could be loaded
    np.savez(tmp_path / "darts_1000.npz", normal=np.zeros(3))
    (tmp_path / "nb201.npz").write_bytes((tmp_path / "nb101_20k.npz").read_bytes()[:300])
    checks = {check["name"]: check for check in json.loads(call("doctor", "--json").stdout)["checks"]}
    found = checks["NAS-Bench-101"]
    assert (found["state"], found["detail"]) == ("ok", f"{tmp_path / 'nb101_20k.npz'}: 3 rows for cifar10")
    assert checks["DARTS (reduced network)"]["state"] == checks["NAS-Bench-201"]["state"] == "mend"
    assert "expected the array 'reduce', which it lacks" in checks["DARTS (reduced network)"]["mend"]
    assert "broken, cut short or cannot be read" in checks["NAS-Bench-201"]["mend"]


def test_doctor_says_what_to_mend_and_exits_2(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_AGENT_DATA", str(place.folder / "nowhere"))
    monkeypatch.setenv("NAS_AGENT_HOME", str(place.folder / "nets.csv" / "home"))
    result = call("doctor", "--json")
    assert result.exit_code == 2
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["data"]["mend"] == "correct or unset NAS_AGENT_DATA"
    assert checks["home (NAS_AGENT_HOME)"]["state"] == "mend"
    assert len(result.stderr.splitlines()) == 1


# -- progress -----------------------------------------------------------------------------------------------


def event(kind: str, **data: Any) -> Json:
    return {"type": kind, **data}


def started(budget: int = 40, maximise: bool = True) -> Json:
    task = {"name": "t", "description": "", "metric": "m", "unit": "%", "maximise": maximise}
    return event(
        "started", task=task, space="f.py:Nets", space_name="nets", budget=budget, evaluator="table",
        provenance="measured", fidelity="as listed", note="a note",
    )  # fmt: skip


def outcome(number: int, value: float) -> Json:
    return event("outcome", evaluation=number, outcome={"kind": "measured", "value": value, "provenance": "measured"})


def watch(events: list[Json], past: list[Json] | None = None) -> list[str]:
    file = io.StringIO()
    with Progress(Console(file=file, width=80), live=False) as progress:
        progress.catch_up(past or [])
        for item in events:
            progress(item)
    return file.getvalue().splitlines()


def test_a_plain_log_has_a_line_for_each_improvement_and_each_tenth_evaluation() -> None:
    values = [50.0, 60.0, *[55.0] * 20, 70.0, *[1.0] * 7]
    lines = watch([started(), *(outcome(i, value) for i, value in enumerate(values, start=1))])
    assert lines[:2] == ["t on nets: 40 evaluations, table (measured, as listed)", "a note"]
    assert [re.findall(r"\[ *(\d+)/40\]", line) for line in lines[2:]] == [["1"], ["2"], ["10"], ["20"], ["23"], ["30"]]
    assert "best 70.00 % measured (evaluation 23)" in lines[-1]


def test_a_plain_log_knows_that_less_is_better_where_it_is() -> None:
    lines = watch([started(maximise=False), outcome(1, 5.0), outcome(2, 6.0), outcome(3, 4.0)])
    assert [line.partition("]")[0] for line in lines[2:]] == ["[ 1/40", "[ 3/40"]


def test_the_past_of_a_resumed_run_is_known_but_not_shown() -> None:
    past = [started(), *(outcome(number, 50.0 + number) for number in range(1, 9))]
    assert watch([outcome(9, 10.0)], past) == []
    assert "best 58.00 %" in watch([outcome(9, 10.0), outcome(10, 11.0)], past)[0]


def test_the_panel_fits_a_terminal_of_80_columns_and_says_what_everybody_did() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None)
    progress = Progress(console, live=False)
    proposal = {"author": "mutation", "architecture": {}, "principles": [], "outside": False}
    principle = {"id": "P1", "status": "retired"}
    items = [
        started(),
        event("proposed", proposals=212),
        event(
            "proposal",
            evaluation=1,
            proposal=proposal,
            surrogate="structure",
            expected={"mean": 1.25, "deviation": 0.2, "gain": 0.5},
        ),
        outcome(1, 50.0),
        event("principle", action="retired", principle=principle, why="a long reason " * 20, evaluations=1),
        event("model_call", input_tokens=100, output_tokens=20, cost_usd=0.01),
    ]
    for item in items:
        progress(item)
    file.truncate(0)
    file.seek(0)
    console.print(progress.panel())
    text = file.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines())
    for words in (
        "1/40",
        "50.00 % measured",
        "structure chose 1 of 212",
        "+1.25 sd",
        "1 retired",
        "P1 retired at 1",
        "1 call",
    ):
        assert words in text, words


def test_a_search_goes_on_when_nobody_reads_its_progress(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as broken:
        progress = Progress(Console(file=broken), live=False)
        for item in [started(), outcome(1, 1.0), outcome(2, 2.0)]:
            progress(item)
    assert progress.done == 2
