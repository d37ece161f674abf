"""Training for real: the trainer on tensors, and what isolation makes of candidates that go wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from nas_agent.errors import ConfigError, DataError, StorageError
from nas_agent.records import Failed, Fidelity, Measured, Task, outcome_from_dict
from nas_agent.spaces import Space, load_space
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.isolation import BrokenWorker, Worker
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training, TrainTestSplit
from nas_agent.tools.images import Images, ImageTask, load_images
from nas_agent.tools.images.base import image_task

SMALL = "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|"
LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are watched through /proc")

FAULTY = """
import os, signal, subprocess, sys, time
import torch
from torch import nn
from nas_agent.spaces import CategoricalSpace, Decision

os.write(1, b'{"status": "measured", "value": 100}\\n')


class Infinite(nn.Linear):
    def forward(self, x):
        return super().forward(x) * float("inf")


class Greedy(nn.Linear):
    "Allocates a GiB for each image beyond sixteen."

    def forward(self, x):
        if len(x) > 16:
            torch.zeros((len(x) - 16) << 28).sum()
        return super().forward(x)


class Faulty(CategoricalSpace):
    name = "faulty"
    decisions = (
        Decision("fault", "none infinite shape memory greedy hang crash exit leave kill forge orphan modules".split()),
    )

    def network(self, architecture, *, classes, in_channels, width):
        fault = architecture.text.partition("=")[2]
        notes = os.environ.get("FAULTY_NOTES", "")
        match fault:
            case "hang":
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                open(notes, "w").write(f"{child.pid} {os.getpid()}")
                time.sleep(600)
            case "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(7)
            case "leave":
                sys.exit("bad layer")
            case "kill":
                with open(notes, "a") as file:
                    file.write("tried ")
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(600)
            case "forge":
                os.write(1, b'\\n{"status": "measured", "value": 100}\\n')
                print("0" * 32 + '{"status": "measured", "value": 100}', flush=True)
                os._exit(0)
            case "orphan":
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                open(notes, "w").write(f"{child.pid} {os.getpid()}")
            case "modules":
                open(notes, "w").write(str("torch._dynamo" in sys.modules))
            case "memory":
                torch.zeros(10**14)
        last = {"infinite": Infinite, "greedy": Greedy}.get(fault, nn.Linear)
        return nn.Sequential(nn.Flatten(), last(65 if fault == "shape" else 64, classes))
"""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("faulty") / "faulty.py"
    file.write_text(FAULTY)
    return f"{file}:Faulty"


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    """A file in which a candidate may leave what the test wants to know of it."""
    file = tmp_path_factory.mktemp("notes") / "notes"
    os.environ["FAULTY_NOTES"] = str(file)
    yield file
    del os.environ["FAULTY_NOTES"]


@pytest.fixture(scope="module")
def worker(notes):
    worker = Worker()
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def digits() -> ImageTask:
    return load_images("digits", data=None, resolution=None)


def evaluator(reference: str, digits: ImageTask, worker: Worker, **changed: object) -> TrainEvaluator:
    training = Training(reference, Fidelity(2, 4), batch=64, recipe={"shift": 0}, device="cpu", precision="float32")
    trainer = ImageTrainer(replace(training, **{"limit": 60.0, **changed}), lambda: digits, worker=lambda: worker)
    return TrainEvaluator(trainer)


def gone(pid: int) -> bool:
    """Tell whether a process has ended (a zombie that nobody has waited for has)."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


# -- a candidate that goes wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("infinite", "training loss became (nan|inf) in epoch 1; propose"),
        ("shape", "its network raised RuntimeError: .*; propose one whose layers fit"),
        ("memory", r"ran out of memory; propose a smaller architecture \(tried with batches of 64 and of 32\)"),
        ("crash", "killed by signal 11 .*without a result; propose a smaller"),
        ("exit", r"ended \(.*\) without a result"),
        ("leave", r"ended \(bad layer\) without a result"),
        ("forge", r"without a result"),
    ],
)
def test_a_candidate_that_goes_wrong_is_a_failure_written_as_advice(faulty, digits, worker, fault, reason):
    outcome = evaluator(faulty, digits, worker).evaluate(load_space(faulty).parse(f"fault={fault}"), seed=2)
    assert isinstance(outcome, Failed)
    assert re.search(reason, outcome.reason)
    assert outcome.seed == 2
    assert outcome.seconds > 0


