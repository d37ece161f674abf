"""Children that begin with the trained weights of their parents: what matches, what is refused, and the same search."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save
from typer.testing import CliRunner

from nas_agent import Search
from nas_agent.cli import plan
from nas_agent.cli.main import app
from nas_agent.config import Config, make_config
from nas_agent.errors import ConfigError, StorageError
from nas_agent.records import (
    Architecture,
    Failed,
    Fidelity,
    Heritage,
    Inherited,
    Json,
    Legacy,
    Measured,
    Outcome,
    Proposal,
    Task,
    outcome_from_dict,
)
from nas_agent.run import NoTestSplit, resume, start
from nas_agent.tools import heritage as heritages
from nas_agent.tools.archive import Archive
from nas_agent.tools.evaluators.base import Evaluation
from nas_agent.tools.evaluators.confined import Confined
from nas_agent.tools.evaluators.inheritance import Shape, left, matched, take_over
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training
from nas_agent.tools.event_log import deterministic, read_events
from nas_agent.tools.executors.base import Work
from nas_agent.tools.heritage import heritage_of, told_inheritance
from nas_agent.tools.run_folder import RunFolder, open_folder
from nas_agent.tools.run_records import record_of
from nas_agent.tools.sandbox import backends
from nas_agent.tools.weights import MOST, WeightStore, refusal
from tests.programs import Reader, ToyPrograms
from tests.resumed import Killed, killed_at
from tests.searching import config
from tests.test_confined import LEVEL, READY, Scripted, completed, request

TASK = Task("digits", "a task")


class Heirs(ToyPrograms):
    """Programs whose code nobody vouches for."""

    name = "heirs"
    untrusted = True

    def module_source(self, architecture: Architecture, *, classes: int = 10) -> str:
        return architecture.text


SPACE = f"{__file__}:Heirs"


# -- what matches what ---------------------------------------------------------------------------------------------

layers = st.lists(st.sampled_from(("conv3", "conv5", "norm", "linear")), max_size=6)
TENSORS: dict[str, dict[str, Shape]] = {
    "conv3": {"weight": ("float32", "8", "8", "3", "3"), "bias": ("float32", "8")},
    "conv5": {"weight": ("float32", "8", "8", "5", "5"), "bias": ("float32", "8")},
    "norm": {"weight": ("float32", "8"), "bias": ("float32", "8"), "running_mean": ("float32", "8")},
    "linear": {"weight": ("float32", "10", "8"), "bias": ("float32", "10")},
}


def sequential(kinds: Sequence[str], name: str = "body") -> dict[str, Shape]:
    return {
        f"{name}.{place}.{leaf}": shape for place, kind in enumerate(kinds) for leaf, shape in TENSORS[kind].items()
    }


@given(layers, st.lists(layers, max_size=3), st.booleans())
@settings(deadline=None)
def test_whatever_is_inherited_has_its_shape_and_goes_to_one_place(own, parents, by_order) -> None:
    child, tensors = sequential(own), [sequential(parent) for parent in parents]
    found = matched(child, tensors, by_order=by_order)
    assert all(child[name] == tensors[number][source] for name, (number, source) in found.items())
    assert len(set(found.values())) == len(found)
    if by_order:  # no layer is left out that some parent has, in whole, for nobody else
        layers_of = [Counter(kinds) for kinds in (own, *parents)]
        for kind, count in layers_of[0].items():
            whole = sum(kind == own[place] and all(f"body.{place}.{leaf}" in found for leaf in TENSORS[kind])
                        for place in range(len(own)))  # fmt: skip
            assert whole >= min(count, sum(parent[kind] for parent in layers_of[1:]))
    else:
        assert all(source == name for name, (_, source) in found.items())
        for name, shape in child.items():
            having = [number for number, parent in enumerate(tensors) if parent.get(name) == shape]
            assert found.get(name) == ((having[0], name) if having else None)


@given(layers, st.integers(0, 6), st.sampled_from(tuple(TENSORS)))
@settings(deadline=None)
def test_a_layer_put_anywhere_leaves_to_all_others_their_weights(kinds, place, new) -> None:
    parent, child = sequential(kinds), sequential([*kinds[:place], new, *kinds[place:]])
    found = matched(child, [parent], by_order=True)
    assert {source for _, source in found.values()} == set(parent)
    assert len(found) == len(parent)


def test_an_insertion_that_renames_the_rest_is_found_by_order_and_not_by_name() -> None:
    parent, child = sequential(["conv5", "norm", "linear"]), sequential(["conv3", "conv5", "norm", "linear"])
    assert set(matched(child, [parent], by_order=False)) == {"body.0.bias", "body.1.bias"}  # of other layers
    found = matched(child, [parent], by_order=True)
    assert found["body.1.weight"] == (0, "body.0.weight")
    assert found["body.2.running_mean"] == (0, "body.1.running_mean")
    assert found["body.3.bias"] == (0, "body.2.bias")


def test_of_several_parents_each_gives_what_those_before_it_have_not() -> None:
    mother, father = sequential(["conv3"]), sequential(["conv5", "linear"])
    found = matched(sequential(["conv3", "linear"]), [mother, father], by_order=False)
    assert {name: number for name, (number, _) in found.items()} == {
        "body.0.weight": 0, "body.0.bias": 0, "body.1.weight": 1, "body.1.bias": 1,
    }  # fmt: skip


def test_a_network_takes_over_what_training_changes_and_keeps_what_it_computed_itself() -> None:
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self, value: float, first: bool = False) -> None:
            super().__init__()
            layers = [nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2), nn.LazyLinear(3)]
            self.body = nn.Sequential(*([nn.Conv2d(1, 4, 1)] if first else []), *layers)
            self.tied = self.body[-2]
            self.register_buffer("scale", torch.tensor(value))
            self.fixed = nn.Parameter(torch.full((3,), value), requires_grad=False)
            with torch.no_grad():
                for tensor in (self.body[-4].weight, self.body[-3].running_mean, self.body[-2].weight):
                    tensor.fill_(value)

    parent, child = Network(7.0), Network(1.0, first=True)
    file = left(parent)
    assert not refusal(file)
    told = take_over(child, [file], by_order=True)
    count = 4 * 4 * 9 + 4 + 4 * 4 + 1 + 10
    assert told == {"taken": count, "of": count + 8}
    for tensor in (child.body[1].weight, child.body[2].running_mean, child.body[3].weight, child.tied.weight):
        assert bool((tensor == 7.0).all())
    assert (float(child.scale), child.fixed.tolist()) == (1.0, [1.0] * 3)
    assert left(parent) == file
    assert take_over(Network(1.0, first=True), [], by_order=True)["taken"] == 0


# -- weights are data of somebody whom nobody trusts ---------------------------------------------------------------

GOOD = save({"000000 w": np.ones(3, np.float32)})
BAD = {
    "nothing": b"",
    "garbage": b"\x07" * 1000,
    "a pickle": pickle.dumps({"w": [1.0] * 100}),
    "a header without end": (2**40).to_bytes(8, "little") + b"{}",
    "a torn file": GOOD[:-4],
    "no number": save({"000000 w": np.array([1.0, np.nan], np.float32)}),
    "infinite": save({"000000 w": np.array([np.inf], np.float64)}),
    "other kinds": save({"000000 w": np.ones(3, np.int8)}),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_plain_file_of_finite_weights_is_not_kept_and_costs_its_candidate_nothing(
    tmp_path: Path, name: str
) -> None:
    store = WeightStore(tmp_path / "weights")
    inherited = store.taken_in(store.given(Heritage()), 0, 10, BAD[name], 3)
    assert inherited.legacy is None
    assert inherited.note.startswith("its weights are not kept: they" if BAD[name] else "it has left no weights")
    assert not (tmp_path / "weights").exists()


def test_weights_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    assert refusal(bytes(MOST + 1)) == f"they take {MOST + 1:,} bytes, more than {MOST:,}"


def test_a_file_is_whole_and_known_by_what_it_holds(tmp_path: Path) -> None:
    store = WeightStore(tmp_path / "weights")
    name = store.keep(GOOD)
    assert store.keep(GOOD) == name
    assert [file.name for file in (tmp_path / "weights").iterdir()] == [f"{name}.safetensors"]
    assert store.read(name) == (GOOD, "")
    (tmp_path / "weights" / f"{name}.safetensors").write_bytes(GOOD[:-1])
    assert store.read(name) == (b"", f"the weights {name[:12]} are no longer what was written")
    assert store.keep(GOOD) == name  # what is made again mends it
    assert store.read(name)[0] == GOOD
    (tmp_path / "weights" / f"{name}.safetensors").unlink()
    assert store.read(name) == (b"", f"the weights {name[:12]} are gone")
    (tmp_path / "weights" / f"{name}.safetensors").mkdir()
    assert "cannot be read" in store.read(name)[1]


def test_weights_that_cannot_be_written_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("a file")
    with pytest.raises(StorageError, match=r"weights cannot be written \(.*\); free some space, then `nas-agent res"):
        WeightStore(tmp_path / "weights").keep(GOOD)
    with pytest.raises(StorageError):
        WeightStore(Path("/dev/full")).keep(GOOD)


def test_the_most_epochs_behind_what_was_taken_are_told_and_those_of_a_lost_parent_are_not(tmp_path: Path) -> None:
    store = WeightStore(tmp_path)
    here, gone = Legacy(store.keep(GOOD), 5, len(GOOD)), Legacy("0" * 64, 9, 3)
    for parents, behind in (((here,), 5), ((here, gone), 5), ((gone,), 0)):
        found = store.given(Heritage(parents))
        assert (found.epochs, len(found.files), bool(found.notes)) == (behind, int(behind > 0), gone in parents)
    found = store.given(Heritage((here, gone)))
    inherited = store.taken_in(found, 3, 4, GOOD, 2)
    assert inherited.legacy == Legacy(here.file, 7, len(GOOD))
    assert (inherited.epochs, inherited.note) == (
        5, "the weights 000000000000 are gone, so that it began without them",
    )  # fmt: skip
    nothing = store.taken_in(found, 0, 4, GOOD, 2)  # it shares no layer: nothing of the parents' epochs is in it
    assert (nothing.epochs, nothing.legacy.epochs if nothing.legacy else None) == (0, 2)


# -- through the sandbox -------------------------------------------------------------------------------------------


def trained(tmp_path: Path, result: object, blob: bytes, **changed: object) -> tuple[dict[str, Any], Scripted]:
    box = Scripted([READY, completed(result, blob)])
    asked = {"files": [b"abc", b"de"], "leaves": True, "by": "order", **changed}
    return Confined(tmp_path, threads=2, start=lambda policy: box).train(request(tmp_path, inherit=asked)), box


SAID = {"status": "predicted", "files": {"weights": 3}, "taken": 2, "of": 5}


def test_weights_travel_beside_the_request_and_come_back_behind_the_predictions(tmp_path: Path) -> None:
    reply, box = trained(tmp_path, SAID, b"1234xyz")
    assert (reply["classes"], reply["weights"], reply["taken"], reply["of"]) == (b"1234", b"xyz", 2, 5)
    job = box.jobs[1]
    assert (job.blob, job.payload["inherit"]["sizes"]) == (b"abcde", [3, 2])
    assert job.payload["inherit"]["files"] == []
    assert "labels" not in json.dumps(job.payload)
    assert job.limits.reply > MOST


def test_who_began_with_nothing_has_taken_nothing_whatever_it_claims(tmp_path: Path) -> None:
    reply, _ = trained(tmp_path, SAID, b"1234xyz", files=[])
    assert (reply["taken"], reply["of"]) == (0, 5)


@pytest.mark.parametrize(
    "changed",
    [
        {"taken": 6}, {"taken": -1}, {"taken": True}, {"taken": "2"}, {"taken": 1.5}, {"of": 10**30}, {"of": None},
        {"files": {"weights": 9}}, {"files": {"weights": -3}}, {"files": {"../weights": 3}},
        {"files": {"weights": 3, "model.onnx": 0}},
    ],
)  # fmt: skip
def test_claims_that_cannot_be_are_no_result(tmp_path: Path, changed: Json) -> None:
    reply, _ = trained(tmp_path, {**SAID, **changed}, b"1234xyz")
    assert (reply["status"], reply["cause"]) == ("failed", "crash")


def test_weights_that_nobody_asked_for_are_no_result(tmp_path: Path) -> None:
    reply, box = trained(tmp_path, SAID, b"1234xyz", leaves=False)
    assert reply["status"] == "failed"
    assert box.jobs[1].limits.reply < MOST
    assert trained(tmp_path, {**SAID, "files": {}}, b"1234")[0]["status"] == "predicted"


# -- a search ------------------------------------------------------------------------------------------------------


@dataclass
class Trainer(Reader):
    """Has one weight for each network, which its children add to theirs: a value tells who inherited of whom."""

    store: WeightStore = field(default_factory=WeightStore)
    works: list[Work] = field(default_factory=list)

    def keep_in(self, folder: Path) -> None:
        self.store.folder = folder

    def evaluate(
        self, architecture: Architecture, *, seed: int, fidelity: Fidelity | None = None,
        heritage: Heritage | None = None,
    ) -> Outcome:  # fmt: skip
        self.works.append(Work(architecture, seed, fidelity, heritage))
        outcome = super().evaluate(architecture, seed=seed)
        outcome = replace(outcome, sandbox=LEVEL)
        if heritage is None or isinstance(outcome, Failed):
            return outcome
        found = self.store.given(heritage)
        weight = 0.001 + sum(float(load(file)["000000 w"][0]) for file in found.files)
        own = save({"000000 w": np.array([weight, sum(map(ord, architecture.id))], np.float64)})
        inherited = self.store.taken_in(found, len(found.files), 4, own, 3)
        return replace(outcome, value=outcome.value + weight, inherited=inherited)


def of(folder: RunFolder) -> list[Json]:
    return [deterministic(event) for event in read_events(folder.events)[0]]


def asked(out: Path, **changed: Any) -> Config:
    given = {
        "generator": "code", "inherit": "order", "principles": False, "surrogate": "none", "niches": 20, "budget": 25,
        "memory": False, "recall": "none",
    }  # fmt: skip
    return config(out, SPACE, **{**given, **changed})


def run(out: Path, trainer: Trainer | None = None, **changed: Any) -> RunFolder:
    evaluation = Evaluation(TASK, trainer or Trainer(), NoTestSplit(), "made up for a test")
    return RunFolder(Path(start(asked(out, **changed), evaluation=evaluation).run or ""))


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path / "home"))


def outcomes(events: Sequence[Json]) -> dict[str, Json]:
    return {e["outcome"]["architecture"]["id"]: e["outcome"] for e in events if e["type"] == "outcome"}


def test_each_child_may_begin_with_what_all_its_parents_have_left_in_their_order(tmp_path: Path) -> None:
    trainer = Trainer()
    events = of(run(tmp_path / "runs", trainer, budget=40))
    made, proposals = outcomes(events), [event["proposal"] for event in events if event["type"] == "proposal"]
    several = 0
    for proposal in proposals:
        left = [made[parent]["inherited"]["legacy"] for parent in proposal["parents"]]
        assert proposal["heritage"] == {"parents": left, "leaves": True}
        outcome = made[proposal["architecture"]["id"]]
        if outcome["kind"] == "measured":
            inherited = outcome["inherited"]
            assert inherited["taken"] == len(left)
            assert inherited["epochs"] == max((parent["epochs"] for parent in left), default=0)
            assert inherited["legacy"]["epochs"] == inherited["epochs"] + 3
            several += len(left) > 1
    assert several >= 3
    assert max(made[p["architecture"]["id"]].get("inherited", {"epochs": 0})["epochs"] for p in proposals) >= 9


def test_what_would_be_the_best_is_trained_again_from_scratch_and_the_lower_value_counts(tmp_path: Path) -> None:
    trainer = Trainer()
    events = of(run(tmp_path / "runs", trainer))
    again = [work for work in trainer.works if work.seed == 1]
    assert again
    assert all(work.heritage is None for work in again)
    for outcome in outcomes(events).values():
        if outcome.get("repeats") and outcome["inherited"]["taken"]:
            assert outcome["value"] == outcome["repeats"][1] < outcome["repeats"][0]
            assert outcome["inherited"]["legacy"] is not None  # of the first training


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_no_event(tmp_path: Path, workers: int) -> None:
    alone = of(run(tmp_path / "alone", ahead=4))
    assert of(run(tmp_path / "runs", workers=workers, ahead=4)) == alone


@pytest.mark.parametrize("point", [4, 17, 40])
def test_a_run_that_was_stopped_ends_as_the_one_that_was_not(tmp_path: Path, point: int) -> None:
    whole = run(tmp_path / "whole")
    evaluation = Evaluation(TASK, Trainer(), NoTestSplit(), "made up for a test")
    with pytest.raises(Killed):
        start(asked(tmp_path / "runs"), [killed_at(point)], evaluation=evaluation)
    (path,) = (tmp_path / "runs").iterdir()
    resume(open_folder(path), evaluation=Evaluation(TASK, Trainer(), NoTestSplit(), "made up for a test"))
    assert of(open_folder(path)) == of(whole)
    stored = [{file.name for file in folder.weights.iterdir()} for folder in (whole, open_folder(path))]
    assert stored[0] == stored[1]


def test_who_cannot_find_its_parents_weights_begins_from_scratch_and_says_so(tmp_path: Path) -> None:
    def lose(event: Json) -> None:
        if event["type"] == "outcome" and event["evaluation"] == 3:
            (path,) = (tmp_path / "runs").iterdir()
            for file in (path / "weights").iterdir():
                file.unlink()

    evaluation = Evaluation(TASK, Trainer(), NoTestSplit(), "made up for a test")
    folder = open_folder(Path(start(asked(tmp_path / "runs"), [lose], evaluation=evaluation).run or ""))
    lost = [
        found for found in outcomes(of(folder)).values() if "are gone" in found.get("inherited", {}).get("note", "")
    ]
    assert lost
    assert any(not found["inherited"]["taken"] and not found["inherited"]["epochs"] for found in lost)
    document = json.loads(CliRunner().invoke(app, ["show", str(folder.path), "--json"]).stdout)
    assert document["inherited"]["notes"] == len(lost)
    shown = CliRunner().invoke(app, ["show", str(folder.path), lost[0]["architecture"]["id"]]).stdout
    assert "are gone, so that it began without them" in " ".join(shown.split())


def test_a_folder_that_holds_enough_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive(TASK)
    space = Heirs()
    architecture = space.start()
    archive.add(
        Measured(
            architecture,
            50.0,
            "3 epochs",
            0.0,
            0,
            "train",
            inherited=Inherited(0, 4, 0, Legacy("ab", 3, heritages.KEPT - 1)),
        )
    )
    assert heritage_of(archive, [architecture.id, "unknown", architecture.id]) == Heritage(
        (Legacy("ab", 3, heritages.KEPT - 1),), leaves=True
    )
    other = next(space.neighbours(architecture))
    archive.add(Measured(other, 50.0, "3 epochs", 0.0, 0, "train", inherited=Inherited(0, 4, 0, Legacy("cd", 3, 1))))
    assert not heritage_of(archive, []).leaves
    found = WeightStore().given(Heritage(leaves=False))
    assert WeightStore().taken_in(found, 0, 4, b"", 3).legacy is None


def test_records_of_heritage_are_read_as_they_were_written() -> None:
    legacy = Legacy("ab", 6, 100)
    measured = Measured(Heirs().start(), 1.0, "", 0.0, 0, "train", inherited=Inherited(3, 4, 3, legacy, "why"))
    assert outcome_from_dict(json.loads(json.dumps(measured.to_dict()))) == measured
    plain = replace(measured, inherited=None)
    assert "inherited" not in plain.to_dict()
    proposal = Proposal(Heirs().start(), "mutation", heritage=Heritage((legacy,), leaves=False))
    assert Proposal.from_dict(json.loads(json.dumps(proposal.to_dict()))) == proposal
    assert "heritage" not in replace(proposal, heritage=None).to_dict()
    work = Work(Heirs().start(), 3, Fidelity(2), Heritage((legacy,)))
    assert Work.from_dict(json.loads(json.dumps(work.to_dict()))) == work
    assert len({work, replace(work, heritage=None)}) == 2
    assert "heritage" not in replace(work, heritage=None).to_dict()


def test_memory_learns_no_value_that_needed_inherited_weights(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs")
    made = [outcome_from_dict(found) for found in outcomes(of(folder)).values()]
    remembered = record_of(folder).outcomes
    assert 0 < len(remembered) < len(made)
    assert all(isinstance(one, Failed) or one.stands_alone for one in remembered)
    archive = Archive(TASK)
    for one in made:
        archive.add(one)
    assert archive.lasting() == list(remembered)


def test_reports_count_who_inherited_and_say_what_is_behind_a_value(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs")
    told = told_inheritance(outcome_from_dict(found) for found in outcomes(of(folder)).values())
    assert told is not None
    result = json.loads(folder.best_json.read_text())
    document = json.loads(CliRunner().invoke(app, ["show", str(folder.path), "--json"]).stdout)
    assert result["inherited"] == document["inherited"] == told
    assert 0 < told["heirs"] < told["measured"]
    shown = " ".join(CliRunner().invoke(app, ["show", str(folder.path)]).stdout.split())
    assert f"{told['heirs']} of {told['measured']} networks began with weights of their parents" in shown
    assert "the second one from scratch" in shown
    best = " ".join(CliRunner().invoke(app, ["show", str(folder.path), "best"]).stdout.split())
    assert "of 4 weights are its parents', after up to" in best
    assert "(the second time from scratch)" in best


def test_a_search_that_does_not_inherit_is_what_it_was(tmp_path: Path) -> None:
    events = of(run(tmp_path / "runs", inherit="none"))
    assert "inherit" not in events[0]
    assert not any("heritage" in event.get("proposal", {}) for event in events)
    assert not any("inherited" in outcome for outcome in outcomes(events).values())


# -- what does not go together -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"space": "nb201", "evaluator": "train"}, "expected a space of programs that are trained, such as pytorch"),
        ({"task": "cifar100", "space": "nb201"}, "expected a space of programs that are trained"),
        ({"generator": "random", "niches": 100}, "whose proposals have parents, code or evolve, got 'random'"),
        ({"generator": "evolve", "niches": 100, "fidelities": ("1", "3")}, "expected one fidelity"),
        ({"executor": "ray"}, "--executor ray: with --inherit .* take --executor pool"),
    ],
)
def test_what_cannot_inherit_is_one_line_and_no_folder(tmp_path: Path, changed: Json, message: str) -> None:
    settings = make_config({**asked(tmp_path / "runs").model_dump(), "task": "digits", **changed})
    for act in (start, plan.make):
        with pytest.raises(ConfigError, match=message) as caught:
            act(settings)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_without_a_folder_or_a_training_nothing_can_be_kept(tmp_path: Path) -> None:
    evaluation = Evaluation(TASK, Trainer(), NoTestSplit(), "made up for a test")
    with pytest.raises(ConfigError, match="inherit needs a run folder"):
        Search(TASK, space=Heirs(), evaluation=evaluation, inherit="order", generator="code", niches=20)
    with pytest.raises(ConfigError, match="evaluator 'reader' trains no networks"):
        start(asked(tmp_path), evaluation=replace(evaluation, evaluator=Reader()))


def test_a_run_goes_on_inheriting_as_it_began(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs")
    folder.best_json.unlink()
    events = folder.events.read_bytes().splitlines(keepends=True)
    folder.events.write_bytes(b"".join(events[:20]))
    text = (folder.path / "config.toml").read_text()
    (folder.path / "config.toml").write_text(text.replace('inherit = "order"', 'inherit = "none"'))
    with pytest.raises(ConfigError, match="inherit was order, is None; restore them"):
        resume(folder, evaluation=Evaluation(TASK, Trainer(), NoTestSplit(), "made up for a test"))


def test_the_flag_is_one_of_run(tmp_path: Path) -> None:
    given = ["run", "--inherit", "--task", "cifar100", "--space", "nb201", "--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 2
    assert "--inherit: expected a space of programs" in done.stderr


# -- in a real sandbox ---------------------------------------------------------------------------------------------

NETWORK = """
import torch
from torch import nn


