"""How well heads order NAS-Bench-201 cells that they were not shown (needs NAS_AGENT_DATA).

    python benchmarks/heads.py --repeats 20                                  # structure and terms of the code
    python benchmarks/heads.py --repeats 20 --embeddings FILE.npz            # and embeddings: arrays `ids`, `vectors`
    python benchmarks/heads.py --only "gp: structure,gp: joint" --sizes 14,55 --tasks cifar10
    python benchmarks/heads.py --speed                                       # refit and 5,000 predictions at N = 200

One row of each isomorphism class. Each repeat draws its test cells (1,500) first and its training cells from the rest.
Prints Kendall's tau with validation accuracy, mean over the repeats; `coverage`: of 90 % intervals; `seconds`: one fit
and prediction. With --functions, cells that compute the same function never straddle the split either: the benchmark's
6,466 classes are 4,930 functions, because its rule counts some sums of zeros as different.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from nas_agent.records import Measured
from nas_agent.spaces.base import Floats
from nas_agent.spaces.nasbench201 import EDGES, NasBench201
from nas_agent.spaces.path_features import extended_features
from nas_agent.tools.evaluators.resolve import load_evaluation
from nas_agent.tools.heads import CODE, TargetName, make_head
from nas_agent.tools.surrogates.blocks import stack

TASKS = ("cifar10", "cifar100", "ImageNet16-120")
SIZES = (14, 55, 220, 879, 3516)
TEST, CLASSES = 1500, 6466


@dataclass(frozen=True)
class Variant:
    """A head and what it is shown."""

    head: str = "gp"
    structure: str = "all"  # `all`, `none`, `own`: the blocks of the search's surrogate; or all without the named one
    code: str = ""  # `embedding`, `words` or `phrases`: up to three words in a row
    target: TargetName = "power"


VARIANTS = {
    "gp: structure": Variant(),
    "gp: joint": Variant(code="embedding"),
    "gp: embedding": Variant(structure="none", code="embedding"),
    "gp: words": Variant(structure="none", code="words"),
    "gp: phrases": Variant(structure="none", code="phrases"),
    "gp: structure + phrases": Variant(code="phrases"),
    "gp: the search's blocks": Variant(structure="own"),
    "gp: the search's blocks + embedding": Variant(structure="own", code="embedding"),
    "gp: structure by rank": Variant(target="rank"),
    "gp: no path": Variant(structure="path"),
    "gp: no pairs": Variant(structure="pairs"),
    "gp: no signal": Variant(structure="signal"),
    "gp: no depth": Variant(structure="depth"),
    "gp: no size": Variant(structure="size"),
    "gp: no count": Variant(structure="count"),
    "ridge: structure": Variant("ridge"),
    "ridge: joint": Variant("ridge", code="embedding"),
    "ridge: embedding": Variant("ridge", structure="none", code="embedding"),
    "lightgbm: structure": Variant("lightgbm"),
    "lightgbm: joint": Variant("lightgbm", code="embedding"),
    "lightgbm: embedding": Variant("lightgbm", structure="none", code="embedding"),
    "mlp: structure": Variant("mlp"),
    "mlp: joint": Variant("mlp", code="embedding"),
    "mlp: embedding": Variant("mlp", structure="none", code="embedding"),
}
OWN = ("edge", "count", "depth", "size")
Data = tuple[dict[str, Floats], dict[str, Floats], np.ndarray[tuple[int, ...], np.dtype[np.intp]]]


@lru_cache(maxsize=1)
def loaded(embeddings: str | None) -> Data:
    """Return blocks, values of each task and functions of all classes, once a process."""
    from sklearn.feature_extraction.text import CountVectorizer

    space, values = NasBench201(), {}
    for task in TASKS:
        evaluator = load_evaluation(task, space, "table", data=None, epochs=None).evaluator
        pool = list(evaluator.pool() or ())
        outcomes = [evaluator.evaluate(architecture, seed=0) for architecture in pool]
        values[task] = np.array([outcome.value for outcome in outcomes if isinstance(outcome, Measured)])
    blocks = stack([extended_features(space, architecture) for architecture in pool])
    texts = [space.source(architecture) for architecture in pool]
    for name, longest in (("words", 1), ("phrases", 3)):
        counter = CountVectorizer(token_pattern=r"\w+", ngram_range=(1, longest), lowercase=False)
        blocks[name] = counter.fit_transform(texts).toarray().astype(np.float64)
    if embeddings is not None:
        with np.load(embeddings) as arrays:
            place = {name: index for index, name in enumerate(arrays["ids"])}
            blocks["embedding"] = arrays["vectors"][[place[member.id] for member in pool]].astype(np.float64)
    written = [function(tuple(space.choices(architecture).values())) for architecture in pool]
    return blocks, values, np.unique(written, return_inverse=True)[1]


def function(options: tuple[str, ...]) -> str:
    """Write what the cell computes: as the space's canonical key, but what adds nothing is left out of every sum."""
    node = {0: ["x"]}
    for end in (1, 2, 3):
        terms: list[str] = []
        for (start, to), operation in zip(EDGES, options, strict=True):
            if to != end or operation == "none" or start not in node:
                continue
            inside = node[start]
            terms += inside if operation == "skip_connect" else [f"({'+'.join(sorted(inside))})@{operation}"]
        if terms:
            node[end] = terms
    return "+".join(sorted(node.get(3, [])))


