from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nas_agent.errors import ConfigError, DataError
from nas_agent.records import Task
from nas_agent.spaces import CategoricalSpace, Decision, load_space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.benchmarks.nb201 import BENCHMARKS, load_nb201
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.table_files import read_arrays
from nas_agent.tools.tables import BenchmarkTable, data_folders, find_table, load_user_table

DATA = os.environ.get("NAS_AGENT_DATA")
needs_tables = pytest.mark.skipif(not DATA, reason="NAS_AGENT_DATA is not set: no benchmark tables here")


class Widths(CategoricalSpace):
    name = "widths"
    decisions = (Decision("depth", ("2", "4")), Decision("width", ("16", "32")))


HEADER = "architecture,val,test,seconds,params\n"


@pytest.fixture
def space() -> Widths:
    return Widths()


def table(tmp_path: Path, text: str, space: CategoricalSpace) -> BenchmarkTable:
    file = tmp_path / "mine.csv"
    file.write_text(text)
    return load_user_table(file, space)


def row(arch: str, *numbers: object) -> str:
    return f'"{arch}",{",".join(map(str, numbers))}\n'


# -- a user's own table -----------------------------------------------------------------------------


def test_a_csv_table_gives_back_what_it_holds(tmp_path, space):
    found = table(tmp_path, HEADER + row("depth=2,width=16", 71.5, 70.25, 12, 1000), space)
    answer = found.row(space.parse("depth=2,width=16"))
    assert answer is not None
    assert (answer.value, answer.test, answer.seconds, answer.params) == (71.5, 70.25, 12.0, 1000.0)
    assert found.simulated
    assert found.row(space.parse("depth=4,width=16")) is None
    assert (found.task.name, found.task.metric, found.task.unit, found.task.maximise) == (
        "table:mine.csv",
        "accuracy",
        "%",
        True,
    )


def test_an_npz_table_says_the_same_as_the_csv_of_the_same_content(tmp_path, space):
    texts = ["depth=2,width=16", "depth=4,width=32"]
    np.savez(
        tmp_path / "t.npz",
        architecture=np.array(texts),
        val=np.array([3, 2]),
        test=np.array([3.5, np.nan]),
        direction=np.array("min"),
        metric=np.array("perplexity"),
    )
    csv = (
        "# direction: min\n# metric: perplexity\narchitecture,val,test\n" + row(texts[0], 3, 3.5) + row(texts[1], 2, "")
    )
    for found in (load_user_table(tmp_path / "t.npz", space), table(tmp_path, csv, space)):
        assert [found.row(space.parse(t)).value for t in texts] == [3.0, 2.0]
        assert [found.row(space.parse(t)).test for t in texts] == [3.5, None]
        assert (found.task.maximise, found.task.metric, found.task.unit) == (False, "perplexity", "")
        assert found.optimum() == 2.0
        assert not found.simulated


def test_rows_without_a_value_are_left_out_and_counted(tmp_path, space):
    text = (
        "architecture,val\n" + row("depth=2,width=16", "nan") + row("depth=2,width=32", "") + row("depth=4,width=16", 5)
    )
    found = table(tmp_path, text, space)
    assert (found.rows, found.left_out) == (1, 2)
    assert [a.text for a in found.pool()] == ["depth=4,width=16"]
    assert "2 rows without a value" in found.note


def test_a_table_with_no_value_at_all_is_an_error(tmp_path, space):
    with pytest.raises(DataError, match=r"no row with a value for table:mine\.csv: 1 row,"):
        table(tmp_path, "architecture,val\n" + row("depth=2,width=16", "nan"), space)


def test_a_row_that_repeats_another_is_dropped_and_counted(tmp_path, space):
    text = "architecture,val,test\n" + 2 * row("depth=2,width=16", 5, "nan")
    found = table(tmp_path, text, space)
    assert (found.rows, found.duplicates) == (1, 1)
    assert "1 repeated row dropped" in found.note