def test_out_of_memory_is_tried_once_more_at_half_the_batch(faulty, digits, worker):
    greedy = load_space(faulty).parse("fault=greedy")
    outcome = evaluator(faulty, digits, worker, batch=32, memory=6.0).evaluate(greedy, seed=0)
    assert isinstance(outcome, Failed), outcome  # scored in batches of 512: twice out of memory
    measured = evaluator(faulty, tiny(digits, 16), worker, batch=32, memory=6.0).evaluate(greedy, seed=0)
    assert isinstance(measured, Measured), measured
    assert measured.fidelity == "2 epochs, 4 channels, batches of 16 for lack of memory"


def tiny(digits: ImageTask, scored: int) -> ImageTask:
    part = Images(digits.validation.pixels[:scored], digits.validation.labels[:scored])
    return replace(digits, validation=part)


@LINUX
def test_a_training_that_takes_too_long_fails_and_leaves_no_process_behind(faulty, digits, worker, notes):
    hang = evaluator(faulty, digits, worker, limit=3.0).evaluate(load_space(faulty).parse("fault=hang"), seed=0)
    assert isinstance(hang, Failed)
    assert "stopped after 3 seconds; propose a smaller" in hang.reason
    assert all(gone(int(pid)) for pid in notes.read_text().split())


@LINUX
def test_what_a_candidate_has_started_ends_with_it(faulty, digits, worker, notes):
    outcome = evaluator(faulty, digits, worker).evaluate(load_space(faulty).parse("fault=orphan"), seed=0)
    assert isinstance(outcome, Measured)
    assert all(gone(int(pid)) for pid in notes.read_text().split())


@LINUX
def test_a_worker_that_dies_is_replaced_and_its_candidate_tried_once_more(faulty, digits, worker, notes):
    notes.write_text("")
    outcome = evaluator(faulty, digits, worker).evaluate(load_space(faulty).parse("fault=kill"), seed=0)
    assert isinstance(outcome, Failed)
    assert "killed together with the process that watches it, twice" in outcome.reason
    assert notes.read_text() == "tried tried "
    good = evaluator(faulty, digits, worker).evaluate(load_space(faulty).parse("fault=none"), seed=0)
    assert isinstance(good, Measured)


def test_what_torch_loads_with_the_first_optimiser_is_loaded_once_for_all_candidates(faulty, digits, worker, notes):
    """Else each child imports it anew: seconds for a training of a third of a second."""
    outcome = evaluator(faulty, digits, worker).evaluate(load_space(faulty).parse("fault=modules"), seed=0)
    assert isinstance(outcome, Measured)
    assert notes.read_text() == "True"


ASKER = """
import sys
from pathlib import Path
from nas_agent.spaces import load_space
from nas_agent.tools.evaluators.resolve import load_evaluation
reference = sys.argv[1]
space = load_space(reference)
load_evaluation("digits", space, "auto", data=None, epochs=1, reference=reference).evaluator.evaluate(
    space.parse("fault=hang"), seed=0
)
"""


