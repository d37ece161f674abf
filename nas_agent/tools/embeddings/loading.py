"""From a spec to a Hugging Face model in this process: what it is, and its tokenizer and weights."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_agent import hub
from nas_agent.errors import ConfigError, ModelError
from nas_agent.tools.embeddings.base import EmbeddingOptions
from nas_agent.tools.embeddings.modules import read_modules
from nas_agent.tools.embeddings.pooling import layers_read, width

LIMIT = 4096  # tokens, for a model that reads more or does not say (the paper's second limit)
BLOCKS, BLOCK = 64, 1 << 16  # of a file of weights that are hashed, and their bytes
# The first positions of these are never used: a text's tokens begin after the padding token's place.
_OFFSET_POSITIONS = {"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "xlm-roberta", "xmod"}


@dataclass(frozen=True, slots=True)
class Description:
    """What has to be known of a model before its weights are loaded."""

    label: str  # names the content: repository and commit, or folder and hash
    pooling: str
    max_tokens: int
    dimension: int
    layers: tuple[int, ...]  # whose states are read
    normalise: bool
    prefix: str
    source: str  # folder or repository
    folder: str = ""  # of the transformer, inside the source
    revision: str | None = None
    cache_only: str = ""  # why the hub is not asked, if so

    @property
    def where(self) -> dict[str, Any]:
        """The arguments of from_pretrained that say which files are meant."""
        local = bool(self.cache_only) or Path(self.source).is_dir()
        where: dict[str, Any] = {"revision": self.revision, "local_files_only": local}
        return {**where, "subfolder": self.folder} if self.folder else where


def describe(spec: str, options: EmbeddingOptions) -> Description:
    """Read a model's small files; ModelError or ConfigError where they are missing or the options do not fit."""
    from transformers import AutoConfig

    asked = f"--embedder {spec}"
    source = hub.locate(asked, spec.removeprefix("hf:"))
    why = hub.why_cache_only(asked, source, revision=options.revision, offline=options.offline)
    where: dict[str, Any] = {"revision": options.revision, "local_files_only": bool(why)}
    with told(spec, "cannot be read", why, options.revision):
        modules = read_modules(asked, source, where)
    if modules.folder:
        where["subfolder"] = modules.folder
    hub.check_folder(asked, str(Path(source) / modules.folder) if Path(source).is_dir() else source)
    with told(spec, "has a configuration that cannot be read", why, options.revision):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
        text = config.get_text_config(encoder=True) if config.is_encoder_decoder else config.get_text_config()
        hidden, layers = int(text.hidden_size), int(text.num_hidden_layers)
        if config.is_encoder_decoder:  # where encoder and decoder differ, the encoder's number has its own name
            layers = int(getattr(config, "encoder_layers", None) or getattr(config, "num_layers", None) or layers)
    pooling = (modules.pooling or "mean") if options.pooling == "auto" else options.pooling
    commit = getattr(config, "_commit_hash", None)
    label = f"{source}@{commit[:12]}" if commit else f"{Path(source).name}/{fingerprint(Path(source))}"
    return Description(
        label=label,
        pooling=pooling,
        max_tokens=_limit(asked, text, modules.max_tokens, options.max_tokens),
        dimension=width(pooling, hidden, layers),
        layers=tuple(layers_read(pooling, layers)),
        normalise=modules.normalise,
        prefix=modules.prefix,
        source=source,
        folder=modules.folder,
        revision=options.revision,
        cache_only=why,
    )


def _limit(asked: str, config: Any, own: int | None, wanted: int | None) -> int:
    """Return how many tokens are read of a text: what is wanted, what the model's makers say, or all it can."""
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and config.model_type in _OFFSET_POSITIONS:
        most -= (config.pad_token_id or 0) + 1
    if wanted is not None and most is not None and wanted > most:
        raise ConfigError(f"{asked} reads {most:,} tokens at most; max_tokens is {wanted:,}")
    if wanted is not None:
        return wanted
    return min(own or LIMIT, most or LIMIT, LIMIT)


