"""The trainer against a plain loop, side by side on whatever device is there: candidates an hour, images a second.

    NAS_AGENT_DATA=DIR python benchmarks/trainer.py                    # CIFAR-10 images; minutes on two cores
    NAS_AGENT_DATA=DIR python benchmarks/trainer.py --images 20000 --epochs 12 --slots 8    # on a GPU
    python benchmarks/trainer.py --parts                               # what each part brings, on one network

The plain loop is what a tutorial has: a DataLoader that shifts, mirrors and blanks image by image, float32, one
candidate at a time with all cores. The trainer runs as in a search: each candidate in a child process, one thread
each, `--slots` of them side by side (as many as there are cores). Both train the same networks with the same recipe,
epochs and images. CPU seconds are those of all processes: they hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, Dataset

from nas_agent.records import Architecture, Measured
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.candidate import built
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.evaluators.trainer import Place, Recipe, find_place, rate
from nas_agent.tools.images import Images, ImageTask, load_images

SPACE = NasBench201()
CELL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"


class Augmented(Dataset[tuple[Tensor, int]]):
    """Images one by one, as a plain loop has them."""

    def __init__(self, images: ImageTask, part: Images, recipe: Recipe | None) -> None:
        self.part, self.recipe = part, recipe
        self.mean, self.spread = (torch.tensor(values).view(-1, 1, 1) for values in (images.mean, images.spread))

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = (torch.from_numpy(self.part.pixels[row]).permute(2, 0, 1).float() - self.mean) / self.spread
        recipe = self.recipe
        if recipe is not None:
            height, width = image.shape[1:]
            top, left = torch.randint(2 * recipe.shift + 1, (2,)).tolist()
            image = pad(image, (recipe.shift,) * 4)[:, top : top + height, left : left + width]
            if recipe.mirror and torch.rand(()) < 0.5:
                image = image.flip(2)
            if recipe.cutout:
                image, half = image.clone(), recipe.cutout // 2
                y, x = int(torch.randint(height, ())), int(torch.randint(width, ()))
                image[:, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1] = 0
        return image, int(self.part.labels[row])


def plain(cell: Architecture, images: ImageTask, recipe: Recipe, width: int, device: str) -> float:
    """Train one candidate as a tutorial does, and return its validation accuracy."""
    torch.manual_seed(0)
    asked = {"classes": len(images.classes), "channels": images.channels, "width": width}
    network = built(SPACE, cell, asked).to(device)
    loader = DataLoader(Augmented(images, images.train, recipe), batch_size=recipe.batch, shuffle=True, drop_last=True)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.decay
    )
    step, steps = 0, recipe.epochs * len(loader)
    for _ in range(recipe.epochs):
        for batch, labels in loader:
            for group in optimiser.param_groups:
                group["lr"] = rate(recipe, step, steps)
            loss = cross_entropy(network(batch.to(device)), labels.to(device), label_smoothing=recipe.smoothing)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
            optimiser.step()
            step += 1
    network.eval()
    right = 0
    with torch.no_grad():
        for batch, labels in DataLoader(Augmented(images, images.validation, None), batch_size=512):
            right += int((network(batch.to(device)).argmax(1).cpu() == labels).sum())
    return 100.0 * right / len(images.validation)


def cpu_seconds() -> float:
    """CPU time of this process and of those that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def timed(name: str, count: int, trained: int, work: Callable[[], list[float]]) -> float:
    """Do the work, print its line, and return candidates an hour."""
    start, cpu = time.perf_counter(), cpu_seconds()
    values = work()
    seconds, used = time.perf_counter() - start, cpu_seconds() - cpu
    hourly = 3600 * count / seconds
    print(
        f"{name:<34} {hourly:8.1f} candidates/h  {trained / seconds:8.0f} images/s  {used / count:7.1f} CPU s each  "
        f"accuracy {np.mean(values):.2f} ± {np.std(values) / max(1, len(values)) ** 0.5:.2f} %",
        flush=True,
    )
    return hourly