@LINUX
def test_nothing_goes_on_where_the_process_that_asked_was_killed(faulty, notes):
    notes.unlink(missing_ok=True)
    asker = subprocess.Popen([sys.executable, "-c", ASKER, faulty], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (notes.exists() and len(notes.read_text().split()) == 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    asker.kill()
    asker.wait()
    assert all(gone(int(pid)) for pid in notes.read_text().split())


# -- a machine that cannot train -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("/no/such/python",), "cannot be started"),
        ((sys.executable, "-c", "raise ImportError('no torch here')"), "before it was ready: ImportError: no torch"),
        ((sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"), "exit code -9 before it was ready"),
    ],
)
def test_a_machine_that_cannot_train_is_an_exception(digits, command, message):
    with pytest.raises(BrokenWorker, match=message):
        evaluator("nb201", digits, Worker(command)).evaluate(NasBench201().parse(SMALL), seed=0)


def test_a_space_that_the_worker_cannot_load_is_no_fault_of_the_candidate(digits, worker):
    with pytest.raises(ConfigError, match="there is no file"):
        evaluator("none.py:Space", digits, worker).evaluate(NasBench201().parse(SMALL), seed=0)


@pytest.mark.parametrize("device", ["cuda:99", "mps"])
def test_an_absent_device_is_one_clear_line_before_anything_is_trained(digits, worker, device):
    if device == "mps" and sys.platform == "darwin":
        pytest.skip("it may be there")
    with pytest.raises(ConfigError, match=rf"--device {device}: .*finds no such device here; choose from cpu"):
        evaluator("nb201", digits, worker, device=device).trainer.settle()


def test_what_is_auto_is_settled_once_and_kept(digits, worker):
    trainer = evaluator("nb201", digits, worker, device="auto", precision="auto").trainer
    settled = trainer.settle()
    assert settled.device in ("cpu", "cuda", "mps")
    assert settled.precision == "float32" or settled.device == "cuda"  # 8 pixels are too few for 16 bits on a CPU


def test_a_network_that_cannot_be_written_is_one_clear_line(digits, worker, tmp_path):
    trainer = evaluator("nb201", digits, worker).trainer
    with pytest.raises(StorageError, match=r"the network cannot be written \(.*No such file .*\); free some space"):
        trainer.run(NasBench201().parse(SMALL), "validation", 0, Fidelity(1, 4), save=tmp_path / "none")


FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from torch import nn
from nas_agent.tools.evaluators.artefacts import write_artefacts
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_artefacts(nn.Linear(64, 64), Path(sys.argv[1]), torch.zeros(1, 64))
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk_is_told_while_weights_are_written(tmp_path):
    """A limit of the file size stands for the disk; in a process of its own, which alone it holds for."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"


def test_fewer_images_than_a_batch_are_one_clear_line(digits, worker):
    few = replace(digits, train=Images(digits.train.pixels[:40], digits.train.labels[:40]))
    with pytest.raises(DataError, match=r"at least one batch of 64 training images, got 40; .*--set train_batch=10"):
        evaluator("nb201", few, worker).evaluate(NasBench201().parse(SMALL), seed=0)


# -- what is measured ----------------------------------------------------------------------------------------------


def test_the_test_images_are_read_only_when_the_test_split_is_opened(digits, worker):
    opened: list[int] = []

    def open_test() -> Images:
        opened.append(1)
        assert digits.open_test is not None
        return digits.open_test()

    shared = evaluator("nb201", replace(digits, open_test=open_test), worker)
    cell = NasBench201().parse(SMALL)
    assert isinstance(shared.evaluate(cell, seed=0), Measured)
    assert not opened
    result = TrainTestSplit(shared.trainer).open(cell, seed=0)
    assert opened == [1]
    assert result.value is not None
    assert "trained again with seed 0, the same network" in result.note
    closed = TrainTestSplit(evaluator("nb201", replace(digits, open_test=None), worker).trainer).open(cell, seed=0)
    assert (closed.value, closed.note) == (None, "the task has no test part")


def test_the_seed_fixes_the_value_and_the_outcome_says_at_which_fidelity(digits, worker):
    shared, cell = evaluator("nb201", digits, worker), NasBench201().parse(SMALL)
    values = [shared.evaluate(cell, seed=seed) for seed in (0, 0, 1)]
    assert all(isinstance(outcome, Measured) for outcome in values)
    assert values[0].value == values[1].value != values[2].value
    less = Fidelity(1, 8, share=0.5, resolution=6)
    outcome = shared.evaluate(cell, seed=0, fidelity=less)
    assert (outcome.at, outcome.fidelity) == (less, "1 epoch, 8 channels, 50 % of the images, 6x6 pixels")
    assert outcome_from_dict(outcome.to_dict()) == outcome


def test_the_score_is_what_the_same_training_gives_where_the_labels_are_known(digits, worker):
    """By the trainer's own `accuracy`, in this process: no digit is lost on the way of the predictions."""
    import torch

    from nas_agent.tools.evaluators.candidate import built
    from nas_agent.tools.evaluators.trainer import Part, Place, Recipe, accuracy, train

    measured = evaluator("nb201", digits, worker).evaluate(NasBench201().parse(SMALL), seed=0)
    place, recipe = Place("cpu", "float32"), Recipe(epochs=2, batch=64, shift=0, mirror=digits.flip)
    learned, held = (
        Part(some.pixels, some.labels, digits.mean, digits.spread, "cpu") for some in (digits.train, digits.validation)
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        network = built(NasBench201(), NasBench201().parse(SMALL), {"classes": 10, "channels": 1, "width": 4})
        expected = accuracy(train(network, learned, recipe, place, seed=0), held, place)
    finally:
        torch.set_num_threads(threads)
    assert isinstance(measured, Measured)
    assert measured.value == expected


def test_isomorphic_architectures_are_one_network(digits, worker):
    dead = "|nor_conv_1x1~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|none~2|"
    values = [evaluator("nb201", digits, worker).evaluate(NasBench201().parse(t), seed=0) for t in (SMALL, dead)]
    assert values[0].value == values[1].value


@pytest.mark.parametrize("name", ["nb201", "nb101", "darts", "trans101-micro", "trans101-macro", "einspace"])
def test_networks_of_every_space_are_built_for_any_images(name):
    import torch

    from nas_agent.tools.evaluators.candidate import built

    space: Space = load_space(name)
    request = {"classes": 3, "channels": 1, "width": 16 if name == "darts" else 8}
    network = built(space, space.sample(Random(1)), request)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 3)


# -- the trainer ---------------------------------------------------------------------------------------------------


def part(pixels: np.ndarray, labels: np.ndarray, margin: int = 0, resolution: int | None = None):
    from nas_agent.tools.evaluators.trainer import Part

    channels = pixels.shape[3]
    return Part(pixels, labels, (100.0,) * channels, (50.0,) * channels, "cpu", margin=margin, resolution=resolution)


def test_a_batch_is_what_slicing_each_image_gives():
    """The gather against a loop: each image of an epoch is some shifted, perhaps mirrored crop of its padded self."""
    import torch

    from nas_agent.tools.evaluators.trainer import Recipe, batches

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, 5, 6, 2), dtype=np.uint8)
    held = part(pixels, np.arange(10), margin=2)
    recipe = Recipe(epochs=1, batch=4, shift=2)
    seen: list[int] = []
    for images, labels in batches(held, recipe, torch.Generator().manual_seed(0)):
        assert images.shape == (4, 2, 5, 6)
        assert images.is_contiguous(memory_format=torch.channels_last)
        for image, label in zip(images, labels, strict=True):
            padded = np.full((9, 10, 2), 100, dtype=np.uint8)
            padded[2:7, 2:8] = pixels[label]
            crops = [padded[y : y + 5, x : x + 6] for y in range(5) for x in range(5)]
            crops += [crop[:, ::-1] for crop in crops]
            scaled = [torch.from_numpy((crop.astype(np.float32) - 100) / 50).permute(2, 0, 1) for crop in crops]
            assert any(torch.allclose(image, crop) for crop in scaled)
            seen.append(int(label))
    assert len(seen) == len(set(seen)) == 8  # two whole batches of four, no image twice


