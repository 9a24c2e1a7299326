"""The command ``modelfetch`` and its sub-commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from modelfetch import __version__
from modelfetch.cli import config, fetch, history, jobs, look, metrics, remove, serve, sources, verify


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
