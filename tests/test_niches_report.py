"""`nas-agent archive RUN`: the heat map leads to code, the best one's ancestors are diffs, prompts are counted."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nas_agent.cli.main import app
from nas_agent.cli.niches_document import as_document
from nas_agent.cli.niches_html import heat_map, page, shapes
from nas_agent.cli.niches_markdown import text
from nas_agent.cli.story import Story
from nas_agent.errors import ConfigError, RunFolderError
from nas_agent.run import start
from nas_agent.tools.run_folder import open_folder
from tests.test_quality_diversity import SPACE, Weigher, configured, measured_by

Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("archive")
    os.environ["NAS_AGENT_HOME"] = str(out / "home")
    settings = configured(out / "runs", budget=60, batch=5)
    return Path(start(settings, evaluation=measured_by(Weigher())).run or "")


@pytest.fixture(scope="module")
def data(folder: Path) -> Json:
    return as_document(Story.read(open_folder(folder)), SPACE.source)


class Reader(HTMLParser):
    """Collects links, ids and open tags."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.links += [given["href"] or ""] if "href" in given else []
        self.ids += [given["id"] or ""] if "id" in given else []


def test_every_filled_niche_is_a_link_to_its_code(data: Json) -> None:
    written = page(data)
    read = Reader()
    read.feed(written)
    assert len(read.links) == data["filled"] == len(data["elites"]) > 5
    assert {link.removeprefix("#") for link in read.links} == {one for one in read.ids if one.startswith("n")}
    assert read.tags.count("polygon") == 100
    assert "script" not in read.tags
    assert all("nn.Module" in elite["code"] for elite in data["elites"])


def test_one_bad_network_does_not_make_all_others_look_alike(data: Json) -> None:
    bad = {**data["elites"][0], "value": -1000.0}
    plain, spoiled = heat_map(data), heat_map({**data, "elites": [bad, *data["elites"][1:]]})
    colours = [set(re.findall('fill="(#[0-9a-f]{6})"', drawn.split("<text")[0])) for drawn in (plain, spoiled)]
    assert len(colours[1]) > len(colours[0]) / 2 > 2
    assert "≤ " in spoiled
    assert "-1000" not in spoiled.split("<text")[-1]


def test_the_niches_of_the_map_tile_the_square_and_hold_their_centres(data: Json) -> None:
    def area(points: list[tuple[float, float]]) -> float:
        turned = zip(points, [*points[1:], *points[:1]], strict=True)
        return abs(sum(a[0] * b[1] - b[0] * a[1] for a, b in turned)) / 2

    assert sum(area(shape) for shape in shapes(data)) == pytest.approx(1.0)
    grid = {**data, "edges": [[0.0, 0.5, 1.0], [0.0, 0.25, 1.0]]}
    assert sum(area(shape) for shape in shapes(grid)) == pytest.approx(1.0)
    assert shapes(grid)[1][0] == (0.0, 0.25)  # numbered as the archive does: the last axis fastest


def test_the_lineage_leads_from_the_start_to_the_best_by_diffs(data: Json) -> None:
    steps = data["lineage"]
    assert steps[0]["author"] == "start"
    assert steps[0]["diff"] is None
    assert steps[-1]["value"] == max(elite["value"] for elite in data["elites"])
    for before, after in itertools.pairwise(steps):
        assert after["parents"][0] == before["id"]
        assert after["diff"].startswith(f"--- {before['id']}\n+++ {after['id']}")
    assert text(data).count("```diff") == len(steps) - 1


def test_counts_by_prompt_add_up(data: Json, folder: Path) -> None:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    misses = [miss for event in events if event["type"] == "proposed" for miss in event.get("misses", [])]
    rows = data["operators"]
    assert sum(row["tried"] for row in rows) == 59 + len(misses)  # all but the start
    assert sum(row["measured"] for row in rows) == 59
    assert sum(row["known"] for row in rows) == sum(miss["known"] for miss in misses)
    failed = sum(event["type"] == "outcome" and event["outcome"]["kind"] == "failed" for event in events)
    assert sum(row["trainable"] for row in rows) == 59 - failed
    for row in rows:
        assert row["improved"] <= row["trainable"] <= row["measured"] <= row["made"] <= row["tried"]
        assert row["operator"] == ("crossover" if row["intent"] == "combine" else "mutation")
    assert sum(row["improved"] for row in rows) > 0
    kinds = {(row["operator"], row["by"]): row for row in data["kinds"]}
    assert set(kinds) == {("mutation", "program"), ("crossover", "program")}
    for name in ("tried", "trainable", "improved"):
        assert sum(row[name] for row in kinds.values()) == sum(row[name] for row in rows)
    assert kinds["crossover", "program"]["tried"] == sum(row["tried"] for row in rows if row["intent"] == "combine")


