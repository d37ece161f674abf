"""A chat model of 40,000 random weights, made on the spot: it talks nonsense, by the same code as a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

TEMPLATE = "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}\n{% endfor %}<|assistant|>"
CONTEXT = 32_768


def build(folder: Path, *, template: str | None = TEMPLATE, seed: int = 0) -> Path:
    """Train a byte-level tokenizer on the golden prompts, draw the weights of a tiny Llama, and save both."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<s>", "</s>"], initial_alphabet=letters, show_progress=False
    )
    tokenizer.train([str(file) for file in sorted((Path(__file__).parent / "golden").glob("*.md"))], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    fast.chat_template = template
    torch.manual_seed(seed)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(fast), bos_token_id=0, eos_token_id=1, max_position_embeddings=CONTEXT, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model, made once a session."""
    return build(tmp_path_factory.mktemp("tiny") / "model")
