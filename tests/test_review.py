"""`--review`: nothing takes effect before a person has said so, however long that takes and whatever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from nas_agent import Search
from nas_agent.cli.review_prompt import waiting as hint
from nas_agent.errors import ConfigError, NasAgentError, PrincipleError, RunFolderError
from nas_agent.principles.constraint import Allowed, Count
from nas_agent.principles.principle import Change, Principle
from nas_agent.principles.review import Answer, read_edit
from nas_agent.records import Json
from nas_agent.run import answer, resume, start
from nas_agent.tools.event_log import EventLog, deterministic, read_events
from nas_agent.tools.journal import Journal
from nas_agent.tools.run_folder import RunFolder, open_folder
from tests.resumed import Killed, killed_at
from tests.searching import TASK, Diary, Toy, config, evaluation

Reviewer = Callable[[Journal], Mapping[str, Answer]]
BUDGET = 32


def accept(journal: Journal) -> dict[str, Answer]:
    return {reference: Answer("accept") for reference in journal.pending}


def mixed(journal: Journal) -> dict[str, Answer]:
    """Accept, refuse and reword by turns; a function of what is asked alone, as a person with a plan would be."""
    choices = (Answer("accept"), Answer("refuse", why="not in my house"), Answer("edit", "In my words."))
    return {reference: choices[int(reference[1 : reference.index("@")]) % 3] for reference in journal.pending}


def nobody(journal: Journal) -> dict[str, Answer]:
    return {}


def reviewed(out: Path, ask: Reviewer | None, **settings: object) -> RunFolder:
    settings = {"budget": BUDGET, "review": True, **settings}
    result = start(config(out, **settings), evaluation=evaluation(), ask=ask)
    assert result.run is not None
    return open_folder(Path(result.run))


def events_of(folder: RunFolder, *kinds: str) -> list[Json]:
    events = [deterministic(event) for event in read_events(folder.events)[0]]
    return [event for event in events if not kinds or event["type"] in kinds]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    """The events of a run whose questions were all answered at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_AGENT_HOME", str(tmp_path_factory.mktemp("home")))
        events = events_of(reviewed(tmp_path_factory.mktemp("runs"), mixed))
    verbs = {answer["verb"] for event in events if event["type"] == "reviewed" for answer in event["answers"].values()}
    assert verbs == {"accept", "edit", "refuse"}
    return events


def test_nothing_takes_effect_before_somebody_has_said_so(tmp_path: Path, whole: list[Json]) -> None:
    said: set[str] = set()
    for event in whole:
        if event["type"] == "reviewed":
            said |= {ref for ref, given in event["answers"].items() if given["verb"] != "refuse"}
        if event["type"] == "proposed":
            began = {reference.partition("@")[0] for reference in event["principles"]}
            assert began <= {reference.partition("@")[0] for reference in said}
    assert said


def test_who_accepts_everything_gets_the_run_without_review(tmp_path: Path) -> None:
    def outcomes(folder: RunFolder) -> list[Json]:
        return events_of(folder, "proposal", "outcome")

    assert outcomes(reviewed(tmp_path / "a", accept)) == outcomes(reviewed(tmp_path / "b", None, review=False))


def test_without_review_nothing_is_held_and_the_log_knows_no_answers(tmp_path: Path) -> None:
    assert not events_of(reviewed(tmp_path, None, review=False), "held", "reviewed")


def test_what_was_refused_never_rules_and_is_never_asked_again(tmp_path: Path) -> None:
    folder = reviewed(tmp_path, lambda journal: {ref: Answer("refuse", why="no") for ref in journal.pending})
    held = [json.dumps(event["principle"]["constraint"]) for event in events_of(folder, "held")]
    assert held
    assert len(set(held)) == len(held)
    assert not any(event["principles"] for event in events_of(folder, "proposed"))
    refused = [event for event in events_of(folder, "principle") if event["action"] == "refused"]
    assert {event["principle"]["status"] for event in refused} == {"retired"}
    assert refused[0]["why"] == "refused by a person: no"


