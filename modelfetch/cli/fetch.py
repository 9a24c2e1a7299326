"""``ensure`` and ``plan``: the main job, and what it would do."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from modelfetch.cli import options
from modelfetch.cli.tables import Column, print_table
from modelfetch.cli.talk import notes, print_json, say

if TYPE_CHECKING:
    from modelfetch.engine.events import Planned


def ensure(
    names: options.Names = None,
    offline: options.Offline = False,
    prefer: options.Prefer = None,
    only: options.Only = None,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to", metavar="DIR", help="Also place the files in this directory.", show_default=False
        ),
    ] = None,
    files: options.Files = None,
    limit_rate: options.LimitRate = None,
    timeout: options.Timeout = None,
    lock_timeout: options.LockTimeout = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch everything anew, whatever is there.")] = False,
    cache_dir: options.CacheDir = None,
    quiet: options.Quiet = False,
    json: options.Json = False,
) -> None:
    """Make models present and verified, and print their directories.

    Resumes what an earlier run began, switches sources in the middle of a file, and gives a file its name
    only when its SHA-256 is the pinned one. With nothing to do it makes no request.
    """
    from modelfetch.cli.follow import Ready, leave, run
    from modelfetch.engine.assemble import RunOptions
    from modelfetch.workspace import Workspace

    workspace = Workspace.open(
        {"cache_dir": cache_dir, "network.files": files, "network.limit_rate": limit_rate}
    )
    manifests = workspace.manifests(names or ())
    run_options = RunOptions(offline, prefer, tuple(only or ()), timeout, lock_timeout)
    ready = Ready()
    events = workspace.ensure(manifests, run_options, force=force, to=to)
    finished = run(workspace, events, json=json, quiet=quiet, also=ready)
    if not json:
        for manifest in manifests:
            if manifest.name in ready.directories:
                typer.echo(ready.directories[manifest.name])
    leave(finished)


def plan(
    names: options.Names = None,
    offline: options.Offline = False,
    prefer: options.Prefer = None,
    only: options.Only = None,
    cache_dir: options.CacheDir = None,
    json: options.Json = False,
) -> None:
    """Say what ensure would do: what is kept, what is missing, where it would come from. Writes nothing."""
    from modelfetch.engine.assemble import RunOptions
    from modelfetch.workspace import Workspace

    workspace = Workspace.open({"cache_dir": cache_dir})
    run_options = RunOptions(offline, prefer, tuple(only or ()))
    plans = list(workspace.plan(workspace.manifests(names or ()), run_options))
    free = workspace.store.free_space()
    if json:
        print_json({"models": [asdict(plan) for plan in plans], "disk_free": free})
        return
    notes(workspace)
    for planned in plans:
        _show_plan(planned)
    _show_disk(sum(planned.missing for planned in plans), free)


def _show_plan(planned: Planned) -> None:
    from modelfetch.model.units import format_size
    from modelfetch.reporters.words import licence, plan

    say(f"{planned.model} {planned.version}: {plan(planned)}")
    for line in licence(planned):
        say(f"  {line}")
    rows = [
        [
            file.file,
            file.state,
            format_size(file.size),
            format_size(file.size - file.held),
            _sources(file.sources),
        ]
        for file in planned.files
    ]
    columns = [
        Column("file", flexible=True),
        Column("state"),
        Column("size", right=True),
        Column("to fetch", right=True),
        Column("sources in order", flexible=True),
    ]
    print_table(columns, rows)


def _sources(sources: tuple[str, ...]) -> str:
    """Name each source once, with how many addresses it has there."""
    counted = Counter(sources)
    return (
        ", ".join(f"{source} ×{count}" if count > 1 else source for source, count in counted.items()) or "-"
    )


def _show_disk(missing: int, free: int | None) -> None:
    from modelfetch.model.units import format_size

    if missing and free is not None:
        say(f"disk: {format_size(missing)} to write, {format_size(free)} free")
