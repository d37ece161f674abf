"""How fast texts become vectors, against plain sentence-transformers, side by side in one run.

    python benchmarks/embedding.py                    # samples; what is extrapolated is said; minutes on two cores
    python benchmarks/embedding.py --full             # every text of both sides; most of an hour on two cores
    python benchmarks/embedding.py --only variants    # number formats and batches: time, CPU time, likeness
    python benchmarks/embedding.py --only ranking     # what the number format does to Kendall's tau (needs the tables)

Plain: `SentenceTransformer(all-MiniLM-L6-v2).encode(texts)`, its defaults but for the limit, which is 512 tokens on
both sides (its own default of 256 would read less of a text). Ours: `make_embedder("all-minilm")`, its defaults.
Both sides take turns, so that other load on the machine falls on both; seconds are wall time, CPU seconds of all
threads beside them. `cells`: all 15,625 spellings of nb201 cells; plain reads the text of each as written, ours writes
each canonically and reads every text once. `texts`: the same canonical texts on both sides. `cache`: 10,000 vectors
from a warm cache. `gpu`: as `texts`, where torch sees a GPU.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from nas_agent.records import Architecture
from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.embeddings import CachedEmbedder, EmbeddingOptions, Vectors, make_embedder
from nas_agent.tools.embeddings.minilm import MAX_TOKENS, model_folder

ROUNDS = 4
CACHED = 10_000

Timed = tuple[float, float]  # wall and CPU seconds


def timed(action: Callable[[], Any]) -> tuple[Any, Timed]:
    """Return the result of an action, and what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = action()
    return result, (time.perf_counter() - wall, time.process_time() - cpu)


def plain(device: str) -> Any:
    """Return sentence-transformers' own model, with our limit."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(model_folder()), device=device, local_files_only=True)
    model.max_seq_length = MAX_TOKENS
    return model


def spellings() -> list[Architecture]:
    """Return all 15,625 cells as they can be written."""
    space = NasBench201()
    choices = [decision.options for decision in space.decisions]
    return [space.parse(space.write(options)) for options in itertools.product(*choices)]


def texts_as_written(space: NasBench201, cells: Sequence[Architecture]) -> list[str]:
    """Return the paper's default text of each cell, dead edges and all."""
    from nas_agent.tools.texts import make_text

    write = make_text("exclude-helper", space)
    return [write(cell) for cell in cells]


def rounds(texts: Sequence[str], count: int) -> list[list[str]]:
    """Deal texts into parts."""
    return [list(texts[number::count]) for number in range(count)]


def total(parts: Sequence[Timed]) -> Timed:
    """Add up."""
    return sum(wall for wall, _ in parts), sum(cpu for _, cpu in parts)


def compare(device: str, as_written: Sequence[str], canonical: Sequence[str]) -> tuple[Timed, Timed, Timed, float]:
    """Return per text: plain on texts as written, plain and ours on canonical ones; and the least cosine."""
    theirs, ours = plain(device), make_embedder("all-minilm", EmbeddingOptions(device=device))  # type: ignore[arg-type]
    theirs.encode(canonical[:2], show_progress_bar=False)
    ours.embed(canonical[:2])
    print(f"ours: {ours.name}")
    taken: tuple[list[Timed], list[Timed], list[Timed]] = ([], [], [])
    cosine = 1.0
    for written, text in zip(rounds(as_written, ROUNDS), rounds(canonical, ROUNDS), strict=True):
        if written:
            taken[0].append(timed(lambda part=written: theirs.encode(part, show_progress_bar=False))[1])
        reference, seconds = timed(lambda part=text: theirs.encode(part, show_progress_bar=False))
        taken[1].append(seconds)
        vectors, seconds = timed(lambda part=text: ours.embed(part))
        taken[2].append(seconds)
        cosine = min(cosine, float((reference * vectors).sum(axis=1).min()))
        print(f"  a round: plain {taken[1][-1][0]:.1f} s, ours {seconds[0]:.1f} s for {len(text)} texts", flush=True)
    counts = (len(as_written) or 1, len(canonical), len(canonical))
    first, second, third = (
        (wall / count, cpu / count) for (wall, cpu), count in zip(map(total, taken), counts, strict=True)
    )
    return first, second, third, cosine


def speed(count: int | None) -> None:
    """Print `cells` and `texts`."""
    import torch

    space, rng = NasBench201(), Random(0)
    cells = spellings()
    as_written = texts_as_written(space, cells)
    canonical, writing = timed(lambda: sorted({space.source(cell) for cell in cells}))
    some, other = (list(texts) if count is None else rng.sample(texts, count) for texts in (as_written, canonical))
    print(f"{torch.get_num_threads()} threads; {len(cells):,} spellings, {len(canonical):,} distinct canonical texts")
    written, theirs, ours, cosine = compare("cpu", some, other)
    plain_all = [seconds * len(cells) for seconds in written]
    ours_all = [seconds * len(canonical) + extra for seconds, extra in zip(ours, writing, strict=True)]
    how = "measured" if count is None else f"extrapolated from {count} texts on each side"
    print(
        f"cells: plain {plain_all[0]:,.0f} s (CPU {plain_all[1]:,.0f}), ours {ours_all[0]:,.0f} s (CPU "
        f"{ours_all[1]:,.0f}, of which canonical texts {writing[1]:.1f}, measured): {plain_all[0] / ours_all[0]:.1f} "
        f"times as fast, by CPU time {plain_all[1] / ours_all[1]:.1f}; {how}"
    )
    report("texts", len(other), theirs, ours, cosine)


