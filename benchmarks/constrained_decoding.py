"""How long a back-end of outlines takes to compile the schema of a lesson, by the size of the vocabulary.

python benchmarks/constrained_decoding.py llguidance 32000     # and what a token of a program costs by its grammar
timeout 120 python benchmarks/constrained_decoding.py outlines_core 32000
"""

from __future__ import annotations

import argparse
import json
import sysconfig
import time
from pathlib import Path
from typing import Any

PROGRAM = """```python
import torch
from torch import nn


class ConvBlock(nn.Module):
    def __init__(self, channels, width=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            ConvBlock(32),
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.conv(x))
        return self.head(x.mean((2, 3)))
```"""


def measure(backend: str, size: int) -> None:
    import outlines
    from outlines.backends import get_json_schema_logits_processor
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from nas_agent.agents.replies import LessonReply, bounded_schema

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<s>", "</s>"], initial_alphabet=letters)
    texts = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("[a-z]*/*.py"))[:600]
    tokenizer.train([str(text) for text in texts], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = outlines.from_transformers(LlamaForCausalLM(LlamaConfig(vocab_size=len(fast), **shape)), fast)
    print(f"{backend}: {len(fast):,} tokens, compiling ...", flush=True)
    start = time.perf_counter()
    get_json_schema_logits_processor(backend, model, json.dumps(bounded_schema(LessonReply)), None)
    print(f"{backend}: {time.perf_counter() - start:.2f} s")
    if backend == "llguidance":
        masks(fast)


def masks(tokenizer: Any) -> None:
    import llguidance.hf
    import llguidance.torch

    from nas_agent.agents.operators.grammar import class_grammar

    known = llguidance.hf.from_tokenizer(tokenizer)
    matcher = llguidance.LLMatcher(known, llguidance.grammar_from("lark", class_grammar("Network")))
    mask = llguidance.torch.allocate_token_bitmask(1, known.vocab_size)
    times = []
    for token in tokenizer.encode(PROGRAM, add_special_tokens=False):
        start = time.perf_counter()
        llguidance.torch.fill_next_token_bitmask(matcher, mask, 0)
        times.append(1e3 * (time.perf_counter() - start))
        assert matcher.consume_token(token), f"the grammar refuses {tokenizer.decode([token])!r}"
    assert matcher.is_accepting()
    print(f"class grammar: {len(times)} tokens, {sum(times) / len(times):.2f} ms a token, at most {max(times):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", choices=("llguidance", "outlines_core"))
    parser.add_argument("size", type=int, help="of the vocabulary")
    given = parser.parse_args()
    measure(given.backend, given.size)


if __name__ == "__main__":
    main()
