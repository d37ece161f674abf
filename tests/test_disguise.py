"""Anonymised prompts: nothing in them names anything, and what is answered in labels means what it should."""

from __future__ import annotations

import json
import re
from random import Random
from typing import Any

import pytest

from nas_agent import Search
from nas_agent.agents.briefing import LearnContext, Shown
from nas_agent.agents.chat import ChatModel
from nas_agent.agents.disguise import Disguise, Lens
from nas_agent.agents.learner import LanguageModelLearner
from nas_agent.principles import Allowed, Constraint, Count, Evidence, Principle, When
from nas_agent.records import Architecture, Failed, Json, Outcome, Task
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.resolve import load_evaluation
from tests.fakes import ScriptedModel
from tests.searching import LargeToy, Toy
from tests.test_consulting import Told, shown
from tests.test_learner import answer, oracle

SPACE = NasBench201()
CONSTRAINTS: list[Constraint] = [
    Allowed("edge_2_3", ("nor_conv_1x1", "nor_conv_3x3")),
    Count(("nor_conv_3x3", "skip_connect"), at_least=2, at_most=4),
    When("edge_0_1", ("none",), Allowed("edge_0_2", ("nor_conv_3x3", "avg_pool_3x3"))),
]
# Names, and parts of names, that a model could recognise. `none` is also a word of English; it is looked for in JSON.
TELLING = r"nor_conv|skip_connect|avg_pool|\"none\"|conv|pool|edge_\d|nb201|nas.?bench|ReLU|nn\.|kernel|stride"
TELLING += r"|cifar|imagenet|photograph|image|classification|accuracy|epochs|table|embedded"


@pytest.mark.parametrize("space", [SPACE, Toy(), LargeToy()], ids=lambda space: space.name)
@pytest.mark.parametrize("seed", range(5))
def test_choices_and_constraints_come_back_as_they_were(space: Any, seed: int) -> None:
    lens, rng = Disguise(space, seed), Random(seed)
    for _ in range(20):
        cell = space.sample(rng)
        seen = lens.choices(cell)
        assert list(seen) == [decision.name for decision in lens.decisions]
        assert all(seen[decision.name] in decision.options for decision in lens.decisions)
        assert lens.meant_choices(seen) == space.choices(cell)
    if space is not SPACE:
        return
    for constraint in CONSTRAINTS:
        said = lens.constraint(constraint)
        assert said is not None
        said.check(lens.decisions)
        assert not re.search(r"conv|edge|none|skip|pool", json.dumps(said.to_dict()))
        assert lens.meant(said) == constraint
        cell = space.sample(rng)
        assert said.holds(lens.choices(cell)) == constraint.holds(space.choices(cell))


def test_what_the_space_does_not_have_is_not_shown() -> None:
    for lens in (Lens(SPACE), Disguise(SPACE, 0)):
        assert lens.constraint(Allowed("depth", ("8",))) is None
        assert lens.constraint(Count(("conv9x9",), at_least=1)) is None


def test_the_labels_are_dealt_by_the_seed() -> None:
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    seen = [Disguise(SPACE, seed).choices(cell) for seed in range(30)]
    assert Disguise(SPACE, 4).choices(cell) == seen[4]
    assert len({json.dumps(choices) for choices in seen}) > 25
    zero = {seed: Disguise(SPACE, seed).constraint(Count(("none",), at_most=0)) for seed in range(30)}
    assert {str(constraint) for constraint in zero.values()} == {f"count(op_{x}) in [0, 0]" for x in "ABCDE"}
    assert {decision.options for decision in Disguise(SPACE, 1).decisions} == {("op_A", "op_B", "op_C", "op_D", "op_E")}


