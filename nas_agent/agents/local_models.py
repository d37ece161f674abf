"""`hf:REPO_OR_PATH`: a Hugging Face chat model in this process, whose structured replies cannot but fit the schema.

Constrained decoding by outlines with the llguidance backend: at every step the tokens that would leave the schema get
no probability. llguidance computes these masks as it goes. (outlines' own backend builds an automaton of schema and
vocabulary first: not done after 80 s for 32,000 tokens and the schema of a lesson, where this one takes 0.8 s; measured
by benchmarks/constrained_decoding.py.)
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from pydantic import BaseModel

from nas_agent import hub
from nas_agent.agents.chat import PLAIN, Manner, Reply, structured
from nas_agent.agents.replies import bounded_schema
from nas_agent.config import Config
from nas_agent.errors import MissingExtra, ModelError
from nas_agent.hub import line
from nas_agent.records import Json

LEAST_ROOM = 64  # tokens that must be left for a reply in the model's context


class LocalModel:
    """A causal language model with a chat template. Making it reads the tokenizer; `prepare` loads the weights.

    Settings are the `hf_` fields of the configuration and `temperature`. MissingExtra where a package lacks; ModelError
    where there is no such model, no tokenizer, no chat template or no such device. Tokens are counted, the cost is 0.
    """

    def __init__(self, spec: str, config: Config) -> None:
        self._spec, self._config = spec, config
        self._source = hub.locate(f"--llm {spec}", spec.removeprefix("hf:"))
        for package in ("outlines", "llguidance"):
            if find_spec(package) is None:
                raise MissingExtra(package, "hf", f"the model '{spec}'")
        if config.hf_quantise != "none" and find_spec("bitsandbytes") is None:
            raise MissingExtra("bitsandbytes", "quantise", f"hf_quantise = {config.hf_quantise}")
        self._device = hub.choose_device(f"--llm {spec}", config.hf_device, "--set hf_device=auto")
        self._cache_only = hub.why_cache_only(
            f"--llm {spec}", self._source, revision=config.hf_revision, offline=config.offline
        )
        self._tokenizer = self._read_tokenizer()
        self._model: Any = None
        self._constraints: dict[str, Any] = {}  # JSON schema or grammar -> logits processor

    @property
    def name(self) -> str:
        """What the user typed."""
        return self._spec

    def prepare(self) -> None:
        """Load the weights, once; ModelError where they are not there, do not fit, or are of another kind."""
        if self._model is not None:
            return
        import torch
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.set_verbosity_error()  # what is wrong with a model is told once, in one line
        config = self._config
        # On a CPU half precision is emulated, and slower than single.
        kind: Any = "auto" if config.hf_dtype == "auto" else getattr(torch, config.hf_dtype)
        options: dict[str, Any] = {"dtype": torch.float32 if kind == "auto" and self._device == "cpu" else kind}
        if config.hf_quantise != "none":
            from transformers import BitsAndBytesConfig

            bits = {"load_in_8bit": True} if config.hf_quantise == "8bit" else {"load_in_4bit": True}
            options.update(quantization_config=BitsAndBytesConfig(**bits), device_map={"": self._device})
        with self._told("cannot be loaded"):
            # Never a pickle: loading one runs whatever it holds.
            model, found = AutoModelForCausalLM.from_pretrained(
                self._source,
                **self._where(),
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
            model = (model if config.hf_quantise != "none" else model.to(self._device)).eval()
        # transformers would draw these at random, and only warn.
        if drawn := sorted([*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]):
            raise ModelError(
                f"{self._spec} cannot be loaded: {len(drawn)} tensors, {drawn[0]} among them, are not in its weights "
                "in the shape that config.json says; fetch the model again"
            )
        self._model = model

    def complete(self, prompt: str, schema: type[BaseModel] | None = None, manner: Manner = PLAIN) -> Reply:
        """Answer a prompt, by the schema or grammar if there is one; ModelError where it or the reply does not fit."""
        self.prepare()
        start = time.perf_counter()
        free = schema is None and not manner.grammar
        inputs = self._inputs(prompt, thinking=free)
        asked = int(inputs["input_ids"].shape[1])
        room = self._room(asked)
        with self._told("gave no answer"):
            constraint = None if free else self._constraint(schema, manner.grammar)
            tokens = self._generate(inputs, prompt, room, constraint, manner)
        ends = self._ends()
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        reply = Reply(
            text=text.encode("utf-8", "replace").decode("utf-8"),
            input_tokens=asked,
            output_tokens=len(tokens),
            cost_usd=0.0,
            method="text" if free else "constrained",
            seconds=time.perf_counter() - start,
            sent=self._sent(room, schema, manner),
            prices=(0.0, 0.0),
            cut=len(tokens) == room and tokens[-1] not in ends,
        )
        return structured(reply, schema)

    # -- loading ------------------------------------------------------------------------------------------

    def _where(self) -> Json:
        return {"revision": self._config.hf_revision, "local_files_only": bool(self._cache_only)}

    def _read_tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        hub.check_folder(f"--llm {self._spec}", self._source)
        with self._told("has a tokenizer that cannot be read"):
            tokenizer = AutoTokenizer.from_pretrained(self._source, **self._where(), trust_remote_code=False)
        if not tokenizer.chat_template:
            raise ModelError(
                f"--llm {self._spec}: its tokenizer has no chat template; choose a chat (instruction-tuned) model"
            )
        if tokenizer.eos_token_id is None or not tokenizer.is_fast:
            raise ModelError(
                f"--llm {self._spec}: constrained decoding needs a fast tokenizer (tokenizer.json) with an end token"
            )
        with self._told("has a chat template that cannot be used"):
            tokenizer.apply_chat_template([{"role": "user", "content": "Say OK."}], add_generation_prompt=True)
        return tokenizer

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn what goes wrong with weights and memory into one line."""
        try:
            yield
        except MemoryError as error:
            raise self._out_of_memory(what) from error
        except RuntimeError as error:  # torch.OutOfMemoryError is one; without a GPU it is a plain one
            if "memory" not in str(error).lower() and type(error).__name__ != "OutOfMemoryError":
                raise ModelError(f"{self._spec} {what}: {line(error)}") from error
            raise self._out_of_memory(what) from error
        # What a folder holds reaches the libraries unchecked: a wrong type in config.json, half a file of weights or
        # a template with a typing error each end in an exception of its own, of classes that share no base.
        except Exception as error:
            if self._cache_only and isinstance(error, (OSError, ValueError)):
                raise ModelError(
                    f"{self._spec} {what}: {self._cache_only}, and the Hugging Face cache does not hold it as a whole "
                    f"(revision {self._config.hf_revision or 'main'}); download it first: hf download {self._source}"
                ) from error
            raise ModelError(f"{self._spec} {what}: {line(error)}") from error

    def _out_of_memory(self, what: str) -> ModelError:
        return ModelError(
            f"{self._spec} {what}: out of memory on {self._device}; choose a smaller model, --set hf_dtype=bfloat16, "
            "--set hf_quantise=4bit (CUDA), or a server (--llm http://HOST/v1#MODEL)"
        )

    # -- generating ---------------------------------------------------------------------------------------

    def _inputs(self, prompt: str, *, thinking: bool) -> Any:
        """Tokenise by the chat template; a reply by a schema leaves no place for thinking aloud."""
        with self._told("has a chat template that cannot be used"):
            return self._tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                add_generation_prompt=True,
                enable_thinking=thinking,  # templates that do not know it ignore it
                return_tensors="pt",
                return_dict=True,
            ).to(self._device)

    def _room(self, asked: int) -> int:
        """Return how many tokens the reply may have."""
        most = getattr(self._model.config, "max_position_embeddings", None)
        room = self._config.hf_max_tokens if most is None else min(self._config.hf_max_tokens, most - asked)
        if room < min(LEAST_ROOM, self._config.hf_max_tokens):
            raise ModelError(
                f"{self._spec} gave no answer: the prompt has {asked:,} tokens and the model reads {most:,} at most; "
                "choose a model with a longer context"
            )
        return room

    def _ends(self) -> list[int]:
        """Return the tokens that end a reply: the tokenizer's, and those of the model (a list in some)."""
        own = self._model.generation_config.eos_token_id
        return sorted({self._tokenizer.eos_token_id, *(own if isinstance(own, list) else [] if own is None else [own])})

    def _constraint(self, schema: type[BaseModel] | None, grammar: str) -> Any:
        """Return the compiled schema, or grammar where there is none: built once, begun anew for every reply."""
        import outlines
        from outlines.backends import get_cfg_logits_processor, get_json_schema_logits_processor

        shape = grammar
        if schema is not None:
            # Without blanks between the parts: a small model could write nothing else until it is cut off.
            shape = json.dumps({**bounded_schema(schema), "x-guidance": {"whitespace_flexible": False}})
        if shape not in self._constraints:
            steered = outlines.from_transformers(self._model, self._tokenizer)
            self._constraints[shape] = (
                get_cfg_logits_processor("llguidance", steered, grammar)
                if schema is None
                else get_json_schema_logits_processor("llguidance", steered, shape, None)
            )
        self._constraints[shape].reset()
        return self._constraints[shape]

    def _temperature(self, manner: Manner) -> float:
        return self._config.temperature if manner.temperature is None else manner.temperature

    def _generate(self, inputs: Any, prompt: str, room: int, constraint: Any, manner: Manner) -> list[int]:
        """Return the new tokens. Chance, if there is any, follows from seed, prompt and number of the draw alone."""
        import torch

        temperature = self._temperature(manner)
        name = f"{self._config.seed}/{prompt}" + (f"/{manner.draw}" if manner.draw else "")
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
        ends = self._ends()
        pad = self._tokenizer.pad_token_id
        devices = [torch.cuda.current_device()] if self._device == "cuda" else []
        # The mask's kernel is marked for torch.compile: 20 s before the first token, and a compiler must be there.
        with torch.compiler.set_stance("force_eager"), torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            out = self._model.generate(
                **inputs,
                max_new_tokens=room,
                do_sample=temperature > 0.0,
                temperature=temperature or None,
                top_p=None,
                top_k=None,
                eos_token_id=ends,
                pad_token_id=ends[0] if pad is None else pad,
                logits_processor=[] if constraint is None else [constraint],
            )
        return [int(token) for token in out[0, inputs["input_ids"].shape[1] :]]

    def _sent(self, room: int, schema: type[BaseModel] | None, manner: Manner) -> Json:
        return {
            "max_new_tokens": room,
            "temperature": self._temperature(manner),
            "device": self._device,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "quantise": self._config.hf_quantise,
            "revision": self._config.hf_revision,
            "schema": None if schema is None else bounded_schema(schema),
            "grammar": manner.grammar,
        }
