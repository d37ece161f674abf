from __future__ import annotations

import bz2
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas_agent.errors import DataError, StorageError
from nas_agent.spaces import load_space
from nas_agent.tools.benchmarks.registry import BENCHMARKS
from nas_agent.tools.data_import import import_official, sha256
from nas_agent.tools.data_status import data_status
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.untrusted import read_torch

DATA = os.environ.get("NAS_AGENT_DATA")
# Three cells; the second and the third are isomorphic. The file names a fourth without holding results for it.
CELLS = [
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",
    "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|none~2|",
    "|avg_pool_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",
]
DATASETS = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}


def accuracy(index: int, dataset: str, part: str, epochs: int, seed: int) -> float:
    """A different number for each question, so that a mix-up shows; seeds lie symmetrically about it."""
    where = list(DATASETS).index(dataset) * 10 + ("x-valid", "x-test", "ori-test").index(part) * 3
    return 10.0 + index + where + epochs / 1000 + {777: -0.25, 888: 0.25}[seed]


def results(utils, index: int, epochs: int) -> dict:
    """One architecture's results at one training length, written by the benchmark's own classes."""
    arch = utils.ArchResults(index, CELLS[index])
    steps = range(epochs)
    for dataset, parts in DATASETS.items():
        for seed in (777, 888):
            flat = dict.fromkeys(steps, 50.0)
            config = {"channel": 16, "num_cells": 5, "arch_str": CELLS[index], "class_num": 10}
            count = utils.ResultsCount(
                dataset, None, flat, flat, np.float64(0.5 + index), np.float32(80.0), config, seed, epochs, [0.01]
            )
            count.update_train_info(flat, flat, flat, dict.fromkeys(steps, np.float64(2.0 + index)))
            keys = [f"{part}@{step}" for part in parts for step in steps]
            accs = {key: accuracy(index, dataset, key.partition("@")[0], epochs, seed) for key in keys}
            count.update_eval(accs, dict.fromkeys(keys, 1.0), dict.fromkeys(keys, 0.1))
            arch.update(dataset, seed, count)
    return arch.state_dict()


def nats_content() -> dict:
    utils = pytest.importorskip("nats_bench.api_utils", reason="the extra 'nasbench' is not installed")
    infos = {i: {"12": results(utils, i, 12), "200": results(utils, i, 200)} for i in range(3)}
    return {"meta_archs": CELLS, "arch2infos": infos, "evaluated_indexes": {0, 1, 2}}


def nats_file(folder: Path) -> Path:
    path = folder / "NATS-tss-v1_0-tiny.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.dumps(nats_content(), protocol=4)))
    return path