def test_code_becomes_formulas_of_the_same_graph() -> None:
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    lens = Disguise(SPACE, 3)
    said = lens.choices(cell)
    name = {
        edge: next(n for n in said if list(lens.meant_choices({n: said[n]})) == [edge]) for edge in SPACE.choices(cell)
    }
    first, between, skip, last = (said[name[e]] for e in ("edge_0_1", "edge_1_2", "edge_0_3", "edge_2_3"))
    assert lens.code(cell).splitlines() == [
        f"x1 = {first}(x0)  # {name['edge_0_1']}",
        f"x2 = {between}(x1)  # {name['edge_1_2']}",
        f"x3 = {skip}(x0) + {last}(x2)  # {name['edge_0_3']}, {name['edge_2_3']}",
    ]
    dead = SPACE.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    assert lens.code(dead) == "x3 = 0"
    toy = Disguise(Toy(), 3)  # without a graph
    assert toy.code(Toy().sample(Random(0))).splitlines()[0].startswith("d1 = op_")


def test_a_sentence_of_the_model_is_put_back_and_its_constraint_too() -> None:
    lens = Disguise(SPACE, 11)
    said = lens.constraint(CONSTRAINTS[0])
    assert isinstance(said, Allowed)
    text = f"Use {' or '.join(said.options)} for {said.decision}, not op_Z."
    model = ScriptedModel([answer(said.to_dict(), text=text)])
    cells = [SPACE.sample(Random(seed)) for seed in range(2)]
    context = LearnContext(Task("toy", "Toys."), [Shown(cells[0], 1.0, 1, 2)], [Shown(cells[1], 0.0, 2, 2)])
    (draft,) = LanguageModelLearner(model, SPACE, lens=lens).learn(context).drafts
    assert draft.constraint == CONSTRAINTS[0]
    meant = [next(iter(lens.meant_choices({said.decision: option}).values())) for option in said.options]
    assert draft.text == f"Use {' or '.join(meant)} for edge_2_3, not op_Z."
    assert re.fullmatch(r"scripted / prompt learn@[0-9a-f]{8}, anonymised", draft.author)


def test_what_is_wrong_is_said_in_labels() -> None:
    bad = answer({"kind": "allowed", "decision": "d1", "options": ["op_Q"]})
    model = ScriptedModel([bad])
    context = LearnContext(Task("toy", "Toys."), [Shown(SPACE.sample(Random(0)), 1.0, 1, 1)])
    lesson = LanguageModelLearner(model, SPACE, lens=Disguise(SPACE, 0)).learn(context)
    assert "unknown option 'op_Q' for decision 'd1'; choose from op_A, op_B" in model.prompts[1].replace('\\"', '"')
    assert not re.search(TELLING, model.prompts[1])
    assert lesson.failures


class Fragile:
    """The embedded benchmark of CIFAR-100 in which cells with a pooling at the end do not train, and say why."""

    name = "embedded"
    provenance = "predicted"
    fidelity = "embedded, 200 epochs"

    def __init__(self) -> None:
        self.evaluation = load_evaluation("cifar100", SPACE, "embedded", data=None, epochs=None)

    def pool(self) -> Any:
        return self.evaluation.evaluator.pool()

    def evaluate(self, architecture: Architecture, *, seed: int) -> Outcome:
        if "avg_pool_3x3~2" in architecture.text:
            reason = "out of memory: avg_pool_3x3 on edge_2_3 of nb201 on cifar100; use nor_conv_1x1"
            return Failed(architecture, reason, 0.0, seed, self.name)
        return self.evaluation.evaluator.evaluate(architecture, seed=seed)


def items() -> list[Json]:
    evidence = Evidence(("a", "b"), ("c",), 2.0, 1.0, 3.0, 30, ("cifar10", "ImageNet16-120"))
    text = "Use nor_conv_3x3 for edge_2_3 (the operation from node 2 to node 3)."
    principle = Principle("P1", 1, text, Allowed("edge_2_3", ("nor_conv_3x3",)), "statistics", "active", evidence)
    why = "from cifar10, the nearest task (similarity 0.91): rank 1 of 40 predicted there (embedded, 200 epochs)"
    about: Json = {"task": "cifar10", "why": why, "provenance": "predicted", "evaluator": "embedded"}
    about |= {"fidelity": "200 epochs", "metric": "accuracy", "unit": "%", "maximise": True, "of": 40}
    cells = {SPACE.sample(Random(seed)).text: 90.0 - seed for seed in range(4)}
    return [
        {**about, "kind": "principle", "principle": principle.to_dict()},
        *(
            {**about, "kind": "architecture", "architecture": SPACE.parse(text).to_dict(), "value": value, "rank": rank}
            for rank, (text, value) in enumerate(cells.items(), start=1)
        ),
    ]


