"""Principles of one space in the words of another."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_agent.principles.constraint import Allowed, Constraint, Count, When
from nas_agent.principles.principle import Draft
from nas_agent.principles.refinement import forbids, satisfiable
from nas_agent.principles.translation import translate
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.spaces.cell_graph import Operation
from nas_agent.spaces.nasbench201 import NasBench201


@dataclass(frozen=True)
class Made:
    """What translation asks of a space."""

    name: str
    operations: tuple[Operation, ...]
    decisions: tuple[Decision, ...]


def made(name: str, operations: tuple[Operation, ...], edges: int, *others: Decision, prefix: str = "edge") -> Made:
    names = tuple(operation.name for operation in operations)
    on_edges = tuple(Decision(f"{prefix}_{place}", names, role="operation") for place in range(edges))
    return Made(name, operations, (*on_edges, *others))


FROM = made(
    "from",
    (
        Operation("zero", "zero"),
        Operation("skip", "identity", kernel=1),
        Operation("conv_1", "conv", kernel=1),
        Operation("conv_3", "conv", kernel=3),
        Operation("pool_3", "pool", kernel=3),
    ),
    6,
    Decision("depth", ("2", "4"), role="depth"),
)
SAME = made(
    "same",
    (
        Operation("id", "identity", kernel=1),
        Operation("c1", "conv", kernel=1),
        Operation("c3", "conv", kernel=3),
        Operation("max_3", "pool", kernel=3),
        Operation("avg_3", "pool", kernel=3),
        Operation("attention", "other"),
    ),
    3,
    Decision("depth", ("2", "4"), role="depth"),
)


def told(constraint: Constraint, source: object = FROM, target: object = SAME) -> Constraint | None:
    draft = translate(Draft("some words", constraint, "statistics"), source, target)  # type: ignore[arg-type]
    return None if draft is None else draft.constraint


def test_operations_correspond_by_what_they_do_and_the_nearest_kernel() -> None:
    assert told(Count(("conv_3",), at_least=6)) == Count(("c3",), at_least=3)
    assert told(Count(("conv_1", "conv_3"), at_least=6)) == Count(("c1", "c3"), at_least=3)
    assert told(Count(("skip",), at_most=0)) == Count(("id",), at_most=0)
    wide = made("wide", (Operation("c5", "conv", kernel=5), Operation("c9", "conv", kernel=9)), 6)
    assert told(Count(("conv_3",), at_least=2), FROM, wide) == Count(("c5",), at_least=2)


def test_all_operations_that_are_equally_near_are_meant() -> None:
    assert told(Count(("pool_3",), at_most=0)) == Count(("avg_3", "max_3"), at_most=0)


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [(2, None, (1, None)), (3, None, (1, None)), (0, 3, (0, 2)), (0, 2, (0, 1)), (4, 5, (2, None)), (4, 4, (2, 2))],
)
def test_counts_are_shares_of_the_decisions_on_operations(
    least: int, most: int | None, expected: tuple[int, int | None]
) -> None:
    found = told(Count(("conv_3",), at_least=least, at_most=most))
    # Rounded so that the translated demand is never the stronger one.
    assert isinstance(found, Count)
    assert found.at_least == expected[0]
    assert found.at_most in {expected[1], 3}


def test_what_a_decision_takes_is_translated_to_the_decision_of_the_same_name() -> None:
    assert told(Allowed("edge_1", ("conv_1", "conv_3"))) == Allowed("edge_1", ("attention", "c1", "c3"))
    assert told(Allowed("edge_5", ("conv_3",))) is None  # the target has no such edge


def test_what_the_source_does_not_know_stays_allowed() -> None:
    found = told(Allowed("edge_0", ("conv_3",)))
    assert found == Allowed("edge_0", ("attention", "c3"))  # nobody has judged attention there


def test_a_condition_needs_both_of_its_decisions() -> None:
    then = Allowed("edge_1", ("conv_3",))
    expected = When("edge_0", ("id",), Allowed("edge_1", ("attention", "c3")))
    assert told(When("edge_0", ("skip",), then)) == expected
    assert told(When("edge_5", ("skip",), then)) is None
    assert told(When("edge_0", ("skip",), Allowed("edge_5", ("conv_3",)))) is None
    assert told(When("edge_0", ("zero",), then)) is None  # zero has no counterpart


@pytest.mark.parametrize(
    "constraint",
    [
        Count(("zero",), at_most=0),  # an operation that the target does not have
        Allowed("edge_0", ("zero",)),
        Allowed("depth", ("2",)),  # a decision on something else
        When("depth", ("2",), Allowed("edge_0", ("conv_3",))),
    ],
    ids=str,
)
def test_what_has_no_counterpart_is_not_translated(constraint: Constraint) -> None:
    assert told(constraint) is None


@pytest.mark.parametrize(
    "constraint",
    [
        Count(("conv_3",), at_least=1),  # half a decision: rounded down, nothing is left of it
        Allowed("edge_0", ("skip", "conv_1", "conv_3", "pool_3")),  # forbids what the target does not have
        Count(("conv_3",), at_most=6),
    ],
    ids=str,
)
def test_what_would_forbid_nothing_is_not_translated(constraint: Constraint) -> None:
    assert told(constraint) is None


def test_what_nothing_could_obey_is_not_translated() -> None:
    few = Made(
        "few",
        SAME.operations,
        (*SAME.decisions[:1], *(Decision(f"x_{n}", ("id", "c1"), role="operation") for n in range(5))),
    )
    assert told(Count(("conv_3",), at_least=3), FROM, few) is None  # one decision of six can take c3
    assert told(Count(("conv_3",), at_least=1), FROM, few) == Count(("c3",), at_least=1)


def test_edges_of_another_space_are_not_matched_by_other_names() -> None:
    layers = made("layers", SAME.operations, 6, prefix="layer")
    assert told(Allowed("edge_1", ("conv_3",)), FROM, layers) is None
    assert told(Count(("conv_3",), at_least=2), FROM, layers) == Count(("c3",), at_least=2)


def test_an_operation_that_no_decision_offers_is_no_counterpart() -> None:
    offered = tuple(Decision(f"edge_{n}", ("id", "c3"), role="operation") for n in range(6))
    bare = Made("bare", SAME.operations, offered)
    assert told(Count(("pool_3",), at_most=0), FROM, bare) is None
    # The 3x3 convolution that is left has a nearer counterpart than this one.
    assert told(Count(("conv_1",), at_least=2), FROM, bare) is None
    assert told(Count(("conv_1", "conv_3"), at_least=2), FROM, bare) == Count(("c3",), at_least=2)  # a whole kind


def test_a_principle_is_never_turned_round_where_kernels_coincide() -> None:
    large = made("large", (Operation("skip", "identity", kernel=1), Operation("c3", "conv", kernel=3)), 6)
    assert told(Count(("conv_1",), at_most=0), FROM, large) is None
    assert told(Count(("pool_3", "conv_3"), at_least=3), FROM, large) is None  # three poolings would do
    assert told(Count(("pool_3", "conv_3"), at_most=3), FROM, large) == Count(("c3",), at_most=3)


def test_a_space_without_operations_shares_none() -> None:
    plain = Made("plain", (), (Decision("width", ("16", "32")),))
    assert told(Count(("conv_3",), at_least=2), FROM, plain) is None
    assert told(Count(("16",), at_least=1), plain, FROM) is None
    assert told(Allowed("width", ("16",)), plain, FROM) is None


def test_a_translated_principle_is_marked_and_said_in_the_words_of_the_target() -> None:
    draft = translate(Draft("old words", Count(("conv_3",), at_least=6), "somebody"), FROM, SAME)  # type: ignore[arg-type]
    assert draft is not None
    assert draft.author == "somebody, translated from from"
    assert draft.text == "Use c3 at least 3 times."


def test_to_the_same_space_it_is_the_same_constraint() -> None:
    space = NasBench201()
    for constraint in (
        Allowed("edge_2_3", ("nor_conv_1x1", "nor_conv_3x3")),
        Count(("nor_conv_3x3",), at_least=3),
        Count(("none", "avg_pool_3x3"), at_most=1),
        When("edge_0_1", ("none",), Allowed("edge_2_3", ("nor_conv_3x3",))),
    ):
        assert told(constraint, space, space) == constraint


KINDS = ("zero", "identity", "pool", "conv", "other")


@st.composite
def spaces(draw: st.DrawFn, name: str) -> Made:
    shapes = draw(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 7)), min_size=1, max_size=6, unique=True))
    operations = tuple(Operation(f"{name}_{kind}_{kernel}", kind, kernel) for kind, kernel in shapes)  # type: ignore[arg-type]
    names = tuple(operation.name for operation in operations)
    edges = draw(st.integers(1, 6))
    decisions = tuple(
        Decision(f"edge_{n}", tuple(draw(st.lists(st.sampled_from(names), min_size=1, unique=True))), role="operation")
        for n in range(edges)
    )
    return Made(name, operations, (*decisions, Decision("depth", ("2", "4"), role="depth")))


@st.composite
def constraints_in(draw: st.DrawFn, space: Made) -> Constraint:
    def allowed() -> Allowed:
        decision = draw(st.sampled_from(space.decisions))
        return Allowed(decision.name, tuple(draw(st.lists(st.sampled_from(decision.options), min_size=1, unique=True))))

    kind = draw(st.sampled_from(("allowed", "count", "when")))
    if kind == "allowed":
        return allowed()
    if kind == "when":
        condition = allowed()
        return When(condition.decision, condition.options, allowed())
    names = [operation.name for operation in space.operations]
    options = tuple(draw(st.lists(st.sampled_from(names), min_size=1, unique=True)))
    least = draw(st.integers(0, 6))
    most = draw(st.none() | st.integers(least, 7))
    return Count(options, at_least=least, at_most=most)


@given(st.data())
def test_what_is_translated_can_be_obeyed_and_forbids_something(data: st.DataObject) -> None:
    source, target = data.draw(spaces("a")), data.draw(spaces("b"))
    found = told(data.draw(constraints_in(source)), source, target)
    if found is not None:
        found.check(target.decisions)  # it speaks of this space's decisions and options alone
        assert satisfiable(target.decisions, [found])
        assert forbids(found, target.decisions)


def test_a_user_s_space_takes_part_by_stating_its_operations() -> None:
    class Layers(CategoricalSpace):
        name = "layers"
        operations = SAME.operations
        decisions = tuple(
            Decision(f"layer_{n}", tuple(o.name for o in SAME.operations), role="operation") for n in range(12)
        )

    found = told(Count(("nor_conv_3x3",), at_least=3), NasBench201(), Layers())
    assert found == Count(("c3",), at_least=6)