def test_an_edit_is_a_new_version_by_a_person_and_is_tested_like_any_other(tmp_path: Path) -> None:
    edited = Allowed("layer_4", ("wide", "skip", "narrow"))

    def edit(journal: Journal) -> dict[str, Answer]:
        free = all(principle.constraint != edited for principle in journal.library.principles)
        first, *others = journal.pending
        said = Answer("edit", "Anything but pooling at the end.", edited) if free else Answer("refuse")
        return {first: said, **{reference: Answer("refuse") for reference in others}}

    folder = reviewed(tmp_path, edit)
    change = next(event for event in events_of(folder, "principle") if event["action"] == "revised")
    held = events_of(folder, "held")[0]["principle"]
    assert change["principle"]["author"] == "person"
    assert change["principle"]["version"] == held["version"] + 1
    assert change["principle"]["constraint"] == edited.to_dict()
    assert change["principle"]["evidence"]["others"] < BUDGET
    assert held["text"] in change["why"]
    assert any(f"{change['principle']['id']}@2" in event["principles"] for event in events_of(folder, "proposed"))


# -- stopping, answering and going on ----------------------------------------------------------------------


def test_a_run_without_anybody_to_ask_waits_and_a_later_command_answers(tmp_path: Path, whole: list[Json]) -> None:
    folder = reviewed(tmp_path, None)
    for _ in range(40):
        result = resume(folder, evaluation=evaluation())
        if not result.pending:
            break
        assert result.why == "waiting for review"
        assert result.to_dict()["pending"] == list(result.pending)
        assert resume(folder, evaluation=evaluation()).pending == result.pending  # asks again, does nothing
        assert not folder.best_json.exists()
        pending = {f"{item['principle']['id']}@{item['principle']['version']}": item for item in result.pending}
        asked = Journal.__new__(Journal)
        asked.pending = pending  # type: ignore[assignment]
        assert answer(folder, mixed(asked)) == ()
    assert result.why == "the budget is spent"
    assert events_of(folder) == whole


THREE = """
## Begin wide.
```
layer_0 in {wide}
```
## Do not pool.
```
count(pool) <= 1
```
## End with a skip.
```
layer_4 in {skip}
```
"""


def with_a_file(tmp_path: Path) -> RunFolder:
    """A run that waits before its first evaluation, for what is said to three principles of a file."""
    (tmp_path / "three.md").write_text(THREE)
    return reviewed(tmp_path / "runs", None, principles_file=tmp_path / "three.md")


def test_some_may_be_answered_now_and_the_others_later(tmp_path: Path) -> None:
    folder = with_a_file(tmp_path)
    first, second, *others = "P1@1", "P2@1", "P3@1"
    assert not events_of(folder, "outcome", "proposed")
    assert [change.principle.reference for change in answer(folder, {first: Answer("accept")})] == [second, *others]

    def one(journal: Journal) -> dict[str, Answer]:
        assert list(journal.pending) == [second, *others]
        return {second: Answer("accept")}

    result = resume(folder, evaluation=evaluation(), ask=one)
    assert [change["principle"]["id"] for change in result.pending] == [name.partition("@")[0] for name in others]
    assert not result.outcomes
    assert resume(folder, evaluation=evaluation(), ask=accept).why == "the budget is spent"


@pytest.mark.parametrize("checkpoints", [True, False])
@pytest.mark.parametrize("kind", ["held", "reviewed", "principle"])
def test_killed_around_a_review_it_goes_on_as_if_never_stopped(
    kind: str, checkpoints: bool, tmp_path: Path, whole: list[Json]
) -> None:
    points = [number for number, event in enumerate(whole, start=1) if event["type"] == kind][:12]
    for point in points:
        out = tmp_path / str(point)
        with pytest.raises(Killed):
            start(config(out, budget=BUDGET, review=True), [killed_at(point)], evaluation=evaluation(), ask=mixed)
        (path,) = out.iterdir()
        folder = open_folder(path)
        if not checkpoints:
            for file in path.glob("checkpoints*"):
                file.unlink()
        resume(folder, evaluation=evaluation(), ask=mixed)
        assert events_of(folder) == whole
        assert not (path / "events.discarded.jsonl").exists()


