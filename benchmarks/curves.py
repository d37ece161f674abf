"""Rules that stop a training by its learning curve, on curves of cells that were trained to their end.

python benchmarks/curves.py --record curves.json           # trains 48 nb201 cells on the digits: about 5 CPU minutes
python benchmarks/curves.py --compare curves.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import torch

from nas_agent.records import Architecture
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.candidate import built
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.evaluators.trainer import Part, Place, Recipe, accuracy, train
from nas_agent.tools.images import ImageTask, load_images


def noted(space: NasBench201, cell: Architecture, images: ImageTask, epochs: int | None, seed: int) -> dict[str, Any]:
    """Train as a worker does; return training loss and validation accuracy after each epoch, and CPU seconds."""
    training = TrainSettings(epochs=epochs).training(images, "nb201")
    at = training.fidelity
    recipe = Recipe(epochs=at.epochs, batch=training.batch, mirror=images.flip, **training.recipe)
    place, scale = Place("cpu", "float32"), (images.mean, images.spread, "cpu")
    torch.manual_seed(seed)
    network = built(space, cell, {"classes": 10, "channels": 1, "width": at.width})
    part = Part(images.train.pixels, images.train.labels, *scale, margin=recipe.shift)
    held = Part(images.validation.pixels, images.validation.labels, *scale)
    losses, values, passes = list[float](), list[float](), 0.0

    def watch(loss: float) -> bool:
        nonlocal passes
        begun = time.process_time()
        losses.append(loss)
        values.append(accuracy(network, held, place))
        network.train()
        passes += time.process_time() - begun
        return False

    start = time.process_time()
    train(network, part, recipe, place, seed, watch)
    seconds = time.process_time() - start
    return {"cell": cell.text, "losses": losses, "values": values, "seconds": seconds - passes, "passes": passes}


def record(file: Path, cells: int, epochs: int | None, seed: int) -> None:
    """Train distinct cells and write their curves."""
    torch.set_num_threads(1)
    space, images, rng = NasBench201(), load_images("digits", data=None, resolution=None), Random(seed)
    drawn: dict[str, Architecture] = {}
    while len(drawn) < cells:
        cell = space.sample(rng)
        drawn[cell.id] = cell
    curves = []
    for cell in drawn.values():
        curves.append(noted(space, cell, images, epochs, seed))
        file.write_text(json.dumps(curves, indent=1))
        print(
            f"{curves[-1]['values'][-1]:6.2f} {curves[-1]['seconds']:5.1f} s  {cell.text}", file=sys.stderr, flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, metavar="FILE")
    parser.add_argument("--cells", type=int, default=48)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    record(asked.record, asked.cells, asked.epochs, asked.seed)


if __name__ == "__main__":
    main()