def test_cutout_blanks_one_square_of_each_image():
    import torch

    from nas_agent.tools.evaluators.trainer import Recipe, batches

    held = part(np.full((64, 16, 16, 1), 200, dtype=np.uint8), np.zeros(64, dtype=np.int64))
    recipe = Recipe(epochs=1, batch=64, shift=0, cutout=4)
    images, _ = next(batches(held, recipe, torch.Generator().manual_seed(0)))
    blank = (images == 0).sum(dim=(1, 2, 3))
    assert int(blank.max()) == 25
    assert int(blank.min()) >= 9  # in a corner


def test_the_learning_rate_rises_to_its_peak_once_and_falls_to_nothing():
    from nas_agent.tools.evaluators.trainer import Recipe, rate

    rates = [rate(Recipe(epochs=1, peak_rate=0.4), step, 100) for step in range(100)]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert 0.38 < max(rates) <= 0.4
    assert 0 < rates[-1] < 0.002


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Upright or level stripes with noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    wave = np.where(np.arange(8) % 2, 190, 60)
    images = np.where(labels[:, None, None], wave[None, :, None], wave[None, None, :]) + rng.normal(
        0, 25, (count, 8, 8)
    )
    return images.clip(0, 255).astype(np.uint8)[..., None], labels


@pytest.mark.parametrize(
    ("precision", "average"), [("float32", None), ("float32", 0.9), ("bfloat16", None), ("float16", None)]
)
def test_training_learns_in_every_number_format_and_with_averaged_weights(precision, average):
    import torch
    from torch import nn

    from nas_agent.tools.evaluators.trainer import Place, Recipe, accuracy, predicted, train

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    place, recipe = Place("cpu", precision), Recipe(epochs=6, batch=32, shift=1, average=average, cutout=2)
    trained = train(network, part(*stripes(256, 0), margin=1), recipe, place, seed=0)
    held = part(*stripes(64, 1))
    assert accuracy(trained, held, place) > 90
    assert (trained is network) == (average is None)
    right = (predicted(trained, held, place).argmax(1) == held.labels).float().mean()
    assert accuracy(trained, held, place) == pytest.approx(100 * float(right))


