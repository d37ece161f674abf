"""What a search is asked to do: defaults < config file < flags. The environment is for secrets and folders only."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nas_agent.errors import ConfigError

AHEAD = 8  # evaluations under way where several workers make them: fixed, so that results depend on no machine


class Config(BaseModel):
    """The settings of one search. A field exists only if code reads it; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # What to search for: a task of a published benchmark such as cifar100, digits, table:FILE.npz|csv, or images:
    # folder:PATH, npz:PATH, hf:REPO.
    task: str = "cifar100"
    # Where to search: auto (where the task was measured), a built-in space, an installed entry point, or FILE.py:CLASS.
    space: str = "auto"
    # Evaluations to spend, the initial ones included.
    budget: int = Field(default=100, ge=1)
    # Fixes every random choice of ours; a remote language model keeps its own chance.
    seed: int = Field(default=0, ge=0)

    # none, openai:MODEL, PROVIDER:MODEL, http://HOST/v1#MODEL, hf:REPO_OR_PATH, or replay:RUN.
    llm: str = "none"
    # The model that learns principles, and the one that proposes architectures; None: the one of `llm`.
    llm_learner: str | None = None
    llm_generator: str | None = None
    # Model calls after which the search goes on without the model; None is no limit.
    max_calls: int | None = Field(default=None, ge=0)
    # US dollars after which no further model call begins; None is no limit.
    max_cost: float | None = Field(default=None, ge=0.0, allow_inf_nan=False)
    # How freely models choose their words; 0 is the likeliest word always (LAPT, section 4).
    temperature: float = Field(default=0.0, ge=0.0, le=2.0)
    # hf: number format of the weights; auto is the checkpoint's own on a GPU and float32 on a CPU.
    hf_dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    # hf: where the model runs; auto is the first of cuda, mps, cpu that torch sees.
    hf_device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    # hf: weights of 8 or 4 bits by bitsandbytes (extra `quantise`).
    hf_quantise: Literal["none", "8bit", "4bit"] = "none"
    # hf: branch, tag or commit of the repository; a commit pins it.
    hf_revision: str | None = None
    # hf: tokens of a reply at most.
    hf_max_tokens: int = Field(default=2048, ge=1)
    # hf: use what lies in the Hugging Face cache, and ask no network.
    offline: bool = False

    # Whether a language model sees neutral labels instead of the names of operations, decisions, spaces and tasks.
    anonymise: bool = False

    # How proposals are made: evolve (mutation and crossover inside the refined space), random, vq (a model of
    # sequences, fine-tuned on the best), llm (the language model has every second round, evolve the others), or code
    # (LLMatic's quality diversity on programs, in spaces that vary them: extra `code`).
    generator: Literal["evolve", "random", "llm", "vq", "code"] = "evolve"
    # vq: the folder of the trained model, as `generator train` writes it; None: the one that comes with the package.
    generator_model: Path | None = None
    # code: the archive of networks, niches of Voronoi cells, of a grid, or with boundaries that move with the entries.
    archive: Literal["cvt", "grid", "sliding"] = "cvt"
    # code: an archive.json of an earlier run; its networks are measured first, on this task.
    archive_file: Path | None = None
    # code: niches of an archive; for a grid and for sliding boundaries a square.
    niches: int = Field(default=100, ge=2)
    # code: archives of networks that evolve apart, and generations after which each sends its best to the next one.
    islands: int = Field(default=1, ge=1)
    migration: int = Field(default=5, ge=1)
    # code: whether half of the wishes take the prompt that was worth most, or all are drawn.
    curiosity: bool = True
    # code: how a language model answers: whole programs, SEARCH/REPLACE blocks, or auto, which is by the model.
    edits: Literal["auto", "whole", "blocks"] = "auto"
    # What ranks proposals: auto (the measured winner), structure, joint (structure and code embedding), none.
    surrogate: Literal["auto", "structure", "joint", "none"] = "auto"
    # What reads code for `joint`: all-minilm, hf:REPO_OR_PATH, openai:MODEL, or random:SPEC as a control.
    embedder: str = "all-minilm"
    # hf: branch, tag or commit of the embedder's repository.
    embedder_revision: str | None = None
    # Whether the surrogate steps back, and the generator's order decides, while its predictions do not come true.
    gate: bool = True
    # Share of evaluations, from the 21st on, that go to proposals which the surrogate rejected: so false ones show.
    rejected_share: float = Field(default=0.05, ge=0.0, le=1.0)
    # What measures: auto (table, else embedded), table, embedded, train.
    evaluator: Literal["auto", "table", "embedded", "train"] = "auto"
    # The most that an architecture may need, e.g. "params<=0.8M": what needs more is never measured.
    limits: tuple[str, ...] = ()
    # The metric and a cost to search for the front of both, e.g. accuracy and params; empty: the metric alone.
    objectives: tuple[str, ...] = ()
    # The point that the front's hypervolume is measured from, e.g. "accuracy=65,params=0.34M"; what costs more counts
    # for nothing.
    reference: str | None = None
    # Rungs of fidelities from the cheapest to the full one: each new architecture is measured at the first, the best
    # of a rung at the next (ASHA; `eta`). Epochs such as 1,3,9, or what differs from the full one, such as
    # "epochs=3 share=0.25", or auto. The budget then counts full trainings' worth. Empty: the full fidelity only.
    fidelities: tuple[str, ...] = ()
    # Of a rung, one in so many is promoted; None: as many times as the next rung costs, so that all rungs cost alike.
    # By so much, or by 3, `fidelities = auto` divides the epochs of a training.
    eta: int | None = Field(default=None, ge=2)
    # Whether a training ends early whose losses are above those of the best third of the trainings that ended.
    stop_curves: bool = False
    # A proxy of untrained networks that screens proposals before the surrogate chooses: the better half of them stays.
    screen: Literal["none", "naswot", "synflow", "jacov", "snip", "grad_norm", "l2_norm", "params", "flops"] = "none"
    # Training epochs: of the table's column, or of a real training. None: the evaluator's default.
    epochs: int | None = Field(default=None, ge=1)

    # Of a training: channels of the first stage; None: 16.
    width: int | None = Field(default=None, ge=1)
    # Pixels of a side to which images are scaled; None: as they are.
    resolution: int | None = Field(default=None, ge=1)
    # Share of the training images, each class in proportion.
    data_share: float = Field(default=1.0, gt=0.0, le=1.0)
    # Images of a batch; None: 128, or 64 where there are few images.
    train_batch: int | None = Field(default=None, ge=1)
    # Whether mirror images are trained on; None: unless the task says that they mean something else, as digits do.
    train_mirror: bool | None = None
    # Share of itself that a moving average of the weights keeps at each step, and which is then scored; None: off.
    train_average: float | None = Field(default=None, gt=0.0, lt=1.0)
    # auto (the first of cuda, mps, cpu that torch sees), cpu, cuda, cuda:1, ..., mps.
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")
    # Number format of the arithmetic: auto is 16 bits on a GPU, and on a CPU that computes with them.
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    # CPU threads of one training; results differ between numbers of threads.
    train_threads: int = Field(default=1, ge=1)
    # Wall-clock seconds for one candidate.
    train_seconds: float = Field(default=1800.0, gt=0.0, allow_inf_nan=False)
    # GiB for one candidate; None: 80 % of the machine's on a CPU, all of a GPU's.
    train_memory: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)

    # Whether a child's training begins with the trained weights of its parents, in spaces of programs (pytorch): none,
    # names (where name and shape agree), or order (besides, layers of one shape that are left, in their order).
    inherit: Literal["none", "names", "order"] = "none"

    # Whether code that a model wrote may run unconfined: on a machine where no sandbox holds, and at one's own risk.
    unsafe: bool = False
    # What confines it: auto (the strongest that holds here), or one by name.
    sandbox: Literal["auto", "unshare", "bubblewrap", "landlock", "docker", "podman"] = "auto"

    # Whether principles are learned and constrain proposals; not by default where `objectives` are given: principles
    # speak of the metric alone, and shut out the cheap end of a front (docs/results/objectives.md).
    principles: bool = True
    # A file of principles to start from, FILE.md or FILE.json; the run's log keeps what it held.
    principles_file: Path | None = None
    # Whether a person is asked before a principle takes effect.
    review: bool = False
    # Share of rounds that propose only what breaks a principle: the control group that finds a wrong one out.
    outside_share: float = Field(default=0.2, ge=0.0, le=1.0)
    # Evaluations before the first principles are learned, and between adaptations.
    adapt_every: int = Field(default=10, ge=1)
    # Uniform draws (or recalled elites) that are measured before the surrogate is asked.
    initial: int = Field(default=1, ge=1)
    # Architectures measured in one round.
    batch: int = Field(default=1, ge=1)

    # What carries evaluations out: inline (this process), pool (workers on this machine), ray (a cluster). auto: pool
    # where `workers` are given, else inline.
    executor: Literal["auto", "inline", "pool", "ray"] = "auto"
    # Evaluations made at the same time: a number, or auto (pool: as many as a short probe finds fastest; ray: as many
    # as the cluster has room for). No result depends on it.
    workers: int | Literal["auto"] | None = None
    # Evaluations under way at once: each proposal knows what was proposed up to so many evaluations before it. Results
    # depend on it, and not on the number of workers. None: 1 inline, else 8.
    ahead: int | None = Field(default=None, ge=1)
    # ray: auto (the cluster of this machine), local (one that is started for the run), HOST:PORT or ray://HOST:PORT.
    ray_address: str | None = None

    # Tasks, runs or `memory` to transfer from; empty: memory, as `recall` says.
    source: tuple[str, ...] = ()
    # Architectures read of a source, its best ones; no more of a table is read.
    source_rows: int = Field(default=50, ge=1, le=50)
    # Whose experience is recalled: other tasks only, all, or none.
    recall: Literal["others", "all", "none"] = "others"
    # Whether finished searches are written to memory.
    memory: bool = True

    # Folder of benchmark tables; None: NAS_AGENT_DATA, then the user's data folder.
    data: Path | None = None
    # Folder in which run folders are made.
    out: Path = Path("runs")

    @property
    def confinement(self) -> str:
        """What confines code that a model wrote: `sandbox`, or `off`."""
        return "off" if self.unsafe else self.sandbox

    @property
    def executor_kind(self) -> Literal["inline", "pool", "ray"]:
        """What carries evaluations out, `auto` decided."""
        if self.executor == "auto":
            return "inline" if self.workers is None else "pool"
        return self.executor

    @property
    def most_under_way(self) -> int:
        """Evaluations that may be under way at once, a round of its own left aside."""
        return self.ahead or (1 if self.executor_kind == "inline" else AHEAD)

    @field_validator("workers", mode="before")
    @classmethod
    def _counted(cls, workers: object) -> object:
        """A number may be written as a text, as on the command line."""
        number = int(workers) if isinstance(workers, str) and workers.isdecimal() else workers
        if number in (None, "auto") or (isinstance(number, int) and not isinstance(number, bool) and number >= 1):
            return number
        raise ValueError("expected auto or a whole number of at least 1")

    @field_validator("source", "limits", mode="before")
    @classmethod
    def _several(cls, source: object) -> object:
        """One name stands for a list of one: in older run folders, and by `--set source=NAME`."""
        return (source,) if isinstance(source, str) else source

    @model_validator(mode="before")
    @classmethod
    def _without_principles(cls, values: object) -> object:
        """Two objectives are searched without principles, unless these are asked for."""
        return {"principles": False, **values} if isinstance(values, dict) and values.get("objectives") else values

    @model_validator(mode="after")
    def _confined_or_not(self) -> Config:
        if self.unsafe and self.sandbox != "auto":
            raise ValueError(
                f"unsafe lets code run unconfined, and sandbox = {self.sandbox} confines it; leave one out"
            )
        return self

    @field_validator("objectives", "fidelities", mode="before")
    @classmethod
    def _separated(cls, several: object) -> object:
        """A text names several, with commas between them; a number stands for its text."""
        if isinstance(several, str):
            return tuple(name.strip() for name in several.split(","))
        if isinstance(several, int):
            return (str(several),)
        return tuple(str(one) for one in several) if isinstance(several, list | tuple) else several


