"""Principles from the best of a source, of which nothing else is known."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from nas_agent.principles.coding import Coding
from nas_agent.principles.constraint import Allowed, Constraint, Count
from nas_agent.principles.enrichment import CLEAR, COVER, MOST, NARROWS, common_ground, most_frequent
from nas_agent.principles.principle import Draft
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.spaces.base import Choices, Decision

DECISIONS = tuple(Decision(f"edge_{place}", ("conv", "pool", "skip", "none")) for place in range(6))


def random_choices(rng: Random) -> dict[str, str]:
    return {decision.name: rng.choice(decision.options) for decision in DECISIONS}


def drawn(number: int, seed: int, rule: Callable[[Choices], bool] = lambda choices: True) -> list[dict[str, str]]:
    rng = Random(seed)
    found: list[dict[str, str]] = []
    while len(found) < number:
        choices = random_choices(rng)
        if rule(choices):
            found.append(choices)
    return found


def found(best: list[dict[str, str]], seed: int = 1) -> list[Draft]:
    return common_ground(best, drawn(1000, seed), DECISIONS, author="statistics")


def constraints(drafts: list[Draft]) -> list[Constraint]:
    return [draft.constraint for draft in drafts]


PLANTED: dict[str, Constraint] = {
    "one option of a decision": Allowed("edge_2", ("conv",)),
    "two options of a decision": Allowed("edge_4", ("conv", "skip")),
    "many of one kind": Count(("conv",), at_least=3),
    "none of a kind": Count(("none",), at_most=0),
    "few of two kinds": Count(("none", "pool"), at_most=1),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("noisy", [0, 3])
def test_planted_common_ground_is_found(name: str, noisy: int) -> None:
    planted = PLANTED[name]
    best = [*drawn(50 - noisy, 2, planted.holds), *drawn(noisy, 3, lambda choices: not planted.holds(choices))]
    drafts = found(best)
    # The very demand, or the same one in other words: few of two kinds are many of the other two.
    anything = drawn(500, 7)
    assert [drafts[0].constraint.holds(choices) for choices in anything] == list(map(planted.holds, anything))
    assert drafts[0].author == "statistics"
    assert drafts[0].text.endswith(".")


def test_of_two_planted_ones_both_are_found() -> None:
    first, second = Allowed("edge_2", ("conv",)), Allowed("edge_4", ("conv", "skip"))
    drafts = found(drawn(50, 2, lambda choices: first.holds(choices) and second.holds(choices)))
    assert set(constraints(drafts)) >= {first, second}


@pytest.mark.parametrize("number", [5, 20, 50])
def test_random_architectures_have_nothing_in_common(number: int) -> None:
    said = [bool(found(drawn(number, 100 + seed), seed)) for seed in range(40)]
    assert sum(said) <= 1


def test_what_all_architectures_obey_is_not_worth_saying() -> None:
    everywhere = drawn(1000, 1, lambda choices: choices["edge_0"] == "conv")
    drafts = common_ground(everywhere[:50], everywhere, DECISIONS, author="statistics")
    assert drafts == []


def test_the_sharpest_comes_first_and_each_narrows_what_those_before_it_leave() -> None:
    many, few = Allowed("edge_2", ("conv",)), Allowed("edge_4", ("conv", "pool"))
    best = drawn(50, 2, lambda choices: many.holds(choices) and few.holds(choices) and choices["edge_1"] != "none")
    at_large = drawn(1000, 1)
    drafts = common_ground(best, at_large, DECISIONS, author="statistics")
    assert 2 <= len(drafts) <= MOST
    shares = [sum(d.constraint.holds(choices) for choices in at_large) / 1000 for d in drafts]
    assert drafts[0].constraint == many
    assert shares[0] == min(shares)
    left = at_large
    for draft in drafts:
        kept = [choices for choices in left if draft.constraint.holds(choices)]
        cover = sum(draft.constraint.holds(choices) for choices in best) / len(best)
        assert cover >= COVER
        assert len(kept) <= NARROWS * len(left)
        assert cover - len(kept) / len(left) >= CLEAR / 50  # at least that many of 50 beyond chance
        left = kept


@pytest.mark.parametrize("seed", range(25))
def test_what_is_said_leaves_no_contradiction_and_much_of_the_best(seed: int) -> None:
    rng = Random(seed)
    worth = {d.name: {option: rng.gauss(0, 1) for option in d.options} for d in DECISIONS}

    def value(choices: Choices) -> float:
        return sum(worth[name][option] for name, option in choices.items())

    best = sorted(drawn(2000, seed), key=value)[-50:]
    drafts = found(best, seed + 1000)
    assert drafts
    assert satisfiable(DECISIONS, constraints(drafts))
    assert all(forbids(draft.constraint, DECISIONS) for draft in drafts)
    obeying = sum(all(draft.constraint.holds(choices) for draft in drafts) for choices in best)
    assert obeying >= (1 - MOST * (1 - COVER)) * len(best)
    assert len(set(constraints(drafts))) == len(drafts)


def test_one_architecture_or_a_few_are_no_ground() -> None:
    assert found(drawn(1, 2)) == []
    assert found(drawn(2, 2)) == []


def test_the_same_input_says_the_same() -> None:
    best = drawn(50, 2, PLANTED["many of one kind"].holds)
    assert found(best) == found(best)


def test_counting_keeps_the_most_frequent_options_of_each_decision() -> None:
    rows = [("conv", "pool"), ("conv", "pool"), ("skip", "none"), ("skip", "conv"), ("pool", "pool")]
    best = [{"edge_0": a, "edge_1": b} for a, b in rows]
    drafts = most_frequent(best, DECISIONS[:2], 2, author="counting")
    # Among equals, the option that the space lists first.
    assert constraints(drafts) == [Allowed("edge_0", ("conv", "skip")), Allowed("edge_1", ("conv", "pool"))]
    assert {draft.author for draft in drafts} == {"counting"}
    assert constraints(most_frequent(best, DECISIONS[:2], 1, author="counting")) == [
        Allowed("edge_0", ("conv",)),
        Allowed("edge_1", ("pool",)),
    ]


def test_counting_that_keeps_all_options_says_nothing() -> None:
    assert most_frequent(drawn(20, 1), DECISIONS, 4, author="counting") == []


def test_shares_are_those_of_the_vectorised_check() -> None:
    coding, best = Coding(DECISIONS), drawn(50, 2, PLANTED["few of two kinds"].holds)
    for draft in found(best):
        plain = sum(draft.constraint.holds(choices) for choices in best) / 50
        assert coding.holds(draft.constraint, coding.encode(best)).mean() == plain