def shown(variant: Variant, blocks: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the blocks that this variant is shown."""
    structure = {name: block for name, block in blocks.items() if name not in ("words", "phrases", "embedding")}
    if variant.structure == "none":
        structure = {}
    elif variant.structure == "own":
        structure = {name: structure[name] for name in OWN}
    else:
        structure.pop(variant.structure, None)
    return structure | ({CODE: blocks[variant.code]} if variant.code else {})


def split(
    functions: np.ndarray[tuple[int, ...], np.dtype[np.intp]], repeat: int, strict: bool
) -> tuple[Floats, Floats]:
    """Return test places and training places, the latter in the order in which samples take them."""
    rng = np.random.default_rng(1000 + repeat)
    if not strict:
        order = rng.permutation(len(functions))
        return order[:TEST], order[TEST:]
    kinds = rng.permutation(functions.max() + 1)
    tested = np.isin(functions, kinds[: len(kinds) * TEST // len(functions)])
    return np.flatnonzero(tested), rng.permutation(np.flatnonzero(~tested))


def measure(job: tuple[str, str, int, int, str | None, bool]) -> tuple[float, float, float]:
    """Return tau, coverage and seconds of one fit."""
    from scipy.stats import kendalltau

    name, task, size, repeat, embeddings, strict = job
    blocks, values, functions = loaded(embeddings)
    variant = VARIANTS[name]
    given, wanted = shown(variant, blocks), values[task]
    test, rest = split(functions, repeat, strict)
    train = rest[:size]
    start = time.perf_counter()
    head = make_head(variant.head, target=variant.target)
    counts = variant.code in ("words", "phrases")
    sample = {name: block[train] for name, block in given.items()}
    fitted = head.fit(sample, wanted[train], counts=counts, seed=repeat)
    unseen = {name: block[test] for name, block in given.items()}
    mean = fitted.predict(unseen).mean
    seconds = time.perf_counter() - start
    low, high = fitted.interval(unseen)
    inside = float(((low <= wanted[test]) & (wanted[test] <= high)).mean())
    return float(kendalltau(mean, wanted[test]).statistic), inside, seconds


def speed(embeddings: str | None) -> None:
    """Print the time of one refit and 5,000 predictions at N = 200: best and median of 20, and the processor's."""
    blocks, values, _ = loaded(embeddings)
    for name in ("gp: structure", *(("gp: joint",) if embeddings else ())):
        given = shown(VARIANTS[name], blocks)
        sample = {key: block[:200] for key, block in given.items()}
        candidates = {key: block[200:5200] for key, block in given.items()}
        took, worked = [], []
        for seed in range(20):
            start, began = time.perf_counter(), time.process_time()
            make_head("gp").fit(sample, values["cifar10"][:200], seed=seed).predict(candidates)
            took.append(1000 * (time.perf_counter() - start))
            worked.append(1000 * (time.process_time() - began))
        times = f"best {min(took):.0f} ms, median {np.median(took):.0f} ms; processor {np.median(worked):.0f} ms"
        print(f"{name}: refit at N = 200 and 5,000 predictions: {times}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", help="variants, separated by commas")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--embeddings", help="arrays `ids` and `vectors` of all classes")
    parser.add_argument("--functions", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file for the single figures")
    arguments = parser.parse_args()
    if arguments.speed:
        return speed(arguments.embeddings)
    names = arguments.only.split(",") if arguments.only else list(VARIANTS)
    names = [name for name in names if arguments.embeddings or VARIANTS[name.strip()].code != "embedding"]
    tasks, sizes = arguments.tasks.split(","), [int(size) for size in arguments.sizes.split(",")]
    found: dict[str, list[list[float]]] = {}
    print("| task | variant | N | tau | deviation | coverage | seconds | less the first variant |\n|" + "---|" * 8)
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for task in tasks:
            for name in names:
                for size in sizes:
                    options = (arguments.embeddings, arguments.functions)
                    jobs = [(name, task, size, repeat, *options) for repeat in range(arguments.repeats)]
                    rows = np.array(list(pool.map(measure, jobs)))
                    found[f"{task}/{name}/{size}"] = rows.tolist()
                    tau, coverage, seconds = rows.mean(axis=0)
                    first = np.array(found[f"{task}/{names[0]}/{size}"])[:, 0]
                    lead = "" if name == names[0] else compared(rows[:, 0] - first)
                    print(
                        f"| {task} | {name} | {size} | {tau:.4f} | {rows[:, 0].std(ddof=1):.4f} | {coverage:.3f} "
                        f"| {seconds:.2f} | {lead} |",
                        flush=True,
                    )
    if arguments.out:
        arguments.out.write_text(json.dumps(found))


def compared(differences: Floats) -> str:
    """Write the mean difference, its standard error, and the p-value of the corrected paired t-test.

    The correction (Nadeau and Bengio 2003) takes the test cells over those that they are drawn apart from.
    """
    from scipy.stats import t as student

    repeats = len(differences)
    variance = float(differences.var(ddof=1)) * (1.0 / repeats + TEST / (CLASSES - TEST))
    if variance == 0.0:
        return f"{differences.mean():+.4f}"
    p = 2.0 * float(student.sf(abs(differences.mean()) / variance**0.5, repeats - 1))
    plain = float(differences.std(ddof=1)) / repeats**0.5
    return f"{differences.mean():+.4f} ± {plain:.4f}, p {p:.2g}"


if __name__ == "__main__":
    main()