def propose(prompt: str) -> str:
    """Speak in labels: shuffle the options of the decisions that the prompt lists; sometimes say nonsense."""
    rng = Random(len(prompt))
    decisions = [json.loads(line) for line in prompt.splitlines() if line.startswith('{"decision"')]
    cells = [{d["decision"]: rng.choice(d["options"]) for d in decisions} for _ in range(8)]
    return json.dumps({"analysis": "Some.", "architectures": [*cells, cells[0], {**cells[1], "d1": "op_Q"}]})


def both(prompt: str) -> str:
    return propose(prompt) if "architectures`:" in prompt else oracle(prompt)


def anonymised(model: ChatModel, **settings: Any) -> Search:
    fragile = Fragile()
    measured = Evaluation(fragile.evaluation.task, fragile, fragile.evaluation.test_split, "embedded")  # type: ignore[arg-type]
    settings = {"budget": 60, "generator": "llm", "anonymise": True, "initial": 8, **settings}
    settings |= {"adapt_every": 6} if settings.get("principles", True) else {}
    search = Search(
        fragile.evaluation.task, space=SPACE, evaluation=measured, model=model, memory=Told(items()), **settings
    )
    search.run()
    return search


def test_no_prompt_of_an_anonymised_run_holds_an_original_name() -> None:
    model = ScriptedModel([both])
    search = anonymised(model)
    titles = {prompt.split()[1] for prompt in model.prompts}
    assert titles == {"Learn", "Refine", "Rethink", "Propose"}
    for prompt in model.prompts:
        found = re.search(f".*({TELLING}).*", prompt, re.IGNORECASE)
        assert found is None, found[0]
    last = next(prompt for prompt in reversed(model.prompts) if prompt.startswith("# Re"))
    for part in ('{"reason": "reason_', '"status": "active"', '"kind": "principle"', '"kind": "architecture"'):
        assert part in last, part
    assert search.journal.failures()
    asked = [prompt for prompt in model.prompts if prompt.startswith("# Propose")]
    assert any('"became": "evaluated' in prompt for prompt in asked)
    assert any("unknown option 'op_Q' for 'd1'" in prompt for prompt in asked)
    # The same run without labels says all of it.
    plain = ScriptedModel([both])
    anonymised(plain, anonymise=False)
    assert all(re.search(TELLING, prompt) for prompt in plain.prompts)


def test_what_an_anonymised_model_says_is_put_back_and_tested() -> None:
    claims = [p for p in anonymised(ScriptedModel([both])).journal.library.principles if "anonymised" in p.author]
    assert claims
    assert all(claim.constraint.check(SPACE.decisions) is None for claim in claims)
    search = anonymised(ScriptedModel([both]), principles=False)
    measured = [
        event["proposal"]["author"]
        for event in search.journal.log.events
        if event["type"] == "proposal" and event["proposal"]["author"].startswith("language model")
    ]
    assert len(measured) >= 8
    assert all(re.fullmatch(r"language model scripted / prompt propose@\w{8}, anonymised", a) for a in measured)


def test_an_oracle_reads_as_much_from_labels_as_from_names() -> None:
    """What it says through the labels is what it says without them, decision by decision."""
    cells = {cell.id: cell for cell in (SPACE.sample(Random(seed)) for seed in range(40))}
    values = {key: Random(key).random() for key in cells}
    order = sorted(cells, key=lambda key: -values[key])
    best = [Shown(cells[key], values[key], rank, len(order)) for rank, key in enumerate(order, start=1)]
    context = LearnContext(Task("toy", "Toys."), best[:10], best[:-11:-1], stage="improved")
    said = {}
    for lens in (Lens(SPACE), Disguise(SPACE, 5)):
        model = ScriptedModel([oracle])
        lesson = LanguageModelLearner(model, SPACE, lens=lens).learn(context)
        assert len(shown(model.prompts[0])) == 20
        said[lens.note] = {str(draft.constraint) for draft in lesson.drafts}
    assert said[""] == said[", anonymised"]
    assert len(said[""]) == 6
