"""The trainer against a plain loop, side by side on whatever device is there: candidates an hour and accuracy.

    NAS_AGENT_DATA=DIR python benchmarks/trainer.py           # CIFAR-10 images at 32x32 pixels, 16 channels
    python benchmarks/trainer.py --task digits --images 9999 --epochs 8      # what `run --task digits` trains
    NAS_AGENT_DATA=DIR python benchmarks/trainer.py --images 20000 --epochs 12 --slots 8    # on a GPU

The plain loop is what a tutorial has: a DataLoader that shifts, mirrors and blanks image by image, float32, one
candidate at a time with all cores. The trainer runs as in a search: each candidate in a child process, one thread
each, `--slots` of them side by side (as many as there are cores). Both train the same networks with the same recipe,
epochs and images, in turns: a round of the one, a round of the other, the first of them alternating, so that what else
the machine does meets both. On a machine that others use, `--slots 1 --threads 1` is the fair comparison: threads of
one training wait for each other, and for their turn, much longer than processes do.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, Dataset

from nas_agent.records import Architecture, Failed
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.candidate import built
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator, Training
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.evaluators.trainer import Part, Place, Recipe, find_place, rate
from nas_agent.tools.images import Images, ImageTask, load_images
from nas_agent.wording import plural

SPACE = NasBench201()


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


def plain(cell: Architecture, images: ImageTask, recipe: Recipe, width: int, device: str, seed: int = 0) -> float:
    """Train one candidate as a tutorial does, and return its validation accuracy."""
    torch.manual_seed(seed)
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


@dataclass(slots=True)
class Side:
    """One way to train, and what it took so far."""

    name: str
    train: Callable[[list[Architecture]], list[float]]  # validation accuracies, in the order of the cells
    values: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)  # of each round
    cpu: float = 0.0  # seconds of this process; those of the workers are known when they have ended

    def play(self, cells: list[Architecture]) -> None:
        """Train some cells."""
        start, cpu = time.perf_counter(), time.process_time()
        self.values += self.train(cells)
        self.seconds.append(time.perf_counter() - start)
        self.cpu += time.process_time() - cpu

    def hourly(self, each: int) -> float:
        """Candidates an hour, where a round has so many."""
        return 3600 * each * len(self.seconds) / sum(self.seconds)


def children_seconds() -> float:
    """CPU time of the child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare(asked: argparse.Namespace) -> None:
    """Train the same cells both ways, in turns."""
    images = some_images(asked)
    training = TrainSettings(
        epochs=asked.epochs, width=asked.width, device=asked.device, precision=asked.precision
    ).training(images, "nb201")
    training = replace(training, limit=36_000.0)
    recipe = Recipe(epochs=training.fidelity.epochs, batch=training.batch, mirror=images.flip, **training.recipe)
    place = find_place(asked.device, asked.precision, images.train.pixels.shape[1])
    rng = Random(asked.seed)
    rounds = [[SPACE.sample(rng) for _ in range(asked.each)] for _ in range(asked.rounds)]
    count = asked.rounds * asked.each
    print(
        f"{count} cells of nb201, {training.fidelity}, {len(images.train):,} images of {asked.task} with "
        f"{images.train.pixels.shape[1]} pixels a side, batches of {recipe.batch}; {_machine(place)}, "
        f"torch {torch.__version__}"
    )
    torch.set_num_threads(asked.threads)
    start, before = time.perf_counter(), children_seconds()
    _evaluator(images, training).trainer.worker.close()
    starting = children_seconds() - before
    print(
        f"a worker starts once a search, in {time.perf_counter() - start:.1f} s ({starting:.1f} s of CPU), which is "
        "not counted below",
        flush=True,
    )
    evaluators = [_evaluator(images, training) for _ in range(asked.slots)]
    ours = Side(f"trainer, {asked.slots} side by side", lambda cells: _side_by_side(cells, evaluators))
    theirs = Side(
        f"plain loop, {plural(asked.threads, 'thread')}",
        lambda cells: [plain(cell, images, recipe, training.fidelity.width, place.device) for cell in cells],
    )
    for number, cells in enumerate(rounds):
        for side in (ours, theirs) if number % 2 == 0 else (theirs, ours):  # what is fast first is not always first
            side.play(cells)
        pairs = zip(ours.values[-len(cells) :], theirs.values[-len(cells) :], strict=True)
        print(
            f"round {number + 1}: {theirs.seconds[-1] / ours.seconds[-1]:.2f} times as many; accuracy, trainer and "
            f"plain loop: {', '.join(f'{one:.2f} {other:.2f}' for one, other in pairs)}",
            flush=True,
        )
    before = children_seconds()
    for evaluator in evaluators:
        evaluator.trainer.worker.close()  # what has ended has a CPU time
    ours.cpu += children_seconds() - before - asked.slots * starting
    tell(ours, theirs, asked.each, training.fidelity.epochs * len(images.train))


