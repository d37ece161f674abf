"""`models`: which language models can be used on this machine, and one real call to those that are named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_agent.cli import output
from nas_agent.cli.output import AsJson
from nas_agent.cli.probe_command import probe

if TYPE_CHECKING:
    from nas_agent.config import Config

Json = dict[str, Any]
QUESTION = "What is 2 + 3? Answer with one JSON object, with the key 'answer' and a whole number."
NEEDED = {"hf": ("transformers", "outlines", "llguidance")}  # what `hf:` imports
LISTED = 20  # cached repositories that a terminal is shown

app = typer.Typer(help="Language models: which can be used here, one real call to each, and what one knows by heart.")
app.command("probe")(probe)


@dataclass(frozen=True, slots=True)
class Provider:
    """A way to name a model, with the package and the key that it needs."""

    form: str
    package: str
    install: str
    key: str  # of the environment; "" where none is needed
    optional: bool = False  # the key is needed by some servers only


PROVIDERS = (
    Provider("openai:MODEL", "langchain_openai", "pip install 'nas-agent[openai]'", "OPENAI_API_KEY"),
    Provider("http://HOST/v1#MODEL", "langchain_openai", "pip install 'nas-agent[openai]'", "NAS_AGENT_API_KEY", True),
    Provider("hf:REPO_OR_PATH", "llguidance", "pip install 'nas-agent[hf]'", ""),
    Provider("anthropic:MODEL", "langchain_anthropic", "pip install langchain-anthropic", "ANTHROPIC_API_KEY"),
    Provider("google_genai:MODEL", "langchain_google_genai", "pip install langchain-google-genai", "GOOGLE_API_KEY"),
    Provider("mistralai:MODEL", "langchain_mistralai", "pip install langchain-mistralai", "MISTRAL_API_KEY"),
    Provider("ollama:MODEL", "langchain_ollama", "pip install langchain-ollama", ""),
)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """Say which models can be used on this machine; `models test` calls them."""
    if context.invoked_subcommand is None:
        list_(as_json=as_json)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the forms of --llm with what each lacks here, the GPU, and the models in the Hugging Face cache."""
    with output.quiet_stdout():
        found = {"providers": [_provider(each) for each in PROVIDERS], "device": _gpu(), "cached": _cached()}
    output.document(found) if as_json else _print(found)


@app.command("test")
def try_out(
    specs: Annotated[
        list[str], typer.Argument(metavar="SPEC...", help="Models as --llm takes them, e.g. openai:gpt-4o-mini.")
    ],
    offline: Annotated[bool, typer.Option("--offline", help="hf: models come from the cache.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As for run, e.g. hf_dtype=bfloat16.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask each model one small question, and say whether it answers by the schema, how fast, and at what cost."""
    from nas_agent import roles
    from nas_agent.config import load_config

    config = load_config(None, {"offline": True if offline else None}, tuple(settings or ()))
    roles.go_offline(config)
    with output.quiet_stdout():
        results = [_try(spec, config) for spec in specs]
    broken = [result for result in results if not result["ok"]]
    if as_json:
        output.document({"ok": not broken, "models": results})
    else:
        for result in results:
            output.answer(_told(result))
    if broken:
        output.complain("; ".join(f"{result['model']}: {result['problem']}" for result in broken))
        raise typer.Exit(2)


def _try(spec: str, config: Config) -> Json:
    from nas_agent import roles
    from nas_agent.agents.models import resolve
    from nas_agent.agents.replies import Sum
    from nas_agent.errors import NasAgentError

    result: Json = {"model": spec, "ok": False, "problem": ""}
    try:
        model = resolve(roles.absolute(spec), config)
        if model is None:
            return {**result, "problem": "'none' is no model; name one as --llm takes it"}
        model.prepare()
        reply = model.complete(QUESTION, Sum)
    except NasAgentError as error:
        return {**result, "problem": str(error)}
    return {
        **result,
        "ok": reply.parsed is not None,
        "problem": reply.problem,
        "method": reply.method,
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
        "cost_usd": reply.cost_usd,
        "seconds": reply.seconds,
        "reply": reply.text,
    }


def _told(result: Json) -> str:
    if not result["ok"]:
        return f"FAILED {result['model']}"
    cost = "price not known" if result["cost_usd"] is None else f"{result['cost_usd']:.6f} USD"
    return (
        f"ok {result['model']}: {result['method']}, {result['input_tokens']} tokens in, {result['output_tokens']} out, "
        f"{result['seconds']:.1f} s, {cost}, said {result['reply'][:80]}"
    )


def _provider(provider: Provider) -> Json:
    from importlib.util import find_spec

    needed = NEEDED.get(provider.form.partition(":")[0], (provider.package,))
    installed = all(find_spec(package) is not None for package in needed)
    keyed = bool(os.environ.get(provider.key)) if provider.key else None
    return {
        "form": provider.form,
        "installed": installed,
        "install": None if installed else provider.install,
        "key": provider.key or None,
        "key_set": keyed,
        "ready": installed and (keyed is not False or provider.optional),
    }


def _gpu() -> str:
    import torch

    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cached() -> list[str]:
    """Return the model repositories in the Hugging Face cache, by name."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return sorted(repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model")
    except (CacheNotFound, OSError):
        return []


def _print(found: Json) -> None:
    from rich.text import Text

    from nas_agent.cli.layout import plain_table

    table = plain_table("", "--llm", "package", "key", wide=["package"])
    for each in found["providers"]:
        key = "none needed" if each["key"] is None else f"{each['key']} {'is set' if each['key_set'] else 'not set'}"
        package = "installed" if each["installed"] else each["install"]
        state = Text("ready", style="green") if each["ready"] else Text("-", style="dim")
        table.add_row(state, each["form"], package, key)
    cached = found["cached"]
    shown = [f"  hf:{name}" for name in cached[:LISTED]] or ["  none"]
    more = [] if len(cached) <= LISTED else [f"  and {len(cached) - LISTED} more"]
    output.answer(
        table, f"\ndevice of hf: models: {found['device']}", "models in the Hugging Face cache:", *shown, *more
    )
    output.answer("one real call each: nas-agent models test SPEC...")