class Network(nn.Module):
    def __init__(self, classes, in_channels, width):
        super().__init__()
        self.layers = nn.Sequential({layers})
        {begin}

    def forward(self, x):
        return self.layers(x)
"""
PLAIN = "nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10)"
HOSTILE = {
    "garbage": "b'x' * 1000",
    "a pickle": "__import__('pickle').dumps([1, 2, 3])",
    "no number": "__import__('safetensors.torch').torch.save({'a': torch.tensor([float('nan')])})",
}


def written(layers: str = PLAIN, begin: str = "pass") -> Architecture:
    text = NETWORK.format(layers=layers, begin=begin)
    return Architecture("texts", text, str(hash(text)))


@pytest.fixture
def evaluator(tmp_path: Path) -> Iterator[TrainEvaluator]:
    from nas_agent.tools.images import load_images

    digits = load_images("digits", data=None, resolution=None)
    training = Training(
        "texts", Fidelity(1, 4), batch=64, recipe={"shift": 0}, device="cpu", precision="float32", limit=300.0,
        memory=0.5, inherit="order",
    )  # fmt: skip
    trainer = ImageTrainer(training, lambda: digits, source=lambda architecture, classes: architecture.text)
    evaluator = TrainEvaluator(trainer)
    evaluator.keep_in(tmp_path / "weights")
    yield evaluator
    trainer.worker.close()


def trained_by(evaluator: TrainEvaluator, architecture: Architecture, heritage: Heritage | None) -> Measured:
    outcome = evaluator.evaluate(architecture, seed=0, heritage=heritage)
    assert isinstance(outcome, Measured), outcome
    return outcome


real = pytest.mark.skipif(backends.obstacle() is not None, reason=f"no sandbox here: {backends.obstacle()}")


@pytest.mark.slow
@real
def test_a_real_child_begins_where_its_parent_ended(evaluator: TrainEvaluator) -> None:
    scratch, parent = (trained_by(evaluator, written(), heritage) for heritage in (None, Heritage()))
    assert parent.value == scratch.value  # leaving weights changes nothing
    assert parent.inherited is not None
    assert parent.inherited.legacy is not None
    child, heritage = written(f"nn.Conv2d(1, 1, 1), {PLAIN}"), Heritage((parent.inherited.legacy,))
    heir, orphan = trained_by(evaluator, child, heritage), trained_by(evaluator, child, None)
    assert heir.inherited is not None
    assert (heir.inherited.of - heir.inherited.taken, heir.inherited.epochs) == (2, 1)
    assert heir.fidelity == "1 epoch, 4 channels, begun with weights of 1 epoch"
    assert heir.value != orphan.value
    again = trained_by(evaluator, child, heritage)
    assert (again.value, again.inherited) == (heir.value, heir.inherited)


@pytest.mark.slow
@real
def test_a_hostile_network_leaves_no_weights_and_a_flood_ends_it(evaluator: TrainEvaluator, tmp_path: Path) -> None:
    for what in HOSTILE.values():
        patched = f"from nas_agent.tools.evaluators import inheritance; inheritance.left = lambda network: {what}"
        thief = trained_by(evaluator, written(begin=patched), Heritage()).inherited
        assert thief is not None
        assert thief.legacy is None
        assert "its weights are not kept: they" in thief.note
    flood = "from nas_agent.tools.evaluators import candidate, inheritance; candidate.MOST = 1 << 40; "
    flood += "inheritance.left = lambda network: bytes(120 << 20)"
    assert isinstance(evaluator.evaluate(written(begin=flood), seed=0, heritage=Heritage()), Failed)
    assert not (tmp_path / "weights").exists()
