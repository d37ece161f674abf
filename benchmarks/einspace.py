"""Does a surrogate rank trees of `einspace` that were really trained? Code embeddings against simpler descriptions.

    python benchmarks/einspace.py                      # eight minutes on a busy machine, less on a quiet one; no tables

Draws distinct trees, trains each on the digits in this process as `nas-agent run` does in a child (3 epochs, 8
channels), embeds their class text and their derivations by all-MiniLM-L6-v2, and prints Kendall's tau-b between
predicted and measured validation accuracy on held-out trees: mean and standard deviation over random splits, and in how
many splits a description is ahead of TF-IDF. The head is the same for all: principal components, ridge with its penalty
chosen on the training trees, rank targets. The splits overlap, so the deviation is no error of the mean.
"""

from __future__ import annotations

import argparse
import time
from random import Random

import numpy as np
import torch
from scipy.stats import kendalltau, rankdata
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline

from nas_agent.records import Architecture
from nas_agent.spaces.base import Floats
from nas_agent.spaces.einspace import EinSpace
from nas_agent.tools.embeddings import MiniLM
from nas_agent.tools.evaluators.digits import CLASSES, load_digits
from nas_agent.tools.evaluators.train import encoded
from nas_agent.tools.evaluators.train_worker import outcome

SIZES = (16, 32, 48)
CONTROL = "TF-IDF of class text"
PENALTIES = np.logspace(-3, 3, 13)
DIMENSION = 384  # of the embeddings


def measured(space: EinSpace, count: int, seed: int, epochs: int) -> list[tuple[Architecture, float]]:
    """Draw distinct trees and train them until `count` have a value; print what failed."""
    digits, rng = load_digits(), Random(seed)
    request = {
        "epochs": epochs,
        "width": 8,
        "classes": CLASSES,
        "seed": 0,
        "mean": digits.mean,
        "spread": digits.spread,
    }
    request |= {"train": encoded(digits.train), "score": encoded(digits.validation)}
    found: dict[str, tuple[Architecture, float]] = {}
    failed: dict[str, str] = {}
    while len(found) < count:
        drawn = space.sample(rng)
        if drawn.id in found or drawn.id in failed:
            continue
        reply = outcome(space, {**request, "architecture": drawn.text})
        if reply["status"] == "measured":
            found[drawn.id] = (drawn, reply["value"])
        else:
            failed[drawn.id] = reply["reason"]
    values = np.array([value for _, value in found.values()])
    chance = int((values < 15).sum())
    quartiles = " / ".join(f"{value:.1f}" for value in np.percentile(values, [0, 25, 50, 75, 100]))
    print(f"{count} trees; accuracy, quartiles: {quartiles} %; below 15 %: {chance}; failed besides: {len(failed)}")
    return list(found.values())


Block = Floats | list[str]


def descriptions(space: EinSpace, trees: list[Architecture]) -> dict[str, list[Block]]:
    """Return what a surrogate may know of each tree: blocks of numbers, or texts whose terms are counted."""
    model = MiniLM()
    blocks = [space.features(tree) for tree in trees]
    cost = np.array([block["cost"] for block in blocks])
    structure = np.array([np.concatenate(list(block.values())) for block in blocks])
    code, rules = [space.source(tree) for tree in trees], [space.derivation(tree) for tree in trees]
    code_vectors, rule_vectors = (model.embed(texts).astype(np.float64) for texts in (code, rules))
    return {
        "COLE, class text": [code_vectors],
        "COLE, derivation": [rule_vectors],
        CONTROL: [code],
        "TF-IDF of derivation": [rules],
        "parameters only": [cost[:, :1]],
        "cost block": [cost],
        "structure": [structure],
        "structure + COLE, class text": [structure, code_vectors],
        "structure + COLE, derivation": [structure, rule_vectors],
        "structure + TF-IDF of derivation": [structure, rules],
    }


def scaled(block: Block, train: list[int], test: list[int]) -> tuple[Floats, Floats]:
    """Centre and scale a block by the training trees, so that all blocks weigh alike."""
    if isinstance(block, list):
        terms = TfidfVectorizer(token_pattern=r"[A-Za-z_]+[0-9]*|[0-9]+", sublinear_tf=True)
        rows = terms.fit_transform([block[i] for i in train]).toarray()
        others = terms.transform([block[i] for i in test]).toarray()
        deviation = np.ones(rows.shape[1])
    else:
        rows, others = block[train], block[test]
        spread = rows.std(axis=0)
        # The directions of an embedding are comparable as they are; structural numbers have units of their own.
        deviation = np.where(spread > 0, spread, np.inf) if block.shape[1] != DIMENSION else np.ones(DIMENSION)
    centre = rows.mean(axis=0)
    rows, others = (rows - centre) / deviation, (others - centre) / deviation
    norm = float(np.sqrt((rows**2).sum(axis=1).mean()))
    return rows / norm, others / norm


def predicted(blocks: list[Block], train: list[int], test: list[int], values: Floats) -> Floats:
    """Fit on some trees and predict others."""
    parts = [scaled(block, train, test) for block in blocks]
    rows, others = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    components = min(128, len(train) - 1, rows.shape[1])
    head = make_pipeline(PCA(components, random_state=0), RidgeCV(alphas=PENALTIES))
    return np.asarray(head.fit(rows, rankdata(values[train]) / len(train)).predict(others))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trees", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--splits", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begin, space = time.perf_counter(), EinSpace()
    found = measured(space, arguments.trees, arguments.seed, arguments.epochs)
    print(f"trained in {time.perf_counter() - begin:.0f} s")
    values = np.array([value for _, value in found])
    known = descriptions(space, [tree for tree, _ in found])
    taus: dict[tuple[str, int], list[float]] = {}
    for size in SIZES:
        for split in range(arguments.splits):
            order = list(range(len(found)))
            Random(f"{arguments.seed}/{split}").shuffle(order)
            held, rest = order[: len(found) // 4], order[len(found) // 4 :]  # split first, subsample later
            for name, rows in known.items():
                tau = kendalltau(predicted(rows, rest[:size], held, values), values[held]).statistic
                taus.setdefault((name, size), []).append(float(np.nan_to_num(tau)))
    print(f"\n| description | {' | '.join(f'N = {size}' for size in SIZES)} | ahead of TF-IDF of class text |")
    print(f"|---|{'---|' * len(SIZES)}---|")
    for name in known:
        cells = [f"{np.mean(taus[name, size]):.3f} ± {np.std(taus[name, size]):.3f}" for size in SIZES]
        ahead = [int(np.sum(np.array(taus[name, size]) > np.array(taus[CONTROL, size]))) for size in SIZES]
        print(f"| {name} | {' | '.join(cells)} | {' / '.join(map(str, ahead))} of {arguments.splits} |")
    print(f"\n{time.perf_counter() - begin:.0f} s in all")


if __name__ == "__main__":
    main()
