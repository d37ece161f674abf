"""Drawings of cells, and the story of a principle from events alone."""

from __future__ import annotations

import ast
from random import Random
from typing import Any

import pytest

from nas_agent.cli.drawing import draw, draw_cell
from nas_agent.cli.trace import trace
from nas_agent.cli.wording import duration, number, sparkline
from nas_agent.errors import ConfigError
from nas_agent.records import Architecture
from nas_agent.spaces import CategoricalSpace, Decision
from nas_agent.spaces.cell_graph import CellGraph, Edge, Operation
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.spaces.pytorch import Pytorch

Json = dict[str, Any]
SPACE = NasBench201()


def drawn(text: str, **options: Any) -> list[str]:
    return draw(SPACE, SPACE.parse(text), width=78, **options)


def test_a_cell_is_drawn_with_its_live_edges_only() -> None:
    cell = "|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
    assert drawn(cell) == [
        "                         ┌── nor_conv_1x1 ───┐",
        "                         │                   ▼",
        "( 0 )─ nor_conv_3x3 ─▶( 1 )        2        ( 3 )",
        "   │                                         ▲",
        "   └───────────── skip_connect ──────────────┘",
    ]


def test_a_long_line_of_a_program_goes_on_further_in_and_stays_the_same_program() -> None:
    program = "class Network(nn.Module):\n\n    def __init__(self):\n        self.a = nn.Sequential(" + (
        ", ".join(f"nn.Conv2d({16 * i}, {16 * i + 16}, 3, padding=1)" for i in range(1, 6)) + ")"
    )
    lines = draw(Pytorch(), Architecture("pytorch", program, "0"), width=76)
    assert all(len(line) <= 76 for line in lines)
    assert lines[4].startswith(" " * 16 + "nn.Conv2d(")
    assert ast.dump(ast.parse("\n".join(lines))) == ast.dump(ast.parse(program))


def test_edges_that_begin_or_end_together_join_without_crossing() -> None:
    cell = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_1x1~1|nor_conv_3x3~2|"
    assert drawn(cell) == [
        "   ┌──────────────────────── skip_connect ─────────────────────────┐",
        "   ├───────────── nor_conv_3x3 ──────────────┐                     │",
        "   │                                         ▼                     ▼",
        "( 0 )─ nor_conv_3x3 ─▶( 1 )─ nor_conv_3x3 ─▶( 2 )─ nor_conv_3x3 ─▶( 3 )",
        "                         │                                         ▲",
        "                         └───────────── nor_conv_1x1 ──────────────┘",
    ]


def test_a_cell_without_a_path_says_so() -> None:
    cell = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
    assert drawn(cell) == ["(no path leads from the input to the output)"]


def test_every_cell_fits_80_columns_and_names_each_live_operation_once() -> None:
    rng = Random(0)
    for _ in range(200):
        architecture = SPACE.sample(rng)
        graph = SPACE.graph(architecture)
        live = [edge.operation for edge, alive in zip(graph.edges, graph.live(), strict=True) if alive]
        for unicode in (True, False):
            lines = draw(SPACE, architecture, width=76, unicode=unicode)
            assert max(map(len, lines)) <= 76
            text = "\n".join(lines)
            for operation in set(live):
                assert text.count(f" {operation} ") == live.count(operation)
            assert "┼" not in text
            assert unicode or text.isascii()


def test_a_graph_that_is_too_wide_is_written_as_sums() -> None:
    operations = (Operation("none", "zero"), Operation("a_rather_long_name_of_an_operation", "conv"))
    edges = (*tuple(Edge(i, i + 1, operations[1].name) for i in range(4)), Edge(0, 4, operations[1].name))
    lines = draw_cell(CellGraph(5, edges, operations), width=80)
    assert lines[0] == "node 1 = a_rather_long_name_of_an_operation(0)"
    assert lines[3:] == [
        "node 4 = a_rather_long_name_of_an_operation(3) +",
        "  a_rather_long_name_of_an_operation(0)",
    ]


def test_a_space_without_a_graph_is_a_table_of_choices() -> None:
    class Widths(CategoricalSpace):
        name = "widths"
        decisions = (Decision("depth", ("2", "4")), Decision("wide", ("yes", "no")))

    space = Widths()
    assert draw(space, space.parse("depth=4,wide=no"), width=80) == ["depth  4", "wide   no"]


# -- trace ------------------------------------------------------------------------------------------------

EVIDENCE = {"supporting": ["a"], "opposing": [], "effect": 1.0, "low": 0.5, "high": 1.5, "others": 3, "tasks": ["t"]}