def compare(asked: argparse.Namespace) -> None:
    """Train the same cells both ways."""
    images = load_images(asked.task, data=None, resolution=None)
    few = Images(images.train.pixels[: asked.images], images.train.labels[: asked.images])
    images = replace(images, train=few)
    training = TrainSettings(epochs=asked.epochs, width=asked.width, device=asked.device).training(images, "nb201")
    training = replace(training, limit=36_000.0)
    recipe = Recipe(epochs=asked.epochs, batch=training.batch, mirror=images.flip, **training.recipe)
    place = find_place(asked.device, "auto", images.train.pixels.shape[1])
    rng = Random(0)
    cells = [SPACE.sample(rng) for _ in range(asked.cells)]
    trained = len(cells) * asked.epochs * len(few)
    print(
        f"{len(cells)} cells of nb201, {training.fidelity}, {len(few):,} images of {asked.task}, batches of "
        f"{recipe.batch}; {_machine(place)}, torch {torch.__version__}"
    )
    torch.set_num_threads(os.cpu_count() or 1)
    start = time.perf_counter()
    evaluators = [_evaluator(images, training) for _ in range(asked.slots)]
    print(f"starting {asked.slots} workers, once a search: {time.perf_counter() - start:.1f} s")
    ours = timed(f"trainer, {asked.slots} side by side", len(cells), trained, lambda: _side_by_side(cells, evaluators))
    theirs = timed(
        "plain loop, one at a time",
        len(cells),
        trained,
        lambda: [plain(cell, images, recipe, asked.width, place.device) for cell in cells],
    )
    print(f"{ours / theirs:.2f} times as many candidates an hour")


def _evaluator(images: ImageTask, training: Training) -> TrainEvaluator:
    """Start a worker."""
    evaluator = TrainEvaluator(ImageTrainer(training, lambda: images))
    evaluator.trainer.settle()
    return evaluator


def _side_by_side(cells: list[Architecture], evaluators: list[TrainEvaluator]) -> list[float]:
    def some(slot: int) -> list[float]:
        outcomes = [evaluators[slot].evaluate(cell, seed=0) for cell in cells[slot :: len(evaluators)]]
        return [outcome.value for outcome in outcomes if isinstance(outcome, Measured)]

    with ThreadPoolExecutor(len(evaluators)) as pool:
        values = [value for part in pool.map(some, range(len(evaluators))) for value in part]
    for evaluator in evaluators:
        evaluator.trainer.worker.close()  # so that its CPU time counts, that of its start too
    return values


def parts(asked: argparse.Namespace) -> None:
    """Print images a second of one thread for each way to compute the same steps, in CPU time."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cell = SPACE.parse(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    print(f"one thread, CPU time; {_machine(Place('cpu', 'float32'))}, torch {torch.__version__}")
    for side, width, channels, batch in ((32, 16, 3, 128), (32, 8, 3, 128), (8, 16, 1, 64), (8, 8, 1, 64)):
        first = 0.0
        for layers in (False, True):
            for fused in (False, True):
                for precision in ("float32", "bfloat16"):
                    found = _speed(
                        cell, side, width, channels, batch, layers, fused, Place("cpu", precision), asked.steps
                    )
                    first = first or found
                    how = f"{'channels-last' if layers else 'contiguous':<13} {'fused SGD' if fused else 'plain SGD'}"
                    print(f"{side}x{side}, {width:2} channels: {how} {precision:<8} {found:7.0f} {found / first:5.2f}x")


def _speed(
    cell: Architecture,
    side: int,
    width: int,
    channels: int,
    batch: int,
    last: bool,
    fused: bool,
    place: Place,
    steps: int,
) -> float:
    layout = torch.channels_last if last else torch.contiguous_format
    network = built(SPACE, cell, {"classes": 10, "channels": channels, "width": width}).to(memory_format=layout)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=fused)
    images = torch.randn(batch, channels, side, side).contiguous(memory_format=layout)
    labels = torch.randint(10, (batch,))
    start = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first one sets the kernels up
            start = time.process_time()
        with place.autocast():
            logits = network(images)
        optimiser.zero_grad()
        cross_entropy(logits.float(), labels).backward()
        optimiser.step()
    return batch * steps / (time.process_time() - start)


def _machine(place: Place) -> str:
    if place.device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(place.device)}, {place.precision}"
    return f"{place.device}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {place.precision}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cifar10")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--parts", action="store_true", help="what each part brings, on a CPU")
    parser.add_argument("--steps", type=int, default=5, help="with --parts: steps that are timed")
    asked = parser.parse_args()
    parts(asked) if asked.parts else compare(asked)


if __name__ == "__main__":
    main()
