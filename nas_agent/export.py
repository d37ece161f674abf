"""Leave the winner of a run as a model that needs no nas-agent: source, weights, ONNX, and a card.

The winner is trained once more, as it was measured and with the same seed, which on the same kind of machine gives the
same network, so that the run's test value is that of these weights. The winner of a table was never trained here; it
is trained on the images of its task, or of one that is named.
"""

from __future__ import annotations

import hashlib
import platform
from dataclasses import dataclass
from pathlib import Path

from nas_agent.config import Config
from nas_agent.continuation import finished_result, readable
from nas_agent.errors import ConfigError, StorageError
from nas_agent.preparation import evaluation_of, from_anywhere, space_of
from nas_agent.records import Json, Measured
from nas_agent.result import Result
from nas_agent.spaces import Space
from nas_agent.tools.evaluators.artefacts import NEAR, ONNX, SOURCE, WEIGHTS
from nas_agent.tools.evaluators.candidate import writes_network
from nas_agent.tools.evaluators.train import ImageTrainer, TrainEvaluator
from nas_agent.tools.run_folder import RunFolder
from nas_agent.version import __version__

CARD = "README.md"
SIZES = ("classes", "in_channels", "width")
WARNING = f"""
The code of `{SOURCE}` was written by a model, or by anybody, and read by nobody. What confined it in the search:
{{level}}. Read it before you run it.
"""
LOADER = '''

CLASSES = {names!r}
MEAN, SPREAD = {mean!r}, {spread!r}  # of each channel of the training images, from 0 to 255


def load(folder=None):
    """Return the trained network.

    It takes (images - MEAN) / SPREAD as (B, {channels}, {height}, {width}) and gives logits (B, {classes}).
    """
    from pathlib import Path

    from safetensors.torch import load_file

    network = Network(classes={classes}, in_channels={channels}, width={stem})
    folder = Path(__file__).parent if folder is None else Path(folder)
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return network.eval()
'''


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what it was compared with."""

    folder: Path
    searched: Measured  # what the search measured of the winner
    value: float  # validation value of the weights that were written
    test: float | None  # the run's test value, where it is that of these weights
    same_network: bool  # as the one that the search measured, by its value and its terms
    same_logits: bool  # of model.py with the weights, as of the network that was trained
    onnx: Json
    parameters: int
    seconds: float

    def to_dict(self) -> Json:
        """As plain JSON types."""
        return {
            "folder": str(self.folder),
            "arch": self.searched.architecture.text,
            "searched": {"value": self.searched.value, "fidelity": self.searched.fidelity},
            "val": self.value,
            "test": self.test,
            "same_network": self.same_network,
            "same_logits": self.same_logits,
            "onnx": self.onnx,
            "parameters": self.parameters,
            "seconds": self.seconds,
        }


def export(folder: RunFolder, out: Path, changes: Json) -> Exported:
    """Train the winner and write it; `changes` are settings of the training that differ from the run's."""
    config = folder.config()
    space = space_of(config)
    with readable(folder):
        result = finished_result(folder, config, space)
    if result is None or result.best is None:
        raise ConfigError(
            f"{folder.path.name} has no winner yet; finish it with: nas-agent resume {folder.path.name}"
            if result is None
            else f"{folder.path.name} has no winner: nothing that it tried could be measured"
        )
    trained_here = result.evaluator == "train"
    if config.task.startswith("table:") and "task" not in changes:
        raise ConfigError(
            f"{folder.path.name} looked its values up in {config.task}, which has no images to train on; "
            "name some, e.g. --task cifar10 or --task folder:PATH"
        )
    settings = changes if trained_here else {"epochs": None, "data": None, **changes}
    config = from_anywhere(config.model_copy(update={**settings, "evaluator": "train"}))
    trainer = _trainer(config, space)
    texts = _source(trainer, space, result.best)
    _make(out)
    _write(out / SOURCE, texts)
    fidelity = trainer.training.fidelity
    reply, note = trainer.run(result.best.architecture, "validation", config.seed, fidelity, save=out)
    if reply["status"] == "failed":
        raise ConfigError(f"the winner could not be trained: {reply['reason']}")
    measured = result.best.repeats[0] if result.best.repeats else result.best.value  # under this seed
    same = trained_here and not changes and reply["value"] == measured
    exported = Exported(
        folder=out,
        searched=result.best,
        value=float(reply["value"]),
        test=result.test.value if same and result.test is not None else None,
        same_network=same,
        same_logits=bool(reply["same_logits"]),
        onnx=reply["onnx"],
        parameters=int(reply["parameters"]),
        seconds=float(reply["seconds"]),
    )
    _write(out / CARD, _card(exported, config, trainer, result, note))
    return exported


