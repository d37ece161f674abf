"""A proxy as a stage before the surrogate: what it leaves, where scores come from, and what the log keeps of them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_agent import Search
from nas_agent.engine import Engine
from nas_agent.errors import ConfigError
from nas_agent.graphs.checkpoints import events_seen
from nas_agent.records import Architecture, Json
from nas_agent.spaces import load_space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.isolation import Worker, _are_scores
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.evaluators.table import TableEvaluator
from nas_agent.tools.evaluators.train import SCORED, ImageTrainer, TrainEvaluator
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.evaluators.trainer import Part
from nas_agent.tools.event_log import EventLog, deterministic
from nas_agent.tools.images import load_images
from nas_agent.tools.proxies.measures import measure
from nas_agent.tools.proxies.screens import make_screen
from nas_agent.tools.run_folder import create
from nas_agent.tools.tables import load_user_table
from tests.resumed import Killed, killed_at
from tests.searching import TASK, Diary, TestVault, Toy, config, evaluation, worth

NOTHING = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
CELL = "|nor_conv_1x1~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|nor_conv_3x3~2|"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableEvaluator:
    """A table of the toy space in which parameters know the value, and one architecture has none."""
    space, lines = Toy(), ["architecture,val,params"]
    for number, architecture in enumerate(space.enumerate() or ()):
        params = "" if number == 0 else f"{round(1000 * worth(architecture))}"
        lines.append(f'"{architecture.text}",{worth(architecture)},{params}')
    file = tmp_path_factory.mktemp("table") / "toy.csv"
    file.write_text("\n".join(lines) + "\n")
    return TableEvaluator(load_user_table(file, space))


def test_only_the_better_half_by_the_proxy_is_measured(table: TableEvaluator) -> None:
    settings = {"space": Toy(), "budget": 12, "seed": 0, "surrogate": "none", "principles": False}
    found = Evaluation(table.table.task, table, TestVault(), "made up")
    search = Search(table.table.task, evaluation=found, screen="params", **settings)
    search.run()
    middle = np.median([row.value for row in table.table.representatives()])
    chosen = [event for event in search.journal.log.events if event["type"] == "proposal" and not event["initial"]]
    values = [worth(Architecture.from_dict(event["proposal"]["architecture"])) for event in chosen]
    assert len(values) == 11
    assert min(values) >= middle
    assert search.journal.log.events[0]["screen"] == "params"
    other = Search(table.table.task, evaluation=found, **settings)
    other.run()
    plain = [worth(o.architecture) for o in other.result().outcomes]
    assert min(plain) < middle


def test_what_has_no_score_comes_last(table: TableEvaluator) -> None:
    screen = make_screen("params", Evaluation(TASK, table, TestVault(), "x"), seed=0)
    assert screen is not None
    everything = list(table.pool())
    scores = screen(everything)
    assert scores.count(None) == 1
    assert screen.listed


@pytest.mark.parametrize("name", ["naswot", "snip", "params"])
def test_a_proxy_that_nothing_knows_is_one_clear_line(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"--screen {name}: the evaluator 'diary' has no such score"):
        Search(TASK, space=Toy(), evaluation=evaluation(), screen=name)
    with pytest.raises(ConfigError, match="screen"):
        Search(TASK, space=Toy(), evaluation=evaluation(), screen="luck")


def test_the_published_naswot_column_screens_nasbench201() -> None:
    if not os.environ.get("NAS_AGENT_DATA"):
        pytest.skip("NAS_AGENT_DATA is not set: there is no table")
    found = load_evaluation("cifar10", load_space("nb201"), "table", data=None, epochs=None)
    screen = make_screen("naswot", found, seed=0)
    assert screen is not None
    pool = found.evaluator.pool() or ()
    scores = screen(list(pool))
    assert scores.count(None) == 5  # cells without a path
    column = np.load(Path(os.environ["NAS_AGENT_DATA"]) / "nb201.npz")["nwot_c10"]
    assert {np.float32(score) for score in scores if score is not None} <= set(column)


# -- what is computed ----------------------------------------------------------------------------------


@dataclass
class Counting:
    """A proxy that takes effort: it notes what it was asked for."""

    asked: list[str] = field(default_factory=list)
    name: str = "naswot"
    listed: bool = False

    def __call__(self, architectures: Sequence[Architecture]) -> list[float | None]:
        self.asked += [architecture.id for architecture in architectures]
        return [None if each.text.count("pool") > 2 else worth(each) for each in architectures]


def searched(
    folder_in: Path, screen: Counting, *, stop_at: int | None = None, resumed: bool = False
) -> tuple[list[Json], bool]:
    """Run in a folder with this proxy; return the events, and whether the run was killed after event `stop_at`."""
    if resumed:
        (path,) = folder_in.iterdir()
        from nas_agent.tools.run_folder import open_folder

        folder = open_folder(path)
        log = EventLog.reopen(folder.events, events_seen(folder.checkpoints) or 0)
    else:
        folder = create(config(folder_in, budget=6), "0")
        log = EventLog(folder.events)
    listeners = [] if stop_at is None else [killed_at(stop_at)]
    engine = Engine(folder.config(), Toy(), evaluation(Diary()), log, folder=folder, listeners=listeners)
    engine.services.screen = screen
    try:
        engine.run()
    except Killed:
        log.close()
        return log.events, True
    return [deterministic(event) for event in log.events], False


def test_computed_scores_stand_in_the_log_and_each_is_computed_once(tmp_path: Path) -> None:
    screen = Counting()
    events, _ = searched(tmp_path, screen)
    logged = [event for event in events if event["type"] == "screened"]
    assert len(logged) >= 3
    assert [key for event in logged for key in event["scores"]] == screen.asked
    assert len(set(screen.asked)) == len(screen.asked)
    chosen = [event["proposal"]["architecture"] for event in events if event["type"] == "proposal"]
    assert not any(architecture["text"].count("pool") > 2 for architecture in chosen[1:])
    assert {architecture["id"] for architecture in chosen[1:]} <= set(screen.asked)


@pytest.mark.parametrize("point", range(2, 25, 3))
def test_stopped_anywhere_it_goes_on_and_computes_no_score_that_is_logged(tmp_path: Path, point: int) -> None:
    whole = Counting()
    expected, _ = searched(tmp_path / "whole", whole)
    first, second = Counting(), Counting()
    _, killed = searched(tmp_path / "cut", first, stop_at=point)
    assert killed
    logged = {key for event in expected[:point] if event["type"] == "screened" for key in event["scores"]}
    events, _ = searched(tmp_path / "cut", second, resumed=True)
    assert events == expected
    assert not logged & set(second.asked)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    found = Worker()
    yield found
    found.close()


def test_proxies_are_computed_in_a_child_of_the_process_that_trains(worker: Worker) -> None:
    images, space, names = load_images("digits", data=None, resolution=None), NasBench201(), ["naswot", "snip"]
    training = TrainSettings(epochs=1, width=4, device="cpu", precision="float32").training(images, "nb201")
    trainer = ImageTrainer(training, lambda: images, worker=lambda: worker)
    found = trainer.proxies(space.parse(CELL), names, 3)
    torch.manual_seed(3)
    network = space.network(space.parse(CELL), classes=10, in_channels=1, width=4)
    part = Part(images.train.pixels[:SCORED], images.train.labels[:SCORED], images.mean, images.spread, "cpu")
    here = measure(network, part.scaled(part.pixels), part.labels, names)
    assert found["naswot"] == pytest.approx(here["naswot"], rel=0.02)
    assert found == trainer.proxies(space.parse(CELL), names, 3)
    assert trainer.proxies(space.parse(NOTHING), names, 3)["naswot"] is None
    screen = make_screen("naswot", Evaluation(TASK, TrainEvaluator(trainer), TestVault(), "x"), seed=3)
    assert screen is not None
    assert screen([space.parse(CELL), space.parse(NOTHING)]) == [found["naswot"], None]


@pytest.mark.parametrize("scores", [None, [], {"naswot": "high"}, {"naswot": math.nan}, {"naswot": True}, {1: 2.0}])
def test_a_reply_that_holds_no_scores_is_none(scores: object) -> None:
    assert not _are_scores(scores)
    assert _are_scores({"naswot": None, "params": 3, "snip": 0.5})
