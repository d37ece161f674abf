"""Make the packaged embeddings of the nb201 cells: nas_agent/tools/weights/nb201_code.npz and its card.

    python scripts/embed_nb201.py --cache FOLDER [--dimension 48]

Embeds `NasBench201().source` of each of the 6,466 canonical cells with all-MiniLM-L6-v2 (about ten minutes on one
CPU core; FOLDER keeps the full vectors, so that a second run embeds only texts that changed), fits principal
components on them, without any accuracy, and rounds the coordinates to eight bits. Prints the card.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.spaces.nasbench201 import NasBench201
from nas_agent.tools.embeddings import CachedEmbedder, MiniLM, Vectors
from nas_agent.tools.embeddings.minilm import MODEL_SHA256
from nas_agent.tools.embeddings.packaged import WEIGHTS, text_key


def texts_of_the_space() -> list[str]:
    """Return the distinct texts of the canonical cells, sorted."""
    space = NasBench201()
    return sorted({space.source(architecture) for architecture in space.enumerate() or ()})


def embed(texts: list[str], cache: Path) -> tuple[Vectors, int]:
    """Return (texts, 384) and how many texts were too long; tells how far it is."""
    model = MiniLM()
    embedder = CachedEmbedder(model, cache)
    rows = []
    for start in range(0, len(texts), 200):
        rows.append(embedder.embed(texts[start : start + 200]))
        print(f"embedded {min(start + 200, len(texts))} of {len(texts)}", flush=True)
    return np.concatenate(rows), len(model.truncated)


def reduce(vectors: Vectors, dimension: int) -> tuple[dict[str, Any], dict[str, float]]:
    """Fit the components and round the coordinates; return the arrays to store and what was lost."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - mean
    values, directions = np.linalg.eigh(centred.T @ centred)  # ascending
    kept = directions[:, ::-1][:, :dimension]
    kept = kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(dimension)])  # signs are arbitrary: fix them
    components = kept.astype(np.float16)
    coordinates = centred @ components.astype(np.float64)
    scale = (np.abs(coordinates).max(axis=0) / 127).astype(np.float32)
    codes = np.rint(coordinates / scale).clip(-127, 127).astype(np.int8)
    rounding = float(((codes * scale - coordinates) ** 2).sum() / (coordinates**2).sum())
    arrays = {"codes": codes, "scale": scale, "mean": mean.astype(np.float32), "components": components}
    return arrays, {
        "variance_kept": float(values[::-1][:dimension].sum() / values.sum()),
        "variance_lost_by_rounding": rounding,
    }


def main() -> None:
    """Embed, reduce, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder for the full vectors")
    parser.add_argument("--dimension", type=int, default=48, help="components kept")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the result")
    options = parser.parse_args()

    started = time.perf_counter()
    texts = texts_of_the_space()
    vectors, truncated = embed(texts, options.cache)
    arrays, lost = reduce(vectors, options.dimension)
    keys = np.array([text_key(text) for text in texts], dtype=np.uint64)
    order = np.argsort(keys)
    if len(np.unique(keys)) != len(texts):
        raise SystemExit("two texts share a 64-bit key; lengthen `text_key`")
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "nb201_code.npz"
    np.savez_compressed(file, **{**arrays, "keys": keys[order], "codes": arrays["codes"][order]})
    card = {
        "what": "code embeddings of the canonical NAS-Bench-201 cells, principal components, 8 bits",
        "model": MiniLM().name,
        "model_sha256": MODEL_SHA256,
        "texts": len(texts),
        "texts_truncated": truncated,
        "texts_sha256": hashlib.sha256("\0".join(texts).encode()).hexdigest(),
        "dimension": options.dimension,
        **lost,
        "bytes": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "command": f"python scripts/embed_nb201.py --cache FOLDER --dimension {options.dimension}",
    }
    (options.out / "nb201_code.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(card, indent=2))
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