def load_config(file: Path | None, flags: dict[str, Any], overrides: tuple[str, ...] = ()) -> Config:
    """Merge a TOML file, `--set key=value` overrides and flags (None: not given); later ones win."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values.update(tomllib.loads(file.read_text(encoding="utf-8")))
        except OSError as error:
            raise ConfigError(f"--config {file}: cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"--config {file}: expected TOML, got {error}") from error
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"--set {override}: expected KEY=VALUE, e.g. --set initial=8")
        values[key.strip()] = _toml_value(text.strip())
    values.update({key: value for key, value in flags.items() if value is not None})
    return make_config(values)


def make_config(values: dict[str, Any]) -> Config:
    """Check the values; every problem in one line."""
    try:
        return Config(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            + ("" if item["type"] in {"missing", "extra_forbidden"} else f", got {item['input']!r}")
            for item in error.errors()
        )
        raise ConfigError(f"configuration: {problems}") from error


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML escapes as JSON does, and DEL too


def to_toml(config: Config) -> str:
    """Write the resolved configuration as TOML; None is written as a comment."""
    lines = ["# The resolved configuration of this run; `nas-agent run --config THIS_FILE` repeats it."]
    for key, value in config.model_dump(mode="json").items():
        if value is None:
            lines.append(f"# {key} = (not set)")
        elif isinstance(value, bool):
            lines.append(f"{key} = {str(value).lower()}")
        elif isinstance(value, str):
            lines.append(f"{key} = {_quoted(value)}")
        elif isinstance(value, list):
            lines.append(f"{key} = [{', '.join(map(_quoted, value))}]")
        else:
            lines.append(f"{key} = {value}")
    return "\n".join(lines) + "\n"
