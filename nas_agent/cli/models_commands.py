"""`models`: what can be said of language models without a search."""

from __future__ import annotations

import typer

from nas_agent.cli.probe_command import probe

app = typer.Typer(help="Language models: what they know before a search.", no_args_is_help=True)


@app.callback()
def models() -> None:
    """Language models: what they know before a search."""


app.command("probe")(probe)