def report(what: str, count: int, theirs: Timed, ours: Timed, cosine: float) -> None:
    """Print both sides per text."""
    print(
        f"{what}: plain {1e3 * theirs[0]:.1f} ms a text (CPU {1e3 * theirs[1]:.1f}), ours {1e3 * ours[0]:.1f} (CPU "
        f"{1e3 * ours[1]:.1f}): {theirs[0] / ours[0]:.2f} times as fast, by CPU time {theirs[1] / ours[1]:.2f}; "
        f"least cosine {cosine:.5f}; {count} texts measured"
    )


class Numbers:
    """Stands for a model: what a cache costs does not depend on where its vectors come from."""

    name, dimension, counts, truncated = "numbers", 384, False, frozenset[str]()

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return vectors drawn at random."""
        return np.random.default_rng(len(texts)).normal(size=(len(texts), self.dimension)).astype(np.float32)


def cache() -> None:
    """Print what 10,000 vectors cost from a warm cache, opened anew."""
    space = NasBench201()
    sources = [space.source(cell) for cell in spellings()[:CACHED]]
    texts = [f"{text}\n# {number}" for number, text in enumerate(sources)]
    with tempfile.TemporaryDirectory() as folder:
        vectors, filling = timed(lambda: CachedEmbedder(Numbers(), Path(folder)).embed(texts))
        taken = []
        for _ in range(5):
            warm = CachedEmbedder(Numbers(), Path(folder))
            again, seconds = timed(lambda warm=warm: warm.embed(texts))
            if warm.computed or not np.array_equal(again, vectors):
                raise SystemExit("the cache gave other vectors than went in")
            taken.append(seconds)
    wall, cpu = sorted(taken)[len(taken) // 2]
    print(f"cache: {CACHED:,} vectors in {wall:.2f} s (CPU {cpu:.2f}), median of 5; filling it took {filling[0]:.1f} s")


def gpu(count: int | None) -> None:
    """Print `texts` on a GPU, if there is one."""
    import torch

    if not torch.cuda.is_available():
        print("gpu: torch sees none")
        return
    space = NasBench201()
    canonical = sorted({space.source(cell) for cell in space.enumerate()})
    some = canonical if count is None else Random(0).sample(canonical, count)
    _, theirs, ours, cosine = compare("cuda", [], some)
    report(f"gpu, {torch.cuda.get_device_name()}", len(some), theirs, ours, cosine)


def variants(count: int) -> None:
    """Print time and likeness of number formats and batches on one thread, in turns."""
    import torch

    torch.set_num_threads(1)
    space = NasBench201()
    texts = Random(1).sample(sorted({space.source(cell) for cell in space.enumerate()}), count)
    chosen = [("float32", 1), ("float32", 8), ("bfloat16", 1), ("bfloat16", 8), ("int8", 1), ("int8", 8)]
    reference = None
    for dtype, batch in chosen:
        model = make_embedder("all-minilm", EmbeddingOptions(dtype=dtype, batch=batch, device="cpu"))  # type: ignore[arg-type]
        model.embed(texts[:1])
        tries = [timed(lambda model=model: model.embed(texts)) for _ in range(2)]
        vectors = tries[0][0]
        reference = vectors if reference is None else reference
        cpu = min(seconds[1] for _, seconds in tries) / count
        print(
            f"{dtype}, {batch} of one length at a time: CPU {1e3 * cpu:.1f} ms a text, least cosine to the first line "
            f"{float((vectors * reference).sum(axis=1).min()):.5f}",
            flush=True,
        )


def ranking(count: int) -> None:
    """Print Kendall's tau of ridge on the embedding by number format, same cells and folds."""
    from scipy.stats import kendalltau
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import cross_val_predict

    from nas_agent.tools.evaluators.resolve import load_evaluation

    space = NasBench201()
    cells = Random(2).sample(list(space.enumerate()), count)
    evaluate = load_evaluation("cifar100", space, "auto", data=None, epochs=None).evaluator
    accuracy = np.argsort(np.argsort([evaluate.evaluate(cell, seed=0).value for cell in cells])) / count
    for dtype in ("float32", "bfloat16", "int8"):
        model = make_embedder("all-minilm", EmbeddingOptions(dtype=dtype, device="cpu"))  # type: ignore[arg-type]
        vectors = model.embed([space.source(cell) for cell in cells])
        scaled = (vectors - vectors.mean(axis=0)) / vectors.std()
        taus = [
            kendalltau(cross_val_predict(Ridge(alpha), scaled, accuracy, cv=10), accuracy)[0] for alpha in (1.0, 30.0)
        ]
        print(f"{dtype}: Kendall's tau {taus[0]:.3f} (ridge, penalty 1), {taus[1]:.3f} (30), {count} cells", flush=True)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="every text of both sides")
    parser.add_argument("--texts", type=int, default=256, help="texts of a sample")
    parser.add_argument("--only", choices=["speed", "cache", "gpu", "variants", "ranking"])
    options = parser.parse_args()
    count = None if options.full else options.texts
    if options.only in {None, "cache"}:
        cache()
    if options.only in {None, "gpu"}:
        gpu(count)
    if options.only in {None, "speed"}:
        speed(count)
    if options.only == "variants":
        variants(options.texts)
    if options.only == "ranking":
        ranking(options.texts)


if __name__ == "__main__":
    main()
