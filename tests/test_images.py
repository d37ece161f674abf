from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from nas_agent.errors import ConfigError, DataError, MissingExtra
from nas_agent.tools.images import Images, ImageTask, NoImages, hub, load_images
from nas_agent.tools.images.base import in_proportion, stratified

DATA = os.environ.get("NAS_AGENT_DATA")
RNG = np.random.default_rng(0)


def load(task: str, resolution: int | None = None, data: Path | None = None) -> ImageTask:
    return load_images(task, data=data, resolution=resolution)


def picture(path: Path, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    channels = (3,) if mode == "RGB" else ()
    Image.fromarray(RNG.integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)).save(path)


def classes_in(folder: Path, count: int = 20, size: tuple[int, int] = (12, 12), mode: str = "RGB") -> Path:
    for label in ("cat", "dog"):
        for number in range(count):
            picture(folder / label / f"{number}.png", size, mode)
    return folder


def rows_of(part: Images) -> set[bytes]:
    return {pixels.tobytes() for pixels in part.pixels}


def disjoint(images: ImageTask) -> bool:
    assert images.open_test is not None
    parts = [rows_of(images.train), rows_of(images.validation), rows_of(images.open_test())]
    return not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_the_digits_are_split_into_fixed_disjoint_stratified_parts():
    first, second = load("digits"), load("Digits")
    assert first.open_test is not None
    parts = [first.train, first.validation, first.open_test()]
    assert [len(part) for part in parts] == [1077, 360, 360]
    for part, again in zip(parts, (second.train, second.validation), strict=False):
        assert np.array_equal(part.pixels, again.pixels)
    for part in parts:
        shares = np.bincount(part.labels, minlength=10) / len(part)
        assert np.abs(shares - 0.1).max() < 0.01
    assert disjoint(first)
    assert first.mean == pytest.approx((first.train.pixels.mean(),))
    assert not first.flip


def test_a_prefix_of_the_training_part_holds_the_classes_in_proportion():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    order = in_proportion(labels)
    assert sorted(order) == list(range(1000))
    for share in (50, 100, 500):
        counts = np.bincount(labels[order[:share]], minlength=3)
        assert np.abs(counts - share * np.array([0.6, 0.3, 0.1])).max() <= 2


def test_a_stratified_draw_takes_each_class_in_proportion_and_at_least_once():
    labels = np.repeat([0, 1, 2], [80, 18, 2])
    kept, drawn = stratified(labels, 10)
    assert np.bincount(labels[drawn]).tolist() == [8, 2, 1]
    assert sorted([*kept, *drawn]) == list(range(100))
    assert np.array_equal(stratified(labels, 10)[1], drawn)


def test_statistics_come_from_the_training_part_alone(tmp_path):
    x = np.zeros((40, 6, 6, 3), dtype=np.uint8)
    x[:20, ..., 0] = 200
    labels = np.tile([0, 1], 20)
    np.savez(tmp_path / "a.npz", x_train=x[:20], y_train=labels[:20], x_val=x[20:], y_val=labels[20:])
    images = load(f"npz:{tmp_path / 'a.npz'}")
    assert images.mean == (200.0, 0.0, 0.0)
    assert images.spread == (1.0, 1.0, 1.0)  # of one colour: nothing to divide by
    assert images.open_test is None


@pytest.mark.skipif(not DATA, reason="NAS_AGENT_DATA is not set: no CIFAR-10 images here")
def test_the_compact_cifar_10_is_20000_5000_and_5000_images():
    images = load("cifar10")
    assert images.open_test is not None
    assert (len(images.train), len(images.validation), len(images.open_test())) == (20_000, 5_000, 5_000)
    assert images.train.pixels.shape[1:] == (32, 32, 3)
    assert np.bincount(images.train.labels).tolist() == [2_000] * 10
    assert images.mean == pytest.approx((125.3, 123.0, 113.9), abs=2.0)  # CIFAR-10's, as published
    assert images.classes[3] == "cat"


