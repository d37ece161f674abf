"""The language-model learner, driven by scripts: good replies, bad ones, and an oracle that reads the prompt."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas_agent.agents.briefing import LearnContext, RecalledArchitecture, RecalledPrinciple, Shown
from nas_agent.agents.chat import CallsSpent, CappedModel, Purse, RecordedModel
from nas_agent.agents.learner import LanguageModelLearner
from nas_agent.errors import ModelError, StorageError
from nas_agent.principles import Allowed, Change, Count, Evidence, Library, Observation, Principle, When
from nas_agent.records import Architecture, Task
from nas_agent.spaces.nasbench201 import NasBench201
from tests.fakes import Scripted, ScriptedModel

SPACE = NasBench201()
TASK = Task("toy", "Pictures of toys.")
CONV = {"kind": "allowed", "decision": "edge_2_3", "options": ["nor_conv_3x3", "nor_conv_1x1"]}


def answer(*constraints: dict[str, Any], text: str = "Convolve.") -> str:
    principles = [{"text": text, "constraint": constraint} for constraint in constraints]
    return json.dumps({"information_flow": "It flows.", "patterns": "Some.", "principles": principles})


def cells(size: int, seed: int = 0) -> list[Architecture]:
    rng = Random(seed)
    return list({cell.id: cell for cell in (SPACE.sample(rng) for _ in range(2 * size))}.values())[:size]


def context(**changes: Any) -> LearnContext:
    first, second = cells(2)
    shown = {"best": [Shown(first, 70.0, 1, 2)], "worst": [Shown(second, 10.0, 2, 2)]}
    return LearnContext(**{"task": TASK, **shown, **changes})


def learner(*replies: Scripted, repairs: int = 2) -> tuple[LanguageModelLearner, ScriptedModel]:
    model = ScriptedModel(replies)
    return LanguageModelLearner(model, SPACE, repairs), model


def test_a_good_reply_becomes_drafts_that_name_model_and_prompt() -> None:
    asked, model = learner(answer(CONV))
    lesson = asked.learn(context())
    assert [draft.constraint for draft in lesson.drafts] == [Allowed("edge_2_3", ("nor_conv_1x1", "nor_conv_3x3"))]
    assert re.fullmatch(r"scripted / prompt learn@[0-9a-f]{8}", lesson.drafts[0].author)
    assert lesson.failures == []
    assert len(lesson.calls) == len(model.prompts) == 1
    assert lesson.calls[0].to_dict()["input_tokens"] > 100


def test_all_kinds_of_constraint_can_be_said() -> None:
    count = {"kind": "count", "options": ["nor_conv_3x3"], "at_least": 2}
    when = {
        "kind": "when",
        "decision": "edge_0_1",
        "options": ["none"],
        "then": {"decision": "edge_0_2", "options": ["nor_conv_3x3"]},
    }
    lesson = learner(answer(count, when))[0].learn(context())
    assert [draft.constraint for draft in lesson.drafts] == [
        Count(("nor_conv_3x3",), at_least=2),
        When("edge_0_1", ("none",), Allowed("edge_0_2", ("nor_conv_3x3",))),
    ]


@pytest.mark.parametrize(
    "wrapped",
    [
        "Here is what I think:\n\n```json\n{}\n```\nI hope this helps!",
        "<think>Is {x} a set?</think>{}",
        "\ufeff{}",
    ],
)
def test_a_wrapped_reply_is_unwrapped(wrapped: str) -> None:
    lesson = learner(wrapped.replace("{}", answer(CONV)))[0].learn(context())
    assert len(lesson.drafts) == 1
    assert not lesson.failures


BAD_REPLIES = {
    "100 kB of prose": ("Convolve! " * 10_240, "more than 100,000 characters"),
    "100 kB inside JSON": (answer(CONV, text="Convolve! " * 10_240), "more than 100,000 characters"),
    "a name without end": (answer({**CONV, "options": ["conv" * 20_000]}), "unknown option 'convconv"),
    "prose": ("I would rather use convolutions.", "no JSON object"),
    "nothing": ("", "no JSON object"),
    "broken JSON": (answer(CONV)[:-20], "JSON is broken"),
    "another schema": ('{"answer": 42}', "information_flow: Field required"),
    "a list": ("[1, 2]", "no JSON object"),
    "deep nesting": ('{"a":' * 15_000, "nested too deeply|JSON is broken"),
    "a refusal": ("(refused) I cannot help with that.", "the model refused"),
    "an unknown operation": (answer({**CONV, "options": ["conv5x5"]}), "unknown option 'conv5x5'.*nor_conv_3x3"),
    "an unknown decision": (answer({**CONV, "decision": "edge_9_9"}), "unknown decision 'edge_9_9'.*edge_0_1"),
    "no option left": (answer({**CONV, "options": []}), "no option is left"),
    "an impossible count": (answer({"kind": "count", "options": ["none"], "at_least": 7}), "no architecture has"),
    "a when without then": (answer({**CONV, "kind": "when"}), "needs 'then'"),
    "no decision": (answer({"kind": "allowed", "options": ["none"]}), "needs a 'decision'"),
    "nothing forbidden": (
        answer({**CONV, "options": ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]}),
        "forbids nothing",
    ),
}


@pytest.mark.parametrize("case", BAD_REPLIES)
def test_a_bad_reply_is_sent_back_with_what_is_wrong_and_the_better_one_is_used(case: str) -> None:
    bad, problem = BAD_REPLIES[case]
    asked, model = learner(bad, answer(CONV))
    lesson = asked.learn(context())
    assert len(lesson.drafts) == 1
    assert lesson.failures == []
    assert re.search(problem, lesson.calls[0].problem)
    assert re.search(problem, model.prompts[1].rpartition("wrong with it")[2].replace('\\"', '"'))
    assert model.prompts[0] in model.prompts[1]
    assert len(model.prompts[1]) < len(model.prompts[0]) + 10_000  # of a long reply only the beginning is quoted
    assert len(json.dumps([call.to_dict() for call in lesson.calls])) < 5_000
    assert lesson.calls[1].prompt.startswith("repair@")


@pytest.mark.parametrize("case", BAD_REPLIES)
def test_a_reply_that_stays_bad_is_a_recorded_failure(case: str) -> None:
    bad, problem = BAD_REPLIES[case]
    asked, model = learner(bad)
    lesson = asked.learn(context())
    assert lesson.drafts == []
    assert len(model.prompts) == 3
    assert lesson.failures[0].startswith("not used, after 2 repairs: ")
    assert re.search(problem, lesson.failures[0])


def test_the_good_part_of_a_bad_reply_is_kept_and_the_bad_part_named() -> None:
    lesson = learner(answer(CONV, {**CONV, "options": ["conv5x5"]}))[0].learn(context())
    assert len(lesson.drafts) == 1
    assert len(lesson.failures) == 1
    assert "principle 2: unknown option 'conv5x5'" in lesson.failures[0]


def test_a_principle_that_would_empty_the_space_is_refused_by_name() -> None:
    lesson = learner(answer(CONV, {**CONV, "options": ["none"]}), repairs=0)[0].learn(context())
    assert len(lesson.drafts) == 1
    assert "no architecture obeys 'edge_2_3 in {none}' together with" in lesson.failures[0]


def test_too_many_principles_are_cut_and_said() -> None:
    many = [{"kind": "count", "options": ["nor_conv_3x3"], "at_most": most} for most in range(6)]
    many += [{"kind": "count", "options": ["skip_connect"], "at_most": most} for most in range(6)]
    lesson = learner(answer(*many), repairs=0)[0].learn(context())
    assert len(lesson.drafts) == 8
    assert "12 principles are too many" in lesson.failures[0]


def test_a_model_that_cannot_be_reached_ends_the_lesson_not_the_run() -> None:
    asked, model = learner(ModelError("no answer after 4 attempts"))
    lesson = asked.learn(context())
    assert (lesson.drafts, lesson.failures) == ([], ["no answer after 4 attempts"])
    assert lesson.calls[0].problem == "no answer after 4 attempts"
    assert len(model.prompts) == 1


def test_what_was_kept_and_what_was_wrong_survive_a_timeout_of_the_repair() -> None:
    bad = answer(CONV, {**CONV, "options": ["conv5x5"]})
    lesson = learner(bad, ModelError("timed out"))[0].learn(context())
    assert len(lesson.drafts) == 1
    assert "conv5x5" in lesson.failures[0]
    assert lesson.failures[1] == "timed out"


def test_a_sentence_of_the_model_is_one_printable_line_of_bounded_length() -> None:
    lesson = learner(answer(CONV, text="Good.\n\n# Ignore\x1b[31m all" + "!" * 5000))[0].learn(context())
    text = lesson.drafts[0].text
    assert text.startswith("Good. # Ignore [31m all!")
    assert text.isprintable()
    assert len(text) <= 300


@pytest.mark.parametrize(("stage", "words"), [("learn", "Learn design"), ("improved", "improving"), ("stuck", "stuck")])
def test_each_stage_has_its_own_prompt(stage: Any, words: str) -> None:
    asked, model = learner(answer())
    asked.learn(context(stage=stage))
    assert words in model.prompts[0].splitlines()[0]


def test_what_is_recalled_and_known_stands_in_the_prompt() -> None:
    library = Library(SPACE.decisions)
    lesson = learner(answer(CONV))[0].learn(context())
    for change in library.adopt(lesson.drafts, "planted", 0):
        library.apply(change)
    asked, model = learner(answer())
    there = Evidence(("a", "b", "c"), ("d",), 2.5, 1.25, 3.75, 36, ("cifar10", "mine"))
    from_there = Principle("P9", 1, "Do not pool.", library.active[0].constraint, "statistics", "active", there)
    recalled = [RecalledPrinciple("cifar10", from_there, "predicted", "the task is alike")]
    asked.learn(context(principles=library.active, recalled=recalled))
    assert '"id": "P1@1", "status": "active", "text": "Convolve."' in model.prompts[0]
    (line,) = [json.loads(line) for line in model.prompts[0].splitlines() if line.startswith('{"task": "cifar10"')]
    assert (line["text"], line["why"], line["provenance"]) == ("Do not pool.", "the task is alike", "predicted")
    assert (line["effect"], line["low"], line["high"]) == (2.5, 1.25, 3.75)
    assert (line["obeying"], line["supporting"], line["others"]) == (4, 3, 36)
    assert line["tasks"] == ["cifar10", "mine"]
    assert line["constraint"] == from_there.constraint.to_dict()


def test_what_this_space_does_not_have_is_not_recalled_to_the_model() -> None:
    asked, model = learner(answer())
    foreign = Principle("P1", 1, "Be deep.", Allowed("depth", ("8",)), "statistics", "active")
    cell = Architecture("another-space", "depth=8", "0123456789")
    recalled = [
        RecalledPrinciple("elsewhere", foreign, "measured", "alike"),
        RecalledArchitecture("elsewhere", cell, 1.0, "accuracy", "%", True, 1, 2, "measured", "alike"),
    ]
    asked.learn(context(recalled=recalled))
    assert "elsewhere" not in model.prompts[0]
    assert "Nothing was recalled" in model.prompts[0]


# -- the oracle -----------------------------------------------------------------------------------------


def oracle(prompt: str) -> str:
    """Answer from nothing but the prompt: for each decision the option with the best mean value it can read."""
    totals: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in prompt.splitlines():
        if line.startswith('{"choices"'):
            shown = json.loads(line)
            for decision, option in shown["choices"].items():
                totals[decision][option].append(shown["value"])
    decisions = [json.loads(line) for line in prompt.splitlines() if line.startswith('{"decision"')]
    smaller = "values, smaller is better" in prompt
    constraints = []
    for decision in decisions:
        means = {option: sum(values) / len(values) for option, values in totals[decision["decision"]].items()}
        best = (min if smaller else max)(means, key=means.__getitem__)
        constraints.append({"kind": "allowed", "decision": decision["decision"], "options": [best]})
    return answer(*constraints, text="The evidence says so.")


def test_an_oracle_that_reads_the_prompt_recovers_a_planted_rule() -> None:
    rule = {"edge_0_1": "avg_pool_3x3", "edge_2_3": "skip_connect"}  # not what a model might know by heart
    rng = Random(1)
    scored = []
    for cell in cells(60, seed=3):
        choices = SPACE.choices(cell)
        scored.append((cell, 50.0 + 10.0 * sum(choices[d] == o for d, o in rule.items()) + rng.gauss(0, 1)))
    scored.sort(key=lambda pair: -pair[1])
    asked, model = learner(oracle)
    shown = [Shown(cell, score, rank, len(scored)) for rank, (cell, score) in enumerate(scored, start=1)]
    lesson = asked.learn(context(best=shown[:30], worst=shown[:-31:-1]))
    assert lesson.failures == []
    library = Library(SPACE.decisions)
    observations = [Observation(cell.id, SPACE.choices(cell), score, TASK.name) for cell, score in scored]
    changes: list[Change] = library.consider(lesson.drafts, observations, len(observations))
    for change in changes:
        library.apply(change)
    assert {p.constraint for p in library.active} == {Allowed(d, (o,)) for d, o in rule.items()}
    assert all("learn@" in p.author for p in library.active)
    code = SPACE.source(scored[0][0])
    assert code in model.prompts[0]


# -- the record -----------------------------------------------------------------------------------------


def test_a_recorded_prompt_is_answered_without_a_call(tmp_path: Path) -> None:
    model = ScriptedModel([answer(CONV), answer()])
    first = LanguageModelLearner(RecordedModel(model, tmp_path), SPACE).learn(context())
    again = LanguageModelLearner(RecordedModel(model, tmp_path), SPACE).learn(context())
    assert len(model.prompts) == 1
    assert again.drafts == first.drafts
    assert again.calls[0].recorded
    assert again.calls[0].input_tokens == first.calls[0].input_tokens
    assert again.calls[0].seconds == first.calls[0].seconds


def test_a_record_holds_prompt_reply_and_tokens(tmp_path: Path) -> None:
    recorded = RecordedModel(ScriptedModel(["Hello."]), tmp_path / "llm")
    recorded.complete("Hi?")
    record = json.loads((tmp_path / "llm" / f"{recorded.key('Hi?')}.json").read_text())
    assert (record["model"], record["prompt"], record["reply"]["text"]) == ("scripted", "Hi?", "Hello.")
    assert {"input_tokens", "output_tokens", "method", "sent", "cost_usd"} <= record["reply"].keys()


def test_a_recorded_failure_fails_again_instead_of_asking(tmp_path: Path) -> None:
    model = ScriptedModel([ModelError("timed out"), "fine now"])
    recorded = RecordedModel(model, tmp_path)
    for _ in range(2):
        with pytest.raises(ModelError, match="timed out"):
            recorded.complete("Hi?")
    assert len(model.prompts) == 1


def test_spent_calls_stop_the_model_and_the_cap_holds_over_a_resume(tmp_path: Path) -> None:
    model = ScriptedModel(["one"])
    RecordedModel(CappedModel(model, Purse(max_calls=2)), tmp_path).complete("a")
    resumed = RecordedModel(CappedModel(model, Purse.after(tmp_path, 2, None)), tmp_path)
    resumed.complete("b")
    with pytest.raises(CallsSpent, match=r"spent \(2\); raise --max-calls"):
        resumed.complete("c")
    assert resumed.complete("a").recorded
    assert len(model.prompts) == 2


def test_spent_calls_are_a_failure_of_the_lesson_only(tmp_path: Path) -> None:
    model = ScriptedModel([answer(CONV)])
    lesson = LanguageModelLearner(CappedModel(model, Purse(max_calls=0)), SPACE).learn(context())
    assert (model.prompts, lesson.calls) == ([], [])
    assert "calls are spent (0)" in lesson.failures[0]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"model": "x"}',
        '{"reply": null}',
        '{"reply": {"nonsense": 1}}',
        '{"reply": {"text": 5}}',
        '{"reply": {"text": "a", "input_tokens": "many"}}',
        '{"reply": {"text": "a", "seconds": null}}',
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    recorded = RecordedModel(ScriptedModel(["Hello."]), tmp_path)
    (tmp_path / f"{recorded.key('Hi?')}.json").write_text(content)
    with pytest.raises(StorageError, match="is no record of a model call") as told:
        recorded.complete("Hi?")
    assert "\n" not in str(told.value)


def test_a_record_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be (read|kept)"):
        RecordedModel(ScriptedModel(["Hello."]), tmp_path / "file" / "llm").complete("Hi?")
    recorded = RecordedModel(ScriptedModel(["Hello."]), tmp_path)
    (tmp_path / f"{recorded.key('Hi?')}.partial").mkdir()
    with pytest.raises(StorageError, match="cannot be kept"):
        recorded.complete("Hi?")


def test_another_model_or_schema_is_another_question(tmp_path: Path) -> None:
    one, two = (RecordedModel(ScriptedModel(["x"], name=name), tmp_path) for name in ("one", "two"))
    from nas_agent.agents.replies import LessonReply

    assert len({one.key("p"), two.key("p"), one.key("p", LessonReply), one.key("q")}) == 4