PROCESS = """
import os, signal, sys
from pathlib import Path
from nas_agent.run import start
from tests.searching import Diary, config, evaluation
def ask(journal):
    os.kill(os.getpid(), signal.SIGKILL)
start(config(Path(sys.argv[1]), budget=32, review=True), evaluation=evaluation(Diary(Path(sys.argv[2]))), ask=ask)
"""


def test_after_kill_9_while_somebody_was_asked_the_question_is_asked_again(tmp_path: Path, whole: list[Json]) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "runs"), str(tmp_path / "diary")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == -signal.SIGKILL
    (path,) = (tmp_path / "runs").iterdir()
    folder = open_folder(path)
    evaluator = Diary(tmp_path / "diary")
    resume(folder, evaluation=evaluation(evaluator), ask=mixed)
    assert events_of(folder) == whole
    measured = (tmp_path / "diary").read_text().split()
    assert len(measured) == len(set(measured)) == BUDGET


@pytest.mark.parametrize("number", [1, 2])
def test_the_hint_names_a_principle_once(tmp_path: Path, number: int) -> None:
    changes = [Change.from_dict(event) for event in events_of(with_a_file(tmp_path), "held")][:number]
    told = [part for part in hint(changes, "%", "RUN") if isinstance(part, str)]
    hints = [line.partition(" review RUN ")[2] for line in told if " review RUN " in line]
    one_each = "--refuse 'P1=why not'" if number == 1 else "--accept P1 --refuse 'P2=why not'"
    assert hints == ["--accept all", one_each, "--edit 'P1=A new sentence, or a constraint.'"]


# -- what cannot be done -----------------------------------------------------------------------------------


@pytest.fixture
def waiting(tmp_path: Path) -> RunFolder:
    return reviewed(tmp_path, None)


