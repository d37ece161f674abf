"""Whether the trainer orders cells as the table does: Kendall's tau with 200 epochs, and a cell's accuracy by epochs.

    NAS_AGENT_DATA=DIR python benchmarks/trust.py cells FILE      # 24 cells, a short fidelity; about 25 CPU minutes
    NAS_AGENT_DATA=DIR python benchmarks/trust.py curve FILE      # NB201's ResNet-like cell for 1, 2, 4 ... epochs
    NAS_AGENT_DATA=DIR python benchmarks/trust.py report FILE     # the tables, of what FILE holds
    NAS_AGENT_DATA=DIR python benchmarks/trust.py cells FILE --epochs 12 --width 16 --side 32 --share 1 --device cuda

FILE is JSON lines, one for each training; a run that was stopped goes on where it was. The classes of isomorphic cells
are sorted by their validation accuracy on CIFAR-10 after 200 epochs and cut into as many equal parts as cells are
asked for; `--draw` is the seed that draws one of each. They are trained as `nas-agent run --task cifar10 --evaluator
train` does, in this process, on a share of the 20,000 training images, and scored on the 5,000 of its validation part;
beside them stands the benchmark's own column of 12 epochs, for the same cells. The curve trains on all 25,000 images
(training and validation part) and scores on the 5,000 test images: nothing is chosen by it. Each of its points is a
training of its own, with its own schedule.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nas_agent.records import Fidelity, Json
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.evaluators.candidate import built
from nas_agent.tools.evaluators.train_settings import TrainSettings
from nas_agent.tools.evaluators.trainer import NonFiniteLoss, Part, Recipe, accuracy, find_place, train
from nas_agent.tools.images import Images, ImageTask, load_images

SPACE = NasBench201()
RESNET = 11472  # the row of NB201's ResNet-like cell
DRAWS = 10_000  # of the bootstrap
STRIDE = 3


def table() -> dict[str, np.ndarray]:
    """Read the columns of CIFAR-10."""
    with np.load(Path(os.environ["NAS_AGENT_DATA"]) / "nb201.npz") as file:
        kept = ("op_names", "ops", "iso", "val_c10_12", "val_c10_200", "test_v11_c10_200")
        return {name: file[name] for name in kept}


def text_of(columns: dict[str, np.ndarray], row: int) -> str:
    """Write the cell of a row as NB201 does."""
    names = [str(columns["op_names"][operation]) for operation in columns["ops"][row]]
    return "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*names)


def drawn(columns: dict[str, np.ndarray], count: int, seed: int) -> list[int]:
    """Draw one class from each of `count` equal parts of the order by accuracy; return their rows, worst first."""
    classes = np.flatnonzero(columns["iso"] == np.arange(len(columns["iso"])))
    order = classes[np.argsort(columns["val_c10_200"][classes], kind="stable")]
    rng = np.random.default_rng(seed)
    return [int(rng.choice(part)) for part in np.array_split(order, count)]


def trained(images: ImageTask, row: int, text: str, asked: argparse.Namespace, fidelity: Fidelity) -> Json:
    """Train one cell, and say what came out and what it took."""
    at = fidelity.epochs, fidelity.width, fidelity.share, fidelity.resolution
    training = TrainSettings(*at, batch=asked.batch, device=asked.device).training(images, "nb201")
    recipe = Recipe(epochs=fidelity.epochs, batch=training.batch, mirror=images.flip, **training.recipe)
    place = find_place(asked.device, "auto", fidelity.resolution or images.train.pixels.shape[1])
    scale = {"mean": images.mean, "spread": images.spread, "device": place.device, "resolution": fidelity.resolution}
    kept = round(fidelity.share * len(images.train))
    part = Part(images.train.pixels[:kept], images.train.labels[:kept], margin=recipe.shift, **scale)
    held = Part(images.validation.pixels, images.validation.labels, **scale)
    torch.manual_seed(asked.seed)
    sizes = {"classes": len(images.classes), "channels": images.channels, "width": fidelity.width}
    network = built(SPACE, SPACE.parse(text), sizes)
    clock, cpu = time.perf_counter(), time.process_time()
    try:
        value = accuracy(train(network, part, recipe, place, asked.seed), held, place)
    except NonFiniteLoss:
        value = 100.0 / len(images.classes)  # as good as a guess
    return {
        "row": row, "fidelity": fidelity.to_dict(), "seed": asked.seed,
        "images": kept, "batch": recipe.batch, "value": value,
        "seconds": time.perf_counter() - clock, "cpu": time.process_time() - cpu,
        "place": f"{place.device}, {place.precision}", "torch": torch.__version__,
    }  # fmt: skip


def work(asked: argparse.Namespace, images: ImageTask, wanted: Iterable[tuple[int, Fidelity]], kind: Json) -> None:
    """Train what the file does not hold yet, and add a line for each."""
    columns = table()
    known = {key_of(line) for line in read(asked.file)}
    for row, fidelity in wanted:
        if key_of({**kind, "row": row, "fidelity": fidelity.to_dict(), "seed": asked.seed}) in known:
            continue
        line = {**kind, **trained(images, row, text_of(columns, row), asked, fidelity)}
        with asked.file.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"row {row:5}: {line['value']:.2f} % ({fidelity}, {line['cpu']:.0f} s of CPU)", flush=True)


def read(file: Path) -> list[Json]:
    """Return the lines of a file, none where there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def key_of(line: Json) -> str:
    """What makes two trainings the same."""
    return json.dumps([line["kind"], line["row"], line["fidelity"], line["seed"]], sort_keys=True)