def nats_folder(folder: Path) -> Path:
    content, path = nats_content(), folder / "NATS-tss-v1_0-tiny-simple"
    path.mkdir()
    meta = {"meta_archs": CELLS, "total_archs": len(CELLS)}
    (path / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(meta, protocol=4)))
    for index, infos in content["arch2infos"].items():
        (path / f"{index:06d}.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(infos, protocol=4)))
    return path


def nb201_file(folder: Path, *, legacy: bool = False) -> Path:
    utils = pytest.importorskip("nas_201_api.api_utils", reason="the extra 'nasbench' is not installed")
    import torch

    infos = {i: {"less": results(utils, i, 12), "full": results(utils, i, 200)} for i in range(3)}
    path = folder / "NAS-Bench-201-v1_1-tiny.pth"
    content = {"meta_archs": CELLS, "arch2infos": infos, "evaluated_indexes": [0, 1, 2]}
    # The official file is of 2020, before torch wrote zip archives.
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def nb201_legacy_file(folder: Path) -> Path:
    return nb201_file(folder, legacy=True)


@pytest.mark.parametrize("make", [nats_file, nats_folder, nb201_file, nb201_legacy_file])
def test_an_official_file_becomes_the_compact_table(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    imported = import_official(make(tmp_path), tmp_path / "nb201.npz")
    with np.load(imported.path) as table:
        arrays = {name: table[name] for name in table.files}
    space = load_space("nb201")
    names = arrays["op_names"].tolist()
    assert [space.write(tuple(names[k] for k in row)) for row in arrays["ops"].tolist()] == CELLS
    assert arrays["iso"].tolist() == [0, 1, 1, 3]
    test = "test_v11_{}_200" if make in (nb201_file, nb201_legacy_file) else "test_{}_200"
    expected = {
        "val_c10_12": ("cifar10-valid", "x-valid", 12),
        "val_c10_200": ("cifar10-valid", "x-valid", 200),
        "test_c10_12": ("cifar10", "ori-test", 12),
        test.format("c10"): ("cifar10", "ori-test", 200),
        "test_c10valid_200": ("cifar10-valid", "ori-test", 200),
        "val_c100_12": ("cifar100", "x-valid", 12),
        "test_c100_12": ("cifar100", "x-test", 12),
        "val_c100_200": ("cifar100", "x-valid", 200),
        test.format("c100"): ("cifar100", "x-test", 200),
        "val_in16_200": ("ImageNet16-120", "x-valid", 200),
        test.format("in16"): ("ImageNet16-120", "x-test", 200),
    }
    for name, (dataset, part, epochs) in expected.items():
        means = [accuracy(i, dataset, part, epochs, 777) + 0.25 for i in range(3)]
        assert arrays[name][:3] == pytest.approx(means, abs=1e-4), name
        assert np.isnan(arrays[name][3])
    assert arrays["time_c10valid_12"][:3].tolist() == [24.0, 36.0, 48.0]
    assert arrays["params_M"][:3].tolist() == [0.5, 1.5, 2.5]
    assert arrays["flops_M"][:3].tolist() == [80.0] * 3
    assert imported.missing["val_c10_200"] == 1
    assert imported.rows == 4
    assert imported.sha256 == sha256(imported.path)
    json.dumps(imported.to_dict())


def test_an_imported_table_can_be_searched(tmp_path: Path) -> None:
    import_official(nats_file(tmp_path), tmp_path)
    space = load_space("nb201")
    evaluation = load_evaluation("cifar100", space, "auto", data=tmp_path, epochs=None)
    assert evaluation.evaluator.name == "table"
    assert "1 row without a value for cifar100 left out" in evaluation.note
    outcome = evaluation.evaluator.evaluate(space.parse(CELLS[2]), seed=0)
    assert outcome.value == pytest.approx(accuracy(1, "cifar100", "x-valid", 200, 777) + 0.25, abs=1e-4)


# -- pickles from outside -------------------------------------------------------------------------------


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.marker}",)


def evil_nats_file(folder: Path, bad: object) -> Path:
    path = folder / "NATS-tss-v1_0-evil.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.dumps({"meta_archs": CELLS, "arch2infos": {0: bad}}, protocol=4)))
    return path


def evil_nats_folder(folder: Path, bad: object) -> Path:
    path = folder / "NATS-tss-v1_0-evil-simple"
    path.mkdir()
    (path / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({"meta_archs": CELLS}, protocol=4)))
    (path / "000000.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({"12": bad}, protocol=4)))
    return path


def evil_nb201_file(folder: Path, bad: object) -> Path:
    import torch

    path = folder / "NAS-Bench-201-v1_1-evil.pth"
    torch.save({"meta_archs": CELLS, "arch2infos": {0: bad}}, path)
    return path


def evil_legacy_file(folder: Path, bad: object) -> Path:
    import torch

    path = folder / "NAS-Bench-201-v1_1-evil.pth"
    torch.save({"meta_archs": CELLS, "arch2infos": {0: bad}}, path, _use_new_zipfile_serialization=False)
    return path


@pytest.mark.parametrize("make", [evil_nats_file, evil_nats_folder, evil_nb201_file, evil_legacy_file])
def test_a_pickle_that_would_run_a_program_is_refused_and_nothing_runs(tmp_path: Path, make: Callable) -> None:
    pytest.importorskip("nats_bench", reason="the extra 'nasbench' is not installed")
    pytest.importorskip("nas_201_api", reason="the extra 'nasbench' is not installed")
    marker = tmp_path / "marker"
    path = make(tmp_path, Evil(marker))
    with pytest.raises(DataError, match="nothing in it was run") as caught:
        import_official(path, tmp_path / "nb201.npz")
    assert "system" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert not (tmp_path / "nb201.npz").exists()
    # The same bytes in a plain unpickler do run it: the test above would notice.
    if make is evil_nats_file:
        pickle.loads(bz2.decompress(path.read_bytes()))
        assert marker.exists()


@pytest.mark.parametrize(
    "bad",
    [np.array([Path("x")], dtype=object), print, Path("x"), b"".join],
    ids=["array of objects", "function", "path", "method"],
)
def test_anything_but_containers_and_numbers_is_refused(tmp_path: Path, bad: object) -> None:
    pytest.importorskip("nats_bench", reason="the extra 'nasbench' is not installed")
    with pytest.raises(DataError, match="which no table needs"):
        import_official(evil_nats_file(tmp_path, bad), tmp_path / "nb201.npz")


# -- bad input --------------------------------------------------------------------------------------------


def test_a_file_cut_short_is_one_clear_line(tmp_path: Path) -> None:
    for make in (nats_file, nb201_file):
        path = make(tmp_path)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(DataError, match="is cut short") as caught:
            import_official(path, tmp_path / "nb201.npz")
        assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("x")
    with pytest.raises(DataError, match="which is none of them"):
        import_official(tmp_path / "table.csv", tmp_path / "nb201.npz")
    with pytest.raises(DataError, match="there is no such file"):
        import_official(tmp_path / "none.zip", tmp_path / "nb201.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "'meta_archs', got list"),
        ({"meta_archs": ["64:64:64:64:64"], "arch2infos": {}}, "expected cells of NAS-Bench-201"),
        ({"meta_archs": CELLS, "arch2infos": {}}, "no validation result at all"),
        ({"meta_archs": CELLS, "arch2infos": {0: {"12": [1]}}}, "not in the official format"),
        ({"meta_archs": CELLS}, "'arch2infos'"),
    ],
)
def test_content_that_is_no_benchmark_is_one_clear_line(tmp_path: Path, content: object, message: str) -> None:
    pytest.importorskip("nats_bench", reason="the extra 'nasbench' is not installed")
    path = tmp_path / "NATS.pickle.pbz2"
    path.write_bytes(bz2.compress(pickle.dumps(content)))
    with pytest.raises(DataError, match=message):
        import_official(path, tmp_path / "nb201.npz")