WRONG = {
    "another principle": ("P99@1", Answer("accept"), "'P99@1' does not wait for an answer; these do: P"),
    "nothing changed": ("", Answer("edit"), "changes nothing"),
    "an unknown decision": ("", Answer("edit", constraint=Allowed("x", ("y",))), "unknown decision 'x'"),
    "an unknown option": ("", Answer("edit", constraint=Allowed("layer_0", ("y",))), "unknown option 'y'"),
    "everything": ("", Answer("edit", constraint=Count(("wide",), 6)), "no architecture has"),
    "nothing": ("", Answer("edit", constraint=Count(("wide",), 0, 5)), "forbids nothing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_is_one_clear_line_and_changes_nothing(case: str, waiting: RunFolder) -> None:
    reference, given, message = WRONG[case]
    before = waiting.events.read_bytes()
    first = events_of(waiting, "held")[0]["principle"]
    with pytest.raises(PrincipleError, match=message):
        answer(waiting, {reference or f"{first['id']}@{first['version']}": given})
    assert waiting.events.read_bytes() == before


def test_answers_that_contradict_each_other_are_refused_together(tmp_path: Path) -> None:
    waiting, first, second = with_a_file(tmp_path), "P1@1", "P2@1"
    narrow, wide = (Answer("edit", constraint=Allowed("layer_3", (option,))) for option in ("narrow", "wide"))
    with pytest.raises(PrincipleError, match=r"together with P1@2; refuse P2@2"):
        answer(waiting, {first: narrow, second: wide})
    assert answer(waiting, {first: narrow})
    with pytest.raises(PrincipleError, match="together with"):  # the first answer counts already
        answer(waiting, {second: wide})
    with pytest.raises(PrincipleError, match="P1@2 demands"):
        answer(waiting, {second: narrow})


def test_a_run_that_asks_nothing_takes_no_answer(tmp_path: Path, waiting: RunFolder) -> None:
    finished = reviewed(tmp_path / "finished", accept)
    with pytest.raises(ConfigError, match="no principle waits"):
        answer(finished, {"P1@1": Answer("accept")})
    with waiting.locked(), pytest.raises(RunFolderError, match="in use"):
        answer(waiting, {"P1@1": Answer("accept")})


def test_an_answer_before_the_question_was_complete_is_refused(tmp_path: Path) -> None:
    kill = killed_at(1, lambda event: event["type"] == "held")
    with pytest.raises(Killed):
        start(config(tmp_path, budget=BUDGET, review=True), [kill], evaluation=evaluation())
    (path,) = tmp_path.iterdir()
    held = events_of(open_folder(path), "held")[0]["principle"]
    with pytest.raises(ConfigError, match="resume it first"):
        answer(open_folder(path), {f"{held['id']}@{held['version']}": Answer("accept")})


def test_a_forged_answer_in_the_log_is_one_clear_line(waiting: RunFolder) -> None:
    with waiting.events.open("a") as file:
        file.write(
            json.dumps({"type": "reviewed", "answers": {"P99@1": {"verb": "accept"}}, "wall": {"time": 0.0}}) + "\n"
        )
    with pytest.raises(NasAgentError) as caught:
        resume(waiting, evaluation=evaluation())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("Begin wide.", Answer("edit", "Begin wide.")),
        ("layer_0 in {wide}", Answer("edit", constraint=Allowed("layer_0", ("wide",)))),
        ('{"kind": "count", "options": ["a"], "at_least": 1}', Answer("edit", constraint=Count(("a",), 1))),
        ('{"text": "T.", "constraint": "count(a) >= 1"}', Answer("edit", "T.", Count(("a",), 1))),
        ('{"text": "T."}', Answer("edit", "T.")),
    ],
)
def test_an_edit_is_a_sentence_a_constraint_or_both(text: str, given: Answer) -> None:
    assert read_edit(text) == given


@pytest.mark.parametrize(
    "text", ["", "{", "layer_0 in {wide", "count(a", '{"sentence": "x"}', '{"constraint": 3}', "{}"]
)
def test_an_edit_that_is_mistyped_is_never_taken_for_a_sentence(text: str) -> None:
    with pytest.raises(PrincipleError):
        read_edit(text)


def test_a_search_in_memory_has_nowhere_to_wait() -> None:
    with pytest.raises(ConfigError, match="run folder"):
        Search(TASK, space=Toy(), evaluation=evaluation(), review=True)


def test_a_revision_waits_too_and_the_version_before_it_rules_meanwhile() -> None:
    def journal(given: Answer | None) -> Journal:
        made = Journal.begin(TASK, Toy(), EventLog())
        first = Principle("P1", 1, "Begin wide.", Allowed("layer_0", ("wide",)), "statistics", "active")
        made.changes([Change("activated", first, "it helps", 4)])
        made.review = True
        looser = replace(first, version=2, constraint=Allowed("layer_0", ("wide", "narrow")))
        made.changes([Change("revised", looser, "loosened", 5)])
        assert [principle.reference for principle in made.library.active] == ["P1@1"]
        if given is not None:
            made.settle({"P1@2": given})
            assert not made.pending
        return made

    assert list(journal(None).pending) == ["P1@2"]
    assert journal(Answer("accept")).library.active[0].reference == "P1@2"
    refused = journal(Answer("refuse", why="no"))
    assert [principle.reference for principle in refused.library.active] == ["P1@1"]
    assert refused.log.events[-1]["why"] == "a person refused version 2, layer_0 in {narrow, wide}: no"
    edited = journal(Answer("edit", constraint=Allowed("layer_0", ("narrow",)))).library.active[0]
    assert (edited.reference, edited.author) == ("P1@3", "person")