def cells(asked: argparse.Namespace) -> None:
    """Train the drawn cells."""
    fidelity = Fidelity(asked.epochs, asked.width, asked.share, asked.side if asked.side < 32 else None)
    rows = drawn(table(), asked.cells, asked.draw)
    rows = [row for first in range(STRIDE) for row in rows[first::STRIDE]]  # what is there early is spread too
    images = load_images("cifar10", data=None, resolution=None)
    work(asked, images, [(row, fidelity) for row in rows], {"kind": "cells", "cells": asked.cells, "draw": asked.draw})
    report(asked)


def curve(asked: argparse.Namespace) -> None:
    """Train the ResNet-like cell on all training images, for more and more epochs."""
    images = load_images("cifar10", data=None, resolution=None)
    assert images.open_test is not None
    both = (images.train, images.validation)
    whole = Images(np.concatenate([part.pixels for part in both]), np.concatenate([part.labels for part in both]))
    images = replace(images, train=whole, validation=images.open_test())
    side = asked.side if asked.side < 32 else None
    points, epochs = [], 1
    while epochs <= asked.epochs:
        points.append((RESNET, Fidelity(epochs, asked.width, 1.0, side)))
        epochs *= 2
    work(asked, images, points, {"kind": "curve"})
    report(asked)


# -- report --------------------------------------------------------------------------------------------------------


def tau(one: np.ndarray, other: np.ndarray) -> float:
    """Kendall's tau-b."""
    from scipy.stats import kendalltau

    return float(kendalltau(one, other).statistic)


def bootstrapped(*columns: np.ndarray) -> np.ndarray:
    """Tau of each column with the last one, for `DRAWS` draws of the cells with replacement: (draws, columns - 1)."""
    rng = np.random.default_rng(0)
    size = len(columns[-1])
    upper = np.triu_indices(size, 1)
    draws = [rng.integers(size, size=size) for _ in range(DRAWS)]

    def ordered(column: np.ndarray) -> np.ndarray:
        signs = np.sign(column[:, None] - column[None, :])
        return np.stack([signs[np.ix_(rows, rows)][upper] for rows in draws])  # (draws, pairs)

    signs = [ordered(column) for column in columns]
    last = signs[-1]
    found = []
    for column in signs[:-1]:
        scale = np.sqrt((column != 0).sum(1) * (last != 0).sum(1))
        found.append((column * last).sum(1) / np.maximum(1, scale))
    return np.stack(found, axis=1)


def interval(values: np.ndarray) -> str:
    """Say what 95 % of them lie between."""
    low, high = np.quantile(values, (0.025, 0.975))
    return f"{low:.3f} to {high:.3f}"


def report(asked: argparse.Namespace) -> None:
    """Print a table of tau for each fidelity and set of cells, and the curve."""
    lines, columns = read(asked.file), table()
    sets: dict[str, list[Json]] = {}
    for line in lines:
        if line["kind"] == "cells":
            sets.setdefault(json.dumps([line["cells"], line["draw"], line["fidelity"]]), []).append(line)
    print("| cells (draw) | fidelity | CPU s each | accuracy | tau, this trainer | tau, 12 epochs | difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for some in sets.values():
        print(row_of(some, columns))
    for some in sets.values():
        print(f"\n| row | cell | 200 epochs | 12 epochs | {fidelity_of(some[0])} |\n| --- | --- | --- | --- | --- |")
        for line in sorted(some, key=lambda line: float(columns["val_c10_200"][line["row"]])):
            row = line["row"]
            cell = text_of(columns, row).replace("|", "\\|")
            known = f"{columns['val_c10_200'][row]:.2f} | {columns['val_c10_12'][row]:.2f}"
            print(f"| {row} | `{cell}` | {known} | {line['value']:.2f} |")
    points = [line for line in lines if line["kind"] == "curve"]
    if points:
        print("\n| epochs | fidelity | seed | test accuracy [%] | CPU s |\n| --- | --- | --- | --- | --- |")
    for line in points:
        bar = "█" * round(line["value"] / 4)
        print(
            f"| {line['fidelity']['epochs']} | {fidelity_of(line)} | {line['seed']} | {line['value']:.2f} {bar} | "
            f"{line['cpu']:.0f} |"
        )


def fidelity_of(line: Json) -> Fidelity:
    """Return how much was trained."""
    return Fidelity.from_dict(line["fidelity"])


def row_of(lines: list[Json], columns: dict[str, np.ndarray]) -> str:
    """Write what one set of cells gave; with several seeds, the mean of each cell."""
    rows = sorted({line["row"] for line in lines})
    ours = np.array([np.mean([line["value"] for line in lines if line["row"] == row]) for row in rows])
    theirs, truth = columns["val_c10_12"][rows], columns["val_c10_200"][rows]
    draws = bootstrapped(ours, theirs, truth)
    first = lines[0]
    cpu = np.mean([line["cpu"] for line in lines])
    tested = tau(ours, columns["test_v11_c10_200"][rows])
    return (
        f"| {len(rows)} of {first['cells']} ({first['draw']}) | {fidelity_of(first)} | {cpu:.0f} | "
        f"{ours.min():.1f} to {ours.max():.1f} | {tau(ours, truth):.3f} ({interval(draws[:, 0])}); test {tested:.3f} | "
        f"{tau(theirs, truth):.3f} ({interval(draws[:, 1])}) | "
        f"{tau(ours, truth) - tau(theirs, truth):+.3f} ({interval(draws[:, 0] - draws[:, 1])}) |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("cells", "curve", "report"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--epochs", type=int, default=6, help="of the curve: at most")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--side", type=int, default=16)
    parser.add_argument("--batch", type=int, default=None, help="default: as in a search")
    parser.add_argument("--cells", type=int, default=24)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    {"cells": cells, "curve": curve, "report": report}[asked.what](asked)


if __name__ == "__main__":
    main()
