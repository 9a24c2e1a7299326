"""``verify``: check the files of models against their manifests, and repair them.

This module declares the options; :func:`modelfetch.cli.run.run_verify` runs the command.
"""

from __future__ import annotations

from typing import Annotated

import typer

from modelfetch.cli import options


def verify(
    names: options.PresentNames = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Read only files that changed in size or time since they were verified."
        ),
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Fetch bad and missing files again.")] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Also fail for files that no manifest lists; --repair moves them."),
    ] = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Verify files against their manifests; --repair repairs them.

    Reads every file of the named models, or of all present ones. Uses the network only with --repair. Prints
    a line for each bad file: model, file, and missing, size, hash or, with --strict, unlisted. Exits with
    code 5 if there is one; with --repair, if one could not be repaired.
    """
    from modelfetch.cli.run import run_verify
    from modelfetch.engine.setup import RunOptions

    flags, asked = {"cache_dir": cache_dir}, RunOptions(offline)
    code = run_verify(
        names or (), flags, asked, quick=quick, repair=repair, strict=strict, json=json, quiet=quiet
    )
    raise typer.Exit(code)