def test_what_failed_is_counted_by_reason_and_told_everywhere(data: Json, folder: Path) -> None:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    misses = [miss for event in events if event["type"] == "proposed" for miss in event.get("misses", [])]
    reasons = Counter(miss["why"] for miss in misses if not miss["known"])
    failed = [event["outcome"] for event in events if event["type"] == "outcome"]
    reasons.update(outcome["reason"] for outcome in failed if outcome["kind"] == "failed")
    counted: Counter[str] = Counter()
    for row in data["failures"]:
        counted[row["why"]] += row["count"]
    assert counted == reasons
    prose = {"failed": "not made", "by": "model", "count": 3, "why": "expected code, got <b>prose</b> | and more"}
    told = {**data, "failures": [prose]}
    assert "<h2>What failed</h2>" in page(told)
    assert "&lt;b&gt;prose&lt;/b&gt;" in page(told)
    assert "| not made | model | 3 | expected code, got <b>prose</b> \\| and more |" in text(told)
    assert "What failed" not in page({**data, "failures": []}) + text({**data, "failures": []})


def test_the_curve_of_filled_niches_never_falls(data: Json) -> None:
    filled = [point[1] for point in data["curve"]]
    assert filled == sorted(filled)
    assert filled[-1] == data["filled"]
    scores = [point[2] for point in data["curve"]]
    assert scores == sorted(scores)  # all values of this task are positive
    assert scores[-1] == pytest.approx(data["qd_score"])


def test_code_and_names_are_escaped(data: Json) -> None:
    evil = "</pre><script>alert(1)</script>"
    elites = [{**data["elites"][0], "code": evil, "intent": evil, "by": evil}, *data["elites"][1:]]
    assert evil not in page({**data, "elites": elites, "task": evil, "lineage": [{**data["lineage"][0], "code": evil}]})
    fenced = text({**data, "elites": [{**data["elites"][0], "code": "```\n# a heading"}], "lineage": []})
    assert "````python\n```\n# a heading\n````" in fenced


def test_the_command_writes_what_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    target = [str(folder), "--html", str(tmp_path / "a.html"), "--markdown", str(tmp_path / "a.md")]
    done = CliRunner().invoke(app, ["archive", *target])
    assert done.exit_code == 0, done.output
    assert re.search(r"\d+ of 100 filled", done.output)
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert {"## By prompt", "## By operator"} <= set((tmp_path / "a.md").read_text().splitlines())
    assert "<h2>By operator</h2>" in (tmp_path / "a.html").read_text()
    told = CliRunner().invoke(app, ["archive", str(folder), "--json"])
    assert json.loads(told.output)["niches"] == 100


def test_a_run_without_an_archive_is_refused(tmp_path: Path) -> None:
    run = start(configured(tmp_path / "runs", generator="evolve", budget=2), evaluation=measured_by(Weigher())).run
    with pytest.raises(ConfigError, match="keeps no archive: it was run with --generator evolve"):
        as_document(Story.read(open_folder(Path(run or ""))), SPACE.source)


def test_a_log_without_measures_is_told_with_its_file(folder: Path) -> None:
    story = Story.read(open_folder(folder))
    for event in story.events:
        if event["type"] == "proposal":
            event["proposal"].pop("measures")
    with pytest.raises(RunFolderError, match=r"events\.jsonl: its archive cannot be made again"):
        as_document(story, SPACE.source)


def test_a_target_that_cannot_be_written_is_told_first(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["archive", str(folder), "--html", str(tmp_path / "none" / "a.html")])
    assert done.exit_code == 2
    assert not (tmp_path / "none").exists()
