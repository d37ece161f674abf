"""`doctor`: what works on this machine, and what to mend. Secrets are told present or absent, never shown."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson
from nas_agent.cli.wording import plural

if TYPE_CHECKING:
    from pathlib import Path

    from nas_agent.tools.benchmarks.base import Benchmark

Json = dict[str, Any]
State = Literal["ok", "note", "mend"]
PACKAGES = ("torch", "transformers", "langgraph", "langchain", "chromadb", "scikit-learn", "numpy", "pydantic", "typer")
EXTRAS = {
    "langchain-openai": "openai",
    "outlines": "hf",
    "llguidance": "hf",
    "nats-bench": "nasbench",
    "nas-bench-201": "nasbench",
    "ray": "ray",
}
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MISTRAL_API_KEY", "GOOGLE_API_KEY", "NAS_AGENT_API_KEY")
TRACING = ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING_V2", "LANGCHAIN_TRACING")
TRACING_KEYS = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: State
    detail: str
    mend: str = ""  # what to do, where something must be done


def doctor(
    sandbox: Annotated[
        Literal["auto", "unshare", "bubblewrap", "landlock", "docker", "podman"],
        typer.Option(help="Which sandbox to attack; auto is the strongest that holds here."),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Check this machine: packages, device, data, memory, keys, tracing, sandbox."""
    with output.quiet_stdout():
        checks = [*(check for look in LOOKS for check in look()), *_sandbox(sandbox)]
    broken = [check for check in checks if check.state == "mend"]
    if as_json:
        output.document({"ok": not broken, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks)
    if broken:
        output.complain("; ".join(f"{check.name}: {check.detail}; {check.mend}" for check in broken))
        raise typer.Exit(2)


def _print(checks: list[Check]) -> None:
    from rich.text import Text

    from nas_agent.cli.layout import plain_table

    styles = {"ok": "green", "note": "yellow", "mend": "bold red"}
    table = plain_table("", "what", "how it is", wide=["how it is"])
    for check in checks:
        detail = Text(check.detail)
        if check.mend:
            detail.append(f"\n{check.mend}", style="bold")
        table.add_row(Text(check.state, style=styles[check.state]), check.name, detail)
    output.answer(table)


def _python() -> list[Check]:
    from nas_agent.version import __version__

    version = platform.python_version()
    name = f"{version} at {sys.executable}, {platform.system()} {platform.machine()}"
    old = sys.version_info < (3, 11)
    return [
        Check("nas-agent", "ok", __version__),
        Check("python", "mend" if old else "ok", name, "install Python 3.11 or later" if old else ""),
    ]


def _packages() -> list[Check]:
    from importlib.metadata import PackageNotFoundError, version

    checks = []
    for package in PACKAGES:
        try:
            checks.append(Check(package, "ok", version(package)))
        except PackageNotFoundError:
            checks.append(Check(package, "mend", "not installed", "run: pip install --force-reinstall nas-agent"))
    for package, extra in EXTRAS.items():
        try:
            checks.append(Check(package, "ok", version(package)))
        except PackageNotFoundError:
            checks.append(Check(package, "note", f"not installed; if you want it: pip install 'nas-agent[{extra}]'"))
    return checks


def _device() -> list[Check]:
    try:
        import torch
    # A broken installation raises whatever its native libraries do; any of it means that torch is unusable.
    except Exception as error:
        return [Check("device", "mend", f"torch cannot be imported: {error}", "reinstall torch")]
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return [Check("device", "ok", f"CUDA: {names}")]
    if torch.backends.mps.is_available():
        return [Check("device", "ok", "MPS (Apple)")]
    threads = torch.get_num_threads()
    return [
        Check(
            "device",
            "ok",
            f"CPU, {plural(threads, 'thread')} of {plural(os.cpu_count() or 1, 'core')}; no GPU that torch can use",
        )
    ]


def _embedding_model() -> list[Check]:
    from nas_agent.errors import NasAgentError
    from nas_agent.tools.embeddings.minilm import model_folder

    try:
        return [Check("embedding model", "ok", str(model_folder()))]
    except NasAgentError as error:
        return [Check("embedding model", "mend", "all-MiniLM-L6-v2 is not installed", str(error))]


def _data() -> list[Check]:
    from nas_agent.tools.benchmarks.registry import BENCHMARKS
    from nas_agent.tools.tables import data_folders, find_table

    named = os.environ.get("NAS_AGENT_DATA")
    if named and not os.path.isdir(named):
        return [Check("data", "mend", f"NAS_AGENT_DATA={named} is no folder", "correct or unset NAS_AGENT_DATA")]
    found = [(benchmark, find_table(None, benchmark.file)) for benchmark in BENCHMARKS]
    held = sum(path is not None for _, path in found)
    looked = ", ".join(str(place.folder) for place in data_folders(None))
    places = Check("data", "ok" if held else "note", f"{held} of {len(found)} benchmark tables in {looked}")
    return [places, *(_table(benchmark, path) for benchmark, path in found)]


def _table(benchmark: Benchmark, path: Path | None) -> Check:
    """Look at the arrays' headers for one task of a benchmark; `data status` reads all of them."""
    from nas_agent.errors import NasAgentError
    from nas_agent.tools.benchmarks.arrays import rows_of

    task = benchmark.tasks[0]
    if path is None:
        without = "its values are predicted, not measured" if benchmark.embedded else "its tasks cannot be looked up"
        return Check(benchmark.title, "note", f"no {benchmark.file}: {without}")
    try:
        rows = rows_of(path, benchmark.needs(task, None))
    except NasAgentError as error:
        return Check(benchmark.title, "mend", f"{path} cannot be used", str(error))
    return Check(benchmark.title, "ok", f"{path}: {plural(rows, 'row')} for {task.name}")


def _folders() -> list[Check]:
    from pathlib import Path

    from nas_agent.tools.home import home

    kept = home()
    by = "NAS_AGENT_HOME" if os.environ.get("NAS_AGENT_HOME") else "the user's data folder"
    places = (
        (f"home ({by})", kept, "set NAS_AGENT_HOME to a folder of yours"),
        ("runs (this folder)", Path.cwd() / "runs", "change to a folder of yours, or use --out"),
    )
    checks = []
    for name, path, advice in places:
        existing = next(folder for folder in (path, *path.parents) if folder.exists())
        good = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
        detail = f"{path}{'' if path.exists() else ' (will be made)'}"
        checks.append(
            Check(
                name, "ok" if good else "mend", detail if good else f"{path}: not ours to write", "" if good else advice
            )
        )
    return checks


def _memory() -> list[Check]:
    from nas_agent.errors import NasAgentError
    from nas_agent.tools.home import home
    from nas_agent.tools.recollection import open_memory

    if not home().is_dir():
        return [Check("memory", "ok", "empty: no run has finished yet")]
    try:
        stats = open_memory().stats()
    except NasAgentError as error:
        return [Check("memory", "mend", "cannot be read", str(error))]
    return [
        Check(
            "memory",
            "ok",
            f"{stats.folder}: {plural(stats.runs, 'run')}, {plural(stats.architectures, 'architecture')}, "
            f"{plural(stats.principles, 'principle')}",
        )
    ]


def _keys() -> list[Check]:
    """Only the names: a value is never read further than to see whether there is one."""
    present = [name for name in KEYS if os.environ.get(name)]
    if not present:
        return [Check("model keys", "ok", "none is set; none is needed for --llm none")]
    return [Check("model keys", "ok", f"set: {', '.join(present)}")]


def _tracing() -> list[Check]:
    on = [name for name in TRACING if os.environ.get(name, "").lower() in {"1", "true"}]
    if not on:
        return [Check("tracing", "ok", "off: nothing about a run leaves this machine by LangSmith")]
    keyed = any(os.environ.get(name) for name in TRACING_KEYS)
    detail = f"{', '.join(on)} is set: runs and prompts are sent to LangSmith"
    return [Check("tracing", "note", detail if keyed else f"{detail} (no key is set, so it will refuse them)")]


def _sandbox(name: str) -> list[Check]:
    """Attack a sandbox of our own: what is enforced here is what these attacks find refused."""
    from nas_agent.errors import SandboxError
    from nas_agent.tools.sandbox import Policy, open_sandbox
    from nas_agent.tools.sandbox.canaries import attack

    try:
        with open_sandbox(Policy(preload=(), packages=()), name) as sandbox:
            results, level = attack(sandbox), sandbox.level
    except SandboxError as error:
        if name == "auto":
            return [Check("sandbox", "note", f"none, so code that a model wrote is refused: {error}")]
        return [Check("sandbox", "mend", f"{name} does not hold here", str(error))]
    return [
        Check("sandbox", "ok", f"{level}{_others(level.partition(':')[0])}"),
        *(
            Check(f"  {result.name}", "ok", f"refused ({result.detail})" if result.detail != "refused" else "refused")
            if result.held
            else Check(f"  {result.name}", "mend", result.detail, "run no code that a model wrote on this machine")
            for result in results
        ),
    ]


def _others(used: str) -> str:
    """Name the other backends that are installed; whether one works, only an attack on it tells."""
    from nas_agent.tools.sandbox.backends import installed

    names = [backend.name for backend in installed() if backend.name != used]
    return f"; not tried: {', '.join(names)} (doctor --sandbox {names[0]})" if names else ""


LOOKS: tuple[Callable[[], list[Check]], ...] = (
    _python, _packages, _device, _embedding_model, _data, _folders, _memory, _keys, _tracing,
)  # fmt: skip
