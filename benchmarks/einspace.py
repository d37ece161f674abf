"""Does a surrogate rank trees of `einspace` that were really trained? Code embeddings against simpler descriptions.

    python benchmarks/einspace.py --measured FILE.jsonl       # a quarter of an hour on two cores; needs no tables
    python benchmarks/einspace.py --measured FILE.jsonl --why # what tells trees that stay at chance from good ones

Draws distinct trees and trains each on the digits in this process (3 epochs, 8 channels, images as they are); FILE
keeps what was measured, and is read where it exists. Prints Kendall's tau-b between predicted and measured validation
accuracy on a quarter of the trees, held out: mean and standard deviation over random splits, and
the mean difference from structure alone with its p-value (corrected for the overlap of the splits; Nadeau and Bengio,
2003). The blocks `signal` and `mixing` were made while looking at the trees of seed 0; `--seed 1` draws others.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from scipy.stats import kendalltau

from nas_agent.bench.surrogate_statistics import corrected_t_test
from nas_agent.records import Json
from nas_agent.spaces.base import Floats
from nas_agent.spaces.einspace import EinSpace
from nas_agent.spaces.einspace_flow import SIGNAL
from nas_agent.tools.embeddings import make_embedder
from nas_agent.tools.evaluators.candidate import built, outcome
from nas_agent.tools.evaluators.scoring import accuracy
from nas_agent.tools.evaluators.trainer import Place
from nas_agent.tools.heads import CODE, make_head
from nas_agent.tools.images import load_images
from nas_agent.tools.texts import make_text

SIZES = (50, 100, 200, 300)
HEADS = ("ridge", "gp")
WIDTH = 8
CHANCE, GOOD = 15.0, 90.0  # percent
NEW = ("signal", "mixing")  # the blocks of what reaches the head
REFERENCE = "structure"
# (text, embedder, with structure)
EMBEDDED = {
    "COLE, class text": ("canonical", "all-minilm", False),
    "COLE, derivation": ("derivation", "all-minilm", False),
    "COLE, notation": ("string", "all-minilm", False),
    "random model, derivation": ("derivation", "random:all-minilm", False),
    "TF-IDF, class text": ("canonical", "tfidf", False),
    "TF-IDF, derivation": ("derivation", "tfidf", False),
    "structure + COLE, class text": ("canonical", "all-minilm", True),
    "structure + COLE, derivation": ("derivation", "all-minilm", True),
    "structure + TF-IDF, derivation": ("derivation", "tfidf", True),
}

Description = tuple[dict[str, Floats], bool]  # blocks, and whether the code block counts terms


def trained(space: EinSpace, text: str, epochs: int, seed: int, rate: float = 0.1) -> Json:
    """Train a tree in this process, without augmentation, and return what became of it."""
    images = load_images("digits", data=None, resolution=None)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, part in (("train", images.train), ("score", images.validation)):
            files[name] = {what: f"{folder}/{name}-{what}.npy" for what in ("pixels", "labels")}
            np.save(files[name]["pixels"], part.pixels)
            np.save(files[name]["labels"], part.labels)
        recipe = {"epochs": epochs, "batch": 64, "shift": 0, "mirror": False, "smoothing": 0.0, "peak_rate": rate}
        request = {
            "architecture": text, "classes": len(images.classes), "channels": 1, "width": WIDTH, "seed": seed,
            "share": 1.0, "resolution": None, "mean": images.mean, "spread": images.spread, "recipe": recipe, **files,
        }  # fmt: skip
        reply = outcome(lambda: built(space, space.parse(text), request), request, Place("cpu", "float32"))[1]
    if reply["status"] == "failed":
        return reply
    value = accuracy(reply.pop("classes"), images.validation.labels)
    return {**reply, "status": "measured", "value": value}


def measured(space: EinSpace, count: int, seed: int, epochs: int, file: Path) -> tuple[list[str], Floats]:
    """Return distinct trees with their accuracies, from the file or trained now; print what failed."""
    done = {row["text"]: row for row in map(json.loads, file.read_text().splitlines())} if file.exists() else {}
    rng = Random(seed)
    rows: dict[str, Json] = {}
    with file.open("a") as kept:
        while len(rows) < count:
            drawn = space.sample(rng)
            if drawn.text not in done:
                done[drawn.text] = {"text": drawn.text, **trained(space, drawn.text, epochs, seed=0)}
                kept.write(json.dumps(done[drawn.text]) + "\n")
                kept.flush()
            rows[drawn.text] = done[drawn.text]
    failed = [row["reason"] for row in rows.values() if row["status"] != "measured"]
    found = {text: row["value"] for text, row in rows.items() if row["status"] == "measured"}
    values = np.array(list(found.values()))
    quartiles = " / ".join(f"{value:.1f}" for value in np.percentile(values, [0, 25, 50, 75, 100]))
    print(f"{len(found)} trees, {sum(row['seconds'] for row in rows.values()):.0f} s of training; {len(failed)} failed")
    print(f"accuracy, quartiles: {quartiles} %; below {CHANCE:.0f} %: {int((values < CHANCE).sum())}")
    return list(found), values


def descriptions(space: EinSpace, texts: list[str]) -> dict[str, Description]:
    """Return what a surrogate may know of each tree."""
    trees = [space.parse(text) for text in texts]
    features = [space.features(tree) for tree in trees]
    blocks = {name: np.array([found[name] for found in features]) for name in features[0]}
    known: dict[str, Description] = {
        "parameters only": ({"cost": blocks["cost"][:, :1]}, False),
        "structure without signal and mixing": ({n: b for n, b in blocks.items() if n not in NEW}, False),
        "signal and mixing only": ({name: blocks[name] for name in NEW}, False),
        REFERENCE: (blocks, False),
    }
    vectors: dict[tuple[str, str], tuple[Floats, bool]] = {}
    for name, (text, spec, joint) in EMBEDDED.items():
        if (text, spec) not in vectors:
            written = [make_text(text, space)(tree) for tree in trees]
            embedder, begin = make_embedder(spec), time.perf_counter()
            vectors[text, spec] = embedder.embed(written).astype(np.float64), embedder.counts
            cut, took = len(embedder.truncated), time.perf_counter() - begin
            print(
                f"{text} by {spec}: {cut} of {len(written)} texts truncated; {1000 * took / len(written):.0f} ms a text"
            )
        code, counts = vectors[text, spec]
        known[name] = {**(blocks if joint else {}), CODE: code}, counts
    return known


def ranked(known: dict[str, Description], values: Floats, splits: int, seed: int) -> dict[tuple[str, str, int], Floats]:
    """Return tau of each description, head and size, one for each split."""
    held = len(values) // 4
    sizes = [size for size in SIZES if size <= len(values) - held]
    taus: dict[tuple[str, str, int], list[float]] = {}
    for split in range(splits):
        order = list(range(len(values)))
        Random(f"{seed}/{split}").shuffle(order)
        test, rest = order[:held], order[held:]  # split first, subsample later
        for size in sizes:
            train = rest[:size]
            for name, (blocks, counts) in known.items():
                for head in HEADS:
                    shown = {block: rows[train] for block, rows in blocks.items()}
                    fitted = make_head(head).fit(shown, values[train], counts=counts)
                    predicted = fitted.predict({block: rows[test] for block, rows in blocks.items()}).mean
                    tau = kendalltau(predicted, values[test]).statistic
                    taus.setdefault((name, head, size), []).append(float(np.nan_to_num(tau)))
    return {key: np.array(found) for key, found in taus.items()}


def show(taus: dict[tuple[str, str, int], Floats]) -> None:
    sizes = sorted({size for _, _, size in taus})
    ratio = 1 / 3  # trees tested to trees that could be trained on
    for head in HEADS:
        print(f"\n| {head} | {' | '.join(f'N = {size}' for size in sizes)} | N = {sizes[-1]}, less structure |")
        print(f"|---|{'---|' * len(sizes)}---|")
        for name in dict.fromkeys(name for name, _, _ in taus):
            cells = [f"{taus[name, head, size].mean():.3f} ± {taus[name, head, size].std():.3f}" for size in sizes]
            tested = corrected_t_test(taus[name, head, sizes[-1]] - taus[REFERENCE, head, sizes[-1]], ratio)
            less = "" if tested is None or name == REFERENCE else f"{tested.mean:+.3f} (p {tested.p:.2g})"
            print(f"| {name} | {' | '.join(cells)} | {less} |")


def shares(space: EinSpace, text: str) -> tuple[float, float]:
    """Measure in a new network: the images' share of the power that the head is given, before and after its norm."""
    images = load_images("digits", data=None, resolution=None)
    pixels = (images.train.pixels[:128, :, :, 0].astype(np.float32) - images.mean[0]) / images.spread[0]
    torch.manual_seed(0)
    network = space.network(space.parse(text), classes=len(images.classes), in_channels=1, width=WIDTH).train()
    with torch.no_grad():
        pooled = network.body(network.stem(torch.from_numpy(pixels).float().unsqueeze(1))).mean(dim=network.places)
        normed = network.head[0](pooled)
    found = [
        float(part.var(dim=0).mean() / (part.square().mean() + 1e-30)) for part in (pooled.double(), normed.double())
    ]
    return found[0], found[1]


