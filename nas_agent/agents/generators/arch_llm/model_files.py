"""The folder of a trained model: weights as safetensors, and a card that says what they are.

model.safetensors     the weights
card.json             written last: its existence means the folder is whole
training.safetensors  only during a training: all that it needs to go on
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nas_agent.errors import ConfigError, DataError, StorageError
from nas_agent.records import Architecture, Json

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS, CARD, TRAINING = "model.safetensors", "card.json", "training.safetensors"


def write_model(folder: Path, weights: Mapping[str, Tensor], card: Json) -> None:
    """Write weights and card, and forget the training."""
    from safetensors.torch import save

    content = save({name: tensor.contiguous() for name, tensor in weights.items()})
    _write(folder / WEIGHTS, content)
    card = {**card, "weights": hashlib.sha256(content).hexdigest()}
    _write(folder / CARD, (json.dumps(card, indent=2) + "\n").encode())
    try:
        (folder / TRAINING).unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{folder / TRAINING}: cannot be removed ({error.strerror})") from error


def read_card(folder: Path, *, kind: str, version: int) -> Json:
    """Read the card of a model of this kind and version of the format; raise DataError where it is none."""
    path = folder / CARD
    try:
        card: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            f"{folder}: there is no trained {kind} (no {CARD}); train one, or give another folder"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected the card of a {kind}, cannot be read ({error}); train it anew") from error
    if not isinstance(card, dict) or card.get("kind") != kind:
        found = card.get("kind") if isinstance(card, dict) else type(card).__name__
        raise DataError(f"{path}: expected the card of a {kind}, got {found!r}; give the folder of a {kind}")
    if card.get("version") != version:
        raise DataError(
            f"{path}: expected version {version} of a {kind}, got {card.get('version')!r}; train it anew with this one"
        )
    return card


def read_weights(folder: Path, card: Json) -> dict[str, Tensor]:
    """Read the weights that belong to the card; raise DataError where they are damaged or others."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the weights cannot be read ({error.strerror}); copy or train them anew") from error
    found = hashlib.sha256(content).hexdigest()
    if found != card.get("weights"):
        raise DataError(
            f"{path}: expected the weights that {CARD} names, got {len(content):,} other bytes (cut off, or of another "
            "training); copy both files anew, or train anew"
        )
    try:
        return load(content)
    except SafetensorError as error:
        raise DataError(f"{path}: is no safetensors file ({error}); train it anew") from error


def read_model(folder: Path, *, kind: str, version: int, space: str | None) -> tuple[Json, dict[str, Tensor]]:
    """Read card and weights; raise DataError where they are damaged, of another version, or not of this space."""
    card = read_card(folder, kind=kind, version=version)
    if space is not None and card.get("space") != space:
        raise DataError(
            f"{folder / CARD}: expected a {kind} of space '{space}', got one of '{card.get('space')}'; "
            f"train one with --space {space}"
        )
    return card, read_weights(folder, card)


@contextmanager
def fitting_together(folder: Path) -> Iterator[None]:
    """Turn what a card that somebody changed leads to into one line."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(f"{folder / CARD}: card and weights do not fit together ({reason}); train it anew") from error


def check_plan(folder: Path, about: Json, plan: str) -> None:
    """Raise ConfigError where a finished training is not the one that is asked for."""
    if about.get("plan") != plan:
        raise ConfigError(
            f"{folder}: there is a model of other graphs, settings or seed already; choose another folder, or remove "
            "this one"
        )


def plan_of(version: int, space: str, settings: Json, seed: int, architectures: Sequence[Architecture]) -> str:
    """Return a text that is equal exactly for the same training."""
    content = [version, space, settings, seed, [architecture.id for architecture in architectures]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def write_training(folder: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write where a training stands: all or nothing."""
    from safetensors.torch import save

    _write(folder / TRAINING, save({name: tensor.contiguous() for name, tensor in tensors.items()}, dict(about)))


def read_training(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Read what `write_training` wrote; None where no training was begun."""
    from safetensors import SafetensorError, safe_open

    path = folder / TRAINING
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path}: the training cannot go on ({error}); delete the file to start it anew") from error


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error