def test_rows_that_contradict_each_other_are_an_error_that_names_both(tmp_path, space):
    lines = row("depth=2,width=16", 5) + row("depth=2,width=32", 6) + row("depth=2,width=16", 7)
    with pytest.raises(DataError, match=r"line 3 and line 5 .*'val' \(5.0 and 7.0\)"):
        table(tmp_path, "# direction: max\narchitecture,val\n" + lines, space)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("# only a comment\n", "the file is empty"),
        ("architecture,test\nx,1\n", "expected columns 'architecture' and 'val'"),
        ("architecture,val,val\nx,1,2\n", "its own name"),
        ("architecture,val\ndepth=2,width=16,5\n", r"line 2: expected 2 fields .*got 3; put a text that holds a comma"),
        ('architecture,val\n"depth=2,width=16",high\n', "line 2: 'val' must be a number or empty, got 'high'"),
        ('architecture,val\n\n"depth=9,width=16",1\n', "line 3: no architecture of space 'widths': unknown option '9'"),
        ('architecture,val\n"depth=2,width=16",1_0\n', "line 2: 'val' must be a number or empty, got '1_0'"),
        ('architecture,val,seconds\n"depth=2,width=16",1,-3\n', "line 2: 'seconds' must not be negative, got -3"),
        ("# directon: min\narchitecture,val\n", "got 'directon'; did you mean 'direction'"),
        ("# Units = ms\narchitecture,val\n", "got 'Units'; did you mean 'unit'"),
        ("# direction min\narchitecture,val\n", "put in the ':'"),
        ("# direction: min\n# DIRECTION: max\narchitecture,val\n", "'direction' is given twice"),
        ('# direction: up\narchitecture,val\n"depth=2,width=16",1\n', "direction must be 'max' or 'min', got 'up'"),
    ],
)
def test_a_bad_csv_is_one_clear_line(tmp_path, space, text, message):
    with pytest.raises(DataError, match=message) as caught:
        table(tmp_path, text, space)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "comment",
    [
        "# direction: min",
        "# Direction: min",
        "#DIRECTION:MIN",
        "# direction = min",
        "  # direction :Min",
        "#\tdirection=min",
    ],
)
def test_a_direction_is_read_in_any_usual_spelling(tmp_path, space, comment):
    text = f"# loss on my data, see note: units\n{comment}\n# Metric: loss\narchitecture,val\n"
    found = table(tmp_path, text + row("depth=2,width=16", 3) + row("depth=2,width=32", 2), space)
    assert (found.task.maximise, found.task.metric, found.optimum()) == (False, "loss", 2.0)
    assert "minimise loss" in found.note
    assert "maximise accuracy" in table(tmp_path, "architecture,val\n" + row("depth=2,width=16", 3), space).note


def test_the_direction_of_an_npz_is_read_in_any_case(tmp_path, space):
    np.savez(tmp_path / "t.npz", architecture=np.array(["depth=2,width=16"]), val=[3.0], Direction="Min")
    assert not load_user_table(tmp_path / "t.npz", space).task.maximise


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"val": [1.0]}, "expected arrays 'architecture' and 'val'"),
        ({"architecture": ["depth=2,width=16"], "val": [1.0, 2.0]}, r"'val' has shape \(2,\)"),
        ({"architecture": ["depth=2,width=16"], "val": ["1.0"]}, "'val' must hold numbers"),
        ({"architecture": [1], "val": [1.0]}, "'architecture' must be one row of texts"),
        (
            {"architecture": ["depth=2,width=16"], "val": [1.0], "seconds": [-1]},
            "row 0: 'seconds' must not be negative",
        ),
        ({"architecture": ["depth=2,width=16"], "val": [1.0], "directon": "min"}, "did you mean 'direction'"),
        ({"architecture": ["depth=3,width=16"], "val": [1.0]}, "row 0: no architecture of space"),
        ({"architecture": ["depth=2,width=16"], "val": [1.0], "direction": [1, 2]}, "'direction' must be one text"),
    ],
)
def test_a_bad_npz_is_one_clear_line(tmp_path, space, arrays, message):
    np.savez(tmp_path / "bad.npz", **{name: np.array(array) for name, array in arrays.items()})
    with pytest.raises(DataError, match=message):
        load_user_table(tmp_path / "bad.npz", space)