def tell(ours: Side, theirs: Side, each: int, trained: int) -> None:
    """Print a line for each side, and what one is to the other."""
    for side in (ours, theirs):
        hourly = side.hourly(each)
        print(
            f"{side.name:<28} {hourly:8.1f} candidates/h  {hourly * trained / 3600:8.0f} images/s  "
            f"{side.cpu / len(side.values):7.1f} CPU s each  accuracy {np.mean(side.values):.2f} %"
        )
    rounds = np.array(theirs.seconds) / np.array(ours.seconds)
    apart = np.array(ours.values) - np.array(theirs.values)  # of the same cell
    print(
        f"{ours.hourly(each) / theirs.hourly(each):.2f} times as many candidates an hour (rounds: {rounds.min():.2f} "
        f"to {rounds.max():.2f}, n={len(rounds)}), {theirs.cpu / ours.cpu:.2f} times as many in a CPU hour; accuracy "
        f"of the same cell {apart.mean():+.2f} ± {apart.std(ddof=1) / len(apart) ** 0.5:.2f} points"
    )


def some_images(asked: argparse.Namespace) -> ImageTask:
    """Read a share of a task, scaled before anything is timed."""
    images = load_images(asked.task, data=None, resolution=None)
    few = Images(images.train.pixels[: asked.images], images.train.labels[: asked.images])
    every = -(-len(images.validation) // asked.scored)  # it may be sorted by class, the training part is not
    held = Images(images.validation.pixels[::every], images.validation.labels[::every])

    def scaled(part: Images) -> Images:
        as_part = Part(part.pixels, part.labels, images.mean, images.spread, "cpu", resolution=asked.resolution)
        return Images(as_part.pixels.numpy(), part.labels)

    return replace(images, train=scaled(few), validation=scaled(held))


def _evaluator(images: ImageTask, training: Training) -> TrainEvaluator:
    """Start a worker."""
    evaluator = TrainEvaluator(ImageTrainer(training, lambda: images))
    evaluator.trainer.settle()
    return evaluator


def _side_by_side(cells: list[Architecture], evaluators: list[TrainEvaluator]) -> list[float]:
    """Give each cell to the worker that is free first."""
    free: SimpleQueue[TrainEvaluator] = SimpleQueue()
    for evaluator in evaluators:
        free.put(evaluator)

    def one(cell: Architecture) -> float:
        evaluator = free.get()
        outcome = evaluator.evaluate(cell, seed=0)
        free.put(evaluator)
        if isinstance(outcome, Failed):
            raise RuntimeError(f"{cell.text}: {outcome.reason}")
        return outcome.value

    with ThreadPoolExecutor(len(evaluators)) as pool:
        return list(pool.map(one, cells))


def _machine(place: Place) -> str:
    if place.device.startswith("cuda"):
        return f"{torch.cuda.get_device_name(place.device)}, {place.precision}"
    return f"{place.device}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, {place.precision}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cifar10")
    parser.add_argument("--rounds", type=int, default=3, help="in each, both sides train the same cells")
    parser.add_argument("--each", type=int, default=4, help="cells of a round")
    parser.add_argument("--seed", type=int, default=0, help="of the cells")
    parser.add_argument("--images", type=int, default=1024, help="that are trained on, at most")
    parser.add_argument("--scored", type=int, default=1000, help="validation images, at most")
    parser.add_argument("--resolution", type=int, default=None)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of the plain loop")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto", help="of the trainer; the plain loop has float32")
    compare(parser.parse_args())


if __name__ == "__main__":
    main()
