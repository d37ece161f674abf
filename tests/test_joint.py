"""The surrogate that reads code: what is embedded, and searches whose embedder is strange, inconstant or gone."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner

from nas_agent.cli.main import app
from nas_agent.config import Config, make_config
from nas_agent.errors import ConfigError, ModelError
from nas_agent.records import Architecture, Json
from nas_agent.run import Search, resume, start
from nas_agent.spaces import CategoricalSpace, Floats
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.embeddings import MiniLM, PackagedCode, Vectors, cache_stats
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.home import home
from nas_agent.tools.run_folder import RunFolder, open_folder
from nas_agent.tools.surrogates import make_surrogate
from nas_agent.tools.surrogates.code import code_embedder
from nas_agent.tools.surrogates.joint import SHORTLIST, JointSurrogate
from nas_agent.tools.surrogates.structure import READ, CellSurrogate
from nas_agent.tools.surrogates.transfer import Source
from tests.loopback import Body, Said, Server
from tests.resumed import Killed, killed_at
from tests.searching import WORTH, Diary, LargeToy, Toy, config, evaluation, worth
from tests.test_embedders import encoder as encoder
from tests.test_surrogates import draws, numbers

LARGE = LargeToy()
LARGE_TOY = f"{Path(__file__).parent / 'searching.py'}:LargeToy"


class Words:
    """An embedder that keeps a diary: how often each option occurs, and on which layer first."""

    name, dimension, counts = "words", 2 * len(WORTH), False
    truncated: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts.extend(texts)
        return np.array([[n for word in WORTH for n in (t.count(word), t.find(word))] for t in texts], np.float32)


class Blind(LargeToy):
    def features(self, architecture: Architecture) -> dict[str, Floats]:
        return {"nothing": np.zeros(2)}


def taught(surrogate: JointSurrogate | CellSurrogate, known: Sequence[Architecture]) -> None:
    for architecture in known:
        surrogate.observe(architecture, worth(architecture))


# -- the two stages ---------------------------------------------------------------------------------------


def test_of_hundreds_of_proposals_only_the_shortlist_is_read() -> None:
    embedder, pool = Words(), draws(LARGE, 430)
    surrogate = JointSurrogate(LARGE, None, embedder)
    assert embedder.texts == []  # nothing before the first question
    taught(surrogate, pool[:30])
    surrogate.rank(pool[30:], 1)
    assert len(embedder.texts) == READ + 30 + SHORTLIST
    surrogate.predict(pool[30:])
    assert len(embedder.texts) == READ + 30 + 2 * SHORTLIST


@pytest.mark.parametrize("listed", [True, False])
def test_structure_makes_the_shortlist_and_both_choose_from_it(listed: bool) -> None:
    space: CategoricalSpace = Toy() if listed else LARGE
    pool = draws(space, 230)
    surrogate = JointSurrogate(space, pool if listed else None, Words())
    plain = CellSurrogate(space, pool if listed else None)
    both = CellSurrogate(space, None, embedder=Words())
    for one in (surrogate, plain, both):
        taught(one, pool[:30])
    proposals = pool[30:230]
    bounds = [(item.mean or 0.0) + 2.0 * (item.deviation or 0.0) for item in plain.predict(proposals)]
    shortlist = sorted(range(200), key=lambda place: -bounds[place])[:SHORTLIST]
    assert min(bounds[place] for place in shortlist) > sorted(bounds)[-SHORTLIST - 1] + 1e-6, "no tie at the border"
    expected = both.rank([proposals[place] for place in sorted(shortlist)], 5)
    ranked = surrogate.rank(proposals, 5)
    assert [item.index for item in ranked] == [sorted(shortlist)[item.index] for item in expected]
    assert [(item.mean, item.gain) for item in ranked] == [(item.mean, item.gain) for item in expected]

    told, alone = surrogate.predict(proposals), plain.predict(proposals)
    assert [item.index for item in told] == list(range(200))
    same = [place for place in range(200) if told[place] == alone[place]]
    assert same == sorted(set(range(200)) - set(shortlist))


def test_it_learns_from_code_what_structure_does_not_show() -> None:
    from scipy.stats import spearmanr

    space = Blind()
    pool = draws(space, 100)
    surrogate = JointSurrogate(space, None, Words())
    taught(surrogate, pool[:60])
    means = [item.mean for item in surrogate.predict(pool[60:])]  # fewer than a shortlist
    assert spearmanr(means, [worth(architecture) for architecture in pool[60:]]).statistic > 0.4


def test_questions_in_between_change_nothing_that_is_predicted_later() -> None:
    measured, proposals, others = draws(LARGE, 40), draws(LARGE, 90, seed=1), draws(LARGE, 77, seed=2)
    asked, silent = (JointSurrogate(LARGE, None, Words()) for _ in range(2))
    for architecture in measured:
        for surrogate in (asked, silent):
            surrogate.observe(architecture, worth(architecture))
        asked.rank(others, 2)
        asked.predict(others)
    expected = numbers(silent.rank(proposals, 5))
    assert numbers(asked.rank(proposals, 5)) == expected  # bit for bit


def test_more_than_a_shortlist_can_be_kept_and_none_twice() -> None:
    pool = draws(LARGE, 120)
    surrogate = JointSurrogate(LARGE, None, Words())
    kept = [item.index for item in surrogate.rank(pool, SHORTLIST + 12)]
    assert len(set(kept)) == SHORTLIST + 12
    assert surrogate.rank([], 3) == []
    assert surrogate.predict([]) == []


def test_both_stages_hear_of_other_tasks() -> None:
    embedder, pool = Words(), draws(LARGE, 300)
    best = sorted(pool[:100], key=worth, reverse=True)
    source = Source("near", tuple(best), tuple(np.linspace(2.0, -2.0, 100)))
    surrogate = JointSurrogate(LARGE, None, embedder)
    surrogate.inform([source])
    assert surrogate.agreement.keys() == {"near"}
    first = surrogate.rank(pool[100:], 1)[0].index
    values = sorted(worth(architecture) for architecture in pool[100:])
    assert worth(pool[100 + first]) > values[150]  # a quarter from the top, with nothing measured


def test_equals_at_the_border_fall_by_the_seeds_lot() -> None:
    class Flat(Toy):
        def features(self, architecture: Architecture) -> dict[str, Floats]:
            return {"nothing": np.zeros(2)}

    pool = list(Toy().enumerate() or ())[:200]
    first, again, other = (CellSurrogate(Flat(), pool, seed=seed).promising(pool, 20) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first)
    backwards = CellSurrogate(Flat(), pool, seed=1).promising(pool[::-1], 20)
    assert {pool[::-1][place].id for place in backwards} == {pool[place].id for place in first}


# -- which embedder ---------------------------------------------------------------------------------------


def joint(**settings: object) -> Config:
    return make_config({"surrogate": "joint", **settings})


def test_nb201_by_minilm_has_the_packaged_vectors_of_all_candidates() -> None:
    space, chosen = NasBench201(), Random(0)
    pool = chosen.sample(list(space.enumerate() or ()), 120)
    embedder = code_embedder(joint(), space)
    assert isinstance(embedder, PackagedCode)
    made = make_surrogate("joint", space, pool, seed=3, embedder=embedder)
    own = CellSurrogate(space, pool, embedder=PackagedCode(MiniLM()), seed=3)
    assert isinstance(made, CellSurrogate)
    for surrogate in (made, own):
        for place, architecture in enumerate(pool[:20]):
            surrogate.observe(architecture, float(place % 7))
    assert numbers(made.rank(pool[20:], 9)) == numbers(own.rank(pool[20:], 9))


def test_elsewhere_the_model_is_asked_and_not_projected_on_what_fits_nb201() -> None:
    for space, settings in [(LARGE, {}), (NasBench201(), {"embedder": "random:all-minilm"})]:
        embedder = code_embedder(joint(**settings), space)
        assert embedder is not None
        assert not isinstance(embedder, PackagedCode)
        assert "pca" not in embedder.name
        assert embedder.dimension == 384
    assert code_embedder(make_config({"surrogate": "structure"}), LARGE) is None


@pytest.mark.parametrize("counted", ["tfidf", "char-ngrams"])
def test_term_counts_are_refused_with_where_they_are_compared(counted: str) -> None:
    with pytest.raises(ConfigError, match=rf"--embedder {counted} counts terms.*nas-agent surrogate eval"):
        code_embedder(joint(embedder=counted), LARGE)


def test_a_revision_belongs_to_a_repository() -> None:
    with pytest.raises(
        ConfigError, match="embedder_revision 'v2' is for hf:NAME/REPOSITORY, got --embedder all-minilm"
    ):
        code_embedder(joint(embedder_revision="v2"), LARGE)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--surrogate", "joint", "--embedder", "words"], "--embedder 'words': expected all-minilm"),
        (["--surrogate", "joint", "--embedder", "hf:no/such/model"], "there is no folder"),
        (["--surrogate", "joint", "--embedder", "tfidf"], "counts terms"),
        (["--surrogate", "joint", "--embedder", "openai:tiny"], "set OPENAI_API_KEY"),
        (["--surrogate", "joint", "--embedder", "hf:nobody/nothing", "--offline"], "no network is asked"),
        (["--embedder", "openai:tiny"], "expected --surrogate joint beside it, got auto"),
        (["--set", "embedder_revision=v2", "--surrogate", "structure"], "expected --surrogate joint beside it"),
    ],
)
def test_a_wrong_embedder_is_one_line_before_anything_is_made(tmp_path: Path, flags: list[str], told: str) -> None:
    for dry in ([], ["--dry-run"]):
        where = ["--space", "einspace", "--task", "digits", "--out", str(tmp_path / "runs")]
        ended = CliRunner().invoke(app, ["run", "--budget", "3", *where, *dry, *flags])
        assert ended.exit_code == 2
        assert told in ended.stderr
        assert ended.stderr.count("\n") == 1
        assert not (tmp_path / "runs").exists()


def test_the_plan_names_what_reads_code_and_sends_nothing(service: Server) -> None:
    flags = ["--surrogate", "joint", "--embedder", "openai:tiny", "--dry-run"]
    ended = CliRunner().invoke(app, ["run", "--space", "einspace", "--task", "digits", *flags])
    assert f"joint, code read by openai:tiny@{service.url}" in ended.stdout.replace("\n", "").replace("  ", "")
    assert service.asked == []


# -- searches ---------------------------------------------------------------------------------------------


def vectors_of(texts: Sequence[str], noise: Callable[[], float] = lambda: 0.0) -> Said:
    rows = [{"index": at, "embedding": [text.count(word) + noise() for word in WORTH]} for at, text in enumerate(texts)]
    return Said(raw=json.dumps({"object": "list", "model": "tiny", "data": rows}).encode())


def healthy(body: Body) -> Said:
    return vectors_of(body["input"])


@pytest.fixture
def service(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    server.script = [healthy]
    return server


def by_service(out: Path, **settings: object) -> Config:
    values: dict[str, object] = {"surrogate": "joint", "embedder": "openai:tiny", "budget": 12}
    return config(out, LARGE_TOY, **{**values, **settings})


def the_folder(out: Path) -> RunFolder:
    (path,) = out.iterdir()
    return open_folder(path)


def events_of(out: Path) -> list[Json]:
    return [deterministic(event) for event in read_events(the_folder(out).events)[0]]


def killed_after(point: int, settings: Config) -> None:
    """Start a search and kill it after so many events."""
    with pytest.raises(Killed):
        start(settings, [killed_at(point)], evaluation=evaluation(Diary()))


def test_a_model_folder_serves_a_search_and_is_found_again_from_anywhere(
    tmp_path: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(encoder.parent)
    embedder = "hf:./model"
    result = start(by_service(tmp_path / "runs", embedder=embedder, budget=4), evaluation=evaluation())
    assert len(result.outcomes) == 4
    assert the_folder(tmp_path / "runs").config().embedder == f"hf:{encoder}"
    begun, *rest = events_of(tmp_path / "runs")
    assert begun["surrogate"] == "joint"
    assert begun["embedder"].startswith("model/")
    chosen = [event for event in rest if event["type"] == "proposal" and event["choice"] == "surrogate"]
    assert [event["surrogate"] for event in chosen] == ["joint"] * 3
    assert cache_stats(home() / "cache").embedders.keys() == {begun["embedder"]}


def test_a_service_that_never_says_the_same_twice_is_asked_once_a_text(tmp_path: Path, service: Server) -> None:
    drift = random.Random(0)
    service.script = [lambda body: vectors_of(body["input"], lambda: drift.gauss(0.0, 0.3))]
    start(by_service(tmp_path / "whole"), evaluation=evaluation())
    expected = events_of(tmp_path / "whole")
    asked = [text for body in service.asked for text in body["input"]]
    assert len(set(asked)) == len(asked)
    for point in (8, 20):
        killed_after(point, by_service(tmp_path / str(point)))
        resume(the_folder(tmp_path / str(point)), evaluation=evaluation())
        assert events_of(tmp_path / str(point)) == expected
    greetings = 2
    assert sum(len(body["input"]) for body in service.asked) == len(asked) + greetings


def test_a_service_that_goes_away_costs_the_code_and_not_the_search(tmp_path: Path, service: Server) -> None:
    service.script = [healthy] * 5 + [Said(status=401, text="the key has expired")]
    told: list[Json] = []
    result = start(by_service(tmp_path / "runs"), [told.append], evaluation=evaluation())
    assert len(result.outcomes) == 12
    events = events_of(tmp_path / "runs")
    (place,) = [at for at, event in enumerate(events) if event["type"] == "embedder_failure"]
    assert "the key has expired" in events[place]["why"]
    assert [event["type"] for event in told].count("embedder_failure") == 1
    by = [(at > place, event["surrogate"]) for at, event in enumerate(events) if event.get("choice") == "surrogate"]
    assert {after for after, _ in by} == {True, False}
    assert all(name == ("structure" if after else "joint") for after, name in by)
    asked = len(service.asked)
    assert asked == 6  # nobody knocks again

    shown = CliRunner().invoke(app, ["show", str(the_folder(tmp_path / "runs").path)])
    assert "the embedder failed after" in shown.stdout
    document = CliRunner().invoke(app, ["show", str(the_folder(tmp_path / "runs").path), "--json"])
    assert json.loads(document.stdout)["embedding"] == [events[place]]


def test_what_follows_a_failure_is_what_structure_alone_says_told_from_the_first_outcome(
    tmp_path: Path, service: Server
) -> None:
    service.script = [healthy] * 5 + [Said(status=401, text="gone")]
    start(by_service(tmp_path / "runs"), evaluation=evaluation())
    alone, failed = CellSurrogate(LARGE, None), False
    compared = 0
    for event in events_of(tmp_path / "runs"):
        failed = failed or event["type"] == "embedder_failure"
        if event["type"] == "outcome":
            architecture = Architecture.from_dict(event["outcome"]["architecture"])
            alone.observe(architecture, event["outcome"]["value"])
        elif event["type"] == "proposal" and failed:
            (expected,) = alone.predict([Architecture.from_dict(event["proposal"]["architecture"])])
            assert event["expected"]["mean"] == pytest.approx(expected.mean, abs=1e-4)
            compared += 1
    assert compared > 3


def test_killed_after_the_failure_it_goes_on_without_even_where_the_service_is_back(
    tmp_path: Path, service: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = [healthy] * 5 + [Said(status=401, text="gone")]

    def again() -> None:
        service.script, service.asked = list(script), []
        (home() / "cache" / "embeddings.sqlite").unlink(missing_ok=True)

    again()
    start(by_service(tmp_path / "whole"), evaluation=evaluation())
    expected = events_of(tmp_path / "whole")
    failed = next(at for at, event in enumerate(expected, start=1) if event["type"] == "embedder_failure")
    for point in (failed, failed + 1, failed + 4):
        again()
        killed_after(point, by_service(tmp_path / str(point)))
        service.script, service.asked = [healthy], []
        if point == failed + 4:
            monkeypatch.delenv("OPENAI_API_KEY")  # nothing is needed of what is not asked any more
        resume(the_folder(tmp_path / str(point)), evaluation=evaluation())
        assert events_of(tmp_path / str(point)) == expected
        assert service.asked == []
        assert not (the_folder(tmp_path / str(point)).path / "events.discarded.jsonl").exists()


def test_resumed_while_the_service_is_down_nothing_measured_is_lost(tmp_path: Path, service: Server) -> None:
    killed_after(12, by_service(tmp_path / "runs"))
    before = [event for event in events_of(tmp_path / "runs") if event["type"] == "outcome"]
    (home() / "cache" / "embeddings.sqlite").unlink()
    service.script = [Said(status=401, text="gone")]
    result = resume(the_folder(tmp_path / "runs"), evaluation=evaluation())
    after = [event for event in events_of(tmp_path / "runs") if event["type"] == "outcome"]
    assert after[: len(before)] == before
    assert len(before) > 1
    assert len(result.outcomes) == 12


def test_another_embedder_is_another_search(tmp_path: Path, service: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_after(12, by_service(tmp_path / "runs"))
    monkeypatch.setenv("OPENAI_BASE_URL", f"{service.url}/other")
    with pytest.raises(ConfigError, match=r"embedder was openai:tiny@.*, is openai:tiny@.*/other"):
        resume(the_folder(tmp_path / "runs"), evaluation=evaluation())


def test_a_service_that_refuses_from_the_start_is_told_before_a_folder_is_made(tmp_path: Path, service: Server) -> None:
    service.script = [Said(status=401, text="wrong key")]
    with pytest.raises(ModelError, match="wrong key"):
        start(by_service(tmp_path / "runs"), evaluation=evaluation())
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ModelError, match="wrong key"):
        Search("toy", space=LARGE, evaluation=evaluation(), surrogate="joint", embedder="openai:tiny")


def test_what_is_too_long_is_told_once_in_a_run_also_where_the_cache_knows(tmp_path: Path, encoder: Path) -> None:
    for name in ("first", "second"):  # the second finds every vector on disk
        told: list[Json] = []
        settings = by_service(tmp_path / name, embedder=f"hf:{encoder}", budget=6)
        start(settings, [told.append], evaluation=evaluation())
        (event,) = [event for event in events_of(tmp_path / name) if event["type"] == "truncated"]
        assert event["texts"] >= READ  # the model reads 64 tokens, every text has more
        assert event["embedder"].startswith("model/")
        assert [event["type"] for event in told].count("truncated") == 1
    assert events_of(tmp_path / "first") == events_of(tmp_path / "second")
    shown = CliRunner().invoke(app, ["show", str(the_folder(tmp_path / "first").path)])
    assert "texts are too long for model/" in " ".join(shown.stdout.split())


def test_what_fits_is_not_said_to_be_cut(tmp_path: Path, service: Server) -> None:
    start(by_service(tmp_path / "runs", budget=4), evaluation=evaluation())
    assert not any(event["type"] in {"truncated", "embedder_failure"} for event in events_of(tmp_path / "runs"))


def test_the_embedder_is_no_part_of_a_search_that_reads_no_code(tmp_path: Path) -> None:
    start(config(tmp_path / "runs", budget=3), evaluation=evaluation())
    assert "embedder" not in events_of(tmp_path / "runs")[0]
    with pytest.raises(ConfigError, match="--embedder openai:tiny: expected --surrogate joint"):
        start(config(tmp_path / "other", embedder="openai:tiny"), evaluation=evaluation())