def test_a_missing_cut_short_or_strange_file_is_one_clear_line(tmp_path, space):
    whole = tmp_path / "whole.npz"
    np.savez(whole, architecture=np.array(["depth=2,width=16"] * 500), val=np.arange(500.0))
    content = whole.read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    # A flipped byte in the data: the checksum of the zip notices it.
    (tmp_path / "flipped.npz").write_bytes(content[:2000] + bytes([content[2000] ^ 255]) + content[2001:])
    np.savez(tmp_path / "objects.npz", architecture=np.array([{"a": 1}], dtype=object), val=np.array([1.0]))
    for name in ("cut.npz", "empty.npz", "flipped.npz", "objects.npz"):
        with pytest.raises(DataError, match="broken or cut short") as caught:
            load_user_table(tmp_path / name, space)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="there is no such file"):
        load_user_table(tmp_path / "none.csv", space)
    (tmp_path / "table.xlsx").write_text("x")
    with pytest.raises(DataError, match=r"ends in .npz or .csv"):
        load_user_table(tmp_path / "table.xlsx", space)
    (tmp_path / "latin.csv").write_bytes(b"architecture,val\n\xff\xfe,1\n")
    with pytest.raises(DataError, match="UTF-8"):
        load_user_table(tmp_path / "latin.csv", space)


def one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(3))


def with_a_member(content: bytes):
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("val.npy", content)

    return write


def huge_header() -> bytes:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def of_a_later_zip(path: Path) -> None:
    np.savez(path, val=np.arange(3.0))
    content = path.read_bytes()
    place = content.index(b"PK\x01\x02")  # the central directory; the version needed is six bytes on
    path.write_bytes(content[: place + 6] + bytes([255]) + content[place + 7 :])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (one_array, "it is one .npy array; write it with numpy.savez"),
        (with_a_member(b"not an array"), "'val.*' is none"),
        (with_a_member(huge_header()), "broken or cut short"),
        (of_a_later_zip, "broken or cut short"),
        (Path.mkdir, "it is a folder"),
        (os.mkfifo, "it is a named pipe"),
    ],
)
def test_an_npz_that_is_none_is_one_clear_line(tmp_path, space, make, message):
    make(tmp_path / "t.npz")
    for read in (lambda: load_user_table(tmp_path / "t.npz", space), lambda: read_arrays(tmp_path / "t.npz")):
        with pytest.raises(DataError, match=message) as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a" * 300 + ".npz", "nul\0.npz", "new\nline.csv", "t.csv/under.csv"])
def test_a_path_that_cannot_be_a_file_is_one_clear_line(tmp_path, space, name):
    (tmp_path / "t.csv").write_text("")
    with pytest.raises(DataError) as caught:
        load_user_table(tmp_path / name, space)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="this user may read everything")
def test_a_folder_that_may_not_be_entered_is_one_clear_line(tmp_path, space):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(DataError, match="Permission denied"):
        load_user_table(closed / "t.npz", space)
    with pytest.raises(DataError, match="Permission denied"):
        find_table(closed)


# -- isomorphic rows ---------------------------------------------------------------------------------

# Two spellings of one cell: the input convolved once. The second carries a dead 3x3 convolution, so it is larger.
SMALL = "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
LARGE = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|none~2|"


