"""Training the language model by transformers' Trainer: from the start or from where a killed training stopped."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nas_agent.agents.generators.arch_llm.bases import (
    Base,
    free_memory,
    load_base,
    missing_packages,
    small_transformer,
)
from nas_agent.agents.generators.arch_llm.language import VERSION, SequenceModel, memory_told, quiet
from nas_agent.agents.generators.arch_llm.model_files import CARD
from nas_agent.agents.generators.arch_llm.prompts import OPEN, Prompts, own_prompts
from nas_agent.agents.generators.arch_llm.sequences import Indices
from nas_agent.errors import ConfigError, ModelError, StorageError
from nas_agent.hub import line

Progress = Callable[[int, int, float], None]  # steps done, steps in all, nats a code
CHECKPOINTS = "checkpoints"
TRAINING = "plan"  # what is trained there: a checkpoint of anything else is no beginning
WHOLE = "whole"  # written into a checkpoint last
SAVES = 10  # checkpoints of one training
REPORTS = 50  # reports of the loss


@dataclass(frozen=True, slots=True)
class LanguageSettings:
    """How the model is trained. Width, layers, heads and dropout are those of the default model, without a base."""

    base: Base | None = None
    width: int = 96
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1
    epochs: int = 12
    batch: int = 256
    learning_rate: float = 2e-3  # the peak, after 5 % of the steps; then down to zero by a cosine
    fill_share: float = 0.25  # of the batches: ask for a partial sequence to be completed

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected a whole number above 0, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ConfigError(f"width: expected a multiple of the {self.heads} heads, got {self.width}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ConfigError(f"learning rate: expected a number above 0, got {self.learning_rate}")
        if not (0.0 <= self.fill_share <= 1.0 and 0.0 <= self.dropout < 1.0):
            raise ConfigError(f"shares: expected numbers from 0 to 1, got {self.fill_share} and {self.dropout}")


class Examples:
    """Each sequence `epochs` times. A batch asks either `generate` or `fill:`, so that nothing is padded.

    What a batch asks follows from seed and content: a training that goes on sees what it would have seen.
    """

    def __init__(self, sequences: Indices, model: SequenceModel, settings: LanguageSettings, seed: int) -> None:
        self._sequences, self._model, self._seed = sequences, model, seed
        self._share, self._epochs = settings.fill_share, settings.epochs

    def __len__(self) -> int:
        return len(self._sequences) * self._epochs

    def __getitems__(self, places: list[int]) -> dict[str, Any]:
        """Return the whole batch: torch's loader asks for all of its places at once."""
        codes = self._sequences[np.array(places) % len(self._sequences)]
        rng = np.random.default_rng([self._seed, *places[:4]])
        prompts = self._model.prompts
        if rng.random() >= self._share:
            return self._model.batch(prompts.unconditional(len(codes)), codes)
        hidden = rng.random(codes.shape) < rng.random((len(codes), 1))  # from few open places to all
        return self._model.batch(prompts.partial(np.where(hidden, OPEN, codes)), codes)


def train_language(
    sequences: Indices,
    *,
    codes: int,
    settings: LanguageSettings,
    seed: int,
    progress: Progress,
    folder: Path,
    about: Mapping[str, Any] | None = None,
) -> SequenceModel:
    """Train on (n, length) codes, save to the folder and return the model; go on where a killed training stopped.

    A folder in which this very training was finished gives its model at once.

    `about` is plain JSON for the card. MissingExtra where accelerate lacks; ConfigError where the sequences are not of
    this codebook or the folder holds the half of another training; ModelError where a base model cannot be used.
    """
    missing_packages()
    if sequences.ndim != 2 or not sequences.size or sequences.min() < 0 or sequences.max() >= codes:
        raise ConfigError(
            f"expected sequences of codes from 0 to {codes - 1}, got an array of shape {sequences.shape} with others"
        )
    checkpoints = folder / CHECKPOINTS
    plan = _plan(sequences, codes, settings, seed)
    if (folder / CARD).exists():
        return _finished(folder, plan)
    last = _last_checkpoint(checkpoints, plan)
    made, prompts = _beginning(sequences.shape[1], codes, settings, seed)
    card = dict(about or {}) | {"plan": plan, "settings": asdict(settings), "seed": seed, "sequences": len(sequences)}
    model = SequenceModel(made, prompts, sequences.shape[1], card)
    _train(model, Examples(sequences, model, settings, seed), settings, seed, progress, checkpoints, last)
    if settings.base is not None and settings.base.lora:
        model.model = made.merge_and_unload()  # a plain model again, which needs no peft
    model.model.eval()
    model.save(folder)
    shutil.rmtree(checkpoints)
    return model


