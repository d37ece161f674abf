"""Where the language model begins: a small transformer of our own, or any Hugging Face model, whole or by LoRA."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nas_agent import hub
from nas_agent.agents.generators.arch_llm.language import load_weights
from nas_agent.agents.generators.arch_llm.prompts import Prompts
from nas_agent.errors import ConfigError, MissingExtra, ModelError

EXTRA = "generator"
SINGLE = 4  # bytes of a number
# Numbers that stay in memory for a weight that is trained: itself, its gradient, Adam's two moments.
TRAINED = 4
SLACK = 1.1  # what a step needs besides; batches are small beside a model that could be too large


@dataclass(frozen=True, slots=True)
class Base:
    """A Hugging Face model to begin with."""

    source: str  # a folder or a repository, without hf:
    lora: bool = False  # train low-rank updates and the new tokens instead of all weights
    revision: str | None = None
    offline: bool = False
    asked: str = field(init=False)  # for errors

    def __post_init__(self) -> None:
        object.__setattr__(self, "asked", f"--base hf:{self.source}")


def small_transformer(prompts: Prompts, length: int, *, width: int, layers: int, heads: int, dropout: float) -> Any:
    """Make a GPT-2 with random weights, for which torch's seed stands; learned places suit a fixed length."""
    from transformers import GPT2Config, GPT2LMHeadModel

    places = max(len(prompts.generate), len(prompts.fill) + length + len(prompts.answer)) + length
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=prompts.size, n_positions=places, n_embd=width, n_layer=layers, n_head=heads,
            resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=0.0, activation_function="gelu",
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


def load_base(base: Base, codes: int, length: int, *, free: int | None) -> tuple[Any, Prompts]:
    """Load a model, give it tokens for the codes, and read the prompts by its tokenizer.

    `free` is the memory in bytes that it may take, None where that is not known. MissingExtra where LoRA lacks its
    package; ModelError in one line where there is no such model, or it does not fit in memory or the prompt in it.
    """
    from transformers import AutoConfig, AutoTokenizer

    if base.lora and find_spec("peft") is None:
        raise MissingExtra("peft", EXTRA, "--lora")
    source = hub.locate(base.asked, base.source)
    hub.check_folder(base.asked, source)
    cached = hub.why_cache_only(base.asked, source, revision=base.revision, offline=base.offline)
    where = {"revision": base.revision, "local_files_only": bool(cached)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **where)
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
    # A folder's or a repository's files reach the libraries unchecked: see `load_weights`.
    except Exception as error:
        why = f"{cached}; download it first: hf download {source}" if cached else hub.line(error)
        raise ModelError(f"{base.asked}: configuration or tokenizer cannot be read ({why})") from error
    _check_memory(base, config, free)
    model = load_weights(source, base.asked, remedy="choose another --base", **where)
    prompts = _prompts(tokenizer, model.config.is_encoder_decoder, codes)
    _check_context(base, model.config, prompts, length)
    # Tables of embeddings are often longer than the vocabulary; codes take the rows after it.
    if model.get_input_embeddings().num_embeddings < prompts.size:
        model.resize_token_embeddings(prompts.size, mean_resizing=False)
    return (_with_lora(base, model, prompts) if base.lora else model), prompts


def free_memory() -> int | None:
    """Return the bytes that this process may still take, by Linux' own account and its control group's; else None."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(next(int(each.split()[1]) * 1024 for each in lines if each.startswith("MemAvailable")))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        most, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(max(0, most - used))
    except (OSError, ValueError):  # no second version of control groups, or "max"
        pass
    return min(found)


def _prompts(tokenizer: Any, encoder_decoder: bool, codes: int) -> Prompts:
    """Read the prompts of the paper, `generate` and `fill:`; what ends them is the tokenizer's own, or a sign."""
    beginning = [] if tokenizer.bos_token_id is None or encoder_decoder else [tokenizer.bos_token_id]

    def read(text: str) -> list[int]:
        return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]

    ends = read("=")
    if encoder_decoder and tokenizer.eos_token_id is not None:
        ends = [tokenizer.eos_token_id]
    return Prompts(
        generate=(*beginning, *read("generate"), *ends), fill=(*beginning, *read("fill:")), answer=tuple(ends),
        first=len(tokenizer), codes=codes,
    )  # fmt: skip


def _check_memory(base: Base, config: Any, free: int | None) -> None:
    """Refuse a model before its weights are read: a process that takes too much is killed, without a word."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    try:
        with torch.device("meta"):  # shapes without numbers
            weights = sum(weight.numel() for weight in kind.from_config(config).parameters())
    # A kind of model that transformers does not know, or a wrong number in config.json: of no common class.
    except Exception as error:
        raise ModelError(
            f"{base.asked}: expected a causal or sequence-to-sequence model ({hub.line(error)})"
        ) from error
    needed = int(weights * SINGLE * (1 if base.lora else TRAINED) * SLACK)
    if free is not None and needed > free:
        smaller = "choose a smaller model" if base.lora else "choose a smaller model, or --lora"
        raise ModelError(
            f"{base.asked}: training its {weights / 1e6:,.1f} million weights takes about {_gigabytes(needed)} of "
            f"memory, {_gigabytes(free)} are free; {smaller}"
        )


def _check_context(base: Base, config: Any, prompts: Prompts, length: int) -> None:
    most = getattr(config, "max_position_embeddings", None)
    needed = len(prompts.fill) + length + len(prompts.answer) + (0 if config.is_encoder_decoder else length)
    if most is not None and needed > most:
        raise ModelError(f"{base.asked}: it reads {most} tokens and a sequence takes {needed}; choose another --base")


def _with_lora(base: Base, model: Any, prompts: Prompts) -> Any:
    """Add low-rank updates to all linear layers; of the tokens, only the new ones learn."""
    from peft import LoraConfig, TaskType, get_peft_model

    new = list(range(prompts.first, prompts.size))
    names = {_name_of(model, model.get_input_embeddings()): new}
    head = model.get_output_embeddings()
    if head is not None and head.weight is not model.get_input_embeddings().weight:
        names[_name_of(model, head)] = new
    task = TaskType.SEQ_2_SEQ_LM if model.config.is_encoder_decoder else TaskType.CAUSAL_LM
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is going out of use
            return get_peft_model(
                model,
                LoraConfig(
                    r=16, lora_alpha=32, target_modules="all-linear", trainable_token_indices=names, task_type=task
                ),
            )
    except (ValueError, TypeError) as error:  # what peft says of layers that it does not know
        raise ConfigError(f"{base.asked} --lora: peft cannot adapt it ({hub.line(error)}); leave --lora out") from error


def _name_of(model: Any, wanted: Any) -> str:
    names: dict[int, str] = {id(module): name for name, module in model.named_modules()}
    return names[id(wanted)]


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def missing_packages() -> None:
    """Raise MissingExtra where training lacks what transformers' Trainer needs."""
    if find_spec("accelerate") is None:
        raise MissingExtra("accelerate", EXTRA, "training a generator")