def test_official_python_batches_are_read_without_running_them(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    planes = RNG.integers(0, 256, (700, 3072), dtype=np.uint8)
    labels = [number % 100 for number in range(700)]
    for name in ("train", "test"):
        with (folder / name).open("wb") as file:
            pickle.dump({"data": planes, "fine_labels": labels, "filenames": ["a"]}, file, protocol=2)
    with pytest.raises(
        DataError, match="expected training images, got none"
    ):  # 5,000 are asked to choose by: none are left
        load("cifar100", data=tmp_path)
    (folder / "train").write_bytes(b"cos\nsystem\n(S'echo pwned'\ntR.")
    with pytest.raises(DataError, match="nothing in it was run"):
        load("cifar100", data=tmp_path)


def binary_cifar10(folder: Path) -> Path:
    inside = folder / "cifar-10-batches-bin"
    inside.mkdir(parents=True)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = RNG.integers(0, 256, (1200, 3073), dtype=np.uint8)
        rows[:, 0] = np.arange(1200) % 10
        rows.tofile(inside / f"{name}.bin")
    return inside


def test_official_binary_batches_are_colour_planes_behind_a_label(tmp_path):
    inside = binary_cifar10(tmp_path)
    images = load("cifar10", data=tmp_path)
    assert (len(images.train), len(images.validation)) == (1_000, 5_000)
    assert disjoint(images)
    first = np.fromfile(inside / "test_batch.bin", dtype=np.uint8)[1:3073].reshape(3, 32, 32)
    assert images.open_test is not None
    assert np.array_equal(images.open_test().pixels[0], first.transpose(1, 2, 0))
    with (inside / "data_batch_2.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"data_batch_2.bin: expected records of 3073 bytes.*cut short"):
        load("cifar10", data=tmp_path)


def test_the_test_part_is_not_read_before_it_is_opened(tmp_path):
    inside = binary_cifar10(tmp_path)
    (inside / "test_batch.bin").unlink()
    images = load("cifar10", data=tmp_path)
    assert images.open_test is not None
    with pytest.raises(DataError, match=r"test_batch.bin: cannot be read"):
        images.open_test()


def test_imagenet16_keeps_the_first_120_classes_and_halves_the_validation_part(tmp_path):
    folder = tmp_path / "ImageNet16"
    folder.mkdir()
    for name in (*(f"train_data_batch_{number}" for number in range(1, 11)), "val_data"):
        labels = [number % 130 + 1 for number in range(520)]  # they count from 1
        data = RNG.integers(0, 256, (520, 768), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels, "mean": data[0]}))
    images = load("ImageNet16-120", data=tmp_path)
    assert images.open_test is not None
    assert images.train.pixels.shape == (4800, 16, 16, 3)
    assert (len(images.validation), len(images.open_test())) == (240, 240)
    assert disjoint(images)
    assert set(images.train.labels) == set(range(120))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_folder_of_classes_is_split_and_one_with_parts_is_taken_as_it_is(tmp_path, mode):
    whole = load(f"folder:{classes_in(tmp_path / 'whole', 30, mode=mode)}")
    assert whole.classes == ("cat", "dog")
    assert whole.open_test is not None
    assert (len(whole.train), len(whole.validation), len(whole.open_test())) == (50, 4, 6)
    assert whole.train.pixels.shape[1:] == (12, 12, 3 if mode == "RGB" else 1)
    assert disjoint(whole)
    for part, count in (("train", 9), ("val", 4), ("test", 5)):
        classes_in(tmp_path / "parts" / part, count, mode=mode)
    parts = load(f"folder:{tmp_path / 'parts'}")
    assert parts.open_test is not None
    assert (len(parts.train), len(parts.validation), len(parts.open_test())) == (18, 8, 10)


def test_images_of_several_sizes_are_refused_or_scaled_to_one(tmp_path):
    folder = classes_in(tmp_path / "mixed", 8)
    picture(folder / "dog" / "wide.jpg", (40, 20))
    with pytest.raises(DataError, match=r"0.png with 12x12 and .*wide.jpg with 40x20 pixels; give --resolution N"):
        load(f"folder:{folder}")
    assert load(f"folder:{folder}", resolution=8).train.pixels.shape[1:] == (8, 8, 3)


def one_class(folder: Path) -> str:
    picture(folder / "cat" / "1.png")
    return f"folder:{folder}"


def unreadable(folder: Path) -> str:
    (classes_in(folder, 5) / "dog" / "0.png").write_bytes(b"no image")
    return f"folder:{folder}"


def few(folder: Path) -> str:
    classes_in(folder, 5)
    picture(folder / "eel" / "1.png")
    return f"folder:{folder}"


def unknown_class(folder: Path) -> str:
    classes_in(folder / "train", 5)
    picture(folder / "val" / "eel" / "1.png")
    (folder / "val" / ".hidden").mkdir()
    return f"folder:{folder}"


def arrays(**changed: object):
    def write(folder: Path) -> str:
        x, y = np.zeros((30, 4, 4, 3), dtype=np.uint8), np.arange(30) % 3
        np.savez(folder / "x.npz", **{"x_train": x, "y_train": y, "x_val": x[:6], "y_val": y[:6], **changed})
        return f"npz:{folder / 'x.npz'}"

    return write