def _beginning(length: int, codes: int, settings: LanguageSettings, seed: int) -> tuple[Any, Prompts]:
    import torch

    if settings.base is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return load_base(settings.base, codes, length, free=free_memory())
    prompts = own_prompts(codes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = {name: getattr(settings, name) for name in ("width", "layers", "heads", "dropout")}
        return small_transformer(prompts, length, **shape), prompts


def _plan(sequences: Indices, codes: int, settings: LanguageSettings, seed: int) -> str:
    """Return a text that is equal exactly for the same training."""
    content = hashlib.sha256(np.ascontiguousarray(sequences).tobytes()).hexdigest()
    said = json.dumps([VERSION, content, list(sequences.shape), codes, asdict(settings), seed])
    return hashlib.sha256(said.encode()).hexdigest()


def _finished(folder: Path, plan: str) -> SequenceModel:
    found = SequenceModel.load(folder)
    if found.about.get("plan") != plan:
        raise ConfigError(
            f"{folder}: there is a model of other sequences, settings or seed already; choose another folder, or "
            "remove this one"
        )
    return found


def _last_checkpoint(checkpoints: Path, plan: str) -> Path | None:
    """Return the newest whole checkpoint of this same training, None for a new one."""
    note = checkpoints / TRAINING
    try:
        if not note.exists():
            checkpoints.mkdir(parents=True, exist_ok=True)
            note.write_text(plan, encoding="utf-8")
            return None
        known = note.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(f"{checkpoints}: cannot be written ({line(error)}); choose another folder") from error
    if known != plan:
        raise ConfigError(
            f"{checkpoints}: expected the training that is asked for, got one of other sequences, settings or seed; "
            "remove the folder, or choose another one"
        )
    whole = [path for path in checkpoints.glob("checkpoint-*") if (path / WHOLE).exists()]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _train(
    model: SequenceModel, examples: Examples, settings: LanguageSettings, seed: int, progress: Progress,
    checkpoints: Path, last: Path | None,
) -> None:  # fmt: skip
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    batch = min(settings.batch, len(examples))
    steps = len(examples) // batch

    class Told(TrainerCallback):  # type: ignore[misc]
        """Reports the loss; marks a checkpoint as whole."""

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is None:
                return
            if not math.isfinite(loss):
                raise ModelError(f"the loss became {loss} at step {state.global_step}; choose a lower --learning-rate")
            progress(state.global_step, steps, loss)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            (checkpoints / f"checkpoint-{state.global_step}" / WHOLE).touch()

    arguments = TrainingArguments(
        output_dir=str(checkpoints), max_steps=steps, per_device_train_batch_size=batch, dataloader_drop_last=True,
        learning_rate=settings.learning_rate, lr_scheduler_type="cosine", warmup_steps=max(1, steps // 20),
        weight_decay=0.01, adam_beta2=0.98, max_grad_norm=1.0, seed=seed, data_seed=seed,
        save_steps=max(1, math.ceil(steps / SAVES)), save_total_limit=2, logging_steps=max(1, steps // REPORTS),
        logging_nan_inf_filter=False, report_to="none", disable_tqdm=True, remove_unused_columns=False,
        dataloader_pin_memory=False,
    )  # fmt: skip
    try:
        # The trainer seeds torch, for all that comes after it.
        with memory_told(), quiet(), torch.random.fork_rng(), warnings.catch_warnings():
            # peft keeps all embeddings in a checkpoint where new tokens were added: what is wanted.
            warnings.filterwarnings("ignore", message=".*save_embedding_layers")
            trainer = Trainer(
                model=model.model, args=arguments, train_dataset=examples, data_collator=lambda made: made,
                callbacks=[Told()],
            )  # fmt: skip
            for shown in (PrinterCallback, ProgressCallback):
                trainer.remove_callback(shown)
            trainer.train(resume_from_checkpoint=None if last is None else str(last))
    except OSError as error:
        raise StorageError(f"{checkpoints}: cannot be written ({line(error)}); choose another folder") from error
