"""The command ``verify``: check files against their manifests, and repair them if asked.

Parses the options only; :func:`modelfetch.cli.run.run_verify` does the work, also for command lines that are
understood without typer.
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
        typer.Option(
            "--strict", help="Count files that a manifest does not list as failures; --repair moves them."
        ),
    ] = False,
    offline: options.Offline = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Verify files against their manifests; --repair repairs them.

    Reads every file of the named models, or of all that are present. Uses the network only for --repair.
    Prints a line for each file that is not right: model, file, and missing, size, hash or, with --strict,
    unlisted. Exit code 5 when there is one; with --repair, when one could not be repaired.
    """
    from modelfetch.cli.run import run_verify
    from modelfetch.engine.setup import RunOptions

    flags, asked = {"cache_dir": cache_dir}, RunOptions(offline)
    code = run_verify(
        names or (), flags, asked, quick=quick, repair=repair, strict=strict, json=json, quiet=quiet
    )
    raise typer.Exit(code)
