"""The command ``modelfetch`` and its sub-commands."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from modelfetch import __version__
from modelfetch.cli import config, fetch, history, jobs, look, metrics, remove, serve, sources, verify
from modelfetch.cli.talk import say_error

EXIT_USAGE: Final = 2
EXIT_ABORTED: Final = 130

# Base of all usage errors. typer has a click of its own from 0.26 on, so it is found and not imported.
_ClickException: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


class Commands(TyperGroup):
    """The commands. An interrupt keeps its own exit code, where typer would make 130 of SIGTERM, too."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as end:
            raise typer.Exit(getattr(end, "exit_code", 130)) from end


app = typer.Typer(
    name="modelfetch",
    cls=Commands,
    help="Put pinned models on this machine: any source, every byte verified.",
    epilog="Docs, exit codes and settings: docs/ in the source, or `modelfetch COMMAND --help`.",
    no_args_is_help=True,
    rich_markup_mode=None,  # or the help imports rich, which takes longer than all the rest of it
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"modelfetch {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("ensure")(fetch.ensure)
app.command("plan")(fetch.plan)
app.command("verify")(verify.verify)
app.command("list")(look.list_models)
app.command("show")(look.show)
app.command("path")(look.path)
app.command("remove")(remove.remove)
app.command("history")(history.history)
app.command("log")(history.log)
app.command("metrics")(metrics.metrics)
app.command("sources")(sources.sources)
app.command("serve")(serve.serve)
app.command("jobs")(jobs.jobs)
app.command("attach")(jobs.attach)
app.command("cancel")(jobs.cancel)
app.command("retry")(jobs.retry)
app.add_typer(config.app, name="config")


def call() -> int:
    """Parse the command line of this process and do what it says; misuse is told here.

    Returns:
        The exit code.

    Raises:
        ModelfetchError: The command failed as commands may.
    """
    try:
        return int(app(prog_name="modelfetch", standalone_mode=False) or 0)
    except typer.Abort:
        return EXIT_ABORTED
    except _ClickException as error:
        return _misused(error)


def _misused(error: Exception) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if not message:  # the help was all there was to say
        return EXIT_USAGE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "modelfetch"
    say_error(message, f"{command} --help")
    return EXIT_USAGE
