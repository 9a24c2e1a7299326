"""The command ``modelfetch`` and its sub-commands."""

from __future__ import annotations

from typing import Annotated

import typer

from modelfetch import __version__
from modelfetch.cli import config, fetch, look, remove, verify

app = typer.Typer(
    name="modelfetch",
    help="Put pinned models on this machine: any source, every byte verified.",
    epilog="Docs, exit codes and settings: docs/ in the source, or `modelfetch COMMAND --help`.",
    no_args_is_help=True,
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
app.add_typer(config.app, name="config")
