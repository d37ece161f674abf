"""Fit the embedded benchmark's weights and write its card.

    NAS_AGENT_DATA=DIR python scripts/fit_embedded.py            # some minutes on one core
    NAS_AGENT_DATA=DIR python scripts/fit_embedded.py --check    # recompute the card of the shipped weights

Fitted on the isomorphism classes whose id modulo 5 is not 0: each distinct live spelling of a cell is an example, its
target the mean over the class's measured members, its weight the square root of their number, divided among the
spellings. Scored on the other classes, in their canonical spelling, against the row that the table evaluator answers
with, that of the cheapest member. Twelve perceptrons, AdamW, one-cycle, on the scale -log(ceiling - value).

What else was tried, on held-out classes (no figures kept): plain targets, canonical spellings only, dropout, strong
weight decay, a third hidden layer, fits of 60 epochs: worse; wider members and more path features: no better.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn

from nas_agent.records import Architecture, Json
from nas_agent.spaces.base import Floats
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.benchmarks.nb201 import BENCHMARKS, FILE, load_nb201
from nas_agent.tools.evaluators.embedded import CARD, OUTPUTS, WEIGHTS, EmbeddedBenchmark, encode, held_out
from nas_agent.tools.tables import BenchmarkTable, find_table

SEED = 0
# Percent between the best fitted value and the ceiling of the log scale: about five times the noise of a test mean.
HEADROOM = {"cifar10": 2.0, "cifar100": 6.0, "ImageNet16-120": 6.0}
FOLDER = Path(__file__).resolve().parent.parent / "nas_agent" / "tools" / "evaluators" / "weights"


class Plan(NamedTuple):
    """How an ensemble is fitted."""

    members: int
    width: int  # of both hidden layers
    epochs: int
    batch: int = 256
    rate: float = 3e-3
    decay: float = 0.1

    def __str__(self) -> str:
        return f"{self.members} perceptrons, hidden layers {self.width} and {self.width}"


class Piece(NamedTuple):
    """One packaged ensemble: its two files, and how they are made."""

    weights: str  # file names
    card: str
    fit: Callable[[], dict[str, np.ndarray]]
    make_card: Callable[[], Json]


PLAN = Plan(members=12, width=64, epochs=400)


def load_tables(space: NasBench201) -> dict[str, BenchmarkTable]:
    """Read the three tasks at 200 epochs."""
    path = find_table(None, FILE)
    if path is None:
        raise SystemExit("no nb201.npz found; set NAS_AGENT_DATA to the folder that holds it")
    return {task.name: load_nb201(path, task, space) for task in BENCHMARKS[0].tasks}


def representatives(tables: dict[str, BenchmarkTable], classes: list[Architecture]) -> Floats:
    """(classes, outputs): what the table evaluator and its test split answer."""
    answers = []
    for architecture in classes:
        rows = {task: table.row(architecture) for task, table in tables.items()}
        answers.append([getattr(rows[task], "value" if split == "val" else "test") for task, split in OUTPUTS])
    return np.array(answers, dtype=np.float64)


def examples(space: NasBench201, tables: dict[str, BenchmarkTable]) -> tuple[Floats, Floats, Floats]:
    """Features (examples, columns), targets (examples, outputs) and weights (examples,) of the fitted classes."""
    totals: dict[str, Floats] = {}
    members: dict[str, list[Architecture]] = {}
    for column, (task, split) in enumerate(OUTPUTS):
        for row in tables[task].members():
            total = totals.setdefault(row.architecture.id, np.zeros(len(OUTPUTS)))
            total[column] += row.value if split == "val" else row.test
            if column == 0 and not held_out(row.architecture):
                members.setdefault(row.architecture.id, []).append(row.architecture)
    features, targets, weights = [], [], []
    for id_, spellings in members.items():
        distinct = np.unique(encode(space, spellings), axis=0)
        features.append(distinct)
        targets += [totals[id_] / len(spellings)] * len(distinct)
        weights += [(len(spellings) / len(distinct)) ** 0.5] * len(distinct)
    return np.concatenate(features), np.array(targets), np.array(weights)


def fit(features: Floats, targets: Floats, weights: Floats, headroom: Floats, plan: Plan) -> dict[str, np.ndarray]:
    """Fit the ensemble; return the arrays that `apply_network` reads, as they are shipped.

    `headroom`: percent between the best fitted value of each output and the ceiling of the log scale.
    """
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    ceiling = targets.max(axis=0) + headroom
    logs = -np.log(ceiling - targets)
    shift, scale = logs.mean(axis=0), logs.std(axis=0)
    middle, spread = features.mean(axis=0), features.std(axis=0)
    inverse = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)
    x = torch.tensor((features - middle) * inverse, dtype=torch.float32)
    y = torch.tensor((logs - shift) / scale, dtype=torch.float32)
    weight = torch.tensor(weights / weights.mean(), dtype=torch.float32)
    matrices, biases = train(x, y, weight, plan)
    # The standardisation of the inputs becomes part of the first layer.
    first = matrices[0] * inverse[None, :, None]
    biases[0] = biases[0] - (middle[None, None, :] @ first)
    matrices[0] = first
    arrays = {f"w{i}": m.astype(np.float16) for i, m in enumerate(matrices)}
    arrays |= {f"b{i}": b.astype(np.float32) for i, b in enumerate(biases)}
    return arrays | {"ceiling": ceiling, "scale": scale, "shift": shift}


def train(x: Tensor, y: Tensor, weight: Tensor, plan: Plan) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the matrices (members, in, out) and biases (members, 1, out) of the three layers."""
    sizes = [x.shape[1], plan.width, plan.width, y.shape[1]]
    gains = [1.6, 1.6, 0.15]
    shapes = list(zip(sizes, sizes[1:], gains, strict=False))
    matrices = [nn.Parameter(torch.randn(plan.members, a, b) * (gain / a) ** 0.5) for a, b, gain in shapes]
    biases = [nn.Parameter(torch.zeros(plan.members, 1, b)) for b in sizes[1:]]

    def network(batch: Tensor) -> Tensor:
        hidden = batch.expand(plan.members, -1, -1)
        for layer, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            hidden = hidden @ matrix + bias
            if layer < 2:
                hidden = nn.functional.silu(hidden)
        return hidden

    groups = [{"params": matrices, "weight_decay": plan.decay}, {"params": biases, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.rate)
    steps = len(x) // plan.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, plan.rate, total_steps=plan.epochs * steps)
    for _ in range(plan.epochs):
        order = torch.randperm(len(x))
        for step in range(steps):
            rows = order[step * plan.batch : (step + 1) * plan.batch]
            error = ((network(x[rows]) - y[rows]) ** 2).mean(dim=2) * weight[rows]
            loss = error.mean(dim=1).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return [m.detach().double().numpy() for m in matrices], [b.detach().double().numpy() for b in biases]


def score(guess: Floats, truth: Floats) -> Json:
    """R², Kendall tau over all and inside the top 10 % by the measured value, and RMSE in percent, of one output."""
    top = truth >= np.quantile(truth, 0.9)
    error = guess - truth
    return {
        "r2": round(float(1 - (error**2).sum() / ((truth - truth.mean()) ** 2).sum()), 4),
        "kendall_tau": round(float(kendalltau(guess, truth).statistic), 4),
        "kendall_tau_top_10_percent": round(float(kendalltau(guess[top], truth[top]).statistic), 4),
        "rmse": round(float(np.sqrt((error**2).mean())), 4),
        "rmse_top_10_percent": round(float(np.sqrt((error[top] ** 2).mean())), 4),
    }


def scores(predicted: Floats, measured: Floats) -> Json:
    """Score each output."""
    result: Json = {}
    for column, (task, split) in enumerate(OUTPUTS):
        result.setdefault(task, {})[split] = score(predicted[:, column], measured[:, column])
    return result


def make_card(space: NasBench201, tables: dict[str, BenchmarkTable]) -> Json:
    """Score the shipped weights on the held-out classes."""
    benchmark = EmbeddedBenchmark(space)
    classes = list(benchmark.classes)
    kept = np.array([held_out(architecture) for architecture in classes])
    card = {
        "name": "embedded benchmark of NAS-Bench-201",
        "predicts": "validation and test accuracy (percent) after 200 epochs; nothing it says is a measurement",
        "model": f"{PLAN}, on live one-hot edges and path sequences",
        "fitted_on": {"classes": int((~kept).sum()), "rule": "isomorphism classes whose id modulo 5 is not 0"},
        "held_out": {"classes": int(kept.sum()), "rule": "isomorphism classes whose id modulo 5 is 0"},
        "truth": "the table's row of the cheapest member of each held-out class, NAS-Bench-201 v1.1, mean over seeds",
        "scores": scores(benchmark.predictions[kept], representatives(tables, classes)[kept]),
        "seed": SEED,
        "command": "NAS_AGENT_DATA=DIR python scripts/fit_embedded.py",
        "weights_bytes": (FOLDER / WEIGHTS).stat().st_size,
    }
    return {**card, "markdown": markdown(card)}


def markdown(card: Json) -> str:
    """Say the same for people."""
    lines = [
        f"The embedded benchmark predicts NAS-Bench-201's results; it was fitted on {card['fitted_on']['classes']:,} "
        f"isomorphism classes and scored on the other {card['held_out']['classes']:,}. "
        "It stands in where no table is at hand; its figures are predictions and no basis for claims about methods. "
        "On the classes it was fitted on it is closer to the table than the scores below say.",
        "",
        "| task | split | R² | Kendall tau | tau, top 10 % | RMSE | RMSE, top 10 % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task, split in OUTPUTS:
        score = card["scores"][task][split]
        lines.append(f"| {task} | {split} | " + " | ".join(f"{value:.3f}" for value in score.values()) + " |")
    return "\n".join(lines)


def fit_or_check(what: str | None, pieces: Callable[[], Iterable[Piece]]) -> None:
    """Fit and write weights and cards, or with --check compare the cards of the shipped weights with those shipped."""
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only recompute the cards of the shipped weights")
    check = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    differing = []
    for piece in pieces():
        if not check:
            np.savez_compressed(FOLDER / piece.weights, **piece.fit())  # type: ignore[arg-type]
        text = json.dumps(piece.make_card(), indent=2, ensure_ascii=False) + "\n"
        print(text)
        path = FOLDER / piece.card
        if not check:
            path.write_text(text, encoding="utf-8")
        elif path.read_text(encoding="utf-8") != text:
            differing.append(piece.card)
    if differing:
        raise SystemExit(f"differs from what is shipped: {', '.join(differing)}")


def pieces() -> Iterator[Piece]:
    """The one embedded benchmark of the three tasks."""
    space = NasBench201()
    tables = load_tables(space)
    headroom = np.array([HEADROOM[task] for task, _ in OUTPUTS])
    yield Piece(WEIGHTS, CARD, lambda: fit(*examples(space, tables), headroom, PLAN), lambda: make_card(space, tables))


if __name__ == "__main__":
    fit_or_check(__doc__, pieces)