def spoiled(folder: Path) -> str:
    (folder / "x.npz").write_bytes(b"PK\x03\x04 no zip")
    return f"npz:{folder / 'x.npz'}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (one_class, "at least two of them, got 1"),
        (unreadable, r"dog/0.png: expected an image that can be read, got cannot identify .*mend or remove"),
        (few, r"at least 3 images of each class, got fewer of eel \(1\)"),
        (unknown_class, "class 'eel' is not among those to train on"),
        (lambda folder: f"folder:{folder / 'none'}", "expected a folder with one folder per class"),
        (lambda folder: f"npz:{folder / 'none.npz'}", "there is no such file"),
        (spoiled, "broken or of another kind"),
        (arrays(y_train=np.arange(30) % 3 - 1), "expected training labels from 0 to 1, got -1 to 1"),
        (arrays(y_val=np.full(6, 7)), "expected validation labels from 0 to 2, got 7 to 7"),
        (arrays(y_train=np.arange(30) % 3 * 2), "2 of 5 classes have no training image"),
        (arrays(y_train=np.zeros(30, int), y_val=np.zeros(6, int)), "at least two classes to tell apart, got 1"),
        (arrays(y_train=np.arange(29) % 3), "one label for each of 30 training images, got 29"),
        (arrays(y_train=np.full(30, 0.5)), "expected whole numbers as y_train"),
        (arrays(x_train=np.full((30, 4, 4, 3), 300)), "from 0 to 255, or from 0 to 1, got 300 to 300"),
        (arrays(x_train=np.full((30, 4, 4, 3), np.nan)), "finite numbers"),
        (arrays(x_train=np.zeros((30, 4, 4, 2), np.uint8)), "got 30x4x4x2"),
        (arrays(x_val=np.zeros((6, 5, 4, 3), np.uint8)), "training images are 4x4x3 and validation images 5x4x3"),
        (arrays(x_train=np.array([{}] * 30, dtype=object)), "cannot be read"),
    ],
)
def test_bad_images_are_one_clear_line(tmp_path, make, message):
    with pytest.raises(DataError, match=message) as caught:
        load(make(tmp_path))
    assert "\n" not in str(caught.value)


def test_test_labels_are_checked_when_the_part_is_opened(tmp_path):
    x = np.zeros((6, 4, 4, 3), np.uint8)
    images = load(arrays(x_test=x, y_test=np.full(6, 3))(tmp_path))
    assert images.open_test is not None
    with pytest.raises(DataError, match="expected test labels from 0 to 2, got 3 to 3"):
        images.open_test()


def test_arrays_alone_are_split_and_fractions_are_bytes(tmp_path):
    pixels = RNG.random((60, 5, 5))
    np.savez(tmp_path / "m.npz", images=pixels, labels=(np.arange(60) % 2)[:, None])
    images = load(f"npz:{tmp_path / 'm.npz'}")
    assert images.open_test is not None
    assert (len(images.train), len(images.validation), len(images.open_test())) == (50, 4, 6)
    assert rows_of(images.train) <= {row.tobytes() for row in (pixels * 255).round().astype(np.uint8)}
    assert load(f"npz:{tmp_path / 'm.npz'}", resolution=3).train.pixels.shape[1:] == (3, 3, 1)


def test_a_known_task_without_its_files_says_where_it_looked(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_AGENT_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(NoImages, match=rf"no cifar-100-python or .* in {tmp_path} \(--data\), .*elsewhere"):
        load("cifar100", data=tmp_path)
    with pytest.raises(ConfigError, match="choose from digits, cifar10, cifar100, ImageNet16-120, or give your own"):
        load("jigsaw")


def test_the_hub_needs_its_extra():
    if hub.installed():
        pytest.skip("datasets is installed here")
    with pytest.raises(MissingExtra, match=re.escape("pip install 'nas-agent[hub]'")):
        load("hf:someone/something")


def test_a_data_set_of_the_hub_is_read_by_its_columns(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra `hub`)")
    classes_in(tmp_path / "train", 30)
    classes_in(tmp_path / "test", 5)
    parts = datasets.load_dataset("imagefolder", data_dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))
    images = hub.hub_parts("hf:mine", parts, None)
    assert images.open_test is not None
    assert (len(images.train), len(images.validation), len(images.open_test())) == (54, 6, 10)
    assert images.classes == ("cat", "dog")
    assert disjoint(images)


def test_a_folder_of_a_hub_data_set_is_found_again_from_anywhere(tmp_path, monkeypatch):
    from nas_agent.config import make_config
    from nas_agent.preparation import from_anywhere

    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    tasks = [from_anywhere(make_config({"task": f"hf:{text}"})).task for text in ("mine@small", "owner/mine")]
    assert tasks == [f"hf:{tmp_path / 'mine'}@small", "hf:owner/mine"]
