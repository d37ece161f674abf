"""What a search on the digits has to reach: logistic regression, and the best of many random cells.

    python benchmarks/digits_cells.py                       # about five CPU minutes
    python benchmarks/digits_cells.py --whole               # all cells at the full fidelity: about half a CPU hour

Draws distinct cells of nb201 and trains all of them for 2 epochs at 8 channels; the best tenth is then trained as
`nas-agent run --task digits` does. With --whole all of them are. Values are validation accuracies of seed 0; the
regression is fitted on the same training part, its strength chosen by the validation part.
"""

from __future__ import annotations

import argparse
import time
from random import Random

import numpy as np
import torch

from nas_agent.records import Architecture
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.candidate import built
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.evaluators.trainer import Part, Place, Recipe, accuracy, train
from nas_agent.tools.images import ImageTask, load_images

CHEAP = {"epochs": 2, "width": 8}


def regression(images: ImageTask) -> tuple[float, float]:
    """Return the best validation accuracy of logistic regression, and its strength."""
    from sklearn.linear_model import LogisticRegression

    flat = [(part.pixels.reshape(len(part), -1) / 16.0, part.labels) for part in (images.train, images.validation)]
    scores = []
    for strength in (0.01, 0.1, 1.0, 10.0, 100.0):
        model = LogisticRegression(C=strength, max_iter=2000).fit(*flat[0])
        scores.append((100 * float(model.score(*flat[1])), strength))
    return max(scores)


def trained(space: NasBench201, cell: Architecture, images: ImageTask, epochs: int, width: int) -> float:
    """Train in this process, as a worker does."""
    training = TrainSettings(epochs=epochs, width=width).training(images, "nb201")
    recipe = Recipe(epochs=epochs, batch=training.batch, mirror=images.flip, **training.recipe)
    place = Place("cpu", "float32")
    torch.manual_seed(0)
    network = built(space, cell, {"classes": 10, "channels": 1, "width": width})
    scale = images.mean, images.spread, "cpu"
    part = Part(images.train.pixels, images.train.labels, *scale, margin=recipe.shift)
    held = Part(images.validation.pixels, images.validation.labels, *scale)
    return accuracy(train(network, part, recipe, place, seed=0), held, place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", action="store_true", help="train all cells at the full fidelity")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    space, images, rng = NasBench201(), load_images("digits", data=None, resolution=None), Random(asked.seed)
    score, strength = regression(images)
    print(f"logistic regression: {score:.2f} % validation (C = {strength:g})", flush=True)
    cells: dict[str, Architecture] = {}
    while len(cells) < asked.cells:
        cell = space.sample(rng)
        cells[cell.id] = cell
    chosen, start = list(cells.values()), time.process_time()
    if not asked.whole:
        cheap = np.array([trained(space, cell, images, **CHEAP) for cell in chosen])
        print(f"{len(chosen)} cells, {CHEAP}: median {np.median(cheap):.2f}, best {cheap.max():.2f} %", flush=True)
        chosen = [chosen[row] for row in np.argsort(-cheap, kind="stable")[: max(1, len(chosen) // 10)]]
    full = TrainSettings().training(images, "nb201").fidelity
    values = np.array([trained(space, cell, images, full.epochs, full.width) for cell in chosen])
    print(f"{len(chosen)} cells, {full}: median {np.median(values):.2f}, best {values.max():.2f} % validation")
    print(f"{time.process_time() - start:.0f} s of CPU, torch {torch.__version__}")


if __name__ == "__main__":
    main()
