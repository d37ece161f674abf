"""A language model over sequences of codes: sampling by temperature and top-p, from `generate` or from `fill:`.

Arch-LLM (arXiv 2503.22063) fine-tunes a language model text-to-text on index sequences. The model here is any causal or
sequence-to-sequence one of transformers; only code tokens can be drawn, and keys and values are kept between steps.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.agents.generators.arch_llm.model_files import CARD, read_card
from nas_agent.agents.generators.arch_llm.prompts import OPEN, Prompts, check_partial
from nas_agent.agents.generators.arch_llm.sequences import Bools, Indices
from nas_agent.errors import ConfigError, DataError, ModelError, NasAgentError, StorageError
from nas_agent.hub import line
from nas_agent.records import Json

VERSION = 1  # of what `save` writes
KIND = "sequence model"
ROWS = 1024  # sequences at a time
LOGITS = 2**26  # most numbers that the first step of a batch may give back


class SequenceModel:
    """A model of transformers with what its tokens mean. `about` is plain JSON that goes into the card with it."""

    def __init__(self, model: Any, prompts: Prompts, length: int, about: Mapping[str, Any]) -> None:
        self.model = model.eval()
        self.prompts = prompts
        self.length = length
        self.about = dict(about)

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return self.prompts.codes

    @property
    def parameters(self) -> int:
        """Weights of the model; those used twice count once."""
        return sum(weight.numel() for weight in self.model.parameters())

    def sample(
        self,
        n: int,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int,
        fill: Indices | None = None,
        allowed: Bools | None = None,
    ) -> Indices:
        """Return (n, length) codes.

        `fill` is one partial sequence for all draws or one for each, OPEN (-1) where a code is to be drawn; known codes
        stay as they are. `top_p` keeps the most probable codes that together have this share, after the temperature.
        `allowed` (length, codes) tells which codes may be drawn at a place: at least one at each. ConfigError where a
        number is out of range or a sequence is of another codebook.
        """
        import torch

        check_sampling(temperature, top_p)
        known = None if fill is None else check_partial(fill, codes=self.codes, length=self.length, count=n)
        device = self.model.device
        shut = None if allowed is None else torch.from_numpy(~allowed).to(device)
        chance = torch.Generator(device).manual_seed(seed)
        rows, drawn = self._rows(), np.empty((n, self.length), dtype=np.int64)
        with torch.inference_mode(), memory_told():
            for start in range(0, n, rows):
                part = None if known is None else known[start : start + rows]
                count = min(rows, n - start)
                prompt = self.prompts.unconditional(count) if part is None else self.prompts.partial(part)
                given = None if part is None else torch.from_numpy(part.copy()).to(device)
                asked = torch.from_numpy(prompt).to(device)
                chosen = self._continue(asked, given, shut, temperature, top_p, chance)
                drawn[start : start + count] = chosen.cpu().numpy()
        return drawn

    def loss(self, sequences: Indices) -> float:
        """Return the mean negative logarithm of the probability of a code, in nats; the prompt is `generate`.

        Other tokens than codes have no part in the probabilities, as in sampling.
        """
        import torch

        total, rows = 0.0, self._rows()
        with torch.inference_mode(), memory_told():
            for start in range(0, len(sequences), rows):
                codes = sequences[start : start + rows]
                total += self.surprise(self.prompts.unconditional(len(codes)), codes).sum().item()
        return total / sequences.size

    def surprise(self, prompt: Indices, codes: Indices) -> Any:
        """Return minus the logarithm of each code's probability after a prompt: a tensor (n, length), in nats."""
        import torch

        batch = self.batch(prompt, codes)
        answer = torch.from_numpy(codes).to(self.model.device)
        read = {"input_ids": batch["input_ids"].to(answer.device)}
        if self.model.config.is_encoder_decoder:
            read["labels"] = batch["labels"].to(answer.device)
        logits = self.model(**read).logits
        # A causal model says of each token what comes next, a decoder what stands there.
        ends = logits.shape[1] if self.model.config.is_encoder_decoder else logits.shape[1] - 1
        of_codes = self._of_codes(logits[:, ends - self.length : ends])
        return torch.nn.functional.cross_entropy(of_codes.transpose(1, 2), answer, reduction="none")

    def batch(self, prompt: Indices, codes: Indices) -> dict[str, Any]:
        """Return what the model is trained on: prompt and answer, with labels for the answer alone."""
        import torch

        asked, answer = torch.from_numpy(prompt), torch.from_numpy(codes + self.prompts.first)
        if self.model.config.is_encoder_decoder:
            return {"input_ids": asked, "labels": answer}
        unasked = torch.full_like(asked, -100)  # transformers' sign for a place without a loss
        return {"input_ids": torch.cat([asked, answer], dim=1), "labels": torch.cat([unasked, answer], dim=1)}

    # -- files --------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write the weights (safetensors) and then the card; StorageError where the disk is full."""
        card = {
            "kind": KIND, "version": VERSION, "length": self.length, "parameters": self.parameters,
            "prompts": self.prompts.to_dict(), "about": self.about,
        }  # fmt: skip
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / CARD).unlink(missing_ok=True)  # without its card, half a model is none
            with quiet():
                self.model.save_pretrained(folder)
            (folder / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"{folder}: cannot be written ({line(error)}); choose another folder") from error

    @classmethod
    def load(cls, folder: Path) -> SequenceModel:
        """Read what `save` wrote; DataError in one line where it is not there, of another version, or broken."""
        card = read_card(folder, kind=KIND, version=VERSION)
        try:
            prompts, length, about = Prompts.from_dict(card["prompts"]), int(card["length"]), dict(card["about"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{folder}: {CARD} lacks or mistakes {error}; train the model again") from error
        try:
            model = load_weights(str(folder), str(folder), remedy="train the model again")
        except ModelError as error:
            raise DataError(str(error)) from error
        held = model.get_input_embeddings().num_embeddings
        if held < prompts.size:
            raise DataError(
                f"{folder}: {CARD} needs {prompts.size} tokens and the model has {held}; train the model again"
            )
        return cls(model, prompts, length, about)

    # -- sampling -----------------------------------------------------------------------------------------

    def _rows(self) -> int:
        prompt = len(self.prompts.fill) + len(self.prompts.answer) + self.length
        tokens: int = self.model.get_input_embeddings().num_embeddings
        return max(1, min(ROWS, LOGITS // (prompt * tokens)))

    def _of_codes(self, logits: Any) -> Any:
        return logits[..., self.prompts.first : self.prompts.first + self.codes].float()

    def _continue(self, prompt: Any, known: Any, shut: Any, temperature: float, top_p: float, chance: Any) -> Any:
        """Draw the codes one after the other, for a whole batch at once; known ones are only read."""
        import torch

        logits, state, word = self._begin(prompt)
        chosen = []
        for place in range(self.length):
            of_codes = self._of_codes(logits[:, -1])
            if shut is not None:
                of_codes = of_codes.masked_fill(shut[place], -math.inf)
            drawn = _draw(of_codes, temperature, top_p, chance)
            if known is not None:
                drawn = torch.where(known[:, place] == OPEN, drawn, known[:, place])
            chosen.append(drawn)
            if place + 1 < self.length:
                out = self.model(**state, **{word: (drawn + self.prompts.first)[:, None]}, use_cache=True)
                logits, state["past_key_values"] = out.logits, out.past_key_values
        return torch.stack(chosen, dim=1)

    def _begin(self, prompt: Any) -> tuple[Any, Json, str]:
        """Read the prompt; return the logits after it, what the next steps need, and how they call their token."""
        import torch

        if self.model.config.is_encoder_decoder:
            encoded = self.model.get_encoder()(input_ids=prompt)
            start = torch.full((len(prompt), 1), self.model.config.decoder_start_token_id, device=prompt.device)
            out = self.model(encoder_outputs=encoded, decoder_input_ids=start, use_cache=True)
            return out.logits, {"encoder_outputs": encoded, "past_key_values": out.past_key_values}, "decoder_input_ids"
        last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(self.model.forward).parameters else {}
        out = self.model(input_ids=prompt, use_cache=True, **last)
        return out.logits, {"past_key_values": out.past_key_values}, "input_ids"


def check_sampling(temperature: float, top_p: float) -> None:
    """Raise ConfigError where these numbers cannot be sampled by."""
    if not 0.0 < temperature < math.inf:  # NaN is refused too
        raise ConfigError(f"--temperature {temperature}: expected a number above 0, e.g. 0.7; the lower, the surer")
    if not 0.0 < top_p <= 1.0:
        raise ConfigError(f"--top-p {top_p}: expected a share above 0 and up to 1; 1 leaves nothing out")


def load_weights(source: str, asked: str, *, remedy: str, **where: Any) -> Any:
    """Load a causal or sequence-to-sequence model in single precision, from safetensors; ModelError in one line."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    try:
        with memory_told(), quiet():
            config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
            kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
            model, found = kind.from_pretrained(
                source,
                config=config,
                use_safetensors=True,  # never a pickle: loading one runs whatever it holds
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                dtype=torch.float32,
                **where,
            )
    except NasAgentError:
        raise
    # What a folder holds reaches the libraries unchecked: half a file of weights, a wrong type in config.json, an
    # unknown kind of model each end in an exception of its own, of classes that share no base.
    except Exception as error:
        raise ModelError(f"{asked}: the model cannot be loaded ({line(error)}); {remedy}") from error
    if drawn := sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]):
        # transformers would draw these at random, and only warn.
        raise ModelError(
            f"{asked}: its weights lack {len(drawn)} tensors of config.json, {drawn[0]} among them; {remedy}"
        )
    return model


def _draw(logits: Any, temperature: float, top_p: float, chance: Any) -> Any:
    """Draw one code a row."""
    import torch

    # The largest is taken off first: a very small temperature would make it infinite.
    shares = torch.softmax((logits - logits.amax(dim=-1, keepdim=True)) / temperature, dim=-1)
    if top_p < 1.0:
        ordered, places = shares.sort(dim=-1, descending=True)
        ordered[ordered.cumsum(dim=-1) - ordered >= top_p] = 0.0  # the first one always stays
        shares = torch.zeros_like(shares).scatter_(-1, places, ordered)
    return torch.multinomial(shares, 1, generator=chance)[:, 0]


@contextmanager
def memory_told() -> Iterator[None]:
    """Turn memory that is not there into one line."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is one; without a GPU it is a plain one
        if not isinstance(error, MemoryError) and "memory" not in str(error).lower():
            raise
        raise ModelError("out of memory: choose a smaller --base, or leave it out for the default model") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and telling twice what is told here in one line."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
