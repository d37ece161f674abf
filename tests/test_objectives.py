"""Limits, fronts and searches with two objectives: what is read, what is refused, and what is never measured."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from typer.testing import CliRunner

from nas_agent.agents.generators import Brief
from nas_agent.bench import wishes as bench_wishes
from nas_agent.bench.compare import FRONT_METHODS, Setting, compare
from nas_agent.bench.methods import Meter, Problem
from nas_agent.cli.main import app
from nas_agent.config import make_config
from nas_agent.errors import ConfigError, DataError
from nas_agent.objectives import Quantity, Reference, front, hypervolume, limit, limits, reference, second_objective
from nas_agent.records import Architecture, Proposal
from nas_agent.run import Search, resume, start
from nas_agent.spaces import CategoricalSpace, load_space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.benchmarks.nb201 import LATENCIES
from nas_agent.tools.costs import Costs
from nas_agent.tools.costs.base import Listed
from nas_agent.tools.evaluators.base import ImageShape
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.surrogates.base import Ranked
from nas_agent.tools.surrogates.pareto import ParetoSurrogate, area_won
from tests.resumed import Killed, killed_at
from tests.searching import TASK, Diary, LargeToy, Toy, evaluation, worth

DATA = os.environ.get("NAS_AGENT_DATA")
needs_tables = pytest.mark.skipif(not DATA, reason="NAS_AGENT_DATA is not set: no benchmark tables here")
PARAMS = Quantity("params")


# -- what users write -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "most"),
    [
        ("params<=0.8M", "params", 0.8e6),
        (" flops <= 100 M", "flops", 1e8),
        ("latency@raspi4<=20ms", "latency@raspi4", 20.0),
        ("latency<=0.02s", "latency", 20.0),
        ("size<=2MB", "size", 2.0),
        ("params<=1e6", "params", 1e6),
    ],
)
def test_a_limit_is_read_in_its_unit(text: str, name: str, most: float) -> None:
    found = limit(text)
    assert (found.quantity.name, found.most) == (name, pytest.approx(most))
    assert limit(str(found)) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("params", "expected QUANTITY<=NUMBER"),
        ("params<1M", "expected QUANTITY<=NUMBER"),
        ("params>=1M", "expected QUANTITY<=NUMBER"),
        ("", "expected QUANTITY<=NUMBER"),
        ("memory<=1MB", "unknown quantity 'memory'; expected params, flops"),
        ("params<=1ms", "expected a unit of none, k, K, M, G for params, got ms"),
        ("latency<=20", "expected a unit of us, ms, s for latency, got none"),
        ("params<=-1", "above zero"),
        ("params<=0", "above zero"),
        ("params<=1.2.3", "above zero, got 1.2.3"),
        ("params<=1e999", "above zero"),
        ("params@raspi4<=1M", "same on every device"),
        ("latency@<=1ms", "expected a device after"),
    ],
)
def test_a_limit_that_is_none_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="--limit") as error:
        limit(text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_two_limits_of_one_quantity_are_refused() -> None:
    with pytest.raises(ConfigError, match="params is limited 2 times"):
        limits(["params<=1M", "params<=2M"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["accuracy", "accuracy"], "'accuracy' is there 2 times"),
        (["accuracy"], "expected accuracy and one cost"),
        (["params", "flops"], "expected accuracy and one cost"),
        (["accuracy", "params", "flops"], "expected accuracy and one cost"),
        (["accuracy", "speed"], "unknown quantity 'speed'"),
    ],
)
def test_objectives_are_the_metric_and_one_cost(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match="--objectives") as error:
        second_objective(names)
    assert message in str(error.value)
    assert second_objective(["params", "accuracy"]) == PARAMS
    assert second_objective(["loss", "flops"], "loss") == Quantity("flops")


@pytest.mark.parametrize("text", ["accuracy=65", "accuracy=65,flops=1M", "65,1M", "accuracy=x,params=1M", ""])
def test_a_reference_needs_both_objectives(text: str) -> None:
    assert reference("accuracy=65,params=0.5M", PARAMS) == {"value": 65.0, "cost": 5e5}
    with pytest.raises(ConfigError, match="--reference"):
        reference(text, PARAMS)


# -- fronts ---------------------------------------------------------------------------------------------


def dominated(point: tuple[float, float], others: list[tuple[float, float]]) -> bool:
    return any(o != point and o[0] >= point[0] and o[1] <= point[1] for o in others)


@pytest.mark.parametrize("seed", range(5))
def test_front_and_area_agree_with_their_definitions(seed: int) -> None:
    rng = Random(seed)
    points = list({(float(rng.randrange(12)), float(rng.randrange(12))) for _ in range(20)})
    found = [(score, cost) for score, cost, _ in front([(*point, None) for point in points])]
    assert set(found) == {point for point in points if not dominated(point, points)}
    worst = Reference(2.0, 10.0)
    # A second formula: count the unit squares between the reference and the points.
    squares = sum(
        any(score >= y + 1 and cost <= x for score, cost in points) for y in range(2, 12) for x in range(-1, 10)
    )
    assert hypervolume(points, worst) == pytest.approx(squares)


def test_what_a_point_would_win_is_the_difference_of_two_areas() -> None:
    known = [(3.0, 1.0), (5.0, 4.0), (4.0, 6.0)]
    points = [(4.0, 2.0), (2.0, 0.5), (9.0, 3.0), (5.0, 4.0), (1.0, 9.0)]
    values, costs = (np.array(column) for column in zip(*points, strict=True))
    worst = Reference(0.0, 8.0)
    before = hypervolume(known, worst)
    won = area_won(values, costs, known, worst.score, worst.cost)
    assert won.tolist() == pytest.approx([hypervolume([*known, point], worst) - before for point in points])


class Expecting:
    """A surrogate that expects what it was told to."""

    name = "expecting"
    agreement: dict[str, float] = {}

    def __init__(self, means: dict[str, float]) -> None:
        self.means = means

    def inform(self, sources: object) -> None: ...

    def observe(self, architecture: Architecture, score: float) -> None: ...

    def predict(self, proposals: list[Architecture]) -> list[Ranked]:
        return [Ranked(i, self.means[p.id], 0.1) for i, p in enumerate(proposals)]


def point(name: str) -> Architecture:
    return Architecture("s", name, name)


def test_of_two_architectures_that_promise_the_same_the_cheaper_one_is_measured() -> None:
    costs = Listed({"cheap": 10.0, "dear": 1000.0, "known": 100.0}, "test")
    surrogate = ParetoSurrogate(Expecting({"cheap": 0.5, "dear": 0.5}), costs, seed=0)
    surrogate.observe(point("known"), 1.0)
    (first,) = surrogate.rank([point("dear"), point("cheap")], 1)
    assert first.index == 1


def test_what_has_no_known_cost_wins_nothing_and_a_batch_is_spread() -> None:
    costs = Listed({"a": 10.0, "b": 10.0, "c": 500.0, "known": 1000.0}, "test")
    means = {"a": 0.6, "b": 0.6, "c": 0.9, "unknown": 9.0}
    surrogate = ParetoSurrogate(Expecting(means), costs, seed=0)
    surrogate.observe(point("known"), -math.inf)
    ranked = surrogate.rank([point(name) for name in means], 2)
    names = {list(means)[item.index] for item in ranked}
    assert len(names & {"a", "b"}) == 1
    assert "c" in names


# -- where costs are known from -------------------------------------------------------------------------

HEADER = "architecture,val,params,latency@phone\n"


def own_table(folder: Path, latency: list[str], header: str = HEADER) -> str:
    """Write all 1,024 points of the toy space; params are 1,000 times the wide layers and 500."""
    rows = []
    for number, architecture in enumerate(Toy().enumerate() or ()):
        wide = architecture.text.count("wide")
        rows.append(
            f'"{architecture.text}",{worth(architecture):.4f},{1000 * wide + 500},{latency[number % len(latency)]}'
        )
    (folder / "toy.csv").write_text(header + "\n".join(rows) + "\n")
    return f"table:{folder / 'toy.csv'}"


SPACE = f"{Path(__file__).parent / 'searching.py'}:Toy"


def own_search(folder: Path, latency: list[str], header: str = HEADER, **settings: object) -> Search:
    return Search(own_table(folder, latency, header), space=SPACE, adapt_every=8, **settings)


def test_nothing_over_a_limit_is_measured_and_the_best_within_is_found(tmp_path: Path) -> None:
    search = own_search(tmp_path, ["5"], budget=30, limits=("params<=1.5k",))
    result = search.run()
    assert all(outcome.architecture.text.count("wide") <= 1 for outcome in result.outcomes)
    begun = search.journal.log.events[0]
    assert begun["within_limits"] == {"candidates": 1024, "within": 3**5 + 5 * 3**4}
    best = max(worth(a) for a in Toy().enumerate() or () if a.text.count("wide") <= 1)
    assert result.best is not None
    assert result.best.value == pytest.approx(best, abs=1e-3)
    assert result.to_dict()["limits"]["limits"] == ["params<=1.5k"]


def test_what_has_no_latency_in_the_table_is_left_out_and_counted(tmp_path: Path) -> None:
    search = own_search(tmp_path, ["5", "", "nan", "50"], budget=5, limits=("latency@phone<=10ms",))
    search.run()
    begun = search.journal.log.events[0]
    assert begun["within_limits"]["within"] == 256
    assert "not known of 512 of 1,024" in begun["costs"]["latency@phone"]["origin"]


def test_a_latency_column_without_a_number_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"latency@phone: the column of toy.csv has no number in it"):
        own_search(tmp_path, [""], limits=("latency@phone<=10ms",))


def test_a_negative_latency_is_an_error_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 2: 'latency@phone' must not be negative"):
        own_search(tmp_path, ["-1"], limits=("latency@phone<=10ms",))


def test_a_missing_device_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown device 'watch'; choose from phone, or write latency alone"):
        own_search(tmp_path, ["5"], limits=("latency@watch<=10ms",))


def test_a_quantity_that_nothing_knows_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="flops is not known: no table says it, and a network of space 'toy'"):
        own_search(tmp_path, ["5"], limits=("flops<=1M",))


def test_a_limit_that_nobody_keeps_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params<=400 is kept by 0, the least is 500; all 1,024 candidates"):
        own_search(tmp_path, ["5"], limits=("params<=400",))


def test_limits_that_only_together_are_kept_by_nobody_say_so(tmp_path: Path) -> None:
    task = own_table(tmp_path, ["5"])
    text = (tmp_path / "toy.csv").read_text().splitlines()
    lines = [text[0]] + [line.rsplit(",", 1)[0] + (",50" if ",500," in line else ",5") for line in text[1:]]
    (tmp_path / "toy.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match="each alone, but by none together"):
        Search(task, space=SPACE, limits=("params<=900", "latency@phone<=10ms"))


class FewWide:
    """Costs of the large toy space: a thousand for each wide layer."""

    effort = "built"
    origin = "made up"

    def __init__(self, least: float = 0.0) -> None:
        self.least = least

    def of(self, quantity: Quantity) -> FewWide:
        return self

    def remember(self, quantity: Quantity, values: object) -> None: ...

    def __call__(self, architecture: Architecture) -> float:
        return 1000.0 * architecture.text.count("wide") + self.least


def large_search(least: float = 0.0, **settings: object) -> tuple[Search, Diary]:
    diary = Diary()
    measured = replace(evaluation(diary), costs=FewWide(least))
    return Search(TASK, space=LargeToy(), evaluation=measured, principles=False, **settings), diary


def test_in_a_space_that_cannot_be_listed_refused_proposals_are_logged_once_and_never_measured() -> None:
    search, diary = large_search(budget=25, limits=("params<=2k",))
    result = search.run()
    assert len(diary.calls) == 25
    assert all(outcome.architecture.text.count("wide") <= 2 for outcome in result.outcomes)
    refused = [
        item for event in search.journal.log.events if event["type"] == "refused" for item in event["architectures"]
    ]
    assert refused, "wide layers are worth most, so that the surrogate would like more of them"
    assert len({item["id"] for item in refused}) == len(refused) == len(search.journal.refused)
    assert "the limit is 2 k" in refused[0]["why"]
    assert result.to_dict()["limits"]["refused"] == len(refused)


def test_a_batch_is_filled_with_what_keeps_the_limits() -> None:
    search, diary = large_search(budget=24, batch=4, limits=("params<=1k",))
    result = search.run()
    assert len(diary.calls) == 24
    assert all(outcome.architecture.text.count("wide") <= 1 for outcome in result.outcomes)


class Sixteen(CategoricalSpace):
    """Sixteen architectures, which are not listed; nine of them without a wide layer."""

    name = "sixteen"
    decisions = Toy.decisions[:2]

    def enumerate(self):
        return None


class Wide:
    """Proposes what is too wide, and nothing else."""

    name = "wide"

    def propose(self, brief: Brief, rng: Random) -> list[Proposal]:
        return [Proposal(brief.space.parse("layer_0=wide,layer_1=wide"), self.name)]


@pytest.mark.parametrize("ahead", [1, 3])
def test_where_every_proposal_breaks_a_limit_draws_go_on_until_nothing_new_is_left(ahead: int) -> None:
    diary = Diary()
    measured, settings = replace(evaluation(diary), costs=FewWide()), {"principles": False, "surrogate": "none"}
    search = Search(TASK, space=Sixteen(), evaluation=measured, limits=("params<=500",), ahead=ahead, **settings)
    search._engine.services.generator = Wide()
    assert "nothing new within the limits" in search.run().why
    assert len(diary.calls) == len(set(diary.calls)) == 9


def test_a_limit_that_nobody_keeps_is_found_out_by_draws_where_nothing_is_listed() -> None:
    with pytest.raises(ConfigError, match=r"is kept by 0, the least is .* after 500 uniform draws"):
        large_search(least=99_000.0, limits=("params<=2k",))


def test_two_objectives_in_a_space_that_cannot_be_listed_give_a_front() -> None:
    search, _ = large_search(budget=40, objectives=("accuracy", "params"))
    document = search.run().to_dict()
    costs = [item["params"] for item in document["front"]]
    values = [item["val"] for item in document["front"]]
    assert costs == sorted(costs)
    assert values == sorted(values)
    assert len(costs) >= 4


def test_a_network_is_counted_as_its_space_counts_it() -> None:
    space = load_space("nb201")
    assert isinstance(space, NasBench201)
    cell = space.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
    pytest.importorskip("torch")
    from nas_agent.tools.costs.networks import Networks

    networks = Networks(space, ImageShape(classes=7, channels=1, side=8, width=4))
    assert networks.params(cell) == space.parameters(cell, classes=7, width=4, channels=1)
    assert networks.flops(cell) == space.flops(cell, classes=7, width=4, channels=1, side=8)
    published = Networks(space, ImageShape())
    assert published.params(cell) == space.parameters(cell)


def test_limits_of_a_training_are_those_of_the_network_that_is_trained() -> None:
    space = NasBench201()
    training = TrainSettings(width=8)
    costs = Costs(space, load_evaluation("digits", space, "auto", data=None, epochs=1, training=training))
    cell = space.sample(Random(0))
    network = space.network(cell, classes=10, in_channels=1, width=8)
    params, flops = (costs.of(Quantity(kind)) for kind in ("params", "flops"))
    assert params(cell) == sum(parameter.numel() for parameter in network.parameters())
    assert flops(cell) == space.flops(cell, classes=10, width=8, channels=1, side=8) < space.flops(cell) / 50
    assert "sandbox" not in params.origin + flops.origin
    assert "images of 1 x 8 x 8, 8 channels at first" in flops.origin


def test_latency_on_this_machine_is_measured_once_and_has_a_spread() -> None:
    pytest.importorskip("torch")
    space = load_space("nb201")
    costs = Costs(space, load_evaluation("digits", space, "auto", data=None, epochs=1))
    cost, cell = costs.of(Quantity("latency")), space.sample(Random(0))
    assert "measured on this machine" in cost.origin
    first = cost(cell)
    assert first is not None
    assert first > 0.0
    assert cost(cell) == first
    low, high = cost.spreads[cell.id]  # type: ignore[attr-defined]
    assert low <= first <= high


def test_latency_of_this_machine_is_no_objective() -> None:
    with pytest.raises(ConfigError, match="would be measured of every proposal"):
        Search("digits", space="nb201", objectives=("accuracy", "latency"))


# -- runs -----------------------------------------------------------------------------------------------


def own_config(folder: Path, **settings: object) -> object:
    task = own_table(folder, ["5", "20"])
    values = {"task": task, "space": SPACE, "budget": 16, "out": folder / "runs", "memory": False, "recall": "none"}
    return make_config({**values, **settings})


def test_a_run_logs_its_objectives_and_resumes_to_the_same_front(tmp_path: Path) -> None:
    settings = {"objectives": "accuracy,params", "limits": ("latency@phone<=10ms",)}
    whole = start(own_config(tmp_path, **settings))  # type: ignore[arg-type]
    events = [deterministic(event) for event in read_events(RunFolder(Path(whole.run or "")).events)[0]]
    assert all(set(e["costs"]) == {"params", "latency@phone"} for e in events if e["type"] == "proposal")
    assert events[-1]["front_tests"].keys() == {item["id"] for item in whole.to_dict()["front"]}

    kill = killed_at(9, lambda event: event["type"] == "outcome")
    with pytest.raises(Killed):
        start(own_config(tmp_path, **settings, out=tmp_path / "other"), [kill])  # type: ignore[arg-type]
    (path,) = (tmp_path / "other").iterdir()
    again = resume(RunFolder(path))
    assert again.front == whole.front
    assert [deterministic(event) for event in read_events(RunFolder(path).events)[0]] == events


def test_a_run_is_not_resumed_with_other_limits(tmp_path: Path) -> None:
    result = start(own_config(tmp_path, limits=("params<=2.5k",)))  # type: ignore[arg-type]
    folder = RunFolder(Path(result.run or ""))
    folder.best_json.unlink()
    text = (folder.path / "config.toml").read_text()
    (folder.path / "config.toml").write_text(text.replace("params<=2.5k", "params<=3.5k"))
    with pytest.raises(ConfigError, match=r"began under other terms: .*limits was \['params<=2.5k'\]"):
        resume(folder)


def test_two_objectives_are_searched_without_principles_unless_these_are_asked_for() -> None:
    assert make_config({"objectives": "accuracy,params"}).principles is False
    assert make_config({"objectives": "accuracy,params", "principles": True}).principles is True
    assert make_config({}).principles is True


def test_the_command_line_prints_front_and_area_and_show_does_too(tmp_path: Path) -> None:
    task = own_table(tmp_path, ["5"])
    flags = ["--task", task, "--space", SPACE, "--out", str(tmp_path / "runs"), "--no-memory", "--budget", "12"]
    run = CliRunner().invoke(app, ["run", *flags, "--objectives", "accuracy,params", "--limit", "params<=3.5k"])
    assert run.exit_code == 0, run.output
    assert "hypervolume" in run.stdout
    assert "Front" in run.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    document = json.loads(CliRunner().invoke(app, ["show", str(folder), "--json"]).stdout)
    result = json.loads((folder / "best.json").read_text())
    for key in ("front", "hypervolume", "reference", "objectives"):
        assert document[key] == result[key]
    assert result["limits"]["limits"] == ["params<=3.5k"]
    assert "Front" in CliRunner().invoke(app, ["show", str(folder)]).stdout


@pytest.mark.parametrize("flags", [["--limit", "params<1M"], ["--objectives", "accuracy,accuracy"]])
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(flags: list[str]) -> None:
    for command in ("run", "bench"):
        result = CliRunner().invoke(app, [command, *flags])
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1


# -- comparisons ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in FRONT_METHODS if name != "agent-joint"])
def test_every_method_for_fronts_spends_its_budget_once_and_repeats_itself(tmp_path: Path, name: str) -> None:
    setting = Setting(own_table(tmp_path, ["5"]), SPACE, "table", None, None, (), PARAMS)
    space, found = setting()
    problem = Problem(space, found.task, found.evaluator, costs=found.costs, objective=PARAMS)
    first, second = (FRONT_METHODS[name]().run(problem, 3, 25) for _ in range(2))
    assert first == second
    assert len(set(first.ids)) == 25


def test_a_comparison_of_fronts_is_scored_by_the_share_of_the_true_area(tmp_path: Path) -> None:
    setting = Setting(own_table(tmp_path, ["5"]), SPACE, "table", None, None, (), PARAMS)
    comparison = compare({"random": FRONT_METHODS["random"]}, setting, seeds=(0, 1), budget=1024, jobs=1)
    document = bench_wishes.document(comparison, PARAMS, None, "test")
    curve = document["methods"]["random"]["curve"]["mean"]
    assert curve[-1] == pytest.approx(100.0)
    assert curve == sorted(curve)
    assert list(document["methods"]["random"]["targets"]) == ["97 %", "99 %"]
    everything = [worth(a) for a in Toy().enumerate() or ()]
    assert f"from accuracy {np.median(everything):.6g}"[:18] in document["note"]


def test_limits_of_a_comparison_hold_for_all_methods_and_move_the_optimum(tmp_path: Path) -> None:
    setting = Setting(own_table(tmp_path, ["5"]), SPACE, "table", None, None, ("params<=1.5k",))
    space, found = setting()
    best = max(worth(a) for a in Toy().enumerate() or () if a.text.count("wide") <= 1)
    assert found.optimum == pytest.approx(best, abs=1e-3)
    meter = Meter(Problem(space, found.task, found.evaluator), 0, 10)
    assert all(a.text.count("wide") <= 1 for a in meter.pool())


# -- the published table --------------------------------------------------------------------------------


@needs_tables
def test_the_published_table_knows_params_flops_and_latencies_of_27_devices() -> None:
    space = load_space("nb201")
    costs = Costs(space, load_evaluation("cifar100", space, "table", data=None, epochs=None))
    cell = space.parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    assert isinstance(space, NasBench201)
    assert costs.of(PARAMS)(cell) == space.parameters(cell)
    assert costs.of(Quantity("flops"))(cell) == pytest.approx(space.flops(cell), rel=1e-6)
    assert costs.of(Quantity("latency", "raspi4"))(cell) == pytest.approx(81.0, abs=25.0)
    with pytest.raises(ConfigError, match=r"choose from 1080ti_1, .*raspi4.*essential_ph_1"):
        costs.of(Quantity("latency", "raspi5"))


@needs_tables
@pytest.mark.parametrize("fault", ["shape", "lacks", "nan"])
def test_a_file_of_latencies_that_does_not_fit_is_an_error_and_nan_is_not_known(tmp_path: Path, fault: str) -> None:
    source = Path(DATA or "")
    (tmp_path / "nb201.npz").symlink_to(source / "nb201.npz")
    latency = np.ones((1, 15_625), np.float32)
    if fault == "shape":
        latency = latency[:, :100]
    latency[0, :50] = np.nan
    arrays = {"latency": latency, "devices": np.array(["phone"])}
    if fault == "lacks":
        del arrays["devices"]
    np.savez(tmp_path / LATENCIES, **arrays)
    space = load_space("nb201")
    costs = Costs(space, load_evaluation("cifar100", space, "table", data=tmp_path, epochs=None))
    quantity = Quantity("latency", "phone")
    if fault == "nan":
        known = [costs.of(quantity)(architecture) for architecture in space.enumerate() or ()]
        assert 6_416 <= len(known) - known.count(None) < 6_466
        return
    with pytest.raises(DataError, match="expected"):
        costs.of(quantity)


@needs_tables
def test_the_front_of_nas_bench_201_is_nearly_found_in_100_evaluations() -> None:
    setting = Setting("cifar100", objective=PARAMS)
    comparison = compare({"agent": FRONT_METHODS["agent"]}, setting, seeds=(0,), budget=100, jobs=1)
    document = bench_wishes.document(comparison, PARAMS, None, "test")
    assert document["methods"]["agent"]["curve"]["mean"][-1] >= 90.0
    assert isinstance(comparison.traces["agent"][0].architectures[0], Architecture)
    assert document["methods"]["agent"]["checkpoints"]["100"]["test"]["value"] > 80.0
