"""`evaluate` and `export`, by the command line, on a handful of images."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from typer.testing import CliRunner

from nas_agent.cli.main import app
from nas_agent.errors import ConfigError, StorageError
from nas_agent.export import export
from nas_agent.tools.run_folder import RunFolder
from nas_agent.tools.sandbox import backends
from tests.test_training import SMALL, stripes

SMALLEST = ["--set", "train_batch=32", "--set", "device=cpu", "--set", "precision=float32"]
OTHER = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("images") / "stripes.npz"
    pixels, labels = stripes(200, 0)
    np.savez(file, images=pixels, labels=labels)
    return f"npz:{file}"


def run(*arguments: str) -> dict:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def searched(images, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("runs")
    asked = ["run", "--task", images, "--budget", "2", "--epochs", "2", "--width", "4", "--no-memory"]
    return run(*asked, "--out", str(out), *SMALLEST)


def imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("exported", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_search_on_arrays_trains_and_opens_the_test_part_for_the_winner(searched):
    assert searched["evaluator"] == "train"
    assert searched["evaluations"] == 2
    assert searched["best"]["provenance"] == "measured"
    assert 0 <= searched["best"]["test"] <= 100
    events = (Path(searched["run"]) / "events.jsonl").read_text()
    assert '"at":{"epochs":2,"width":4,"share":1.0,"resolution":null}' in events
    assert 'device = "cpu"' in (Path(searched["run"]) / "config.toml").read_text()


def test_evaluate_prints_a_value_for_each_seed_their_mean_and_spread(images):
    found = run("evaluate", SMALL, "--task", images, "--seeds", "3", "--epochs", "1", "--width", "4", *SMALLEST)
    values = [row["val"] for row in found["seeds"]]
    assert found["val"] == pytest.approx({"mean": np.mean(values), "spread": np.std(values, ddof=1), "n": 3})
    assert found["test"] is None
    assert all("test" not in row for row in found["seeds"])
    assert (found["fidelity"], found["device"]) == ("1 epoch, 4 channels", "cpu")
    asked = ["evaluate", SMALL, "--task", images, "--seeds", "1", "--seed", "1", "--epochs", "1", "--width", "4"]
    again = CliRunner().invoke(app, [*asked, "--test", *SMALLEST])
    assert f"validation accuracy {values[1]:.2f} %, 1 seed" in again.stdout
    assert "test accuracy" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nonsense", "--task", "digits"], "expected a cell written as"),
        (["evaluate", SMALL, "--task", "jigsaw"], "there are no images of it to train on"),
        (["evaluate", SMALL, "--task", "folder:/no/such"], "expected a folder with one folder per class"),
        (["evaluate", SMALL, "--task", "digits", "--device", "gpu"], "device: String should match pattern"),
        (["run", "--task", "cifar100", "--width", "8"], "answered from a table unless it is trained"),
        (["export", "none"], "there is no run 'none'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_exported_winner_is_the_network_of_the_search_and_loads_to_the_same_logits(searched, tmp_path):
    import torch

    done = run("export", searched["run"], "--out", str(tmp_path / "model"))
    assert done["same_network"]
    assert done["same_logits"]
    assert (done["val"], done["test"]) == (searched["best"]["val"], searched["best"]["test"])
    module = imported(tmp_path / "model" / "model.py")
    batch = torch.randn(5, 1, 8, 8)
    with torch.inference_mode():
        logits = module.load()(batch)
    assert logits.shape == (5, 2)
    if done["onnx"]["written"]:
        onnxruntime = pytest.importorskip("onnxruntime")
        session = onnxruntime.InferenceSession(str(tmp_path / "model" / "model.onnx"))
        found = session.run(None, {"images": batch.numpy()})[0]
        assert np.abs(found - logits.numpy()).max() < 1e-3
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"{searched['best']['val']:.2f} %" in card
    assert "(the same network)" in card
    assert Path(searched["run"]).name in card


def test_what_an_export_cannot_do_is_one_clear_line(searched, tmp_path):
    folder = RunFolder(Path(searched["run"]))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(ConfigError, match="expected a new or empty folder, got one with files"):
        export(folder, tmp_path / "full", {})
    with pytest.raises(StorageError, match=r"cannot be used \(Not a directory\)"):
        export(folder, tmp_path / "full" / "mine" / "below", {})


def test_other_settings_make_another_network_and_the_card_says_so(searched, tmp_path):
    done = export(RunFolder(Path(searched["run"])), tmp_path / "model", {"epochs": 1})
    assert not done.same_network
    assert done.test is None
    card = (tmp_path / "model" / "README.md").read_text()
    assert "(not the same network)" in card
    assert "not measured for these weights" in card


def test_the_winner_of_a_table_is_trained_on_images_that_are_named(images, tmp_path, monkeypatch):
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    (tmp_path / "t.csv").write_text(f"architecture,val\n{SMALL},50\n{OTHER},60\n")
    table = run("run", "--task", f"table:{tmp_path / 't.csv'}", "--budget", "2", "--out", str(tmp_path))
    folder = RunFolder(Path(table["run"]))
    with pytest.raises(ConfigError, match=r"which has no images to train on; name some, e.g. --task cifar10"):
        export(folder, tmp_path / "a", {})
    small = {"epochs": 1, "width": 4, "train_batch": 32, "device": "cpu", "precision": "float32"}
    done = export(folder, tmp_path / "b", {"task": images, **small})
    assert done.searched.architecture.text == OTHER
    assert (done.same_network, done.same_logits) == (False, True)
    assert "60.00 %, table" in (tmp_path / "b" / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(backends.obstacle() is not None, reason=f"no sandbox here: {backends.obstacle()}")
def test_a_program_that_was_found_in_the_sandbox_comes_out_of_it_with_its_weights(images, tmp_path):
    asked = ["run", "--task", images, "--space", "pytorch", "--budget", "2", "--epochs", "2", "--surrogate", "none"]
    found = run(*asked, "--no-memory", "--out", str(tmp_path / "runs"), *SMALLEST)
    outcomes = [json.loads(line) for line in (Path(found["run"]) / "events.jsonl").read_text().splitlines()]
    levels = {event["outcome"]["sandbox"] for event in outcomes if event["type"] == "outcome"}
    assert len(levels) == 1
    done = run("export", found["run"], "--out", str(tmp_path / "model"))
    assert done["same_network"]
    assert done["same_logits"]
    assert done["test"] == found["best"]["test"]
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"What confined it in the search:\n{levels.pop()}. Read it before you run it." in card
    assert "the lower of 2 seeds" in card
    network = imported(tmp_path / "model" / "model.py").load()
    assert sum(one.numel() for one in network.parameters()) == done["parameters"]
