"""Architectures a second from a trained generator, beside transformers' own `generate` on the same model.

    OMP_NUM_THREADS=2 python benchmarks/generator.py --space nb101 -n 10000
    OMP_NUM_THREADS=2 python benchmarks/generator.py --space nb101 -n 10000 --top-p .95

All sides in turns, reading and canonical forms included, by the clock and by this process' CPU time (which says more
on a busy machine). The generator is the one that comes with the package, unless --model names another folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from nas_agent.agents.generators.arch_llm.generator import ArchLLM, load, shipped
from nas_agent.agents.generators.arch_llm.metrics import measure
from nas_agent.agents.generators.arch_llm.sequences import Indices

ONE_BY_ONE = 20  # how many times fewer draws the plain loop gets
BATCH = 1024


def plain(made: ArchLLM, count: int, batch: int, temperature: float, seed: int) -> Indices:
    """Draw by `generate`, `batch` sequences a call."""
    language, drawn = made.language, []
    torch.manual_seed(seed)
    first, codes = language.prompts.first, language.codes
    held = language.model.get_input_embeddings().num_embeddings
    others = [token for token in range(held) if not first <= token < first + codes]
    for start in range(0, count, batch):
        prompt = torch.from_numpy(language.prompts.unconditional(min(batch, count - start)))
        with torch.inference_mode():
            out = language.model.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), do_sample=True, temperature=temperature,
                top_k=0, max_new_tokens=language.length, suppress_tokens=others, pad_token_id=0,
            )  # fmt: skip
        drawn.append(out[:, prompt.shape[1] :].numpy() - first)
    return np.concatenate(drawn)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--space", default="nb201")
    parser.add_argument("-n", type=int, default=10_000)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float, default=1.0, help="of ours alone")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = args.model or shipped(args.space)
    made = load(folder, args.space)
    few = max(1, args.n // ONE_BY_ONE)
    sides: dict[str, tuple[int, Callable[[int], Indices]]] = {
        "ours": (
            args.n,
            lambda seed: made.language.sample(args.n, temperature=args.temperature, top_p=args.top_p, seed=seed),
        ),
        f"generate, {BATCH:,} a call": (args.n, lambda seed: plain(made, args.n, BATCH, args.temperature, seed)),
        "generate, 1 a call": (few, lambda seed: plain(made, few, 1, args.temperature, seed)),
    }
    made.sample(64, seed=0)  # what is imported or allocated at first use
    spent: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
    for turn in range(args.rounds):
        for name, (count, draw) in sides.items():
            fresh = load(folder, args.space).sequencer  # with no architecture remembered
            wall, busy = time.perf_counter(), time.process_time()
            sequences = draw(turn)
            half = time.process_time()
            metrics = measure(fresh.decode(sequences), set())
            busy_all = time.process_time() - busy
            spent[name].append((count / (time.perf_counter() - wall), count / busy_all, count / (half - busy)))
            print(
                f"turn {turn}, {name}: {metrics.valid:,} of {count:,} valid, {metrics.distinct:,} distinct", flush=True
            )
    print(f"\n{args.space}, temperature {args.temperature:g}, {args.threads} threads, median of {args.rounds} turns\n")
    print("| | a second by the clock | a CPU second | a CPU second, without reading |")
    print("| --- | --- | --- | --- |")
    for name, rows in spent.items():
        print(f"| {name} | " + " | ".join(f"{value:,.0f}" for value in np.median(rows, axis=0)) + " |")


if __name__ == "__main__":
    main()