def test_training_takes_the_steps_of_a_loop_written_plainly():
    """Layout, fused optimiser and scaler change nothing: Nesterov's formula by hand, on the same batches."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from nas_agent.tools.evaluators.trainer import Place, Recipe, batches, rate, train

    def network() -> nn.Module:
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

    held, recipe = part(*stripes(96, 0), margin=1), Recipe(epochs=2, batch=32, shift=1, clip=0.5)
    plainly, count, momenta = network(), 6, {}
    chance, step = torch.Generator().manual_seed(5), 0
    for _ in range(recipe.epochs):
        for images, labels in batches(held, recipe, chance):
            plainly.zero_grad()
            cross_entropy(plainly(images.contiguous()), labels, label_smoothing=0.1).backward()
            norm = torch.sqrt(sum((weights.grad**2).sum() for weights in plainly.parameters()))
            with torch.no_grad():
                for name, weights in plainly.named_parameters():
                    slope = weights.grad * min(1.0, 0.5 / norm) + recipe.decay * weights
                    momenta[name] = recipe.momentum * momenta.get(name, 0.0) + slope
                    weights -= rate(recipe, step, count) * (slope + recipe.momentum * momenta[name])
            step += 1
    assert step == count
    trained = train(network(), held, recipe, Place("cpu", "float32"), seed=5)
    for (name, weights), expected in zip(trained.named_parameters(), plainly.parameters(), strict=True):
        assert torch.allclose(weights, expected, atol=1e-4), name


def test_images_are_scaled_to_the_resolution_that_is_asked_for():
    pixels = np.zeros((2, 8, 8, 1), dtype=np.uint8)
    pixels[:, :4] = 200
    small = part(pixels, np.zeros(2, dtype=np.int64), resolution=2)
    assert small.pixels.shape == (2, 2, 2, 1)
    assert small.pixels[0, 0, 0, 0] > 150 > 50 > small.pixels[0, 1, 0, 0]


# -- from the command line's settings to a training ----------------------------------------------------------------


def test_a_task_of_images_is_trained_and_one_of_a_table_only_where_that_is_asked_for(tmp_path, monkeypatch):
    from nas_agent.tools.evaluators.train_settings import TrainSettings

    monkeypatch.delenv("NAS_AGENT_DATA", raising=False)
    pixels, labels = stripes(200, 0)
    np.savez(tmp_path / "s.npz", images=pixels, labels=labels)
    settings = TrainSettings(width=4, share=0.5, resolution=6, seconds=9.0)
    space = load_space("einspace")
    found = load_evaluation(f"npz:{tmp_path / 's.npz'}", space, "auto", data=None, epochs=3, training=settings)
    assert found.evaluator.fidelity == "3 epochs, 4 channels, 50 % of the images, 6x6 pixels"
    assert "at most 9 s; test part: a tenth" in found.note
    with pytest.raises(
        ConfigError, match=r"--width, data_share, .*task cifar10 is answered from a table .*--evaluator train"
    ):
        load_evaluation("cifar10", load_space("nb201"), "auto", data=None, epochs=None, training=settings)
    plain = load_evaluation("cifar10", load_space("nb201"), "auto", data=None, epochs=None)
    assert plain.evaluator.name == "embedded"


def test_a_task_of_few_images_gets_small_batches(digits):
    from nas_agent.tools.evaluators.train_settings import TrainSettings

    training = TrainSettings().training(digits, "nb201")
    assert (training.batch, training.fidelity, training.recipe) == (64, Fidelity(8, 16), {"shift": 1})
    assert TrainSettings().training(digits, "pytorch").fidelity == Fidelity(16, 16)
    assert TrainSettings(epochs=3).training(digits, "pytorch").fidelity == Fidelity(3, 16)
    rest = Images(np.zeros((6000, 32, 32, 3), np.uint8), np.arange(6000) % 2)
    coloured = image_task(Task("many", ""), ("a", "b"), rest, validation=600, open_test=None, split="")
    training = TrainSettings().training(coloured, "nb201")
    assert (training.batch, training.recipe) == (128, {"shift": 4, "cutout": 8})


def test_mirror_images_and_averaged_weights_are_the_users_choice(digits):
    from nas_agent.config import load_config
    from nas_agent.tools.evaluators.train_settings import TrainSettings

    said = load_config(None, {}, ("train_mirror=true", "train_average=0.9"))
    recipe = TrainSettings.of(said).training(digits, "nb201").recipe
    assert recipe == {"shift": 1, "mirror": True, "average": 0.9}
    with pytest.raises(ConfigError, match="train_average: Input should be less than 1"):
        load_config(None, {}, ("train_average=1",))
