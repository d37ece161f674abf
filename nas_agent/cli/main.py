"""The command line: parse, call, print. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nas_agent.cli import (
    bench_commands,
    data_commands,
    doctor,
    evaluate_commands,
    generator_commands,
    inspect_commands,
    memory_commands,
    models_commands,
    niches_command,
    output,
    principle_commands,
    run_commands,
    surrogate_commands,
)
from nas_agent.errors import NasAgentError

OUTPUT_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF}
INTERRUPTED = 130  # as a shell says of a command that Ctrl-C ended


class Commands(TyperGroup):
    """Exit codes and one-line errors: 0 done, 2 the user's mistake, 130 interrupted; a bug keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a reader that goes away (`| head`) has seen what it wanted."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            output.drop_stdout()
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            output.say("interrupted")
            raise typer.Exit(INTERRUPTED) from None
        return result

    def main(self, args: Any = None, prog_name: str | None = None, *_: Any, **extra: Any) -> Any:
        """Run the program and end the process with its exit code."""
        output.prepare()
        try:
            code = super().main(args, prog_name, **{**extra, "standalone_mode": False})
            sys.stdout.flush()
        except NasAgentError as error:
            output.complain(error)
            code = 2
        except OSError as error:
            if error.errno not in OUTPUT_FULL:
                raise
            output.drop_stdout()
            output.complain(f"the output cannot be written ({error.strerror}); send it to another place")
            code = 2
        except typer.Abort:  # Ctrl-C or the end of the input where a question was asked
            output.say("interrupted")
            code = INTERRUPTED
        except Exception as error:
            # Usage errors; their class lives in typer or in click, depending on typer's version.
            if not hasattr(error, "format_message"):
                raise
            code = _usage_error(error)
        sys.exit(code if isinstance(code, int) else 0)


def _usage_error(error: Any) -> int:
    if type(error).__name__ == "NoArgsIsHelpError":
        output.say(error.format_message())
        return 2
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "nas-agent"
    came = ""
    with contextlib.suppress(AttributeError, LookupError):  # only typer's own checks say what they were given
        came = f", got {error.__cause__.errors()[0]['input']!r}"
    output.complain(f"{error.format_message().rstrip('.')}{came}; see {command} --help")
    return 2


app = typer.Typer(
    name="nas-agent",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from nas_agent.version import __version__

        typer.echo(f"nas-agent {__version__}")
        raise typer.Exit


@app.callback()
def nas_agent(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Find neural architectures with a team of agents.

    The first command to try, with no key and no download: nas-agent run --task cifar100
    """


app.command("run")(run_commands.run)
app.command("resume")(run_commands.resume)
app.add_typer(inspect_commands.runs_app, name="runs")
app.command("evaluate")(evaluate_commands.evaluate)
app.command("export")(evaluate_commands.export)
app.command("show")(inspect_commands.show)
app.command("archive")(niches_command.archive)
app.add_typer(principle_commands.principles_app, name="principles")
app.add_typer(memory_commands.memory_app, name="memory")
app.add_typer(models_commands.app, name="models")
app.add_typer(bench_commands.bench_app, name="bench")
app.add_typer(surrogate_commands.surrogate_app, name="surrogate")
app.add_typer(generator_commands.generator_app, name="generator")
app.add_typer(data_commands.data_app, name="data")
app.command("doctor")(doctor.doctor)


def main() -> None:
    """Answer the console script `nas-agent`; SIGTERM is Ctrl-C, because clusters pre-empt with it."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    app()


if __name__ == "__main__":
    main()
