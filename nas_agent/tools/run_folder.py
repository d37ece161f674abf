"""The folder of one run: what lies in it, who may write to it, and how folders are found again.

runs/<time>-<task>-<id>/
  run.json            written last when the folder is made: its existence means the folder is whole
  config.toml         the resolved configuration
  events.jsonl        the append-only truth
  arrivals.jsonl      outcomes of several workers as they came, before their turn in events.jsonl
  checkpoints.sqlite  where the state machine stands
  weights/            trained weights by content hash, of a run that inherits them (--inherit)
  llm/                prompts and replies by content hash
  best.json, best.py  the winner, once the run is finished
  archive.json, .csv  the best of each kind likewise, of a run that keeps them (--generator code)
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nas_agent.config import Config, load_config, to_toml
from nas_agent.errors import ConfigError, RunFolderError, StorageError
from nas_agent.records import Json

FORMAT = 1  # raised when an older program could not read the folder


class UnlockableFolder(RunFolderError):
    """The folder is not ours to write, so no search of ours runs in it."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of one run."""

    path: Path

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def arrivals(self) -> Path:
        """Outcomes of several workers as they came; only where there are several."""
        return self.path / "arrivals.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The state machine's checkpoints."""
        return self.path / "checkpoints.sqlite"

    @property
    def model_calls(self) -> Path:
        """Prompts and replies by content hash."""
        return self.path / "llm"

    @property
    def weights(self) -> Path:
        """Trained weights by content hash; only where children inherit them."""
        return self.path / "weights"

    @property
    def best_json(self) -> Path:
        """The result; it exists exactly when the run is finished."""
        return self.path / "best.json"

    @property
    def best_source(self) -> Path:
        """The winner as a stand-alone PyTorch module."""
        return self.path / "best.py"

    def config(self) -> Config:
        """Read the resolved configuration."""
        try:
            return load_config(self.path / "config.toml", {})
        except ConfigError as error:
            reason = str(error).removeprefix("--config ")
            raise RunFolderError(
                f"{self.path}: its settings cannot be used ({reason}); mend config.toml, or start a new run"
            ) from error

    def about(self) -> Json:
        """Read `run.json`."""
        about: Json = json.loads((self.path / "run.json").read_text(encoding="utf-8"))
        return about

    def write(self, path: Path, text: str) -> None:
        """Write a whole file or nothing."""
        temporary = path.with_name(path.name + ".tmp")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; a second process is refused at once."""
        from filelock import FileLock, Timeout

        lock = FileLock(str(self.path / ".lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RunFolderError(
                f"{self.path} is in use by another process; wait until it ends, or stop it, then resume"
            ) from None
        except OSError as error:
            raise UnlockableFolder(
                f"{self.path} cannot be locked ({error.strerror}); make it and its file .lock writable for you"
            ) from error
        try:
            yield
        finally:
            lock.release()


def create(config: Config, version: str) -> RunFolder:
    """Make a new run folder below `config.out`."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    kind, colon, source = config.task.partition(":")
    name = f"{kind}-{Path(source).stem}" if colon else kind
    label = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-")[-40:]
    try:
        config.out.mkdir(parents=True, exist_ok=True)
        path = config.out.resolve() / f"{stamp}-{label}-{secrets.token_hex(3)}"
        path.mkdir()
    except OSError as error:
        raise StorageError(
            f"--out {config.out}: a run folder cannot be made there ({error.strerror}); choose another folder"
        ) from error
    folder = RunFolder(path)
    folder.write(path / "config.toml", to_toml(config))
    about = {"format": FORMAT, "version": version, "task": config.task, "space": config.space, "seed": config.seed}
    folder.write(path / "run.json", json.dumps(about, indent=2) + "\n")
    return folder


def open_folder(path: Path) -> RunFolder:
    """Check that the folder is a whole run of a version that this program reads."""
    if not _is_folder(path):
        raise RunFolderError(f"{path}: there is no such run folder; `nas-agent runs` lists the known ones")
    folder = RunFolder(path.resolve())
    try:
        about = folder.about()
        number = int(about["format"])
    except FileNotFoundError:
        if any((path / name).exists() for name in ("config.toml", "events.jsonl")):
            raise RunFolderError(
                f"{path} is a run folder that was cut off while it was made, or that has lost its run.json; "
                "if it has no events.jsonl, nothing was measured in it: remove it and start again"
            ) from None
        raise RunFolderError(
            f"{path} is no run folder (it has no run.json); `nas-agent runs` lists the known ones"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path}/run.json: expected JSON with 'format', got {error!r}") from error
    if number > FORMAT:
        raise RunFolderError(
            f"{path} was written by nas-agent {about.get('version')} in format {number}; this program reads up to "
            f"format {FORMAT}: upgrade nas-agent"
        )
    return folder


def register(home: Path, folder: RunFolder) -> None:
    """Note the folder's path, so that `runs` finds it wherever it lies."""
    from filelock import FileLock

    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(str(home / ".runs.lock"), timeout=10), (home / "runs.txt").open("a", encoding="utf-8") as file:
            file.write(f"{folder.path}\n")
    except OSError as error:
        raise StorageError(
            f"{home}: cannot be written ({error.strerror}); set NAS_AGENT_HOME to a folder of yours"
        ) from error


def known_folders(home: Path) -> list[RunFolder]:
    """Return registered run folders that still exist, oldest first."""
    try:
        raw = (home / "runs.txt").read_bytes().splitlines()
    except OSError:
        return []
    lines = []
    for line in raw:
        with contextlib.suppress(UnicodeDecodeError):  # a spoiled line names no folder; the others do
            lines.append(line.decode("utf-8"))
    return [RunFolder(Path(line)) for line in dict.fromkeys(lines) if line and _has_run(Path(line))]


def _has_run(path: Path) -> bool:
    try:
        return (path / "run.json").is_file()
    except (OSError, ValueError):  # out of reach, too long for a path, or with a NUL in it
        return False


def _is_folder(path: Path) -> bool:
    """Tell whether there is such a folder; RunFolderError where this cannot be known."""
    try:
        return path.is_dir()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunFolderError(f"{str(path)[:200]!r}: expected a run folder or the name of a run ({reason})") from error


def find(home: Path, name: str) -> RunFolder:
    """Find a run by path, by folder name, by the end of its name, or `last`."""
    if not name:
        raise ConfigError("expected a run, got ''; give its folder, or a name that `nas-agent runs` lists")
    if _is_folder(Path(name)):
        return open_folder(Path(name))
    known = known_folders(home)
    if name == "last" and known:
        return open_folder(known[-1].path)
    matching = [folder for folder in known if folder.path.name == name or folder.path.name.endswith(f"-{name}")]
    if len(matching) == 1:
        return open_folder(matching[0].path)
    if matching:
        names = ", ".join(folder.path.name for folder in matching)
        raise ConfigError(f"'{name}' means several runs: {names}; give the whole name")
    raise ConfigError(f"there is no run '{name}'; give its folder, or a name that `nas-agent runs` lists")


def remove(home: Path, folder: RunFolder) -> None:
    """Delete the folder and forget its path."""
    from filelock import FileLock

    with folder.locked():  # refused where another process still writes to it
        shutil.rmtree(folder.path)
    with FileLock(str(home / ".runs.lock"), timeout=10):
        keep = [known.path for known in known_folders(home)]
        (home / "runs.txt").write_text("".join(f"{path}\n" for path in keep), encoding="utf-8")
