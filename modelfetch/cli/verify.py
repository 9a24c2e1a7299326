"""``verify``: prove what is here, put right what is not."""

from __future__ import annotations

from typing import Annotated

import typer

from modelfetch.cli import options


def verify(
    names: options.Names = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Read only files whose size or time changed since they were verified."),
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch bad and missing files anew.")] = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Check every file of the named models, or of everything present, against its manifest.

    Needs no network but for --repair. Prints a line for each file that is not right: model, file, and
    missing, size or hash. Exit code 5 when there is one; with --repair, when one could not be put right.
    """
    from modelfetch.cli.follow import leave, print_bad, run
    from modelfetch.cli.talk import say
    from modelfetch.engine.assemble import RunOptions
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    manifests = workspace.manifests(names) if names else workspace.present()
    if not (manifests or json or quiet):
        say("nothing to verify: no model is here yet")
    events = workspace.verify(manifests, RunOptions(offline), quick=quick, repair=repair)
    finished = run(workspace, events, json=json, quiet=quiet)
    if not json:
        print_bad(finished, quiet=quiet)
    leave(finished)