def change(action: str, version: int, status: str, evaluations: int, identity: str = "P1") -> Json:
    principle = {
        "id": identity, "version": version, "text": f"text {version}", "author": "statistics", "status": status,
        "constraint": {"kind": "allowed", "decision": "depth", "options": ["a"]},
        "evidence": {**EVIDENCE, "others": evaluations},
    }  # fmt: skip
    why = f"because {action}"
    return {"type": "principle", "action": action, "principle": principle, "why": why, "evaluations": evaluations}


def proposal(number: int, *principles: str, outside: bool = False) -> Json:
    architecture = {"space": "s", "text": f"x{number}", "id": f"id{number}"}
    data = {"architecture": architecture, "author": "mutation", "parents": [], "principles": list(principles)}
    return {"type": "proposal", "evaluation": number, "round": number, "proposal": {**data, "outside": outside}}


def came(number: int, value: float | None) -> Json:
    data = {"kind": "failed", "reason": "too deep"} if value is None else {"kind": "measured", "value": value}
    return {"type": "outcome", "evaluation": number, "outcome": data}


EVENTS = [
    proposal(1), came(1, 10.0),
    change("created", 1, "candidate", 1),
    proposal(2), came(2, 11.0),
    change("activated", 1, "active", 2),
    change("created", 1, "active", 2, "P2"),
    proposal(3, "P1@1", "P2@1"), came(3, 20.0),
    proposal(4, "P2@1", outside=True), came(4, 12.0),
    proposal(5, "P1@1", outside=True), came(5, 22.0),
    change("revised", 2, "active", 5),
    proposal(6, "P1@2"), came(6, 24.0),
    proposal(7, "P1@2"), came(7, None),
    change("retired", 2, "retired", 7),
    proposal(8, "P2@1"), came(8, 30.0),
]  # fmt: skip


def test_a_trace_has_each_change_with_when_and_why() -> None:
    found = trace(EVENTS, "P1")
    assert [(step["evaluations"], step["action"], step["version"]) for step in found.history] == [
        (1, "created", 1), (2, "activated", 1), (5, "revised", 2), (7, "retired", 2),
    ]  # fmt: skip
    assert found.history[3]["why"] == "because retired"
    assert (found.status, found.version, found.text) == ("retired", 2, "text 2")
    assert found.evidence["others"] == 7  # the latest


def test_a_trace_counts_proposals_only_while_the_principle_was_active() -> None:
    found = trace(EVENTS, "P1")
    assert [(p["evaluation"], p["followed"], p["version"]) for p in found.proposals] == [
        (3, True, 1), (4, False, None), (5, True, 1), (6, True, 2), (7, True, 2),
    ]  # fmt: skip
    assert found.proposals[4]["failed"] == "too deep"
    assert found.proposals[4]["value"] is None


def test_a_trace_compares_followers_with_others_split_by_share() -> None:
    scores = trace(EVENTS, "P1").scores
    inside = scores["followed"]["inside"]
    assert (inside["count"], inside["failed"], inside["mean"], inside["min"], inside["max"]) == (3, 1, 22.0, 20.0, 24.0)
    assert inside["low"] == pytest.approx(22.0 - 12.706 * 2.0, rel=1e-3)  # Student's t, one degree of freedom
    assert scores["followed"]["outside"]["mean"] == 22.0
    assert scores["followed"]["outside"]["low"] is None  # one value has no interval
    assert scores["not_followed"]["outside"]["mean"] == 12.0
    assert scores["not_followed"]["inside"]["count"] == 0
    assert scores["followed"]["all"]["count"] == 4


def test_a_trace_takes_the_reference_of_a_version_and_names_what_there_is() -> None:
    assert trace(EVENTS, "P1@1") == trace(EVENTS, "P1")
    with pytest.raises(ConfigError, match="it has P1, P2"):
        trace(EVENTS, "P3")


# -- wording ------------------------------------------------------------------------------------------------


def test_percentages_have_two_decimals_and_other_units_five_digits() -> None:
    assert number(73.4933, "%") == "73.49 %"
    assert number(0.0012345678, "s") == "0.0012346 s"
    assert number(None, "%") == "-"


def test_durations_are_written_in_units_people_use() -> None:
    spans = [0.04, 12.3, 95, 3599, 7200, 4 * 86400]
    assert [duration(s) for s in spans] == ["0.0 s", "12 s", "95 s", "59 min 59 s", "2 h 0 min", "4.0 days"]


def test_a_sparkline_rises_whatever_the_direction() -> None:
    assert sparkline([1.0, 2.0, 3.0], 10) == "▁▄█"
    assert sparkline([3.0, 2.0, 1.0], 10, rising=False) == "▁▄█"
    assert sparkline([None, 1.0, 2.0], 10) == " ▁█"
    assert len(sparkline([float(i) for i in range(500)], 60)) == 60
    assert sparkline([1.0, 2.0], 10, unicode=False).isascii()