def test_a_table_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "nb201.npz").write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        import_official(tmp_path / "x.pth", tmp_path / "nb201.npz")
    assert (tmp_path / "nb201.npz").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        import_official(nats_file(tmp_path), tmp_path / "file" / "nb201.npz")


# -- data status ------------------------------------------------------------------------------------------


def test_status_tells_where_it_looked_and_that_nothing_was_found(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path))
    status = data_status(None)
    folder = str(tmp_path / "data")
    assert status["places"] == [{"folder": folder, "named_by": "the user's data folder", "files": []}]
    assert status["tables"] == []
    missing = {entry["file"]: entry["embedded"] for entry in status["missing"]}
    assert missing["nb201.npz"] is True
    assert list(missing) == [benchmark.file for benchmark in BENCHMARKS]
    assert status["embedded"]["scores"]["cifar100"]["val"]["kendall_tau"] > 0.9


def test_status_of_a_partial_table_says_what_is_wrong_with_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path))
    import_official(nats_file(tmp_path))
    (found,) = data_status(None)["tables"]
    assert found["path"] == str(tmp_path / "data" / "nb201.npz")
    assert found["in_use"]
    assert {task["left_out"] for task in found["tasks"]} == {1}
    assert [check["ok"] for check in found["checks"]] == [False, False, True]


def test_status_of_a_broken_table_reports_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    monkeypatch.setenv("NAS_AGENT_HOME", str(tmp_path))
    (tmp_path / "nb201.npz").write_bytes(b"PK no zip")
    (found,) = data_status(tmp_path)["tables"]
    assert all("broken or cut short" in task["problem"] for task in found["tasks"])
    assert [check["ok"] for check in found["checks"]] == [False]


@pytest.mark.skipif(not DATA, reason="NAS_AGENT_DATA is not set: no benchmark tables here")
def test_status_of_the_real_table_passes_every_check() -> None:
    found = next(t for t in data_status(Path(DATA or ""))["tables"] if t["file"] == "nb201.npz")
    assert [check["ok"] for check in found["checks"]] == [True] * 3
    assert [task["rows"] for task in found["tasks"]] == [15_625] * 6
    assert len(found["sha256"]) == 64
    json.dumps(found)


@pytest.mark.parametrize("content", [b"", b"no pickle at all", b"\x80\x02x", b"PK\x03\x04 cut short"])
def test_a_broken_file_is_refused_without_advice_to_switch_the_check_off(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "NAS-Bench-201-v1_1-broken.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no plain benchmark file or is cut short") as caught:
        read_torch(path)
    assert "weights_only" not in str(caught.value)
    assert "( )" not in str(caught.value)
    assert "\n" not in str(caught.value)
