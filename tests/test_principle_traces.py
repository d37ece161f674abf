"""A principle's story across runs, runs compared by their principles, and the commands that share and review them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from nas_agent.cli.lineage import lineage
from nas_agent.cli.main import app
from nas_agent.cli.principle_diff import compare
from nas_agent.cli.review_prompt import Desk
from nas_agent.cli.story import Story
from nas_agent.principles.constraint import Allowed
from nas_agent.principles.principle import Change, Origin, Principle
from nas_agent.principles.review import Answer
from nas_agent.records import Json, Task
from nas_agent.run import resume, start
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.tools.event_log import EventLog, read_events
from nas_agent.tools.journal import Journal
from nas_agent.tools.memory import Memory
from nas_agent.tools.recollection import RunMemory
from nas_agent.tools.run_folder import RunFolder, open_folder
from nas_agent.tools.run_records import record_of
from tests.memories import Words, record
from tests.memories import principle as lesson
from tests.searching import TASK, Toy, config, evaluation

OTHER = Task("other-toy", "Another made-up task that likes wide operations early and skips late.")
THIRD = Task("third-toy", "A third made-up task.")


def call(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def answer_of(*args: object) -> Json:
    result = call(*args, "--json")
    assert result.exit_code == 0, result.stderr
    document: Json = json.loads(result.stdout)
    return document


def searched(out: Path, task: Task, **settings: object) -> RunFolder:
    settings = {"budget": 40, **settings}
    measured = replace(evaluation(), task=task)
    result = start(config(out, **settings).model_copy(update={"task": task.name}), evaluation=measured)
    assert result.run is not None
    return open_folder(Path(result.run))


@dataclass(frozen=True)
class Family:
    """Three runs, each of which took its principles over from the one before."""

    out: Path
    first: RunFolder
    second: RunFolder
    third: RunFolder

    @property
    def register(self) -> Path:
        """The file that names the known runs."""
        return self.out / "home" / "runs.txt"

    @property
    def shared(self) -> str:
        """The id, in the first run, of a principle that all three have held."""
        stories = [Story.read(folder) for folder in (self.first, self.second, self.third)]
        held = [{principle.constraint for principle in story.principles.values()} for story in stories]
        active = [p for p in stories[0].principles.values() if p.status == "active" and p.evidence.low]
        return next(p.id for p in active if p.constraint in held[1] and p.constraint in held[2])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Family:
    out = tmp_path_factory.mktemp("family")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_AGENT_HOME", str(out / "home"))
        first = searched(out / "runs", OTHER)
        # Without a surrogate, which would know the outcomes behind them, recalled principles rule at once.
        second = searched(out / "runs", TASK, source=(str(first.path),), surrogate="none")
        third = searched(out / "runs", THIRD, source=(str(second.path),), surrogate="none")
    return Family(out, first, second, third)


@pytest.fixture
def family(runs: Family, monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """The three runs, as the home folder knows them; what a test adds there is forgotten again."""
    monkeypatch.setenv("NAS_AGENT_HOME", str(runs.out / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    before = runs.register.read_text()
    yield runs
    runs.register.write_text(before)


def test_a_recalled_principle_knows_every_run_that_it_came_through(family: Family) -> None:
    story = Story.read(family.third)
    taken = [principle for principle in story.principles.values() if principle.origin is not None]
    assert taken
    origin = next(p.origin for p in taken if p.origin is not None and p.origin.earlier is not None)
    assert [(step.run, step.task) for step in origin.steps] == [
        (family.second.path.name, "toy"),
        (family.first.path.name, "other-toy"),
    ]


def test_trace_tells_where_a_principle_was_learned_and_what_became_of_it_elsewhere(family: Family) -> None:
    found = answer_of("principles", "trace", family.shared, "--run", family.first.path)
    assert {"evidence", "history", "proposals"} <= set(found)
    assert found["origin"] is None
    assert [step["run"] for step in found["elsewhere"]] == [family.second.path.name, family.third.path.name]
    near, far = found["elsewhere"]
    assert (near["task"], far["task"]) == ("toy", "third-toy")
    assert (near["through"], far["through"]) == ([], [family.second.path.name])
    assert near["active_at_once"]
    second = Story.read(family.second)
    there = second.version(near["principle"])
    assert near["evidence"] == there.evidence.to_dict()
    assert near["status"] == second.principles[there.id].status
    assert near["proposals"]["followed"]["count"] > 0
    back = answer_of("principles", "trace", far["principle"].partition("@")[0], "--run", family.third.path)
    origin = back["origin"]["earlier"]
    assert (origin["run"], origin["task"], origin["author"]) == (family.first.path.name, "other-toy", "statistics")
    assert origin["principle"].partition("@")[0] == family.shared
    assert origin["learned"][0]["why"] == "suggested by statistics"
    assert origin["earlier"] is None


def test_show_says_the_same_in_short(family: Family) -> None:
    found = answer_of("principles", "show", family.shared, "--run", family.first.path)
    assert found["origin"] is None
    assert len(found["elsewhere"]) == 2
    assert "2 runs: " in call("principles", "show", family.shared, "--run", family.first.path).stdout


def test_the_story_for_people_names_every_run(family: Family) -> None:
    found = answer_of("principles", "trace", family.shared, "--run", family.first.path)
    far = found["elsewhere"][1]["principle"].partition("@")[0]
    told = call("principles", "trace", far, "--run", family.third.path).stdout
    for folder in (family.first, family.second):
        assert folder.path.name in told
    assert "Where it is from" in told
    assert max(map(len, told.splitlines())) <= 80
    assert family.third.path.name in call("principles", "trace", family.shared, "--run", family.first.path).stdout


def test_a_story_whose_first_run_is_gone_tells_what_is_still_known(family: Family, tmp_path: Path) -> None:
    found = answer_of("principles", "trace", family.shared, "--run", family.first.path)
    name = found["elsewhere"][0]["principle"].partition("@")[0]
    away = tmp_path / "away"
    shutil.move(family.first.path, away)
    try:
        step = answer_of("principles", "trace", name, "--run", family.second.path)["origin"]
        told = call("principles", "trace", name, "--run", family.second.path)
    finally:
        shutil.move(away, family.first.path)
    assert "there is no run" in step["missing"]
    assert step["author"] == "statistics"
    assert step["evidence"]["effect"] is not None  # as it was recalled
    assert step["now"] is None
    assert told.exit_code == 0


def test_a_spoiled_run_beside_it_does_not_spoil_a_story(family: Family, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(family.second.path, copy)
    with (copy / "events.jsonl").open("a") as file:
        file.write(f'{{"type": "principle", "wall": {{"time": 1.0}}, "of": "{family.first.path.name}"}}\n')
    family.register.write_text(family.register.read_text() + f"{copy}\n")
    found = answer_of("principles", "trace", family.shared, "--run", family.first.path)
    assert len(found["elsewhere"]) == 2


def test_what_was_recalled_but_not_taken_over_is_told(family: Family, tmp_path: Path) -> None:
    story = Story.read(family.second)
    recalled = next(item for item in story.recalled if item["kind"] == "principle")
    lines = family.second.events.read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["type"] not in {"principle", "proposal", "proposed"}]
    copy = RunFolder(tmp_path / family.second.path.name)
    shutil.copytree(family.second.path, copy.path)
    copy.events.write_text("\n".join(kept) + "\n")
    family.register.write_text(f"{copy.path}\n")
    first = Story.read(family.first)
    found = lineage(first, first.principles[recalled["principle"]["id"]]).elsewhere
    assert found == [{"run": copy.path.name, "task": "toy", "taken_over": False}]


def test_others_leaves_out_what_was_once_learned_on_the_task_itself(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory", Words())
    away = lesson("p1", 2.0, tasks=("other-toy",))
    through = replace(away, id="p2", constraint=Allowed("depth", ("x",)), origin=Origin("r", "P1@1", "toy"))
    memory.remember(record("a", OTHER, [], [away, through]))
    recalled = memory.recall(TASK, "tiny", 0, 9)
    assert [item.to_dict()["principle"]["id"] for item in recalled] == ["p1"]
    assert len(memory.recall(THIRD, "tiny", 0, 9)) == 2


def test_memory_keeps_the_origin(tmp_path: Path, family: Family) -> None:
    memory = Memory(tmp_path / "memory", Words())
    memory.remember(record_of(family.second))
    settings = config(tmp_path, recall="all")
    items = RunMemory(settings, THIRD, Toy(), tmp_path / "now", memory, keep=False).recall()
    origins = [item["principle"].get("origin") for item in items if item["kind"] == "principle"]
    assert any(origin is not None and origin["run"] == family.first.path.name for origin in origins)


# -- diff -----------------------------------------------------------------------------------------------


def test_diff_pairs_principles_by_what_they_demand(family: Family) -> None:
    found = answer_of("principles", "diff", family.first.path, family.second.path)
    first, second = Story.read(family.first), Story.read(family.second)
    ours, theirs = ({p.constraint for p in story.principles.values()} for story in (first, second))
    assert found["same_space"]
    assert len(found["both"]) == len(ours & theirs) > 0
    assert len(found["only_first"]) == len(ours - theirs)
    assert len(found["only_second"]) == len(theirs - ours)
    for pair in found["both"]:
        assert pair["first"]["constraint"] == pair["second"]["constraint"] == pair["constraint"]
        assert pair["same_status"] == (pair["first"]["status"] == pair["second"]["status"])
    told = call("principles", "diff", family.first.path, family.second.path).stdout
    assert max(map(len, told.splitlines())) <= 80
    assert f"In both: {len(found['both'])}" in told


class Half(CategoricalSpace):
    """Has some of the decisions of Toy."""

    name = "half"
    decisions = tuple(Decision(f"layer_{i}", ("wide", "narrow", "skip", "pool")) for i in range(2))


def test_diff_of_different_spaces_says_so_and_names_what_the_other_cannot_hold(family: Family) -> None:
    first, second = Story.read(family.first), Story.read(family.third)
    second.started = {**second.started, "space_name": "half"}
    found = compare(first, second, (Toy(), Half()))
    assert not found["same_space"]
    for entry in found["only_first"]:
        here = {decision.name for decision in Half.decisions}
        names = {entry["constraint"].get("decision"), entry["constraint"].get("then", {}).get("decision")} - {None}
        if entry["constraint"]["kind"] != "count":
            assert entry["known_there"] == (names <= here)


# -- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["set.md", "set.json"])
def test_export_import_and_a_run_from_the_file_keep_the_origin(name: str, family: Family, tmp_path: Path) -> None:
    file = tmp_path / name
    wrote = answer_of("principles", "export", family.first.path, "--out", file)
    active = [p for p in Story.read(family.first).principles.values() if p.status == "active"]
    assert wrote["principles"] == len(active) > 0
    again = call("principles", "export", family.first.path, "--out", file)
    assert (again.exit_code, "--force" in again.stderr) == (2, True)
    space = config(tmp_path).space
    checked = answer_of("principles", "import", file, "--space", space)
    assert [row["waits"] for row in checked["principles"]] == [""] * len(active)
    shown = call("principles", "import", file, "--space", space)
    assert shown.stdout.count("rules at once") == len(active)
    folder = searched(tmp_path / "runs", TASK, principles_file=file, budget=4)
    taken = list(Story.read(folder).principles.values())
    assert [(p.text, p.constraint, p.author) for p in taken] == [(p.text, p.constraint, p.author) for p in active]
    assert {p.origin.run for p in taken if p.origin} == {family.first.path.name}
    assert answer_of("principles", "trace", "P1", "--run", folder.path)["origin"]["author"] == "statistics"


def test_what_cannot_be_exported_is_one_clear_line(family: Family, tmp_path: Path) -> None:
    empty = searched(tmp_path / "runs", TASK, budget=2)
    for args, message in (
        ((empty.path, "--out", tmp_path / "a.md"), "no active principles to export"),
        ((family.first.path, "--out", tmp_path / "a.txt"), "FILE.md or FILE.json"),
        ((family.first.path, "--out", tmp_path / "none" / "a.md"), "cannot be written"),
    ):
        result = call("principles", "export", *args)
        assert result.exit_code == 2
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_file_for_a_space_of_its_own_asks_for_the_space(family: Family, tmp_path: Path) -> None:
    file = tmp_path / "set.json"
    answer_of("principles", "export", family.first.path, "--out", file)
    result = call("principles", "import", file)
    assert (result.exit_code, "give --space" in result.stderr) == (2, True)


# -- review ---------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(tmp_path: Path) -> RunFolder:
    sections = ["## Begin wide.\n```\nlayer_0 in {wide}\n```", "## Few.\n```\ncount(pool) <= 1\n```"]
    (tmp_path / "two.md").write_text("\n".join(sections))
    return searched(tmp_path / "runs", TASK, review=True, principles_file=tmp_path / "two.md", budget=3)


def test_a_run_that_waits_says_so_everywhere(waiting: RunFolder) -> None:
    assert answer_of("runs")["runs"][-1]["status"] == "waiting for review"
    document = answer_of("show", waiting.path)
    assert document["status"] == "waiting for review"
    assert [change["principle"]["id"] for change in document["pending"]] == ["P1", "P2"]
    assert "waits for review of 2 principles: P1@1, P2@1" in call("show", waiting.path).stdout
    listed = call("principles", "review", waiting.path).stdout
    assert "layer_0 in {wide}" in listed
    assert "--accept all" in listed


def test_review_takes_answers_by_flags(waiting: RunFolder) -> None:
    found = answer_of("principles", "review", waiting.path, "--edit", "P2=count(pool) <= 2")
    assert [change["principle"]["id"] for change in found["pending"]] == ["P1"]
    left = call("principles", "review", waiting.path, "--refuse", "P1=I know better")
    assert "nothing waits any more" in left.stdout
    assert answer_of("runs")["runs"][-1]["status"] == "stopped"
    resume(waiting, evaluation=evaluation())
    story = Story.read(waiting)
    assert [(p.reference, p.status) for p in story.principles.values()] == [("P1@1", "retired"), ("P2@2", "active")]
    history = answer_of("principles", "trace", "P1", "--run", waiting.path)["history"]
    assert [step["action"] for step in history] == ["created", "held", "refused"]
    assert history[-1]["why"] == "refused by a person: I know better"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--accept", "P9"), "'P9' does not wait for an answer; these do: P1@1, P2@1"),
        (("--accept", "P1", "--refuse", "P1"), "answered twice"),
        (("--edit", "P1"), "expected ID=NEW"),
        (("--edit", "P1=layer_0 in {wide"), "expected a constraint like"),
        (("--edit", "P1=layer_9 in {wide}"), "unknown decision 'layer_9'"),
        (("--edit", "P1=count(pool) >= 2", "--accept", "all"), "no architecture obeys"),
    ],
)
def test_a_wrong_flag_is_one_clear_line_and_answers_nothing(
    flags: tuple[str, ...], message: str, waiting: RunFolder
) -> None:
    before = waiting.events.read_bytes()
    result = call("principles", "review", waiting.path, *flags)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert waiting.events.read_bytes() == before


def at_the_desk(*typed: str) -> tuple[dict[str, Answer], str]:
    """What comes of typing these lines at a journal in which three principles wait."""
    journal = Journal.begin(TASK, Toy(), EventLog())
    journal.review = True
    for number in range(1, 4):
        principle = Principle(f"P{number}", 1, f"Sentence {number}.", Allowed(f"layer_{number}", ("wide",)), "person")
        journal.emit("held", **Change("activated", replace(principle, status="active"), "why", 0).to_dict())
    lines = iter(typed)

    def read(question: str) -> str:
        for line in lines:
            return line
        raise EOFError

    screen = io.StringIO()
    answers = Desk(Console(file=screen, width=80), read)(journal)
    journal.settle(answers)  # whatever the desk returns can be carried out
    return dict(answers), screen.getvalue()


def test_at_a_terminal_each_principle_is_shown_and_asked_for() -> None:
    answers, screen = at_the_desk("a", "r", "not now", "e", "Mine.")
    said = [Answer("accept"), Answer("refuse", why="not now"), Answer("edit", "Mine.")]
    assert list(answers.values()) == said
    assert all(f"{n} of 3  P{n}@1  Sentence {n}." in screen for n in (1, 2, 3))


def test_at_a_terminal_a_mistake_is_said_and_asked_again() -> None:
    answers, screen = at_the_desk(
        "?", "a", "e", "layer_2 in {", "e", "layer_1 in {wide}", "e", "layer_1 in {skip}", "q"
    )
    assert answers == {"P1@1": Answer("accept")}
    assert "got '?'" in screen
    assert screen.count("not possible") == 3


@pytest.mark.parametrize("typed", [("a", "q"), ("a",), ("a", "r")])
def test_at_a_terminal_what_was_said_before_stopping_is_kept(typed: tuple[str, ...]) -> None:
    assert at_the_desk(*typed)[0] == {"P1@1": Answer("accept")}


def test_at_a_terminal_the_rest_can_be_accepted_at_once_as_far_as_it_goes_together() -> None:
    assert list(at_the_desk("r", "", "A")[0].values()) == [Answer("refuse"), Answer("accept"), Answer("accept")]
    answers, screen = at_the_desk("e", "layer_3 in {skip}", "A")
    assert list(answers) == ["P1@1", "P2@1"]
    assert "P3@1 is left for later" in screen


def test_a_run_on_the_command_line_without_a_terminal_stops_and_lists_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f'"layer_0={a},layer_1={b}",{50 + i}' for i, (a, b) in enumerate([(a, b) for a in "wx" for b in "yz"])]
    Path("t.csv").write_text("\n".join(["architecture,val", *rows]) + "\n")
    Path("s.py").write_text(
        "from nas_agent.spaces import CategoricalSpace, Decision\nclass S(CategoricalSpace):\n    name = 's'\n"
        "    decisions = (Decision('layer_0', ('w', 'x')), Decision('layer_1', ('y', 'z')))\n"
    )
    Path("p.md").write_text("## Take w.\n```\nlayer_0 in {w}\n```\n")
    flags = ["--task", "table:t.csv", "--space", "s.py:S", "--budget", "4", "--no-memory", "--principles", "p.md"]
    stopped = call("run", *flags, "--review", "--json")
    assert stopped.exit_code == 130
    document = json.loads(stopped.stdout)
    assert document["why"] == "waiting for review"
    assert document["pending"][0]["principle"]["text"] == "Take w."
    told = call("resume", "last")
    assert told.exit_code == 130
    assert "Waiting for review: 1 principle" in told.stdout
    assert call("principles", "review", "last", "--accept", "P1").exit_code == 0
    finished = answer_of("resume", "last")
    assert "pending" not in finished
    assert finished["why"] == "the budget is spent"
    planned = answer_of("run", *flags, "--review", "--dry-run")
    assert (planned["imported"], planned["review"]) == (1, True)
    assert [e["action"] for e in read_events(RunFolder(Path(finished["run"])).events)[0] if e["type"] == "held"] == [
        "activated"
    ]