def test_a_class_answers_with_its_cheapest_measured_member(tmp_path):
    space = NasBench201()
    assert space.parse(SMALL).id == space.parse(LARGE).id
    found = table(tmp_path, "architecture,val,params\n" + row(LARGE, 60, 9) + row(SMALL, 50, 1), space)
    assert [a.text for a in found.pool()] == [SMALL]
    assert found.row(space.parse(LARGE)).value == 50.0
    assert found.optimum() == 50.0


def test_where_only_the_larger_member_was_measured_it_represents_the_class(tmp_path):
    space = NasBench201()
    text = "architecture,val,params\n" + row(LARGE, 60, 9) + row(SMALL, "nan", 1)
    found = table(tmp_path, text, space)
    assert [a.text for a in found.pool()] == [LARGE]
    assert found.row(space.parse(SMALL)).value == 60.0


def test_without_sizes_the_canonical_text_represents_the_class_and_else_the_first_row(tmp_path):
    space = NasBench201()
    canonical = space.canonical(space.parse(SMALL)).text
    others = [t for t in (SMALL, LARGE) if t != canonical]
    found = table(tmp_path, "architecture,val\n" + row(others[0], 1) + row(canonical, 2), space)
    assert [a.text for a in found.pool()] == [canonical]
    second = LARGE.replace("nor_conv_3x3~0|none", "avg_pool_3x3~0|none")
    found = table(tmp_path, "architecture,val\n" + row(LARGE, 1) + row(second, 2), space)
    assert [a.text for a in found.pool()] == [LARGE]


# -- the compact NAS-Bench-201 file --------------------------------------------------------------------


def tiny_nb201(path: Path, **changed: np.ndarray) -> Path:
    arrays: dict[str, np.ndarray] = {
        "ops": np.array([[2, 0, 0, 0, 1, 0], [3, 3, 3, 1, 3, 3]], dtype=np.uint8),
        "op_names": np.array(["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]),
        "val_c10_200": np.array([80.0, 91.0], dtype=np.float32),
        "test_c10_200": np.array([81.0, 92.0], dtype=np.float32),
        "time_c10valid_12": np.array([100.0, 200.0], dtype=np.float32),
    }
    arrays.update(changed)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def nb201_task(name: str) -> Task:
    return next(task for task in BENCHMARKS[0].tasks if task.name == name)


def cifar10() -> Task:
    return nb201_task("cifar10")


def test_simulated_seconds_are_the_stated_multiples_of_the_12_epoch_run(tmp_path):
    space = NasBench201()
    found = load_nb201(tiny_nb201(tmp_path / "nb201.npz"), cifar10(), space)
    first = found.row(space.parse(SMALL))
    assert first.seconds == pytest.approx(100 * 33.3333, rel=1e-4)
    assert found.simulated
    assert "simulated" in found.note
    assert (first.value, first.test) == (80.0, 81.0)


def test_the_test_values_of_the_matching_release_are_preferred(tmp_path):
    space = NasBench201()
    file = tiny_nb201(tmp_path / "nb201.npz", test_v11_c10_200=np.array([70.0, 71.0], dtype=np.float32))
    assert load_nb201(file, cifar10(), space).row(space.parse(SMALL)).test == 70.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val_c10_200": None}, "expected the array 'val_c10_200', which it lacks"),
        ({"ops": np.zeros((2, 5), dtype=np.uint8)}, "'ops' must hold 6 indices"),
        ({"ops": np.full((2, 6), 7, dtype=np.uint8)}, "'ops' must hold 6 indices"),
        ({"ops": np.full((2, 6), -1, dtype=np.int8)}, "'ops' must hold 6 indices"),
        ({"op_names": np.array(3)}, "expected a row of texts in 'op_names'"),
        ({"time_c10valid_12": np.array(["1", "2"])}, "'seconds' must hold one number for each"),
        ({"op_names": np.array(["none", "skip_connect", "a", "b", "c"])}, "does not fit space 'nb201'"),
        ({"val_c10_200": np.zeros(3, dtype=np.float32)}, "one number for each of 2 rows"),
        ({"val_c10_200": np.full(2, np.nan, dtype=np.float32)}, "no row with a value for cifar10"),
    ],
)
def test_a_compact_file_that_does_not_hold_together_is_one_clear_line(tmp_path, changed, message):
    with pytest.raises(DataError, match=message):
        load_nb201(tiny_nb201(tmp_path / "nb201.npz", **changed), cifar10(), NasBench201())