def _trainer(config: Config, space: Space) -> ImageTrainer:
    evaluator = evaluation_of(config, space).evaluator
    assert isinstance(evaluator, TrainEvaluator)
    evaluator.trainer.settle()
    return evaluator.trainer


def _source(trainer: ImageTrainer, space: Space, best: Measured) -> str:
    images = trainer.images
    text = space.module_source(best.architecture, classes=len(images.classes))
    if not writes_network(text, SIZES):
        raise ConfigError(
            f"space '{space.name}' writes no stand-alone network; let its module_source define a class Network that "
            f"takes {', '.join(SIZES)}"
        )
    height, width, channels = images.train.pixels.shape[1:]
    side = trainer.training.fidelity.resolution
    return text.rstrip() + LOADER.format(
        names=images.classes, mean=images.mean, spread=images.spread, classes=len(images.classes), channels=channels,
        height=side or height, width=side or width, stem=trainer.training.fidelity.width,
    ).replace("\n\nCLASSES", "\n\n\nCLASSES", 1)  # fmt: skip


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        taken = any(out.iterdir())
    except OSError as error:
        raise StorageError(f"--out {out}: cannot be used ({error.strerror}); choose another folder") from error
    if taken:
        raise ConfigError(f"--out {out}: expected a new or empty folder, got one with files; choose another")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def _card(done: Exported, config: Config, trainer: ImageTrainer, result: Result, note: str) -> str:
    """Say where the model comes from, what it can do, and how that is known."""
    import torch

    images, training, best = trainer.images, trainer.training, done.searched
    unit = result.task.unit
    digest = hashlib.sha256((done.folder / WEIGHTS).read_bytes()).hexdigest()
    if done.onnx["written"]:
        onnx = f"`{ONNX}`: logits within {done.onnx['difference']:.1g} of the network's, by {done.onnx['checked_by']}"
        onnx += "" if done.onnx["difference"] <= NEAR else ", which is more than rounding"
    else:
        onnx = f"no ONNX: {done.onnx['why']}"
    test = (
        "not measured for these weights" if done.test is None else f"{done.test:.2f} {unit}, opened once by the search"
    )
    program = "\n" in best.architecture.text
    text = SOURCE if program else best.architecture.text.replace("|", "\\|")  # of a cell in a table
    twice = f"; the lower of {len(best.repeats)} seeds" if best.repeats else ""
    warning = "" if best.sandbox is None else WARNING.format(level=best.sandbox)
    same = "the same network" if done.same_network else "not the same network"
    return f"""# {images.task.name}: a network found by nas-agent

{images.task.description}.

```python
from model import MEAN, SPREAD, load  # needs torch and safetensors
network = load()
```

| | |
| --- | --- |
| architecture | `{text}` ({best.architecture.space}, id {best.architecture.id}) |
| parameters | {done.parameters:,} |
| validation {images.task.metric} of these weights | {done.value:.2f} {unit} |
| as measured by the search ({same}) | {best.value:.2f} {unit}, {best.evaluator}, {best.provenance}, \
{best.fidelity}{twice} |
| test {images.task.metric} | {test} |
| images | {images.split} |
| training | {training.fidelity}{note}, batches of {training.batch}, seed {config.seed}, {training.device}, \
{training.precision} |
| found by | run `{Path(result.run or "").name}`, {len(result.outcomes)} evaluations, seed {config.seed} |
| versions | nas-agent {__version__}, torch {torch.__version__}, Python {platform.python_version()} |
| weights | `{WEIGHTS}`, sha256 {digest} |
| checks | `{SOURCE}` with these weights: {"the same logits" if done.same_logits else "OTHER LOGITS"}; {onnx} |

Known of this model is what the table says: it was chosen by the validation value on these images, and nothing was
measured on images of another origin, on groups within them, or under noise.
{warning}"""