def fingerprint(folder: Path) -> str:
    """Return 8 hex digits for a model's folder: of small files all bytes, of weights 64 blocks over the whole file.

    Weights that were trained further differ everywhere, so a sample finds them; 14 GB are not read to name a model.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.suffix not in {".json", ".safetensors", ".txt", ".model"}:
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
        with path.open("rb") as file:
            if size <= BLOCKS * BLOCK:
                digest.update(file.read())
                continue
            for number in range(BLOCKS):
                file.seek(number * (size - BLOCK) // (BLOCKS - 1))
                digest.update(file.read(BLOCK))
    return digest.hexdigest()[:8]


def number_format(spec: str, dtype: str, device: str) -> str:
    """Return the format that `auto` means on a device; ConfigError where the device lacks the one wanted.

    A processor without bfloat16 instructions emulates them, slower than float32.
    """
    if dtype == "int8" and device != "cpu":
        raise ConfigError(f"--embedder {spec}: int8 is built for the CPU; use bfloat16 on {device}, or --device cpu")
    if dtype != "auto":
        return dtype
    import torch

    fast = device == "cuda" or (device == "cpu" and _has_bfloat16(torch))
    return "bfloat16" if fast else "float32"


def _has_bfloat16(torch: Any) -> bool:
    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "arm_bf16"))


@functools.lru_cache(maxsize=1)  # what is loaded is shared; of models of many gigabytes only one has room
def load(spec: str, model: Description, device: str, dtype: str, random: int | None) -> tuple[Any, Any]:
    """Return tokenizer and model on the device; with `random` its weights are drawn by that seed, not read."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    kind = torch.float32 if dtype == "int8" else getattr(torch, dtype)
    with _quiet(), told(spec, "cannot be loaded", model.cache_only, model.revision):
        tokenizer = AutoTokenizer.from_pretrained(model.source, trust_remote_code=False, **model.where)
        if random is None:
            network = _trained(spec, model, kind)
        else:
            config = AutoConfig.from_pretrained(model.source, trust_remote_code=False, **model.where)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(random)
                network = AutoModel.from_config(config).to(kind)
        network = network.get_encoder() if network.config.is_encoder_decoder else network
        network.config.use_cache = False
        network = network.to(device).eval()
        return tokenizer, _quantised(network) if dtype == "int8" else network


def _trained(spec: str, model: Description, kind: Any) -> Any:
    from transformers import AutoModel

    # Never a pickle: loading one runs whatever it holds.
    network, found = AutoModel.from_pretrained(
        model.source,
        dtype=kind,
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **model.where,
    )
    keys = [*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])]
    # transformers would draw these at random, and only warn; a pooler is not read here.
    if drawn := sorted(key for key in keys if not key.startswith("pooler.")):
        raise ModelError(
            f"{spec} cannot be loaded: {len(drawn)} tensors, {drawn[0]} among them, are not in its weights "
            "in the shape that config.json says; fetch the model again"
        )
    return network


def _quantised(network: Any) -> Any:
    """Return the model with weights in 8 bits, one scale for each output, and activations rounded as they come."""
    import torch
    from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao is to move to a package of its own, and says so at every call
        return quantize_dynamic(network, {torch.nn.Linear: per_channel_dynamic_qconfig})  # type: ignore[no-untyped-call]


@contextmanager
def _quiet() -> Iterator[None]:
    """Let transformers load without a progress bar, which would break our own display, and without its report."""
    from transformers.utils import logging

    bar, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def told(spec: str, what: str, cache_only: str = "", revision: str | None = None) -> Iterator[None]:
    """Turn what goes wrong with a model's files, weights and memory into one line."""
    try:
        yield
    except (ModelError, ConfigError):
        raise
    # What a folder holds reaches the libraries unchecked: a wrong type in config.json or half a file of weights each
    # end in an exception of its own, of classes that share no base.
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error).lower()):
            raise ModelError(f"{spec} {what}: out of memory; use a smaller model, dtype or batch") from error
        if cache_only and isinstance(error, OSError | ValueError):
            raise ModelError(
                f"{spec} {what}: {cache_only}, and the Hugging Face cache does not hold it as a whole "
                f"(revision {revision or 'main'}); download it first: hf download {spec.removeprefix('hf:')}"
            ) from error
        raise ModelError(f"{spec} {what}: {hub.line(error)}") from error