def test_epochs_that_the_table_does_not_hold_are_the_users_mistake(tmp_path):
    tiny_nb201(tmp_path / "nb201.npz")
    with pytest.raises(ConfigError, match="--epochs 90: the NAS-Bench-201 table holds 200 and 12 epochs"):
        load_evaluation("cifar10", NasBench201(), "auto", data=tmp_path, epochs=90)


@needs_tables
@pytest.mark.parametrize(
    ("task", "best", "test", "resnet"),
    [
        ("cifar10", 91.607, 94.373, 93.91),
        ("cifar100", 73.493, 73.513, 70.89),
        ("ImageNet16-120", 46.733, 46.20, 44.23),
    ],
)
def test_the_real_table_holds_the_known_facts(task, best, test, resnet):
    space = NasBench201()
    found = load_nb201(Path(DATA or "") / "nb201.npz", nb201_task(task), space)
    assert (found.rows, len(found.pool()), found.left_out) == (15_625, 6_466, 0)
    winner = max((found.row(a) for a in found.pool()), key=lambda row: row.value)
    assert winner.value == found.optimum() == pytest.approx(best, abs=6e-4)
    assert winner.test == pytest.approx(test, abs=6e-4)
    rows = list(found.members())
    assert rows[11472].test == pytest.approx(resnet, abs=6e-3)
    if task == "cifar100":
        assert winner.architecture.text == (
            "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
        )


@needs_tables
def test_each_class_of_the_real_table_is_represented_by_its_smallest_member():
    space = load_space("nb201")
    found = load_nb201(Path(DATA or "") / "nb201.npz", nb201_task("cifar100"), space)
    sizes: dict[str, list[float]] = {}
    for member in found.members():
        sizes.setdefault(member.architecture.id, []).append(member.params)
    assert sum(max(of_class) - min(of_class) > 1e-6 for of_class in sizes.values()) == 578
    assert all(found.row(a).params == min(sizes[a.id]) for a in found.pool())


# -- where tables lie ----------------------------------------------------------------------------------


def test_tables_are_looked_for_in_the_flag_then_the_environment_then_the_users_folder(tmp_path, monkeypatch):
    flag, environment, user = tmp_path / "flag", tmp_path / "env", tmp_path / "home"
    for folder in (flag, environment, user / "data"):
        folder.mkdir(parents=True)
    monkeypatch.setenv("NAS_AGENT_DATA", str(environment))
    monkeypatch.setenv("NAS_AGENT_HOME", str(user))
    assert [place.folder for place in data_folders(flag)] == [flag, environment, user / "data"]
    assert find_table(flag, "nb201.npz") is None
    for folder in (user / "data", environment, flag):
        (folder / "nb201.npz").write_bytes(b"")
        assert find_table(flag, "nb201.npz") == folder / "nb201.npz"
    monkeypatch.delenv("NAS_AGENT_DATA")
    assert find_table(None, "nb201.npz") == user / "data" / "nb201.npz"


@pytest.mark.parametrize("folder", ["~nosuchuser/x", "a" * 300])
def test_a_data_folder_that_cannot_be_one_is_one_clear_line(monkeypatch, folder):
    monkeypatch.setenv("NAS_AGENT_DATA", folder)
    with pytest.raises((ConfigError, DataError)) as caught:
        find_table(None, "nb201.npz")
    assert "\n" not in str(caught.value)


def test_a_data_folder_that_does_not_exist_is_the_users_mistake(tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        data_folders(tmp_path / "none")
