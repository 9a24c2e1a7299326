"""The command ``verify``: check files against their manifests, and repair them if asked.

Parses the options only; :func:`modelfetch.cli.run.run_verify` does the work, also for command lines that are
understood without typer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from modelfetch.cli import options
from modelfetch.errors import UsageError


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
    sample: Annotated[
        int,
        typer.Option(
            "--sample",
            metavar="N",
            min=0,
            help="Read only N random chunks of 1 MiB of each file, and say how likely that finds damage.",
            show_default=False,
        ),
    ] = 0,
    hf: Annotated[
        bool,
        typer.Option(
            "--hf",
            help="Check the cache of the Hugging Face libraries instead; NAME is then org/name.",
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
    if hf:
        if quick or repair or strict or sample:
            raise UsageError("--hf cannot be used together with --quick, --repair, --sample or --strict")
        raise typer.Exit(_verify_hub(names or (), cache_dir, quiet=quiet, json=json))
    if sample and quick:  # which reads nothing of most files
        raise UsageError("--sample cannot be used together with --quick")
    from modelfetch.cli.run import run_verify
    from modelfetch.engine.setup import RunOptions

    flags, asked = {"cache_dir": cache_dir}, RunOptions(offline)
    code = run_verify(
        names or (),
        flags,
        asked,
        quick=quick,
        repair=repair,
        strict=strict,
        sample=sample,
        json=json,
        quiet=quiet,
    )
    raise typer.Exit(code)


def _verify_hub(repositories: Sequence[str], cache_dir: str | None, *, quiet: bool, json: bool) -> int:
    """Check the cache of the Hugging Face libraries, and print a table of what is damaged there.

    Returns:
        The exit code.
    """
    from modelfetch.cli.output import say
    from modelfetch.cli.run import run
    from modelfetch.cli.tables import Column, print_table
    from modelfetch.pins.hf_cache_check import CacheCheck, choose
    from modelfetch.pins.hf_cache_layout import repositories as cached
    from modelfetch.reporters.terminal_text import plural
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    root = workspace.loaded.hf_cache
    found = cached(root)
    if not (found or repositories or quiet or json):
        say(f"nothing to verify: the Hugging Face cache {root} has no repository")
    check = CacheCheck(choose(found, repositories, root))
    finished = run(workspace, check.events(), json=json, quiet=quiet, is_recorded=False)
    if json:
        return finished.exit_code
    if check.damaged:
        columns = [
            Column("repository", flexible=True),
            Column("file", flexible=True, least=20),
            Column("why", flexible=True, prose=True),
            Column("path", whole=True),
        ]
        rows = [[damage.repository, damage.file, damage.why, str(damage.path)] for damage in check.damaged]
        print_table(columns, rows)
    if check.unchecked and not quiet:
        say(
            f"note: {plural(check.unchecked, 'file')} could not be checked: the cache does not state a digest"
        )
    return finished.exit_code
