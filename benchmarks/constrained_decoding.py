"""How long a back-end of outlines takes to compile the schema of a lesson, by the size of the vocabulary.

python benchmarks/constrained_decoding.py llguidance 32000
timeout 120 python benchmarks/constrained_decoding.py outlines_core 32000
"""

from __future__ import annotations

import json
import sys
import sysconfig
import time
from pathlib import Path


def main(backend: str, size: int) -> None:
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


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