def why(space: EinSpace, texts: list[str], values: Floats, epochs: int, again: int) -> None:
    """Print what goes with accuracy before training, how far training is noise, and what a smaller rate mends."""
    estimated = np.array([space.features(space.parse(text))["signal"] for text in texts])
    for name, column in zip(SIGNAL, estimated.T, strict=True):
        print(f"tau of accuracy with the estimate '{name}': {kendalltau(column, values).statistic:.2f}")
    real = np.array([shares(space, text) for text in texts])
    for column, name in zip(real.T, ("before its norm", "behind it"), strict=True):
        tau = kendalltau(column, values).statistic
        print(f"tau of accuracy with the share measured at the untrained head, {name}: {tau:.2f}")
    print(f"tau of the estimate with the share measured: {kendalltau(estimated[:, 1], real[:, 0]).statistic:.2f}")
    for name, some in (("at chance", values < CHANCE), ("good", values > GOOD)):
        weak = real[some, 1] < 0.01
        print(f"{name}: {int(weak.sum())} of {len(weak)} have a share below 1 % behind the norm")

    other = [trained(space, text, epochs, seed=1).get("value", 0.0) for text in texts[:again]]
    print(f"{again} trees trained again with another seed: tau {kendalltau(other, values[:again]).statistic:.2f}")
    lost = [text for text, value in zip(texts, values, strict=True) if value < CHANCE][:again]
    slow = [trained(space, text, epochs, seed=0, rate=0.02).get("value", 0.0) for text in lost]
    mended = int((np.array(slow) > 2 * CHANCE).sum())
    print(f"{mended} of {len(lost)} trees at chance get above {2 * CHANCE:.0f} % at a fifth of the learning rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measured", type=Path, required=True)
    parser.add_argument("--trees", type=int, default=450)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--why", action="store_true")
    parser.add_argument("--again", type=int, default=40, help="trees that --why trains again")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    begin, space = time.perf_counter(), EinSpace()
    texts, values = measured(space, arguments.trees, arguments.seed, arguments.epochs, arguments.measured)
    if arguments.why:
        why(space, texts, values, arguments.epochs, arguments.again)
    else:
        show(ranked(descriptions(space, texts), values, arguments.splits, arguments.seed))
    print(f"\n{time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
